"""Shapes of chunks: which ones an array gets in a file, and the boxes that tile the array by them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from packstore.core.boxes import Box
from packstore.errors import OptionError, message
from packstore.writers.items import Item

__all__ = [
    "BLOCK_NBYTES",
    "block_boxes",
    "chunk_option",
    "fitting_chunks",
    "frame_chunks",
    "grown",
    "source_chunks",
]

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


def frame_chunks(shape: Sequence[int], elements: int, frame_elements: int) -> tuple[int, ...]:
    """A chunk shape of about `elements`: whole frames, or equal parts of large ones.

    Parameters
    ----------
    frame_elements
        The last two axes are not cut where they hold at most that many elements.

    Notes
    -----
    Axes are cut into equal parts, so no chunk at an edge is a sliver. Parts of 64 elements and more are multiples of 8,
    so that rows of packed bits are whole bytes.

    Examples
    --------
    >>> frame_chunks((100, 1065, 1030), 1 << 20, 1 << 22), frame_chunks((50, 4096, 4096), 1 << 20, 1 << 22)
    ((1, 1065, 1030), (1, 1024, 1024))
    >>> frame_chunks((1000, 28, 28), 1 << 20, 1 << 22), frame_chunks((1_500_000,), 1 << 20, 1 << 22)
    ((1000, 28, 28), (750000,))
    """
    out = [max(n, 1) for n in shape]
    frame = math.prod(out[-2:])
    if len(out) > 1 and frame > frame_elements:
        out[-1] = _part(out[-1], max(math.isqrt(elements), elements // out[-2]))
        out[-2] = _part(out[-2], max(elements // out[-1], 1))
        frame = math.prod(out[-2:])
    left, first = (max(elements // frame, 1), len(out) - 3) if len(out) > 1 else (elements, len(out) - 1)
    for axis in range(first, -1, -1):
        out[axis] = _part(out[axis], left)
        left = max(left // out[axis], 1)
    return tuple(out)


def _part(n: int, most: int) -> int:
    """The length of equal parts of an axis that are at most about `most` long; the last one has half of it at least."""
    part = -(-n // -(-n // most))
    whole_bytes = part >= 64
    if whole_bytes:
        part = min(-(-part // 8) * 8, n)
    # Rounding up may leave next to nothing for the last part: shorter ones fit then.
    lengths = itertools.chain(range(part, part // 2, -8) if whole_bytes else (), range(part, part // 2, -1))
    return next((length for length in lengths if 2 * (n % length or length) >= length), part)


def source_chunks(item: Item, *, least_nbytes: int, most_nbytes: int, few: int) -> tuple[int, ...] | None:
    """The source's own chunks, where they are good ones in the target too.

    Parameters
    ----------
    least_nbytes, most_nbytes
        Chunks that are larger are not kept; of smaller ones several become one, unless there are `few` of them.
    """
    chunk = item.chunk_shape
    if chunk is None or item.is_dask or len(chunk) != len(item.shape):
        return None
    itemsize = max(item.dtype.itemsize, 1)
    if math.prod(chunk) * itemsize > most_nbytes or 0 in item.shape:
        return None
    count = math.prod(-(-n // c) for n, c in zip(item.shape, chunk, strict=True))
    if math.prod(chunk) * itemsize >= least_nbytes or count <= few:
        return tuple(chunk)
    return grown(item.shape, itemsize, chunk, least_nbytes)


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
