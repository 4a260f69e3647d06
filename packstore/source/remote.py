"""A file behind an fsspec URL, read by byte ranges."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from packstore.errors import MissingFileError, OptionError, StaleFileError, TruncatedFileError, message
from packstore.source.base import Fingerprint

__all__ = ["RemoteSource"]


class RemoteSource:
    """A file behind any fsspec URL, read by byte ranges. Like FileSource, without the mapping.

    Notes
    -----
    The fingerprint holds the size and fsspec's ``ukey`` (etag or modification time), hashed. It is checked where the
    source is opened, not on each read.
    """

    __slots__ = ("_fs", "fingerprint", "path", "storage_options", "url")

    # A request costs more than reading this much that nobody asked for.
    gap_nbytes = 4 << 20

    def __init__(
        self, url: str, storage_options: Mapping[str, Any] | None = None, fingerprint: Fingerprint | None = None
    ) -> None:
        import fsspec

        self.url = url
        self.storage_options = dict(storage_options or {})
        try:
            self._fs, self.path = fsspec.core.url_to_fs(url, **self.storage_options)
        except ValueError as error:
            raise OptionError(message("opening", url, expected="a URL that fsspec knows", got=error)) from None
        # A listing that the file system has kept from before would hide a change.
        self._fs.invalidate_cache(self.path)
        try:
            info = self._fs.info(self.path)
        except FileNotFoundError:
            raise MissingFileError(message("opening", url, expected="a file", got="nothing of that name")) from None
        size = info.get("size")
        if info.get("type") == "directory" or size is None:
            raise MissingFileError(message("opening", url, expected="a file of known size", got=info.get("type")))
        key = int(hashlib.sha256(str(self._fs.ukey(self.path)).encode()).hexdigest()[:15], 16)
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
        data: bytes = self._fs.cat_file(self.path, start=offset, end=offset + nbytes)
        if len(data) != nbytes:
            raise TruncatedFileError(
                message(f"reading at offset {offset} of", self.url, expected=f"{nbytes} bytes", got=len(data))
            )
        return data

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
