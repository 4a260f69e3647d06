"""Filter 1, deflate: one zlib stream (RFC 1950) per chunk."""

from __future__ import annotations

from packstore.codecs.decompress import Limit, corrupt, decode_zlib
from packstore.codecs.hdf5.base import FilterSpec, always_available, compressed
from packstore.core.typing import Bytes

__all__ = ["decode", "encoded", "unavailable"]

unavailable = always_available
encoded = compressed


def decode(data: Bytes, limit: Limit, out: Bytes, spec: FilterSpec) -> Bytes:
    """Decode the stream; like libhdf5, refuse parameters that are not one level."""
    if len(spec.client_values) != 1 or spec.client_values[0] > 9:
        corrupt(spec, "one level of at most 9", spec.client_values)
    return decode_zlib(data, limit, out, spec)
