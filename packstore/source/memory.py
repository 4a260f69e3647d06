"""Bytes in memory, and pieces of other byte spaces in a row."""

from __future__ import annotations

import numpy as np

from packstore.core.typing import Bytes
from packstore.errors import TruncatedFileError, message
from packstore.source.base import ByteSpace, RangeReads

__all__ = ["InlineBytes", "Segments"]


class InlineBytes(RangeReads):
    """Bytes held in memory (compact datasets, inflated members)."""

    __slots__ = ("array", "name")

    def __init__(self, data: bytes | Bytes, name: str) -> None:
        array = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data
        if array.flags.writeable:
            array = array.view()
            array.flags.writeable = False
        self.array = array
        self.name = name

    @property
    def nbytes(self) -> int:
        return int(self.array.nbytes)

    def pread(self, offset: int, nbytes: int) -> Bytes:
        if offset < 0 or nbytes < 0 or offset + nbytes > self.nbytes:
            raise TruncatedFileError(
                message(f"reading at offset {offset} of", self.name, expected=f"{nbytes} bytes", got=self.nbytes)
            )
        return self.array[offset : offset + nbytes]

    def view(self) -> Bytes:
        return self.array


class Segments(RangeReads):
    """Pieces of other byte spaces, one after the other (external raw storage). A piece of None reads as zeros.

    Parameters
    ----------
    pieces
        ``(space, offset, nbytes)`` triples; a piece may be shorter on disk than `nbytes`: the rest reads as zeros,
        as HDF5 does for external files.
    """

    __slots__ = ("_starts", "name", "nbytes", "pieces")

    def __init__(self, pieces: list[tuple[ByteSpace | None, int, int]], name: str) -> None:
        self.pieces = pieces
        self.name = name
        self._starts = np.concatenate([[0], np.cumsum([n for _, _, n in pieces], dtype=np.int64)])
        self.nbytes = int(self._starts[-1])

    def pread(self, offset: int, nbytes: int) -> Bytes:
        if offset < 0 or nbytes < 0 or offset + nbytes > self.nbytes:
            raise TruncatedFileError(
                message(f"reading at offset {offset} of", self.name, expected=f"{nbytes} bytes", got=self.nbytes)
            )
        out = np.zeros(nbytes, np.uint8)
        first = int(np.searchsorted(self._starts, offset, side="right")) - 1
        for i in range(first, len(self.pieces)):
            start = int(self._starts[i])
            if start >= offset + nbytes:
                break
            space, base, size = self.pieces[i]
            if space is None:
                continue
            lo = max(offset, start)
            hi = min(offset + nbytes, start + size, start + max(space.nbytes - base, 0))
            if hi > lo:
                out[lo - offset : hi - offset] = np.frombuffer(space.pread(base + lo - start, hi - lo), np.uint8)
        return out

    def view(self) -> None:
        return None
