"""What every source has: a fingerprint, and bytes by offset."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from packstore import config
from packstore.core.typing import Bytes
from packstore.source.remote.urls import masked

__all__ = ["ByteSpace", "Fingerprint", "RangeReads", "is_at"]


class Fingerprint(NamedTuple):
    """What identifies one state of one file.

    Parameters
    ----------
    path
        The resolved path, or the URL.
    nbytes
        The size.
    mtime_ns, inode
        Of a local file; 0 for a URL. The inode is 0, too, unless the setting ``local.check_inode`` asks for it.
    etag
        Of an object behind a URL: its ETag, or what else the server has that changes with it; "" for a local file.
    """

    path: str
    nbytes: int
    mtime_ns: int
    inode: int
    etag: str = ""

    def __repr__(self) -> str:
        # The path may be a URL with secrets in it.
        return f"Fingerprint({masked(self.path)!r}, {', '.join(map(repr, self[1:]))})"

    @classmethod
    def of(cls, path: str, stat: os.stat_result) -> Fingerprint:
        return cls(path, stat.st_size, stat.st_mtime_ns, stat.st_ino if config.checks_inode() else 0)

    def is_of(self, stat: os.stat_result) -> bool:
        """Whether a local file is still in this state."""
        same = (stat.st_size, stat.st_mtime_ns) == (self.nbytes, self.mtime_ns)
        return same and self.inode in (0, stat.st_ino)


def is_at(path: str, place: str) -> bool:
    """Whether `path` is `place`, or lies below it where that is a folder.

    Examples
    --------
    >>> is_at("/a/b/c", "/a/b"), is_at("/a/bc", "/a/b")
    (True, False)
    """
    return path == place or path.startswith(place.rstrip(os.sep) + os.sep)


class RangeReads:
    """`read_ranges` by one `pread` a range: for bytes that are at hand."""

    __slots__ = ()
    gap_nbytes = 65536

    def decoded_from(self) -> tuple[str, tuple[str, ...], int] | None:
        """How the bytes are stored where that is not as they are: a layout, names of codecs, the stored bytes."""
        return None

    def settled_view(self: ByteSpace) -> Bytes | None:
        """`view`, or None where the bytes may be cut short while they are decoded."""
        return self.view()

    def prefetch(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Nothing: what `pread` is asked for next is at hand."""

    def read_ranges(self: ByteSpace, ranges: Sequence[tuple[int, int]]) -> list[bytes | Bytes]:
        """The bytes of each ``(offset, nbytes)``, in that order."""
        return [self.pread(offset, nbytes) for offset, nbytes in ranges]


class ByteSpace(Protocol):
    """Addressable bytes: a file, bytes in memory, or several pieces in a row."""

    @property
    def name(self) -> str:
        """What error messages call it."""

    @property
    def nbytes(self) -> int:
        """Length in bytes."""

    @property
    def gap_nbytes(self) -> int:
        """Bytes that are worth reading over, to save a read."""

    def pread(self, offset: int, nbytes: int) -> bytes | Bytes:
        """Exactly `nbytes` bytes at `offset`, as bytes or as a read-only uint8 array."""

    def decoded_from(self) -> tuple[str, tuple[str, ...], int] | None:
        """How the bytes are stored where that is not as they are: a layout, names of codecs, the stored bytes."""

    def read_ranges(self, ranges: Sequence[tuple[int, int]]) -> list[bytes | Bytes]:
        """The bytes of each ``(offset, nbytes)``, as `pread` gives them, in that order."""

    def view(self) -> Bytes | None:
        """All bytes as a read-only uint8 array without a copy, or None where that is not possible."""

    def settled_view(self) -> Bytes | None:
        """`view`, or None where the bytes may be cut short while they are decoded."""
