"""Counts of the chunks that a box touches, made side by side and added up."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from packstore.core.boxes import Box, as_index, box_shape, touched
from packstore.core.threads import run_all
from packstore.core.typing import Array
from packstore.source.remote.ranges import side_by_side
from packstore.storage import plan
from packstore.storage.chain import Chain

__all__ = ["counts_packed", "summed_chunks"]


def counts_packed(chain: Chain) -> bool:
    """Whether elements behind the chain are counted without being unpacked, inside shards too."""
    while chain.serializer.inner is not None:
        chain = chain.serializer.inner
    return chain.serializer.counts_packed


def summed_chunks(
    count: Callable[[tuple[int, ...], Box], Any],
    box: Box,
    chunk_shape: tuple[int, ...],
    keep: int,
    *,
    small: bool,
    is_far: bool = False,
) -> Array:
    """The counts of a box, for each index of its first `keep` axes.

    Parameters
    ----------
    count
        Counts in one chunk, given its coordinates and the box inside it; thread safe.
    small
        Whether chunks are so small that threads would be in each other's way.
    is_far
        Whether each chunk is a request away: several are counted at the same time, whatever the thread.
    """
    shape = box_shape(box)
    items = list(touched(box, chunk_shape))
    found: list[Any] = [None] * len(items)

    def one(i: int) -> None:
        coords, inner, _ = items[i]
        found[i] = count(coords, inner)

    if is_far:
        side_by_side(one, range(len(items)))
    else:
        run_all(one, range(len(items)), parallel=math.prod(shape) >= plan.PARALLEL_PLAIN_NBYTES, small=small)
    counts = np.zeros(shape[:keep], np.int64)
    for item, part in zip(items, found, strict=True):
        counts[as_index(item.outer[:keep])] += part
    return counts
