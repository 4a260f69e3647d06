"""Filter 32008, bitshuffle: bit *i* of all elements of a block stored together, then perhaps compressed by LZ4 or zstd.

Blocks hold a multiple of 8 elements; the 0 to 7 elements left at the end are stored as they are. With a compressor the
chunk starts with the decoded size (8 bytes, big-endian) and the block size in bytes (4), and each block with its
compressed size (4): the framing of the LZ4 filter. c-blosc decodes such blocks in one call (see `blosc_frame`), about
4 GB/s a core. imagecodecs, or numpy by 8x8 bits, puts uncompressed bits back.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from packstore.codecs import libraries
from packstore.codecs.decompress import Limit, corrupt, decode_lz4_block, decode_zstd, fill
from packstore.codecs.hdf5 import blosc_frame
from packstore.codecs.hdf5.base import FilterSpec, always_available
from packstore.codecs.hdf5.lz4 import blocks, header
from packstore.core.scratch import Scratch
from packstore.core.typing import Bytes

__all__ = ["decode", "decode_many", "decode_range", "encoded", "unavailable"]

unavailable = always_available

_NONE, _LZ4, _ZSTD = 0, 2, 3
_HEADER = 12
_TARGET_NBYTES, _MULTIPLE, _LEAST = 8192, 8, 128
_scratch = Scratch()


def encoded(spec: FilterSpec, limit: Limit) -> Limit:
    """Keep the size, unless a compressor follows."""
    return limit.encoded() if _compression(spec) else limit


def decode(data: Bytes, limit: Limit, out: Bytes, spec: FilterSpec) -> Bytes:
    """Decompress the blocks, then put the bits back."""
    compression = _compression(spec)
    itemsize = spec.client_values[2] if len(spec.client_values) > 2 else 0
    if itemsize < 1 or compression not in (_NONE, _LZ4, _ZSTD):
        corrupt(spec, "an element size, and compression 0, 2 (lz4) or 3 (zstd)", spec.client_values)
    if compression == _NONE:
        total = data.size
        limit.check(total, spec)
        block = spec.client_values[3] if len(spec.client_values) > 3 else 0
        block = block or max(_TARGET_NBYTES // itemsize // _MULTIPLE * _MULTIPLE, _LEAST)
        shuffled = data
    else:
        total, block_nbytes = header(data, spec)
        limit.check(total, spec)
        block = block_nbytes // itemsize
        if total % itemsize or block_nbytes % itemsize:
            corrupt(spec, f"sizes in whole elements of {itemsize} bytes", f"{total}, blocks of {block_nbytes}")
    if total % itemsize or block % _MULTIPLE or (total and not block):
        corrupt(spec, f"whole elements of {itemsize} bytes in blocks of a multiple of 8", f"{total}, {block}")
    result = out[:total]
    whole = total // itemsize // _MULTIPLE * _MULTIPLE * itemsize
    if compression != _NONE:
        step = block * itemsize
        starts, sizes = blocks(data, spec, whole, step)
        end = starts[-1] + sizes[-1] if starts else _HEADER
        left = data[end : end + total - whole]
        if left.size != total - whole:
            corrupt(spec, f"{total - whole} bytes after the last block", left.size)
        result[whole:] = left
        if compression == _LZ4 and whole == total and _decode_lz4(data, spec, itemsize, sizes, step, result):
            return result
        packed = [blosc_frame.Blocks(data, starts, sizes)]
        known = blosc_frame.LZ4 if compression == _LZ4 else blosc_frame.ZSTD
        if not starts or blosc_frame.decode_blocks(packed, spec, known, itemsize, step, result[:whole]):
            return result
        shuffled = _decompress(data, spec, starts, sizes, compression, step, whole)
    if whole:
        _unshuffle(shuffled[:whole], spec, itemsize, block, result[:whole])
    if compression == _NONE:
        result[whole:] = shuffled[whole:]
    return result


def decode_many(chunks: Sequence[Bytes], spec: FilterSpec, out: Bytes) -> bool:
    """Decode chunks of whole blocks in one call."""
    compression = _compression(spec)
    itemsize = spec.client_values[2] if len(spec.client_values) > 2 else 0
    nbytes = out.size // len(chunks)
    if itemsize < 1 or compression not in (_LZ4, _ZSTD):
        return False
    head = header(chunks[0], spec)
    step = head[1]
    if head[0] != nbytes or not step or nbytes % step or step % (itemsize * _MULTIPLE):
        return False
    found = []
    for data in chunks:
        if header(data, spec) != head:
            return False
        found.append(blosc_frame.Blocks(data, *blocks(data, spec, nbytes, step)))
    known = blosc_frame.LZ4 if compression == _LZ4 else blosc_frame.ZSTD
    return blosc_frame.decode_blocks(found, spec, known, itemsize, step, out)


def decode_range(data: Bytes, spec: FilterSpec, nbytes: int, start: int, stop: int) -> tuple[Bytes, int] | None:
    """Decode the blocks that cover bytes `start` to `stop` of a chunk of `nbytes`."""
    compression = _compression(spec)
    itemsize = spec.client_values[2] if len(spec.client_values) > 2 else 0
    if itemsize < 1 or compression not in (_LZ4, _ZSTD):
        return None
    total, step = header(data, spec)
    if total != nbytes or not step or step % (itemsize * _MULTIPLE) or -(-stop // step) * step > nbytes:
        return None
    first, last = start // step, -(-stop // step)
    starts, sizes = blocks(data, spec, last * step, step)
    out = np.empty((last - first) * step, np.uint8)
    wanted = [blosc_frame.Blocks(data, starts[first:], sizes[first:])]
    known = blosc_frame.LZ4 if compression == _LZ4 else blosc_frame.ZSTD
    return (out, first * step) if blosc_frame.decode_blocks(wanted, spec, known, itemsize, step, out) else None


def _compression(spec: FilterSpec) -> int:
    return spec.client_values[4] if len(spec.client_values) > 4 else _NONE


def _decode_lz4(data: Bytes, spec: FilterSpec, itemsize: int, sizes: list[int], step: int, out: Bytes) -> bool:
    """Decompress all blocks in one call, and put all bits back in another: the filter of LZ4 has the same framing.

    False, with nothing done, where imagecodecs lacks one of the two, or a block is as large as its decoded bytes, which
    that filter would take for a stored one.
    """
    lz4, put_back = libraries.imagecodecs_function("lz4h5"), libraries.imagecodecs_function("bitshuffle")
    if lz4 is None or put_back is None or not sizes or step in sizes or sizes[-1] == (out.size - 1) % step + 1:
        return False
    shuffled = fill(lz4, data, Limit(out.size, True), _scratch.take(out.size), spec)
    _unshuffle(shuffled, spec, itemsize, step // itemsize, out)
    return True


def _decompress(
    data: Bytes, spec: FilterSpec, starts: list[int], sizes: list[int], compression: int, block: int, whole: int
) -> Bytes:
    """Decompress the blocks one by one."""
    shuffled = _scratch.take(whole)
    for number, (at, nbytes) in enumerate(zip(starts, sizes, strict=True)):
        part = shuffled[number * block : min((number + 1) * block, whole)]
        if compression == _LZ4:
            decode_lz4_block(data[at : at + nbytes], part, spec)
        else:
            decode_zstd(data[at : at + nbytes], Limit(part.size, True), part, spec)
    return shuffled


def _unshuffle(data: Bytes, spec: FilterSpec, itemsize: int, block: int, out: Bytes) -> None:
    """Put the bits of all blocks back; `data` holds a multiple of 8 elements."""
    fast = libraries.imagecodecs_function("bitshuffle")
    if fast is not None:
        # As a plain buffer: of an array, imagecodecs takes the array's own item size.
        fill(fast, memoryview(data), Limit(out.size, True), out, spec, itemsize=itemsize, blocksize=block)
        return
    step = block * itemsize
    full = data.size // step * step
    if full:
        _transpose_bits(data[:full].reshape(-1, itemsize, 8, block // 8), out[:full].reshape(-1, block, itemsize))
    if full < data.size:
        count = (data.size - full) // itemsize
        _transpose_bits(data[full:].reshape(1, itemsize, 8, count // 8), out[full:].reshape(1, count, itemsize))


def _transpose_bits(planes: Bytes, out: Bytes) -> None:
    """Turn (blocks, bytes of the element, 8 bits, elements / 8) planes into (blocks, elements, bytes)."""
    for first in range(0, planes.shape[0], 16):
        part = planes[first : first + 16]
        # One 64-bit word holds the same byte of 8 elements: byte i of it is bit i of all 8.
        words: npt.NDArray[np.uint64] = np.ascontiguousarray(part.transpose(0, 3, 1, 2)).view("<u8")[..., 0]
        for mask, shift in ((0x00AA00AA00AA00AA, 7), (0x0000CCCC0000CCCC, 14), (0x00000000F0F0F0F0, 28)):
            swap = (words ^ (words >> np.uint64(shift))) & np.uint64(mask)
            words = words ^ swap ^ (swap << np.uint64(shift))
        count, groups, itemsize = words.shape
        octets = words.astype("<u8").view(np.uint8).reshape(count, groups, itemsize, 8)
        out[first : first + 16] = octets.transpose(0, 1, 3, 2).reshape(count, groups * 8, itemsize)
