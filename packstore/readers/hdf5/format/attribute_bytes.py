"""Attributes as they are stored, to look at what they refer to in the global heap before libhdf5 does.

Source: HDF5 File Format Specification 4.0, IV.A.2.m, "The Attribute Message".
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from h5py import h5a

from packstore.errors import CorruptDataError, PackstoreError, message
from packstore.readers.hdf5.format.dense import dense_attributes
from packstore.readers.hdf5.format.header import attribute_messages
from packstore.readers.hdf5.format.heaps import HeapDamage
from packstore.readers.hdf5.types.disk import UnsafeType, disk_type
from packstore.readers.hdf5.vlen import check_elements

if TYPE_CHECKING:
    from packstore.readers.hdf5.files import Session

__all__ = ["StoredAttributes"]


class StoredAttributes:
    """The attributes of one object.

    Parameters
    ----------
    session
        The open file; None: only the types are looked at.
    oid
        The object.
    """

    def __init__(self, session: Session | None, oid: Any) -> None:
        self.session = session
        self.oid = oid

    def open(self, name: bytes) -> h5a.AttrID:
        """Open an attribute that libhdf5 may read.

        Raises
        ------
        CorruptDataError
            Its type is none that there is, or its elements refer to what is not there.
        """
        attr = h5a.open(self.oid, name)
        try:
            kind = disk_type(attr.get_type(), 8 if self.session is None else self.session.offset_nbytes)
            if kind.slots and self.session is not None:
                data = self._values.get(name)
                nbytes = attr.get_space().get_simple_extent_npoints() * kind.nbytes
                if data is not None and nbytes:
                    if len(data) < nbytes:
                        raise HeapDamage(f"{len(data)} bytes for {nbytes}")
                    elements = np.frombuffer(data, np.uint8)[:nbytes].reshape(-1, kind.nbytes)
                    check_elements(self.session.heaps, elements, kind)
        except (UnsafeType, HeapDamage) as why:
            raise CorruptDataError(
                message(
                    f"reading the attribute {name.decode('utf-8', 'backslashreplace')!r} of",
                    None if self.session is None else self.session.source.name,
                    expected="variable-length data",
                    got=why,
                )
            ) from None
        return attr

    def references(self, name: bytes) -> list[int | None]:
        """Where the first object references of an attribute of sequences of them lead; None where that is not known."""
        assert self.session is not None
        heaps = self.session.heaps
        data = self._values.get(name, b"")
        found: list[int | None] = []
        width = heaps.reference.itemsize
        for _, address, index in np.frombuffer(data[: len(data) // width * width], heaps.reference).tolist():
            try:
                first = heaps.read(address, index)[: heaps.offset_nbytes] if address else b""
            except HeapDamage:
                first = b""
            found.append(int.from_bytes(first, "little") if first else None)
        return found

    @cached_property
    def _values(self) -> dict[bytes, bytes]:
        """Stored values by name; what is stored in a way that is not known here is left out."""
        assert self.session is not None
        place = self.session.header_of(self.oid)
        found: dict[bytes, bytes] = {}
        try:
            bodies, dense = attribute_messages(*place)
            if dense is not None:
                bodies += dense_attributes(place[0], *dense, *place[2:])
        except (PackstoreError, IndexError):
            # A header that libhdf5 may understand better.
            return found
        for body in bodies:
            name, value = _parse(body)
            found[name] = value
        return found


def _parse(body: bytes) -> tuple[bytes, bytes]:
    """Name and value of an attribute message."""
    version = body[0]
    sizes = [int.from_bytes(body[i : i + 2], "little") for i in (2, 4, 6)]
    at = 9 if version >= 3 else 8
    name = body[at : at + sizes[0]].partition(b"\0")[0]
    for size in sizes:
        at += size + 7 & -8 if version == 1 else size
    return name, body[at:]
