"""Decode blocks of other formats as one Blosc 1 buffer: c-blosc decompresses and unshuffles all of them in one call.

Bitshuffle and Blosc 2 compress each block by itself with the same compressors, and shuffle in the same order, as
Blosc 1. Only the header differs and, for bitshuffle, the byte order of the sizes in front of the blocks. So this module
copies the compressed bytes once behind a header of Blosc 1.

Sources: the chunk formats of c-blosc (https://github.com/Blosc/c-blosc/blob/main/README_CHUNK_FORMAT.rst) and c-blosc2
(https://github.com/Blosc/c-blosc2/blob/main/README_CHUNK_FORMAT.rst).
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from packstore.codecs.decompress import decode_blosc_buffer
from packstore.codecs.hdf5.base import FilterSpec
from packstore.core.scratch import Scratch
from packstore.core.typing import Bytes

__all__ = ["LZ4", "ZSTD", "Blocks", "decode_blocks", "decode_blosc2", "decode_buffers"]

# Blosc's numbers of the compressors' formats.
LZ4, ZSTD = 1, 4
# Format versions (of the buffer, of the compressor), flags, item size; decoded size, block size, buffer size.
_HEADER = struct.Struct("<4B3I")
_SIZE = struct.Struct("<i")
_VERSIONS = 2, 1
# Flags: the bytes or the bits of elements are shuffled; blocks are not split by the bytes of the elements.
_BYTES, _STORED, _BITS, _WHOLE = 0x01, 0x02, 0x04, 0x10
_MOST_ITEMSIZE, _MOST_NBYTES = 255, 1 << 29
# Blosc 1 splits blocks only of such elements, and of no fewer.
_MOST_SPLIT, _LEAST_SPLIT = 16, 128
# Blosc 2: a header of 32 bytes, marked by both kinds of shuffle; its filters, and the numbers of the compressors that
# Blosc 1 has as well.
_HEADER2, _VERSION2, _EXTENDED = 32, 5, _BYTES | _BITS
_SHUFFLES = {bytes(6): 0, bytes(5) + b"\1": _BYTES, bytes(5) + b"\2": _BITS}
_BLOSCLZ, _ZLIB = 0, 3
_scratch = Scratch()


class Blocks(NamedTuple):
    """Where the compressed blocks of one chunk are.

    Attributes
    ----------
    data
        The chunk.
    starts, sizes
        Start and size of each block; the size also stands in the 4 bytes before the block.
    """

    data: Bytes
    starts: list[int]
    sizes: list[int]


def decode_blocks(
    chunks: Sequence[Blocks], spec: FilterSpec, compressor: int, itemsize: int, block_nbytes: int, out: Bytes
) -> bool:
    """Decompress the blocks of several chunks of one size and put their bits back.

    Parameters
    ----------
    chunks
        The blocks of each chunk.
    spec
        The filter, for error texts.
    compressor
        `LZ4` or `ZSTD`.
    itemsize
        Bytes an element.
    block_nbytes
        Decoded size of a block; only the last one of a single chunk may be shorter.
    out
        Memory for the decoded chunks, one after the other; a multiple of 8 elements.

    Returns
    -------
    bool
        False, with nothing done, where no Blosc buffer can hold the blocks: the elements or chunks are too large for
        it, or a block is as large as its decoded bytes, which Blosc would take for a stored block.

    Raises
    ------
    CorruptDataError
        A block does not decode to its size.
    """
    total = out.size
    block_nbytes = min(block_nbytes, total)
    last = (total - 1) % block_nbytes + 1
    if itemsize > _MOST_ITEMSIZE or total > _MOST_NBYTES or chunks[-1].sizes[-1] == last:
        return False
    if len(chunks) > 1 and last != block_nbytes:
        return False
    bounds = []
    count = 0
    for _, starts, sizes in chunks:
        if block_nbytes in sizes:
            return False
        bounds.append((starts[0] - 4, starts[-1] + sizes[-1]))
        count += len(starts)
    begin = at = _HEADER.size + 4 * count
    frame = _scratch.take(begin + sum([stop - first for first, stop in bounds]))
    # Copies of numpy give the GIL away each time, and getting it back takes longer than these copies.
    view = memoryview(frame)
    moved: list[int] = []
    for (data, starts, sizes), (first, stop) in zip(chunks, bounds, strict=True):
        view[at : at + stop - first] = memoryview(data)[first:stop]
        shift = at - first - 4
        places = [start + shift for start in starts]
        for place, size in zip(places, sizes, strict=True):
            _SIZE.pack_into(view, place, size)
        moved += places
        at += stop - first
    flags = _BITS | _WHOLE | compressor << 5
    _HEADER.pack_into(view, 0, *_VERSIONS, flags, itemsize, total, block_nbytes, at)
    struct.pack_into(f"<{count}i", view, _HEADER.size, *moved)
    decode_blosc_buffer(frame, out, spec)
    return True


def decode_buffers(buffers: Sequence[Bytes], spec: FilterSpec, out: Bytes) -> bool:
    """Decode Blosc 1 buffers of one size and kind into `out`, one after the other, as if they were one.

    Returns
    -------
    bool
        False where they differ in more than their blocks, or do not consist of whole blocks.

    Raises
    ------
    CorruptDataError
        A block does not decode to its size.
    """
    kind = buffers[0][: _HEADER.size - 4].tobytes()
    if len(kind) < _HEADER.size - 4:
        return False
    *head, total, block = struct.unpack("<4B2I", kind)
    if head[2] & _STORED or not 0 < block <= total or total % block or total * len(buffers) != out.size:
        return False
    if out.size > _MOST_NBYTES:
        return False
    count = total // block
    table = _HEADER.size + 4 * count
    found = []
    for data in buffers:
        if data.size < table or data[: len(kind)].tobytes() != kind:
            return False
        stored = int.from_bytes(data[len(kind) : _HEADER.size].tobytes(), "little")
        places = struct.unpack_from(f"<{count}i", data, _HEADER.size)
        # Every block is its own buffer's.
        if not table < stored <= data.size or min(places) < table or max(places) > stored - 4:
            return False
        rest = memoryview(data)[table:stored]
        found.append(_Buffer((*head, total, block), [place - table for place in places], [rest], len(rest)))
    return _decode_all(found, spec, out)


class _Buffer(NamedTuple):
    """A Blosc 1 buffer in parts.

    Attributes
    ----------
    kind
        Versions, flags, item size, decoded size and block size.
    starts
        Start of each block, counted from the end of the table of blocks.
    pieces
        The bytes that follow the table.
    nbytes
        Size of all pieces together.
    """

    kind: tuple[int, ...]
    starts: list[int]
    pieces: list[Any]
    nbytes: int


def _decode_all(buffers: Sequence[_Buffer], spec: FilterSpec, out: Bytes) -> bool:
    """Decode buffers as one; False where they are of several kinds, or not of whole blocks."""
    kind = buffers[0].kind
    *head, total, block = kind
    if len(buffers) > 1 and (total % block or any(buffer.kind != kind for buffer in buffers)):
        return False
    at = _HEADER.size + 4 * sum([len(buffer.starts) for buffer in buffers])
    starts: list[int] = []
    pieces: list[Any] = []
    for buffer in buffers:
        starts += [start + at for start in buffer.starts]
        pieces += buffer.pieces
        at += buffer.nbytes
    table = struct.pack(f"<{len(starts)}i", *starts)
    frame = b"".join([_HEADER.pack(*head, out.size, block, at), table, *pieces])
    decode_blosc_buffer(np.frombuffer(frame, np.uint8), out, spec)
    return True


def decode_blosc2(chunks: Sequence[Bytes], spec: FilterSpec, out: Bytes) -> bool:
    """Decode Blosc 2 chunks that use only features of Blosc 1; imagecodecs' decoder of Blosc 2 holds the GIL.

    Parameters
    ----------
    chunks
        The chunks with their headers of 32 bytes, all of one decoded size.
    spec
        The filter, for error texts.
    out
        Memory for the decoded chunks, one after the other.

    Returns
    -------
    bool
        False, with nothing done, where the chunks use other features than those of Blosc 1: other filters or
        compressors, dictionaries, runs of one value, or blocks that Blosc 1 would split otherwise.

    Raises
    ------
    CorruptDataError
        A block does not decode to its size.
    """
    found = []
    for data in chunks:
        buffer = _translated(data, out.size // len(chunks))
        if buffer is None:
            return False
        found.append(buffer)
    return out.size <= _MOST_NBYTES and _decode_all(found, spec, out)


def _translated(data: Bytes, size: int) -> _Buffer | None:
    """Translate a Blosc 2 chunk into a Blosc 1 buffer; None where Blosc 1 lacks a feature of it."""
    version, _, flags, itemsize, total, block, stored = _HEADER.unpack_from(data)
    head = data[:_HEADER2].tobytes()  # from byte 16: six filters, the compressor again, parameters of both, flags
    shuffle = _SHUFFLES.get(head[16:22])
    compressor = flags >> 5
    if (
        version != _VERSION2
        or flags & (_EXTENDED | _STORED) != _EXTENDED
        or shuffle is None
        or any(head[23:])
        or compressor not in (_BLOSCLZ, LZ4, _ZLIB, ZSTD)
        or not 0 < itemsize <= _MOST_ITEMSIZE
        or not 0 < block <= total
        or total != size
        or stored != data.size
    ):
        return None
    is_split = not flags & _WHOLE
    if is_split and (itemsize > _MOST_SPLIT or block // itemsize < _LEAST_SPLIT or block % itemsize):
        return None
    if shuffle == _BITS and (block % (8 * itemsize) or total % (8 * itemsize)):
        return None
    count = -(-total // block)
    if data.size < _HEADER2 + 4 * count:
        return None
    starts: list[int] = []
    pieces: list[Any] = []
    at = 0
    view = memoryview(data)
    for number, start in enumerate(struct.unpack_from(f"<{count}i", view, _HEADER2)):
        nbytes = min(block, total - number * block)
        streams = itemsize if is_split and nbytes == block else 1
        found = _streams(view, start, streams, compressor, nbytes // streams)
        if found is None:
            return None
        starts.append(at)
        pieces += found
        at += sum([len(piece) for piece in found])
    flags = flags & (_WHOLE | 7 << 5) | shuffle
    return _Buffer((*_VERSIONS, flags, itemsize, total, block), starts, pieces, at)


def _streams(view: memoryview, start: int, count: int, compressor: int, nbytes: int) -> list[Any] | None:
    """Give the compressed streams of a Blosc 2 block, each behind its size; None where one is of another kind.

    A size of 0 stands for zeros, and one below 0 for a run of the byte that is its negative, which a marked byte
    follows: Blosc 1 has neither, so such a stream is compressed here.
    """
    pieces: list[Any] = []
    first = at = start
    for _ in range(count):
        if not _HEADER2 <= at <= len(view) - 4:
            return None
        stored = _SIZE.unpack_from(view, at)[0]
        if stored <= 0:
            marked = int(stored < 0)
            if stored < -255 or (marked and not (at + 4 < len(view) and view[at + 4] & 1)):
                return None
            run = _run(compressor, nbytes, -stored)
            if run is None:
                return None
            pieces += [view[first:at], run]
            first = at = at + 4 + marked
        else:
            at += 4 + stored
    pieces.append(view[first:at])
    return pieces


@functools.lru_cache(1024)
def _run(compressor: int, nbytes: int, value: int) -> bytes | None:
    """Compress `nbytes` bytes of one value to a stream of Blosc 1 behind its size."""
    import numcodecs.blosc

    name = {_BLOSCLZ: b"blosclz", LZ4: b"lz4", _ZLIB: b"zlib", ZSTD: b"zstd"}[compressor]
    whole: bytes = numcodecs.blosc.compress(bytes([value]) * nbytes, name, 5, numcodecs.blosc.NOSHUFFLE, nbytes)
    _, _, flags, _, total, block, stored = _HEADER.unpack_from(whole)
    if flags & _STORED or total != block or stored != len(whole):
        # Too few to be compressed.
        return None
    return whole[_HEADER.size + 4 :]
