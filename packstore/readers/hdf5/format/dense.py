"""Attributes that are stored outside the object's header: a fractal heap, and a version 2 B-tree of what is in it.

Only what is found in files as libhdf5 writes them is followed: heaps without filters. Source: HDF5 File Format
Specification 4.0, III.A.2, "Version 2 B-trees", and III.G, "Fractal Heap".
"""

from __future__ import annotations

from collections.abc import Iterator

from packstore.errors import FormatError, message
from packstore.source import ByteSpace

__all__ = ["dense_attributes"]

_MOST_RECORDS = 1 << 20
_MOST_DEPTH = 16
_BY_NAME, _HUGE = 8, 1


class _File:
    """Numbers at addresses."""

    def __init__(self, space: ByteSpace, base: int, offset_nbytes: int, length_nbytes: int) -> None:
        self.space = space
        self.base = base
        self.offset_nbytes = offset_nbytes
        self.length_nbytes = length_nbytes

    def block(self, address: int, nbytes: int, signature: bytes) -> Fields:
        data = bytes(self.space.pread(self.base + address, nbytes))
        if not data.startswith(signature):
            raise self.bad(repr(signature), data[: len(signature)])
        return Fields(self, data, len(signature))

    def bad(self, expected: str, got: object) -> FormatError:
        return FormatError(message("reading the attributes of", self.space.name, expected=expected, got=got))


class Fields:
    """The fields of a block, one after the other."""

    def __init__(self, file: _File, data: bytes, at: int = 0) -> None:
        self.file = file
        self.data = data
        self.at = at

    def number(self, nbytes: int) -> int:
        """The next `nbytes` as a number."""
        self.at += nbytes
        if self.at > len(self.data):
            raise self.file.bad(f"{self.at} bytes", len(self.data))
        return int.from_bytes(self.data[self.at - nbytes : self.at], "little")

    def address(self) -> int:
        """The next address."""
        return self.number(self.file.offset_nbytes)

    def length(self) -> int:
        """The next length."""
        return self.number(self.file.length_nbytes)


def dense_attributes(
    space: ByteSpace, heap: int, index: int, base: int, offset_nbytes: int, length_nbytes: int
) -> list[bytes]:
    """The attribute messages in the fractal heap at address `heap` that the B-tree at `index` lists.

    Raises
    ------
    FormatError, TruncatedFileError
        Damage, or what is not followed here.
    """
    file = _File(space, base, offset_nbytes, length_nbytes)
    objects = _Heap(file, heap)
    # Each record: the object's number in the heap, flags, creation order and hash of its name. Flag 2: shared.
    ids = [record[:8] for record in _records(file, index, _BY_NAME) if not record[8] & 2]
    return [objects.read(Fields(file, number)) for number in ids]


def _width(n: int) -> int:
    return max((n.bit_length() + 7) // 8, 1)


def _records(file: _File, address: int, kind: int) -> Iterator[bytes]:
    head = file.block(address, 16 + file.offset_nbytes + 2 + file.length_nbytes, b"BTHD")
    version, found = head.number(1), head.number(1)
    if (version, found) != (0, kind):
        raise file.bad(f"a B-tree of type {kind}", found)
    node_nbytes, record_nbytes, depth = head.number(4), head.number(2), head.number(2)
    head.number(2)
    root, count = head.address(), head.number(2)
    total = head.length()
    if depth > _MOST_DEPTH or total > _MOST_RECORDS or not record_nbytes or node_nbytes < 16 + record_nbytes:
        raise file.bad("a sound B-tree", f"{total} records of {record_nbytes} bytes, {depth} deep")
    if not total:
        return
    # How many records a node may have at each level says how wide their numbers are in the level above.
    most = [(node_nbytes - 10) // record_nbytes]
    below = [most[0]]
    for level in range(1, depth + 1):
        pointer = file.offset_nbytes + _width(most[0]) + (_width(below[level - 1]) if level > 1 else 0)
        most.append((node_nbytes - 10 - pointer) // (record_nbytes + pointer))
        below.append((most[level] + 1) * below[level - 1] + most[level])
    todo = [(root, count, depth)]
    left = total
    while todo:
        at, count, level = todo.pop()
        node = file.block(at, node_nbytes, b"BTIN" if level else b"BTLF")
        node.number(2)
        left -= count
        if left < 0 or count > most[level]:
            raise file.bad(f"{total} records", "more")
        for _ in range(count):
            node.at += record_nbytes
            yield node.data[node.at - record_nbytes : node.at]
        for _ in range(count + 1 if level else 0):
            child, n = node.address(), node.number(_width(most[0]))
            if level > 1:
                node.number(_width(below[level - 1]))
            todo.append((child, n, level - 1))


class _Heap:
    """A fractal heap without filters."""

    def __init__(self, file: _File, address: int) -> None:
        self.file = file
        size, offset = file.length_nbytes, file.offset_nbytes
        head = file.block(address, 26 + 12 * size + 3 * offset, b"FRHP")
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
            raise file.bad("a fractal heap without filters", f"{filters} bytes of them")
        self.offset_nbytes = (self.heap_bits + 7) // 8
        self.size_nbytes = min((self.largest.bit_length() + 6) // 8, _width(self.most_managed))
        self._huge: dict[int, tuple[int, int]] | None = None

    def read(self, number: Fields) -> bytes:
        """The object of that number."""
        kind = number.number(1) >> 4 & 3
        if kind == 0:
            offset = number.number(self.offset_nbytes)
            return self._managed(offset, number.number(self.size_nbytes))
        if kind == 1:
            return self._large(int.from_bytes(number.data[1:], "little"))
        raise self.file.bad("an object in a block", f"one of kind {kind}")

    def _managed(self, offset: int, nbytes: int) -> bytes:
        # Offsets count the blocks' own headers.
        if nbytes > self.most_managed:
            raise self.file.bad(f"at most {self.most_managed} bytes", nbytes)
        address, inside, block = self._direct(self.root, self.rows, offset)
        if inside + nbytes > block:
            raise self.file.bad(f"an object inside {block} bytes", f"{nbytes} at {inside}")
        return bytes(self.file.space.pread(self.file.base + address + inside, nbytes))

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
                raise self.file.bad("an object inside the heap", f"offset {offset}")
            column = (offset - start) // size
            head = 5 + self.file.offset_nbytes + self.offset_nbytes
            entry = head + (row * self.width + column) * self.file.offset_nbytes
            table = self.file.block(address, entry + self.file.offset_nbytes, b"FHIB")
            table.at = entry
            address = table.address()
            offset -= start + column * size
            if size <= self.largest:
                return address, offset, size
            # An indirect block of as many rows as make up that size.
            rows = (size // (self.first * self.width)).bit_length()
        raise self.file.bad(f"blocks at most {_MOST_DEPTH} deep", "more")

    def _large(self, number: int) -> bytes:
        if self._huge is None:
            self._huge = {}
            for record in _records(self.file, self.huge_index, _HUGE):
                fields = Fields(self.file, record)
                address, nbytes = fields.address(), fields.length()
                self._huge[fields.length()] = address, nbytes
        if number not in self._huge:
            raise self.file.bad("an object of the heap", number)
        address, nbytes = self._huge[number]
        return bytes(self.file.space.pread(self.file.base + address, nbytes))
