"""Raw bytes and packed bits: pre-sized, written in parallel by region."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from packstore.codecs.bits.kernels import RAW_BITORDER, BitOrder
from packstore.core.boxes import Box
from packstore.core.typing import Array
from packstore.errors import DtypeError, OptionError, message
from packstore.storage import packed_bits, regroup
from packstore.writers.atomic import preallocate
from packstore.writers.blocks import write_blocks
from packstore.writers.chunk_shapes import BLOCK_NBYTES
from packstore.writers.items import Item
from packstore.writers.plain_arrays import plain_items, refusal
from packstore.writers.progress import Progress
from packstore.writers.tree import Tree

__all__ = ["PackedSink", "RegionSink", "refusal", "write"]


PACKED_SUFFIX = ".bits"


@dataclass(frozen=True)
class RegionSink:
    """Writes boxes of an array that lies in one run of a pre-sized file; thread safe, picklable.

    Parameters
    ----------
    path, offset
        The file and where element 0 lies, in bytes.
    shape, dtype, order
        Of the whole array.
    """

    path: str
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: Literal["C", "F"] = "C"

    def __call__(self, box: Box, values: Array) -> None:
        values = np.asarray(values, self.dtype)
        shape = self.shape
        if self.order == "F":
            values, box, shape = values.T, box[::-1], shape[::-1]
        rows = np.ascontiguousarray(values)
        # Not through a mapping: pages that two machines share are written back whole by network file systems.
        fd = os.open(self.path, os.O_WRONLY | getattr(os, "O_CLOEXEC", 0))
        try:
            axis = _run_axis(box, shape)
            for index in np.ndindex(rows.shape[:axis]):
                data = memoryview(rows[index].reshape(-1).view(np.uint8))
                start = [s.start for s in box]
                start[:axis] = [a + i for a, i in zip(start, index, strict=False)]
                at = self.offset + int(np.ravel_multi_index(start, shape) if shape else 0) * self.dtype.itemsize
                while data:
                    done = os.pwrite(fd, data, at)
                    data, at = data[done:], at + done
        finally:
            os.close(fd)


def _run_axis(box: Box, shape: tuple[int, ...]) -> int:
    """The axis from which on a box is one run of the file, in C order."""
    axis = len(shape)
    while axis and (axis == len(shape) or (box[axis].start, box[axis].stop) == (0, shape[axis])):
        axis -= 1
    # Axes of length one before it belong to the run, too.
    while axis and box[axis - 1].stop - box[axis - 1].start == 1:
        axis -= 1
    return axis


@dataclass(frozen=True)
class PackedSink:
    """Writes boxes of a mask as packed bits; boxes must start on whole bytes along the packed axis."""

    bits: RegionSink
    axis: int
    bitorder: BitOrder

    def __call__(self, box: Box, values: Array) -> None:
        along = box[self.axis]
        packed = np.packbits(np.asarray(values, np.bool_), axis=self.axis, bitorder=self.bitorder)
        inner = slice(along.start // 8, along.start // 8 + packed.shape[self.axis], 1)
        self.bits((*box[: self.axis], inner, *box[self.axis + 1 :]), packed)


def write(
    target: Path,
    tree: Tree,
    progress: Progress,
    *,
    packed_axis: int | None = None,
    bitorder: BitOrder = RAW_BITORDER,
    order: Literal["C", "F"] = "C",
) -> None:
    """Write one array as ``ndarray.tofile`` does, or as ``np.packbits(mask, axis=packed_axis).tofile``.

    A ``.bits`` file is packed along the last axis, unless `packed_axis` names another one.

    Raises
    ------
    OptionError
        Several arrays, or an axis or order that does not exist.
    DtypeError
        `packed_axis` or ``.bits`` with an array that is not bool.
    """
    if not tree.single:
        raise OptionError(
            message("writing", tree.path, expected="one array for a raw file", got=f"{len(tree.items)} arrays")
        )
    (item,) = plain_items(tree)
    if packed_axis is None and tree.path.lower().endswith(PACKED_SUFFIX):
        if item.dtype != np.bool_:
            hint = "Choose another suffix, such as .raw"
            got = f"dtype {item.dtype}"
            raise DtypeError(message("writing", tree.path, expected="a bool array for .bits", got=got, hint=hint))
        packed_axis = -1
    if order not in ("C", "F"):
        raise OptionError(message("writing", tree.path, expected='order "C" or "F"', got=repr(order)))
    if packed_axis is None:
        write_region(target, b"", item, order, progress)
        return
    if bitorder not in ("big", "little"):
        raise OptionError(message("writing", tree.path, expected='bitorder "big" or "little"', got=repr(bitorder)))
    if item.dtype != np.bool_:
        raise DtypeError(message("packing bits", tree.path, expected="a bool array", got=f"dtype {item.dtype}"))
    ndim = len(item.shape)
    if not -ndim <= packed_axis < ndim:
        raise OptionError(
            message("packing bits", tree.path, expected=f"packed_axis within [-{ndim}, {ndim})", got=packed_axis)
        )
    axis = packed_axis % ndim
    byte_shape = packed_bits(item.shape, axis, bitorder).byte_shape
    preallocate(target, math.prod(byte_shape))
    sink = PackedSink(RegionSink(os.fspath(target), 0, byte_shape, np.dtype(np.uint8)), axis, bitorder)
    block = list(regroup(item.shape, 1, nbytes=BLOCK_NBYTES))
    block[axis] = min(-(-block[axis] // 8) * 8, max(item.shape[axis], 1))
    # Whole bytes along the packed axis: a dask array is rechunked where its chunks cut one.
    unit = tuple(8 if i == axis else 1 for i in range(ndim))
    write_blocks(item, unit if item.is_dask else tuple(block), sink, progress, whole_chunks=True)


def write_region(target: Path, header: bytes, item: Item, order: Literal["C", "F"], progress: Progress) -> None:
    """A header and the elements behind it."""
    preallocate(target, len(header) + item.nbytes)
    if header:
        with open(target, "r+b") as file:
            file.write(header)
    sink = RegionSink(os.fspath(target), len(header), item.shape, item.dtype, order)
    if item.nbytes:
        block = regroup(item.shape, item.dtype.itemsize, order, nbytes=BLOCK_NBYTES)
        write_blocks(item, block, sink, progress, whole_chunks=False)
