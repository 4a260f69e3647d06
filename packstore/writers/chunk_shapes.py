"""Shapes of chunks: which ones an array gets in a file, and the boxes that tile the array by them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from packstore.core.boxes import Box
from packstore.errors import OptionError, message
from packstore.writers.items import Item

__all__ = ["BLOCK_NBYTES", "block_boxes", "chunk_option", "fitting_chunks", "grown", "square_chunks"]

# What one thread reads and writes at a time.
BLOCK_NBYTES = 16 << 20


def block_boxes(shape: Sequence[int], block: Sequence[int]) -> Iterator[Box]:
    """Boxes of at most `block` that tile `shape`, in C order; one empty box for a 0-d array, none for an empty one."""
    if 0 in shape:
        return
    ranges = [range(0, n, b) for n, b in zip(shape, block, strict=True)]
    # Lazily: an array may have millions of blocks.
    for index in np.ndindex(*(len(r) for r in ranges)) if ranges else [()]:
        starts = [r[i] for r, i in zip(ranges, index, strict=True)]
        yield tuple(slice(a, min(a + b, n), 1) for a, b, n in zip(starts, block, shape, strict=True))


def grown(shape: Sequence[int], itemsize: int, unit: Sequence[int], nbytes: int) -> tuple[int, ...]:
    """A multiple of `unit` of about `nbytes`, grown along the last axes first and not past `shape`."""
    out = list(unit)
    for axis in range(len(out) - 1, -1, -1):
        factor = max(nbytes // max(math.prod(out) * itemsize, 1), 1)
        out[axis] = unit[axis] * min(factor, max(-(-shape[axis] // unit[axis]), 1))
    return tuple(out)


def square_chunks(shape: Sequence[int], elements: int) -> tuple[int, ...]:
    """About `elements` a chunk: square in the last two axes, the rest along the axes before them.

    Examples
    --------
    >>> square_chunks((50, 4096, 4096), 1 << 20), square_chunks((1000, 28, 28), 1 << 20)
    ((1, 1024, 1024), (1000, 28, 28))
    """
    out = [1] * len(shape)
    square = 1 << (elements.bit_length() - 1) // 2
    left = elements
    for axis in range(len(shape) - 1, -1, -1):
        most = square if len(shape) > 1 and axis >= len(shape) - 2 else left
        out[axis] = max(min(shape[axis], most, left), 1)
        left = max(left // out[axis], 1)
    # A short last axis leaves room in the one before it.
    if len(shape) > 1 and left > 1:
        axis = len(shape) - 2
        out[axis] = max(min(shape[axis], out[axis] * left), 1)
    return tuple(out)


def chunk_option(path: object, item: Item, option: Any) -> tuple[int, ...] | None:
    """The chunk shape that a ``chunks=`` option means for one array; None for the default.

    Raises
    ------
    OptionError
        No shape of positive lengths (-1 or None: the whole axis) with the array's number of axes.
    """
    if isinstance(option, dict):
        option = option.get(item.name)
    if option is None or (isinstance(option, str) and option == "auto"):
        return None
    if isinstance(option, (int, np.integer)) and not isinstance(option, bool) and len(item.shape) == 1:
        option = (option,)
    expected = f"{len(item.shape)} positive lengths"
    if isinstance(option, str) or not isinstance(option, Sequence) or len(option) != len(item.shape):
        raise OptionError(message("chunking", path, item.name or None, expected=expected, got=repr(option)))
    out = []
    for c, n in zip(option, item.shape, strict=True):
        if c is None or c == -1:
            c = max(n, 1)
        if isinstance(c, bool) or not isinstance(c, (int, np.integer)) or c < 1:
            raise OptionError(message("chunking", path, item.name or None, expected=expected, got=repr(option)))
        out.append(int(c))
    return tuple(out)


def fitting_chunks(item: Item, wanted: tuple[int, ...]) -> tuple[int, ...]:
    """`wanted`, or for a dask array the nearest lengths that divide its own chunks, so that none is cut."""
    if not item.is_dask:
        return wanted
    out = []
    for lengths, w in zip(item.data.chunks, wanted, strict=True):
        inner = math.gcd(*lengths[:-1]) if len(lengths) > 1 else 0
        divisors = (d for d in range(min(w, inner), w // 2, -1) if inner % d == 0)
        # Chunks shorter than wanted are merged, unless they are of a sensible size themselves.
        out.append(next(divisors, w) if inner else w)
    return tuple(out)
