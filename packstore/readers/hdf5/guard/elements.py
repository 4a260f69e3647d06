"""References to the global heap, checked before libhdf5 follows them; in: stored bytes, out: nothing, or an error.

libhdf5 does not look at a reference to the global heap before it follows it: it reads past the object it finds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from packstore.errors import CorruptDataError, UnsupportedError, message
from packstore.readers.hdf5.format.header import fill_bytes
from packstore.readers.hdf5.format.heaps import Heaps
from packstore.readers.hdf5.problems import Damaged, NotServed
from packstore.readers.hdf5.types import describe_type
from packstore.readers.hdf5.types.disk import DiskType, disk_type
from packstore.storage.read import read_box

if TYPE_CHECKING:
    from packstore.readers.hdf5.links import Target
    from packstore.storage import ManifestArray

__all__ = ["ElementCheck", "check_elements", "check_fill"]


def check_fill(target: Target) -> None:
    """Check a fill value in the global heap; libhdf5 reads it as soon as it is asked for any property of the dataset.

    Raises
    ------
    UnsupportedError
        The type is not served.
    CorruptDataError
        The fill value refers to an object that does not exist.
    """
    session, name = target.session, target.name
    tid = target.oid.get_type()
    if describe_type(tid, session.source.name, name).stored is not None:
        return
    try:
        kind = disk_type(tid, session.origin.offset_nbytes)
    except NotServed as why:
        raise UnsupportedError(message("serving", session.source.name, name, got=why)) from None
    raw = fill_bytes(session.header_of(target.oid))
    try:
        if raw is not None:
            if len(raw) != kind.nbytes:
                raise Damaged(f"{len(raw)} bytes")
            check_elements(session.heaps, np.frombuffer(raw, np.uint8).reshape(1, -1), kind)
    except Damaged as why:
        raise CorruptDataError(
            message(
                "reading the fill value of", session.source.name, name, expected=f"one of {kind.nbytes} bytes", got=why
            )
        ) from None


@dataclass(frozen=True, eq=False)
class ElementCheck:
    """The stored elements of a dataset, checked box by box before libhdf5 reads the same box.

    Parameters
    ----------
    stored
        Opaque elements, without the dimensions of an array type.
    kind
        The type of the elements.
    heaps
        The global heaps of the file.
    """

    stored: ManifestArray
    kind: DiskType
    heaps: Heaps

    def check(self, box: tuple[slice, ...], name: str) -> None:
        """Raise CorruptDataError where an element of the box refers to an object that does not exist."""
        part = np.ascontiguousarray(read_box(self.stored, box)).reshape(-1)
        try:
            check_elements(self.heaps, part.view(np.uint8).reshape(-1, self.kind.nbytes), self.kind)
        except Damaged as why:
            raise CorruptDataError(
                message("reading", self.heaps.source.name, name, expected="variable-length data", got=why)
            ) from None


def check_elements(heaps: Heaps, elements: npt.NDArray[np.uint8], kind: DiskType) -> None:
    """Refuse elements, of any type, whose references to the global heap lead nowhere.

    Parameters
    ----------
    elements
        uint8, one row an element.
    kind
        Their type.

    Raises
    ------
    Damaged
        `element` is the number of the first such row, where the damage lies in one row.
    """
    width = heaps.file.offset_nbytes
    for slot in kind.slots:
        at = slot.offset
        if len(elements) == 1 and slot.inner is not None and not slot.inner.slots:
            # Most attributes are one such element, for which a dozen calls of numpy would take longer.
            count, place, number = heaps.unpack(elements[0, at : at + 8 + width].tobytes())
            if place:
                heaps.require(place, number, count * slot.inner.nbytes)
            continue
        address = _column(elements, at + 4, width)
        index = _column(elements, at + 4 + width, 4).astype(np.int64)
        if slot.inner is None:
            there = np.flatnonzero((address > 0) & (address < np.uint64(2 ** (8 * width) - 1)))
            for row in there.tolist():
                heaps.read(int(address[row]), int(index[row]))
            continue
        length = _column(elements, at, 4).astype(np.int64)
        there = np.flatnonzero(address > 0)
        if not len(there):
            continue
        nbytes = length[there] * slot.inner.nbytes
        try:
            starts = heaps.locate(address[there], index[there], nbytes)
        except Damaged as why:
            if why.element is not None:
                why.element = int(there[why.element])
            raise
        if slot.inner.slots:
            data = b"".join(heaps.gather(starts, starts + nbytes))
            inner = np.frombuffer(data, np.uint8).reshape(-1, slot.inner.nbytes)
            try:
                check_elements(heaps, inner, slot.inner)
            except Damaged as why:
                raise Damaged(str(why)) from None


def _column(elements: npt.NDArray[np.uint8], at: int, width: int) -> npt.NDArray[np.uint64]:
    padded = np.zeros((len(elements), 8), np.uint8)
    padded[:, :width] = elements[:, at : at + width]
    return padded.view("<u8").reshape(-1).astype(np.uint64)
