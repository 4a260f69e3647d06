"""The two messages of an object header that h5py has no call for: a dataset's stored dimensions and its chunk index.

libhdf5 computes the dimensions of a virtual dataset from the files it maps, which would open them, and says neither
which index a dataset has nor whether the chunks at its edges skip the filters. Source: HDF5 File Format Specification
3.0, IV.A.1 (headers), IV.A.2.b (dataspace) and IV.A.2.i (data layout).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from packstore.errors import FormatError, message
from packstore.source import ByteSpace

__all__ = ["B_TREE_V1", "EXTENSIBLE_ARRAY", "ChunkLayout", "chunk_layout", "stored_dimensions"]

_DATASPACE, _LAYOUT, _CONTINUATION = 0x01, 0x08, 0x10
_MAX_BLOCKS = 1024
_MAX_BLOCK_NBYTES = 16 << 20

# Index numbers of layout messages since version 4; 0 stands for the only index of the older ones.
B_TREE_V1, EXTENSIBLE_ARRAY = 0, 4


@dataclass(frozen=True)
class ChunkLayout:
    """What the layout message of a chunked dataset says.

    Parameters
    ----------
    index
        0: version 1 B-tree, 1: single chunk, 2: implicit, 3: fixed array, 4: extensible array, 5: version 2 B-tree.
    raw_edges
        Whether chunks that reach over the edge of the dataset are stored without the filters.
    """

    index: int
    raw_edges: bool


def chunk_layout(space: ByteSpace, address: int, base: int, offset_nbytes: int, length_nbytes: int) -> ChunkLayout:
    """Read the layout message of the object at `address` (counted from `base`, as all addresses in the file)."""
    body = _find(_LAYOUT, space, address, base, offset_nbytes, length_nbytes)
    if body[0] < 4:
        return ChunkLayout(B_TREE_V1, False)
    if body[1] != 2:
        raise _bad(space, "a chunked layout", body[1])
    flags, rank, width = body[2], body[3], body[4]
    return ChunkLayout(body[5 + rank * width], bool(flags & 1))


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
                kind, length = data[i], int.from_bytes(data[i + 1 : i + 3], "little")
            else:
                kind, length = (int.from_bytes(data[i + k : i + k + 2], "little") for k in (0, 2))
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
                yield kind, body
