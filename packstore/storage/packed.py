"""Bool arrays at one bit an element, as ``np.packbits`` lays them out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from packstore.core.boxes import Box
from packstore.core.typing import Array
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
    bitorder: Literal["big", "little"] = "big"

    def byte_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the packed uint8 array for a mask of `shape`."""
        if self.axis is None:
            count = 1
            for n in shape:
                count *= n
            return (-(-count // 8),)
        return tuple(-(-n // 8) if i == self.axis else n for i, n in enumerate(shape))

    def facts(self, array: ManifestArray) -> Facts:
        # docstring inherited
        axis = "flat" if self.axis is None else f"axis {self.axis}"
        return Facts(
            "packed bits", (f"packed bits ({axis}, {self.bitorder})",), math.prod(self.byte_shape(array.shape))
        )

    def read(self, array: ManifestArray, box: Box) -> Array:
        # docstring inherited
        from packstore.storage.packed_read import read_packed

        return read_packed(array, self, box)
