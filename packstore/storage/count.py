"""Counting elements that are not zero: packed bits are counted packed, a word at a time."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from packstore.core.boxes import Box, box_shape
from packstore.core.counts import Counts, count_in_pieces
from packstore.errors import OptionError, message
from packstore.storage import ManifestArray
from packstore.storage.read import read_box

__all__ = ["count_box", "count_nonzero", "reduced_axes"]

# Elements are unpacked and counted in pieces of about this many bytes, by several threads.
PIECE_NBYTES = 8 << 20


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


def count_nonzero(array: ManifestArray, axis: int | tuple[int, ...] | None = None, *, keepdims: bool = False) -> Any:
    """As `numpy.count_nonzero` of the whole array: an int, or an int64 array where axes are left."""
    ndim = len(array.shape)
    axes = reduced_axes(axis, ndim)
    counts = count_box(array, tuple([slice(0, n, 1) for n in array.shape]), axes)
    if keepdims:
        return np.expand_dims(counts, axes)
    return counts if len(axes) < ndim else int(counts)


def count_box(array: ManifestArray, box: Box, axes: tuple[int, ...]) -> Counts:
    """Elements of `box` that are not zero, along `axes`, which the result lacks.

    Notes
    -----
    Costs one pass over the stored bytes. Zarr's packed masks and packed files are not unpacked, but for ragged ends;
    all else is decoded piece by piece, so that memory stays bounded.
    """
    storage = array.storage
    if 0 in box_shape(box):
        return np.zeros([n for i, n in enumerate(box_shape(box)) if i not in axes], np.int64)
    counted = storage.count_nonzero(array, box, axes)
    if counted is not None:
        return counted
    return _count_pieces(array, box, axes)


def _count_pieces(array: ManifestArray, box: Box, axes: tuple[int, ...]) -> Counts:
    """Decode and count pieces along the slowest axis, in several threads."""
    shape = box_shape(box)
    cut = next((i for i, n in enumerate(shape) if n > 1), None)
    if cut is None:
        return np.asarray(np.count_nonzero(read_box(array, box), axis=axes), np.int64)
    row = math.prod(shape) // shape[cut] * max(array.dtype.itemsize, 1)
    # Whole chunks: none is decoded twice.
    chunk, step = (array.shard_shape or array.chunk_shape)[cut], box[cut].step
    length = max(-(-max(PIECE_NBYTES // row, 1) * step // chunk) * chunk // step, 1)

    def count(piece: Box) -> Counts:
        return np.asarray(np.count_nonzero(read_box(array, piece), axis=axes), np.int64)

    return count_in_pieces(count, box, axes, cut, length, parallel=True)
