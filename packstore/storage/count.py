"""Counting elements that are not zero: packed bits are counted packed, a word at a time."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from packstore.codecs.bits.kernels import count_nonzero_packed
from packstore.core.boxes import Box, box_shape
from packstore.core.threads import run_all
from packstore.errors import OptionError, message
from packstore.storage import ManifestArray, PackedManifest
from packstore.storage.packed_read import packed_bytes
from packstore.storage.read import read_box

if TYPE_CHECKING:
    from packstore.views.lazy import LazyArray

__all__ = ["BlockCounts", "count_box", "count_nonzero", "reduced_axes"]

Counts = npt.NDArray[np.int64]

# Elements are unpacked and counted in pieces of about this many bytes, by several threads.
PIECE_NBYTES = 8 << 20
# Packed bytes counted at once: what is counted stays in the second-level cache.
_PACKED_PIECE_NBYTES = 1 << 18


def reduced_axes(axis: int | tuple[int, ...] | None, ndim: int) -> tuple[int, ...]:
    """The axes that a reduction removes, in ascending order.

    Raises
    ------
    OptionError
        Out of range, repeated, or no integer.

    Examples
    --------
    >>> reduced_axes(None, 3), reduced_axes((-1, 0), 3)
    ((0, 1, 2), (0, 2))
    """
    if axis is None:
        return tuple(range(ndim))
    try:
        given = [operator.index(i) for i in (axis if isinstance(axis, tuple) else (axis,))]
    except TypeError as error:
        raise OptionError(message("counting", expected="an axis, a tuple of them or None", got=repr(axis))) from error
    found = sorted(i + ndim if i < 0 else i for i in given)
    if any(not 0 <= i < ndim for i in found) or len(set(found)) < len(found):
        raise OptionError(message("counting", expected=f"different axes of {ndim}", got=repr(axis)))
    return tuple(found)


def count_nonzero(lazy: LazyArray, axis: int | tuple[int, ...] | None = None, *, keepdims: bool = False) -> Any:
    """As `numpy.count_nonzero` of the whole array: an int, or an int64 array where axes are left."""
    axes = reduced_axes(axis, lazy.ndim)
    counts = count_box(lazy.array, tuple(slice(0, n, 1) for n in lazy.shape), axes)
    if keepdims:
        return np.expand_dims(counts, axes)
    return counts if len(axes) < lazy.ndim else int(counts)


def count_box(array: ManifestArray, box: Box, axes: tuple[int, ...]) -> Counts:
    """Elements of `box` that are not zero, along `axes`, which the result lacks.

    Notes
    -----
    Costs one pass over the stored bytes. Zarr's packed masks and packed files are not unpacked, but for ragged ends;
    all else is decoded piece by piece, so that memory stays bounded.
    """
    storage = array.storage
    ndim = len(box)
    if 0 in box_shape(box):
        return np.zeros([n for i, n in enumerate(box_shape(box)) if i not in axes], np.int64)
    counted = storage.count_nonzero(array, box, axes)
    if counted is not None:
        return counted
    if isinstance(storage, PackedManifest) and storage.axis is not None and storage.axis in axes:
        if box[storage.axis].step == 1:
            return _count_packed(array, storage, storage.axis, box, axes)
    elif isinstance(storage, PackedManifest) and storage.axis is None and axes == tuple(range(ndim)):
        whole = all(s == slice(0, n, 1) for s, n in zip(box, array.shape, strict=True))
        if whole:
            return _count_flat(array, storage)
    return _count_pieces(array, box, axes)


def _count_flat(array: ManifestArray, storage: PackedManifest) -> Counts:
    total = 0
    step = _PACKED_PIECE_NBYTES * 64
    nbytes = -(-array.size // 8)
    for first in range(0, nbytes, step):
        last = min(first + step, nbytes)
        raw = packed_bytes(array, storage, (slice(first, last, 1),))
        total += count_nonzero_packed(raw, min(array.size - 8 * first, 8 * (last - first)), bitorder=storage.bitorder)
    return np.asarray(total, np.int64)


def _count_packed(array: ManifestArray, storage: PackedManifest, axis: int, box: Box, axes: tuple[int, ...]) -> Counts:
    """Population counts of the bytes; the bits outside of the box are masked from the first and the last one."""
    along = box[axis]
    first, last = along.start // 8, -(-along.stop // 8)
    keep = np.full(last - first, 0xFF, np.uint8)
    keep[0] &= _mask(along.start % 8, 8, storage.bitorder)
    keep[-1] &= _mask(0, along.stop - 8 * (last - 1), storage.bitorder)
    ragged = bool((keep != 0xFF).any())
    keep = keep.reshape(-1, *(1,) * (len(box) - 1 - axis))
    bytes_box = (*box[:axis], slice(first, last, 1), *box[axis + 1 :])
    shape = box_shape(bytes_box)
    whole = axes == tuple(range(len(box)))

    def count(part: Box, cut: slice | None) -> Counts:
        raw = packed_bytes(array, storage, part)
        if ragged:
            raw = raw & (keep if cut is None else keep[cut])
        if whole:
            # A copy, if at all, of a piece that fits the cache.
            flat = np.ascontiguousarray(raw).reshape(-1)
            return np.asarray(count_nonzero_packed(flat, 8 * flat.size), np.int64)
        return np.asarray(np.bitwise_count(raw).sum(axis=axes, dtype=np.int64))

    cut = next((i for i, n in enumerate(shape) if n > 1), 0)
    rows = max(_PACKED_PIECE_NBYTES // max(math.prod(shape) // shape[cut], 1), 1)
    return _sum_pieces(
        bytes_box, axes, cut, rows, lambda part, where: count(part, where if cut == axis else None), PIECE_NBYTES
    )


def _mask(first: int, last: int, bitorder: str) -> np.uint8:
    """Bits `first` to `last` of a byte."""
    bits = np.zeros(8, np.uint8)
    bits[first:last] = 1
    return np.uint8(np.packbits(bits, bitorder="little" if bitorder == "little" else "big")[0])


def _count_pieces(array: ManifestArray, box: Box, axes: tuple[int, ...]) -> Counts:
    shape = box_shape(box)
    cut = next((i for i, n in enumerate(shape) if n > 1), 0)
    row = math.prod(shape) // (shape[cut] if shape else 1) * max(array.dtype.itemsize, 1)
    rows = max(PIECE_NBYTES // row, 1)
    if shape and not isinstance(array.storage, PackedManifest):
        # Whole chunks: none is decoded twice.
        chunk = (array.shard_shape or array.chunk_shape)[cut]
        rows = -(-rows * box[cut].step // chunk) * chunk
        rows = max(rows // box[cut].step, 1)
    if not shape:
        return np.asarray(np.count_nonzero(read_box(array, box)), np.int64)

    def count(part: Box, where: slice) -> Counts:
        return np.asarray(np.count_nonzero(read_box(array, part), axis=axes), np.int64)

    return _sum_pieces(box, axes, cut, rows, count, 0)


def _sum_pieces(box: Box, axes: tuple[int, ...], cut: int, rows: int, count: Any, parallel_from: int) -> Counts:
    """Counts of the pieces of `box` along axis `cut`, added up or put next to each other."""
    shape = box_shape(box)
    counts = np.zeros([n for i, n in enumerate(shape) if i not in axes], np.int64)
    place = sum(i not in axes for i in range(cut))
    firsts = range(0, shape[cut], rows)
    found: list[Counts] = [counts] * len(firsts)
    start, step = box[cut].start, box[cut].step

    def fill(k: int) -> None:
        lo, hi = firsts[k], min(firsts[k] + rows, shape[cut])
        piece = slice(start + lo * step, start + (hi - 1) * step + 1, step)
        found[k] = count((*box[:cut], piece, *box[cut + 1 :]), slice(lo, hi))

    run_all(fill, range(len(firsts)), parallel=math.prod(shape) >= parallel_from)
    for lo, part in zip(firsts, found, strict=True):
        if cut in axes:
            counts += part
        else:
            counts[(*(slice(None),) * place, slice(lo, lo + part.shape[place]))] = part
    return counts


class BlockCounts:
    """Counts of the blocks of an array, as an array: what dask slices, one index a block along the counted axes.

    Parameters
    ----------
    lazy
        The array.
    chunks
        dask's chunks of it.
    axes
        The axes that are counted away.
    """

    dtype = np.dtype(np.int64)

    def __init__(self, lazy: LazyArray, chunks: tuple[tuple[int, ...], ...], axes: tuple[int, ...]) -> None:
        self.lazy = lazy
        self.axes = axes
        self.edges = [np.concatenate([[0], np.cumsum(c)]) if i in axes else None for i, c in enumerate(chunks)]
        self.shape = tuple(len(c) if i in axes else sum(c) for i, c in enumerate(chunks))

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, key: tuple[slice, ...]) -> Counts:
        box = []
        for s, n, edges in zip(key, self.shape, self.edges, strict=True):
            start, stop, _ = s.indices(n)
            box.append(slice(start, stop, 1) if edges is None else slice(int(edges[start]), int(edges[stop]), 1))
        return np.expand_dims(count_box(self.lazy.array, tuple(box), self.axes), self.axes)

    def __dask_tokenize__(self) -> object:
        return ("packstore.BlockCounts", self.lazy.__dask_tokenize__(), self.axes, self.shape)
