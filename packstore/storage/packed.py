"""Bool arrays at one bit an element, as ``np.packbits`` lays them out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from packstore.codecs.bits.boxes import PackedArray
from packstore.codecs.bits.kernels import BitOrder
from packstore.codecs.bits.large import Fetch, count_bits_of, read_bits
from packstore.codecs.bits.layout import bit_layout
from packstore.core.boxes import Box
from packstore.core.typing import Array, Bytes
from packstore.errors import TruncatedFileError, message
from packstore.source import ByteSpace
from packstore.storage.array import Facts, ManifestArray, Storage

__all__ = ["PackedManifest"]


@dataclass(frozen=True, eq=False)
class PackedManifest(Storage):
    """The bytes of ``np.packbits(mask, axis=axis, bitorder=bitorder)`` in C order at `offset`.

    Parameters
    ----------
    axis
        The packed axis (never negative), each line along it padded to whole bytes; None: the flattened array.
    bitorder
        "big" (numpy's default) or "little".
    """

    space: ByteSpace
    offset: int
    axis: int | None
    bitorder: BitOrder = "big"

    def packed(self, shape: tuple[int, ...]) -> PackedArray:
        """Where the bits of a mask of `shape` are among these bytes."""
        return _packed(shape, self.axis, self.bitorder)

    def byte_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the packed uint8 array for a mask of `shape`."""
        packed = self.packed(shape)
        return (packed.nbytes,) if self.axis is None else packed.byte_shape

    def facts(self, array: ManifestArray) -> Facts:
        # docstring inherited
        axis = "flat" if self.axis is None else f"axis {self.axis}"
        return Facts("packed bits", (f"packed bits ({axis}, {self.bitorder})",), self.packed(array.shape).nbytes)

    def read(self, array: ManifestArray, box: Box) -> Array:
        # docstring inherited
        packed, fetch, gap_nbytes = self._opened(array)
        return read_bits(packed, fetch, box, gap_nbytes)

    def count_nonzero(self, array: ManifestArray, box: Box, axes: tuple[int, ...]) -> Array:
        # docstring inherited
        packed, fetch, gap_nbytes = self._opened(array)
        return count_bits_of(packed, fetch, box, axes, gap_nbytes)

    def _opened(self, array: ManifestArray) -> tuple[PackedArray, Fetch, int | None]:
        """Where the bits are, what gives their bytes, and which gap between rows is worth another read (None: any)."""
        packed = self.packed(array.shape)
        space, start = self.space, self.offset
        raw = space.view()
        if start + packed.nbytes > space.nbytes:
            raise TruncatedFileError(
                message("reading", space.name, expected=f"at least {start + packed.nbytes} bytes", got=space.nbytes)
            )
        if raw is None:
            return packed, lambda offset, nbytes: space.pread(start + offset, nbytes), space.gap_nbytes
        mapped: Bytes = raw
        return packed, lambda offset, nbytes: mapped[start + offset : start + offset + nbytes], None


@lru_cache(maxsize=256)
def _packed(shape: tuple[int, ...], axis: int | None, bitorder: BitOrder) -> PackedArray:
    return PackedArray(shape, bit_layout(np.dtype(np.bool_)), None, bitorder, axis)
