"""Refusals of the operating system, of fsspec or of a server: their exception goes in, one of packstore comes out."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from typing import Any

from packstore.errors import (
    AccessError,
    MissingFileError,
    MissingPackageError,
    OptionError,
    PackstoreError,
    ReadError,
    message,
)

__all__ = ["is_upath", "options_of", "path_text", "refusal"]

# What fsspec needs for a protocol, by the names on PyPI.
_PACKAGES = {
    "s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "http": "aiohttp requests", "https": "aiohttp requests",
    "abfs": "adlfs", "abfss": "adlfs", "az": "adlfs", "adl": "adlfs", "sftp": "paramiko", "ssh": "paramiko",
    "hdfs": "pyarrow", "arrow_hdfs": "pyarrow", "webhdfs": "requests", "smb": "smbprotocol", "github": "requests",
    "gist": "requests", "git": "pygit2", "hf": "huggingface_hub", "oci": "ocifs", "oss": "ossfs", "box": "boxfs",
    "dropbox": "dropboxdrivefs", "gdrive": "gdrive_fsspec", "lakefs": "lakefs-spec", "root": "fsspec-xrootd",
    "libarchive": "libarchive-c", "jupyter": "requests", "dbfs": "requests", "tos": "tosfs", "pyscript": "pyscript",
}  # fmt: skip


def path_text(path: Any, what: str = "opening") -> str:
    """A caller's path as text.

    Raises
    ------
    OptionError
        It is no path, or holds a NUL.

    Examples
    --------
    >>> path_text(b"a.npy")
    'a.npy'
    """
    if is_upath(path):
        return str(path)
    try:
        text = os.fsdecode(os.fspath(path))
    except TypeError:
        raise OptionError(message(what, f"{path!r:.200}", expected="a path", got=type(path).__name__)) from None
    if "\0" in text:
        raise OptionError(message(what, f"{text!r:.200}", expected="a path without NUL", got="one with it"))
    return text


def is_upath(path: Any) -> bool:
    """Whether it is a path of universal_pathlib that is no local one: a URL and the options of its file system."""
    return hasattr(path, "protocol") and hasattr(path, "storage_options") and not isinstance(path, os.PathLike)


def options_of(path: Any, storage_options: Any) -> Any:
    """A caller's `storage_options`, and below them those that a path brings along."""
    if not is_upath(path) or not (storage_options is None or isinstance(storage_options, Mapping)):
        return storage_options
    return {**path.storage_options, **(storage_options or {})} or None


def refusal(error: Exception, path: object, what: str = "opening") -> PackstoreError:
    """The error to raise for one of the operating system, of fsspec, or of a library behind it.

    Parameters
    ----------
    error
        What was raised; a `PackstoreError` is given back as it is.
    path
        The file or URL.
    what
        What failed, as a phrase.
    """
    if isinstance(error, PackstoreError):
        return error
    got = getattr(error, "strerror", None) or str(error) or type(error).__name__
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return MissingFileError(message(what, path, expected="a file", got="nothing of that name"))
    if isinstance(error, PermissionError):
        hint = "Ask for the permission to read it, or look at the credentials in storage_options="
        if "://" not in str(path):
            hint = "Ask for the permission to read it, and to enter the folders above it"
        return AccessError(message(what, path, expected="a file that may be read", got=got, hint=hint))
    if isinstance(error, ImportError):
        packages = _packages(str(path))
        hint = f"pip install {packages}" if packages else "Install the package that is named"
        return MissingPackageError(message(what, path, expected="the package for this URL", got=got, hint=hint))
    if isinstance(error, (TypeError, ValueError)):
        return OptionError(message(what, path, expected="a URL and storage_options= that fsspec takes", got=got))
    many = isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)
    advice = "Let go of views of other files, or raise the limit of open files (ulimit -n)" if many else None
    return ReadError(message(what, path, expected="a file that can be read", got=got, hint=advice))


def _packages(url: str) -> str | None:
    # Of a chain of file systems ("simplecache::s3://…") the last one lies on a network.
    protocols = re.findall(r"([a-z0-9+_]+)(?=://|::)", url)
    return next((_PACKAGES[p] for p in reversed(protocols) if p in _PACKAGES), None)
