"""One dataset to one ManifestArray: each storage layout in its own function."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from h5py import h5d, h5s

from packstore.codecs.hdf5 import FilterSpec, h5py_can_decode, unavailable
from packstore.errors import UnsupportedError, message
from packstore.readers.hdf5.chunk_checks import BadIndex, check_chunks
from packstore.readers.hdf5.fallback import Elements, H5Fallback
from packstore.readers.hdf5.format.header import compact_data
from packstore.readers.hdf5.index import chunk_table
from packstore.readers.hdf5.links import Target, text
from packstore.readers.hdf5.types import describe_type, fill_value
from packstore.readers.hdf5.types.stored import StoredType
from packstore.source import ByteSpace, InlineBytes, Segments
from packstore.storage import (
    MISSING,
    DelegatedManifest,
    GridStorage,
    ManifestArray,
    Storage,
    chunked,
    contiguous,
    regroup,
)

if TYPE_CHECKING:
    from packstore.readers.hdf5.context import Context

__all__ = ["Dataset", "by_library", "describe_dataset", "finish", "open_dataset", "stored_as_is"]


@dataclass
class Dataset:
    """What every layout needs to know."""

    context: Context
    target: Target
    dcpl: h5py.h5p.PropDCID
    described: StoredType
    dims: tuple[int, ...]
    maxdims: tuple[int | None, ...]
    fill: Any = None
    # The one that says the fill value is not a single scalar: only h5py can fill then.
    fill_by_library: bool = False

    @property
    def name(self) -> str:
        return text(self.target.path).lstrip("/")

    @property
    def shape(self) -> tuple[int, ...]:
        """With the dimensions of an array type."""
        return self.dims + self.described.extra_shape

    def refuse(self, why: str, hint: str | None = None) -> UnsupportedError:
        return UnsupportedError(message("serving", self.target.session.source.name, self.name, got=why, hint=hint))

    @property
    def space(self) -> ByteSpace:
        return self.target.session.source

    @property
    def element_nbytes(self) -> int:
        """Of an element of the dataset on disk; only where the type is stored as it is."""
        nbytes = self.described.nbytes
        assert nbytes is not None
        return nbytes

    def chunks(self) -> tuple[int, ...]:
        """A chunk shape for data without chunks."""
        return regroup(self.shape, self.described.dtype.itemsize, chunks=self.context.chunks_for(self.shape))


def describe_dataset(context: Context, target: Target) -> ManifestArray:
    """Describe one dataset.

    Raises
    ------
    UnsupportedError
        It cannot be served; the text says why.
    ExternalFileError
        Its data lie in a file that is not allowed.
    """
    from packstore.readers.hdf5.variable import check_fill, describe_variable

    dataset = target.oid
    check_fill(target)
    dcpl = dataset.get_create_plist()
    layout = dcpl.get_layout()
    if layout == h5d.VIRTUAL:
        from packstore.readers.hdf5.virtual.index import describe_virtual

        return describe_virtual(context, target, dcpl)
    ds = open_dataset(context, target, dcpl)
    filters = tuple(_filters(dcpl))
    if layout == h5d.CONTIGUOUS and dcpl.get_external_count():
        storage, chunk_shape = _external(ds)
    elif ds.described.stored is None:
        storage, chunk_shape = describe_variable(ds, filters)
    else:
        found = stored_as_is(ds, filters)
        storage, chunk_shape = by_library(ds, filters) if found is None else found
    return finish(ds, storage, chunk_shape)


def stored_as_is(ds: Dataset, filters: tuple[FilterSpec, ...]) -> tuple[Storage, tuple[int, ...]] | None:
    """Storage and chunk shape of elements of fixed size; None where only libhdf5 can say."""
    layout = ds.dcpl.get_layout()
    if layout == h5d.COMPACT:
        return _compact(ds)
    if layout == h5d.CONTIGUOUS:
        return _contiguous(ds)
    if layout == h5d.CHUNKED:
        return _chunked(ds, filters)
    raise ds.refuse(f"storage layout {layout}, which is not known")


def open_dataset(
    context: Context, target: Target, dcpl: h5py.h5p.PropDCID, dims: tuple[int, ...] | None = None
) -> Dataset:
    """Type, dimensions and fill value; `dims` where libhdf5 must not be asked for them."""
    maxdims: tuple[int | None, ...]
    if dims is None:
        space = target.oid.get_space()
        if space.get_simple_extent_type() == h5s.NULL:
            raise UnsupportedError(
                message(
                    "serving",
                    target.session.source.name,
                    text(target.path).lstrip("/"),
                    got="a null dataspace, which has no elements",
                )
            )
        dims = tuple(int(n) for n in space.get_simple_extent_dims())
        maxdims = tuple(None if n in (h5s.UNLIMITED, -1) else int(n) for n in space.get_simple_extent_dims(True))
    else:
        maxdims = dims
    tid = target.oid.get_type()
    described = describe_type(tid, target.session.source.name, text(target.path).lstrip("/"))
    ds = Dataset(context, target, dcpl, described, dims, maxdims)
    # With "never", libhdf5 leaves what was not written as it finds it in the caller's memory, which h5py sets to zero.
    if described.has_sequences:
        # h5py writes past the end of its memory where it is asked for one of these.
        ds.fill_by_library = maxdims is not dims and dcpl.fill_value_defined() == h5d.FILL_VALUE_USER_DEFINED
    elif dcpl.get_fill_time() != h5d.FILL_TIME_NEVER:
        try:
            ds.fill = fill_value(dcpl, tid, described)
        except UnsupportedError:
            ds.fill_by_library = True
    return ds


def finish(ds: Dataset, storage: Storage, chunk_shape: tuple[int, ...]) -> ManifestArray:
    """Put the parts together; names of dimensions and attributes come later."""
    return ManifestArray(
        shape=ds.shape,
        dtype=ds.described.dtype,
        chunk_shape=chunk_shape,
        storage=storage,
        # Elements with variable-length parts come from libhdf5, which fills in what is missing.
        fill_value=None if ds.described.has_sequences else ds.fill,
        attributes=dict(ds.described.attributes),
    )


def _filters(dcpl: h5py.h5p.PropDCID) -> list[FilterSpec]:
    found = []
    for i in range(dcpl.get_nfilters()):
        code, _, values, name = dcpl.get_filter(i)
        label = name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else str(name)
        found.append(FilterSpec(int(code), tuple(int(v) for v in values), label))
    return found


def by_library(
    ds: Dataset, filters: tuple[FilterSpec, ...], elements: Elements | None = None
) -> tuple[Storage, tuple[int, ...]]:
    """Through h5py; `elements` are looked at before, where they refer to the global heap."""
    plugins = False
    if filters:
        if not h5py_can_decode(filters):
            why = unavailable(filters) or f"filters {[f.id for f in filters]} that h5py cannot decode"
            raise ds.refuse(why)
        plugins = any(f.id >= 256 for f in filters)
    chunk = None
    if ds.dcpl.get_layout() == h5d.CHUNKED:
        chunk = tuple(int(n) for n in ds.dcpl.get_chunk())
        check_chunks(ds.target.session, ds.target.oid, ds.maxdims, chunk, filters)
    # Variable-length elements are objects whose size nobody counts: those are not kept.
    kept = chunk if filters and ds.described.stored is not None else None
    reader = H5Fallback(
        ds.target.session.source, ds.target.path, ds.described, ds.dims, kept, plugins=plugins, elements=elements
    )
    chunk_shape = ds.chunks() if chunk is None else chunk + ds.described.extra_shape
    return DelegatedManifest(reader), tuple(max(n, 1) for n in chunk_shape)


def _compact(ds: Dataset) -> tuple[Storage, tuple[int, ...]]:
    session = ds.target.session
    nbytes = math.prod(ds.dims) * ds.element_nbytes
    found = b""
    if nbytes:
        found = compact_data(*session.header_of(ds.target.oid))
    if nbytes > len(found):
        raise ds.refuse(f"{len(found)} stored bytes for {nbytes}")
    space = InlineBytes(np.frombuffer(found, np.uint8)[:nbytes], f"{session.source.name}[{ds.name}]")
    return _run(ds, space, 0), ds.chunks()


def _run(ds: Dataset, space: ByteSpace, offset: int) -> GridStorage:
    described = ds.described
    assert described.stored is not None
    return contiguous(ds.dims + described.extra_shape, space, offset, described.stored, convert=described.convert)


def _contiguous(ds: Dataset) -> tuple[Storage, tuple[int, ...]] | None:
    offset = ds.target.oid.get_offset()
    stored = ds.target.oid.get_storage_size()
    # h5py adds the user block to the address that stands for none.
    if offset is None or 0 in ds.shape or (stored == 0 and offset == ds.target.session.userblock - 1):
        return _nothing(ds)
    nbytes = math.prod(ds.dims) * ds.element_nbytes
    if nbytes > stored or offset + nbytes > ds.space.nbytes:
        raise ds.refuse(
            f"{nbytes} bytes at offset {offset}, where {stored} are allocated in a file of {ds.space.nbytes}",
            "The file is cut short or damaged",
        )
    return _run(ds, ds.space, int(offset)), ds.chunks()


def _nothing(ds: Dataset) -> tuple[Storage, tuple[int, ...]] | None:
    """Never allocated: every element is the fill value, and no table is kept for it."""
    if ds.fill_by_library:
        return None
    assert ds.described.stored is not None
    chunk_shape = ds.chunks()
    grid = tuple(-(-n // c) for n, c in zip(ds.shape, chunk_shape, strict=True))
    return (
        chunked(
            ds.space,
            chunk_shape,
            np.broadcast_to(MISSING, grid),
            np.broadcast_to(np.uint64(0), grid),
            None,
            (),
            ds.described.stored,
            ds.described.convert,
        ),
        chunk_shape,
    )


def _chunked(ds: Dataset, filters: tuple[FilterSpec, ...]) -> tuple[Storage, tuple[int, ...]] | None:
    chunk = tuple(int(n) for n in ds.dcpl.get_chunk())
    extra = ds.described.extra_shape
    chunk_shape = chunk + extra
    if len(chunk) != len(ds.dims) or 0 in chunk:
        raise ds.refuse(f"chunks of shape {chunk} for a dataset of shape {ds.dims}")
    if unavailable(filters) is not None:
        return None
    nbytes = math.prod(chunk) * ds.element_nbytes
    try:
        table = chunk_table(ds.target.session, ds.target.oid, ds.dims, ds.maxdims, chunk, nbytes, filters)
    except BadIndex:
        return None
    if ds.fill_by_library and bool((table.offsets == MISSING).any()):
        return None
    offsets, sizes, mask = table.offsets, table.nbytes, table.filter_mask
    if extra:
        grid = offsets.shape + tuple(1 if n else 0 for n in extra)
        offsets, sizes = offsets.reshape(grid), sizes.reshape(grid)
        mask = None if mask is None else mask.reshape(grid)
    assert ds.described.stored is not None
    storage = chunked(ds.space, chunk_shape, offsets, sizes, mask, filters, ds.described.stored, ds.described.convert)
    return storage, chunk_shape


def _external(ds: Dataset) -> tuple[Storage, tuple[int, ...]]:
    """External raw storage: runs of other files, one after the other."""
    from packstore.source import FileSource

    if ds.described.stored is None:
        raise ds.refuse("variable-length data in external storage")
    nbytes = math.prod(ds.dims) * ds.element_nbytes
    left = nbytes
    pieces: list[tuple[ByteSpace | None, int, int]] = []
    for i in range(ds.dcpl.get_external_count()):
        raw, offset, size = ds.dcpl.get_external(i)
        name = text(raw) if isinstance(raw, bytes) else raw
        why = f"reading the external storage of {ds.target.session.source.name}[{ds.name}]"
        path = ds.context.policy.find(ds.target.session.directory, name, why)
        # The last piece may have no size of its own: it takes what is left.
        take = left if size in (h5py.h5f.UNLIMITED, -1) else min(int(size), left)
        if take and path is None:
            raise ds.refuse(f"external storage in {name!r}, which does not exist")
        if take:
            assert path is not None
            pieces.append((FileSource(path), int(offset), take))
        left -= take
    if left:
        raise ds.refuse(f"external storage of {nbytes - left} bytes for {nbytes}")
    return _run(ds, Segments(pieces, f"{ds.target.session.source.name}[{ds.name}]"), 0), ds.chunks()
