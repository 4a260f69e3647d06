"""Requests through fsspec: every URL and chain of file systems that it knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from packstore.errors import MissingFileError, PackstoreError, StaleFileError, message
from packstore.source.refusals import refusal
from packstore.source.remote.client import Answer, Entry, State
from packstore.source.remote.urls import masked, without_secrets

__all__ = ["FsspecClient", "file_system"]

# What file systems of fsspec say of an object that changes with it.
_VERSIONS = ("ETag", "etag", "VersionId", "generation", "md5Hash", "Content-MD5", "Digest", "CRC", "checksum")
_TIMES = ("LastModified", "last_modified", "Last-Modified", "mtime", "modified", "updated", "created", "date_time")


class FsspecClient:
    """Objects of one file system of fsspec.

    Parameters
    ----------
    fs
        The file system.
    url
        What it was made for.
    storage_options
        Its options, whose values are kept out of errors.

    Notes
    -----
    fsspec has no request that depends on the state of an object: its state is asked for after each read.
    """

    def __init__(self, fs: Any, url: str, storage_options: Mapping[str, Any]) -> None:
        self.fs = fs
        self.url = url
        self.storage_options = storage_options

    def get(self, key: str, start: int | None = None, stop: int | None = None, *, etag: str = "") -> Answer:
        # docstring inherited
        state = None if etag and (start or 0) >= 0 else self.head(key)
        if state is not None and start is not None and start < 0:
            start = max(state.nbytes + start, 0)
        data = self._ask(lambda: self.fs.cat_file(key, start=start, end=stop), "reading")
        if etag:
            state = self.head(key)
            if state.etag != etag:
                raise stale(self.url)
        assert state is not None
        return Answer(data, state)

    def head(self, key: str) -> State:
        # docstring inherited
        def info() -> Any:
            # A listing that the file system has kept from before would hide a change.
            self.fs.invalidate_cache(key)
            return self.fs.info(key)

        return _state(self._ask(info, "opening"), self.url)

    def list(self, prefix: str, *, deep: bool = False) -> Iterator[Entry]:
        # docstring inherited
        def listing() -> Any:
            self.fs.invalidate_cache(prefix)
            return self.fs.find(prefix, detail=True) if deep else self.fs.ls(prefix, detail=True)

        found = self._ask(listing, "listing")
        for info in found.values() if isinstance(found, Mapping) else found:
            name = str(info["name"]).rstrip("/")
            name = name[len(prefix.rstrip("/")) + 1 :] if deep else name.rpartition("/")[2]
            yield Entry(name, None if info.get("type") == "directory" else _state(info, self.url))

    def _ask(self, call: Any, what: str) -> Any:
        """What `call` gives; its errors as packstore's, without secrets."""
        try:
            return call()
        except Exception as error:  # whatever the library behind fsspec raises
            why = clean_refusal(error, self.url, self.storage_options, what)
        # Not in the block above: the foreign exception, whose text may hold secrets, is not kept with it.
        raise why


def _state(info: Mapping[str, Any], url: str) -> State:
    size = info.get("size")
    if info.get("type") == "directory" or size is None:
        raise MissingFileError(message("opening", masked(url), expected="a file of known size", got=info.get("type")))
    known = [info[name] for name in _VERSIONS if info.get(name)] or [info[name] for name in _TIMES if info.get(name)]
    return State(int(size), str(known[0]) if known else "")


def clean_refusal(
    error: Exception, url: str, storage_options: Mapping[str, Any], what: str = "opening"
) -> PackstoreError:
    """`refusal` for a URL: nothing in its text is a secret."""
    found = refusal(error, masked(url), what)
    return type(found)(without_secrets(str(found), url, storage_options))


def stale(url: str) -> StaleFileError:
    """The error for an object that was replaced."""
    return StaleFileError(
        message(
            "reading", masked(url), expected="the object that was opened", got="another version", hint="Open it again"
        )
    )


def file_system(url: str, storage_options: Mapping[str, Any] | None = None) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it.

    Raises
    ------
    MissingPackageError
        fsspec needs a package that is not installed.
    OptionError
        A URL or options that fsspec does not take.
    MissingFileError, AccessError, ReadError
        The file system cannot be reached.
    """
    # Function-level, for import time: local files do not need it.
    import fsspec

    try:
        found: tuple[Any, str] = fsspec.core.url_to_fs(url, **(storage_options or {}))
    except Exception as error:  # whatever the library behind fsspec raises
        why = clean_refusal(error, url, storage_options or {})
    else:
        return found
    raise why
