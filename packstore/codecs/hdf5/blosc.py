"""Filter 32001, Blosc 1: one self-describing Blosc buffer per chunk (with its own shuffle inside)."""

from __future__ import annotations

from collections.abc import Sequence

from packstore.codecs.decompress import decode_blosc
from packstore.codecs.hdf5 import blosc_frame
from packstore.codecs.hdf5.base import FilterSpec, always_available, compressed
from packstore.core.typing import Bytes

__all__ = ["decode", "decode_many", "encoded", "unavailable"]

unavailable = always_available
encoded = compressed
decode = decode_blosc

_HEADER = 16
_SNAPPY = 2


def decode_many(chunks: Sequence[Bytes], spec: FilterSpec, out: Bytes) -> bool:
    """Decode chunks of one kind in one call."""
    if chunks[0].size < _HEADER or int(chunks[0][2]) >> 5 == _SNAPPY:
        return False
    return blosc_frame.decode_buffers(chunks, spec, out)
