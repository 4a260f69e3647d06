"""`BitPack`: bit packing for numcodecs (id ``bitpack``): Zarr v2 filters, kerchunk references, any numcodecs user.

The bytes are those of `packstore.codecs.packbits.PackBitsCodec`, with either bit order. With ``bitorder="big"`` and the
default padding count they are also those of numcodecs' own ``packbits`` codec, so ``BitPack(bitorder="big")`` reads
what that wrote; it is never registered under that id.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numcodecs.abc import Codec
from numpy.typing import NDArray

from packstore.codecs.bits.frame import decode_frame, encode_flat, stored_padding
from packstore.codecs.bits.kernels import BitOrder, Bytes, as_bytes
from packstore.codecs.bits.layout import ML_DTYPES, PaddingEncoding, bit_layout, check_config
from packstore.errors import CodecConfigError, CorruptDataError, DtypeError, ShapeError, message

__all__ = ["BitPack"]

_UNTYPED = ("B", "b", "c")


class BitPack(Codec):  # type: ignore[misc]  # numcodecs has no types
    """Store each element in just the bits that it needs.

    Parameters
    ----------
    dtype
        The only data type that is taken and given, byte order included. The types of `PackBitsCodec`.
    first_bit, last_bit
        Inclusive range of bits to store, counted from the least significant; all by default. ``last_bit=11`` keeps
        12-bit data in uint16 whole. Bits outside it are dropped.
    bitorder
        ``"little"``: the first element is in the least significant bits. ``"big"``: in the most significant ones, as
        `numpy.packbits` does by default.
    padding_encoding
        Where the number of padding bits is stored: ``"first_byte"``, ``"last_byte"`` or ``"none"``. With ``"none"`` the
        bytes do not tell how many elements they hold: give `nitems`, or decode into an ``out`` array. Without either
        decoding gives as many elements as fit the bytes, and encoding refuses arrays for which that would be wrong.
    nitems
        Number of elements of every buffer, where it is known; anything else is refused.

    Raises
    ------
    CodecConfigError
        If the configuration cannot work.
    DtypeError
        If the codec is not defined for `dtype`.

    Notes
    -----
    As numcodecs' codecs do, `encode` takes elements in the order of memory (F order for an F-contiguous array), and
    `decode` gives a flat array, or fills ``out`` in the order of its memory; shapes are the caller's business.

    Arrays of another data type are refused. A buffer that has none (bytes, bytearray, a memoryview of bytes) is taken
    as the memory of an array of `dtype`. Safe to call from many threads.

    Examples
    --------
    >>> codec = BitPack()
    >>> mask = np.array([True, True, False, False, False, False, False, True, True])
    >>> codec.encode(mask).tolist()
    [7, 131, 1]
    >>> bool((codec.decode(codec.encode(mask)) == mask).all())
    True
    """

    codec_id = "bitpack"

    def __init__(
        self,
        dtype: np.dtype[Any] | str | type = "bool",
        first_bit: int | None = None,
        last_bit: int | None = None,
        bitorder: BitOrder = "little",
        padding_encoding: PaddingEncoding = "first_byte",
        nitems: int | None = None,
    ) -> None:
        check_config(padding_encoding, first_bit, last_bit)
        if bitorder not in ("little", "big"):
            raise CodecConfigError(
                message("reading bitorder of bitpack", expected='"little" or "big"', got=repr(bitorder))
            )
        if nitems is not None and (isinstance(nitems, bool) or not isinstance(nitems, (int, np.integer)) or nitems < 0):
            raise CodecConfigError(
                message("reading nitems of bitpack", expected="a non-negative integer or None", got=repr(nitems))
            )
        self._dtype = _parse_dtype(dtype)
        self._layout = bit_layout(self._dtype, first_bit, last_bit)
        # The public attributes are the configuration, which numcodecs takes from here; plain JSON types only.
        self.dtype = self._dtype.name if self._dtype.name in ML_DTYPES else self._dtype.str
        self.first_bit = None if first_bit is None else int(first_bit)
        self.last_bit = None if last_bit is None else int(last_bit)
        self.bitorder: BitOrder = bitorder
        self.padding_encoding: PaddingEncoding = padding_encoding
        self.nitems = None if nitems is None else int(nitems)

    def encode(self, buf: Any) -> Bytes:
        """Pack a buffer.

        Parameters
        ----------
        buf
            Array of the codec's data type, or untyped bytes.

        Returns
        -------
        numpy.ndarray
            New flat uint8 array.

        Raises
        ------
        DtypeError
            If `buf` has another data type, or is for bool and has bytes other than 0 and 1.
        ShapeError
            If the number of elements is not `nitems`, or could not be found again when decoding.
        """
        array = self._typed(buf, "encoding with bitpack")
        count = array.size
        if self.nitems is not None and count != self.nitems:
            raise ShapeError(message("encoding with bitpack", expected=f"{self.nitems} elements", got=f"{count}"))
        if self.padding_encoding == "none" and self.nitems is None:
            fits = self._capacity(self._layout.nbytes(count))
            if fits != count:
                raise ShapeError(
                    message(
                        "encoding with bitpack",
                        expected=f"a number of elements that the packed bytes tell, such as {fits}",
                        got=f"{count}",
                        hint='Set padding_encoding to "first_byte", or nitems',
                    )
                )
        if not array.flags.c_contiguous and array.flags.f_contiguous:
            array = array.T
        return encode_flat(array, self._layout, self.padding_encoding, self.bitorder)

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Unpack a buffer.

        Parameters
        ----------
        buf
            Encoded bytes: an array or any contiguous buffer.
        out
            Array of the codec's data type, or writable untyped buffer, to fill in the order of its memory.

        Returns
        -------
        numpy.ndarray
            `out`, or a new flat array.

        Raises
        ------
        CorruptDataError
            If the length, the padding count or the padding bits are not what `encode` writes.
        DtypeError
            If `out` has another data type.
        ShapeError
            If `out` or the encoded bytes do not have `nitems` elements.
        """
        data = as_bytes(buf)
        target = None if out is None else self._typed(out, "decoding with bitpack", check_values=False)
        count = self._count(data, target)
        if target is None:
            decoded = decode_frame(data, (count,), self._layout, self.padding_encoding, self.bitorder)
            # Where all bits are stored that is a view of the input, which the caller may reuse.
            return decoded.copy() if decoded.base is not None and self._layout.is_plain else decoded
        if not target.flags.c_contiguous and target.flags.f_contiguous:
            target = target.T
        decode_frame(data, target.shape, self._layout, self.padding_encoding, self.bitorder, target)
        return out

    def _capacity(self, nbytes: int) -> int:
        return nbytes * 8 // self._layout.element_bits

    def _count(self, data: Bytes, target: NDArray[Any] | None) -> int:
        """Find the number of elements; `decode_frame` then checks it against the bytes."""
        if target is not None and self.nitems is not None and target.size != self.nitems:
            raise ShapeError(
                message("decoding with bitpack", expected=f"an array of {self.nitems} elements", got=f"{target.size}")
            )
        if target is not None:
            return target.size
        if self.nitems is not None:
            return self.nitems
        if self.padding_encoding == "none":
            return self._capacity(data.size)
        if data.size == 0:
            raise CorruptDataError(message("decoding packed bits", expected="a padding count", got="no bytes at all"))
        padding = stored_padding(data, self.padding_encoding)
        return max(0, (data.size - 1) * 8 - padding) // self._layout.element_bits

    def _typed(self, buf: Any, what: str, check_values: bool = True) -> NDArray[Any]:
        """Give the buffer as an array of the codec's type, without a copy."""
        if isinstance(buf, np.ndarray) or not _is_untyped(buf):
            array = np.asarray(buf)
            if array.dtype != self._dtype:
                raise DtypeError(
                    message(
                        what,
                        expected=f"dtype {self._dtype}",
                        got=f"{array.dtype}",
                        hint="Convert the array, or make the codec with its dtype",
                    )
                )
            return array
        raw = as_bytes(buf)
        if raw.size % self._dtype.itemsize:
            raise DtypeError(
                message(
                    what, expected=f"a multiple of {self._dtype.itemsize} bytes for {self._dtype}", got=f"{raw.size}"
                )
            )
        if check_values and self._layout.is_bool and raw.size and raw.max() > 1:
            raise DtypeError(message(what, expected="bytes 0 and 1 for bool", got=f"{raw.max()}"))
        return raw.view(self._dtype)


def _is_untyped(buf: Any) -> bool:
    try:
        return memoryview(buf).format in _UNTYPED
    except TypeError:  # no buffer at all: left to numpy and the check of its dtype
        return False


def _parse_dtype(dtype: Any) -> np.dtype[Any]:
    if isinstance(dtype, str) and dtype in ML_DTYPES:
        import ml_dtypes

        dtype = getattr(ml_dtypes, dtype)
    try:
        if dtype is None:  # which numpy reads as float64
            raise TypeError
        parsed: np.dtype[Any] = np.dtype(dtype)
    except TypeError as error:
        raise DtypeError(message("reading dtype of bitpack", expected="a data type", got=repr(dtype))) from error
    return parsed
