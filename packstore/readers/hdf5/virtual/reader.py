"""Boxes of virtual datasets; in: the parts that sources fill and a box, out: its elements.

libhdf5 does not read them: it would open the source files by rules of its own (environment, working directory) and
under its lock. Each source is an array like any other, so the parts of a virtual dataset are read in parallel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from packstore.core.boxes import box_shape
from packstore.core.threads import run_all
from packstore.core.typing import Array
from packstore.errors import CorruptDataError, PackstoreError, UnsupportedError, message
from packstore.readers.hdf5.virtual.selections import Picked, Points, Product, Run, cover, overlap, pick
from packstore.readers.hdf5.virtual.sources import SourceRef
from packstore.storage import BoxReader, Facts, ManifestArray
from packstore.storage.read import read_box

__all__ = ["SourcePart", "VirtualReader", "converter"]

PARALLEL_NBYTES = 4 << 20


@dataclass(frozen=True)
class SourcePart:
    """Elements of the virtual dataset and the elements of a source that they are, in the order of both selections.

    `source` is None where all of the source is mapped, whatever its shape.
    """

    virtual: Product | Points
    source: Product | Points | None
    ref: SourceRef


class VirtualReader(BoxReader):
    """Boxes of a virtual dataset.

    Notes
    -----
    Thread safe. Elements that no source covers are the fill value. Those whose source is missing raise, unless the
    caller wants the fill value for them. Where mappings overlap, the last one counts.
    """

    def __init__(
        self,
        name: str,
        ndim: int,
        extra_shape: tuple[int, ...],
        dtype: np.dtype[Any],
        fill: Any,
        mappings: list[SourcePart],
        unreachable: Mapping[str, str],
    ) -> None:
        self.name = name
        self._unreachable = unreachable
        self.ndim = ndim
        self.extra_shape = extra_shape
        self.dtype = dtype
        self.fill = fill
        self.mappings = mappings
        bounds = [m.virtual.bounds() for m in mappings]
        self._firsts = np.array([b[0] for b in bounds], np.int64).reshape(-1, ndim)
        self._ends = np.array([b[1] for b in bounds], np.int64).reshape(-1, ndim)

    def facts(self, array: ManifestArray) -> Facts:
        """How the array is stored."""
        return Facts("virtual")

    def unreachable(self) -> Mapping[str, str]:
        """The sources that are not there or not served, as far as that is known before they are read."""
        return self._unreachable

    def read(self, selection: tuple[slice, ...]) -> Array:
        """Elements of `selection`, each from its source.

        Raises
        ------
        MissingFileError
            The box needs a source that is not there.
        StaleFileError
            A source changed, went or arrived since.
        UnsupportedError
            A source cannot be served, or only libhdf5 converts its type.
        PackstoreError
            A source does not read.
        """
        shape = box_shape(selection)
        out = np.zeros(shape, self.dtype)
        if self.fill is not None:
            out[...] = self.fill
        if 0 in shape:
            return out
        outer = selection[: self.ndim]
        starts = np.array([s.start for s in outer], np.int64)
        stops = np.array([s.stop for s in outer], np.int64)
        hit = np.flatnonzero(((self._firsts < stops) & (self._ends > starts)).all(axis=1))
        parts: list[tuple[Any, Array] | None] = [None] * len(hit)

        def fetch(i: int) -> None:
            parts[i] = self._part(self.mappings[hit[i]], selection)

        run_all(fetch, range(len(hit)), parallel=out.nbytes >= PARALLEL_NBYTES)
        for part in parts:
            if part is not None:
                out[part[0]] = part[1]
        return out

    def _part(self, mapping: SourcePart, selection: tuple[slice, ...]) -> tuple[Any, Array] | None:
        """The index in the result that one source fills, and its elements; None where it fills nothing."""
        try:
            source = mapping.ref.get(self.name)
        except PackstoreError:
            # The steps of a box may lead past the elements of a source that does not read.
            if _touches(mapping.virtual, selection[: self.ndim]):
                raise
            return None
        if source is None:
            return None
        extra = len(self.extra_shape)
        dims = source.shape[: len(source.shape) - extra] if extra else source.shape
        if extra and source.shape[len(dims) :] != self.extra_shape:
            raise self._mismatch(mapping, f"elements of shape {self.extra_shape}", source.shape[len(dims) :])
        chosen = mapping.source or Product(tuple(Run(0, 1, n) for n in dims))
        if chosen.size != mapping.virtual.size:
            raise self._mismatch(mapping, f"{mapping.virtual.size} elements", chosen.size)
        if chosen.size == 0:
            return None
        ends = chosen.bounds()[1]
        if len(ends) != len(dims) or any(e > n for e, n in zip(ends, dims, strict=True)):
            raise self._mismatch(mapping, f"a source of at least {ends}", dims)
        convert = converter(source.dtype, self.dtype)
        if isinstance(convert, str):
            raise UnsupportedError(message("reading", self.name, expected=self.dtype, got=convert))
        outer, inner = selection[: self.ndim], selection[self.ndim :]
        if isinstance(mapping.virtual, Product) and isinstance(chosen, Product):
            v_axes = [i for i, n in enumerate(mapping.virtual.counts) if n != 1]
            s_axes = [i for i, n in enumerate(chosen.counts) if n != 1]
            if [mapping.virtual.counts[i] for i in v_axes] == [chosen.counts[i] for i in s_axes]:
                return self._by_axis(
                    mapping.virtual, chosen, dict(zip(s_axes, v_axes, strict=True)), source, outer, inner, convert
                )
        return self._by_point(mapping.virtual, chosen, source, outer, inner, convert)

    def _by_axis(
        self,
        virtual: Product,
        chosen: Product,
        partner: dict[int, int],
        source: ManifestArray,
        outer: tuple[slice, ...],
        inner: tuple[slice, ...],
        convert: Callable[[Array], Array],
    ) -> tuple[Any, Array] | None:
        """One source's part, axis by axis, where the axes of both sides correspond."""
        numbers: list[Picked] = []
        places: list[Picked] = []
        for axis, wanted in zip(virtual.axes, outer, strict=True):
            found = overlap(axis, wanted)
            if found is None:
                return None
            numbers.append(found[0])
            places.append(found[1])
        box, takes = [], []
        for i, axis in enumerate(chosen.axes):
            covered, take = cover(pick(axis, numbers[partner[i]]) if i in partner else axis)
            box.append(covered)
            takes.append(take)
        data = read_box(source, (*box, *inner))
        for i, take in enumerate(takes):
            if take is not None:
                data = np.take(data, take, axis=i)
        counts = tuple(len(range(p.start, p.stop, p.step)) if isinstance(p, slice) else len(p) for p in places)
        data = convert(data).reshape(counts + box_shape(inner))
        if all(isinstance(p, slice) for p in places):
            return tuple(places), data
        index = [np.arange(p.start, p.stop, p.step) if isinstance(p, slice) else p for p in places]
        return np.ix_(*index), data

    def _by_point(
        self,
        virtual: Product | Points,
        chosen: Product | Points,
        source: ManifestArray,
        outer: tuple[slice, ...],
        inner: tuple[slice, ...],
        convert: Callable[[Array], Array],
    ) -> tuple[Any, Array] | None:
        """One source's part, element by element: for unions of blocks, and selections of different shapes."""
        at = virtual.points()
        inside = _inside(at, outer)
        if not inside.any():
            return None
        starts, steps = np.array([s.start for s in outer]), np.array([s.step for s in outer])
        places = (at[inside] - starts) // steps
        wanted = chosen.points()[inside]
        if wanted.shape[1] == 0:
            return tuple(places.T), convert(read_box(source, inner))
        low, high = wanted.min(0), wanted.max(0) + 1
        box = tuple(slice(int(a), int(b), 1) for a, b in zip(low, high, strict=True))
        data = read_box(source, (*box, *inner))
        return tuple(places.T), convert(data[tuple((wanted - low).T)])

    def _mismatch(self, mapping: SourcePart, expected: object, got: object) -> CorruptDataError:
        file = self.name if mapping.ref.source is None else mapping.ref.source.path
        where = f"{file}[{mapping.ref.dataset}]"
        return CorruptDataError(message(f"mapping {where} into", self.name, expected=expected, got=got))


