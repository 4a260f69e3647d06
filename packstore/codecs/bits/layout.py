"""What a packed element looks like: data type and bit range to words, widths and signs, with every check on the way.

The rules are those of the registered Zarr v3 codec ``packbits`` (zarr-extensions, ``codecs/packbits/README.md``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import numpy as np

from packstore.codecs.bits.kernels import packed_nbytes
from packstore.errors import CodecConfigError, DtypeError, message

PaddingEncoding: TypeAlias = Literal["none", "first_byte", "last_byte"]
PADDING_ENCODINGS: tuple[PaddingEncoding, ...] = ("none", "first_byte", "last_byte")

# The registered schema's names for the same things; its README, which zarrs follows too, has ours.
_SCHEMA_NAMES = {"start_byte": "first_byte", "end_byte": "last_byte"}

# Sub-byte and brain floats of ml_dtypes: (bits, signed). Each of the first seven takes one byte in memory.
ML_DTYPES: dict[str, tuple[int, bool]] = {
    "int2": (2, True),
    "uint2": (2, False),
    "int4": (4, True),
    "uint4": (4, False),
    "float4_e2m1fn": (4, False),
    "float6_e2m3fn": (6, False),
    "float6_e3m2fn": (6, False),
    "bfloat16": (16, False),
}

SUPPORTED = "bool, (u)int8 to (u)int64, float16 to float64, complex64, complex128 or " + ", ".join(ML_DTYPES)


@dataclass(frozen=True, slots=True)
class BitLayout:
    """How one data type packs under one bit range.

    Attributes
    ----------
    dtype
        The element type, byte order included.
    word
        Unsigned integer of a component's size, in the machine's byte order.
    components
        2 for complex numbers, else 1.
    nbits
        Stored bits per component.
    first_bit
        The lowest stored bit.
    signed
        Whether the top stored bit is repeated upwards when decoding.
    value_mask
        The bits of a word to keep after that; 0 for all. (The sub-byte integers of ml_dtypes leave the rest of their
        byte zero, for negative values too.)
    """

    dtype: np.dtype[Any]
    word: np.dtype[np.unsignedinteger[Any]]
    components: int
    nbits: int
    first_bit: int
    signed: bool
    value_mask: int = 0

    @property
    def element_bits(self) -> int:
        """Stored bits per element."""
        return self.nbits * self.components

    @property
    def is_bool(self) -> bool:
        return self.dtype.kind == "b"

    @property
    def is_plain(self) -> bool:
        """Whether the packed bytes are the little-endian array itself."""
        return self.nbits == self.word.itemsize * 8

    @property
    def swapped(self) -> bool:
        """Whether elements have the other byte order than this machine."""
        return not self.dtype.isnative

    def nbytes(self, count: int) -> int:
        """Packed bytes of `count` elements, without a padding-count byte."""
        return packed_nbytes(count, self.element_bits)

    def padding(self, count: int) -> int:
        """Padding bits after `count` elements, 0 to 7."""
        return -(count * self.element_bits) % 8


def check_config(padding_encoding: object, first_bit: object, last_bit: object) -> None:
    """Check what can be checked without a data type.

    Raises
    ------
    CodecConfigError
        An unknown padding encoding, a bit that is no non-negative integer, or ``last_bit < first_bit``.
    """
    if padding_encoding not in PADDING_ENCODINGS:
        better = _SCHEMA_NAMES.get(padding_encoding) if isinstance(padding_encoding, str) else None
        hint = (
            f'Write "{better}": the codec\'s specification uses that name, only its JSON schema differs'
            if better
            else None
        )
        raise CodecConfigError(
            message(
                "reading padding_encoding of packbits",
                expected='"none", "first_byte" or "last_byte"',
                got=repr(padding_encoding),
                hint=hint,
            )
        )
    for name, bit in (("first_bit", first_bit), ("last_bit", last_bit)):
        if bit is not None and (isinstance(bit, bool) or not isinstance(bit, (int, np.integer)) or bit < 0):
            raise CodecConfigError(
                message(f"reading {name} of packbits", expected="a non-negative integer or None", got=repr(bit))
            )
    if isinstance(last_bit, (int, np.integer)) and last_bit < (first_bit or 0):  # type: ignore[operator]  # checked above
        raise CodecConfigError(
            message(
                "reading the bit range of packbits",
                expected=f"last_bit >= first_bit ({first_bit or 0})",
                got=f"last_bit {last_bit}",
                hint="Both bits are inclusive and count from the least significant",
            )
        )


@lru_cache(maxsize=256)
def bit_layout(dtype: np.dtype[Any], first_bit: int | None = None, last_bit: int | None = None) -> BitLayout:
    """Work out the layout of `dtype` under a bit range.

    Raises
    ------
    DtypeError
        If the codec is not defined for the type.
    CodecConfigError
        If the range is empty or leaves the type.

    Examples
    --------
    >>> layout = bit_layout(np.dtype("complex64"), 0, 11)
    >>> layout.nbits, layout.element_bits
    (12, 24)
    """
    total, signed, components = _describe(dtype)
    check_config("none", first_bit, last_bit)
    low = 0 if first_bit is None else int(first_bit)
    high = total - 1 if last_bit is None else int(last_bit)
    for name, bit in (("first_bit", low), ("last_bit", high)):
        if bit >= total:
            part = "each component of " if components > 1 else ""
            raise CodecConfigError(
                message(
                    f"packing {dtype}",
                    expected=f"{name} of at most {total - 1}, the top bit of {part}the type",
                    got=f"{name} {bit}",
                )
            )
    word = np.dtype(f"u{dtype.itemsize // components}")
    value_mask = 0
    if signed and total < word.itemsize * 8:
        signed = high < total - 1
        value_mask = (1 << total) - 1 if signed else 0
    return BitLayout(dtype, word, components, high - low + 1, low, signed, value_mask)


def _describe(dtype: np.dtype[Any]) -> tuple[int, bool, int]:
    """Bits per component, sign, components."""
    kind, size = dtype.kind, dtype.itemsize
    if dtype.type.__module__ == "numpy":
        if kind == "b":
            return 1, False, 1
        if kind in "iu":
            return 8 * size, kind == "i", 1
        if kind == "f" and size in (2, 4, 8):
            return 8 * size, False, 1
        if kind == "c" and size in (8, 16):
            return 4 * size, False, 2
    if dtype.type.__module__ == "ml_dtypes" and dtype.name in ML_DTYPES:
        return *ML_DTYPES[dtype.name], 1
    hint = None
    if kind == "f":
        hint = "View the array as an unsigned integer of its size to pack its bits"
    elif kind in "mM":
        hint = "View the array as int64 to pack it"
    raise DtypeError(message("packing bits", expected=SUPPORTED, got=f"{dtype}", hint=hint))


def frame_nbytes(layout: BitLayout, count: int, padding_encoding: PaddingEncoding) -> int:
    """Encoded size of `count` elements, the padding-count byte included."""
    return layout.nbytes(count) + (padding_encoding != "none")


def encoded_nbytes(
    shape: Sequence[int],
    dtype: np.dtype[Any] | str | type,
    *,
    padding_encoding: PaddingEncoding = "none",
    first_bit: int | None = None,
    last_bit: int | None = None,
) -> int:
    """Exact size of an encoded array.

    Parameters
    ----------
    shape, dtype
        Of the decoded array.
    padding_encoding, first_bit, last_bit
        As in `PackBitsCodec`.

    Returns
    -------
    int
        Bytes.

    Raises
    ------
    DtypeError, CodecConfigError
        If the codec does not take the type or the configuration.

    Examples
    --------
    >>> encoded_nbytes((1024, 1024), "bool")
    131072
    >>> encoded_nbytes((3,), "uint16", last_bit=11, padding_encoding="first_byte")
    6
    """
    check_config(padding_encoding, first_bit, last_bit)
    layout = bit_layout(np.dtype(dtype), first_bit, last_bit)
    return frame_nbytes(layout, math.prod(shape), padding_encoding)
