"""Values put together from stored bytes, whatever their type; in: a type and elements as they are stored, out: arrays.

libhdf5 reads memory that it never wrote where it converts sequences of references, and h5py has no name for the
references of HDF5 1.12. So all that refers to something else in the file is followed here. Source: HDF5 File Format
Specification 4.0, III.E, "Global Heap", and IV.A.2.d, "The Datatype Message"; for the references of HDF5 1.12, which
the specification leaves out, ``H5Rint.c`` and ``H5Tref.c`` of HDF5 1.14.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate, pairwise

import numpy as np
import numpy.typing as npt
from h5py import h5t

from packstore.core.typing import Array
from packstore.errors import UnsupportedError
from packstore.readers.hdf5.format.heaps import Heaps
from packstore.readers.hdf5.problems import Damaged, NotServed
from packstore.readers.hdf5.types import describe_type
from packstore.readers.hdf5.types.disk import disk_members, disk_type, is_revised
from packstore.readers.hdf5.vlen import texts

__all__ = ["Values", "as_h5py"]

Rows = npt.NDArray[np.uint8]
# Kinds of revised references, and the flag of those into another file.
_OBJECT, _REGION, _ATTRIBUTE, _EXTERNAL = 2, 3, 4, 1


class Values:
    """Decodes stored elements.

    Parameters
    ----------
    heaps
        The global heaps of the file.
    path_of
        The path of the object at an address; None where no link leads to it.
    most_nbytes
        How many bytes of the heaps may be read in all: many elements may refer to one large object.
    """

    def __init__(self, heaps: Heaps, path_of: Callable[[int], str | None], most_nbytes: int) -> None:
        self.heaps = heaps
        self.path_of = path_of
        self.left = most_nbytes
        self.width = heaps.file.offset_nbytes

    def decode(self, tid: h5t.TypeID, rows: Rows) -> Array:
        """The elements of `rows`, one a row, as an array of that length (and the dimensions of an array type).

        References become the paths of their objects, or None; text becomes bytes, and all else what h5py gives.

        Raises
        ------
        Damaged, NotServed
            The bytes lead nowhere, or are of a kind that nobody reads.
        """
        kind = tid.get_class()
        if kind == h5t.VLEN or (kind == h5t.STRING and tid.is_variable_str()):
            return self._sequences(tid, rows)
        if kind == h5t.REFERENCE:
            return self._references(tid, rows)
        try:
            described = describe_type(tid)
        except UnsupportedError as why:
            if kind not in (h5t.ARRAY, h5t.COMPOUND):
                raise NotServed(str(why)) from None
        else:
            if described.stored is not None:
                flat = np.ascontiguousarray(rows).reshape(-1).view(described.stored)
                return as_h5py(described.decode(flat.reshape(len(rows), *described.extra_shape)), tid)
        return self._array(tid, rows) if kind == h5t.ARRAY else self._compound(tid, rows)

    def _array(self, tid: h5t.TypeID, rows: Rows) -> Array:
        dims = tuple(int(n) for n in tid.get_array_dims())
        base = tid.get_super()
        inner = self.decode(base, rows.reshape(-1, disk_type(base, self.width).nbytes))
        return inner.reshape(len(rows), *dims, *inner.shape[1:])

    def _compound(self, tid: h5t.TypeID, rows: Rows) -> Array:
        parts = {}
        for member in disk_members(tid, self.width):
            name = member.name.decode("utf-8", "backslashreplace")
            parts[name] = self.decode(member.tid, rows[:, member.offset : member.offset + member.kind.nbytes])
        order = [tid.get_member_name(i).decode("utf-8", "backslashreplace") for i in range(tid.get_nmembers())]
        out = np.empty(len(rows), [(name, parts[name].dtype, parts[name].shape[1:]) for name in order])
        for name, part in parts.items():
            out[name] = part
        return as_h5py(out, tid)

    def _sequences(self, tid: h5t.TypeID, rows: Rows) -> Array:
        """Text, and sequences of any type."""
        (slot,) = disk_type(tid, self.width).slots
        assert slot.inner is not None
        found = np.ascontiguousarray(rows).reshape(-1).view(self.heaps.reference)
        length = np.where(found["address"] > 0, found["length"], 0).astype(np.int64)
        there = np.flatnonzero(length)
        runs = self._objects(found[there], length[there], slot.inner.nbytes)
        out = np.empty(len(rows), object)
        if tid.get_class() == h5t.STRING:
            out[:] = b""
            out[there] = np.fromiter(texts(runs), object, len(runs))
            return as_h5py(out, tid)
        values = self.decode(
            tid.get_super(), np.frombuffer(bytearray().join(runs), np.uint8).reshape(-1, slot.inner.nbytes)
        )
        # Not by one assignment: numpy would take sequences of equal lengths apart. Copies, because a view would keep
        # all others in memory.
        for i, (start, stop) in enumerate(pairwise(accumulate(length.tolist(), initial=0))):
            out[i] = values[start:stop].copy()
        return as_h5py(out, tid)

    def _objects(self, found: Array, length: npt.NDArray[np.int64], nbytes: int) -> list[bytes]:
        if not len(found):
            return []
        self._take(sum(length.tolist()) * nbytes)
        starts = self.heaps.locate(found["address"].astype(np.uint64), found["index"].astype(np.int64), length * nbytes)
        return self.heaps.gather(starts, starts + length * nbytes)

    def _take(self, nbytes: int) -> None:
        self.left -= nbytes
        if self.left < 0:
            raise Damaged("more variable-length data than an attribute may have")

    def _references(self, tid: h5t.TypeID, rows: Rows) -> Array:
        if tid.equal(h5t.STD_REF_OBJ):
            one = self._address
        elif tid.equal(h5t.STD_REF_DSETREG):
            one = self._region
        elif is_revised(tid):
            one = self._revised
        else:
            raise NotServed("references of an unknown kind")
        out = np.empty(len(rows), object)
        out[:] = [one(row.tobytes()) for row in rows]
        return out

    def _address(self, data: bytes) -> str | None:
        address = int.from_bytes(data[: self.width], "little")
        return None if address in (0, self.heaps.file.undefined) else self.path_of(address)

    def _object(self, data: bytes) -> bytes:
        """What an address and an index lead to; empty where they are none."""
        address = int.from_bytes(data[: self.width], "little")
        if address in (0, self.heaps.file.undefined):
            return b""
        found = self.heaps.read(address, int.from_bytes(data[self.width : self.width + 4], "little"))
        self._take(len(found))
        return found

    def _region(self, data: bytes) -> str | None:
        found = self._object(data)
        return self._address(found) if found else None

    def _revised(self, data: bytes) -> str | None:
        kind, flags = data[0], data[1]
        if not any(data):
            return None
        if kind not in (_OBJECT, _REGION, _ATTRIBUTE) or flags & _EXTERNAL:
            raise NotServed(f"a reference of kind {kind} with flags {flags}")
        found = data[2:] if kind == _OBJECT else self._object(data[6:])
        if not found:
            return None
        # The object's token: the number of its bytes, and its address in them.
        path, rest = self._address(found[1 : 1 + found[0]].ljust(self.width, b"\0")), found[1 + found[0] :]
        if kind != _ATTRIBUTE or path is None:
            return path
        nbytes = int.from_bytes(rest[:2], "little")
        return f"{path}@{rest[2 : 2 + nbytes].decode('utf-8', 'surrogateescape')}"


def as_h5py(values: Array, tid: h5t.TypeID) -> Array:
    """The values in h5py's dtype of `tid`, which knows the names of enums and the encoding of text.

    As they are where h5py has none, and where they hold paths in the place of references.
    """
    if tid.detect_class(h5t.REFERENCE):
        return values
    try:
        dtype = tid.dtype.base
    except (TypeError, ValueError, KeyError, RuntimeError, OverflowError, OSError):
        return values
    if values.dtype == dtype:
        return values.view(dtype)
    if dtype.names is not None and dtype.names == values.dtype.names:
        out = np.zeros(values.shape, dtype)
        for name in dtype.names:
            out[name] = values[name]
        return out
    return values
