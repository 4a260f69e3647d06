"""The storage of variable-length elements; in: a dataset's record, out: a reader of ours, or h5py behind a check.

Text and sequences are read without libhdf5; structs with variable-length members, and what holds references, go through
h5py.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from h5py import h5d, h5t

from packstore.codecs.hdf5 import FilterSpec
from packstore.readers.hdf5.dataset import Dataset
from packstore.readers.hdf5.guard import ElementCheck
from packstore.readers.hdf5.layouts import Stored, by_library, stored_as_is
from packstore.readers.hdf5.nested import element_of
from packstore.readers.hdf5.types.disk import disk_type
from packstore.readers.hdf5.types.stored import StoredType
from packstore.readers.hdf5.vlen import FILL, VlenReader
from packstore.storage import ManifestArray, ReaderStorage

__all__ = ["describe_variable"]


def describe_variable(ds: Dataset, filters: tuple[FilterSpec, ...]) -> Stored:
    """Storage and chunk shape of a dataset whose elements lie in the global heap.

    Raises
    ------
    PackstoreError
        Its bytes are not where they should be.
    """
    session = ds.target.session
    tid = ds.target.oid.get_type()
    # The guard has passed the type: `check_fill` makes the same call before.
    kind = disk_type(tid, session.origin.offset_nbytes)
    inner = tid
    while inner.get_class() == h5t.ARRAY:
        inner = inner.get_super()
    element = element_of(inner, session.heaps)
    stored = np.dtype(f"V{kind.nbytes}") if element is None else session.heaps.reference
    fill = np.zeros((), stored)
    if element is not None:
        fill["index"] = FILL
    described = StoredType(stored, stored, extra_shape=() if element is None else ds.described.extra_shape)
    plain = replace(ds, described=described, fill=fill[()], fill_by_library=ds.fill_by_library and element is not None)
    found = stored_as_is(plain, filters)
    if found is None:
        return by_library(ds, filters)
    storage, chunk_shape = found
    if ds.dcpl.get_layout() != h5d.CHUNKED:
        chunk_shape = ds.chunks()
    references = ManifestArray(plain.shape, stored, found[1], storage, plain.fill)
    if element is None:
        return by_library(ds, filters, ElementCheck(references, kind, session.heaps))
    missing = b"" if ds.fill is None else ds.fill
    reader = VlenReader(ds.name, references, session.heaps, element, missing)
    return ReaderStorage(reader), chunk_shape
