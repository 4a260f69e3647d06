"""A file behind an fsspec URL, read by byte ranges."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from packstore import config
from packstore.core.typing import Bytes
from packstore.errors import MissingFileError, StaleFileError, TruncatedFileError, message
from packstore.source.base import Fingerprint, RangeReads
from packstore.source.refusals import refusal

__all__ = ["RemoteSource", "file_system", "join_ranges"]


class RemoteSource(RangeReads):
    """A file behind any fsspec URL, read by byte ranges. Like FileSource, without the mapping.

    Notes
    -----
    The fingerprint holds the size and fsspec's ``ukey`` (etag or modification time), hashed. It is checked where the
    source is opened, not on each read.
    """

    __slots__ = ("_fs", "fingerprint", "path", "storage_options", "url")

    # A request costs more than reading this much that nobody asked for.
    gap_nbytes = 4 << 20
    # A joined request is not larger than this, so that several run at once.
    MAX_REQUEST_NBYTES = 16 << 20

    def __init__(
        self, url: str, storage_options: Mapping[str, Any] | None = None, fingerprint: Fingerprint | None = None
    ) -> None:
        self.url = url
        self.storage_options = dict(storage_options or {})
        self._fs, self.path = file_system(url, self.storage_options)
        try:
            # A listing that the file system has kept from before would hide a change.
            self._fs.invalidate_cache(self.path)
            info = self._fs.info(self.path)
            state = str(self._fs.ukey(self.path))
        except Exception as error:  # whatever the library behind fsspec raises
            raise refusal(error, url) from error
        size = info.get("size")
        if info.get("type") == "directory" or size is None:
            raise MissingFileError(message("opening", url, expected="a file of known size", got=info.get("type")))
        key = int(hashlib.sha256(state.encode()).hexdigest()[:15], 16)
        now = Fingerprint(url, int(size), key, 0)
        if fingerprint is not None and fingerprint != now:
            raise StaleFileError(
                message("reading", url, expected="the file that was opened", got="another size or version")
            )
        self.fingerprint = now

    @property
    def name(self) -> str:
        return self.url

    @property
    def nbytes(self) -> int:
        return self.fingerprint.nbytes

    def check(self) -> None:
        """Nothing to check between reads: remote objects are replaced whole."""

    def pread(self, offset: int, nbytes: int) -> bytes:
        """Read exactly `nbytes` bytes at `offset` by one ranged request."""
        if offset < 0 or nbytes < 0 or offset + nbytes > self.fingerprint.nbytes:
            # fsspec takes a negative start as counted from the end, and cuts a range short quietly.
            raise TruncatedFileError(
                message(
                    f"reading {nbytes} bytes at offset {offset} of",
                    self.url,
                    expected=f"at least {offset + nbytes} bytes",
                    got=f"{self.fingerprint.nbytes}",
                )
            )
        if nbytes == 0:
            return b""
        try:
            data: bytes = self._fs.cat_file(self.path, start=offset, end=offset + nbytes)
        except Exception as error:  # whatever the library behind fsspec raises
            raise refusal(error, self.url, "reading") from error
        if len(data) != nbytes:
            raise TruncatedFileError(
                message(f"reading at offset {offset} of", self.url, expected=f"{nbytes} bytes", got=len(data))
            )
        return data

    def read_ranges(self, ranges: Sequence[tuple[int, int]]) -> list[bytes | Bytes]:
        """The bytes of each ``(offset, nbytes)``, in that order.

        Raises
        ------
        TruncatedFileError
            A range lies outside the object, or the server sent fewer bytes.

        Notes
        -----
        Ranges closer than ``remote.gap_nbytes`` become one request; ``remote.concurrency`` requests run at a time.
        """
        if len(ranges) < 2:
            return [self.pread(*each) for each in ranges]
        joined = join_ranges(ranges, int(config.get("remote.gap_nbytes")), self.MAX_REQUEST_NBYTES)
        found: list[bytes | Bytes] = [b""] * len(ranges)

        def fetch(item: tuple[int, int, list[int]]) -> None:
            start, stop, members = item
            data = memoryview(self.pread(start, stop - start))
            for i in members:
                offset, nbytes = ranges[i]
                found[i] = (
                    bytes(data)
                    if nbytes == stop - start
                    else np.frombuffer(data, np.uint8)[offset - start : offset - start + nbytes]
                )

        # fsspec's file systems are thread safe, and each call waits for its answer outside the GIL.
        with ThreadPoolExecutor(min(len(joined), max(int(config.get("remote.concurrency")), 1))) as pool:
            list(pool.map(fetch, joined))
        return found

    def view(self) -> None:
        """None: remote bytes cannot be mapped."""
        return None

    def open(self) -> Any:
        """A seekable binary file object (for libraries that want one)."""
        return self._fs.open(self.path, "rb")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemoteSource) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __reduce__(self) -> tuple[Any, ...]:
        return (RemoteSource, (self.url, self.storage_options, self.fingerprint))

    def __repr__(self) -> str:
        return f"RemoteSource({self.url!r}, nbytes={self.nbytes})"


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
        raise refusal(error, url) from error
    return found


def join_ranges(
    ranges: Sequence[tuple[int, int]], gap_nbytes: int, max_nbytes: int
) -> list[tuple[int, int, list[int]]]:
    """Join byte ranges that lie near each other.

    Parameters
    ----------
    ranges
        ``(offset, nbytes)`` in any order.
    gap_nbytes
        Ranges with at most so many bytes between them are joined.
    max_nbytes
        Joined ranges do not grow beyond that.

    Returns
    -------
    list of (start, stop, members)
        `members` are the positions in `ranges` of those that lie within.

    Examples
    --------
    >>> join_ranges([(100, 10), (0, 10), (12, 8)], 5, 1000)
    [(0, 20, [1, 2]), (100, 110, [0])]
    """
    joined: list[tuple[int, int, list[int]]] = []
    for i in sorted(range(len(ranges)), key=lambda i: ranges[i]):
        offset, nbytes = ranges[i]
        end = offset + nbytes
        if joined:
            start, stop, members = joined[-1]
            if offset <= stop + gap_nbytes and (end <= stop or end - start <= max_nbytes):
                members.append(i)
                joined[-1] = (start, max(stop, end), members)
                continue
        joined.append((offset, end, [i]))
    return joined
