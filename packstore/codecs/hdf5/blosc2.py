"""Filter 32026, Blosc 2: one contiguous frame per chunk, as c-blosc2 writes super-chunks and b2nd arrays.

A frame is a header of fixed layout (big-endian msgpack), the Blosc 2 chunks, one more chunk with their offsets, and a
trailer that is not needed. This module parses the frame. c-blosc decodes a chunk that uses only features of Blosc 1,
imagecodecs any other. A b2nd array stores the blocks of an n-dimensional chunk one after the other: this module puts
them into C order. Without imagecodecs h5py reads the dataset.
Layout: README_CFRAME_FORMAT.rst and README_B2ND_METALAYER.rst of c-blosc2.
"""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from packstore.codecs import libraries
from packstore.codecs.decompress import Limit, corrupt, fill
from packstore.codecs.hdf5 import blosc_frame
from packstore.codecs.hdf5.base import FilterSpec, compressed, needs_imagecodecs
from packstore.core.scratch import Scratch
from packstore.core.typing import Array, Bytes

__all__ = ["decode", "decode_many", "encoded", "unavailable"]

unavailable = needs_imagecodecs("blosc2")
encoded = compressed

_FRAME = struct.Struct(">1s1s8s1si1sQ1s4s1sq1sq1si1si1si")  # up to and including the chunk size
_MAGIC = b"b2frame\0"
_METALAYERS = 87
_CHUNK_HEADER, _STORED = 32, 2
_ZERO, _NAN, _UNINITIALISED = 1, 2, 4
_MAX_NDIM = 16
_scratch = Scratch()


@dataclass(frozen=True)
class _Frame:
    header_nbytes: int
    nbytes: int
    compressed: int
    itemsize: int
    chunk_nbytes: int


