"""Filters 32022 and 32023, BitGroom and Granular BitRound: they round on writing and change nothing on reading."""

from __future__ import annotations

from packstore.codecs.decompress import Limit
from packstore.codecs.hdf5.base import FilterSpec, always_available, same_size
from packstore.core.typing import Bytes

__all__ = ["decode", "encoded", "unavailable"]

unavailable = always_available
encoded = same_size


def decode(data: Bytes, limit: Limit, out: Bytes, spec: FilterSpec) -> Bytes:
    """Give the bytes as they are."""
    limit.check(data.size, spec)
    return data
