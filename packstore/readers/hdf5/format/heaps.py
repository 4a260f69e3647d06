"""Global heaps: where variable-length elements lie, looked at before libhdf5 does or in its place.

A collection is a run of objects, each with an index, a size and that many bytes; object 0 is the free space, and its
size counts its header. Of a damaged collection libhdf5 (2.0 and before) may never return, and hold the lock of h5py for
ever: it goes from one object to the next by their sizes without asking whether it moves on. Free space of size 0, or a
size near 2**64 that wraps around, does that.

Source: HDF5 File Format Specification 4.0, III.E, "Disk Format: Level 1E - Global Heap"
(https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t4.html).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from packstore.source import Source
from packstore.source.cache import ByteLRU

__all__ = ["SIGNATURE", "HeapDamage", "Heaps", "is_endless", "parse"]

SIGNATURE = b"GCOL"
_PREFIX = SIGNATURE + b"\x01\0\0\0"
# Of a collection and of an object, both padded to a multiple of 8.
_HEADER = 16
# Collections of vlen data have 4 KB, unless one object is larger; what is far larger is no collection.
_MOST_NBYTES = 1 << 30
_OBJECT = {2: struct.Struct("<HHIH"), 4: struct.Struct("<HHII"), 8: struct.Struct("<HHIQ")}
# Of what lies in the collections read last.
_CACHE = ByteLRU("heaps")
# So few elements are looked up; more are first looked for where they would lie one after the other.
_FEW = 32

U64 = npt.NDArray[np.uint64]
I64 = npt.NDArray[np.int64]
Read = Callable[[int, int], bytes]


class HeapDamage(Exception):
    """What is wrong with a heap, or with what refers to it. Never leaves this reader.

    Parameters
    ----------
    why
        The text.
    element
        Which of the elements that were asked for, or None.
    """

    def __init__(self, why: str, element: int | None = None) -> None:
        super().__init__(why)
        self.element = element


def is_endless(read: Read, offset: int, length_nbytes: int = 8) -> bool:
    """Whether the collection at `offset` never ends.

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
        False, too, for what is no collection, or one cut short: libhdf5 says so itself.

    Notes
    -----
    Costs two reads and about 0.1 µs an object.

    Examples
    --------
    >>> heap = b"GCOL\\1\\0\\0\\0" + (48).to_bytes(8, "little") + bytes(32)
    >>> is_endless(lambda at, nbytes: heap[at : at + nbytes], 0)
    True
    """
    head = read(offset, _HEADER)
    if len(head) < _HEADER or not head.startswith(_PREFIX):
        return False
    nbytes = int.from_bytes(head[8 : 8 + length_nbytes], "little")
    if nbytes > _MOST_NBYTES:
        return False
    heap = read(offset, nbytes)
    if len(heap) != nbytes:
        return False
    unpack = _OBJECT[length_nbytes].unpack_from
    wraps = 1 << 8 * length_nbytes
    at, last = _HEADER, nbytes - _HEADER
    while at <= last:
        index, _, _, size = unpack(heap, at)
        step = size if index == 0 else _HEADER + (size + 7 & -8)
        if step == 0 or step >= wraps - nbytes:
            return True
        at += step
    return False


def parse(heap: bytes, length_nbytes: int = 8) -> I64:
    """Where the objects of a collection lie in it.

    Parameters
    ----------
    heap
        All bytes of the collection.
    length_nbytes
        Of a length in this file: 2, 4 or 8.

    Returns
    -------
    ndarray
        int64, one row an index: start and end of that object's data; the start is 0 where there is none.

    Raises
    ------
    HeapDamage
        An object that reaches past the end, that takes no room, or of an index that there is twice.

    Notes
    -----
    About 0.2 µs an object.

    Examples
    --------
    >>> heap = b"GCOL\\1\\0\\0\\0" + (64).to_bytes(8, "little")
    >>> heap += b"\\1\\0\\1\\0" + bytes(4) + (3).to_bytes(8, "little") + b"abc".ljust(8, b"\\0")
    >>> heap += bytes(8) + (24).to_bytes(8, "little") + bytes(8)
    >>> parse(heap).tolist()
    [[0, 0], [32, 35]]
    """
    unpack = _OBJECT[length_nbytes].unpack_from
    at, end = _HEADER, len(heap)
    last = end - _HEADER
    indices: list[int] = []
    starts: list[int] = []
    ends: list[int] = []
    while at <= last:
        index, _, _, size = unpack(heap, at)
        if index == 0:
            if size < _HEADER or size > end - at:
                raise HeapDamage(f"free space of {size} bytes at byte {at} of a collection of {end}")
            at += size
            continue
        stop = at + _HEADER + size
        if stop > end:
            raise HeapDamage(f"object {index} of {size} bytes at byte {at} of a collection of {end}")
        indices.append(index)
        starts.append(at + _HEADER)
        ends.append(stop)
        at += _HEADER + (size + 7 & -8)
    table = np.zeros((max(indices, default=0) + 1, 2), np.int64)
    table[indices, 0] = starts
    table[indices, 1] = ends
    if np.count_nonzero(table[:, 0]) != len(indices):
        raise HeapDamage("two objects of the same index")
    return table


class Heaps:
    """The global heaps of one file.

    Parameters
    ----------
    source
        The file.
    base
        What addresses count from.
    offset_nbytes, length_nbytes
        Of an address and of a length in this file.

    Notes
    -----
    Thread safe. What the collections hold is kept, for all files together up to 16 MB.
    """

    def __init__(self, source: Source, base: int, offset_nbytes: int, length_nbytes: int) -> None:
        self.source = source
        self.base = base
        self.offset_nbytes = offset_nbytes
        self.length_nbytes = length_nbytes

    @property
    def reference(self) -> np.dtype[Any]:
        """How a variable-length element is stored: its length, and the address and index of its object."""
        width = self.offset_nbytes
        return np.dtype({"names": ["length", "address", "index"], "formats": ["<u4", f"<u{width}", "<u4"]})

    def read(self, address: int, index: int) -> bytes:
        """One object, all of it."""
        table = self._table(address)
        if not 0 < index < len(table) or not table[index, 0]:
            raise HeapDamage(f"no object {index} in the global heap at address {address}")
        start, end = table[index].tolist()
        return bytes(self.source.pread(start, end - start))

    def unpack(self, reference: bytes) -> tuple[int, int, int]:
        """Length, address and index of a variable-length element."""
        end = 4 + self.offset_nbytes
        parts = (reference[:4], reference[4:end], reference[end : end + 4])
        length, address, index = (int.from_bytes(part, "little") for part in parts)
        return length, address, index

    def require(self, address: int, index: int, nbytes: int) -> None:
        """Raise HeapDamage unless there is such an object, of that size."""
        if nbytes > self.source.nbytes:
            raise HeapDamage(f"{nbytes} bytes in a file of {self.source.nbytes}")
        table = self._table(address)
        start, end = table[index].tolist() if index < len(table) else (0, 0)
        if not start:
            raise HeapDamage(f"no object {index} in the global heap at address {address}")
        if end - start != nbytes:
            raise HeapDamage(
                f"object {index} in the global heap at address {address} of {end - start} bytes for {nbytes}"
            )

    def _table(self, address: int) -> I64:
        """Objects of the collection at `address`: places in the file."""
        key = (id(self), address)
        found: I64 | None = _CACHE.get(key, self)
        if found is None:
            start, nbytes = self._extent(address)
            try:
                found = parse(bytes(self.source.pread(start, nbytes)), self.length_nbytes)
            except HeapDamage as why:
                raise HeapDamage(f"a damaged global heap at address {address}: {why}") from None
            found[found[:, 0] > 0] += start
            _CACHE.put(key, self, found)
        return found

    def _extent(self, address: int) -> tuple[int, int]:
        start, left = self.base + address, self.source.nbytes - self.base - address
        head = bytes(self.source.pread(start, _HEADER)) if left >= _HEADER else b""
        if not head.startswith(_PREFIX):
            raise HeapDamage(f"no global heap at address {address}")
        nbytes = int.from_bytes(head[8 : 8 + self.length_nbytes], "little")
        if not _HEADER <= nbytes <= left:
            raise HeapDamage(f"a global heap of {nbytes} bytes at address {address}, {left} bytes before the end")
        return start, nbytes

    def locate(self, address: U64, index: I64, nbytes: I64) -> I64:
        """Where objects lie in the file.

        Parameters
        ----------
        address, index
            Of each object.
        nbytes
            The size that each must have.

        Raises
        ------
        HeapDamage
            No such object, or another size; `element` says which.

        Notes
        -----
        About 0.1 µs an object where they lie in the order of the request, up to 1 µs elsewhere.
        """
        out = np.zeros(len(address), np.int64)
        if len(address) > _FEW:
            self._in_a_row(address, index, nbytes, out)
        rest = np.flatnonzero(out == 0)
        if len(rest):
            self._look_up(address, index, nbytes, rest, out)
        return out

    def _look_up(self, address: U64, index: I64, nbytes: I64, which: I64, out: I64) -> None:
        wanted = address[which]
        order = np.argsort(wanted, kind="stable")
        edges = np.flatnonzero(np.diff(wanted[order])) + 1
        for group in np.split(which[order], edges):
            try:
                table = self._table(int(address[group[0]]))
            except HeapDamage as why:
                raise HeapDamage(str(why), int(group[0])) from None
            numbers = index[group]
            inside = numbers < len(table)
            found = table[np.where(inside, numbers, 0)]
            bad = np.flatnonzero(~inside | (found[:, 0] == 0) | (found[:, 1] - found[:, 0] != nbytes[group]))
            if len(bad):
                i = int(group[bad[0]])
                start, end = found[bad[0]].tolist()
                where = f"object {index[i]} in the global heap at address {address[i]}"
                raise HeapDamage(f"{where} of {end - start} bytes for {nbytes[i]}" if start else f"no {where}", i)
            out[group] = found[:, 0]

    def _in_a_row(self, address: U64, index: I64, nbytes: I64, out: I64) -> None:
        """Objects that were written one after the other are found without walking through their collections.

        Each lies behind those before it, and its header there says that it is the one: index and size. What is not
        found like this stays 0.
        """
        raw = self.source.view()
        if raw is None or raw.size < 2 * _HEADER or self.length_nbytes != 8 or self.base % 8:
            return
        words = raw[: raw.size // 8 * 8].view("<u8")
        n = len(address)
        first = np.empty(n, bool)
        first[0] = True
        np.not_equal(address[1:], address[:-1], out=first[1:])
        first[1:] |= index[1:] != index[:-1] + 1
        starts = np.flatnonzero(first)
        heads = address[starts]
        fits = (index[starts] == 1) & (heads % np.uint64(8) == 0)
        fits &= heads < np.uint64(max(raw.size - self.base - 2 * _HEADER, 0))
        word = np.where(fits, (heads.astype(np.int64) + self.base) // 8, 0)
        fits &= words[word] == np.uint64(int.from_bytes(_PREFIX, "little"))
        size = words[np.where(fits, word + 1, 0)]
        fits &= size <= np.uint64(raw.size)
        fits &= word * 8 + size.astype(np.int64) <= raw.size
        end = np.where(fits, word * 8 + size.astype(np.int64), 0)
        steps = _HEADER + (nbytes + 7 & -8)
        behind = np.cumsum(steps) - steps
        counts = np.diff(starts, append=n)
        at = behind + np.repeat(word * 8 + _HEADER - behind[starts], counts)
        inside = at + _HEADER + nbytes <= np.repeat(end, counts)
        at = np.where(inside, at, 0) // 8
        inside &= words[at] & np.uint64(0xFFFF) == index.astype(np.uint64)
        inside &= words[np.where(inside, at + 1, 0)] == nbytes.astype(np.uint64)
        # All before it must be what they should be, too.
        wrong = np.cumsum(~inside)
        before = wrong - ~inside
        inside &= wrong == np.repeat(before[starts], counts)
        out[inside] = at[inside] * 8 + _HEADER
