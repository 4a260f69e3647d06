"""Filter 32015, Zstandard: one or more zstd frames (RFC 8878) per chunk."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from packstore.codecs import libraries
from packstore.codecs.decompress import Limit, decode_zstd, zstd_content_nbytes
from packstore.codecs.hdf5.base import FilterSpec, always_available, compressed
from packstore.core.typing import Bytes

__all__ = ["decode", "decode_many", "encoded", "unavailable"]

unavailable = always_available
encoded = compressed
decode = decode_zstd


def decode_many(chunks: Sequence[Bytes], spec: FilterSpec, out: Bytes) -> bool:
    """Decode frames that say their size in one call: zstd takes them one behind the other."""
    nbytes = out.size // len(chunks)
    if libraries.imagecodecs_function("zstd") is None or any(zstd_content_nbytes(data) != nbytes for data in chunks):
        return False
    frames = np.frombuffer(b"".join([memoryview(data) for data in chunks]), np.uint8)
    decode_zstd(frames, Limit(out.size, True), out, spec)
    return True
