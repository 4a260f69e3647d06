"""Messages of an object header that h5py has no call for; in: the header's place, out: the facts in one message.

libhdf5 computes the dimensions of a virtual dataset from its source files, which opens them, and it tells neither
which chunk index a dataset has nor whether the chunks at its edges skip the filters. Source: HDF5 File Format
Specification 3.0, IV.A.1 (headers), IV.A.2.b (dataspace) and IV.A.2.i (data layout).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from packstore.readers.hdf5.format.place import Fields, Place

if TYPE_CHECKING:
    from packstore.errors import FormatError

__all__ = [
    "B_TREE_V1",
    "B_TREE_V2",
    "EXTENSIBLE_ARRAY",
    "FIXED_ARRAY",
    "ChunkLayout",
    "attribute_messages",
    "chunk_layout",
    "chunk_node_half",
    "compact_data",
    "end_of_file",
    "fill_bytes",
    "is_group",
    "shares_messages",
    "stored_dimensions",
    "virtual_block",
]

_DATASPACE, _FILL, _LAYOUT, _ATTRIBUTE, _CONTINUATION = 0x01, 0x05, 0x08, 0x0C, 0x10
_ATTRIBUTE_INFO = 0x15
_LINK_INFO, _SYMBOL_TABLE = 0x02, 0x11
_NODE_SIZES, _SHARED_TABLE, _DEFAULT_HALF = 0x13, 0x0F, 32
_SHARED = 0x10000
_COMPACT, _VIRTUAL = 0, 3
_MAX_BLOCKS = 1024
_MAX_BLOCK_NBYTES = 16 << 20

# Index numbers of layout messages since version 4; 0 stands for the only index of the older ones.
B_TREE_V1, FIXED_ARRAY, EXTENSIBLE_ARRAY, B_TREE_V2 = 0, 3, 4, 5


@dataclass(frozen=True)
class ChunkLayout:
    """The part of a chunked dataset's layout message that matters here.

    Parameters
    ----------
    index
        0: version 1 B-tree, 1: single chunk, 2: implicit, 3: fixed array, 4: extensible array, 5: version 2 B-tree.
    raw_edges
        Whether chunks that reach over the edge of the dataset are stored without the filters.
    entries
        How many chunks a fixed array has room for; None for the other indexes, and where nothing is stored.
    tree
        The root of a version 1 B-tree, or the header of a version 2 one; None for the other indexes, and where
        nothing is stored.
    """

    index: int
    raw_edges: bool
    entries: int | None = None
    tree: Place | None = None


def chunk_layout(place: Place) -> ChunkLayout:
    """Read the layout message of a chunked dataset."""
    body = _find(_LAYOUT, place)
    if body[0] < 4:
        address = Fields(place, body, 3 if body[0] == 3 else 8).address()
        return ChunkLayout(B_TREE_V1, False, tree=_defined(place.at(address)))
    if body[1] != 2:
        raise _bad(place, "a chunked layout", body[1])
    flags, rank, width = body[2], body[3], body[4]
    at = 5 + rank * width
    index = body[at]
    entries = None
    if index == FIXED_ARRAY:
        # One byte, the number of bits of a page, stands between the index number and the address.
        array = place.at(Fields(place, body, at + 2).address())
        if array.address != place.undefined:
            head = array.block(8 + place.length_nbytes, b"FAHD")
            head.number(4)
            entries = head.length()
    # Behind the size of nodes and two percentages.
    tree = _defined(place.at(Fields(place, body, at + 7).address())) if index == B_TREE_V2 else None
    return ChunkLayout(index, bool(flags & 1), entries, tree)


def _defined(place: Place) -> Place | None:
    return None if place.address == place.undefined else place


def stored_dimensions(place: Place) -> tuple[int, ...]:
    """Dimensions in the dataspace message of a dataset."""
    body = _find(_DATASPACE, place)
    start = {1: 8, 2: 4}.get(body[0])
    if start is None:
        raise _bad(place, "a dataspace of version 1 or 2", body[0])
    fields = Fields(place, body, start)
    return tuple(fields.length() for _ in range(body[1]))


def compact_data(place: Place) -> bytes:
    """The data in the layout message of a compact dataset."""
    body = _find(_LAYOUT, place)
    if body[0] >= 3:
        kind, at = body[1], 4
        nbytes = int.from_bytes(body[2:4], "little")
    else:
        kind, at = body[2], 12 + 4 * body[1]
        nbytes = int.from_bytes(body[at - 4 : at], "little")
    if kind != _COMPACT or at + nbytes > len(body):
        raise _bad(place, "compact data", f"{nbytes} bytes of layout {kind} in a message of {len(body)}")
    return body[at : at + nbytes]


def virtual_block(place: Place) -> tuple[int, int] | None:
    """Address of the heap, and index of the object in it, that lists the mappings of a virtual dataset.

    None where the object is no virtual dataset, or maps nothing.
    """
    for kind, body in _messages(place):
        if kind == _LAYOUT:
            if len(body) < 6 + place.offset_nbytes or body[0] < 4 or body[1] != _VIRTUAL:
                return None
            fields = Fields(place, body, 2)
            heap, index = fields.address(), fields.number(4)
            return None if heap == place.undefined else (heap, index)
    return None


def attribute_messages(place: Place) -> tuple[list[bytes], tuple[int, int] | None]:
    """Attribute messages in the header, and the heap and the index of attributes elsewhere (or None)."""
    found: list[bytes] = []
    dense = None
    for kind, body in _messages(place):
        if kind == _ATTRIBUTE and len(body) >= 9:
            found.append(body)
        elif kind == _ATTRIBUTE_INFO and len(body) >= 2:
            fields = Fields(place, body, 4 if body[1] & 1 else 2)
            heap, index = fields.address(), fields.address()
            if heap != place.undefined:
                dense = heap, index
    return found, dense


def chunk_node_half(origin: Place, version: int) -> int:
    """Half of the entries that a node of a chunk index has room for, by the superblock at `origin`.

    Parameters
    ----------
    origin
        The address 0 of the file.
    version
        Of the superblock.
    """
    if version == 0:
        return _DEFAULT_HALF
    if version == 1:
        return int.from_bytes(origin.pread(2, 24), "little")
    for kind, body in _extension(origin):
        if kind == _NODE_SIZES and len(body) >= 3:
            return int.from_bytes(body[1:3], "little")
    return _DEFAULT_HALF


def shares_messages(origin: Place, version: int) -> bool:
    """Whether the file, with a superblock of that version at `origin`, has a table of shared messages."""
    return version > 1 and any(kind == _SHARED_TABLE for kind, _ in _extension(origin))


def _extension(origin: Place) -> Iterator[tuple[int, bytes]]:
    """The messages of a superblock's extension, from version 2 on."""
    at = Fields(origin, origin.pread(12 + 2 * origin.offset_nbytes), 12 + origin.offset_nbytes).address()
    return iter(()) if at == origin.undefined else _messages(origin.at(at))


