"""The places of a zarr array's chunks: each is a file below the array's directory."""

from __future__ import annotations

import copy
import errno
import itertools
import math
import os
import stat as stat_module
import time
import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from packstore.errors import CorruptDataError, ExternalFileError, message
from packstore.readers.zarr.changes import Opening
from packstore.readers.zarr.metadata import Layout
from packstore.readers.zarr.nodes import DOCUMENTS, Node
from packstore.readers.zarr.separators import Separators
from packstore.readers.zarr.sizes import facts_of_node
from packstore.source import refusal
from packstore.source.inside import NOFOLLOW
from packstore.source.local import open_file
from packstore.storage.array import Facts
from packstore.storage.places import Places
from packstore.storage.stored import OPEN_FLAGS, FileRange

__all__ = ["FilePlaces"]

# Files looked at for a token; beyond it, directories; beyond that, nothing.
MAX_TOKEN_FILES = 4096


class FilePlaces(Places):
    """One file a chunk.

    Parameters
    ----------
    node
        Where the array is.
    layout
        Its metadata.

    Notes
    -----
    Thread safe; keeps no file open. Each touched chunk costs an open, one or more ranged reads, and a close: some
    5 µs together, hardly more than asking whether an open file is still the one that the name stands for.
    """

    verb = "reading"
    reads_ranges = True

    def __init__(self, node: Node, layout: Layout) -> None:
        self.node = node
        self.layout = layout
        self.name = node.path
        self._opening: Opening | None = None
        self._keeps = layout.chain.keeps
        prefix, self._separator, _ = layout.key
        self._prefix = f"{node.path}/{prefix}"
        self._separators = Separators(
            node.path, node.document, prefixed=bool(prefix), separator=self._separator, grid=self._grid
        )

    @property
    def _grid(self) -> list[int]:
        layout = self.layout
        return [-(-n // c) for n, c in zip(layout.shape, layout.grid_chunk_shape, strict=True)]

    def opened(self, ns: int | None = None) -> FilePlaces:
        # docstring inherited
        found = copy.copy(self)
        found._opening = Opening(ns)
        return found

    @property
    def opened_ns(self) -> int | None:
        # docstring inherited
        return None if self._opening is None else self._opening.ns

    def check(self) -> None:
        # docstring inherited
        self.node.check()

    def _open(self, path: str) -> int:
        """A descriptor of a chunk's file; ExternalFileError where a link on the way to it leads out."""
        inside = self.node.inside
        if inside.allowed == "":
            return open_file(path, OPEN_FLAGS)
        inside.check_folder(path)
        try:
            return open_file(path, OPEN_FLAGS | NOFOLLOW)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
        inside.check(path)
        return open_file(path, OPEN_FLAGS)

    def _check_missing(self, path: str) -> None:
        self._separators.check()
        if self._opening is not None:
            self._opening.check_missing(path, self.node.path)

    def open(self, coords: tuple[int, ...]) -> FileRange | None:
        # docstring inherited
        path = f"{self.node.path}/{self.layout.chunk_key(coords)}"
        try:
            fd = self._open(path)
        except (FileNotFoundError, NotADirectoryError):
            self._check_missing(path)
            return None
        except OSError as error:
            raise refusal(error, path, "reading") from None
        try:
            stat = os.fstat(fd)
            if self._opening is not None:
                self._opening.check(path, stat)
            if not stat_module.S_ISREG(stat.st_mode):
                if stat_module.S_ISDIR(stat.st_mode):
                    os.close(fd)
                    return None
                raise CorruptDataError(
                    message("reading", self.node.path, None, coords, expected="a regular file", got="another kind")
                )
            stamp = None
            if self._keeps:
                mtime_ns = stat.st_mtime_ns
                # A file written a moment ago may be written again within the clock tick of its time stamp.
                tick_ns = 2_000_000_000 if mtime_ns % 1_000_000_000 == 0 else 50_000_000
                if time.time_ns() - mtime_ns > tick_ns:
                    stamp = (path, mtime_ns, stat.st_size, stat.st_ino)
            return FileRange(fd, 0, stat.st_size, stamp)
        except BaseException:  # an interrupt included: nobody else would close it
            os.close(fd)
            raise

    def read_range(self, coords: Sequence[int], chunk_nbytes: int, offset: int, nbytes: int) -> bytes | None:
        # docstring inherited
        path = self._prefix + self._separator.join(map(str, coords))
        try:
            fd = self._open(path)
        except (FileNotFoundError, NotADirectoryError):
            self._check_missing(path)
            return b""
        except OSError as error:  # the general form says what it is
            if isinstance(error, ExternalFileError):
                raise
            return None
        try:
            stat = os.fstat(fd)
            if self._opening is not None:
                self._opening.check(path, stat)
            if stat.st_size != chunk_nbytes:
                return None
            data = os.pread(fd, nbytes, offset)
        except OSError:
            return None
        finally:
            os.close(fd)
        return data if len(data) == nbytes else None

    def nothing_stored(self) -> bool:
        # docstring inherited
        try:
            with os.scandir(self.node.path) as entries:
                return all(entry.name in DOCUMENTS for entry in entries)
        except OSError:
            return False

    def facts(self) -> Facts:
        # docstring inherited
        return facts_of_node(self.node)

    def token(self) -> object:
        """What changes when the chunks are written again."""
        grid = self._grid
        if 0 in grid:
            return []
        if math.prod(grid) <= MAX_TOKEN_FILES:
            coords = itertools.product(*map(range, grid))
            return [_stat(f"{self.node.path}/{self.layout.chunk_key(c)}") for c in coords]
        # Writers replace chunk files by renaming, which the directory shows.
        rows = grid[:-1] if self.layout.key[1] == "/" else []
        if math.prod(rows) <= MAX_TOKEN_FILES:
            keys = [self.layout.chunk_key((*c, 0)) for c in itertools.product(*map(range, rows))]
            return [_stat(os.path.dirname(f"{self.node.path}/{key}")) for key in keys]
        # Too many to look at: never the same twice.
        return os.urandom(16).hex()

    def stamps(self) -> npt.NDArray[np.uint32] | None:
        # docstring inherited
        grid = self._grid
        if not 0 < math.prod(grid) <= MAX_TOKEN_FILES:
            return None
        return np.fromiter((self.stamp(c) for c in np.ndindex(*grid)), np.uint32).reshape(grid)

    def stamp(self, coords: tuple[int, ...]) -> int:
        # docstring inherited
        return zlib.crc32(repr(_stat(f"{self.node.path}/{self.layout.chunk_key(coords)}")).encode())


def _stat(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size)
