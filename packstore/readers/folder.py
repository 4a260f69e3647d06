"""Folders of saved arrays: a folder goes in, one group with each file under its name (suffix included) comes out."""

from __future__ import annotations

import functools
import os
import stat
from collections.abc import Callable
from typing import Any

from packstore.errors import OptionError, PackstoreError, UnsupportedError, message
from packstore.readers import reader_of
from packstore.readers.find import sniff as recognise
from packstore.source import DirectorySource, FileSource, Source
from packstore.storage import ManifestArray, ManifestGroup

__all__ = ["read", "sniff"]

MAX_DEPTH = 32


def sniff(source: Source, head: bytes) -> bool:
    """Whether it is a directory with something in it."""
    if not isinstance(source, DirectorySource):
        return False
    with os.scandir(source.path) as entries:
        return next(entries, None) is not None


def read(source: Source, *, component: str | None, chunks: Any) -> ManifestGroup:
    """Describe every file of a folder and of the folders below it.

    Parameters
    ----------
    source
        The folder.
    component
        File name, then "/" and the path inside the file where it holds several arrays: "run1.npz/mask". Only that file
        is opened.
    chunks
        How to cut arrays without chunks of their own, where it fits their axes.

    Returns
    -------
    ManifestGroup
        A file that is one array under its name; one that holds several as a group of its name. Files of no known
        format, damaged ones and links that lead out of the folder are in `unsupported` with their reason.

    Raises
    ------
    UnsupportedError
        No folder.

    Notes
    -----
    Opens each file. Text is indexed by a pass over its bytes, so a folder of large tables is slow.
    """
    if not isinstance(source, DirectorySource):
        raise UnsupportedError(message("opening", source.name, expected="a folder", got="a file"))
    found = _Found()
    found.groups[""] = {}
    _describe(source.path, source.path, "", component, chunks, found, 0)
    fresh = found.fresh if found.checks else None
    return ManifestGroup(found.arrays, found.groups, found.unsupported, fresh=fresh, unlisted=found.unlisted)


class _Found:
    """The arrays, groups and reasons found in the files of the folder, by path."""

    def __init__(self) -> None:
        self.arrays: dict[str, ManifestArray] = {}
        self.groups: dict[str, dict[str, Any]] = {}
        self.unsupported: dict[str, str] = {}
        # Files outside the folder, which its members refer to.
        self.checks: list[Callable[[], bool]] = []
        self.unlisted: dict[str, ManifestArray] = {}

    def fresh(self, component: str | None) -> bool:
        """Whether what its members were learnt from is as it was."""
        return all(check() for check in self.checks)

    def add(self, name: str, component: str | None, group: ManifestGroup) -> None:
        if group.fresh is not None:
            self.checks.append(functools.partial(group.fresh, component))
        for path, array in group.arrays.items():
            self.arrays[_join(name, path)] = array
        for path, array in group.unlisted.items():
            self.unlisted[_join(name, path)] = array
        if set(group.arrays) != {""}:
            self.groups.setdefault(name, {})
        for path, attributes in group.groups.items():
            if path or "" not in group.arrays:
                self.groups[_join(name, path)] = dict(attributes)
        for path, reason in group.unsupported.items():
            self.unsupported[_join(name, path)] = reason


def _join(name: str, path: str) -> str:
    return f"{name}/{path}" if name and path else name or path


def _describe(
    root: str, folder: str, prefix: str, component: str | None, chunks: Any, found: _Found, depth: int
) -> None:
    for entry in sorted(os.listdir(folder)):
        rest = None
        if component is not None:
            if component != entry and not component.startswith(entry + "/"):
                continue
            rest = component[len(entry) + 1 :]
        name = _join(prefix, entry)
        path = os.path.join(folder, entry)
        reason = _reason(root, path, depth)
        if reason is not None:
            found.unsupported[name] = reason
            continue
        try:
            _member(root, path, name, rest, chunks, found, depth)
        except OptionError:
            raise
        except PackstoreError as error:
            if component is not None:
                raise
            # One bad file must not hide the others: opening it by its name raises the error.
            found.unsupported[name] = str(error)


def _reason(root: str, path: str, depth: int) -> str | None:
    """Why an entry is not even opened; None where it is."""
    real = os.path.realpath(path)
    if not real.startswith(os.path.join(root, "")):
        return "a link that leads out of the folder"
    try:
        mode = os.stat(real).st_mode
    except OSError as error:
        return f"not accessible ({error.strerror})"
    if stat.S_ISDIR(mode):
        return f"more than {MAX_DEPTH} folders deep" if depth >= MAX_DEPTH else None
    return None if stat.S_ISREG(mode) else "no regular file"


def _member(root: str, path: str, name: str, component: str | None, chunks: Any, found: _Found, depth: int) -> None:
    source: Source = DirectorySource(path) if os.path.isdir(path) else FileSource(path)
    if isinstance(source, DirectorySource) and not os.listdir(path):
        found.groups[name] = {}
        return
    format = recognise(source)
    if format == "folder":
        found.groups[name] = {}
        _describe(root, path, name, component or None, chunks, found, depth + 1)
        return
    reader = reader_of(format)
    assert reader is not None
    module = reader.load()
    component = component or None
    try:
        group = module.read(source, component=component, chunks=chunks)
    except OptionError:
        if component is not None or chunks is None:
            raise
        group = module.read(source, component=None, chunks=None)
    found.add(name, component, group)
