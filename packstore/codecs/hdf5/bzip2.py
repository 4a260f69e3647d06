"""Filter 307, bzip2: one bzip2 stream per chunk."""

from __future__ import annotations

from packstore.codecs.decompress import Limit, decode_bz2
from packstore.codecs.hdf5.base import FilterSpec, always_available, compressed
from packstore.core.typing import Bytes

__all__ = ["decode", "encoded", "unavailable"]

unavailable = always_available
encoded = compressed


def decode(data: Bytes, limit: Limit, out: Bytes, spec: FilterSpec) -> Bytes:
    """Decode the stream; like the filter's own code, ignore what follows it."""
    return decode_bz2(data, limit, out, spec, several=False)
