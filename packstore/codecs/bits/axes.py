"""Unpacking bits along any axis of an ndarray, chosen by memory order."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from packstore.codecs.bits.kernels import BitOrder, Bytes

__all__ = ["unpack_axis"]

_UP = np.arange(8, dtype=np.uint8)
# Below this many contiguous bytes behind the packed axis, numpy's own loop over lanes is the faster one.
_MIN_INNER = 16
# Bytes of planes per step: what was shifted is masked while it is still in the cache.
_BLOCK_NBYTES = 1 << 19


def unpack_axis(packed: Bytes, axis: int, bitorder: BitOrder, count: int) -> NDArray[np.bool_]:
    """The first `count` bits along `axis`, as a new bool array.

    Notes
    -----
    `numpy.unpackbits` walks a leading axis lane by lane, 25 times slower than whole rows at a time.

    Examples
    --------
    >>> mask = np.arange(48).reshape(3, 16) % 5 == 0
    >>> bool((unpack_axis(np.packbits(mask, axis=0), 0, "big", 3) == mask).all())
    True
    """
    inner = packed.shape[axis + 1 :]
    if math.prod(inner) < _MIN_INNER:
        return np.unpackbits(packed, axis=axis, count=count, bitorder=bitorder).view(np.bool_)
    shape = (*packed.shape[:axis], packed.shape[axis] * 8, *inner)
    bits: NDArray[np.uint8] = np.empty(shape, np.uint8)
    # (lines before, bytes along the axis, 8, bytes behind): one view of the result.
    lines, length, run = math.prod(shape[:axis]), packed.shape[axis], math.prod(inner)
    planes = bits.reshape(lines, length, 8, run)
    rows = packed.reshape(lines, length, 1, run)
    shifts = (_UP if bitorder == "little" else _UP[::-1]).reshape(8, 1)
    one = np.uint8(1)
    # Whole lines at a time, or parts of one line.
    many = max(_BLOCK_NBYTES // (8 * run * max(length, 1)), 1)
    step = max(length, 1) if many > 1 else max(_BLOCK_NBYTES // (8 * run), 1)
    for i in range(0, lines, many):
        for start in range(0, length, step):
            block: NDArray[Any] = planes[i : i + many, start : start + step]
            np.right_shift(rows[i : i + many, start : start + step], shifts, out=block)
            np.bitwise_and(block, one, out=block)
    return bits[(slice(None),) * axis + (slice(count),)].view(np.bool_)
