"""The mappings of a virtual dataset; in: an open one, out: its ManifestArray, as large as its sources make it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from h5py import h5s

from packstore.errors import ExternalFileError, UnsupportedError, message
from packstore.readers.hdf5.dataset import finish, open_dataset
from packstore.readers.hdf5.external import version_of
from packstore.readers.hdf5.format.header import stored_dimensions
from packstore.readers.hdf5.links import Target, root, text
from packstore.readers.hdf5.problems import NotServed
from packstore.readers.hdf5.types.empty import empty_element
from packstore.readers.hdf5.virtual.reader import SourcePart, VirtualReader
from packstore.readers.hdf5.virtual.selections import UNLIMITED, clip_elements, clip_extent, selection_of
from packstore.readers.hdf5.virtual.sources import HINT, NO_DATASET, SourceRef, look, unreachable
from packstore.source import FileSource
from packstore.storage import ManifestArray, ReaderStorage, regroup

if TYPE_CHECKING:
    from packstore.readers.hdf5.context import Context

__all__ = ["describe_virtual"]

MAX_MAPPINGS = 1 << 20
# Sources in other files that are looked at when the dataset is opened: all of them where one is virtual itself.
LOOKED = 64


@dataclass(frozen=True)
class _Raw:
    """A mapping as the file stores it."""

    file: str
    dataset: str
    virtual: h5s.SpaceID
    source: h5s.SpaceID

    @property
    def printf(self) -> bool:
        return any(_blocks(name) for name in (self.file, self.dataset))


def _blocks(name: str) -> bool:
    return "%b" in name.replace("%%", "")


def _spell(name: str, block: int = 0) -> str:
    """A source name with ``%b`` and ``%%`` replaced."""
    return "%".join(part.replace("%b", str(block)) for part in name.split("%%"))


def describe_virtual(context: Context, target: Target, dcpl: h5py.h5p.PropDCID) -> ManifestArray:
    """Describe a virtual dataset.

    Raises
    ------
    ExternalFileError
        Sources lie in files that are not allowed; all of them are named.
    UnsupportedError
        A source in the same file cannot be served, the mapping leads back to itself, or the source that its length
        depends on is missing.
    """
    session = target.session
    where = (session.source.name, target.name)
    if where in context.chain:
        raise UnsupportedError(message("serving", *where, got="a virtual dataset that leads back to itself"))
    before = context.chain
    context.chain = (*before, where)
    try:
        raws = [
            _Raw(
                _name(dcpl.get_virtual_filename(i)),
                _name(dcpl.get_virtual_dsetname(i)),
                dcpl.get_virtual_vspace(i),
                dcpl.get_virtual_srcspace(i),
            )
            for i in range(dcpl.get_virtual_count())
        ]
        dims = stored_dimensions(session.header_of(target.oid))
        mapper = _Mapper(context, target, where)
        dims, mappings = mapper.map(raws, dims)
    finally:
        context.chain = before
    ds = open_dataset(context, target, dcpl, dims)
    if ds.fill_by_library:
        raise ds.refuse("a fill value that is no single scalar, in a virtual dataset")
    fill = ds.fill
    if ds.described.has_sequences or (ds.described.is_text and fill is None):
        # libhdf5 sets no fill value on sequences: what no source covers is empty.
        fill = empty_element(ds.described.dtype)
    reader = VirtualReader(
        f"{where[0]}[{where[1]}]",
        len(dims),
        ds.described.extra_shape,
        ds.described.dtype,
        fill,
        mappings,
        mapper.unreachable(mappings),
    )
    chunks = context.chunks_for(ds.shape)
    if chunks in (None, "auto"):
        chunk_shape = _chunk_shape(ds.shape, len(dims), ds.described.dtype, mappings)
    else:
        chunk_shape = ds.chunks()
    return replace(finish(ds, ReaderStorage(reader), chunk_shape), version=mapper.version())


def _name(name: Any) -> str:
    return text(name) if isinstance(name, bytes) else str(name)


def _chunk_shape(
    shape: tuple[int, ...], ndim: int, dtype: np.dtype[Any], mappings: list[SourcePart]
) -> tuple[int, ...]:
    """Pieces that do not cut across sources which tile the dataset: the largest source, cut where it is too large."""
    block = [max(n, 1) for n in shape]
    if mappings:
        extents = np.array([np.subtract(b[1], b[0]) for b in (m.virtual.bounds() for m in mappings)]).reshape(-1, ndim)
        for i in range(ndim):
            block[i] = max(min(block[i], int(extents[:, i].max())), 1)
    return regroup(block, dtype.itemsize)


class _Mapper:
    """Turns raw mappings into mappings to sources."""

    def __init__(self, context: Context, target: Target, where: tuple[str, str]) -> None:
        self.context = context
        self.target = target
        self.where = where
        self.refused: dict[str, str] = {}
        self.refs: dict[tuple[str, str], SourceRef] = {}
        self.looked = 0
        self.nested = False
        # Unlimited mappings from sources that are missing: they cover what the others make room for.
        self.lost: list[tuple[_Raw, int, SourceRef]] = []

    @staticmethod
    def unreachable(mappings: list[SourcePart]) -> dict[str, str]:
        """The sources of these mappings that will not read: names and reasons."""
        return unreachable({id(m.ref): m.ref for m in mappings}.values())

    def version(self) -> tuple[str] | None:
        """What identifies the state of the sources; None where none is in another file."""
        refs = self.refs.values()
        parts = [(r.label, r.source and r.source.fingerprint, r.array and r.array.version) for r in refs]
        return version_of(parts) if any(file != "." for file, _ in self.refs) or any(p[2] for p in parts) else None

    def map(self, raws: list[_Raw], dims: tuple[int, ...]) -> tuple[tuple[int, ...], list[SourcePart]]:
        """The dataset's dimensions, and the parts that sources fill.

        An unlimited mapping is as large as its source. A numbered name stands for sources up to the first missing one.
        """
        mappings: list[SourcePart] = []
        grown: dict[int, int] = {}
        least = [0] * len(dims)
        for raw in raws:
            if len(raw.virtual.shape) != len(dims):
                raise self._error(f"a mapping of {len(raw.virtual.shape)} dimensions for {len(dims)}")
            axis = _unlimited_axis(raw.virtual)
            if axis is None:
                mapping = self._fixed(raw, dims)
            elif raw.printf:
                mappings += self._by_block(raw, dims, axis, grown)
                mapping = None
            else:
                mapping = self._unlimited(raw, dims, axis, grown)
            if mapping is not None:
                mappings.append(mapping)
            if raw.virtual.get_select_type() == h5s.SEL_HYPERSLABS:
                self._least(raw, axis, least)
            if len(mappings) > MAX_MAPPINGS:
                raise self._error(f"more than {MAX_MAPPINGS} mappings")
        if self.refused:
            names = list(self.refused)
            shown = ", ".join(repr(n) for n in names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
            raise ExternalFileError(
                message(
                    "serving a virtual dataset of",
                    *self.where,
                    expected=next(iter(self.refused.values())),
                    got=f"sources in {shown}",
                    hint="Pass allow_external=True, or a folder that they must lie in",
                )
            )
        if grown:
            dims = tuple(max(grown[i], least[i]) if i in grown else n for i, n in enumerate(dims))
        mappings += filter(None, (self._lost(*lost, dims) for lost in self.lost))
        for m in mappings:
            if any(end > n for end, n in zip(m.virtual.bounds()[1], dims, strict=True)):
                raise self._error(f"a mapping up to {m.virtual.bounds()[1]} in a dataset of shape {dims}")
        return dims, mappings

    def _error(self, got: str, hint: str | None = None) -> UnsupportedError:
        return UnsupportedError(message("serving a virtual dataset of", *self.where, got=got, hint=hint))

    @staticmethod
    def _least(raw: _Raw, axis: int | None, least: list[int]) -> None:
        """Fixed parts of mappings also make room for themselves."""
        if raw.virtual.is_regular_hyperslab():
            for i, (start, stride, count, block) in enumerate(zip(*raw.virtual.get_regular_hyperslab(), strict=True)):
                if i != axis:
                    least[i] = max(least[i], start + (count - 1) * stride + block)

    def _ref(self, file: str, dataset: str) -> SourceRef:
        key = (file, dataset)
        found = self.refs.get(key)
        if found is None:
            found = self.refs[key] = self._make_ref(file, dataset)
        return found

    def _make_ref(self, file: str, dataset: str) -> SourceRef:
        session, context = self.target.session, self.context
        ref = SourceRef((file, dataset), context.policy, dataset=dataset, chain=context.chain)
        if file != ".":
            try:
                found = context.policy.find(session.directory, file, "mapping a source", session.source.name)
            except ExternalFileError:
                # Refused files are collected, so that one error names all of them.
                folder = context.policy.root
                self.refused[file] = f"sources inside {folder}" if folder else "no other file to be opened"
                ref.missing = "a file that is not allowed"
                return ref
            if found is None:
                ref.lose("no such file", partial(context.policy.check_missing, session.directory, file))
                return ref
            if found.path != session.source.name:
                ref.source = FileSource(found.path, found)
                ref.dataset = dataset.strip("/")
                ref.read = partial(context.functions.read, context.policy, context.chain)
                if self.looked < LOOKED or self.nested:
                    self.looked += 1
                    self.nested |= look(context, ref)
                return ref
        try:
            target = context.linker.resolve(root(session), dataset.encode("utf-8", "surrogateescape"))
        except NotServed as why:
            ref.lose(str(why), session.source.check)
            return ref
        if not target.is_dataset:
            raise self._error(NO_DATASET)
        try:
            ref.array = context.describe(target)
        except NotServed as why:
            raise self._error(f"a source that is not served: {why}") from None
        return ref

    def _fixed(self, raw: _Raw, dims: tuple[int, ...]) -> SourcePart | None:
        virtual = selection_of(raw.virtual, dims)
        if virtual is None:
            return None
        ref = self._ref(_spell(raw.file), _spell(raw.dataset))
        if raw.source.get_select_type() == h5s.SEL_ALL:
            return SourcePart(virtual, None, ref)
        source = selection_of(raw.source, ())
        if source is None:
            raise self._error("a mapping from nothing")
        return SourcePart(virtual, source, ref)

    def _unlimited(self, raw: _Raw, dims: tuple[int, ...], axis: int, grown: dict[int, int]) -> SourcePart | None:
        """As many elements as the source has now."""
        grown.setdefault(axis, 0)
        s_axis = _unlimited_axis(raw.source)
        if s_axis is None:
            raise self._error("an unlimited mapping from a limited source")
        ref = self._ref(_spell(raw.file), _spell(raw.dataset))
        array = ref.find()
        if array is None:
            self.lost.append((raw, axis, ref))
            return None
        if s_axis >= len(array.shape):
            raise self._error(f"a mapping from dimension {s_axis} of a source of shape {array.shape}")
        start, stride, _, block = (int(part[s_axis]) for part in raw.source.get_regular_hyperslab())
        n = clip_elements(array.shape[s_axis], start, stride, block)
        start, stride, _, block = (int(part[axis]) for part in raw.virtual.get_regular_hyperslab())
        grown[axis] = max(grown[axis], clip_extent(n, start, stride, block))
        virtual = selection_of(raw.virtual, dims, {axis: n})
        source = selection_of(raw.source, (), {s_axis: n})
        return None if virtual is None or source is None else SourcePart(virtual, source, ref)

    def _lost(self, raw: _Raw, axis: int, ref: SourceRef, dims: tuple[int, ...]) -> SourcePart | None:
        """As many elements of a missing source as there is room for."""
        start, stride, _, block = (int(part[axis]) for part in raw.virtual.get_regular_hyperslab())
        virtual = selection_of(raw.virtual, dims, {axis: clip_elements(dims[axis], start, stride, block)})
        if virtual is not None:
            return SourcePart(virtual, None, ref)
        if self.context.policy.fills_missing:
            return None
        file, dataset = ref.label
        raise self._error(f"the length of its source {dataset!r} in {file!r}: {ref.missing}", HINT)

    def _by_block(self, raw: _Raw, dims: tuple[int, ...], axis: int, grown: dict[int, int]) -> list[SourcePart]:
        """One source a block, up to the first that is missing."""
        grown.setdefault(axis, 0)
        parts = raw.virtual.get_regular_hyperslab()
        start, stride, count, block = (int(part[axis]) for part in parts)
        if count != UNLIMITED or block == UNLIMITED:
            raise self._error("numbered source names without numbered blocks")
        source = None if raw.source.get_select_type() == h5s.SEL_ALL else selection_of(raw.source, ())
        found: list[SourcePart] = []
        while len(found) < MAX_MAPPINGS:
            number = len(found)
            ref = self._ref(_spell(raw.file, number), _spell(raw.dataset, number))
            if self.refused or ref.find() is None:
                break
            first = list(parts[0])
            counts, blocks = list(parts[2]), list(parts[3])
            first[axis], counts[axis] = start + number * stride, 1
            extent = tuple(int(f + (c - 1) * s + b) for f, s, c, b in zip(first, parts[1], counts, blocks, strict=True))
            slab = h5s.create_simple(extent)
            slab.select_hyperslab(tuple(first), tuple(counts), tuple(parts[1]), tuple(blocks))
            virtual = selection_of(slab, extent)
            assert virtual is not None
            found.append(SourcePart(virtual, source, ref))
            grown[axis] = max(grown[axis], extent[axis])
        return found


def _unlimited_axis(space: h5s.SpaceID) -> int | None:
    if space.get_select_type() != h5s.SEL_HYPERSLABS or not space.is_regular_hyperslab():
        return None
    _, _, counts, blocks = space.get_regular_hyperslab()
    for i, (count, block) in enumerate(zip(counts, blocks, strict=True)):
        if UNLIMITED in (count, block):
            return i
    return None
