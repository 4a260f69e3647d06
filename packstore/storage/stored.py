"""The stored bytes of one chunk, by offset: in memory, mapped, in a file that is open, or in a source that is asked.

`Stored` is what a `Places` gives for a chunk, and what a `Chain` decodes.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from packstore.core.typing import Bytes
from packstore.errors import TruncatedFileError, message
from packstore.source import ByteSpace, refusal

__all__ = ["OPEN_FLAGS", "FileRange", "MemoryBytes", "SpaceRange", "Stored"]

# Without O_NONBLOCK, opening a pipe in the place of a chunk would wait for its writer.
OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)

# Reading this many bytes more costs less than a second system call.
GAP_NBYTES = 1 << 15
SMALL_NBYTES = 1 << 18


class Stored:
    """Addressable bytes of one chunk.

    Attributes
    ----------
    nbytes
        Their number.
    key
        Identifies this state of these bytes in a cache; None: nothing that is decoded from them may be kept.
    mask
        Bit i set: filter i was not applied to this chunk.
    fresh
        Whether what `pread` gives without `out` belongs to the caller alone.
    mapped
        Whether views of what `pread` gives cost no memory, however small they are.
    is_far
        Whether each read is a request, so that several of them belong into one call of `read_ranges`.
    """

    __slots__ = ("key", "mask", "nbytes")

    nbytes: int
    key: Hashable | None
    mask: int
    fresh: bool = False
    mapped: bool = False
    is_far: bool = False

    @property
    def gap_nbytes(self) -> int | None:
        """Bytes between two rows from which on a read for each is cheaper than reading on; None: reads are views."""
        return None

    def pread(self, offset: int, nbytes: int, out: Bytes | None = None) -> Bytes:
        """Exactly `nbytes` bytes at `offset`; in `out`, of that size, if there is one and they are not at hand."""
        raise NotImplementedError

    def read_ranges(self, ranges: Sequence[tuple[int, int]]) -> list[Any]:
        """The bytes of each ``(offset, nbytes)``."""
        return [self.pread(*each) for each in ranges]

    def covers(self, need_nbytes: int, span_nbytes: int, rows: int) -> bool:
        """Whether one read of `span_nbytes` is better than one for each of `rows`: `need_nbytes` of them are wanted."""
        return True

    def part(self, offset: int, nbytes: int) -> Stored:
        """A range of the bytes, which must lie inside."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of what was opened for this chunk."""


class MemoryBytes(Stored):
    """Bytes at hand: reads are views.

    Parameters
    ----------
    data
        The bytes from `base` on.
    key, mask, mapped, fresh
        See `Stored`.
    base
        Where `data` begins within the chunk's bytes, of which there are `nbytes`.
    """

    __slots__ = ("base", "data", "fresh", "mapped")

    def __init__(
        self,
        data: Bytes,
        key: Hashable | None = None,
        mask: int = 0,
        *,
        mapped: bool = False,
        fresh: bool = False,
        base: int = 0,
        nbytes: int | None = None,
    ) -> None:
        self.data = data
        self.nbytes = data.size if nbytes is None else nbytes
        self.key = key
        self.mask = mask
        self.mapped = mapped
        self.fresh = fresh
        self.base = base

    def pread(self, offset: int, nbytes: int, out: Bytes | None = None) -> Bytes:
        # docstring inherited
        start = offset - self.base
        return self.data[start : start + nbytes]

    def part(self, offset: int, nbytes: int) -> MemoryBytes:
        # docstring inherited
        key = None if self.key is None else (self.key, offset, nbytes)
        return MemoryBytes(self.pread(offset, nbytes), key, mapped=self.mapped)


class FileRange(Stored):
    """A range of an open file, which `close` closes where it was opened for this range.

    Parameters
    ----------
    fd
        The open file.
    offset, nbytes
        The range.
    stamp
        Identifies the state of the file; None: not to be cached.
    """

    __slots__ = ("fd", "offset", "owned", "stamp")
    fresh = True

    def __init__(self, fd: int, offset: int, nbytes: int, stamp: Hashable | None, *, owned: bool = True) -> None:
        self.fd = fd
        self.offset = offset
        self.nbytes = nbytes
        self.mask = 0
        self.owned = owned
        self.stamp = stamp
        self.key = None if stamp is None else (stamp, offset, nbytes)

    def pread(self, offset: int, nbytes: int, out: Bytes | None = None) -> Bytes:
        # docstring inherited
        try:
            return self._pread(offset, nbytes, out)
        except OSError as error:
            raise refusal(error, "a chunk", "reading") from None

    def _pread(self, offset: int, nbytes: int, out: Bytes | None) -> Bytes:
        if out is None and nbytes <= SMALL_NBYTES:
            # Bytes are cheaper than an array; most reads are of this kind.
            data = os.pread(self.fd, nbytes, self.offset + offset)
            if len(data) == nbytes:
                return np.frombuffer(data, np.uint8)
        target = np.empty(nbytes, np.uint8) if out is None else out
        done = 0
        while done < nbytes:
            # The kernel reads at most 2 GiB a call.
            got = os.preadv(self.fd, [target[done:].data if done else target.data], self.offset + offset + done)
            if not got:
                raise TruncatedFileError(
                    message(
                        f"reading at offset {self.offset + offset}",
                        expected=f"{nbytes} bytes",
                        got=f"{done}",
                        hint="The file was cut short while it was read",
                    )
                )
            done += got
        return target

    def covers(self, need_nbytes: int, span_nbytes: int, rows: int) -> bool:
        # docstring inherited
        return span_nbytes <= need_nbytes + rows * GAP_NBYTES

    def part(self, offset: int, nbytes: int) -> FileRange:
        # docstring inherited
        return FileRange(self.fd, self.offset + offset, nbytes, self.stamp, owned=False)

    def close(self) -> None:
        # docstring inherited
        if self.owned:
            os.close(self.fd)


class SpaceRange(Stored):
    """A range of bytes that cannot be mapped: each read asks the source.

    Parameters
    ----------
    space
        The bytes that the range lies in.
    offset, nbytes
        The range.
    key, mask
        See `Stored`.
    """

    __slots__ = ("offset", "space")
    fresh = True

    def __init__(self, space: ByteSpace, offset: int, nbytes: int, key: Hashable | None, mask: int) -> None:
        self.space = space
        self.offset = offset
        self.nbytes = nbytes
        self.key = key
        self.mask = mask

    def pread(self, offset: int, nbytes: int, out: Bytes | None = None) -> Bytes:
        # docstring inherited
        # Not `pread`, which sources keep for headers and indexes.
        return np.frombuffer(self.space.read_ranges([(self.offset + offset, nbytes)])[0], np.uint8)

    @property
    def gap_nbytes(self) -> int:
        # docstring inherited
        return self.space.gap_nbytes

    def read_ranges(self, ranges: Sequence[tuple[int, int]]) -> list[Any]:
        # docstring inherited
        return self.space.read_ranges([(self.offset + offset, nbytes) for offset, nbytes in ranges])

    def covers(self, need_nbytes: int, span_nbytes: int, rows: int) -> bool:
        # docstring inherited
        return span_nbytes <= 2 * need_nbytes + self.space.gap_nbytes

    def part(self, offset: int, nbytes: int) -> SpaceRange:
        # docstring inherited
        key = None if self.key is None else (self.key, offset, nbytes)
        return SpaceRange(self.space, self.offset + offset, nbytes, key, 0)
