"""Attributes, checked before libhdf5 reads them; in: an open object and a name, out: the attribute, or an error."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from h5py import h5a

from packstore.errors import CorruptDataError, message
from packstore.readers.hdf5.format.attribute_bytes import attribute_values
from packstore.readers.hdf5.guard.elements import check_elements
from packstore.readers.hdf5.problems import Damaged, NotServed
from packstore.readers.hdf5.types.disk import DiskType, disk_type
from packstore.readers.hdf5.types.tags import check_tags

if TYPE_CHECKING:
    from packstore.readers.hdf5.files import Session

__all__ = ["CheckedAttributes", "check_library"]


def check_library(kind: DiskType) -> None:
    """Refuse types that libhdf5 does not read safely.

    Raises
    ------
    NotServed
        References to regions in sequences, for which it reads memory that it never wrote.
    """
    for slot in kind.slots:
        if slot.inner is not None:
            if any(inner.inner is None for inner in slot.inner.slots):
                raise NotServed("references to regions in sequences, which libhdf5 does not read safely")
            check_library(slot.inner)


class CheckedAttributes:
    """The attributes of one object.

    Parameters
    ----------
    session
        The open file; None: only the types are checked.
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
            HDF5 has no such type, libhdf5 does not read it safely, or an element refers to an object that does not
            exist.
        """
        attr = h5a.open(self.oid, name)
        try:
            tid = attr.get_type()
            check_tags(tid)
            kind = disk_type(tid, self.offset_nbytes)
            check_library(kind)
            elements = self.elements(attr, name, kind) if kind.slots else None
            if elements is not None and self.session is not None:
                check_elements(self.session.heaps, elements, kind)
        except (NotServed, Damaged) as why:
            raise CorruptDataError(
                message(
                    f"reading the attribute {name.decode('utf-8', 'backslashreplace')!r} of",
                    None if self.session is None else self.session.source.name,
                    expected="data that libhdf5 and numpy read safely",
                    got=why,
                )
            ) from None
        return attr

    @property
    def offset_nbytes(self) -> int:
        """Bytes of an address in the file."""
        return 8 if self.session is None else self.session.origin.offset_nbytes

    def elements(self, attr: h5a.AttrID, name: bytes, kind: DiskType) -> npt.NDArray[np.uint8] | None:
        """The stored elements, one a row; None where the file stores them in a way that is not known here.

        Raises
        ------
        Damaged
            There are fewer bytes than elements.
        """
        data = self.data(name)
        if data is None:
            return None
        nbytes = attr.get_space().get_simple_extent_npoints() * kind.nbytes
        if len(data) < nbytes:
            raise Damaged(f"{len(data)} bytes for {nbytes}")
        return np.frombuffer(data, np.uint8)[:nbytes].reshape(-1, kind.nbytes)

    def data(self, name: bytes) -> bytes | None:
        """The stored bytes of an attribute, and maybe some behind them; None where it is stored in an unknown way."""
        return None if self.session is None else self._values.get(name)

    def references(self, name: bytes) -> list[int | None]:
        """The addresses behind the first object references of an attribute of sequences of them; None where unknown."""
        assert self.session is not None
        heaps = self.session.heaps
        data = self._values.get(name, b"")
        found: list[int | None] = []
        width = heaps.reference.itemsize
        for _, address, index in np.frombuffer(data[: len(data) // width * width], heaps.reference).tolist():
            try:
                first = heaps.read(address, index)[: heaps.file.offset_nbytes] if address else b""
            except Damaged:
                first = b""
            found.append(int.from_bytes(first, "little") if first else None)
        return found

    @cached_property
    def _values(self) -> dict[bytes, bytes]:
        assert self.session is not None
        return attribute_values(self.session.header_of(self.oid))
