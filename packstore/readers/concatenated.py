"""Arrays made of other arrays: permuted axes, and parts along one axis."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from packstore.storage import ManifestArray, SelectionReader

__all__ = ["Concatenated", "Transposed"]


class Transposed(SelectionReader):
    """Reads an array with its axes permuted, as ``ndarray.transpose(axes)`` does."""

    def __init__(self, base: ManifestArray, axes: tuple[int, ...]) -> None:
        self.base = base
        self.axes = axes

    def read(self, selection: tuple[slice, ...]) -> npt.NDArray[Any]:
        """Elements of a box."""
        # Decoding is above the readers; it is needed only once something is read.
        from packstore.storage.read import read_box

        box = [slice(0, 0, 1)] * len(self.axes)
        for axis, part in zip(self.axes, selection, strict=True):
            box[axis] = part
        return read_box(self.base, tuple(box)).transpose(self.axes)


class Concatenated(SelectionReader):
    """Reads arrays that follow each other along `axis`; only those that the box touches."""

    def __init__(self, parts: Sequence[ManifestArray], axis: int, dtype: np.dtype[Any]) -> None:
        self.parts = parts
        self.axis = axis
        self.dtype = dtype
        self.starts = [0]
        for part in parts:
            self.starts.append(self.starts[-1] + part.shape[axis])

    def read(self, selection: tuple[slice, ...]) -> npt.NDArray[Any]:
        """Elements of a box."""
        from packstore.storage.read import read_box

        along = selection[self.axis]
        wanted = range(along.start, along.stop, along.step)
        pieces: list[npt.NDArray[Any]] = []
        done = 0
        while done < len(wanted):
            i = bisect_right(self.starts, wanted[done]) - 1
            lo = wanted[done] - self.starts[i]
            hi = min(wanted[-1] + 1 - self.starts[i], self.parts[i].shape[self.axis])
            box = (*selection[: self.axis], slice(lo, hi, along.step), *selection[self.axis + 1 :])
            pieces.append(read_box(self.parts[i], box))
            done += len(range(lo, hi, along.step))
        if len(pieces) == 1 and pieces[0].dtype == self.dtype:
            return pieces[0]
        shape = [len(range(s.start, s.stop, s.step)) for s in selection]
        out = np.empty(shape, self.dtype)
        if pieces:
            np.concatenate(pieces, axis=self.axis, out=out)
        return out
