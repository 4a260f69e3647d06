"""Byte sources: one read-only file, read by mmap or ``pread``, that notices when it changes.

A source pickles as a path and a fingerprint. The process that unpickles it opens the file again on the first read and
raises :class:`~packstore.errors.StaleFileError` where the file is no longer the one that was opened.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import stat as stat_module
import sys
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from packstore.errors import MissingFileError, OptionError, StaleFileError, TruncatedFileError, message

__all__ = [
    "ByteSpace",
    "DirectorySource",
    "FileSource",
    "Fingerprint",
    "InlineBytes",
    "RemoteSource",
    "Segments",
    "Source",
    "open_source",
    "reopen_source",
]

U8 = npt.NDArray[np.uint8]
MAX_OPEN_FILES = 128
# Views kept for one file; beyond it (the same raw file opened at ever other offsets) they are made anew.
MAX_VIEWS = 1024


class Fingerprint(NamedTuple):
    """What identifies one state of one file."""

    path: str
    nbytes: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, path: str, stat: os.stat_result) -> Fingerprint:
        return cls(path, stat.st_size, stat.st_mtime_ns, stat.st_ino)


class ByteSpace(Protocol):
    """Addressable bytes: a file, bytes in memory, or several pieces in a row."""

    @property
    def name(self) -> str:
        """What error messages call it."""

    @property
    def nbytes(self) -> int:
        """Length in bytes."""

    def pread(self, offset: int, nbytes: int) -> bytes | U8:
        """Exactly `nbytes` bytes at `offset`, as bytes or as a read-only uint8 array."""

    def view(self) -> U8 | None:
        """All bytes as a read-only uint8 array without a copy, or None where that is not possible."""


class _Descriptor:
    """Closes a descriptor when it goes."""

    __slots__ = ("fd",)

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __del__(self) -> None:
        os.close(self.fd)


class Handle:
    """An open descriptor and, once asked for, its mapping. Closed when the last user lets go of it."""

    # No __del__ of its own: while one runs, a weak reference still gives out the object, to a thread that would then
    # read from a closed descriptor, or worse, from a file opened since under the same number.
    __slots__ = ("__weakref__", "_descriptor", "array", "fd", "used", "views")

    def __init__(self, path: str) -> None:
        # Set by each use, cleared when the handle is passed over for eviction once.
        self.used = False
        self.array: U8 | None = None
        # Shaped views of the mapping, kept by their users under a key of their own; they go when the handle goes.
        self.views: dict[object, npt.NDArray[Any]] = {}
        self.fd = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        self._descriptor = _Descriptor(self.fd)

    def keep_view(self, key: object, view: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Remember a shaped view of the mapping under `key`."""
        if len(self.views) >= MAX_VIEWS:
            self.views = {}
        self.views[key] = view
        return view


# Reference counting closes a handle, so evicting one never closes it under a reader in another thread.
_handles: OrderedDict[Fingerprint, Handle] = OrderedDict()
_lock = threading.Lock()


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    # A child forked while another thread held the lock must not inherit it locked; the descriptors stay valid.
    os.register_at_fork(after_in_child=_renew_lock)


