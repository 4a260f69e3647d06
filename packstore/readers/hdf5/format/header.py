"""The messages of an object header that h5py has no call for: stored dimensions, the chunk index, compact data, and
what refers to the global heap.

libhdf5 computes the dimensions of a virtual dataset from the files it maps, which would open them, and says neither
which index a dataset has nor whether the chunks at its edges skip the filters. Source: HDF5 File Format Specification
3.0, IV.A.1 (headers), IV.A.2.b (dataspace) and IV.A.2.i (data layout).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from packstore.errors import FormatError, message
from packstore.source import ByteSpace

__all__ = [
    "B_TREE_V1",
    "EXTENSIBLE_ARRAY",
    "FIXED_ARRAY",
    "ChunkLayout",
    "attribute_messages",
    "chunk_layout",
    "compact_data",
    "fill_bytes",
    "stored_dimensions",
    "virtual_block",
]

_DATASPACE, _FILL, _LAYOUT, _ATTRIBUTE, _CONTINUATION = 0x01, 0x05, 0x08, 0x0C, 0x10
_ATTRIBUTE_INFO = 0x15
_SHARED = 0x10000
_COMPACT, _VIRTUAL = 0, 3
_MAX_BLOCKS = 1024
_MAX_BLOCK_NBYTES = 16 << 20

# Index numbers of layout messages since version 4; 0 stands for the only index of the older ones.
B_TREE_V1, FIXED_ARRAY, EXTENSIBLE_ARRAY = 0, 3, 4


@dataclass(frozen=True)
class ChunkLayout:
    """What the layout message of a chunked dataset says.

    Parameters
    ----------
    index
        0: version 1 B-tree, 1: single chunk, 2: implicit, 3: fixed array, 4: extensible array, 5: version 2 B-tree.
    raw_edges
        Whether chunks that reach over the edge of the dataset are stored without the filters.
    entries
        How many chunks a fixed array has room for; None for the other indexes, and where nothing is stored.
    """

    index: int
    raw_edges: bool
    entries: int | None = None


def chunk_layout(space: ByteSpace, address: int, base: int, offset_nbytes: int, length_nbytes: int) -> ChunkLayout:
    """Read the layout message of the object at `address` (counted from `base`, as all addresses in the file)."""
    body = _find(_LAYOUT, space, address, base, offset_nbytes, length_nbytes)
    if body[0] < 4:
        return ChunkLayout(B_TREE_V1, False)
    if body[1] != 2:
        raise _bad(space, "a chunked layout", body[1])
    flags, rank, width = body[2], body[3], body[4]
    at = 5 + rank * width
    entries = None
    if body[at] == FIXED_ARRAY:
        # Behind the number of bits of a page.
        array = int.from_bytes(body[at + 2 : at + 2 + offset_nbytes], "little")
        if array != (1 << 8 * offset_nbytes) - 1:
            head = bytes(space.pread(base + array, 8 + length_nbytes))
            if head[:4] != b"FAHD":
                raise _bad(space, "a fixed array", head[:4])
            entries = int.from_bytes(head[8:], "little")
    return ChunkLayout(body[at], bool(flags & 1), entries)


def stored_dimensions(
    space: ByteSpace, address: int, base: int, offset_nbytes: int, length_nbytes: int
) -> tuple[int, ...]:
    """Dimensions in the dataspace message of the object at `address`."""
    body = _find(_DATASPACE, space, address, base, offset_nbytes, length_nbytes)
    start = {1: 8, 2: 4}.get(body[0])
    if start is None:
        raise _bad(space, "a dataspace of version 1 or 2", body[0])
    return tuple(
        int.from_bytes(body[start + i * length_nbytes : start + (i + 1) * length_nbytes], "little")
        for i in range(body[1])
    )


def compact_data(space: ByteSpace, address: int, base: int, offset_nbytes: int, length_nbytes: int) -> bytes:
    """The data in the layout message of a compact dataset."""
    body = _find(_LAYOUT, space, address, base, offset_nbytes, length_nbytes)
    if body[0] >= 3:
        kind, at = body[1], 4
        nbytes = int.from_bytes(body[2:4], "little")
    else:
        kind, at = body[2], 12 + 4 * body[1]
        nbytes = int.from_bytes(body[at - 4 : at], "little")
    if kind != _COMPACT or at + nbytes > len(body):
        raise _bad(space, "compact data", f"{nbytes} bytes of layout {kind} in a message of {len(body)}")
    return body[at : at + nbytes]


def virtual_block(
    space: ByteSpace, address: int, base: int, offset_nbytes: int, length_nbytes: int
) -> tuple[int, int] | None:
    """Address of the heap, and index of the object in it, that lists what a virtual dataset maps.

    None where the object is no virtual dataset, or maps nothing.
    """
    for kind, body in _messages(space, address, base, offset_nbytes, length_nbytes):
        if kind == _LAYOUT:
            if len(body) < 6 + offset_nbytes or body[0] < 4 or body[1] != _VIRTUAL:
                return None
            heap = int.from_bytes(body[2 : 2 + offset_nbytes], "little")
            if heap == (1 << 8 * offset_nbytes) - 1:
                return None
            return heap, int.from_bytes(body[2 + offset_nbytes : 6 + offset_nbytes], "little")
    return None


def attribute_messages(
    space: ByteSpace, address: int, base: int, offset_nbytes: int, length_nbytes: int
) -> tuple[list[bytes], tuple[int, int] | None]:
    """Attribute messages in the header, and addresses of the heap and the index of those outside it (or None)."""
    found: list[bytes] = []
    dense = None
    for kind, body in _messages(space, address, base, offset_nbytes, length_nbytes):
        if kind == _ATTRIBUTE and len(body) >= 9:
            found.append(body)
        elif kind == _ATTRIBUTE_INFO and len(body) >= 2:
            at = 4 if body[1] & 1 else 2
            heap, index = (
                int.from_bytes(body[at + i * offset_nbytes : at + (i + 1) * offset_nbytes], "little") for i in (0, 1)
            )
            if heap != (1 << 8 * offset_nbytes) - 1:
                dense = heap, index
    return found, dense


def fill_bytes(space: ByteSpace, address: int, base: int, offset_nbytes: int, length_nbytes: int) -> bytes | None:
    """The fill value as it is stored; None where there is none, or one that is shared with other datasets."""
    for kind, body in _messages(space, address, base, offset_nbytes, length_nbytes):
        if kind == _FILL:
            if body[0] >= 3:
                at, there = 2, bool(body[1] & 0x20)
            else:
                at, there = 4, body[0] == 1 or bool(body[3])
            if not there:
                return None
            nbytes = int.from_bytes(body[at : at + 4], "little")
            if at + 4 + nbytes > len(body):
                raise _bad(space, "a fill value", f"{nbytes} bytes in a message of {len(body)}")
            return body[at + 4 : at + 4 + nbytes] or None
    return None


def _bad(space: ByteSpace, expected: str, got: object) -> FormatError:
    return FormatError(message("reading an object header of", space.name, expected=expected, got=got))


def _find(kind: int, space: ByteSpace, address: int, base: int, offset_nbytes: int, length_nbytes: int) -> bytes:
    for found, body in _messages(space, address, base, offset_nbytes, length_nbytes):
        if found == kind and len(body) >= 8:
            return body
    raise _bad(space, f"a message of type {kind:#x}", "none")


def _messages(
    space: ByteSpace, address: int, base: int, offset_nbytes: int, length_nbytes: int
) -> Iterator[tuple[int, bytes]]:
    start = bytes(space.pread(base + address, min(32, max(space.nbytes - base - address, 0))))
    if start[:4] == b"OHDR":
        flags = start[5]
        at = 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
        width = 1 << (flags & 3)
        size = int.from_bytes(space.pread(base + address + at, width), "little")
        block = (base + address + at + width, size)
        prefix, tagged = (6 if flags & 4 else 4), True
    elif start[:1] == b"\x01":
        block = (base + address + 16, int.from_bytes(start[8:12], "little"))
        prefix, tagged = 8, False
    else:
        raise _bad(space, "an object header", start[:4].hex(" "))
    blocks = [block]
    for number in range(_MAX_BLOCKS):
        if number == len(blocks):
            return
        at, size = blocks[number]
        if size > _MAX_BLOCK_NBYTES:
            raise _bad(space, f"at most {_MAX_BLOCK_NBYTES} bytes", size)
        data = bytes(space.pread(at, size))
        if tagged and number:
            if data[:4] != b"OCHK":
                raise _bad(space, "a continuation block", data[:4].hex(" "))
            data = data[4:-4]
        i = 0
        while i + prefix <= len(data):
            if tagged:
                kind, length, flags = data[i], int.from_bytes(data[i + 1 : i + 3], "little"), data[i + 3]
            else:
                kind, length = (int.from_bytes(data[i + k : i + k + 2], "little") for k in (0, 2))
                flags = data[i + 4]
            body = data[i + prefix : i + prefix + length]
            i += prefix + length
            if kind == _CONTINUATION and len(body) >= offset_nbytes + length_nbytes:
                blocks.append(
                    (
                        base + int.from_bytes(body[:offset_nbytes], "little"),
                        int.from_bytes(body[offset_nbytes : offset_nbytes + length_nbytes], "little"),
                    )
                )
            else:
                # The body of a shared message is only where the message is.
                yield kind | (_SHARED if flags & 2 else 0), body
