"""Bit by bit reference of the packed form, as the specification's text says it: slow, and obviously right."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray


def pack(values: NDArray[Any], nbits: int, first_bit: int = 0, bitorder: Literal["little", "big"] = "little") -> bytes:
    bits = (values.astype(np.uint64)[:, None] >> (first_bit + np.arange(nbits)).astype(np.uint64)) & np.uint64(1)
    if bitorder == "big":
        bits = bits[:, ::-1]
    return np.packbits(bits.astype(np.uint8).reshape(-1), bitorder=bitorder).tobytes()


def kept_words(values: NDArray[Any], nbits: int, first_bit: int = 0, signed: bool = False) -> NDArray[Any]:
    """What is left of unsigned `values` after storing `nbits` bits from `first_bit` on, as unsigned."""
    width = values.dtype.itemsize * 8
    wide = [int(v) for v in values]
    result = []
    for v in wide:
        v = (v >> first_bit) & ((1 << nbits) - 1)
        if signed and v >> (nbits - 1):
            v -= 1 << nbits
        result.append((v << first_bit) % (1 << width))
    return np.array(result, dtype=values.dtype).reshape(values.shape)


def read_back(array: NDArray[Any], first_bit: int | None = None, last_bit: int | None = None) -> NDArray[Any]:
    """What the specification says is read back."""
    if array.dtype == bool:
        return array
    word = f"u{array.real.dtype.itemsize}"
    top = array.real.dtype.itemsize * 8 - 1
    first, last = first_bit or 0, top if last_bit is None else last_bit
    words = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("=")).reshape(-1).view(word)
    result = kept_words(words, last - first + 1, first, signed=array.dtype.kind == "i")
    return result.view(array.dtype.newbyteorder("=")).astype(array.dtype).reshape(array.shape)
