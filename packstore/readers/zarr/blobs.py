"""Stored bytes of one chunk: a range of a file, or bytes in memory."""

from __future__ import annotations

import os
from collections.abc import Hashable
from typing import Protocol

import numpy as np
import numpy.typing as npt

from packstore.errors import TruncatedFileError, message

__all__ = ["Blob", "FileBlob", "MemoryBlob", "read_of_chunk"]

U8 = npt.NDArray[np.uint8]

# Without O_NONBLOCK, opening a pipe in the place of a chunk would wait for its writer.
OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)

# Reading this many bytes more costs less than a second system call.
GAP_NBYTES = 1 << 15
SMALL_NBYTES = 1 << 18


def read_of_chunk(path: str, chunk_nbytes: int, offset: int, nbytes: int) -> bytes | None:
    """Some bytes of the file of a chunk; none where there is no file, None where it is not as it should be."""
    try:
        fd = os.open(path, OPEN_FLAGS)
    except (FileNotFoundError, NotADirectoryError):
        return b""
    try:
        if os.fstat(fd).st_size != chunk_nbytes:
            return None
        data = os.pread(fd, nbytes, offset)
    except OSError:
        return None
    finally:
        os.close(fd)
    return data if len(data) == nbytes else None


class Blob(Protocol):
    """Addressable bytes."""

    @property
    def nbytes(self) -> int:
        """Length in bytes."""

    @property
    def gap_nbytes(self) -> int:
        """Bytes worth reading over to save a read."""

    @property
    def key(self) -> Hashable | None:
        """Identifies this state of these bytes; None: not to be cached."""

    @property
    def fresh(self) -> bool:
        """Whether what `pread` gives without `out` belongs to the caller alone."""

    def pread(self, offset: int, nbytes: int, out: U8 | None = None) -> U8:
        """Exactly `nbytes` bytes at `offset`; in `out`, of that size, if there is one and they are not at hand."""

    def part(self, offset: int, nbytes: int) -> Blob:
        """A range of it, which must lie inside."""


class FileBlob:
    """A range of an open file; whoever opened it closes it."""

    __slots__ = ("fd", "fresh", "gap_nbytes", "key", "nbytes", "offset", "stamp")

    def __init__(self, fd: int, offset: int, nbytes: int, stamp: Hashable | None) -> None:
        self.fd = fd
        self.offset = offset
        self.nbytes = nbytes
        self.gap_nbytes = GAP_NBYTES
        self.fresh = True
        self.stamp = stamp
        self.key = None if stamp is None else (stamp, offset, nbytes)

    def pread(self, offset: int, nbytes: int, out: U8 | None = None) -> U8:
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

    def part(self, offset: int, nbytes: int) -> FileBlob:
        return FileBlob(self.fd, self.offset + offset, nbytes, self.stamp)


class MemoryBlob:
    """Bytes at hand: reads are views."""

    __slots__ = ("data", "fresh", "gap_nbytes", "key", "nbytes")

    def __init__(self, data: U8, key: Hashable | None = None) -> None:
        self.data = data
        self.nbytes = data.size
        self.gap_nbytes = 1 << 62
        self.fresh = False
        self.key = key

    def pread(self, offset: int, nbytes: int, out: U8 | None = None) -> U8:
        return self.data[offset : offset + nbytes]

    def part(self, offset: int, nbytes: int) -> MemoryBlob:
        key = None if self.key is None else (self.key, offset, nbytes)
        return MemoryBlob(self.data[offset : offset + nbytes], key)