def end_of_file(origin: Place, version: int) -> int:
    """The end of the file by the superblock at `origin`, of that version, in bytes from the file's beginning."""
    at = {0: 24, 1: 28}.get(version, 12)
    fields = Fields(origin, origin.pread(at + 3 * origin.offset_nbytes), at)
    base, _, end = fields.address(), fields.address(), fields.address()
    # Counted from the base that is stored, which differs from the true one where a user block was put before the file.
    return end - base + origin.base


def is_group(place: Place) -> bool:
    """Whether the object is a group."""
    return any(kind in (_LINK_INFO, _SYMBOL_TABLE) for kind, _ in _messages(place))


def fill_bytes(place: Place) -> bytes | None:
    """The fill value as it is stored; None where there is none, or where other datasets share it."""
    for kind, body in _messages(place):
        if kind == _FILL:
            if body[0] >= 3:
                at, there = 2, bool(body[1] & 0x20)
            else:
                at, there = 4, body[0] == 1 or bool(body[3])
            if not there:
                return None
            nbytes = int.from_bytes(body[at : at + 4], "little")
            if at + 4 + nbytes > len(body):
                raise _bad(place, "a fill value", f"{nbytes} bytes in a message of {len(body)}")
            return body[at + 4 : at + 4 + nbytes] or None
    return None


def _bad(place: Place, expected: str, got: object) -> FormatError:
    return place.bad("an object header", expected, got)


def _find(kind: int, place: Place) -> bytes:
    """The first message of type `kind`."""
    for found, body in _messages(place):
        if found == kind and len(body) >= 8:
            return body
    raise _bad(place, f"a message of type {kind:#x}", "none")


def _messages(place: Place) -> Iterator[tuple[int, bytes]]:
    """Type and body of each message, continuation blocks followed."""
    start = place.pread(min(32, max(place.left, 0)))
    if start[:4] == b"OHDR":
        flags = start[5]
        at = 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
        width = 1 << (flags & 3)
        block = (place.at(place.address + at + width), int.from_bytes(place.pread(width, at), "little"))
        prefix, tagged = (6 if flags & 4 else 4), True
    elif start[:1] == b"\x01":
        block = (place.at(place.address + 16), int.from_bytes(start[8:12], "little"))
        prefix, tagged = 8, False
    else:
        raise _bad(place, "an object header", start[:4].hex(" "))
    blocks = [block]
    for number in range(_MAX_BLOCKS):
        if number == len(blocks):
            return
        part, size = blocks[number]
        if size > _MAX_BLOCK_NBYTES:
            raise _bad(place, f"at most {_MAX_BLOCK_NBYTES} bytes", size)
        data = part.pread(size)
        if tagged and number:
            if data[:4] != b"OCHK":
                raise _bad(place, "a continuation block", data[:4].hex(" "))
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
            if kind == _CONTINUATION and len(body) >= place.offset_nbytes + place.length_nbytes:
                fields = Fields(place, body)
                blocks.append((place.at(fields.address()), fields.length()))
            else:
                # The body of a shared message only says where the message is.
                yield kind | (_SHARED if flags & 2 else 0), body
