"""The stored bytes of an object's attributes; in: the place of the object's header, out: values by name.

Source: HDF5 File Format Specification 4.0, IV.A.2.m, "The Attribute Message".
"""

from __future__ import annotations

from packstore.errors import PackstoreError
from packstore.readers.hdf5.format.dense import dense_attributes
from packstore.readers.hdf5.format.header import attribute_messages
from packstore.readers.hdf5.format.place import Place

__all__ = ["attribute_values"]


def attribute_values(header: Place) -> dict[bytes, bytes]:
    """Stored values by name; attributes that are stored in a way unknown to this module are left out."""
    found: dict[bytes, bytes] = {}
    try:
        bodies, dense = attribute_messages(header)
        if dense is not None:
            heap, index = dense
            bodies += dense_attributes(header.at(heap), header.at(index))
    except (PackstoreError, IndexError):
        # libhdf5 may understand such a header better.
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
