"""Arrays that read themselves: virtual datasets, text, joined files, what only h5py or zarr can decode."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from packstore.core.boxes import Box
from packstore.core.typing import Array
from packstore.storage.array import Facts, ManifestArray, Storage

__all__ = ["ReaderStorage", "BoxReader"]


class BoxReader:
    """Reads boxes of one array. A subclass gives `read`, thread safe and safe across forks."""

    def read(self, selection: Box) -> Array:
        """Elements of `selection`, in the array's dtype.

        One slice an axis, with ``0 <= start <= stop <= n`` and ``step >= 1``.
        """
        raise NotImplementedError

    def opened(self, ns: int | None = None) -> BoxReader:
        """The same reader for an array that is opened now, or was at `ns`, where it matters when that was."""
        return self

    @property
    def opened_ns(self) -> int | None:
        """When the array was opened, where that matters."""
        return None

    def facts(self, array: ManifestArray) -> Facts:
        """How the array is stored."""
        return Facts("other")

    def token(self) -> object:
        """What identifies the state of what is read besides the file's fingerprint; None: nothing."""
        return None

    def unreachable(self) -> Mapping[str, str]:
        """Parts that a read would fail for, by name, and why."""
        return {}


class ReaderStorage(Storage):
    """A reader of boxes in the place of byte ranges.

    Parameters
    ----------
    reader
        Reads each box, and answers for the array.
    """

    def __init__(self, reader: BoxReader) -> None:
        self.reader = reader

    @property
    def opened_ns(self) -> int | None:
        # docstring inherited
        return self.reader.opened_ns

    def opened(self, ns: int | None = None) -> ReaderStorage:
        # docstring inherited
        reader = self.reader.opened(ns)
        return self if reader is self.reader else ReaderStorage(reader)

    def read(self, array: ManifestArray, box: Box) -> Array:
        # docstring inherited
        return self.reader.read(box)

    def facts(self, array: ManifestArray) -> Facts:
        # docstring inherited
        return self.reader.facts(array)

    def owners(self) -> Iterable[object]:
        # docstring inherited
        return (self.reader,)

    def token(self) -> object:
        # docstring inherited
        return self.reader.token()

    def unreachable(self) -> Mapping[str, str]:
        # docstring inherited
        return self.reader.unreachable()
