"""Types that hold variable-length parts inside others; in: an h5py type, out: how its stored bytes become values.

libhdf5 converts such elements one at a time and fails on many ("invalid background buffer pointer"), or crashes. Here
each part is decoded by itself, all elements of a sequence at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from h5py import h5t

from packstore.core.typing import Array
from packstore.errors import PackstoreError
from packstore.readers.hdf5.format.heaps import Heaps
from packstore.readers.hdf5.problems import Damaged
from packstore.readers.hdf5.types import describe_type
from packstore.readers.hdf5.types.disk import disk_type
from packstore.readers.hdf5.types.stored import StoredType
from packstore.readers.hdf5.vlen import Element, resolve

__all__ = ["element_of", "inner_type"]


def element_of(tid: h5t.TypeID, heaps: Heaps) -> Element | None:
    """How an element of variable length is put together from its bytes; None where h5py does that."""
    if tid.get_class() == h5t.STRING:
        return Element(None)
    if tid.get_class() != h5t.VLEN:
        return None
    base = inner_type(tid.get_super(), heaps)
    if base is None or base.extra_shape:
        return None
    dtype = h5py.check_vlen_dtype(tid.dtype)
    # h5py gives sequences of another byte order a dtype that is not the one of their elements: h5py reads them.
    if not isinstance(dtype, np.dtype) or base.dtype != dtype or not dtype.isnative:
        return None
    return Element(base, dtype)


def inner_type(tid: h5t.TypeID, heaps: Heaps) -> StoredType | None:
    """A type with the decoding of its variable-length parts, as they lie on disk; None where only h5py decodes it."""
    try:
        described = describe_type(tid)
    except PackstoreError:
        return None
    if described.stored is not None:
        return described
    if tid.get_class() == h5t.COMPOUND:
        return _struct(tid, described, heaps)
    element = element_of(tid, heaps)
    if element is None:
        return None
    return StoredType(described.dtype, heaps.reference, _Resolve(heaps, element))


def _struct(tid: h5t.TypeID, described: StoredType, heaps: Heaps) -> StoredType | None:
    offset_nbytes = heaps.file.offset_nbytes
    members = [(int(tid.get_member_offset(i)), i, tid.get_member_type(i)) for i in range(tid.get_nmembers())]
    parts: list[tuple[int, int, StoredType]] = []
    shift = 0
    for offset, i, member in sorted(members, key=lambda m: m[0]):
        part = inner_type(member, heaps)
        if part is None:
            return None
        parts.append((i, offset + shift, part))
        # In memory all that follows is moved by as much as the parts before it are larger.
        shift += disk_type(member, offset_nbytes).nbytes - member.get_size()
    names = described.dtype.names
    if names is None or len(names) != len(members):
        return None
    fields = tuple((names[i], offset, part) for i, offset, part in parts)
    stored = np.dtype(f"V{disk_type(tid, offset_nbytes).nbytes}")
    return StoredType(described.dtype, stored, _Struct(described.dtype, fields))


@dataclass(frozen=True)
class _Resolve:
    """References to the heap become text or arrays."""

    heaps: Heaps
    element: Element

    def __call__(self, stored: Array) -> Array:
        flat = stored.reshape(-1)
        # Each object is written for one reference. A file that says otherwise could multiply with each level.
        nbytes = int(flat["length"].astype(np.int64).sum()) * self.element.nbytes
        if nbytes > self.heaps.source.nbytes:
            raise Damaged(f"variable-length parts of {nbytes} bytes in a file of {self.heaps.source.nbytes}")
        out = np.empty(flat.size, object)
        try:
            resolve(self.heaps, self.element, flat, out)
        except Damaged as why:
            # Its number is that of a part of an element.
            raise Damaged(str(why)) from None
        return out.reshape(stored.shape)


@dataclass(frozen=True)
class _Struct:
    """Opaque bytes become a struct, member by member."""

    dtype: np.dtype[Any]
    fields: tuple[tuple[str, int, StoredType], ...]

    def __call__(self, stored: Array) -> Array:
        flat = np.ascontiguousarray(stored).reshape(-1)
        rows = flat.view(np.uint8).reshape(flat.size, stored.dtype.itemsize)
        out = np.empty(flat.size, self.dtype)
        for name, offset, part in self.fields:
            assert part.stored is not None
            nbytes = part.stored.itemsize * math.prod(part.extra_shape)
            column = np.ascontiguousarray(rows[:, offset : offset + nbytes])
            out[name] = part.decode(column.view(part.stored).reshape(flat.size, *part.extra_shape))
        return out.reshape(stored.shape)