class FileSource:
    """One local file, read-only.

    Parameters
    ----------
    path
        The file; symbolic links are resolved once, here.
    fingerprint
        The state the file must be in; taken now if None.

    Raises
    ------
    MissingFileError
        No such file, or it is a directory.
    StaleFileError
        On any access after the file's size, modification time or inode changed.
    TruncatedFileError
        A read past the end.

    Notes
    -----
    Thread safe and fork safe. At most 128 files are kept open by all sources of a process; views keep their own
    mapping alive. Every access costs one ``fstat`` (about 1 µs), which is what turns a shrunken file into an error
    instead of a SIGBUS.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "x.bin"
    >>> _ = path.write_bytes(b"abcdef")
    >>> FileSource(path).pread(2, 3)
    b'cde'
    """

    __slots__ = ("_handle", "fingerprint", "path")

    def __init__(self, path: str | os.PathLike[str], fingerprint: Fingerprint | None = None) -> None:
        if fingerprint is None:
            real = os.path.realpath(os.fspath(path))
            try:
                stat = os.stat(real)
            except (FileNotFoundError, NotADirectoryError):
                raise MissingFileError(
                    message("opening", path, expected="a file", got="nothing of that name")
                ) from None
            if not stat_module.S_ISREG(stat.st_mode):
                # Opening a pipe would wait for its writer; a device has no size to check reads against.
                kind = "a directory" if stat_module.S_ISDIR(stat.st_mode) else "a pipe, socket or device"
                raise MissingFileError(message("opening", path, expected="a regular file", got=kind))
            fingerprint = Fingerprint.of(real, stat)
        self.path = fingerprint.path
        self.fingerprint = fingerprint
        # The handle while it is open: found without hashing the fingerprint, and not kept open by this reference.
        self._handle: Callable[[], Handle | None] = _no_handle

    @property
    def name(self) -> str:
        return self.path

    @property
    def nbytes(self) -> int:
        return self.fingerprint.nbytes

    def check(self) -> Handle:
        """Return the open handle, or raise StaleFileError if the file is no longer the one that was opened."""
        handle = self._handle()
        if handle is None:
            handle = self._open()
        stat = os.fstat(handle.fd)
        _, nbytes, mtime_ns, inode = self.fingerprint
        if stat.st_size != nbytes or stat.st_mtime_ns != mtime_ns or stat.st_ino != inode:
            self._forget()
            raise self._stale(Fingerprint.of(self.path, stat))
        if stat.st_nlink == 0:
            self._check_name()
        handle.used = True
        return handle

    def _check_name(self) -> None:
        """The open file has no name any more: an error, unless its file system (some FUSE ones) just counts no links.

        The old bytes could still be read here, but not by another process, nor once the handle was evicted.
        """
        try:
            now = Fingerprint.of(self.path, os.stat(self.path))
        except OSError:
            now = None
        if now != self.fingerprint:
            self._forget()
            raise self._gone() if now is None else self._stale(now)

    def _open(self) -> Handle:
        with _lock:
            handle = _handles.get(self.fingerprint)
        if handle is None:
            try:
                handle = Handle(self.path)
            except (FileNotFoundError, NotADirectoryError):
                raise self._gone() from None
            with _lock:
                handle = _handles.setdefault(self.fingerprint, handle)
                # The oldest goes, but one that was used since gets a second round: about least recently used, and
                # a use costs no lock.
                while len(_handles) > MAX_OPEN_FILES:
                    oldest, candidate = next(iter(_handles.items()))
                    if candidate.used:
                        candidate.used = False
                        _handles.move_to_end(oldest)
                    else:
                        del _handles[oldest]
        self._handle = weakref.ref(handle)
        return handle

    def _forget(self) -> None:
        with _lock:
            _handles.pop(self.fingerprint, None)
        self._handle = _no_handle

    def _gone(self) -> StaleFileError:
        return StaleFileError(
            message("reading", self.path, expected="the file that was opened", got="nothing of that name")
        )

    def _stale(self, now: Fingerprint) -> StaleFileError:
        want = self.fingerprint
        return StaleFileError(
            message(
                "reading",
                self.path,
                expected="the file that was opened "
                f"({want.nbytes} bytes, mtime {want.mtime_ns} ns, inode {want.inode})",
                got=f"{now.nbytes} bytes, mtime {now.mtime_ns} ns, inode {now.inode}",
                hint="The file has changed since; open it again",
            )
        )

    def pread(self, offset: int, nbytes: int) -> bytes:
        """Read exactly `nbytes` bytes at `offset`: one copy, no shared file position."""
        if offset < 0 or nbytes < 0 or offset + nbytes > self.fingerprint.nbytes:
            raise TruncatedFileError(
                message(
                    f"reading {nbytes} bytes at offset {offset} of",
                    self.path,
                    expected=f"at least {offset + nbytes} bytes",
                    got=f"{self.fingerprint.nbytes}",
                    hint="The file is cut short or its index is wrong",
                )
            )
        handle = self.check()
        data = os.pread(handle.fd, nbytes, offset)
        if len(data) < nbytes:
            # The kernel returns at most 2 GiB a call.
            parts = [data]
            got = len(data)
            while got < nbytes:
                part = os.pread(handle.fd, nbytes - got, offset + got)
                if not part:
                    self._forget()
                    raise self._stale(Fingerprint.of(self.path, os.fstat(handle.fd)))
                parts.append(part)
                got += len(part)
            data = b"".join(parts)
        return data

    def view(self) -> U8:
        """The whole file as a read-only uint8 array over a shared mapping; no copy, no read."""
        handle = self.check()
        array = handle.array
        if array is None:
            if self.fingerprint.nbytes == 0:
                array = np.empty(0, np.uint8)
                array.flags.writeable = False
            else:
                mapped = mmap.mmap(handle.fd, self.fingerprint.nbytes, access=mmap.ACCESS_READ, **_MAP_OPTIONS)
                array = np.frombuffer(mapped, np.uint8)
            handle.array = array
        return array

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FileSource) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_reopen, (self.fingerprint,))

    def __repr__(self) -> str:
        return f"FileSource({self.path!r}, nbytes={self.nbytes})"


