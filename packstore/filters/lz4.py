"""Filter 32004, LZ4: 8 bytes big-endian total size, 4 bytes block size, then each block after its own 4-byte size.

A block whose stored size equals its decoded size is stored as it is. imagecodecs takes a whole chunk in one call
(4-5 GB/s a core); without it each block goes through numcodecs. Both release the GIL.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from packstore.filters import _probe
from packstore.filters._base import Bytes, FilterSpec, call, check_size, compressed_size, corrupt, store

__all__ = ["blocks", "decode", "encoded_size", "header", "lz4_block", "unavailable"]

encoded_size = compressed_size

_HEADER = struct.Struct(">QI")


def unavailable() -> str | None:
    """Always there: numcodecs, which zarr needs, has a decoder."""
    return None


def decode(data: Bytes, spec: FilterSpec, out: Bytes, exact: bool) -> Bytes:
    """Decompress all blocks into `out`."""
    total, block = header(data, spec)
    result = out[: check_size(spec, total, out, exact)]
    fast = _probe.imagecodecs_function("lz4h5")
    if fast is not None and total:
        # Walking the block sizes first costs little and keeps every read of the library inside the data.
        for _ in blocks(data, spec, total, block):
            pass
        return store(spec, call(spec, fast, data, out=result), result, True)
    for source, start, stop in blocks(data, spec, total, block):
        if source.size == stop - start:
            result[start:stop] = source
        else:
            lz4_block(source, spec, result[start:stop])
    return result


def header(data: Bytes, spec: FilterSpec) -> tuple[int, int]:
    """Read (total size, block size) in bytes."""
    if data.size < _HEADER.size:
        corrupt(spec, f"at least {_HEADER.size} bytes", data.size)
    total, block = _HEADER.unpack_from(data)
    if total and not block:
        corrupt(spec, "a block size above 0", block)
    return int(total), int(block)


def blocks(data: Bytes, spec: FilterSpec, total: int, block: int) -> Iterator[tuple[Bytes, int, int]]:
    """Walk the blocks: (stored bytes, start, stop of the decoded ones)."""
    at, length = _HEADER.size, data.size
    view = memoryview(data)
    for start in range(0, total, block or 1):
        nbytes = int.from_bytes(view[at : at + 4], "big")
        at += 4
        if at + nbytes > length:
            corrupt(spec, f"a block of {nbytes} bytes", f"{max(0, length - at)}")
        yield data[at : at + nbytes], start, min(start + block, total)
        at += nbytes


def lz4_block(data: Bytes, spec: FilterSpec, out: Bytes) -> None:
    """Decompress one bare LZ4 block to exactly fill `out`."""
    fast = _probe.imagecodecs_function("lz4")
    if fast is not None:
        store(spec, call(spec, fast, data, out=out), out, True)
        return
    import numcodecs.lz4

    # numcodecs expects the decoded size in front of the block.
    framed = out.size.to_bytes(4, "little") + data.tobytes()
    store(spec, call(spec, numcodecs.lz4.decompress, framed), out, True)
