"""The plan of a read: which chunks a box touches, in what order of work, and whether several threads do it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from packstore.core.boxes import Box, Touched, touched
from packstore.core.threads import thread_count
from packstore.source.cache import CHUNKS

if TYPE_CHECKING:
    from packstore.storage.chain import Chain
    from packstore.storage.places import Places

__all__ = ["RUN_NBYTES", "Run", "cut", "inside", "is_whole", "one_chunk", "pieces", "run_axis", "runs", "wants_threads"]

# Decoded bytes of a box from which several chunks are worth several threads: behind codecs, and as they are.
PARALLEL_NBYTES, PARALLEL_PLAIN_NBYTES = 4 << 20, 16 << 20
# A crop touches at most so many chunks.
_MOST_OF_A_CROP = 64
# Chunks of at most a quarter of this are decoded several at a time, up to so many bytes: fewer, longer calls give the
# GIL away less often. Where nothing is to decode, half of it stays in the cache of the processor.
RUN_NBYTES = 2 << 20


def one_chunk(box: Box, chunk_shape: tuple[int, ...]) -> tuple[tuple[int, ...], Box] | None:
    """The chunk that holds all of `box`, and the box in it: most crops come to that.

    Examples
    --------
    >>> one_chunk((slice(5, 7, 1),), (4,)), one_chunk((slice(3, 7, 1),), (4,))
    (((1,), (slice(1, 3, 1),)), None)
    """
    coords = []
    inner = []
    for s, c in zip(box, chunk_shape, strict=True):
        start, stop = s.start, s.stop
        i = start // c
        base = i * c
        if stop > base + c or stop <= start:
            return None
        coords.append(i)
        inner.append(slice(start - base, stop - base, s.step))
    return tuple(coords), tuple(inner)


def is_whole(shape: tuple[int, ...], chunk_shape: tuple[int, ...], coords: tuple[int, ...], inner: Box) -> bool:
    """Whether `inner` is all of the chunk that lies inside the array."""
    for s, c, n, i in zip(inner, chunk_shape, shape, coords, strict=True):
        if s.start != 0 or s.step != 1 or s.stop < min(c, n - i * c):
            return False
    return True


def inside(shape: tuple[int, ...], chunk_shape: tuple[int, ...], coords: tuple[int, ...]) -> int | None:
    """Elements of a chunk up to the last one that lies inside the array; None where all of them do.

    Examples
    --------
    >>> inside((5, 3), (4, 4), (1, 0)), inside((8, 8), (4, 4), (1, 0))
    (3, None)
    """
    counts = [min(c, n - i * c) for n, c, i in zip(shape, chunk_shape, coords, strict=True)]
    if counts == [*chunk_shape]:
        return None
    last = 0
    for count, c in zip(counts, chunk_shape, strict=True):
        last = last * c + count - 1
    return last + 1


def wants_threads(chain: Chain, box: Box, chunk_shape: tuple[int, ...], nbytes: int, keys: Any) -> bool:
    """Whether decoding `nbytes` bytes of `box` is enough work for several threads.

    Parameters
    ----------
    keys
        Gives the cache key of a chunk by its coordinates, to look up whether it is decoded already.
    """
    if nbytes >= (PARALLEL_NBYTES if chain.is_compressed else PARALLEL_PLAIN_NBYTES):
        return True
    slow = None if chain.decoder is None else chain.decoder.slow_from_nbytes
    if slow is None:
        return False
    count = math.prod([-(-s.stop // c) - s.start // c for s, c in zip(box, chunk_shape, strict=True)])
    if not 1 < count <= _MOST_OF_A_CROP or count * chain.serializer.limit.nbytes < slow:
        return False
    return sum([CHUNKS.get(keys(item.coords), chain) is None for item in touched(box, chunk_shape)]) > 1


def run_axis(chain: Chain, box: Box) -> int | None:
    """The axis along which chunks lie side by side in the result, where they are so small that runs of them count.

    That is the last axis of several chunks, where the box holds whole chunks along the axes after it. None: chunks are
    large, the box is short, or elements have to be converted.
    """
    if not chain.is_plain or not 0 < 4 * chain.serializer.limit.nbytes <= RUN_NBYTES:
        return None
    for axis in reversed(range(len(box))):
        length = box[axis].stop - box[axis].start
        if length != chain.shape[axis]:
            return axis if length >= 2 * chain.shape[axis] else None
    return None


class Run(Sequence[Touched]):
    """Whole chunks side by side along one axis.

    Parameters
    ----------
    first
        The first of them.
    axis
        The axis.
    nchunks
        How many they are.
    """

    def __init__(self, first: Touched, axis: int = 0, nchunks: int = 1) -> None:
        self.first = first
        self.axis = axis
        self.nchunks = nchunks

    def __len__(self) -> int:
        return self.nchunks

    @overload
    def __getitem__(self, key: int) -> Touched: ...

    @overload
    def __getitem__(self, key: slice) -> Sequence[Touched]: ...

    def __getitem__(self, key: int | slice) -> Touched | Sequence[Touched]:
        if isinstance(key, slice):
            return [self[i] for i in range(*key.indices(self.nchunks))]
        if not -self.nchunks <= key < self.nchunks:
            raise IndexError(key)
        (coords, inner, outer), axis, i = self.first, self.axis, key % self.nchunks
        if not i:
            return self.first
        shift = i * (inner[axis].stop - inner[axis].start)
        at = slice(outer[axis].start + shift, outer[axis].stop + shift, 1)
        where = (*coords[:axis], coords[axis] + i, *coords[axis + 1 :])
        return Touched(where, inner, (*outer[:axis], at, *outer[axis + 1 :]))


def runs(chain: Chain, places: Places, box: Box, axis: int) -> Iterator[Run]:
    """Chunks that are stored, wanted whole and side by side along `axis`, together; all others one by one."""
    most = RUN_NBYTES // (1 if chain.is_compressed else 2) // chain.serializer.limit.nbytes
    shape = chain.shape
    along = box[axis]
    width = shape[axis]
    # The chunks that lie in the box from end to end, as one chunk of that length.
    start, stop = -(-along.start // width), along.stop // width
    if along.step != 1 or stop - start < 2:
        yield from map(Run, touched(box, shape))
        return
    for part in (slice(along.start, start * width, 1), slice(stop * width, along.stop, 1)):
        if part.start < part.stop:
            for item in touched((*box[:axis], part, *box[axis + 1 :]), shape):
                yield Run(_moved(item, axis, part.start - along.start))
    one = slice(start * width, (start + 1) * width, 1)
    for item in touched((*box[:axis], one, *box[axis + 1 :]), shape):
        first = _moved(item, axis, one.start - along.start)
        line = Run(first, axis, stop - start)
        if any(s.stop - s.start != c or s.step != 1 for s, c in zip(item.inner, shape, strict=True)):
            yield from map(Run, line)
            continue
        there = places.has_along(first.coords, axis, len(line))
        at = 0
        # Where a stretch of stored chunks begins, or one of missing ones.
        for bound in (*(np.flatnonzero(there[1:] != there[:-1]) + 1).tolist(), len(line)):
            step = most if there[at] else 1
            for i in range(at, bound, step):
                yield Run(line[i], axis, min(step, bound - i))
            at = bound


def _moved(item: Touched, axis: int, shift: int) -> Touched:
    """The same part of a chunk, further on in the result."""
    outer = item.outer
    at = slice(outer[axis].start + shift, outer[axis].stop + shift, 1)
    return Touched(item.coords, item.inner, (*outer[:axis], at, *outer[axis + 1 :]))


def pieces(chain: Chain, items: list[Touched]) -> list[Touched]:
    """Chunks that hold inner chunks, cut between those where there are too few for all threads."""
    if len(items) >= 4 * thread_count():
        return items
    inner = chain.serializer.inner
    assert inner is not None
    shape = inner.shape
    if chain.order is not None:
        shape = tuple([shape[chain.order.index(i)] for i in range(len(shape))])
    return [piece for item in items for piece in cut(item, shape)]


def cut(item: Touched, inner_shape: tuple[int, ...]) -> Iterator[Touched]:
    """A part of a chunk in about sixteen parts of whole inner chunks each."""
    counts = [-(-s.stop // n) - s.start // n for s, n in zip(item.inner, inner_shape, strict=True)]
    axis = next((i for i, count in enumerate(counts) if count > 1), None)
    if axis is None:
        yield item
        return
    s = item.inner[axis]
    width = -(-counts[axis] // 16) * inner_shape[axis]
    for _, part, where in touched((s,), (width,)):
        at = s.start + where[0].start * s.step
        stop = at + (part[0].stop - part[0].start)
        base = item.outer[axis].start
        inner = (*item.inner[:axis], slice(at, stop, s.step), *item.inner[axis + 1 :])
        outer = slice(base + where[0].start, base + where[0].stop, 1)
        yield Touched(item.coords, inner, (*item.outer[:axis], outer, *item.outer[axis + 1 :]))
