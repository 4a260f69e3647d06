"""Blocks of an object's index: small reads go in, larger ones of the object come out, and are kept."""

from __future__ import annotations

import numpy as np

from packstore.core.typing import Bytes
from packstore.source.base import Fingerprint
from packstore.source.cache import INDEXES

__all__ = ["BLOCK_NBYTES", "find_block", "keep_block"]

# What the first request asks for, and each further one at least.
BLOCK_NBYTES = 256 << 10


def find_block(fingerprint: Fingerprint, offset: int, nbytes: int) -> Bytes | None:
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


def keep_block(fingerprint: Fingerprint, start: int, data: bytes | Bytes) -> None:
    """Keep bytes that start at a multiple of the block's size, and end at one or at the end of the object."""
    found = np.frombuffer(data, np.uint8)
    for at in range(0, found.size, BLOCK_NBYTES):
        INDEXES.put(fingerprint, start + at, found[at : at + BLOCK_NBYTES])