# Python before 3.13 keeps a duplicate of the descriptor with each mapping.
_MAP_OPTIONS: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) and os.name == "posix" else {}


def _no_handle() -> None:
    return None


def _reopen(fingerprint: Fingerprint) -> FileSource:
    return FileSource(fingerprint.path, fingerprint)


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


class DirectorySource:
    """A directory that holds an array or a tree of files; its fingerprint is that of its zarr metadata file.

    Notes
    -----
    Members are read through their own paths. Where no zarr metadata file exists, the names, sizes, modification times
    and inodes of all files below count: about 3 µs a file.

    Raises
    ------
    OptionError
        More than 200,000 files and no zarr metadata.
    """

    __slots__ = ("fingerprint", "path")

    MARKERS = ("zarr.json", ".zarray", ".zgroup", ".zmetadata")
    MAX_FILES = 200_000

    def __init__(self, path: str | os.PathLike[str], fingerprint: Fingerprint | None = None) -> None:
        self.path = os.path.realpath(os.fspath(path)) if fingerprint is None else fingerprint.path
        now = self._now()
        if fingerprint is not None and fingerprint != now:
            raise StaleFileError(
                message("reading", self.path, expected="the directory that was opened", got="a changed one")
            )
        self.fingerprint = now

    def _now(self) -> Fingerprint:
        for name in self.MARKERS:
            try:
                return Fingerprint.of(self.path, os.stat(os.path.join(self.path, name)))
            except OSError:
                continue
        return self._of_members()

    def _of_members(self) -> Fingerprint:
        digest = hashlib.sha256()
        nbytes = count = 0
        for folder, folders, files in os.walk(self.path):
            folders.sort()
            for name in sorted(files):
                path = os.path.join(folder, name)
                try:
                    found = os.stat(path)
                except OSError:  # a dangling link
                    found = os.lstat(path)
                nbytes += found.st_size
                count += 1
                row = (os.path.relpath(path, self.path), found.st_size, found.st_mtime_ns, found.st_ino)
                digest.update(repr(row).encode(errors="surrogateescape"))
            if count > self.MAX_FILES:
                raise OptionError(
                    message("opening", self.path, expected=f"a folder of at most {self.MAX_FILES} files", got="more")
                )
        key = int(digest.hexdigest()[:15], 16)
        return Fingerprint(self.path, nbytes, key, os.stat(self.path).st_ino)

    @property
    def name(self) -> str:
        return self.path

    @property
    def nbytes(self) -> int:
        return 0

    def check(self) -> None:
        """Raise StaleFileError if the metadata changed since."""
        if self._now() != self.fingerprint:
            raise StaleFileError(
                message(
                    "reading",
                    self.path,
                    expected="the directory that was opened",
                    got="changed metadata",
                    hint="Open it again",
                )
            )

    def pread(self, offset: int, nbytes: int) -> bytes:
        """Directories have no bytes of their own."""
        raise TruncatedFileError(message("reading", self.path, expected="a file", got="a directory"))

    def view(self) -> None:
        return None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DirectorySource) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __reduce__(self) -> tuple[Any, ...]:
        return (DirectorySource, (self.path, self.fingerprint))

    def __repr__(self) -> str:
        return f"DirectorySource({self.path!r})"


