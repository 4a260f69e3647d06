"""Arrays packed into bytes and back, by data type and options: the functions that `packstore.codecs.packbits` exports.

The encoded form is that of the registered Zarr v3 codec ``packbits``: elements in C order, a fixed number of bits
each, zero bits up to the next byte, and optionally one byte, before or after, that says how many those are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from packstore.codecs.bits.boxes import PackedArray, unpack_box
from packstore.codecs.bits.frame import check_out, decode_frame, encode_flat
from packstore.codecs.bits.kernels import BitOrder, Bytes, as_bytes
from packstore.codecs.bits.layout import PaddingEncoding, bit_layout, check_config
from packstore.core.boxes import box_shape
from packstore.errors import SelectionError, message

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["decode_array", "decode_box", "encode_array", "packed_array"]


@lru_cache(maxsize=256)
def packed_array(
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    padding_encoding: PaddingEncoding = "none",
    first_bit: int | None = None,
    last_bit: int | None = None,
    bitorder: BitOrder = "little",
) -> PackedArray:
    """The packed form of an array; parameters as `decode_array`."""
    return PackedArray(shape, bit_layout(dtype, first_bit, last_bit), padding_encoding, bitorder)


def encode_array(
    array: NDArray[Any],
    *,
    padding_encoding: PaddingEncoding = "none",
    first_bit: int | None = None,
    last_bit: int | None = None,
    bitorder: BitOrder = "little",
) -> Bytes:
    """Pack an array.

    Parameters
    ----------
    array
        Any layout in memory; its elements are packed in C order.
    padding_encoding, first_bit, last_bit
        As in `PackBitsCodec`. Bits outside the range are dropped, as the format demands.
    bitorder
        ``"little"`` is the registered codec; ``"big"`` is what `numpy.packbits` does by default.

    Returns
    -------
    numpy.ndarray
        New uint8 array. A non-contiguous or byte-swapped input costs one copy.

    Raises
    ------
    DtypeError, CodecConfigError
        If the codec does not take the type or the configuration.

    Examples
    --------
    >>> encode_array(np.array([True, True, False, False, False, False, False, True, True])).tolist()
    [131, 1]
    """
    check_config(padding_encoding, first_bit, last_bit)
    return encode_flat(array, bit_layout(array.dtype, first_bit, last_bit), padding_encoding, bitorder)


def decode_array(
    buf: Buffer | NDArray[Any],
    shape: Sequence[int],
    dtype: np.dtype[Any] | str | type,
    *,
    padding_encoding: PaddingEncoding = "none",
    first_bit: int | None = None,
    last_bit: int | None = None,
    bitorder: BitOrder = "little",
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Unpack a whole array.

    Parameters
    ----------
    buf
        The encoded bytes, all of them.
    shape, dtype
        Of the decoded array.
    padding_encoding, first_bit, last_bit
        As in `PackBitsCodec`.
    bitorder
        ``"little"`` is the registered codec; ``"big"`` is what `numpy.packbits` does by default.
    out
        Array of that shape and type to fill instead of a new one.

    Returns
    -------
    numpy.ndarray
        `out`, or an array in C order. If every bit is stored, in this machine's byte order, it is a view of `buf`,
        read-only if that is; a new array otherwise.

    Raises
    ------
    CorruptDataError
        If the length, the padding count or the padding bits are not what an encoder writes.
    DtypeError, CodecConfigError
        If the codec does not take the type or the configuration.
    ShapeError
        If `out` has another shape.

    Notes
    -----
    The length is checked before memory is taken. Releases the GIL in all heavy steps; safe to call from many threads.

    Examples
    --------
    >>> decode_array(bytes([131, 1]), (3, 3), "bool").astype(int).tolist()
    [[1, 1, 0], [0, 0, 0], [0, 1, 1]]
    """
    check_config(padding_encoding, first_bit, last_bit)
    layout = bit_layout(np.dtype(dtype), first_bit, last_bit)
    return decode_frame(as_bytes(buf), tuple(shape), layout, padding_encoding, bitorder, out)


def decode_box(
    read: Callable[[int, int], Buffer | NDArray[Any]],
    shape: Sequence[int],
    dtype: np.dtype[Any] | str | type,
    selection: Sequence[slice],
    *,
    padding_encoding: PaddingEncoding = "none",
    first_bit: int | None = None,
    last_bit: int | None = None,
    bitorder: BitOrder = "little",
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Unpack part of an array, reading only the bytes between its first and last element.

    Parameters
    ----------
    read
        ``read(offset, nbytes)`` gives that part of the encoded bytes. Called once, or never for an empty selection.
    shape, dtype
        Of the whole decoded array.
    selection
        One slice per axis, with any step but 0; numpy's rules for bounds.
    padding_encoding, first_bit, last_bit
        As in `PackBitsCodec`.
    bitorder
        ``"little"`` is the registered codec; ``"big"`` is what `numpy.packbits` does by default.
    out
        Array of the selection's shape, and of that type, to fill.

    Returns
    -------
    numpy.ndarray
        `out`, or an array of the selection's shape. It may be a strided view, or a view of what `read` gave.

    Raises
    ------
    CorruptDataError
        If `read` gives fewer bytes, or the last byte is read and its padding bits are not zero.
    SelectionError
        If the selection does not have one slice per axis.
    DtypeError, CodecConfigError
        If the codec does not take the type or the configuration.
    ShapeError
        If `out` has another shape.

    Notes
    -----
    Where rows are whole bytes, only the bytes of the wanted columns are unpacked. The padding count is not looked at.

    Examples
    --------
    >>> mask = np.eye(16, dtype=bool)
    >>> packed = encode_array(mask)
    >>> decode_box(lambda o, n: packed[o : o + n], (16, 16), "bool", (slice(2, 5), slice(3, 6))).astype(int).tolist()
    [[0, 0, 0], [1, 0, 0], [0, 1, 0]]
    """
    check_config(padding_encoding, first_bit, last_bit)
    packed = packed_array(tuple(shape), np.dtype(dtype), padding_encoding, first_bit, last_bit, bitorder)
    if len(selection) != len(packed.shape):
        raise SelectionError(message("selecting", expected=f"{len(packed.shape)} slices", got=f"{len(selection)}"))
    ranges = [range(*s.indices(n)) for s, n in zip(selection, packed.shape, strict=True)]
    # The elements of a backwards slice are read forwards, then turned round.
    box = tuple([_forwards(r) for r in ranges])
    if out is not None:
        check_out(out, box_shape(box), packed.layout)
    plan = packed.plan(box)
    values = unpack_box(read(plan.offset, plan.nbytes) if plan.nbytes else b"", plan)
    if any(r.step < 0 for r in ranges):
        values = values[tuple(slice(None, None, 1 if r.step > 0 else -1) for r in ranges)]
    if out is None:
        return values
    out[...] = values
    return out


def _forwards(indices: range) -> slice:
    """The slice of step 1 or more that selects the same indices."""
    if not indices:
        return slice(0, 0, 1)
    if indices.step < 0:
        indices = indices[::-1]
    return slice(indices[0], indices[-1] + 1, indices.step)
