"""Boxes of a dataset read through h5py; in: a file, a path and a box, out: the elements.

This is for nested variable-length data and for filters that only plugins know. It is slower than the direct route,
since libhdf5 works under one lock, and as right. It opens no file but the named one: datasets whose data lie in other
files (virtual, external storage) never come here.
"""

from __future__ import annotations

import atexit
import contextlib
import math
import os
from collections import OrderedDict
from typing import TYPE_CHECKING

import h5py
import numpy as np
from h5py import h5d, h5o, h5s

from packstore.codecs.hdf5.registry import FILTERS
from packstore.core.boxes import box_shape, touched
from packstore.core.threads import ForkSafeLock
from packstore.core.typing import Array
from packstore.errors import CorruptDataError, PackstoreError, UnsupportedError, message
from packstore.readers.hdf5.files import H5_ERRORS, Session
from packstore.readers.hdf5.types.stored import StoredType
from packstore.source import Source
from packstore.source.cache import CHUNKS
from packstore.storage import BoxReader, Facts, ManifestArray

if TYPE_CHECKING:
    from packstore.readers.hdf5.guard import ElementCheck

__all__ = ["H5Fallback"]

MAX_OPEN = 8
# A box out of at most this many chunks goes through the cache of decoded chunks.
FEW_CHUNKS = 16
# Exceptions that tell of a limit of h5py's or of this machine, and words of libhdf5 that tell of one of its own: it
# does not convert a type, has no plugin, or finds no memory. All else is damage until somebody knows better.
NOT_DAMAGE = (TypeError, NotImplementedError, AttributeError, MemoryError, UnicodeError)
CANNOT = ("conversion", "convert", "required filter", "plugin", "not implemented", "not supported", "memory allocation")


class _Entry:
    """An open file and its datasets. Closed when the last reader lets go of it."""

    def __init__(self, source: Source) -> None:
        self.session = Session(source)
        self.datasets: dict[bytes, h5py.Dataset] = {}

    def dataset(self, path: bytes) -> h5py.Dataset:
        found = self.datasets.get(path)
        if found is None:
            found = self.datasets[path] = h5py.Dataset(h5o.open(self.session.file.id, path))
        return found


_entries: OrderedDict[tuple[int, Source], _Entry] = OrderedDict()
_lock = ForkSafeLock()


@atexit.register
def _close_all() -> None:
    # libhdf5 would close them after the interpreter is gone, and call back into it.
    with _lock:
        entries = list(_entries.values())
        _entries.clear()
    for entry in entries:
        entry.session.close()


def _entry(source: Source) -> _Entry:
    # Files opened before a fork belong to the parent: a child opens its own.
    key = (os.getpid(), source)
    with _lock:
        found = _entries.get(key)
        if found is not None:
            _entries.move_to_end(key)
            return found
    opened = _Entry(source)
    dropped = []  # let go of outside our lock: closing waits for h5py's
    with _lock:
        found = _entries.setdefault(key, opened)
        while len(_entries) > MAX_OPEN:
            dropped.append(_entries.popitem(last=False))
    return found


