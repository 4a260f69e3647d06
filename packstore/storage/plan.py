"""The plan of a read: which chunks a box touches, in what order of work, and whether several threads do it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from packstore.core.boxes import Box, Touched, touched
from packstore.source.cache import CHUNKS

if TYPE_CHECKING:
    from packstore.storage.chain import Chain

__all__ = ["RUN_NBYTES", "cut", "fits_runs", "inside", "is_whole", "one_chunk", "runs", "wants_threads"]

# Decoded bytes of a box from which several chunks are worth several threads: behind codecs, and as they are.
PARALLEL_NBYTES, PARALLEL_PLAIN_NBYTES = 4 << 20, 16 << 20
# A crop touches at most so many chunks.
_MOST_OF_A_CROP = 64
# Chunks of at most half of this are decoded several at a time.
RUN_NBYTES = 1 << 20


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


def fits_runs(chain: Chain, box: Box, most_nbytes: int) -> bool:
    """Whether chunks are so small, and the box so long, that work done once for several of them counts."""
    return (
        chain.is_plain
        and bool(box)
        and 0 < 2 * chain.serializer.limit.nbytes <= most_nbytes
        and box[-1].stop - box[-1].start >= 2 * chain.shape[-1]
    )


def runs(chain: Chain, has: Any, items: Iterable[Touched], most_nbytes: int) -> Iterator[list[Touched]]:
    """Chunks that are wanted whole and lie side by side along the last axis, together; all others one by one.

    Parameters
    ----------
    has
        Says whether the chunk with the given coordinates is stored.
    """
    most = most_nbytes // chain.serializer.limit.nbytes
    shape = chain.shape
    run: list[Touched] = []
    for item in items:
        coords, inner, _ = item
        whole = has(coords)
        for s, c in zip(inner, shape, strict=True):
            if s.stop - s.start != c or s.step != 1:
                whole = False
        if run and (not whole or len(run) == most or coords[:-1] != run[-1].coords[:-1]):
            yield run
            run = []
        if whole:
            run.append(item)
        else:
            yield [item]
    if run:
        yield run


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
