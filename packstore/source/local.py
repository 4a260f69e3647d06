"""A local file, read by mmap or ``pread``."""

from __future__ import annotations

import errno
import mmap
import os
import stat as stat_module
import sys
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from packstore.config import settled_seconds
from packstore.core.threads import ForkSafeLock
from packstore.core.typing import Bytes
from packstore.errors import MissingFileError, StaleFileError, TruncatedFileError, message
from packstore.source.base import Fingerprint, RangeReads, is_at
from packstore.source.refusals import refusal

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

__all__ = ["MAX_OPEN_FILES", "MAX_VIEWS", "FileSource", "Handle", "close_files", "most_open", "open_file"]

T = TypeVar("T")

MAX_OPEN_FILES = 128
# Views kept for one file; beyond it (the same raw file opened at ever other offsets) they are made anew.
MAX_VIEWS = 1024


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
        self.array: Bytes | None = None
        # Shaped views of the mapping, kept by their users under a key of their own; they go when the handle goes.
        self.views: dict[object, npt.NDArray[Any]] = {}
        self.fd = open_file(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        self._descriptor = _Descriptor(self.fd)

    def keep_view(self, key: object, view: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Remember a shaped view of the mapping under `key`."""
        if len(self.views) >= MAX_VIEWS:
            self.views = {}
        self.views[key] = view
        return view


# Reference counting closes a handle, so evicting one never closes it under a reader in another thread.
_handles: OrderedDict[Fingerprint, Handle] = OrderedDict()
_lock = ForkSafeLock()


def most_open() -> int:
    """Files that are kept open: few enough to leave room in the process's limit, as a mapping holds another descriptor.

    Examples
    --------
    >>> 1 <= most_open() <= MAX_OPEN_FILES
    True
    """
    if resource is None:
        return MAX_OPEN_FILES
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MAX_OPEN_FILES if soft < 0 else max(min(MAX_OPEN_FILES, soft // 8), 1)


def with_room(call: Callable[[], T]) -> T:
    """What `call` gives; where the process has too many open files, all that are only kept are closed first."""
    try:
        return call()
    except OSError as error:
        if error.errno not in (errno.EMFILE, errno.ENFILE):
            raise
    with _lock:
        _handles.clear()
    return call()


def open_file(path: str, flags: int) -> int:
    """`os.open`, with room for one more."""
    return with_room(lambda: os.open(path, flags))


def close_files(path: str) -> None:
    """Close the file at `path`, or all files below the folder there; whoever reads one again opens it again.

    What is a view of a mapping keeps that mapping.
    """
    with _lock:
        for fingerprint in [f for f in _handles if is_at(f.path, path)]:
            del _handles[fingerprint]


class FileSource(RangeReads):
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
    AccessError, ReadError
        The operating system refuses to look at it, to open it or to read it.
    StaleFileError
        On any access after the file's size or modification time changed (or its inode, with ``local.check_inode``).
    TruncatedFileError
        A read past the end.

    Notes
    -----
    Thread safe and fork safe. At most 128 files are kept open by all sources of a process, an eighth of its limit where
    that is less; views keep their own mapping alive. Every access costs one ``fstat`` (about 1 µs), which is what turns
    a shrunken file into an error instead of a SIGBUS. Another file of the same size and modification time in its place
    counts as the same.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "x.bin"
    >>> _ = path.write_bytes(b"abcdef")
    >>> FileSource(path).pread(2, 3)
    b'cde'
    """

    __slots__ = ("_handle", "_settled", "fingerprint", "path")

    def __init__(self, path: str | os.PathLike[str], fingerprint: Fingerprint | None = None) -> None:
        if fingerprint is None:
            real = os.path.realpath(os.fspath(path))
            try:
                stat = os.stat(real)
            except OSError as error:
                raise refusal(error, path) from None
            if not stat_module.S_ISREG(stat.st_mode):
                # Opening a pipe would wait for its writer; a device has no size to check reads against.
                kind = "a directory" if stat_module.S_ISDIR(stat.st_mode) else "a pipe, socket or device"
                raise MissingFileError(message("opening", path, expected="a regular file", got=kind))
            fingerprint = Fingerprint.of(real, stat)
        self.path = fingerprint.path
        self.fingerprint = fingerprint
        # The handle while it is open: found without hashing the fingerprint, and not kept open by this reference.
        self._handle: Callable[[], Handle | None] = _no_handle
        self._settled = False

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
        _, nbytes, mtime_ns, inode, _ = self.fingerprint
        if stat.st_size != nbytes or stat.st_mtime_ns != mtime_ns or (inode and stat.st_ino != inode):
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
            now = os.stat(self.path)
        except OSError:
            self._forget()
            raise self._gone() from None
        if not self.fingerprint.is_of(now):
            self._forget()
            raise self._stale(Fingerprint.of(self.path, now))

    def _open(self) -> Handle:
        with _lock:
            handle = _handles.get(self.fingerprint)
        if handle is None:
            try:
                handle = Handle(self.path)
            except (FileNotFoundError, NotADirectoryError):
                raise self._gone() from None
            except OSError as error:
                raise refusal(error, self.path) from None
            with _lock:
                handle = _handles.setdefault(self.fingerprint, handle)
                # The oldest goes, but one that was used since gets a second round: about least recently used, and
                # a use costs no lock.
                while len(_handles) > most_open():
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
            message(
                "reading",
                self.path,
                expected="the file that was opened",
                got="nothing of that name",
                hint="It was moved or deleted, or lies where this process does not see it: put it where all workers do",
            )
        )

    def _stale(self, now: Fingerprint) -> StaleFileError:
        want = self.fingerprint
        return StaleFileError(
            message(
                "reading",
                self.path,
                expected=f"the file that was opened ({want.nbytes} bytes, mtime {want.mtime_ns} ns{_inode(want)})",
                got=f"{now.nbytes} bytes, mtime {now.mtime_ns} ns{_inode(now)}",
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
        try:
            data = os.pread(handle.fd, nbytes, offset)
        except OSError as error:
            raise refusal(error, self.path, "reading") from None
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

    def view(self) -> Bytes:
        """The whole file as a read-only uint8 array over a shared mapping; no copy, no read."""
        handle = self.check()
        array = handle.array
        if array is None:
            if self.fingerprint.nbytes == 0:
                array = np.empty(0, np.uint8)
                array.flags.writeable = False
            else:
                nbytes = self.fingerprint.nbytes
                try:
                    mapped = with_room(lambda: mmap.mmap(handle.fd, nbytes, access=mmap.ACCESS_READ, **_MAP_OPTIONS))
                except OSError as error:
                    raise refusal(error, self.path, "mapping") from None
                array = np.frombuffer(mapped, np.uint8)
            handle.array = array
        return array

    def settled_view(self) -> Bytes | None:
        """`view`, or None where the file changed so lately that its writer may still cut it short.

        Whoever reads a mapping behind the end of its file ends the process: no check before the read can keep the
        writer from cutting it a moment later.
        """
        if not self._settled:
            since_ns = time.time_ns() - self.fingerprint.mtime_ns
            self._settled = since_ns >= settled_seconds() * 1e9
            if not self._settled:
                self.check()
                return None
        return self.view()

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


def _inode(fingerprint: Fingerprint) -> str:
    return f", inode {fingerprint.inode}" if fingerprint.inode else ""


def _reopen(fingerprint: Fingerprint) -> FileSource:
    return FileSource(fingerprint.path, fingerprint)
