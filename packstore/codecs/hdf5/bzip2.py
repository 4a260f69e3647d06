"""Filter 307, bzip2: one bzip2 stream per chunk, decoded by the standard library (which releases the GIL)."""

from __future__ import annotations

import bz2

from packstore.codecs.hdf5.base import Bytes, FilterSpec, call, compressed_size, corrupt, store

__all__ = ["decode", "encoded_size", "unavailable"]

encoded_size = compressed_size


def unavailable() -> str | None:
    """Always there."""
    return None


def decode(data: Bytes, spec: FilterSpec, out: Bytes, exact: bool) -> Bytes:
    """Decompress, never more than one byte past what `out` takes."""
    stream = bz2.BZ2Decompressor()
    decoded = call(spec, stream.decompress, data, out.size + 1)
    if len(decoded) <= out.size and not stream.eof:
        corrupt(spec, "a whole bzip2 stream", f"one that stops after {len(decoded)} decoded bytes")
    return store(spec, decoded, out, exact)
