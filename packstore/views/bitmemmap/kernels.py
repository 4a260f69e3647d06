"""Pack and unpack along any axis of an ndarray; numpy's loops, chosen by memory order."""

from __future__ import annotations

import math

import numpy as np

from packstore.codecs.bits.axes import unpack_axis as unpack
from packstore.views.bitmemmap.geometry import BitOrder, Bools, Bytes

__all__ = ["pack", "popcount", "unpack"]

# Below this many contiguous bytes behind the packed axis, numpy's own loop over lanes is the faster one.
_MIN_INNER = 16


def pack(mask: Bools, axis: int, bitorder: BitOrder) -> Bytes:
    """`numpy.packbits`, but fast along leading axes too."""
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


def popcount(data: Bytes) -> int:
    """Set bits in a contiguous run of bytes, a 64-bit word at a time."""
    head = min(-data.__array_interface__["data"][0] % 8, data.size)
    middle = head + (data.size - head) // 8 * 8
    total = 0
    for edge in (data[:head], data[middle:]):
        total += int(np.bitwise_count(edge).sum(dtype=np.int64))
    counts = np.bitwise_count(data[head:middle].view(np.uint64))
    # Three counts of at most 64 fit a byte: adding bytes is cheaper than widening them.
    third = counts.size // 3
    folded = counts[:third] + counts[third : 2 * third]
    folded += counts[2 * third : 3 * third]
    return total + int(folded.sum(dtype=np.int64)) + int(counts[3 * third :].sum(dtype=np.int64))
