"""Location: a file and how to read it go in, its manifest comes out. It pickles as a path, options, a fingerprint."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Protocol

from packstore.core.threads import ForkSafeLock
from packstore.errors import MemoryLimitError, MissingPackageError, OptionError, PackstoreError, message
from packstore.readers import reader_of
from packstore.source import Fingerprint, HeldSource, Source, refusal, reopen_source
from packstore.source.cache import forget
from packstore.source.local import close_files
from packstore.storage import ManifestGroup

__all__ = ["AnyLocation", "Location"]

MAX_CACHED_MANIFESTS = 64


class AnyLocation(Protocol):
    """The members that a file's location and that of several joined files share."""

    @property
    def path(self) -> str:
        """The name that errors show."""

    @property
    def format(self) -> str:
        """A name in `READERS`, or "files"."""

    @property
    def fingerprint(self) -> Fingerprint:
        """The state that was opened."""

    def manifest(self, component: str | None = None) -> ManifestGroup:
        """The arrays that are there; `component` names the only one that is wanted."""

    def close(self) -> None:
        """Let go of all that this process keeps of it; what is read again is opened again."""


@dataclass(frozen=True)
class Location:
    """A file and how to read it; pickles as a path, options and a fingerprint.

    Parameters
    ----------
    path
        As given by the caller.
    format
        A name in `READERS`.
    fingerprint
        The state of the file that was opened.
    """

    # The fingerprint holds the resolved path: one file is one location, however it was spelled.
    path: str = field(compare=False)
    format: str
    fingerprint: Fingerprint
    chunks: Any = None
    # Not shown: they may hold secrets.
    storage_options: tuple[tuple[str, Any], ...] = field(default=(), repr=False)
    options: tuple[tuple[str, Any], ...] = ()
    # A file that is in memory; the fingerprint says what is in it.
    held: HeldSource | None = field(default=None, compare=False, repr=False)

    def __hash__(self) -> int:
        # Options may be unhashable (nested storage options); equality still compares them.
        return hash((self.fingerprint, self.format))

    def __dask_tokenize__(self) -> object:
        return (type(self).__name__, self.fingerprint, self.format, self.options)

    def source(self) -> Source:
        """The source in the state it had: anything else raises StaleFileError, here or on the first read."""
        return self.held or reopen_source(self.fingerprint, dict(self.storage_options))

    def manifest(self, component: str | None = None) -> ManifestGroup:
        """The manifest of the file, or of the one array `component`; a process keeps the last 64."""
        key, kept = (self, component), self._kept
        with _lock:
            if key not in kept:
                key = (self, None)
            found = kept.get(key)
            if found is not None:
                kept.move_to_end(key)
        if found is not None and (found.fresh is None or found.fresh(component)):
            return found
        return self._read_once((self, component), found)

    def known_manifest(self) -> ManifestGroup | None:
        """The manifest of the whole file, if this process has it at hand: nothing is read."""
        with _lock:
            return self._kept.get((self, None))

    @property
    def _kept(self) -> OrderedDict[tuple[Location, str | None], ManifestGroup]:
        """Where manifests are kept: that of a file in memory goes with the file."""
        return _manifests if self.held is None else self.held.kept

    def _read_once(self, key: tuple[Location, str | None], outdated: ManifestGroup | None) -> ManifestGroup:
        """Read the index; threads that ask for the same one at the same time wait for the first of them."""
        with _lock:
            turn = _reading.setdefault(key, ForkSafeLock())
        with turn:
            kept = self._kept
            with _lock:
                found = kept.get(key)
            if found is not None and found is not outdated:
                return found
            try:
                manifest = self._read(key[1])
                with _lock:
                    kept[key] = manifest
                    while len(kept) > MAX_CACHED_MANIFESTS:
                        kept.popitem(last=False)
                return manifest
            finally:
                with _lock:
                    _reading.pop(key, None)

    def close(self) -> None:
        """Let go of all that this process keeps of the file: its index, decoded chunks, the open file.

        Whoever reads it again opens it again; views of its mapping stay as they are.
        """
        with _lock:
            kept = self._kept
            found = [kept.pop(key) for key in [key for key in kept if key[0] == self]]
        arrays = [array for manifest in found for array in manifest.arrays.values()]
        forget(self.fingerprint.path, [owner for array in arrays for owner in array.storage.owners()])
        close_files(self.fingerprint.path)

    def _read(self, component: str | None) -> ManifestGroup:
        source = self.source()
        source.check()
        reader = reader_of(self.format)
        if reader is None:
            expected = f"the format {self.format!r}, which another package registers"
            raise MissingPackageError(message("opening", self.path, expected=expected, got="no such package here"))
        module = reader.load()
        try:
            return module.read(source, component=component, chunks=self.chunks, **dict(self.options))
        except OptionError as error:
            # What is wrong with a length or a dtype is found where no path is known.
            if self.path in str(error) or source.name in str(error):
                raise
            raise type(error)(message("opening", self.path, component or None).rstrip(".") + f": {error}") from None
        except OSError as error:
            if isinstance(error, PackstoreError):
                raise
            raise refusal(error, self.path) from error
        except MemoryError as error:
            if isinstance(error, PackstoreError):
                raise
            expected = "an index that fits into memory"
            text = message("opening", self.path, component or None, expected=expected, got=error)
            raise MemoryLimitError(text) from None


_manifests: OrderedDict[tuple[Location, str | None], ManifestGroup] = OrderedDict()
_reading: dict[tuple[Location, str | None], ForkSafeLock] = {}
_lock = ForkSafeLock()
