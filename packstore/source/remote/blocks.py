"""Blocks of an object's index: small reads go in, larger ones of the object come out, and are kept."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from packstore.core.typing import Bytes
from packstore.source.base import Fingerprint
from packstore.source.cache import INDEXES

__all__ = ["HEAD_NBYTES", "around", "find_bytes", "keep_bytes", "missing"]

# What is kept is cut into such blocks.
BLOCK_NBYTES = 16 << 10
# What the first request asks for; what those for bytes that were not kept ask for, one after the other.
HEAD_NBYTES = 256 << 10
_AHEAD_NBYTES = (2 << 20, 4 << 20)
# All of an object of that size is read where its index lies all over it.
SMALL_NBYTES = 8 << 20


def around(offset: int, nbytes: int, total_nbytes: int, misses: int) -> tuple[int, int]:
    """The part of an object, as offset and size, to ask for where some bytes of its index were not kept.

    Parameters
    ----------
    offset, nbytes
        The bytes that are wanted.
    total_nbytes
        The size of the object.
    misses
        How often that happened before: an index that does not end is long, and all of a small object is soon read.

    Notes
    -----
    A request takes as long as some 4 MB do.

    Examples
    --------
    >>> around(1_000_000, 10, 2_000_000, 0), around(1_000_000, 10, 2_000_000, 1)
    ((1000000, 1000000), (0, 2000000))
    """
    if misses and total_nbytes <= SMALL_NBYTES:
        return 0, total_nbytes
    if offset < HEAD_NBYTES:
        return offset, max(nbytes, HEAD_NBYTES)
    ahead = _AHEAD_NBYTES[min(misses, len(_AHEAD_NBYTES) - 1)]
    return offset, min(max(nbytes, ahead), total_nbytes - offset)


def find_bytes(fingerprint: Fingerprint, offset: int, nbytes: int) -> Bytes | None:
    """Bytes that were kept; None where some of them were not."""
    start = offset // BLOCK_NBYTES * BLOCK_NBYTES
    parts = []
    for at in range(start, offset + nbytes, BLOCK_NBYTES):
        block = INDEXES.get(fingerprint, at)
        if block is None:
            return None
        parts.append(block)
    data = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return data[offset - start : offset - start + nbytes]


def missing(fingerprint: Fingerprint, ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The blocks that hold some ``(offset, nbytes)`` and were not kept, as such ranges, neighbours together."""
    wanted = set()
    for offset, nbytes in ranges:
        stop = min(offset + nbytes, fingerprint.nbytes)
        for at in range(offset // BLOCK_NBYTES * BLOCK_NBYTES, stop, BLOCK_NBYTES):
            if INDEXES.get(fingerprint, at) is None:
                wanted.add(at)
    out: list[tuple[int, int]] = []
    for at in sorted(wanted):
        nbytes = min(BLOCK_NBYTES, fingerprint.nbytes - at)
        if out and sum(out[-1]) == at:
            out[-1] = (out[-1][0], out[-1][1] + nbytes)
        else:
            out.append((at, nbytes))
    return out


def keep_bytes(fingerprint: Fingerprint, start: int, data: bytes | Bytes) -> None:
    """Keep bytes that start at a multiple of a block's size, and end at one or at the end of the object."""
    found = np.frombuffer(data, np.uint8)
    for at in range(0, found.size, BLOCK_NBYTES):
        INDEXES.put(fingerprint, start + at, found[at : at + BLOCK_NBYTES].copy())
