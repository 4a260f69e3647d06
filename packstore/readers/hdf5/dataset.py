"""One dataset's type, dimensions and fill value; in: an open dataset, out: a record for the storage layouts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import h5py
from h5py import h5d, h5s

from packstore.codecs.hdf5 import FilterSpec
from packstore.errors import UnsupportedError, message
from packstore.readers.hdf5.links import Target
from packstore.readers.hdf5.types import describe_type, fill_value
from packstore.readers.hdf5.types.stored import StoredType
from packstore.storage import ManifestArray, Storage, regroup

if TYPE_CHECKING:
    from packstore.readers.hdf5.context import Context
    from packstore.source import Source

__all__ = ["Dataset", "finish", "open_dataset"]


@dataclass
class Dataset:
    """The facts that every storage layout needs.

    Parameters
    ----------
    context, target, dcpl
        The reading it is part of, the open dataset, and its creation properties.
    described
        Its type.
    dims, maxdims
        Its dimensions, without the ones that an array type adds; None in `maxdims` for unlimited.
    fill
        The value of elements that were never written; None for zero.
    fill_by_library
        Whether the fill value is no single scalar, so that only h5py can fill.
    """

    context: Context
    target: Target
    dcpl: h5py.h5p.PropDCID
    described: StoredType
    dims: tuple[int, ...]
    maxdims: tuple[int | None, ...]
    fill: Any = None
    fill_by_library: bool = False

    @property
    def name(self) -> str:
        """Its path, for errors."""
        return self.target.name

    @property
    def source(self) -> Source:
        """The file."""
        return self.target.session.source

    @property
    def shape(self) -> tuple[int, ...]:
        """Its dimensions, with the ones that an array type adds."""
        return self.dims + self.described.extra_shape

    @property
    def element_nbytes(self) -> int:
        """Of an element of the dataset on disk; only where the type is stored as it is."""
        nbytes = self.described.nbytes
        assert nbytes is not None
        return nbytes

    @property
    def filters(self) -> tuple[FilterSpec, ...]:
        """The filter pipeline, in the order of writing."""
        found = []
        for i in range(self.dcpl.get_nfilters()):
            code, _, values, name = self.dcpl.get_filter(i)
            label = name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else str(name)
            found.append(FilterSpec(int(code), tuple(int(v) for v in values), label))
        return tuple(found)

    def refuse(self, why: str, hint: str | None = None) -> UnsupportedError:
        """The error for a dataset that is not served."""
        return UnsupportedError(message("serving", self.source.name, self.name, got=why, hint=hint))

    def chunks(self) -> tuple[int, ...]:
        """A chunk shape for data without chunks."""
        return regroup(self.shape, self.described.dtype.itemsize, chunks=self.context.chunks_for(self.shape))


def open_dataset(
    context: Context, target: Target, dcpl: h5py.h5p.PropDCID, dims: tuple[int, ...] | None = None
) -> Dataset:
    """Read type, dimensions and fill value; `dims` are given where libhdf5 must not be asked for them."""
    maxdims: tuple[int | None, ...]
    if dims is None:
        space = target.oid.get_space()
        if space.get_simple_extent_type() == h5s.NULL:
            why = "a null dataspace, which has no elements"
            raise UnsupportedError(message("serving", target.session.source.name, target.name, got=why))
        dims = tuple(int(n) for n in space.get_simple_extent_dims())
        maxdims = tuple(None if n in (h5s.UNLIMITED, -1) else int(n) for n in space.get_simple_extent_dims(True))
    else:
        maxdims = dims
    tid = target.oid.get_type()
    described = describe_type(tid, target.session.source.name, target.name)
    ds = Dataset(context, target, dcpl, described, dims, maxdims)
    if dcpl.get_fill_time() not in (h5d.FILL_TIME_ALLOC, h5d.FILL_TIME_NEVER, h5d.FILL_TIME_IFSET):
        raise ds.refuse(f"time {dcpl.get_fill_time()} of filling, which there is not", "The file is damaged")
    if described.has_sequences:
        # Asked for the fill value of such a type, h5py writes past the end of its memory.
        ds.fill_by_library = maxdims is not dims and dcpl.fill_value_defined() == h5d.FILL_VALUE_USER_DEFINED
    elif dcpl.get_fill_time() != h5d.FILL_TIME_NEVER:
        # With "never", libhdf5 leaves unwritten elements as they are in the caller's memory, which h5py sets to zero.
        try:
            ds.fill = fill_value(dcpl, tid, described)
        except UnsupportedError:
            ds.fill_by_library = True
    return ds


def finish(ds: Dataset, storage: Storage, chunk_shape: tuple[int, ...]) -> ManifestArray:
    """Put the parts together; the caller adds names of dimensions and attributes."""
    max_shape = ds.maxdims + ds.described.extra_shape
    return ManifestArray(
        shape=ds.shape,
        dtype=ds.described.dtype,
        chunk_shape=chunk_shape,
        storage=storage,
        # Elements with variable-length parts come from libhdf5, which fills in the missing ones.
        fill_value=None if ds.described.has_sequences else ds.fill,
        attributes=dict(ds.described.attributes),
        max_shape=None if max_shape == ds.shape else max_shape,
    )
