"""An object behind a URL, read by byte ranges."""

from __future__ import annotations

import mmap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from packstore.core.threads import ForkSafeLock
from packstore.core.typing import Bytes
from packstore.errors import TruncatedFileError, message
from packstore.source.base import Fingerprint, RangeReads
from packstore.source.remote.blocks import HEAD_NBYTES, around, find_bytes, keep_bytes, missing
from packstore.source.remote.by_fsspec import stale
from packstore.source.remote.client import Answer, Client, State
from packstore.source.remote.clients import client_of, generation
from packstore.source.remote.ranges import read_joined
from packstore.source.remote.requests import NoRangesError
from packstore.source.remote.urls import masked

__all__ = ["RemoteSource"]

# Stands for the state of an object that has nothing but a size.
ANY = "any"


class RemoteSource(RangeReads):
    """An object behind any URL that fsspec knows, read by byte ranges. Like FileSource, without the mapping.

    Parameters
    ----------
    url
        Where it is.
    storage_options
        For the file system of the URL. They are pickled as they are given: let secrets come from profiles and the
        environment instead.
    fingerprint
        The state that the object must be in: nothing is asked before the first read, then. None: the state that it is
        in now, which takes one or two requests.

    Notes
    -----
    Thread safe and fork safe. The fingerprint holds the size and the ETag (or what else the server has), which each
    request names: an object that was replaced raises StaleFileError.

    `pread` is for headers and indexes: it reads in blocks, which are kept. `read_ranges` is for elements, which are
    asked for anew each time: near ranges together, the rest side by side. What a server without ranges sends is kept in
    a temporary file, and each read asks whether the object is still the same.
    """

    __slots__ = ("_client", "_misses", "_turn", "_whole", "fingerprint", "name", "storage_options", "url")

    # A request costs more than reading this much that nobody asked for.
    gap_nbytes = 4 << 20

    def __init__(
        self, url: str, storage_options: Mapping[str, Any] | None = None, fingerprint: Fingerprint | None = None
    ) -> None:
        self.url = url
        self.name = masked(url)
        self.storage_options = dict(storage_options or {})
        self._client: tuple[int, Client, str] | None = None
        # How often bytes of an index were not at hand.
        self._misses = 0
        # All of the object, where the server has no ranges.
        self._whole: tuple[Bytes, State] | None = None
        self._turn = ForkSafeLock()
        if fingerprint is None:
            if "::" in url:
                client_of(url, self.storage_options, anew=True)
            first = self._get(0, HEAD_NBYTES)
            fingerprint = Fingerprint(url, first.state.nbytes, 0, 0, first.state.etag)
            keep_bytes(fingerprint, 0, first.data)
        self.fingerprint = fingerprint

    @property
    def path(self) -> str:
        """The URL, without secrets."""
        return self.name

    @property
    def nbytes(self) -> int:
        return self.fingerprint.nbytes

    def check(self) -> None:
        """Nothing to check between reads: each request names the state of the object."""

    def _where(self) -> tuple[Client, str]:
        """The client and the key; a forked child asks for a client of its own."""
        kept = self._client
        if kept is None or kept[0] != generation():
            kept = self._client = (generation(), *client_of(self.url, self.storage_options))
        return kept[1], kept[2]

    def _get(self, start: int, stop: int, etag: str = "") -> Answer:
        client, key = self._where()
        if self._whole is None:
            try:
                return client.get(key, start, stop, etag=etag)
            except NoRangesError:
                self._keep_whole(client, key, etag)
        assert self._whole is not None
        data, state = self._whole
        if etag and client.head(key) != state:
            raise stale(self.url)
        return Answer(data[start:stop], state)

    def _keep_whole(self, client: Client, key: str, etag: str) -> None:
        """Read all of the object, which a server without ranges sends whatever is asked for; one thread does."""
        with self._turn:
            if self._whole is None:
                answer = client.get(key, etag=etag)
                self._whole = kept_copy(answer.data), answer.state

    def _read(self, offset: int, nbytes: int) -> bytes | Bytes:
        """Exactly `nbytes` bytes by one request."""
        data, state = self._get(offset, offset + nbytes, self.fingerprint.etag or ANY)
        if (state.nbytes, state.etag) != (self.fingerprint.nbytes, self.fingerprint.etag):
            raise stale(self.url)
        if len(data) != nbytes:
            raise TruncatedFileError(
                message(f"reading at offset {offset} of", self.name, expected=f"{nbytes} bytes", got=len(data))
            )
        return data

    def _check_range(self, offset: int, nbytes: int) -> None:
        if offset < 0 or nbytes < 0 or offset + nbytes > self.fingerprint.nbytes:
            raise TruncatedFileError(
                message(
                    f"reading {nbytes} bytes at offset {offset} of",
                    self.name,
                    expected=f"at least {offset + nbytes} bytes",
                    got=f"{self.fingerprint.nbytes}",
                )
            )

    def pread(self, offset: int, nbytes: int) -> bytes:
        """Exactly `nbytes` bytes at `offset` of a header or an index: they are read in blocks, which are kept."""
        self._check_range(offset, nbytes)
        if nbytes == 0:
            return b""
        found = find_bytes(self.fingerprint, offset, nbytes)
        if found is None:
            self.prefetch([around(offset, nbytes, self.nbytes, self._misses)])
            self._misses += 1
            found = find_bytes(self.fingerprint, offset, nbytes)
        if found is None:  # more than is kept
            found = np.frombuffer(self._read(offset, nbytes), np.uint8)
        return found.tobytes()

    def prefetch(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Read and keep the parts of an index that `pread` will be asked for next: near ones together, side by side."""
        wanted = missing(self.fingerprint, ranges)
        for (start, _), data in zip(wanted, read_joined(self._read, wanted), strict=True):
            keep_bytes(self.fingerprint, start, data)

    def read_ranges(self, ranges: Sequence[tuple[int, int]]) -> list[bytes | Bytes]:
        """The bytes of each ``(offset, nbytes)``, in that order.

        Raises
        ------
        TruncatedFileError
            A range lies outside the object, or the server sent fewer bytes.
        StaleFileError
            The object was replaced.

        Notes
        -----
        Ranges closer than ``remote.gap_nbytes`` become one request; ``remote.concurrency`` requests run at a time.
        """
        for each in ranges:
            self._check_range(*each)
        return read_joined(self._read, ranges)

    def view(self) -> None:
        """None: remote bytes cannot be mapped."""
        return None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteSource) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __reduce__(self) -> tuple[Any, ...]:
        return (RemoteSource, (self.url, self.storage_options, self.fingerprint))

    def __repr__(self) -> str:
        return f"RemoteSource({self.name!r}, nbytes={self.nbytes})"


def kept_copy(data: bytes | Bytes) -> Bytes:
    """The bytes in a temporary file without a name, mapped: memory that the system may take back."""
    if not len(data):
        return np.empty(0, np.uint8)
    # Function-level, for import time.
    import tempfile

    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