class H5Fallback(BoxReader):
    """Boxes of one dataset, through h5py.

    Parameters
    ----------
    source
        The file, in the state it had when it was indexed.
    path
        The dataset, by hard links only.
    described
        Its type.
    dims
        Its dimensions, without the ones that an array type adds.
    chunk
        Its chunk shape where chunks are worth keeping once they are decoded.
    plugins
        Whether hdf5plugin must be imported first.
    elements
        The stored elements, which are checked before libhdf5 reads them, or None.

    Notes
    -----
    Thread safe; h5py lets one thread work at a time. At most 8 files are open at once, each process has its own.
    Decoded chunks go to the cache that all arrays share, so that neighbouring crops do not decode them again.
    """

    def __init__(
        self,
        source: Source,
        path: bytes,
        described: StoredType,
        dims: tuple[int, ...],
        chunk: tuple[int, ...] | None = None,
        *,
        plugins: bool = False,
        elements: ElementCheck | None = None,
    ) -> None:
        self.source = source
        self.path = path
        self.described = described
        self.dims = dims
        self.chunk = chunk
        self.plugins = plugins
        self.elements = elements

    def __repr__(self) -> str:
        return f"H5Fallback({self.source.name!r}, {self.path!r})"

    def facts(self, array: ManifestArray) -> Facts:
        """How the array is stored."""
        with Session(self.source) as session:
            try:
                dataset = h5o.open(session.file.id, self.path)
                plist = dataset.get_create_plist()
                codes = [int(plist.get_filter(i)[0]) for i in range(plist.get_nfilters())]
                names = tuple(FILTERS[code].name if code in FILTERS else f"filter {code}" for code in codes)
                chunked = plist.get_layout() == h5d.CHUNKED
                # Chunks of variable-length elements hold references: the elements lie elsewhere.
                whole = not self.described.dtype.hasobject
                nbytes = int(dataset.get_storage_size()) if whole or not chunked else None
                return Facts("through h5py", names, nbytes)
            except H5_ERRORS:
                # Only a description: reading the array says what is damaged.
                return Facts("through h5py")

    def read(self, selection: tuple[slice, ...]) -> Array:
        """Elements of `selection`, with the values that h5py gives.

        Raises
        ------
        StaleFileError
            The file changed since it was indexed.
        UnsupportedError
            libhdf5 or h5py cannot read it, whatever the file holds: a type that libhdf5 does not convert.
        CorruptDataError
            The data are damaged: a filter fails, a checksum does not match, an index leads nowhere.
        """
        self.source.check()
        ndim = len(self.dims)
        outer, inner = selection[:ndim], selection[ndim:]
        out = self._from_chunks(outer) if self.chunk is not None else None
        if out is None:
            out = self._read(outer)
        return out[(slice(None),) * ndim + inner] if inner else out

    def _from_chunks(self, box: tuple[slice, ...]) -> Array | None:
        """A small part of few chunks, by way of the cache; None where reading the box in one go is as good."""
        assert self.chunk is not None
        shape = box_shape(box)
        count = math.prod((s.stop - 1) // c - s.start // c + 1 for s, c in zip(box, self.chunk, strict=True))
        if 0 in shape or count > FEW_CHUNKS or 2 * math.prod(shape) > count * math.prod(self.chunk):
            return None
        parts = []
        for coords, within, place in touched(box, self.chunk):
            key = (id(self), coords)
            part = CHUNKS.get(key, self)
            if part is None:
                whole = tuple(
                    slice(i * c, min((i + 1) * c, n), 1) for i, c, n in zip(coords, self.chunk, self.dims, strict=True)
                )
                part = self._read(whole)
                CHUNKS.put(key, self, part)
            parts.append((place, part[within]))
        if len(parts) == 1:
            return parts[0][1]
        out = np.empty(shape + self.described.extra_shape, self.described.dtype)
        for place, part in parts:
            out[place] = part
        return out

    def _read(self, box: tuple[slice, ...]) -> Array:
        if self.plugins:
            # Where hdf5plugin is not installed, h5py has the plugin from elsewhere: the index asked for it.
            with contextlib.suppress(ImportError):
                import hdf5plugin  # noqa: F401 (registers its plugins)
        name = self.path.decode("utf-8", "surrogateescape").lstrip("/")
        if self.elements is not None:
            self.elements.check(box, name)
        try:
            # Held until the read is over: the last one to let go of it closes the file.
            entry = _entry(self.source)
            dataset = entry.dataset(self.path)
            stored = self.described.stored is not None
            out = self._read_stored(dataset, box) if stored else _read_objects(dataset, box)
        except PackstoreError:
            raise
        except H5_ERRORS as why:
            raise _error(why, self.source.name, name) from why
        return self._as_described(out, name)

    def _read_stored(self, dataset: h5py.Dataset, box: tuple[slice, ...]) -> Array:
        """Elements as they are stored, filters undone, then decoded as on the direct route."""
        stored = self.described.stored
        assert stored is not None
        shape = box_shape(box)
        out = np.empty(shape + self.described.extra_shape, stored)
        if out.size:
            tid = dataset.id.get_type()
            # libhdf5 counts elements, not bytes, so a flat buffer takes any type.
            flat = out.reshape(-1).view(np.uint8)
            if box:
                space = dataset.id.get_space()
                space.select_hyperslab(tuple(s.start for s in box), shape, tuple(s.step for s in box))
                dataset.id.read(h5s.create_simple(shape), space, flat, mtype=tid)
            else:
                dataset.id.read(h5s.ALL, h5s.ALL, flat, mtype=tid)
        return self.described.decode(out)

    def _as_described(self, out: Array, name: str) -> Array:
        want = self.described.dtype
        if out.dtype != want:
            if out.dtype.kind != want.kind or out.dtype.names != want.names:
                raise CorruptDataError(
                    message("reading through h5py", self.source.name, name, expected=want, got=out.dtype)
                )
            out = out.astype(want)
        return out


def _error(why: BaseException, file: str, name: str) -> PackstoreError:
    """What an exception of h5py means: that libhdf5 or h5py cannot do it, or that the data are damaged."""
    words = str(why).lower()
    if isinstance(why, NOT_DAMAGE) or any(part in words for part in CANNOT):
        expected, hint = "what libhdf5 and h5py can read", "The data may be sound"
        return UnsupportedError(message("reading through h5py", file, name, expected=expected, got=why, hint=hint))
    return CorruptDataError(message("reading through h5py", file, name, expected="data that libhdf5 reads", got=why))


def _read_objects(dataset: h5py.Dataset, box: tuple[slice, ...]) -> Array:
    if not box:
        value = dataset[()]
        if isinstance(value, np.ndarray) and value.shape == dataset.shape + _inner(dataset):
            return value
        out = np.empty((), dataset.dtype if dataset.dtype.names else object)
        out[()] = value
        return out
    shape = box_shape(box)
    if 0 in shape:
        return np.empty(shape + _inner(dataset), dataset.dtype.base)
    out = dataset[box]
    return np.asarray(out)


def _inner(dataset: h5py.Dataset) -> tuple[int, ...]:
    return dataset.dtype.shape if dataset.dtype.subdtype else ()
