"""Counting set bits: the one kernel, over packed bytes of any strides, in blocks that stay in the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from packstore.codecs.bits.kernels import BitOrder, Bytes, as_bytes
from packstore.core.counts import Counts

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["count_bits", "count_nonzero_packed", "count_ones"]

# A block and its popcounts stay in the second-level cache.
BLOCK_NBYTES = 3 << 18
# Words of which the counts are added as they are.
_MIN_FOLDED = 1 << 12
_U64 = np.dtype(np.uint64)


def count_nonzero_packed(
    buf: Buffer | NDArray[Any], nbits_total: int, first: int = 0, *, bitorder: BitOrder = "little"
) -> int:
    """Number of set bits among `nbits_total` bits that begin at bit `first` of `buf`.

    Parameters
    ----------
    buf
        Packed bits, without any padding-count byte.
    nbits_total
        How many bits to look at.
    first
        The first of them.
    bitorder
        Which end of a byte comes first; matters for the two ends of the range only.

    Returns
    -------
    int
        The population count. Nothing is unpacked and the buffer is not copied.

    Raises
    ------
    ValueError
        If the range leaves the buffer.

    Examples
    --------
    >>> mask = np.arange(20) % 3 == 0
    >>> count_nonzero_packed(np.packbits(mask, bitorder="little"), 20), int(mask.sum())
    (7, 7)
    """
    data = as_bytes(buf)
    stop = first + nbits_total
    if first < 0 or nbits_total < 0 or stop > data.size * 8:
        raise ValueError(f"bits [{first}, {stop}) do not lie in a buffer of {data.size * 8} bits")
    if nbits_total == 0:
        return 0
    data = data[first // 8 : -(-stop // 8)]
    total = _popcount(data)
    if first % 8:
        total -= (int(data[0]) & _mask(0, first % 8, bitorder)).bit_count()
    if stop % 8:
        total -= (int(data[-1]) & _mask(stop % 8, 8, bitorder)).bit_count()
    return total


def count_bits(rows: Bytes, axis: int, first: int, last: int, axes: tuple[int, ...], bitorder: BitOrder) -> Counts:
    """Count the set bits of packed rows along `axes`.

    Parameters
    ----------
    rows
        Packed along `axis`, in any strides; not empty.
    first, last
        The bits of each row that count; at most seven bits before and seven bits behind them are left out.
    axes
        The axes that are counted away, in ascending order; `axis` is one of them.

    Examples
    --------
    >>> rows = np.array([[0b11110000, 0b00000001], [0, 0b00000011]], np.uint8)
    >>> count_bits(rows, 1, 5, 16, (1,), "little").tolist()
    [4, 2]
    """
    counts = count_ones(rows, axes)
    before = np.uint8(_mask(0, first, bitorder))
    behind = np.uint8(_mask(last - 8 * (rows.shape[axis] - 1), 8, bitorder))
    along = (slice(None),) * axis
    if before:
        counts = counts - count_ones(rows[(*along, slice(0, 1))] & before, axes)
    if behind:
        counts = counts - count_ones(rows[(*along, slice(-1, None))] & behind, axes)
    return counts


def count_ones(data: Bytes, axes: tuple[int, ...]) -> Counts:
    """Count all set bits of `data`, of any strides, along `axes`, in ascending order."""
    whole = len(axes) == data.ndim
    if whole and data.flags.c_contiguous:
        return np.asarray(_popcount(data.reshape(-1)), np.int64)
    axis = next((i for i, n in enumerate(data.shape) if n > 1), 0)
    if data.size <= BLOCK_NBYTES or data.shape[axis] == 1:
        if whole:
            return np.asarray(_popcount(np.ascontiguousarray(data).reshape(-1)), np.int64)
        if axes[-1] == data.ndim - 1 and data.shape[-1] % 8 == 0 and data.flags.c_contiguous:
            data = cast(Bytes, data.view(_U64))
        return np.asarray(np.bitwise_count(data).sum(axis=axes, dtype=np.int64))
    step = max(BLOCK_NBYTES // (data.size // data.shape[axis]), 1)
    along = (slice(None),) * axis
    parts = [count_ones(data[(*along, slice(i, i + step))], axes) for i in range(0, data.shape[axis], step)]
    if axis in axes:
        return np.asarray(sum(parts), np.int64)
    # All axes before `axis` have one index.
    return np.concatenate(parts, axis=sum(i not in axes for i in range(axis)))


def _popcount(data: Bytes) -> int:
    """Set bits of contiguous bytes, a 64-bit word at a time."""
    return sum([_popcount_block(data[i : i + BLOCK_NBYTES]) for i in range(0, data.size, BLOCK_NBYTES)])


def _popcount_block(data: Bytes) -> int:
    head = min(-data.__array_interface__["data"][0] % 8, data.size)
    middle = head + (data.size - head) // 8 * 8
    total = 0
    for edge in (data[:head], data[middle:]):
        if edge.size:
            total += int(np.bitwise_count(edge).sum(dtype=np.int64))
    counts = np.bitwise_count(data[head:middle].view(_U64))
    if counts.size <= _MIN_FOLDED:
        return total + int(counts.sum(dtype=np.int64))
    # Three counts of at most 64 fit a byte: adding bytes is cheaper than widening them.
    third = counts.size // 3
    folded = counts[:third] + counts[third : 2 * third]
    folded += counts[2 * third : 3 * third]
    return total + int(folded.sum(dtype=np.int64)) + int(counts[3 * third :].sum(dtype=np.int64))


def _mask(first: int, last: int, bitorder: BitOrder) -> int:
    """Bits `first` to `last` of a byte."""
    ones = (1 << last) - (1 << first)
    return ones if bitorder == "little" else int(f"{ones:08b}"[::-1], 2)
