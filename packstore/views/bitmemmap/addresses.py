"""Gather and scatter bits by address: for index arrays along the bits, and for rows that start inside a byte."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from packstore.codecs.bits.kernels import Bytes
from packstore.core.selection import Indices, Selection
from packstore.views.bitmemmap.geometry import Bools, Geometry

__all__ = ["gather", "scatter"]

# Addresses take 8 bytes an element, so they are made for this many elements at a time.
_BLOCK = 1 << 20


def _blocks(
    geometry: Geometry, selection: Selection, block_size: int = _BLOCK
) -> Iterator[tuple[slice, Indices, Indices]]:
    """Yield slices along the first dimension of the result with the byte and the bit position of each element."""
    shape = selection.shape
    packed = geometry.packed_axis
    parts: list[tuple[Indices, int]] = []
    bits = np.zeros((1,) * len(shape), np.intp)
    for item in selection.items:
        if item.axis < 0:
            continue
        grid = selection.grid(item)
        if packed is None:
            parts.append((grid, math.prod(geometry.shape[item.axis + 1 :])))
            continue
        stride = math.prod(geometry.packed_shape[item.axis + 1 :])
        if item.axis == packed:
            bits, grid = grid, grid >> 3
        parts.append((grid, stride))
    rows = shape[0] if shape else 1
    step = max(1, block_size // max(1, math.prod(shape[1:])))
    for lo in range(0, rows, step):
        block = slice(lo, min(lo + step, rows))
        target = (block.stop - lo, *shape[1:]) if shape else ()
        address = np.zeros((1,) * len(shape), np.intp)
        for grid, stride in parts:
            address = address + _cut(grid, block) * stride
        position = address if packed is None else _cut(bits, block)
        if packed is None:
            address = address >> 3
        yield block, np.broadcast_to(address, target), np.broadcast_to(position, target) & 7


def _cut(grid: Indices, block: slice) -> Indices:
    return grid[block] if grid.ndim and grid.shape[0] > 1 else grid


def gather(packed: Bytes, geometry: Geometry, selection: Selection) -> Bools:
    """The selected elements, read byte by byte."""
    flat = packed.reshape(-1)
    out = np.empty(selection.shape, np.bool_)
    if geometry.packed_axis is None and geometry.shape:
        last = selection.on(len(geometry.shape) - 1)
        if isinstance(last.value, range) and last.value.step == 1 and 0 < last.dim == len(selection.shape) - 1:
            _gather_rows(flat, geometry, selection, out)
            return out
    for block, address, position in _blocks(geometry, selection):
        found = (flat[address] >> geometry.shifts(position)) & np.uint8(1)
        out[block if selection.shape else ()] = found
    return out


def _gather_rows(flat: Bytes, geometry: Geometry, selection: Selection, out: Bools) -> None:
    """Rows that start at any bit: gather the bytes of each, then cut those of one phase together."""
    axis = len(geometry.shape) - 1
    length = out.shape[-1]
    items = [
        replace(item, value=item.value[:1]) if item.axis == axis and isinstance(item.value, range) else item
        for item in selection.items
    ]
    starts = replace(selection, items=items, shape=(*selection.shape[:-1], 1))
    width = np.arange((length + 14) // 8)
    for block, address, position in _blocks(geometry, starts, max(1, _BLOCK // length)):
        found = flat[np.minimum(address + width, flat.size - 1)]
        bits = np.unpackbits(found, axis=-1, bitorder=geometry.bitorder).view(np.bool_)
        target, phases = out[block], position[..., 0]
        for phase in range(8):
            rows = phases == phase
            target[rows] = bits[rows, phase : phase + length]


def scatter(
    packed: Bytes, geometry: Geometry, selection: Selection, value: Bools, lock: AbstractContextManager[object]
) -> None:
    """Assign `value` (of the result's shape); where an element is named twice, the last value stays."""
    flat = packed.reshape(-1)
    for block, address, position in _blocks(geometry, selection):
        touched, rank = _distinct(address.reshape(-1))
        place = rank * 8 + position.reshape(-1)
        values = value[block if selection.shape else ()].reshape(-1)
        with lock:
            bits = np.unpackbits(flat[touched], bitorder=geometry.bitorder)
            bits[place] = values
            flat[touched] = np.packbits(bits, bitorder=geometry.bitorder)


def _distinct(address: Indices) -> tuple[Indices, NDArray[np.intp]]:
    """The distinct addresses, ascending, and for each address its rank among them."""
    low = int(address.min())
    span = int(address.max()) - low + 1
    if span > 4 * address.size + 1024:
        touched, rank = np.unique(address, return_inverse=True)
        return touched, rank.reshape(-1)
    # Dense: a table over the span needs no sort.
    offset = address - low
    seen = np.zeros(span, np.bool_)
    seen[offset] = True
    touched = np.flatnonzero(seen)
    ranks = np.empty(span, np.intp)
    ranks[touched] = np.arange(touched.size)
    return touched + low, ranks[offset]
