"""The second step of a read far away: the chunks of a plan go in, their stored bytes come out, many to a call."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator

import numpy as np

from packstore import config
from packstore.core.boxes import Box, Touched, box_shape
from packstore.source import ByteSpace
from packstore.source.cache import CHUNKS
from packstore.storage.chain import Chain
from packstore.storage.places import INDEX, Places, Wanted
from packstore.storage.stored import MemoryBytes, SpaceRange, Stored

__all__ = ["Fetched", "batches", "wanted"]

# A chunk, its stored bytes or None where there are none, and True: it need not be asked for again.
Fetched = tuple[Touched, Stored | None, bool]


def batches(
    places: Places, chain: Chain, chunk_shape: tuple[int, ...], items: Iterable[Touched]
) -> Iterator[list[Fetched]] | None:
    """Chunks with those of their bytes that are needed, ``remote.inflight_nbytes`` at a time.

    None where they are at hand, or asked for one by one.
    """
    if places.is_far:
        return _objects(places, chain, chunk_shape, items)
    space = places.space
    if space is not None and space.view() is None:
        return _ranges(places, chain, space, items)
    return None


def wanted(chain: Chain, chunk_shape: tuple[int, ...], coords: tuple[int, ...], inner: Box) -> Wanted:
    """What of a chunk's object is asked for: of a shard the index, or all of it where most of it is wanted."""
    if not chain.serializer.nested:
        return coords, chain.cover(inner)
    most = 2 * math.prod(box_shape(inner)) > math.prod(chunk_shape)
    return coords, None if most else INDEX


def _objects(
    places: Places, chain: Chain, chunk_shape: tuple[int, ...], items: Iterable[Touched]
) -> Iterator[list[Fetched]]:
    """Chunks that are objects of their own."""
    many = max(int(config.get("remote.inflight_nbytes")) // max(chain.serializer.limit.nbytes, 1), 1)
    rest = iter(items)
    while batch := list(itertools.islice(rest, many)):
        found = places.fetch([wanted(chain, chunk_shape, item.coords, item.inner) for item in batch])
        yield [(item, stored, True) for item, stored in zip(batch, found, strict=True)]


def _ranges(places: Places, chain: Chain, space: ByteSpace, items: Iterable[Touched]) -> Iterator[list[Fetched]]:
    """Chunks that are ranges of one object."""
    batch: list[tuple[Touched, Stored | None]] = []
    total, most = 0, int(config.get("remote.inflight_nbytes"))
    for item in items:
        stored = places.open(item.coords)
        batch.append((item, stored))
        total += 0 if stored is None else stored.nbytes
        if total >= most:
            yield _fetch(chain, space, batch)
            batch, total = [], 0
    yield _fetch(chain, space, batch)


def _fetch(chain: Chain, space: ByteSpace, batch: list[tuple[Touched, Stored | None]]) -> list[Fetched]:
    """The batch with its bytes in memory, but for those that are kept or read row by row."""
    asked: list[tuple[int, SpaceRange, int, int]] = []
    for i, (item, stored) in enumerate(batch):
        if isinstance(stored, SpaceRange) and CHUNKS.get(stored.key, chain) is None:
            first, last = chain.cover(item.inner) or (0, stored.nbytes)
            # Rows that lie far apart are asked for one by one, and a wrong size is the chain's to say.
            need = math.prod(box_shape(item.inner)) * chain.serializer.dtype.itemsize
            if last <= stored.nbytes and (chain.decoder is not None or stored.covers(need, last - first, 1)):
                asked.append((i, stored, first, last))
    ranges = [(stored.offset + first, last - first) for _, stored, first, last in asked]
    for (i, stored, first, _), data in zip(asked, space.read_ranges(ranges), strict=True):
        found = np.frombuffer(data, np.uint8)
        memory = MemoryBytes(found, stored.key, stored.mask, fresh=True, base=first, nbytes=stored.nbytes)
        batch[i] = (batch[i][0], memory)
    return [(item, stored, True) for item, stored in batch]
