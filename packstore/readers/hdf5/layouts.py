"""The storage of one dataset; in: its record, out: where its bytes are, one function for each storage layout."""

from __future__ import annotations

import math

import h5py
import numpy as np
from h5py import h5d

from packstore.codecs.hdf5 import FilterSpec, h5py_can_decode, unavailable
from packstore.errors import CorruptDataError, message
from packstore.readers.hdf5.chunk_index import ChunkTable, chunk_table
from packstore.readers.hdf5.dataset import Dataset
from packstore.readers.hdf5.fallback import H5Fallback
from packstore.readers.hdf5.format.header import compact_data
from packstore.readers.hdf5.guard import ElementCheck, check_chunks
from packstore.readers.hdf5.links import text
from packstore.readers.hdf5.problems import Damaged, NotServed
from packstore.source import ByteSpace, FileSource, InlineBytes, Segments
from packstore.storage import MISSING, GridStorage, ReaderStorage, Storage, chunked, contiguous

__all__ = ["by_library", "external", "stored_as_is"]

# Storage, and the shape of its chunks.
Stored = tuple[Storage, tuple[int, ...]]


def stored_as_is(ds: Dataset, filters: tuple[FilterSpec, ...]) -> Stored | None:
    """Storage of elements of fixed size; None where only libhdf5 can read them."""
    layout = ds.dcpl.get_layout()
    if layout == h5d.COMPACT:
        return _compact(ds)
    if layout == h5d.CONTIGUOUS:
        return _contiguous(ds)
    if layout == h5d.CHUNKED:
        return _chunked(ds, filters)
    raise ds.refuse(f"storage layout {layout}, which is not known")


def by_library(ds: Dataset, filters: tuple[FilterSpec, ...], elements: ElementCheck | None = None) -> Stored:
    """Storage that reads through h5py, and checks `elements` before where they refer to the global heap."""
    plugins = False
    if filters:
        if not h5py_can_decode(filters):
            why = unavailable(filters) or f"filters {[f.id for f in filters]} that h5py cannot decode"
            raise ds.refuse(why)
        plugins = any(f.id >= 256 for f in filters)
    chunk = None
    if ds.dcpl.get_layout() == h5d.CHUNKED:
        chunk = tuple(int(n) for n in ds.dcpl.get_chunk())
        nbytes = math.prod(chunk) * ds.target.oid.get_type().get_size()
        check_chunks(ds.target.session, ds.target.oid, ds.maxdims, chunk, filters, nbytes)
    # Decoded chunks of variable-length elements are not kept: nothing counts the size of their objects.
    kept = chunk if filters and ds.described.stored is not None else None
    reader = H5Fallback(ds.source, ds.target.path, ds.described, ds.dims, kept, plugins=plugins, elements=elements)
    chunk_shape = ds.chunks() if chunk is None else chunk + ds.described.extra_shape
    return ReaderStorage(reader), tuple(max(n, 1) for n in chunk_shape)


def _compact(ds: Dataset) -> Stored:
    session = ds.target.session
    nbytes = math.prod(ds.dims) * ds.element_nbytes
    found = b""
    if nbytes:
        found = compact_data(session.header_of(ds.target.oid))
    if nbytes > len(found):
        raise ds.refuse(f"{len(found)} stored bytes for {nbytes}")
    space = InlineBytes(np.frombuffer(found, np.uint8)[:nbytes], f"{session.source.name}[{ds.name}]")
    return _run(ds, space, 0), ds.chunks()


def _run(ds: Dataset, space: ByteSpace, offset: int) -> GridStorage:
    stored, convert = ds.described.stored, ds.described.convert
    assert stored is not None
    return contiguous(ds.shape, space, offset, stored, convert=convert)


def _contiguous(ds: Dataset) -> Stored | None:
    offset = ds.target.oid.get_offset()
    stored = ds.target.oid.get_storage_size()
    # h5py adds the user block to the undefined address, -1, that stands for no data.
    if offset is None or 0 in ds.shape or (stored == 0 and offset == ds.target.session.origin.base - 1):
        return _nothing(ds)
    nbytes = math.prod(ds.dims) * ds.element_nbytes
    end = ds.target.session.end
    if nbytes > stored or offset + nbytes > end:
        raise ds.refuse(
            f"{nbytes} bytes at offset {offset}, where {stored} are allocated in a file of {end}",
            "The file is cut short or damaged",
        )
    return _run(ds, ds.source, int(offset)), ds.chunks()


