"""What callers give for a file: open files, files in memory and zarr stores go in, paths, URLs and sources come out.

What lies on a disk or behind a URL is opened there, so that it is mapped, read side by side and pickled as a path. The
rest is read through what was given: the content of file objects as it is now, the objects of a store one by one.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Mapping
from typing import Any

from packstore.errors import OptionError, message
from packstore.source.held import HeldSource
from packstore.source.refusals import is_upath, refusal
from packstore.source.remote.urls import STORE_SCHEME

__all__ = ["given_place", "is_given_object"]

# Options of file systems that stand before others: the path alone does not say what lies there.
_CHAINED = frozenset({"fo", "fs", "target_protocol", "target_options"})
# Options that belong to the event loop of whoever made the file system.
_OF_THE_LOOP = frozenset({"asynchronous", "loop"})


def is_given_object(path: Any) -> bool:
    """Whether it is an open file or a zarr store rather than a path.

    Examples
    --------
    >>> is_given_object("a.npy"), is_given_object(io.BytesIO())
    (False, True)
    """
    if isinstance(path, (str, bytes, os.PathLike, HeldSource)) or is_upath(path):
        return False
    return hasattr(path, "read") or _is_store(path) or _is_fsspec_file(path)


def given_place(path: Any, storage_options: Mapping[str, Any] | None) -> tuple[Any, Mapping[str, Any] | None]:
    """The path, URL or source of what a caller gives, and the options of its file system.

    Parameters
    ----------
    path
        A path or URL, which is given back; a binary file object (all of it, wherever its position is); a zarr store.
    storage_options
        Those that the caller gives, which take precedence over those of the object.

    Raises
    ------
    OptionError
        A file object that is open as text, or closed; options for what has no file system.
    ReadError
        The content of a file object cannot be read.

    Examples
    --------
    >>> given_place("a.npy", None)
    ('a.npy', None)
    >>> given_place(io.BytesIO(b"abc"), None)[0].nbytes
    3
    """
    if not is_given_object(path):
        return path, storage_options
    where = _place_of_store(path) if _is_store(path) else _place_of_file(path)
    if where is None:
        where = _content(path), {}
    place, options = where
    if isinstance(place, str) and "://" in place:
        return place, {**options, **(storage_options or {})} or None
    return place, storage_options


def _is_store(path: Any) -> bool:
    # Whoever has a store has imported zarr.
    module = sys.modules.get("zarr.abc.store")
    return module is not None and isinstance(path, module.Store)


def _is_fsspec_file(path: Any) -> bool:
    return hasattr(getattr(path, "fs", None), "unstrip_protocol") and isinstance(getattr(path, "path", None), str)


def _place_of_store(store: Any) -> tuple[Any, dict[str, Any]]:
    storage = sys.modules.get("zarr.storage")
    if storage is not None:
        if isinstance(store, storage.LocalStore):
            return os.fspath(store.root), {}
        if isinstance(store, storage.ZipStore):
            return os.fspath(store.path), {}
        if isinstance(store, storage.FsspecStore):
            found = _url_of(store.fs, store.path)
            if found is not None:
                return found
    # Function-level, for import time.
    import uuid

    return f"{STORE_SCHEME}{type(store).__name__}-{uuid.uuid4().hex}/", {"store": store}


def _place_of_file(file: Any) -> tuple[Any, dict[str, Any]] | None:
    """Where an open file lies, if that can be told for sure."""
    if _is_fsspec_file(file):
        compressed = getattr(file, "compression", None) is not None
        return None if compressed else _url_of(file.fs, file.path)
    # tempfile wraps its files.
    inner = getattr(file, "file", file)
    raw = getattr(inner, "raw", inner)
    if not isinstance(raw, io.FileIO) or raw.closed or not isinstance(raw.name, (str, bytes)):
        return None
    if file.writable():
        file.flush()
    path = os.fsdecode(raw.name)
    try:
        is_there = os.path.samestat(os.stat(path), os.fstat(raw.fileno()))
    except OSError:  # it was deleted
        return None
    return (path, {}) if is_there else None


def _url_of(fs: Any, path: str) -> tuple[str, dict[str, Any]] | None:
    options = {k: v for k, v in fs.storage_options.items() if k not in _OF_THE_LOOP}
    if _CHAINED & options.keys():
        return None
    url = fs.unstrip_protocol(path)
    return (url[len("file://") :], {}) if url.startswith("file://") else (url, options)


def _content(file: Any) -> HeldSource:
    name = getattr(file, "name", None)
    name = name if isinstance(name, str) and name else f"<{type(file).__name__}>"
    if isinstance(file, io.TextIOBase):
        raise _as_text(name, "one that gives text")
    if isinstance(file, io.BytesIO) and not file.closed:
        # Python shares the bytes until the object is written to.
        return HeldSource(file.getvalue(), name)
    try:
        if hasattr(file, "read"):
            data = _all_of(file)
        else:
            with file as opened:
                data = _all_of(opened)
    except (OSError, ValueError) as error:
        if isinstance(error, OSError):
            raise refusal(error, name, "reading") from None
        raise OptionError(message("opening", name, expected="an open file", got=str(error))) from None
    if not isinstance(data, (bytes, bytearray)):
        raise _as_text(name, f"one that gives {type(data).__name__}")
    return HeldSource(bytes(data), name)


def _as_text(name: str, got: str) -> OptionError:
    hint = 'Open it with mode "rb"; text in memory is io.BytesIO(text.encode())'
    return OptionError(message("opening", name, expected="a file object that gives bytes", got=got, hint=hint))


def _all_of(file: Any) -> Any:
    """All bytes, wherever the position is; it is where it was afterwards."""
    if not (hasattr(file, "seekable") and file.seekable()):
        return file.read()
    at = file.tell()
    file.seek(0)
    try:
        return file.read()
    finally:
        file.seek(at)
