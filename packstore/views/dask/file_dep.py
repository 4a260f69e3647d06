"""Arguments of dask tasks over joined files: a block's index goes in, the files that the block touches come out."""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

from dask.layers import ArrayBlockwiseDep

from packstore.readers.joined import MultiLocation

__all__ = ["FilePartDep"]


class FilePartDep(ArrayBlockwiseDep):  # type: ignore[misc]  # dask is untyped
    """Block index → arguments of the read, made when the graph is materialised (on the scheduler, from this object)."""

    def __init__(self, chunks: tuple[tuple[int, ...], ...], where: MultiLocation) -> None:
        super().__init__(chunks)
        self.where = where
        self.edges = [_edges(lengths) for lengths in chunks]
        self.starts = where.starts

    def __getitem__(self, idx: tuple[int, ...]) -> Any:
        where = self.where
        box = [slice(e[i], e[i + 1], 1) for e, i in zip(self.edges, idx, strict=True)]
        along = box[where.axis]
        # An empty block still names one file: its shape and dtype are all that is asked for.
        first = min(max(bisect_right(self.starts, along.start) - 1, 0), len(where.parts.locations) - 1)
        last = max(bisect_right(self.starts, along.stop - 1), first + 1)
        base = self.starts[first]
        box[where.axis] = slice(along.start - base, along.stop - base, 1)
        return (where.parts.span(first, last), where.dtype, where.axis, where.new_axis, tuple(box))

    def __reduce__(self) -> tuple[Any, ...]:
        return (FilePartDep, (self.chunks, self.where))


def _edges(lengths: tuple[int, ...]) -> list[int]:
    out = [0]
    for n in lengths:
        out.append(out[-1] + n)
    return out
