"""Global heaps and lists of mappings, checked before libhdf5 reads them; in: their place, out: nothing, or an error.

Of a damaged collection libhdf5 (2.0 and before) may never return, and hold the lock of h5py for ever: it goes from one
object to the next by their sizes without asking whether it moves on. Free space of size 0, or a size near 2**64 that
wraps around, does that.

The list of mappings of a virtual dataset it decodes before it compares the checksum behind them. A damaged number of
entries, or a damaged rank of a selection, makes it read and free memory that it never had. Source: HDF5 File Format
Specification 4.0, III.F, "Disk Format: Level 1F - Global Heap Block for Virtual Datasets".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from packstore.errors import CorruptDataError, FormatError, TruncatedFileError, message
from packstore.readers.hdf5.format.collection import HEADER_NBYTES, OBJECT, PREFIX
from packstore.readers.hdf5.format.header import virtual_block
from packstore.readers.hdf5.problems import Damaged

if TYPE_CHECKING:
    from packstore.readers.hdf5.files import Session

__all__ = ["check_heap", "check_virtual", "is_endless"]

Read = Callable[[int, int], bytes]
# Collections of variable-length data have 4 KB, or the size of one larger object; no collection is far larger.
_MOST_HEAP_NBYTES = 1 << 30
_CHECKSUM_NBYTES = 4
# The least size of a mapping: two selections of at least a type and a version each.
_LEAST_NBYTES = 16


def check_heap(read: Read, offset: int, length_nbytes: int, name: str) -> None:
    """Refuse a collection of a global heap that libhdf5 would never come to the end of.

    Parameters
    ----------
    read, offset, length_nbytes
        As `is_endless` takes them.
    name
        The file, for the error's text.

    Raises
    ------
    CorruptDataError
        The collection has no end.
    """
    if is_endless(read, offset, length_nbytes):
        raise CorruptDataError(
            message(
                f"reading the global heap at byte {offset}",
                name,
                expected="objects one after the other",
                got="one that takes no room",
            )
        )


def is_endless(read: Read, offset: int, length_nbytes: int = 8) -> bool:
    r"""Whether the collection at `offset` never ends.

    Parameters
    ----------
    read
        ``read(offset, nbytes)`` gives bytes of the file, fewer at its end.
    offset
        Of the collection's signature.
    length_nbytes
        Of a length in this file: 2, 4 or 8.

    Returns
    -------
    bool
        False, too, where there is no collection, or one that is cut short: libhdf5 itself refuses these.

    Notes
    -----
    Costs two reads and about 0.1 µs an object.

    Examples
    --------
    >>> heap = b"GCOL\1\0\0\0" + (48).to_bytes(8, "little") + bytes(32)
    >>> is_endless(lambda at, nbytes: heap[at : at + nbytes], 0)
    True
    """
    head = read(offset, HEADER_NBYTES)
    if len(head) < HEADER_NBYTES or not head.startswith(PREFIX):
        return False
    nbytes = int.from_bytes(head[8 : 8 + length_nbytes], "little")
    if nbytes > _MOST_HEAP_NBYTES:
        return False
    heap = read(offset, nbytes)
    if len(heap) != nbytes:
        return False
    unpack = OBJECT[length_nbytes].unpack_from
    wraps = 1 << 8 * length_nbytes
    at, last = HEADER_NBYTES, nbytes - HEADER_NBYTES
    while at <= last:
        index, _, _, size = unpack(heap, at)
        step = size if index == 0 else HEADER_NBYTES + (size + 7 & -8)
        if step == 0 or step >= wraps - nbytes:
            return True
        at += step
    return False


def check_virtual(session: Session, address: int, name: str) -> None:
    """Check the list of the object at `address`, if it is a virtual dataset.

    Raises
    ------
    CorruptDataError
        The list is damaged.

    Notes
    -----
    About 10 µs for an object that is no virtual dataset.
    """
    try:
        where = virtual_block(session.place(address))
    except (FormatError, TruncatedFileError, IndexError):
        # libhdf5 itself refuses a damaged header.
        return
    if where is None:
        return
    try:
        _check_mappings(session.heaps.read(*where), session.origin.length_nbytes)
    except Damaged as why:
        raise CorruptDataError(
            message(
                "reading the mappings of the virtual dataset",
                session.source.name,
                name,
                expected="a sound list",
                got=why,
            )
        ) from None


def _check_mappings(block: bytes, length_nbytes: int) -> None:
    # Imported here for import time: few files have virtual datasets.
    from numcodecs.checksum32 import jenkins_lookup3

    count = int.from_bytes(block[1 : 1 + length_nbytes], "little")
    if count * _LEAST_NBYTES > len(block):
        raise Damaged(f"{count} mappings in {len(block)} bytes")
    body, stored = block[:-_CHECKSUM_NBYTES], int.from_bytes(block[-_CHECKSUM_NBYTES:], "little")
    found = jenkins_lookup3(body, 0) & 0xFFFFFFFF
    if found != stored:
        raise Damaged(f"a checksum of {found:#010x} for {stored:#010x}")
