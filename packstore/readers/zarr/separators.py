"""Chunks that lie under other keys than the metadata say; in: an array's directory, out: an error, or nothing.

Zarr v2 writers have stored ``0/0/0`` without a word in the metadata, and copying tools rename files. Such chunks would
all be missing, which means zeros. Whether they lie under the other separator is asked once an array, when a chunk of
it is missing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from packstore.errors import FormatError, message

__all__ = ["Separators"]


class Separators:
    """The keys of one array's chunks, and the same keys with the other separator.

    Parameters
    ----------
    path
        The array's directory.
    document
        The name of its metadata file.
    prefixed
        Whether keys start with "c": the default encoding of zarr v3.
    separator
        "." or "/".
    grid
        The number of chunks along each axis.
    """

    def __init__(self, path: str, document: str, *, prefixed: bool, separator: str, grid: Sequence[int]) -> None:
        self.path = path
        self.document = document
        self.prefixed = prefixed
        self.separator = separator
        self.grid = tuple(grid)
        # The keys of fewer indexes are the same with either separator.
        self._is_right = len(self.grid) + prefixed < 2 or 0 in self.grid

    @classmethod
    def of_document(cls, path: str, document: str, found: Mapping[str, Any]) -> Separators | None:
        """From an array's metadata as they are stored; None where they are of another kind than is known here."""
        try:
            if document == ".zarray":
                chunks, prefixed, separator = found["chunks"], False, found.get("dimension_separator", ".")
            else:
                encoding = found["chunk_key_encoding"]
                chunks, prefixed = found["chunk_grid"]["configuration"]["chunk_shape"], encoding["name"] == "default"
                separator = (encoding.get("configuration") or {}).get("separator", "/" if prefixed else ".")
            grid = [-(-int(n) // int(c)) for n, c in zip(found["shape"], chunks, strict=True)]
        except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError):
            return None
        return cls(path, document, prefixed=prefixed, separator=separator, grid=grid)

    def check(self) -> None:
        """Say whether missing chunks are missing.

        Raises
        ------
        FormatError
            None of the array's chunks is there, and files lie under the keys with the other separator.
        """
        if self._is_right:
            return
        other = "." if self.separator == "/" else "/"
        stray = None if self._stored(self.separator) else self._stored(other)
        if stray is not None:
            where = "dimension_separator" if self.document == ".zarray" else "chunk_key_encoding"
            raise FormatError(
                message(
                    "reading",
                    self.path,
                    expected=f"chunks under keys with {self.separator!r}, as its {self.document} says",
                    got=f"none, and files such as {stray!r}",
                    hint=f"Set the separator {other!r} in {where} of its {self.document}",
                )
            )
        self._is_right = True

    def _stored(self, separator: str) -> str | None:
        """A key with that separator under which a file lies; None where there is none."""
        if separator == "/":
            start = "c" if self.prefixed else ""
            found = _nested(os.path.join(self.path, start), self.grid)
            return None if found is None else os.path.join(start, found)
        pattern = re.compile((r"c\." if self.prefixed else "") + r"(\d+(?:\.\d+)*)", re.ASCII)
        for entry in _entries(self.path):
            match = pattern.fullmatch(entry.name)
            if match is not None and self._is_inside(match[1].split(".")) and entry.is_file():
                return entry.name
        return None

    def _is_inside(self, index: Sequence[str]) -> bool:
        return len(index) == len(self.grid) and all(int(i) < n for i, n in zip(index, self.grid, strict=True))


def _nested(folder: str, grid: Sequence[int]) -> str | None:
    """The path of a file behind one folder an axis, named by numbers of the grid."""
    for entry in _entries(folder):
        if not re.fullmatch(r"\d+", entry.name, re.ASCII) or int(entry.name) >= grid[0]:
            continue
        if len(grid) == 1:
            if entry.is_file():
                return entry.name
        elif entry.is_dir():
            found = _nested(entry.path, grid[1:])
            if found is not None:
                return f"{entry.name}/{found}"
    return None


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            yield from found
    except OSError:
        return
