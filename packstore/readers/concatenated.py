"""Arrays made of other arrays: a box goes in, its elements come out of one that looks otherwise, or of several."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from packstore.core.boxes import Box, box_shape
from packstore.errors import PackstoreError
from packstore.source.remote.ranges import side_by_side
from packstore.storage import BoxReader, Facts, ManifestArray
from packstore.storage.read import read_box

__all__ = ["Concatenated", "Padded", "Transposed"]


class Transposed(BoxReader):
    """Reads an array with its axes permuted, as ``ndarray.transpose(axes)`` does."""

    def __init__(self, base: ManifestArray, axes: tuple[int, ...]) -> None:
        self.base = base
        self.axes = axes

    def read(self, selection: Box) -> npt.NDArray[Any]:
        """Elements of a box."""
        box = [slice(0, 0, 1)] * len(self.axes)
        for axis, part in zip(self.axes, selection, strict=True):
            box[axis] = part
        return read_box(self.base, tuple(box)).transpose(self.axes)


class Padded(BoxReader):
    """Reads an array that is shorter than its `shape`; the elements beyond its end are `fill`."""

    def __init__(self, base: ManifestArray, shape: tuple[int, ...], fill: Any) -> None:
        self.base = base
        self.shape = shape
        self.fill = fill

    def read(self, selection: Box) -> npt.NDArray[Any]:
        """Elements of a box."""
        ends = zip(selection, self.base.shape, strict=True)
        inner = tuple([slice(min(s.start, n), min(s.stop, n), s.step) for s, n in ends])
        if inner == selection:
            return read_box(self.base, selection)
        out = np.empty(box_shape(selection), self.base.dtype)
        out.fill(self.fill)
        stored = box_shape(inner)
        if 0 not in stored:
            out[tuple([slice(0, n) for n in stored])] = read_box(self.base, inner)
        return out

    def facts(self, array: ManifestArray) -> Facts:
        """How the array is stored."""
        return self.base.storage.facts(self.base)

    def token(self) -> object:
        """What identifies the state of the base."""
        return self.base.storage.token()


class Concatenated(BoxReader):
    """Reads arrays that lie side by side along one axis; only those that the box touches.

    Parameters
    ----------
    parts
        The arrays, in order; each is asked for when a box touches it.
    starts
        Where each part starts along `axis`, and the total length last.
    axis
        Along which they lie.
    dtype
        Of the result; parts may differ in byte order.
    new_axis
        The parts lack `axis`: each is one index of it.
    is_far
        Each part is a request away: several are read at the same time.
    compare
        Called with the index of a part and the box that was read of it: raises StaleFileError where it changed.
    """

    def __init__(
        self,
        parts: Sequence[ManifestArray],
        starts: Sequence[int],
        axis: int,
        dtype: np.dtype[Any],
        *,
        new_axis: bool = False,
        is_far: bool = False,
        compare: Callable[[int, Box], None] | None = None,
    ) -> None:
        self.is_far = is_far
        self.compare = compare
        self.parts = parts
        self.starts = starts
        self.axis = axis
        self.dtype = dtype
        self.new_axis = new_axis

    def read(self, selection: Box) -> npt.NDArray[Any]:
        """Elements of a box; a view of the file where one part covers it and nothing is to decode."""
        along = selection[self.axis]
        wanted = range(along.start, along.stop, along.step)
        jobs: list[tuple[int, slice, slice]] = []
        done = 0
        while done < len(wanted):
            i = bisect_right(self.starts, wanted[done]) - 1
            first = wanted[done] - self.starts[i]
            stop = min(wanted[-1] + 1, self.starts[i + 1]) - self.starts[i]
            count = len(range(first, stop, along.step))
            jobs.append((i, slice(first, stop, along.step), slice(done, done + count)))
            done += count
        if len(jobs) == 1:
            piece = self._piece(jobs[0][0], selection, jobs[0][1])
            if piece.dtype == self.dtype:
                return piece
        out = np.empty(box_shape(selection), self.dtype)
        before = (slice(None),) * self.axis

        def put(job: tuple[int, slice, slice]) -> None:
            # One by one: a thousand views would keep as many files open.
            out[(*before, job[2])] = self._piece(job[0], selection, job[1])

        if self.is_far:
            side_by_side(put, jobs)
        else:
            for job in jobs:
                put(job)
        return out

    def facts(self, array: ManifestArray) -> Facts:
        """How the array is stored."""
        return Facts("several files")

    def _piece(self, i: int, selection: Box, inner: slice) -> npt.NDArray[Any]:
        before, after = selection[: self.axis], selection[self.axis + 1 :]
        box = before + after if self.new_axis else (*before, inner, *after)
        try:
            found = read_box(self.parts[i], box)
        except PackstoreError:
            # A chunk that was written again is not damaged.
            if self.compare is not None:
                self.compare(i, box)
            raise
        if self.compare is not None:
            self.compare(i, box)
        return np.expand_dims(found, self.axis) if self.new_axis else found
