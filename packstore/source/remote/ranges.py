"""Byte ranges as requests: near ones joined, the rest side by side, within a budget of requests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from packstore import config
from packstore.core.typing import Bytes

__all__ = ["join_ranges", "read_joined", "side_by_side"]

T = TypeVar("T")
R = TypeVar("R")
# A joined request is not larger than this, so that several run at once.
MAX_REQUEST_NBYTES = 16 << 20


def side_by_side(call: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """`call` of each item, several at a time: ``remote.concurrency`` of them."""
    if len(items) < 2:
        return [call(item) for item in items]
    # Clients are thread safe, and each call waits for its answer outside the GIL.
    # Function-level, for import time.
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(len(items), max(int(config.get("remote.concurrency")), 1))) as pool:
        return list(pool.map(call, items))


def read_joined(read: Callable[[int, int], bytes | Bytes], ranges: Sequence[tuple[int, int]]) -> list[bytes | Bytes]:
    """The bytes of each ``(offset, nbytes)``, in that order.

    Parameters
    ----------
    read
        Makes one request, of an offset and a number of bytes.
    ranges
        Those closer than ``remote.gap_nbytes`` become one request.
    """
    joined = join_ranges(ranges, int(config.get("remote.gap_nbytes")), MAX_REQUEST_NBYTES)
    found: list[bytes | Bytes] = [b""] * len(ranges)

    def fetch(item: tuple[int, int, list[int]]) -> None:
        start, stop, members = item
        data = np.frombuffer(read(start, stop - start), np.uint8)
        for i in members:
            offset, nbytes = ranges[i]
            found[i] = data[offset - start : offset - start + nbytes]

    side_by_side(fetch, joined)
    return found


def join_ranges(
    ranges: Sequence[tuple[int, int]], gap_nbytes: int, max_nbytes: int
) -> list[tuple[int, int, list[int]]]:
    """Join byte ranges that lie near each other.

    Parameters
    ----------
    ranges
        ``(offset, nbytes)`` in any order.
    gap_nbytes
        Ranges with at most so many bytes between them are joined.
    max_nbytes
        Joined ranges do not grow beyond that.

    Returns
    -------
    list of (start, stop, members)
        `members` are the positions in `ranges` of those that lie within.

    Examples
    --------
    >>> join_ranges([(100, 10), (0, 10), (12, 8)], 5, 1000)
    [(0, 20, [1, 2]), (100, 110, [0])]
    """
    joined: list[tuple[int, int, list[int]]] = []
    for i in sorted(range(len(ranges)), key=lambda i: ranges[i]):
        offset, nbytes = ranges[i]
        end = offset + nbytes
        if joined:
            start, stop, members = joined[-1]
            if offset <= stop + gap_nbytes and (end <= stop or end - start <= max_nbytes):
                members.append(i)
                joined[-1] = (start, max(stop, end), members)
                continue
        joined.append((offset, end, [i]))
    return joined
