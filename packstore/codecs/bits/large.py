"""Boxes of any size: large ones in pieces and by several threads, far-apart ones by a range of bytes each."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from packstore.codecs.bits.boxes import BoxPlan, PackedArray, count_box, unpack_box
from packstore.core.boxes import Box, box_shape, pieces_of
from packstore.core.counts import Counts, count_in_pieces
from packstore.core.threads import run_all

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["count_bits_of", "read_bits"]

# ``fetch(offset, nbytes)`` gives these bytes of the encoded array.
Fetch = Callable[[int, int], "Buffer | NDArray[Any]"]

# Bytes of a box up to which nothing but its plan is looked at.
SMALL_NBYTES = 1 << 18
# Unpacked bytes from which a box is unpacked in pieces, where they are that many times those of the result; in pieces
# that fit the second-level cache. Others are unpacked at once: bits are unpacked faster than memory is given to several
# threads.
LARGE_NBYTES, MAX_SCRATCH, PIECE_NBYTES = 64 << 20, 2, 1 << 20
# Packed bytes counted by one thread.
COUNT_NBYTES = 8 << 20
# Unpacked bytes counted at once, where bits have to be unpacked.
COUNTED_NBYTES = 8 << 20
# Bytes between rows in memory from which on a call for each is cheaper than copying what lies between them.
MAPPED_GAP_NBYTES = 1 << 16


def read_bits(
    packed: PackedArray, fetch: Fetch, box: Box, gap_nbytes: int | None = None, *, parallel: bool = True
) -> NDArray[Any]:
    """Read a box of any size.

    Parameters
    ----------
    packed
        Where the bits of the elements are.
    fetch
        ``fetch(offset, nbytes)`` gives those bytes of the encoded array. Called from several threads for large boxes.
    box
        One slice an axis, with ``0 <= start <= stop <= n`` and ``step >= 1``.
    gap_nbytes
        Bytes between two rows from which on a call of `fetch` for each is cheaper than reading on; None: `fetch` gives
        views of memory.

    Returns
    -------
    numpy.ndarray
        Of the box's shape; it may be a strided view of new memory.

    Raises
    ------
    CorruptDataError
        As `unpack_box`.
    """
    plan = packed.plan(box)
    if gap_nbytes is None:
        gap_nbytes = MAPPED_GAP_NBYTES if packed.bytes_axis is None else 1 << 62
    if plan.nbytes <= min(gap_nbytes, SMALL_NBYTES):
        return unpack_box(fetch(plan.offset, plan.nbytes) if plan.nbytes else b"", plan)
    shape = box_shape(box)
    axis = _slowest(plan)
    scratch_nbytes = plan.scratch_nbytes
    is_large = scratch_nbytes >= LARGE_NBYTES and scratch_nbytes > MAX_SCRATCH * math.prod(shape)
    if axis is None or not (is_large or _is_sparse(plan, shape[axis], gap_nbytes)):
        return unpack_box(fetch(plan.offset, plan.nbytes), plan)
    if is_large:
        length = max(PIECE_NBYTES * shape[axis] // scratch_nbytes, 1)
    else:
        # Indices that lie closer than a gap stay together.
        length = max(gap_nbytes * (shape[axis] - 1) // plan.nbytes, 1)
    first = length
    if axis == packed.bytes_axis and box[axis].step == 1:
        # Pieces of whole bytes, so that none is unpacked twice.
        length = -(-length // 8) * 8
        first = length - box[axis].start % 8
    if first >= shape[axis]:
        return unpack_box(fetch(plan.offset, plan.nbytes), plan)
    out = np.empty(shape, packed.layout.dtype)
    along = (slice(None),) * axis

    def fill(item: tuple[Box, slice]) -> None:
        piece, place = item
        out[(*along, place)] = read_bits(packed, fetch, piece, gap_nbytes, parallel=False)

    run_all(fill, pieces_of(box, axis, length, first), parallel=is_large and parallel)
    return out


def _slowest(plan: BoxPlan) -> int | None:
    """The first axis along which the bytes of a box can be cut."""
    return next((i for i, n in enumerate(plan.extents) if n > 1), None)


def _is_sparse(plan: BoxPlan, count: int, gap_nbytes: int) -> bool:
    """Whether much more lies between the rows of a box, `count` of them, than is wanted."""
    return plan.nbytes > 2 * plan.wanted_nbytes + count * gap_nbytes + 2


def count_bits_of(
    packed: PackedArray,
    fetch: Fetch,
    box: Box,
    axes: tuple[int, ...],
    gap_nbytes: int | None = None,
    *,
    parallel: bool = True,
) -> Counts:
    """Count the elements of a box that are not zero, along `axes`; parameters as `read_bits`.

    Notes
    -----
    Nothing is unpacked but the ends of rows, where the packed axis is counted away and has no steps.
    """
    shape = box_shape(box)
    if 0 in shape:
        return np.zeros([n for i, n in enumerate(shape) if i not in axes], np.int64)
    plan = packed.plan(box)
    axis = _slowest(plan)
    is_packed = plan.counts_packed(axes)
    if is_packed and axis is not None and gap_nbytes is not None:
        is_packed = not _is_sparse(plan, shape[axis], gap_nbytes)
    nbytes, limit = (plan.wanted_nbytes, COUNT_NBYTES) if is_packed else (plan.scratch_nbytes, COUNTED_NBYTES)
    length = 1
    if axis is not None:
        length = max(limit * shape[axis] // nbytes, 1)
        if axis == packed.bytes_axis:
            length = -(-length // 8) * 8
    if axis is None or length >= shape[axis]:
        if is_packed:
            return count_box(fetch(plan.offset, plan.nbytes), plan, axes)
        values = read_bits(packed, fetch, box, gap_nbytes, parallel=False)
        return np.asarray(np.count_nonzero(values, axis=axes), np.int64)

    def count(piece: Box) -> Counts:
        return count_bits_of(packed, fetch, piece, axes, gap_nbytes, parallel=False)

    return count_in_pieces(count, box, axes, axis, length, parallel=parallel)