class InlineBytes:
    """Bytes held in memory (compact datasets, inflated members)."""

    __slots__ = ("array", "name")

    def __init__(self, data: bytes | U8, name: str) -> None:
        array = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data
        if array.flags.writeable:
            array = array.view()
            array.flags.writeable = False
        self.array = array
        self.name = name

    @property
    def nbytes(self) -> int:
        return int(self.array.nbytes)

    def pread(self, offset: int, nbytes: int) -> U8:
        if offset < 0 or nbytes < 0 or offset + nbytes > self.nbytes:
            raise TruncatedFileError(
                message(f"reading at offset {offset} of", self.name, expected=f"{nbytes} bytes", got=self.nbytes)
            )
        return self.array[offset : offset + nbytes]

    def view(self) -> U8:
        return self.array


class Segments:
    """Pieces of other byte spaces, one after the other (external raw storage). A piece of None reads as zeros.

    Parameters
    ----------
    pieces
        ``(space, offset, nbytes)`` triples; a piece may be shorter on disk than `nbytes`: the rest reads as zeros,
        as HDF5 does for external files.
    """

    __slots__ = ("_starts", "name", "nbytes", "pieces")

    def __init__(self, pieces: list[tuple[ByteSpace | None, int, int]], name: str) -> None:
        self.pieces = pieces
        self.name = name
        self._starts = np.concatenate([[0], np.cumsum([n for _, _, n in pieces], dtype=np.int64)])
        self.nbytes = int(self._starts[-1])

    def pread(self, offset: int, nbytes: int) -> U8:
        if offset < 0 or nbytes < 0 or offset + nbytes > self.nbytes:
            raise TruncatedFileError(
                message(f"reading at offset {offset} of", self.name, expected=f"{nbytes} bytes", got=self.nbytes)
            )
        out = np.zeros(nbytes, np.uint8)
        first = int(np.searchsorted(self._starts, offset, side="right")) - 1
        for i in range(first, len(self.pieces)):
            start = int(self._starts[i])
            if start >= offset + nbytes:
                break
            space, base, size = self.pieces[i]
            if space is None:
                continue
            lo = max(offset, start)
            hi = min(offset + nbytes, start + size, start + max(space.nbytes - base, 0))
            if hi > lo:
                out[lo - offset : hi - offset] = np.frombuffer(space.pread(base + lo - start, hi - lo), np.uint8)
        return out

    def view(self) -> None:
        return None


Source = FileSource | RemoteSource | DirectorySource


def reopen_source(fingerprint: Fingerprint, storage_options: Mapping[str, Any] | None = None) -> Source:
    """The source in the state of `fingerprint`: anything else raises StaleFileError, here or on the first read."""
    # Local paths are resolved, so absolute; URLs are not.
    if not os.path.isabs(fingerprint.path):
        return RemoteSource(fingerprint.path, storage_options, fingerprint)
    if os.path.isdir(fingerprint.path):
        return DirectorySource(fingerprint.path, fingerprint)
    return FileSource(fingerprint.path, fingerprint)


def open_source(path: str | os.PathLike[str], storage_options: Mapping[str, Any] | None = None) -> Source:
    """Open a local file, a directory or an fsspec URL for reading.

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
    OptionError
        `storage_options` with a local path, or something that is no path.

    Examples
    --------
    >>> import fsspec
    >>> with fsspec.open("memory://doc.bin", "wb") as f:
    ...     _ = f.write(b"abc")
    >>> open_source("memory://doc.bin").pread(1, 2)
    b'bc'
    """
    try:
        text = os.fspath(path)
    except TypeError:
        raise OptionError(message("opening", repr(path), expected="a path", got=type(path).__name__)) from None
    if isinstance(text, bytes):
        text = os.fsdecode(text)
    if text.startswith("file://"):
        text = text[len("file://") :]
    elif "://" in text or ("::" in text and not os.path.exists(text)):
        return RemoteSource(text, storage_options)
    if storage_options:
        # Their values may be secrets: name the keys only.
        given = ", ".join(sorted(map(str, storage_options)))
        raise OptionError(message("opening", path, expected="no storage_options for a local path", got=given))
    if os.path.isdir(text):
        return DirectorySource(text)
    return FileSource(text)
