"""Counts of blocks: an array and dask's chunks of it go in, an array of one count a block comes out."""

from __future__ import annotations

import numpy as np

from packstore.core.counts import Counts
from packstore.core.process import read_here
from packstore.errors import PackstoreError
from packstore.storage.count import count_box
from packstore.views.lazy import LazyArray

__all__ = ["BlockCounts"]


class BlockCounts:
    """Counts of the blocks of an array, as an array: what dask slices, one index a block along the counted axes.

    Parameters
    ----------
    lazy
        The array.
    chunks
        dask's chunks of it.
    axes
        The axes that are counted away.
    """

    dtype = np.dtype(np.int64)

    def __init__(self, lazy: LazyArray, chunks: tuple[tuple[int, ...], ...], axes: tuple[int, ...]) -> None:
        self.lazy = lazy
        self.axes = axes
        self.edges = [np.concatenate([[0], np.cumsum(c)]) if i in axes else None for i, c in enumerate(chunks)]
        self.shape = tuple(len(c) if i in axes else sum(c) for i, c in enumerate(chunks))

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, key: tuple[slice, ...]) -> Counts:
        box = []
        for s, n, edges in zip(key, self.shape, self.edges, strict=True):
            start, stop, _ = s.indices(n)
            box.append(slice(start, stop, 1) if edges is None else slice(int(edges[start]), int(edges[stop]), 1))
        try:
            counts = np.expand_dims(count_box(self.lazy.array, tuple(box), self.axes), self.axes)
            self.lazy.compare(tuple(box))
            return counts
        except PackstoreError as error:
            raise read_here(error) from error

    def __dask_tokenize__(self) -> object:
        return ("packstore.BlockCounts", self.lazy.__dask_tokenize__(), self.axes, self.shape)