def _touches(virtual: Product | Points, outer: tuple[slice, ...]) -> bool:
    """Whether a box holds elements of the virtual dataset that a mapping stands for."""
    if isinstance(virtual, Product):
        return all(overlap(axis, wanted) is not None for axis, wanted in zip(virtual.axes, outer, strict=True))
    return bool(_inside(virtual.points(), outer).any())


def _inside(at: Array, outer: tuple[slice, ...]) -> Array:
    """Which of the points lie in a box."""
    inside = np.ones(len(at), bool)
    for i, s in enumerate(outer):
        inside &= (at[:, i] >= s.start) & (at[:, i] < s.stop) & ((at[:, i] - s.start) % s.step == 0)
    return inside


def converter(source: np.dtype[Any], target: np.dtype[Any]) -> Callable[[Array], Array] | str:
    """libhdf5's conversion from a source's dtype to the virtual dataset's; a text where this module has none."""
    if source == target:
        return _same
    if source.kind in "iu" and target.kind in "iu":
        low, high = np.iinfo(target).min, np.iinfo(target).max
        if np.can_cast(source, target, "safe"):
            return lambda a: a.astype(target)
        # libhdf5 takes the nearest value that the target can hold.
        floor, ceiling = max(low, np.iinfo(source).min), min(high, np.iinfo(source).max)
        return lambda a: np.clip(a, floor, ceiling).astype(target)
    if source.kind in "iuf" and target.kind == "f":

        def narrow(a: Array) -> Array:
            # Values that are too large for the target become infinite in libhdf5, too.
            with np.errstate(over="ignore"):
                return a.astype(target)

        return narrow
    if source.kind == target.kind == "c" or (source.kind == target.kind == "S" and source.itemsize <= target.itemsize):
        return lambda a: a.astype(target)
    if source.kind == target.kind == "O":
        return _same
    return f"a source of {source}, which only libhdf5 converts"


def _same(a: Array) -> Array:
    return a
