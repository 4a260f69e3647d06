"""B-trees of version 2; in: the place of a header, out: the records of its nodes.

Source: HDF5 File Format Specification 4.0, III.A.2, "Version 2 B-trees".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from packstore.readers.hdf5.format.place import Place

__all__ = ["RecordTree"]

_MOST_DEPTH = 16
_NODE_HEAD_NBYTES, _CHECKSUM_NBYTES = 6, 4


class RecordTree:
    """The header of a tree.

    Parameters
    ----------
    head
        Its place.
    kinds
        The types that the tree may be of.

    Raises
    ------
    FormatError
        It is no such tree, or its numbers make no sense.

    Attributes
    ----------
    kind
        The type of the records.
    record_nbytes, total
        The size of each, and how many there are.
    """

    def __init__(self, head: Place, kinds: Sequence[int]) -> None:
        self.head = head
        fields = head.block(16 + head.offset_nbytes + 2 + head.length_nbytes, b"BTHD")
        version, self.kind = fields.number(1), fields.number(1)
        if version != 0 or self.kind not in kinds:
            raise head.bad("a B-tree", f"version 0 and one of the types {list(kinds)}", f"{version} and {self.kind}")
        self.node_nbytes, self.record_nbytes, self.depth = fields.number(4), fields.number(2), fields.number(2)
        fields.number(2)
        self.root, self.count = fields.address(), fields.number(2)
        self.total = fields.length()
        room = self.node_nbytes - _NODE_HEAD_NBYTES - _CHECKSUM_NBYTES
        sound = self.record_nbytes and room >= self.record_nbytes and self.depth <= _MOST_DEPTH
        if not sound or self.total * self.record_nbytes > head.source.nbytes:
            got = f"{self.total} records of {self.record_nbytes} bytes in nodes of {self.node_nbytes}"
            raise head.bad("a B-tree", "one that makes sense", f"{got}, {self.depth} deep")
        # The most records that a node may have at one level decide how wide their count is in the level above.
        self._most = [room // self.record_nbytes]
        self._below = [self._most[0]]
        for level in range(1, self.depth + 1):
            pointer = self._pointer_nbytes(level)
            self._most.append(max((room - pointer) // (self.record_nbytes + pointer), 0))
            self._below.append((self._most[level] + 1) * self._below[level - 1] + self._most[level])
        self._left = self.total

    def _pointer_nbytes(self, level: int) -> int:
        total = _width(self._below[level - 1]) if level > 1 else 0
        return self.head.offset_nbytes + _width(self._most[0]) + total

    def in_order(self) -> Iterator[bytes]:
        """The records of one node after the other in the order of the tree; those of inner nodes one at a time.

        Raises
        ------
        FormatError
            A node is none, or has more records than it has room for.
        TruncatedFileError
            A node lies beyond the end of the file.
        """
        self._left = self.total
        if self.total:
            yield from self._walk(self.root, self.count, self.depth)

    def _walk(self, address: int, count: int, level: int) -> Iterator[bytes]:
        node = self.head.at(address).block(self.node_nbytes, b"BTIN" if level else b"BTLF")
        node.number(2)
        self._left -= count
        if self._left < 0 or not 0 < count <= self._most[level]:
            raise self.head.bad("a B-tree", f"{self.total} records, at most {self._most[level]} in a node", count)
        size = self.record_nbytes
        records = node.data[node.at : node.at + count * size]
        if not level:
            yield records
            return
        node.at += count * size
        for i in range(count + 1):
            child, n = node.address(), node.number(_width(self._most[0]))
            if level > 1:
                node.number(_width(self._below[level - 1]))
            yield from self._walk(child, n, level - 1)
            if i < count:
                yield records[i * size : (i + 1) * size]


def _width(n: int) -> int:
    return max((n.bit_length() + 7) // 8, 1)