@dataclass(frozen=True)
class _Grid:
    """The shapes of a b2nd array."""

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    blocks: tuple[int, ...]

    @property
    def padded(self) -> tuple[int, ...]:
        """A chunk as it is stored: whole blocks."""
        return tuple(-(-c // b) * b for c, b in zip(self.chunks, self.blocks, strict=True))

    @property
    def is_plain(self) -> bool:
        """Whether the elements lie in C order: one block, or whole ones along a single axis."""
        return self.padded == self.shape and (len(self.shape) == 1 or self.blocks == self.shape)


def decode(data: Bytes, limit: Limit, out: Bytes, spec: FilterSpec) -> Bytes:
    """Decode all chunks of the frame into `out`."""
    frame = _frame(data, spec)
    grid = _grid(data, spec, frame)
    if grid is not None and not grid.is_plain:
        return _array(data, limit, out, spec, frame, grid)
    limit.check(frame.nbytes, spec)
    result = out[: frame.nbytes]
    for start, offset in zip(range(0, frame.nbytes, frame.chunk_nbytes), _offsets(data, spec, frame), strict=True):
        _chunk(data, spec, frame, offset, result[start : start + frame.chunk_nbytes])
    return result


def decode_many(chunks: Sequence[Bytes], spec: FilterSpec, out: Bytes) -> bool:
    """Decode frames of one Blosc 2 chunk each in one call; those of arrays where blocks fill the chunk."""
    nbytes = out.size // len(chunks)
    found = []
    first = None
    for data in chunks:
        frame = _frame(data, spec)
        grid = _grid(data, spec, frame)
        kind = (frame.itemsize, grid)
        if frame.nbytes != nbytes or frame.chunk_nbytes != nbytes or kind != (first or kind):
            return False
        first = kind
        start, stop = frame.header_nbytes, frame.header_nbytes + frame.compressed
        index = data[stop : stop + _CHUNK_HEADER + 8].tobytes()
        # The table of one chunk: a stored zero.
        if len(index) != _CHUNK_HEADER + 8 or not index[2] & _STORED or any(index[_CHUNK_HEADER:]):
            return False
        found.append(data[start:stop])
    assert first is not None
    itemsize, grid = first
    if any(data.size < _CHUNK_HEADER for data in found):
        return False
    if grid is None or grid.is_plain:
        return blosc_frame.decode_blosc2(found, spec, out)
    if grid.padded != grid.shape or math.prod(grid.shape) * itemsize != nbytes:
        return False
    stored = _scratch.take(out.size)
    if not blosc_frame.decode_blosc2(found, spec, stored):
        return False
    cells = _cells(stored, itemsize, grid, len(chunks))
    out.view(cells.dtype).reshape(cells.shape)[...] = cells
    return True


def _frame(data: Bytes, spec: FilterSpec) -> _Frame:
    """Read the header and hold its sizes against the bytes that are there."""
    if data.size < _METALAYERS:
        corrupt(spec, f"at least {_METALAYERS} bytes", data.size)
    fields = _FRAME.unpack_from(data)
    magic, header, length, nbytes, compressed, itemsize, chunk = (fields[i] for i in (2, 4, 6, 10, 12, 14, 18))
    if magic != _MAGIC:
        corrupt(spec, "a Blosc 2 contiguous frame", bytes(magic))
    if not (_METALAYERS <= header <= length <= data.size and 0 <= compressed <= length - header):
        corrupt(spec, f"a frame within {data.size} bytes", f"header {header}, chunks {compressed}, frame {length}")
    if nbytes < 0 or itemsize < 1 or chunk < 0 or (nbytes and not chunk):
        corrupt(spec, "sizes above 0", f"{nbytes} bytes, items of {itemsize}, chunks of {chunk}")
    return _Frame(header, nbytes, compressed, itemsize, chunk or 1)


def _offsets(data: Bytes, spec: FilterSpec, frame: _Frame) -> Iterator[int]:
    """Give where each chunk starts after the header; negative numbers stand for chunks of one value."""
    count = -(-frame.nbytes // frame.chunk_nbytes) if frame.nbytes else 0
    # Not more chunks than bytes of index and of decoded data can hold.
    table = np.empty(8 * count, np.uint8)
    if count:
        _decode_at(data, spec, frame.header_nbytes + frame.compressed, table)
    return iter(table.view("<i8").tolist())


def _chunk(data: Bytes, spec: FilterSpec, frame: _Frame, offset: int, out: Bytes) -> None:
    """Decode one chunk, which fills `out`."""
    if offset >= 0:
        _decode_at(data, spec, frame.header_nbytes + offset, out)
        return
    special = offset >> 56 & 7
    if special in (_ZERO, _UNINITIALISED):
        out[:] = 0
    elif special == _NAN and frame.itemsize in (4, 8) and not out.size % frame.itemsize:
        out.view(f"f{frame.itemsize}")[:] = np.nan
    else:
        corrupt(spec, "a chunk of zeros or NaN", f"special value {special} of {frame.itemsize} bytes")


def _decode_at(data: Bytes, spec: FilterSpec, start: int, out: Bytes) -> None:
    """Decode the Blosc 2 chunk that starts at a position, once its header's sizes are plausible."""
    header = data[start : start + _CHUNK_HEADER].tobytes()
    if len(header) < _CHUNK_HEADER:
        corrupt(spec, f"a chunk at byte {start}", f"{data.size} bytes")
    nbytes, _, stored = struct.unpack_from("<iii", header, 4)
    if nbytes != out.size or not 16 <= stored <= data.size - start:
        corrupt(spec, f"a chunk of {out.size} bytes", f"{nbytes} bytes in {stored}")
    if header[2] & _STORED and stored == _CHUNK_HEADER + nbytes:
        out[:] = data[start + _CHUNK_HEADER : start + stored]
        return
    chunk = data[start : start + stored]
    if blosc_frame.decode_blosc2([chunk], spec, out):
        return
    fast = libraries.required_imagecodecs_function("blosc2", spec)
    fill(fast, chunk, Limit(out.size, True), out, spec, numthreads=1)


def _grid(data: Bytes, spec: FilterSpec, frame: _Frame) -> _Grid | None:
    """Find the b2nd metalayer in the header and read its shapes; None in a plain frame."""
    try:
        return _grid_in(data[_METALAYERS : frame.header_nbytes].tobytes())
    except (IndexError, ValueError, struct.error) as error:
        corrupt(spec, "readable metalayers", error)


@functools.lru_cache(64)
def _grid_in(metalayers: bytes) -> _Grid | None:
    """The same in the end of the header, which all chunks of a dataset share; offsets count from the frame's start."""
    head = bytes(_METALAYERS) + metalayers
    if head[_METALAYERS] != 0x93 or head[_METALAYERS + 4] != 0xDE:
        return None
    at = _METALAYERS + 5
    count = int.from_bytes(head[at : at + 2], "big")
    at += 2
    for _ in range(count):
        length = head[at] & 0x1F
        name = head[at + 1 : at + 1 + length]
        at += 1 + length
        offset = struct.unpack_from(">i", head, at + 1)[0]
        at += 5
        if name in (b"b2nd", b"caterva"):
            return _shapes(head, offset + 5)  # behind the bin32 marker and length
    return None


def _shapes(head: bytes, at: int) -> _Grid:
    """Read [version, ndim, shape, chunk shape, block shape, ...]."""
    ndim = head[at + 2]
    if head[at] & 0xF0 != 0x90 or ndim > _MAX_NDIM:
        raise ValueError(f"b2nd metalayer of {ndim} dimensions")
    at += 3
    shapes = []
    for code in ("q", "i", "i"):
        if head[at] != 0x90 + ndim:
            raise ValueError(f"a b2nd shape that is not of {ndim} dimensions")
        item = struct.Struct(f">x{code}")
        at += 1
        shapes.append(tuple(item.unpack_from(head, at + item.size * i)[0] for i in range(ndim)))
        at += item.size * ndim
    if min(min(s, default=1) for s in shapes) < 1:
        raise ValueError(f"b2nd shapes {shapes}")
    return _Grid(*shapes)


def _array(data: Bytes, limit: Limit, out: Bytes, spec: FilterSpec, frame: _Frame, grid: _Grid) -> Bytes:
    """Decode the chunks of a b2nd array and put their blocks where they belong."""
    nbytes = math.prod(grid.shape) * frame.itemsize
    limit.check(nbytes, spec)
    padded = math.prod(grid.padded) * frame.itemsize
    counts = tuple(-(-s // c) for s, c in zip(grid.shape, grid.chunks, strict=True))
    # Blocks that reach past a small chunk are legal; more than that in every dimension is not what a writer makes.
    if padded != frame.chunk_nbytes or math.prod(counts) * padded != frame.nbytes or padded > 4096 + 64 * nbytes:
        corrupt(spec, f"chunks of {frame.chunk_nbytes} bytes in a frame of {frame.nbytes}", f"{grid}")
    result = out[:nbytes]
    stored = _scratch.take(padded)
    cells = _cells(stored, frame.itemsize, grid, 1)[0]
    target = result.view(cells.dtype).reshape(grid.shape)
    for index, offset in zip(np.ndindex(*counts), _offsets(data, spec, frame), strict=True):
        _chunk(data, spec, frame, offset, stored)
        if grid.padded == grid.shape:
            target.reshape(cells.shape)[...] = cells
            break
        region = tuple(slice(i * c, min(i * c + c, s)) for i, c, s in zip(index, grid.chunks, grid.shape, strict=True))
        target[region] = cells.reshape(grid.padded)[tuple(slice(0, r.stop - r.start) for r in region)]
    return result


def _cells(stored: Bytes, itemsize: int, grid: _Grid, count: int) -> Array:
    """View `count` chunks, block after block, so that reshaping gives the padded chunks in C order."""
    # numpy copies numbers much faster than void elements.
    word = np.dtype(f"u{itemsize}" if itemsize in (1, 2, 4, 8) else (np.void, itemsize))
    ndim = len(grid.shape)
    blocks = [p // b for p, b in zip(grid.padded, grid.blocks, strict=True)]
    order = [axis for pair in zip(range(1, ndim + 1), range(ndim + 1, 2 * ndim + 1), strict=True) for axis in pair]
    return stored.view(word).reshape(count, *blocks, *grid.blocks).transpose(0, *order)
