"""Filter 32004, LZ4: 8 bytes big-endian total size, 4 bytes block size, then each block after its own 4-byte size.

A block whose stored size equals its decoded size is stored as it is. imagecodecs takes a whole chunk in one call
(4-5 GB/s a core); without it each block goes through numcodecs. Both release the GIL.
"""

from __future__ import annotations

import struct

from packstore.codecs import libraries
from packstore.codecs.decompress import Limit, corrupt, decode_lz4_block, fill
from packstore.codecs.hdf5.base import FilterSpec, always_available, compressed
from packstore.core.typing import Bytes

__all__ = ["blocks", "decode", "encoded", "header", "unavailable"]

unavailable = always_available
encoded = compressed

_HEADER = struct.Struct(">QI")
_SIZE = struct.Struct(">I")


def decode(data: Bytes, limit: Limit, out: Bytes, spec: FilterSpec) -> Bytes:
    """Decompress all blocks into `out`."""
    total, block = header(data, spec)
    limit.check(total, spec)
    result = out[:total]
    # Walking the block sizes first costs little and keeps every read of the library inside the data.
    starts, sizes = blocks(data, spec, total, block)
    fast = libraries.imagecodecs_function("lz4h5")
    if fast is not None and total:
        return fill(fast, data, Limit(total, True), result, spec)
    for number, (at, nbytes) in enumerate(zip(starts, sizes, strict=True)):
        part = result[number * block : (number + 1) * block]
        if nbytes == part.size:
            part[:] = data[at : at + nbytes]
        else:
            decode_lz4_block(data[at : at + nbytes], part, spec)
    return result


def header(data: Bytes, spec: FilterSpec) -> tuple[int, int]:
    """Read (total size, block size) in bytes."""
    if data.size < _HEADER.size:
        corrupt(spec, f"at least {_HEADER.size} bytes", data.size)
    total, block = _HEADER.unpack_from(data)
    if total and not block:
        corrupt(spec, "a block size above 0", block)
    return int(total), int(block)


def blocks(data: Bytes, spec: FilterSpec, total: int, block: int) -> tuple[list[int], list[int]]:
    """Find where each stored block starts and its size; check that it lies inside the data."""
    starts: list[int] = []
    at, length, unpack = _HEADER.size, data.size, _SIZE.unpack_from
    # Reading a number out of an array costs twice as much.
    view = memoryview(data)
    count = -(-total // block) if total else 0
    if length < at + 4 * count:
        corrupt(spec, f"{count} blocks", f"{length} bytes")
    try:
        for _ in range(count):
            (nbytes,) = unpack(view, at)
            at += 4
            starts.append(at)
            at += nbytes
    except struct.error:
        corrupt(spec, f"{count} blocks", f"{len(starts)} before the data ends")
    ends = [*starts[1:], at + 4][:count]
    sizes = [end - start - 4 for start, end in zip(starts, ends, strict=True)]
    if at > length:
        corrupt(spec, f"a last block of {sizes[-1]} bytes", f"{length - starts[-1]}")
    return starts, sizes
