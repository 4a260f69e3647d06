"""Attributes outside their object's header; in: the place of a fractal heap and of its index, out: attribute messages.

The index is a version 2 B-tree. Heaps with filters are refused: libhdf5 writes none for attributes. Source: HDF5 File
Format Specification 4.0, III.A.2, "Version 2 B-trees", and III.G, "Fractal Heap".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from packstore.readers.hdf5.format.place import Fields, Place
from packstore.readers.hdf5.format.records import RecordTree

if TYPE_CHECKING:
    from packstore.errors import FormatError

__all__ = ["dense_attributes"]

_MOST_RECORDS = 1 << 20
_MOST_DEPTH = 16
_BY_NAME, _HUGE = 8, 1


def dense_attributes(heap: Place, index: Place) -> list[bytes]:
    """The attribute messages in the fractal heap `heap` that the B-tree `index` lists.

    Raises
    ------
    FormatError, TruncatedFileError
        Damage, a heap with filters, or objects that are stored in another way than attributes are.
    """
    objects = _Heap(heap)
    # Each record: the object's number in the heap, flags, creation order and hash of its name. Flag 2: shared.
    ids = [record[:8] for record in _records(index, _BY_NAME) if not record[8] & 2]
    return [objects.read(Fields(heap, number)) for number in ids]


def _bad(place: Place, expected: str, got: object) -> FormatError:
    return place.bad("the attributes", expected, got)


def _width(n: int) -> int:
    return max((n.bit_length() + 7) // 8, 1)


def _records(tree: Place, kind: int) -> Iterator[bytes]:
    """The records of a B-tree of type `kind`."""
    found = RecordTree(tree, [kind])
    if found.total > _MOST_RECORDS:
        raise _bad(tree, f"at most {_MOST_RECORDS} records", found.total)
    for part in found.in_order():
        for at in range(0, len(part), found.record_nbytes):
            yield part[at : at + found.record_nbytes]


class _Heap:
    """A fractal heap without filters."""

    def __init__(self, place: Place) -> None:
        self.place = place
        size, offset = place.length_nbytes, place.offset_nbytes
        head = place.block(26 + 12 * size + 3 * offset, b"FRHP")
        head.number(1)
        head.number(2)
        filters = head.number(2)
        self.flags, self.most_managed = head.number(1), head.number(4)
        head.length()
        self.huge_index = head.address()
        for width in (size, offset, *[size] * 8):
            head.number(width)
        self.width = head.number(2)
        self.first, self.largest = head.length(), head.length()
        self.heap_bits = head.number(2)
        head.number(2)
        self.root, self.rows = head.address(), head.number(2)
        if filters or not self.width or not self.first or self.largest < self.first:
            raise _bad(place, "a fractal heap without filters", f"{filters} bytes of them")
        self.offset_nbytes = (self.heap_bits + 7) // 8
        self.size_nbytes = min((self.largest.bit_length() + 6) // 8, _width(self.most_managed))
        self._huge: dict[int, tuple[int, int]] | None = None

    def read(self, number: Fields) -> bytes:
        """The object that `number` stands for."""
        kind = number.number(1) >> 4 & 3
        if kind == 0:
            offset = number.number(self.offset_nbytes)
            return self._managed(offset, number.number(self.size_nbytes))
        if kind == 1:
            return self._large(int.from_bytes(number.data[1:], "little"))
        raise _bad(self.place, "an object in a block", f"one of kind {kind}")

    def _managed(self, offset: int, nbytes: int) -> bytes:
        # Offsets count the blocks' own headers.
        if nbytes > self.most_managed:
            raise _bad(self.place, f"at most {self.most_managed} bytes", nbytes)
        address, inside, block = self._direct(self.root, self.rows, offset)
        if inside + nbytes > block:
            raise _bad(self.place, f"an object inside {block} bytes", f"{nbytes} at {inside}")
        return self.place.at(address).pread(nbytes, inside)

    def _direct(self, address: int, rows: int, offset: int) -> tuple[int, int, int]:
        """Address and size of the direct block that holds `offset`, and the place in it."""
        for _ in range(_MOST_DEPTH):
            if rows == 0:
                return address, offset, self.first
            start = 0
            for row in range(rows):
                size = self.first << max(row - 1, 0)
                if offset < start + self.width * size:
                    break
                start += self.width * size
            else:
                raise _bad(self.place, "an object inside the heap", f"offset {offset}")
            column = (offset - start) // size
            head = 5 + self.place.offset_nbytes + self.offset_nbytes
            entry = head + (row * self.width + column) * self.place.offset_nbytes
            table = self.place.at(address).block(entry + self.place.offset_nbytes, b"FHIB")
            table.at = entry
            address = table.address()
            offset -= start + column * size
            if size <= self.largest:
                return address, offset, size
            # The entry leads to an indirect block, whose rows together have that size.
            rows = (size // (self.first * self.width)).bit_length()
        raise _bad(self.place, f"blocks at most {_MOST_DEPTH} deep", "more")

    def _large(self, number: int) -> bytes:
        if self._huge is None:
            self._huge = {}
            for record in _records(self.place.at(self.huge_index), _HUGE):
                fields = Fields(self.place, record)
                address, nbytes = fields.address(), fields.length()
                self._huge[fields.length()] = address, nbytes
        if number not in self._huge:
            raise _bad(self.place, "an object of the heap", number)
        address, nbytes = self._huge[number]
        return self.place.at(address).pread(nbytes)
