"""Uploads: a URL goes in, a folder or an object there that can be written, listed and removed comes out.

Requests are made by the file systems of fsspec, which cut large objects in parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from packstore.errors import MissingPackageError, OptionError, PackstoreError, WriteError, message
from packstore.source.remote.by_fsspec import FsspecClient, clean_refusal, fsspec_client, may_pass
from packstore.source.remote.ranges import side_by_side
from packstore.source.remote.requests import ask
from packstore.source.remote.urls import masked

__all__ = ["Uploads"]

# Their folders are the beginnings of names, and need not be made.
_OBJECT_STORES = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "memory"})
# They only read.
_READ_ONLY = frozenset({"http", "https"})


class Uploads:
    """What can be written at a URL: an object, or those below it.

    Parameters
    ----------
    url
        Of one file system: a chain ("simplecache::s3://…") is refused.
    storage_options
        For its file system; pickled as they are given.

    Raises
    ------
    OptionError
        A URL that cannot be written, or that names no object.
    MissingPackageError
        fsspec needs a package that is not installed.

    Notes
    -----
    Thread safe, picklable. Each call asks again what failed for a reason that may pass, as reads do.
    """

    def __init__(self, url: str, storage_options: Mapping[str, Any] | None = None) -> None:
        self.url = url.rstrip("/")
        self.name = masked(self.url)
        self.storage_options = dict(storage_options or {})
        scheme, _, rest = self.url.partition("://")
        if "::" in self.url or scheme in _READ_ONLY or "?" in self.url:
            hint = "Save to a bucket (s3://…), or to a local path, and upload that"
            raise OptionError(
                message("writing", self.name, expected="a URL that can be written", got=scheme, hint=hint)
            )
        if "/" not in rest and scheme in _OBJECT_STORES - {"memory"}:
            raise OptionError(message("writing", self.name, expected="the name of an object", got="a whole bucket"))

    def _client(self) -> tuple[FsspecClient, str]:
        # fsspec keeps its file systems, and makes others in a forked child.
        client, key = fsspec_client(self.url, self.storage_options)
        return client, key.rstrip("/")

    def put(self, name: str, data: bytes) -> None:
        """Write the object `name` below the URL; "" is the URL's own.

        Raises
        ------
        WriteError
            The server refused, or does not answer, however often it is asked.
        """
        client, key = self._client()
        self._ask(client, lambda: _pipe(client.fs, _joined(key, name), data))

    def put_all(self, objects: Mapping[str, bytes]) -> None:
        """Write several objects, side by side; errors as `put`."""
        side_by_side(lambda name: self.put(name, objects[name]), list(objects))

    def put_file(self, path: str) -> None:
        """Write a local file as the URL's object, which appears whole or not at all; errors as `put`."""
        client, key = self._client()

        def upload() -> None:
            _make_folder(client.fs, key)
            client.fs.put_file(path, key)

        self._ask(client, upload)

    def names(self) -> list[str]:
        """The names of all objects below the URL; errors as `put`."""
        client, key = self._client()

        def find() -> list[str]:
            client.fs.invalidate_cache()
            try:
                return [str(name) for name in client.fs.find(key)]
            except FileNotFoundError:
                return []

        found: list[str] = self._ask(client, find)
        base = client.fs._strip_protocol(key).rstrip("/") + "/"
        return [name[len(base) :] for name in found if name.startswith(base)]

    def exists(self) -> bool:
        """Whether there is an object of the URL's own name; errors as `put`."""
        client, key = self._client()

        def look() -> bool:
            client.fs.invalidate_cache()
            return bool(client.fs.isfile(key))

        found: bool = self._ask(client, look)
        return found

    def remove(self, names: Sequence[str]) -> None:
        """Remove objects below the URL; those that are gone already are none to speak of. Errors as `put`."""
        client, key = self._client()

        def gone(paths: list[str]) -> None:
            try:
                client.fs.rm(paths)
            except FileNotFoundError:
                for path in paths:
                    if client.fs.exists(path):
                        client.fs.rm_file(path)

        paths = [_joined(key, name) for name in names]
        # What one request of S3 removes.
        for first in range(0, len(paths), 1000):
            part = paths[first : first + 1000]
            self._ask(client, lambda part=part: gone(part))

    def _ask(self, client: FsspecClient, call: Any) -> Any:
        def refuse(error: Exception) -> tuple[PackstoreError, bool]:
            why = clean_refusal(error, self.url, self.storage_options, "writing")
            if isinstance(why, (MissingPackageError, OptionError, WriteError)):
                return why, False
            text = str(why).replace("a file that may be read", "a place that may be written")
            text = text.replace("expected a file,", "expected a bucket or folder that exists,")
            text = text.replace("a file that can be read", "a place that can be written")
            return WriteError(text), may_pass(error)

        return ask(call, refuse)


def _joined(key: str, name: str) -> str:
    return f"{key}/{name}" if name else key


def _pipe(fs: Any, key: str, data: bytes) -> None:
    _make_folder(fs, key)
    fs.pipe_file(key, data)


def _make_folder(fs: Any, key: str) -> None:
    protocols = {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
    if not protocols & _OBJECT_STORES:
        fs.makedirs(key.rpartition("/")[0], exist_ok=True)
