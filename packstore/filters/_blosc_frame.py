"""Blocks of other formats as one Blosc 1 buffer: one call of c-blosc decompresses and unshuffles each in the cache.

Bitshuffle and Blosc 2 compress blocks on their own with the same compressors and shuffle in the same order as Blosc 1;
what differs are the header and, for bitshuffle, the byte order of the sizes in front of the blocks. So the compressed
bytes are copied once and nothing is decoded twice.

Sources: the chunk formats of c-blosc (https://github.com/Blosc/c-blosc/blob/main/README_CHUNK_FORMAT.rst) and c-blosc2
(https://github.com/Blosc/c-blosc2/blob/main/README_CHUNK_FORMAT.rst).
"""

from __future__ import annotations

import functools
import struct
from typing import Any

import numpy as np

from packstore.filters import _probe, _scratch
from packstore.filters._base import Bytes, FilterSpec, call, store

__all__ = ["LZ4", "ZSTD", "decode_blocks", "decode_blosc2"]

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


def decode_blocks(
    data: Bytes,
    spec: FilterSpec,
    compressor: int,
    starts: list[int],
    sizes: list[int],
    itemsize: int,
    block_nbytes: int,
    out: Bytes,
) -> bool:
    """Decompress and unshuffle all blocks into `out`.

    Parameters
    ----------
    data
        The chunk.
    spec
        The filter, for error texts.
    compressor
        `LZ4` or `ZSTD`.
    starts, sizes
        Where each block starts, and its bytes; its size also stands in the 4 bytes before it.
    itemsize
        Bytes an element.
    block_nbytes
        Decoded size of a block; the last one may be shorter.
    out
        A multiple of 8 elements.

    Returns
    -------
    bool
        False where a Blosc buffer cannot say the same: elements or chunks too large for it, or a block that is as
        large as what it decodes to, which Blosc takes for a stored one.

    Raises
    ------
    CorruptDataError
        A block does not decode to its size.
    """
    total = out.size
    block_nbytes = min(block_nbytes, total)
    if itemsize > _MOST_ITEMSIZE or total > _MOST_NBYTES or block_nbytes in sizes:
        return False
    if sizes[-1] == (total - 1) % block_nbytes + 1:
        return False
    first, stop = starts[0] - 4, starts[-1] + sizes[-1]
    begin = _HEADER.size + 4 * len(starts)
    frame = _scratch.take(2, begin + stop - first)
    flags = _BITS | _WHOLE | compressor << 5
    _HEADER.pack_into(frame, 0, *_VERSIONS, flags, itemsize, total, block_nbytes, frame.size)
    moved = np.array(starts, "<i4") + np.int32(begin - first - 4)
    frame[_HEADER.size : begin] = moved.view(np.uint8)
    frame[begin:] = data[first:stop]
    frame[moved[:, None] + np.arange(4)] = np.array(sizes, "<u4").view(np.uint8).reshape(-1, 4)
    _decode(frame, spec, out)
    return True


def decode_blosc2(data: Bytes, spec: FilterSpec, out: Bytes) -> bool:
    """Decode a Blosc 2 chunk of nothing but what Blosc 1 has, too: imagecodecs' own decoder holds the GIL.

    Parameters
    ----------
    data
        The chunk, with its header of 32 bytes.
    spec
        The filter, for error texts.
    out
        As large as the chunk decodes to.

    Returns
    -------
    bool
        False where Blosc 1 cannot say the same: other filters or compressors, dictionaries, runs of one value, or
        blocks that it would split otherwise.

    Raises
    ------
    CorruptDataError
        A block does not decode to its size.
    """
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
        or not total == out.size <= _MOST_NBYTES
        or stored != data.size
    ):
        return False
    is_split = not flags & _WHOLE
    if is_split and (itemsize > _MOST_SPLIT or block // itemsize < _LEAST_SPLIT or block % itemsize):
        return False
    if shuffle == _BITS and (block % (8 * itemsize) or total % (8 * itemsize)):
        return False
    count = -(-total // block)
    if data.size < _HEADER2 + 4 * count:
        return False
    begin = at = _HEADER.size + 4 * count
    starts, pieces = [], []
    view = memoryview(data)
    for number, start in enumerate(struct.unpack_from(f"<{count}i", view, _HEADER2)):
        nbytes = min(block, total - number * block)
        streams = itemsize if is_split and nbytes == block else 1
        found = _streams(view, start, streams, compressor, nbytes // streams)
        if found is None:
            return False
        starts.append(at)
        pieces += found
        at += sum([len(piece) for piece in found])
    flags = flags & (_WHOLE | 7 << 5) | shuffle
    head = _HEADER.pack(*_VERSIONS, flags, itemsize, total, block, at) + struct.pack(f"<{count}i", *starts)
    assert len(head) == begin
    _decode(np.frombuffer(b"".join([head, *pieces]), np.uint8), spec, out)
    return True


def _streams(view: memoryview, start: int, count: int, compressor: int, nbytes: int) -> list[Any] | None:
    """The compressed streams of a Blosc 2 block, each behind its size, in which none stands for a run of one value."""
    pieces: list[Any] = []
    first = at = start
    for _ in range(count):
        if not _HEADER2 <= at <= len(view) - 4:
            return None
        stored = _SIZE.unpack_from(view, at)[0]
        if stored < 0:
            return None
        if stored == 0:
            zeros = _zeros(compressor, nbytes)
            if zeros is None:
                return None
            pieces += [view[first:at], zeros]
            first = at + 4
        at += 4 + stored
    pieces.append(view[first:at])
    return pieces


@functools.lru_cache(64)
def _zeros(compressor: int, nbytes: int) -> bytes | None:
    """`nbytes` of zeros as a stream of Blosc 1 behind its size."""
    import numcodecs.blosc

    name = {_BLOSCLZ: b"blosclz", LZ4: b"lz4", _ZLIB: b"zlib", ZSTD: b"zstd"}[compressor]
    whole: bytes = numcodecs.blosc.compress(bytes(nbytes), name, 5, numcodecs.blosc.NOSHUFFLE, nbytes)
    _, _, flags, _, total, block, stored = _HEADER.unpack_from(whole)
    if flags & _STORED or total != block or stored != len(whole):
        # Too few to be compressed.
        return None
    return whole[_HEADER.size + 4 :]


def _decode(frame: Bytes, spec: FilterSpec, out: Bytes) -> None:
    fast = _probe.imagecodecs_function("blosc")
    if fast is not None:
        store(spec, call(spec, fast, frame, numthreads=1, out=out), out, True)
        return
    import numcodecs.blosc

    store(spec, call(spec, numcodecs.blosc.decompress, frame, out), out, True)
