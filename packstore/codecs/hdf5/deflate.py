"""Filter 1, deflate: one zlib stream (RFC 1950) per chunk."""

from __future__ import annotations

from packstore.codecs.decompress import decode_zlib
from packstore.codecs.hdf5.base import always_available, compressed

__all__ = ["decode", "encoded", "unavailable"]

unavailable = always_available
encoded = compressed
decode = decode_zlib
