"""Arrays that read themselves: virtual datasets, text, zarr directories, what only h5py can decode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy.typing as npt

__all__ = ["DelegatedManifest", "SelectionReader"]


class SelectionReader(Protocol):
    """Reads a box of an array. Must be thread safe and must not keep a file of another process open across a fork."""

    def read(self, selection: tuple[slice, ...]) -> npt.NDArray[Any]:
        """Elements of `selection`, in the array's dtype.

        One slice an axis, with ``0 <= start <= stop <= n`` and ``step >= 1``.
        """


@dataclass(frozen=True, eq=False)
class DelegatedManifest:
    """A box reader in the place of byte ranges."""

    reader: SelectionReader
