"""Chunks at arbitrary places, each behind a filter pipeline: chunked HDF5 datasets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from packstore.codecs.hdf5 import FilterSpec
from packstore.source import ByteSpace
from packstore.storage.contiguous import Convert

__all__ = ["MISSING", "ChunkedManifest"]

# The offset of a chunk that was never written: it reads as the fill value.
MISSING = np.uint64(2**64 - 1)


@dataclass(frozen=True, eq=False)
class ChunkedManifest:
    """One byte range a chunk, in the shape of the chunk grid.

    Parameters
    ----------
    space
        The bytes.
    chunk_shape
        Elements a stored chunk; every stored chunk is whole, also at the edges.
    offsets, nbytes
        uint64 arrays in the shape of the chunk grid; `offsets` is ``MISSING`` where nothing is stored.
    filter_mask
        uint32 array in the same shape, or None where no chunk skips a filter. Bit i set: filter i was not applied.
    filters
        The pipeline in the order of writing.
    stored
        The element type of the decoded bytes, C order.
    convert
        Turns an array of `stored` into one of the array's dtype; None where they are the same.

    Notes
    -----
    20 bytes a chunk: a million chunks are 20 MB.
    """

    space: ByteSpace
    chunk_shape: tuple[int, ...]
    offsets: npt.NDArray[np.uint64]
    nbytes: npt.NDArray[np.uint64]
    filter_mask: npt.NDArray[np.uint32] | None
    filters: tuple[FilterSpec, ...]
    stored: np.dtype[Any]
    convert: Convert | None = None

    @cached_property
    def decoded_nbytes(self) -> int:
        """Bytes of a chunk of which all filters are undone."""
        return math.prod(self.chunk_shape) * self.stored.itemsize
