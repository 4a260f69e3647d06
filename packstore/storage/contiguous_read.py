"""Elements in one run of bytes: views of the mapped file, or ranged reads where it cannot be mapped."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from packstore.core.boxes import Box, box_shape
from packstore.errors import TruncatedFileError, message
from packstore.source import ByteSpace, FileSource
from packstore.storage import ContiguousManifest, ManifestArray

__all__ = ["check_extent", "contiguous_view", "pread_box", "pread_rows", "read_contiguous", "shape_view"]

Array = npt.NDArray[Any]


def contiguous_view(array: ManifestArray, storage: ContiguousManifest) -> Array | None:
    """The whole array as a read-only view of its bytes, in its stored type; None where the bytes cannot be mapped."""
    space = storage.space
    if isinstance(space, FileSource):
        handle = space.check()
        view = handle.views.get(array)
        return handle.keep_view(array, shape_view(array, storage, space.view())) if view is None else view
    raw = space.view()
    return None if raw is None else shape_view(array, storage, raw)


def shape_view(array: ManifestArray, storage: ContiguousManifest, raw: npt.NDArray[np.uint8]) -> Array:
    check_extent(array, storage)
    if array.size == 0 or storage.stored.itemsize == 0:
        empty = np.empty(array.shape, storage.stored)
        empty.flags.writeable = False
        return empty
    return np.ndarray(array.shape, storage.stored, buffer=raw.data, offset=storage.offset, order=storage.order)


def check_extent(array: ManifestArray, storage: ContiguousManifest) -> None:
    end = storage.offset + array.size * storage.stored.itemsize
    if end > storage.space.nbytes:
        raise TruncatedFileError(
            message("reading", storage.space.name, expected=f"at least {end} bytes", got=storage.space.nbytes)
        )


def read_contiguous(array: ManifestArray, storage: ContiguousManifest, box: Box) -> Array:
    view = contiguous_view(array, storage)
    # The Ellipsis keeps 0-d arrays arrays: numpy's scalars lose the byte order.
    index: tuple[Any, ...] = (*box, ...)
    part = view[index] if view is not None else pread_box(array, storage, box)
    return part if storage.convert is None else storage.convert(part)


def pread_box(array: ManifestArray, storage: ContiguousManifest, box: Box) -> Array:
    """A box by ranged reads: the covering range where that is not much more than the box, else row by row."""
    check_extent(array, storage)
    f_order = storage.order == "F"
    shape = array.shape[::-1] if f_order else array.shape
    slices = box[::-1] if f_order else box
    if 0 in box_shape(box) or storage.stored.itemsize == 0:
        return np.empty(box_shape(box), storage.stored)
    out = pread_rows(storage.space, storage.offset, storage.stored, shape, slices)
    return out.T if f_order else out


def pread_rows(space: ByteSpace, offset: int, dtype: np.dtype[Any], shape: tuple[int, ...], box: Box) -> Array:
    itemsize = dtype.itemsize
    if not shape:
        return np.frombuffer(space.pread(offset, itemsize), dtype).reshape(())
    strides = [itemsize] * len(shape)
    for i in range(len(shape) - 2, -1, -1):
        strides[i] = strides[i + 1] * shape[i + 1]
    wanted = box_shape(box)
    last = [s.start + (n - 1) * s.step for s, n in zip(box, wanted, strict=True)]
    lo = sum(s.start * st for s, st in zip(box, strides, strict=True))
    hi = sum(i * st for i, st in zip(last, strides, strict=True)) + itemsize
    need = math.prod(wanted) * itemsize
    gap = getattr(space, "gap_nbytes", 65536)
    if hi - lo <= 2 * need + gap:
        raw = np.frombuffer(space.pread(offset + lo, hi - lo), np.uint8)
        view = np.ndarray(wanted, dtype, raw.data, 0, tuple(s.step * st for s, st in zip(box, strides, strict=True)))
        return view.copy() if need < (hi - lo) // 2 else view
    out = np.empty(wanted, dtype)
    # Far apart rows one by one; elements that lie closer than `gap` as several ranges of bounded size.
    run = max(gap // (box[0].step * strides[0]), 1) if len(shape) == 1 else 1
    for k in range(0, wanted[0], run):
        first = box[0].start + k * box[0].step
        count = min(run, wanted[0] - k)
        part = slice(first, first + (count - 1) * box[0].step + 1, box[0].step)
        if len(shape) == 1:
            out[k : k + count] = pread_rows(space, offset, dtype, shape, (part,))
        else:
            out[k] = pread_rows(space, offset + first * strides[0], dtype, shape[1:], box[1:])
    return out
