"""A directory that is one array, or a tree of files."""

from __future__ import annotations

import os
from typing import Any

from packstore.errors import OptionError, StaleFileError, TruncatedFileError, message
from packstore.source.base import Fingerprint, RangeReads
from packstore.source.refusals import refusal

__all__ = ["DirectorySource"]


class DirectorySource(RangeReads):
    """A directory that holds an array or a tree of files; its fingerprint is that of its zarr metadata file.

    Notes
    -----
    Members are read through their own paths. Where no zarr metadata file exists, the names, sizes and modification
    times of all files below count: about 3 µs a file.

    Raises
    ------
    OptionError
        More than 200,000 files and no zarr metadata.
    """

    __slots__ = ("fingerprint", "path")

    MARKERS = ("zarr.json", ".zarray", ".zgroup", ".zmetadata")
    MAX_FILES = 200_000

    def __init__(self, path: str | os.PathLike[str], fingerprint: Fingerprint | None = None) -> None:
        self.path = os.path.realpath(os.fspath(path)) if fingerprint is None else fingerprint.path
        now = self._now()
        if fingerprint is not None and fingerprint != now:
            raise StaleFileError(
                message("reading", self.path, expected="the directory that was opened", got="a changed one")
            )
        self.fingerprint = now

    def _now(self) -> Fingerprint:
        for name in self.MARKERS:
            try:
                return Fingerprint.of(self.path, os.stat(os.path.join(self.path, name)))
            except OSError:
                continue
        return self._of_members()

    def _of_members(self) -> Fingerprint:
        # Function-level, for import time: zarr's metadata need no digest.
        import hashlib

        digest = hashlib.sha256()
        nbytes = count = 0
        for folder, folders, files in os.walk(self.path):
            folders.sort()
            for name in sorted(files):
                path = os.path.join(folder, name)
                try:
                    found = os.stat(path)
                except OSError:  # a dangling link
                    found = os.lstat(path)
                nbytes += found.st_size
                count += 1
                row = (os.path.relpath(path, self.path), found.st_size, found.st_mtime_ns)
                digest.update(repr(row).encode(errors="surrogateescape"))
            if count > self.MAX_FILES:
                raise OptionError(
                    message("opening", self.path, expected=f"a folder of at most {self.MAX_FILES} files", got="more")
                )
        key = int(digest.hexdigest()[:15], 16)
        if not os.path.isdir(self.path):
            raise refusal(FileNotFoundError(), self.path)
        return Fingerprint(self.path, nbytes, key, 0)

    @property
    def name(self) -> str:
        return self.path

    @property
    def nbytes(self) -> int:
        return 0

    def check(self) -> None:
        """Raise StaleFileError if the metadata changed since."""
        if self._now() != self.fingerprint:
            raise StaleFileError(
                message(
                    "reading",
                    self.path,
                    expected="the directory that was opened",
                    got="changed metadata",
                    hint="Open it again",
                )
            )

    def pread(self, offset: int, nbytes: int) -> bytes:
        """Directories have no bytes of their own."""
        raise TruncatedFileError(message("reading", self.path, expected="a file", got="a directory"))

    def view(self) -> None:
        return None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DirectorySource) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __reduce__(self) -> tuple[Any, ...]:
        return (DirectorySource, (self.path, self.fingerprint))

    def __repr__(self) -> str:
        return f"DirectorySource({self.path!r})"
