"""Filter 1, deflate: one zlib stream (RFC 1950) per chunk.

libdeflate (imagecodecs) decodes at about 0.5-0.8 GB/s a core, the standard library's zlib at 0.3; both release the GIL.
"""

from __future__ import annotations

import zlib

from packstore.codecs.hdf5 import probe
from packstore.codecs.hdf5.base import Bytes, FilterSpec, call, compressed_size, corrupt, store

__all__ = ["decode", "encoded_size", "unavailable"]

encoded_size = compressed_size


def unavailable() -> str | None:
    """Always there."""
    return None


def decode(data: Bytes, spec: FilterSpec, out: Bytes, exact: bool) -> Bytes:
    """Inflate into `out`; a stream that holds more than `out` takes is an error and never expanded further."""
    fast = probe.imagecodecs_function("deflate")
    if fast is not None:
        return store(spec, call(spec, fast, data, out=out), out, exact)
    stream = zlib.decompressobj()
    decoded = call(spec, stream.decompress, data, out.size + 1)
    if len(decoded) <= out.size and not stream.eof:
        corrupt(spec, "a whole zlib stream", f"one that stops after {len(decoded)} decoded bytes")
    return store(spec, decoded, out, exact)
