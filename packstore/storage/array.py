"""One array: what it is (shape, dtype, attributes) and where its bytes are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from packstore.storage.chunked import ChunkedManifest
from packstore.storage.contiguous import ContiguousManifest
from packstore.storage.delegated import DelegatedManifest
from packstore.storage.packed import PackedManifest

__all__ = ["ManifestArray", "Storage"]

Storage = ContiguousManifest | PackedManifest | ChunkedManifest | DelegatedManifest


@dataclass(frozen=True, eq=False)
class ManifestArray:
    """An array in a file.

    Parameters
    ----------
    shape, dtype
        As a numpy user sees it (byte order included).
    chunk_shape
        The grid that zarr sees; all positive. For `ChunkedManifest` it is the stored grid.
    storage
        Where the bytes are.
    fill_value
        What missing chunks hold, as a scalar of `dtype`; None: the dtype's zero.
    attributes
        JSON-able values.
    dimension_names
        One name (or None) an axis, or None.
    shard_shape
        The unit that is cheapest to read whole, where it is larger than a chunk.
    zarr_reason
        Why zarr cannot hold this array, although it can be read; None where it can.
    zarr_kind
        For dtypes with objects: what all elements are, str ("string": variable-length UTF-8 in zarr), bytes ("bytes"),
        or what h5py's metadata on `dtype` says ("vlen": sequences, and structs with variable-length members).
    version
        What identifies the array's state besides the file's fingerprint (the time of a nested metadata file), or None.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunk_shape: tuple[int, ...]
    storage: Storage
    fill_value: Any = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    dimension_names: tuple[str | None, ...] | None = None
    shard_shape: tuple[int, ...] | None = None
    zarr_reason: str | None = None
    zarr_kind: Literal["string", "bytes", "vlen"] | None = None
    version: tuple[Any, ...] | None = None

    @property
    def grid_shape(self) -> tuple[int, ...]:
        """Number of chunks along each axis."""
        return tuple(-(-n // c) for n, c in zip(self.shape, self.chunk_shape, strict=True))

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements, decoded."""
        return self.size * self.dtype.itemsize
