"""Datasets of variable-length elements: read here where their elements are plain, else by h5py with a look before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5t

from packstore.codecs.hdf5 import FilterSpec
from packstore.errors import CorruptDataError, PackstoreError, UnsupportedError, message
from packstore.readers.hdf5.fallback import Elements
from packstore.readers.hdf5.format.header import fill_bytes
from packstore.readers.hdf5.format.heaps import HeapDamage
from packstore.readers.hdf5.layouts import Dataset, by_library, stored_as_is
from packstore.readers.hdf5.links import Target, text
from packstore.readers.hdf5.types import describe_type
from packstore.readers.hdf5.types.disk import UnsafeType, disk_type
from packstore.readers.hdf5.types.stored import StoredType
from packstore.readers.hdf5.vlen import FILL, Element, VlenReader, check_elements
from packstore.storage import DelegatedManifest, ManifestArray, Storage

__all__ = ["check_fill", "describe_variable"]


def check_fill(target: Target) -> None:
    """Look at a fill value in the global heap before libhdf5 does, which is when it is asked for any property.

    Raises
    ------
    UnsupportedError
        The type is not served.
    CorruptDataError
        The fill value refers to what is not there.
    """
    session, name = target.session, text(target.path).lstrip("/")
    tid = target.oid.get_type()
    if describe_type(tid, session.source.name, name).stored is not None:
        return
    try:
        kind = disk_type(tid, session.offset_nbytes)
    except UnsafeType as why:
        raise UnsupportedError(message("serving", session.source.name, name, got=why)) from None
    raw = fill_bytes(*session.header_of(target.oid))
    try:
        if raw is not None:
            if len(raw) != kind.nbytes:
                raise HeapDamage(f"{len(raw)} bytes")
            check_elements(session.heaps, np.frombuffer(raw, np.uint8).reshape(1, -1), kind)
    except HeapDamage as why:
        raise CorruptDataError(
            message(
                "reading the fill value of", session.source.name, name, expected=f"one of {kind.nbytes} bytes", got=why
            )
        ) from None


def describe_variable(ds: Dataset, filters: tuple[FilterSpec, ...]) -> tuple[Storage, tuple[int, ...]]:
    """Storage and chunk shape of a dataset whose elements lie in the global heap.

    Raises
    ------
    PackstoreError
        Its bytes are not where they should be.
    """
    session = ds.target.session
    tid = ds.target.oid.get_type()
    # `check_fill` has let it pass.
    kind = disk_type(tid, session.offset_nbytes)
    element = _element(tid)
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
        return by_library(ds, filters, Elements(references, kind, session.heaps))
    missing = b"" if ds.fill is None else ds.fill
    reader = VlenReader(ds.name, references, session.heaps, element, missing)
    return DelegatedManifest(reader), chunk_shape


def _element(tid: h5t.TypeID) -> Element | None:
    """How an element is put together from its bytes; None where that is left to h5py."""
    while tid.get_class() == h5t.ARRAY:
        tid = tid.get_super()
    if tid.get_class() == h5t.STRING:
        return Element(None)
    if tid.get_class() != h5t.VLEN:
        return None
    try:
        base: Any = describe_type(tid.get_super())
    except PackstoreError:
        return None
    dtype = h5py.check_vlen_dtype(tid.dtype)
    # Of another byte order h5py gives what is not the elements' dtype: that is left to it.
    if base.stored is None or base.extra_shape or not isinstance(dtype, np.dtype) or base.dtype != dtype:
        return None
    return Element(base, dtype) if dtype.isnative else None
