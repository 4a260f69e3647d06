"""Byte sources: one read-only file, read by mmap or ``pread``, that notices when it changes.

A source pickles as a path and a fingerprint. The process that unpickles it opens the file again on the first read and
raises :class:`~packstore.errors.StaleFileError` where the file is no longer the one that was opened.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from packstore.errors import MissingFileError, OptionError, message
from packstore.source.base import ByteSpace, Fingerprint, RangeReads
from packstore.source.directory import DirectorySource
from packstore.source.held import HeldSource
from packstore.source.local import FileSource
from packstore.source.memory import InlineBytes, Segments
from packstore.source.refusals import options_of, path_text, refusal
from packstore.source.remote.by_fsspec import file_system
from packstore.source.remote.folder import RemoteFolder
from packstore.source.remote.source import RemoteSource
from packstore.source.remote.urls import STORE_SCHEME, is_url, masked

__all__ = [
    "ByteSpace",
    "DirectorySource",
    "FileSource",
    "Fingerprint",
    "HeldSource",
    "InlineBytes",
    "RangeReads",
    "RemoteFolder",
    "RemoteSource",
    "Segments",
    "Source",
    "file_system",
    "masked",
    "open_source",
    "path_text",
    "refusal",
    "reopen_source",
]

Source = FileSource | RemoteSource | DirectorySource | RemoteFolder | HeldSource


def reopen_source(fingerprint: Fingerprint, storage_options: Mapping[str, Any] | None = None) -> Source:
    """The source in the state of `fingerprint`: anything else raises StaleFileError, here or on the first read."""
    # Local paths are resolved, so absolute; URLs are not.
    if not os.path.isabs(fingerprint.path):
        if fingerprint.path.endswith("/"):
            return RemoteFolder(fingerprint.path, storage_options, fingerprint)
        return RemoteSource(fingerprint.path, storage_options, fingerprint)
    if os.path.isdir(fingerprint.path):
        return DirectorySource(fingerprint.path, fingerprint)
    return FileSource(fingerprint.path, fingerprint)


def open_source(path: str | os.PathLike[str] | HeldSource, storage_options: Mapping[str, Any] | None = None) -> Source:
    """Open a local file, a directory or an fsspec URL for reading; a file in memory is its source already.

    Parameters
    ----------
    path
        A local path, a ``file://`` URL, or any fsspec URL.
    storage_options
        Passed to the fsspec file system; only for URLs.

    Raises
    ------
    MissingFileError
        No such file.
    AccessError, ReadError
        The operating system or the server refuses it.
    MissingPackageError
        fsspec needs a package for the URL that is not installed.
    OptionError
        `storage_options` with a local path, something that is no path, or a URL that fsspec does not know.

    Examples
    --------
    >>> import fsspec
    >>> with fsspec.open("memory://doc.bin", "wb") as f:
    ...     _ = f.write(b"abc")
    >>> open_source("memory://doc.bin").pread(1, 2)
    b'bc'
    """
    if isinstance(path, HeldSource):
        if storage_options:
            expected = "no storage_options for a file in memory"
            raise OptionError(message("opening", path.name, expected=expected, got=", ".join(sorted(storage_options))))
        return path
    text, storage_options = path_text(path), options_of(path, storage_options)
    if storage_options is not None and (
        not isinstance(storage_options, Mapping) or not all(isinstance(name, str) for name in storage_options)
    ):
        # Their values may be secrets.
        got = type(storage_options).__name__
        raise OptionError(message("opening", text, expected="storage_options= as a dict with names", got=got))
    if text.startswith("file://"):
        text = text[len("file://") :]
    elif is_url(text):
        return _open_url(text, storage_options)
    if storage_options:
        # Their values may be secrets: name the keys only.
        given = ", ".join(sorted(map(str, storage_options)))
        raise OptionError(message("opening", path, expected="no storage_options for a local path", got=given))
    if os.path.isdir(text):
        return DirectorySource(text)
    return FileSource(text)


def _open_url(url: str, storage_options: Mapping[str, Any] | None) -> RemoteSource | RemoteFolder:
    """The object at a URL; or the zarr hierarchy there, which is looked for first where the URL ends like one."""
    if url.startswith(STORE_SCHEME):
        return RemoteFolder(url, storage_options)
    folder_first = url.endswith(("/", ".zarr"))
    first, second = (RemoteFolder, RemoteSource) if folder_first else (RemoteSource, RemoteFolder)
    try:
        return first(url, storage_options)
    except MissingFileError as error:
        if "?" in url or url.endswith("/"):
            raise
        try:
            return second(url, storage_options)
        except MissingFileError:
            raise error from None
