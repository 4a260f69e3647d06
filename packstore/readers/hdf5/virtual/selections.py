"""HDF5 dataspace selections; in: an h5py dataspace, out: the indices of each axis, and the part of them in a box."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from h5py import h5s

from packstore.errors import UnsupportedError, message

__all__ = [
    "UNLIMITED",
    "Axis",
    "Picked",
    "Points",
    "Product",
    "Run",
    "clip_elements",
    "clip_extent",
    "cover",
    "overlap",
    "pick",
    "selection_of",
]

UNLIMITED = h5s.UNLIMITED
Index = npt.NDArray[np.int64]
# The most elements of a selection that is kept point by point, since it is no product of axes: 128 MB an axis.
MAX_POINTS = 1 << 24


@dataclass(frozen=True)
class Run:
    """The indices ``start, start + step, …``, `n` of them."""

    start: int
    step: int
    n: int

    def index(self) -> Index:
        return self.start + self.step * np.arange(self.n, dtype=np.int64)


Axis = Run | Index


@dataclass(frozen=True)
class Product:
    """A regular hyperslab: every combination of the axes' indices, in C order."""

    axes: tuple[Axis, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        return tuple(a.n if isinstance(a, Run) else len(a) for a in self.axes)

    @property
    def size(self) -> int:
        return math.prod(self.counts)

    def bounds(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """First and one past the last index of each axis."""
        firsts, ends = [], []
        for axis in self.axes:
            run = (axis.start, axis.start + axis.step * (axis.n - 1)) if isinstance(axis, Run) else (axis[0], axis[-1])
            firsts.append(int(run[0]))
            ends.append(int(run[1]) + 1)
        return tuple(firsts), tuple(ends)

    def points(self) -> Index:
        """Coordinates of all elements, in C order."""
        if self.size > MAX_POINTS:
            raise UnsupportedError(
                message("mapping a virtual dataset", expected=f"at most {MAX_POINTS} single elements", got=self.size)
            )
        grid = np.meshgrid(*(a.index() if isinstance(a, Run) else a for a in self.axes), indexing="ij")
        return np.stack([g.reshape(-1) for g in grid], axis=1) if grid else np.zeros((1, 0), np.int64)


@dataclass(frozen=True)
class Points:
    """Elements by coordinates, in the order of the selection."""

    coords: Index

    @property
    def size(self) -> int:
        return len(self.coords)

    def bounds(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return tuple(self.coords.min(0).tolist()), tuple((self.coords.max(0) + 1).tolist())

    def points(self) -> Index:
        return self.coords


def clip_elements(extent: int, start: int, stride: int, block: int) -> int:
    """How many indices of an unlimited axis lie below `extent`."""
    rest = max(extent - start, 0)
    if block == UNLIMITED:
        return rest
    return rest // stride * block + min(block, rest % stride)


def clip_extent(n: int, start: int, stride: int, block: int) -> int:
    """The smallest extent that holds the first `n` indices of an unlimited axis."""
    if n == 0:
        return 0
    if block == UNLIMITED:
        return start + n
    return start + (n - 1) // block * stride + (n - 1) % block + 1


def _axis(start: int, stride: int, block: int, n: int) -> Axis:
    """The first `n` indices of a hyperslab's axis."""
    if block in (UNLIMITED, stride) or n <= block:
        return Run(start, 1, n)
    if block == 1:
        return Run(start, stride, n)
    k = np.arange(n, dtype=np.int64)
    return start + k // block * stride + k % block


def selection_of(
    space: h5s.SpaceID, shape: Sequence[int], elements: dict[int, int] | None = None
) -> Product | Points | None:
    """The selection of a dataspace; None where it selects nothing.

    Parameters
    ----------
    shape
        The dimensions that a selection of everything covers.
    elements
        Axis to number of indices, for unlimited axes.
    """
    kind = space.get_select_type()
    if kind == h5s.SEL_NONE:
        return None
    if kind == h5s.SEL_ALL:
        found: Product | Points = Product(tuple(Run(0, 1, int(n)) for n in shape))
    elif kind == h5s.SEL_POINTS:
        found = Points(np.array(space.get_select_elem_pointlist(), np.int64).reshape(-1, len(space.shape)))
    elif space.is_regular_hyperslab():
        axes = []
        for i, (start, stride, count, block) in enumerate(zip(*space.get_regular_hyperslab(), strict=True)):
            n = (elements or {})[i] if UNLIMITED in (count, block) else count * block
            axes.append(_axis(int(start), int(stride), int(block), int(n)))
        found = Product(tuple(axes))
    else:
        found = _irregular(space)
    return found if found.size else None


def _irregular(space: h5s.SpaceID) -> Points:
    """A union of blocks: its elements in C order, which is the order that pairs them with the other side."""
    blocks = np.array(space.get_select_hyper_blocklist(), np.int64)
    total = int(np.prod(blocks[:, 1] - blocks[:, 0] + 1, axis=1).sum())
    if total > MAX_POINTS:
        raise UnsupportedError(
            message("mapping a virtual dataset", expected=f"at most {MAX_POINTS} single elements", got=total)
        )
    parts = [
        Product(tuple(Run(int(a), 1, int(b - a + 1)) for a, b in zip(first, last, strict=True))).points()
        for first, last in blocks
    ]
    coords = np.concatenate(parts)
    return Points(coords[np.lexsort(coords.T[::-1])])


Picked = slice | Index


def overlap(axis: Axis, wanted: slice) -> tuple[Picked, Picked] | None:
    """Which elements of `axis` a slice asks for: their numbers in the axis, and their places in the slice's result."""
    a, b, step = wanted.start, wanted.stop, wanted.step
    if isinstance(axis, Run) and axis.step == 1:
        lo, hi = max(axis.start, a), min(axis.start + axis.n, b)
        first = a + -(-(lo - a) // step) * step
        if first >= hi:
            return None
        n = -(-(hi - first) // step)
        return slice(first - axis.start, hi - axis.start, step), slice((first - a) // step, (first - a) // step + n, 1)
    if isinstance(axis, Run) and step == 1:
        first = max(-(-(a - axis.start) // axis.step), 0)
        last = min(-(-(b - axis.start) // axis.step), axis.n)
        if first >= last:
            return None
        at = axis.start + first * axis.step - a
        return slice(first, last, 1), slice(at, at + (last - first - 1) * axis.step + 1, axis.step)
    index = axis.index() if isinstance(axis, Run) else axis
    inside = np.flatnonzero((index >= a) & (index < b) & ((index - a) % step == 0))
    return (inside, (index[inside] - a) // step) if len(inside) else None


def pick(axis: Axis, which: Picked) -> Axis:
    """The indices behind the numbers `which`."""
    if isinstance(axis, Run) and isinstance(which, slice):
        n = len(range(which.start, which.stop, which.step))
        return Run(axis.start + which.start * axis.step, axis.step * which.step, n)
    index: Index = axis.index() if isinstance(axis, Run) else axis
    return index[which]


def cover(axis: Axis) -> tuple[slice, Index | None]:
    """A slice that holds all indices of a non-empty axis, and the numbers to take from its result (None: all)."""
    if isinstance(axis, Run):
        return slice(axis.start, axis.start + (axis.n - 1) * axis.step + 1, axis.step), None
    low = int(axis.min())
    return slice(low, int(axis.max()) + 1, 1), axis - low
