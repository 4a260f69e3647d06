"""Slices of dask's blocks, pickled as runs of equal lengths: a graph stays small whatever the number of blocks."""

from __future__ import annotations

import itertools
from typing import Any

from dask.layers import ArraySliceDep

__all__ = ["RunLengthSliceDep"]


class RunLengthSliceDep(ArraySliceDep):  # type: ignore[misc]  # dask is untyped
    """`dask.layers.ArraySliceDep`, whose pickle holds each run of equal block lengths once."""

    def __reduce__(self) -> tuple[Any, ...]:
        runs = tuple(tuple((n, len(list(same))) for n, same in itertools.groupby(lengths)) for lengths in self.chunks)
        return (_expand, (runs,))


def _expand(runs: tuple[tuple[tuple[int, int], ...], ...]) -> RunLengthSliceDep:
    return RunLengthSliceDep(tuple(tuple(n for n, count in axis for _ in range(count)) for axis in runs))
