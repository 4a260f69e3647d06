"""A folder of objects behind a URL: a zarr hierarchy in object storage or on a web server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from packstore.core.threads import ForkSafeLock
from packstore.errors import MissingFileError, StaleFileError, TruncatedFileError, message
from packstore.source.base import Fingerprint, RangeReads
from packstore.source.remote.client import Answer, Client, Entry
from packstore.source.remote.clients import client_of, generation
from packstore.source.remote.ranges import side_by_side
from packstore.source.remote.urls import masked

__all__ = ["RemoteFolder"]

# The documents of folders that were opened and not read yet: whoever opens the same state again has them, once.
_OPENED: dict[Fingerprint, dict[str, Answer | None]] = {}
MAX_OPENED = 16
_lock = ForkSafeLock()


class RemoteFolder(RangeReads):
    """The objects below a URL; its fingerprint is the state of its zarr metadata object.

    Parameters
    ----------
    url
        Where it is; its fingerprint's path ends with "/".
    storage_options
        For the file system of the URL; pickled as they are given.
    fingerprint
        The state that it must be in, compared when the metadata are read; None: the state that it is in now.

    Raises
    ------
    MissingFileError
        No zarr metadata there.
    """

    __slots__ = ("_client", "_first", "fingerprint", "name", "storage_options", "url")

    MARKERS = ("zarr.json", ".zarray", ".zgroup")
    # The documents that tell what the folder is: of zarr v3, or of v2.
    DOCUMENTS = (("zarr.json",), (".zarray", ".zgroup", ".zattrs", ".zmetadata"))

    def __init__(
        self, url: str, storage_options: Mapping[str, Any] | None = None, fingerprint: Fingerprint | None = None
    ) -> None:
        self.url = url.rstrip("/") + "/"
        self.name = masked(self.url)
        self.storage_options = dict(storage_options or {})
        self._client: tuple[int, Client, str] | None = None
        # What opening has read already.
        self._first: dict[str, Answer | None] = {}
        if fingerprint is None:
            fingerprint, first = self._look()
            with _lock:
                if len(_OPENED) >= MAX_OPENED:
                    del _OPENED[next(iter(_OPENED))]
                _OPENED[fingerprint] = first
        else:
            with _lock:
                self._first = _OPENED.pop(fingerprint, {})
        self.fingerprint = fingerprint

    def _look(self) -> tuple[Fingerprint, dict[str, Answer | None]]:
        """The state of the folder, and the documents that tell it."""
        found: dict[str, Answer | None] = {}
        for names in self.DOCUMENTS:
            there = self.read_all(names)
            found |= {name: there.get(name) for name in names}
            for name in self.MARKERS:
                if name in there:
                    state = there[name].state
                    return Fingerprint(self.url, state.nbytes, 0, 0, state.etag), found
        raise MissingFileError(
            message("opening", self.name, expected="a file, or a folder with zarr metadata", got="neither")
        )

    @property
    def path(self) -> str:
        """The URL, without secrets."""
        return self.name

    @property
    def nbytes(self) -> int:
        return 0

    def check(self) -> None:
        """Nothing to check: metadata objects are compared when they are read."""

    def client(self) -> tuple[Client, str]:
        """The client, and the key of the folder, which ends with "/" unless it is the root."""
        kept = self._client
        if kept is None or kept[0] != generation():
            client, key = client_of(self.url, self.storage_options)
            kept = self._client = (generation(), client, key.rstrip("/") + "/" if key.strip("/") else "")
        return kept[1], kept[2]

    def read(self, name: str) -> Answer | None:
        """All bytes of the object `name` below the folder; None where there is none."""
        if name in self._first:
            return self._first.pop(name)
        client, key = self.client()
        try:
            return client.get(key + name)
        except MissingFileError:
            return None

    def read_all(self, names: Sequence[str]) -> dict[str, Answer]:
        """Those of the objects that are there, asked for side by side."""
        found = zip(names, side_by_side(self.read, names), strict=True)
        return {name: answer for name, answer in found if answer is not None}

    def list(self, below: str, *, deep: bool = False) -> Iterator[Entry]:
        """The names below a folder in this one, as `Client.list` gives them."""
        client, key = self.client()
        return client.list(key + below, deep=deep)

    def check_root(self, answer: Answer) -> None:
        """Raise StaleFileError unless this is the metadata object that was opened."""
        if (answer.state.nbytes, answer.state.etag) != (self.fingerprint.nbytes, self.fingerprint.etag):
            expected = "the metadata that were opened"
            raise StaleFileError(
                message("reading", self.name, expected=expected, got="changed ones", hint="Open it again")
            )

    def pread(self, offset: int, nbytes: int) -> bytes:
        """Folders have no bytes of their own."""
        raise TruncatedFileError(message("reading", self.name, expected="a file", got="a folder"))

    def view(self) -> None:
        return None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteFolder) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __reduce__(self) -> tuple[Any, ...]:
        return (RemoteFolder, (self.url, self.storage_options, self.fingerprint))

    def __repr__(self) -> str:
        return f"RemoteFolder({self.name!r})"
