"""Counting in pieces: a count for each piece of a box, added up or put next to each other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from packstore.core.boxes import Box, pieces_of
from packstore.core.threads import run_all

__all__ = ["Counts", "count_in_pieces"]

Counts = npt.NDArray[np.int64]


def count_in_pieces(
    count: Callable[[Box], Counts], box: Box, axes: tuple[int, ...], cut: int, length: int, *, parallel: bool
) -> Counts:
    """Cut `box` into pieces of `length` indices along axis `cut` and count each of them.

    Parameters
    ----------
    count
        Gives the counts of a piece along `axes`.
    axes
        The axes that are counted away.
    cut
        The first axis along which the box has more than one index.
    parallel
        Count several pieces at a time, in threads.

    Examples
    --------
    >>> values = np.arange(12).reshape(4, 3) % 2
    >>> box = (slice(0, 4, 1), slice(0, 3, 1))
    >>> count_in_pieces(lambda piece: np.count_nonzero(values[piece], axis=1), box, (1,), 0, 2, parallel=False)
    array([1, 2, 1, 2])
    """
    pieces = [piece for piece, _ in pieces_of(box, cut, length)]
    found: list[Any] = [None] * len(pieces)

    def fill(i: int) -> None:
        found[i] = count(pieces[i])

    run_all(fill, range(len(pieces)), parallel=parallel)
    if cut in axes:
        return np.asarray(sum(found))
    # Axes before `cut` have one index each.
    return np.concatenate(found, axis=sum(i not in axes for i in range(cut)))