def _nothing(ds: Dataset) -> Stored | None:
    """Never allocated: every element is the fill value, and no table is kept for it."""
    if ds.fill_by_library:
        return None
    chunk_shape = ds.chunks()
    grid = tuple(-(-n // c) for n, c in zip(ds.shape, chunk_shape, strict=True))
    table = ChunkTable(np.broadcast_to(MISSING, grid), np.broadcast_to(np.uint64(0), grid), None)
    return _table(ds, chunk_shape, table, ())


def _chunked(ds: Dataset, filters: tuple[FilterSpec, ...]) -> Stored | None:
    chunk = tuple(int(n) for n in ds.dcpl.get_chunk())
    if len(chunk) != len(ds.dims) or 0 in chunk:
        raise ds.refuse(f"chunks of shape {chunk} for a dataset of shape {ds.dims}")
    can_decode = unavailable(filters) is None
    if not can_decode and h5py_can_decode(filters):
        return None
    nbytes = math.prod(chunk) * ds.element_nbytes
    try:
        table = chunk_table(ds.target.session, ds.target.oid, ds.dims, ds.maxdims, chunk, nbytes, filters)
    except NotServed:
        return None
    except Damaged as why:
        what, hint = "reading the chunk index of", "The file is damaged"
        text = message(what, ds.source.name, ds.name, expected="one that agrees with itself", got=why, hint=hint)
        raise CorruptDataError(text) from None
    if ds.fill_by_library and bool((table.offsets == MISSING).any()):
        return None
    if not can_decode and not _some_decode(table, filters):
        return None
    return _table(ds, chunk + ds.described.extra_shape, table, filters)


def _some_decode(table: ChunkTable, filters: tuple[FilterSpec, ...]) -> bool:
    """Whether a chunk was stored without the filters that nobody can undo; also where no chunk was stored at all."""
    stored = table.offsets != MISSING
    masks = {0} if table.filter_mask is None else set(table.filter_mask[stored].tolist())
    applied = ([spec for i, spec in enumerate(filters) if not mask >> i & 1] for mask in masks)
    return not stored.any() or any(unavailable(each) is None for each in applied)


def _table(ds: Dataset, chunk_shape: tuple[int, ...], table: ChunkTable, filters: tuple[FilterSpec, ...]) -> Stored:
    """Storage of chunks whose places are known."""
    offsets, nbytes, mask = table.offsets, table.nbytes, table.filter_mask
    if offsets.ndim < len(chunk_shape):
        # A chunk spans the dimensions of an array type.
        grid = offsets.shape + tuple(1 if n else 0 for n in ds.described.extra_shape)
        offsets, nbytes = offsets.reshape(grid), nbytes.reshape(grid)
        mask = None if mask is None else mask.reshape(grid)
    stored, convert = ds.described.stored, ds.described.convert
    assert stored is not None
    return chunked(ds.source, chunk_shape, offsets, nbytes, mask, filters, stored, convert), chunk_shape


def external(ds: Dataset) -> Stored:
    """External raw storage: the data lie in runs of other files, one after the other."""
    if ds.described.stored is None:
        raise ds.refuse("variable-length data in external storage")
    nbytes = math.prod(ds.dims) * ds.element_nbytes
    left = nbytes
    pieces: list[tuple[ByteSpace | None, int, int]] = []
    for i in range(ds.dcpl.get_external_count()):
        raw, offset, size = ds.dcpl.get_external(i)
        name = text(raw) if isinstance(raw, bytes) else raw
        why = f"reading the external storage of {ds.source.name}[{ds.name}]"
        found = ds.context.policy.find(ds.target.session.directory, name, why)
        # The last piece may have no size of its own: then it holds all the bytes that are left.
        take = left if size in (h5py.h5f.UNLIMITED, -1) else min(int(size), left)
        if take and found is None:
            raise ds.refuse(f"external storage in {name!r}, which does not exist")
        if take:
            assert found is not None
            pieces.append((FileSource(found.path, found), int(offset), take))
        left -= take
    if left:
        raise ds.refuse(f"external storage of {nbytes - left} bytes for {nbytes}")
    return _run(ds, Segments(pieces, f"{ds.source.name}[{ds.name}]"), 0), ds.chunks()
