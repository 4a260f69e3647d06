"""Packing and unpacking bits along any axis of an ndarray: whole bytes run along the packed axis."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from packstore.codecs.bits.kernels import BitOrder, Bytes

__all__ = ["pack_axis", "pick_bits", "unpack_axis"]

_UP = np.arange(8, dtype=np.uint8)
# Below this many contiguous bytes behind the packed axis, numpy's own loop over lanes is the faster one.
_MIN_INNER = 16
# Bytes of planes per step: the shifted bytes are masked while they are still in the cache.
_BLOCK_NBYTES = 1 << 19


def pack_axis(mask: NDArray[np.bool_], axis: int, bitorder: BitOrder) -> Bytes:
    """As `numpy.packbits`, and as fast along leading axes as along the last one."""
    inner = mask.shape[axis + 1 :]
    if math.prod(inner) < _MIN_INNER:
        return np.packbits(mask, axis=axis, bitorder=bitorder)
    length = mask.shape[axis]
    before = (slice(None),) * axis
    out = np.zeros((*mask.shape[:axis], -(-length // 8), *inner), np.uint8)
    for bit in range(min(8, length)):
        plane = mask[(*before, slice(bit, None, 8))].view(np.uint8)
        target = out[(*before, slice(plane.shape[axis]))]
        np.bitwise_or(target, plane << np.uint8(bit if bitorder == "little" else 7 - bit), out=target)
    return out


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


def pick_bits(packed: Bytes, axis: int, bitorder: BitOrder, positions: range) -> NDArray[np.bool_]:
    """Single bits along `axis`: far cheaper than unpacking all between them, in memory too.

    Examples
    --------
    >>> mask = np.arange(100) % 7 == 0
    >>> pick_bits(np.packbits(mask), 0, "big", range(7, 100, 30)).tolist()
    [True, False, False, False]
    """
    along = (slice(None),) * axis
    if positions.step % 8 == 0:
        # All of them are the same bit of their byte.
        at: Any = slice(positions.start >> 3, (positions[-1] >> 3) + 1, positions.step >> 3)
        bit: Any = positions.start & 7
        shift: Any = np.uint8(bit if bitorder == "little" else 7 - bit)
    else:
        index = np.arange(positions.start, positions.stop, positions.step)
        at, bit = index >> 3, (index & 7).astype(np.uint8)
        shift = (bit if bitorder == "little" else 7 - bit).reshape((-1,) + (1,) * (packed.ndim - 1 - axis))
    # Not np.take, which copies an array that is not contiguous first.
    found: Bytes = (packed[(*along, at)] >> shift) & np.uint8(1)
    return found.view(np.bool_)
