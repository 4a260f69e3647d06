"""The file under a bit map: opened, sized, mapped, and checked before every access."""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import stat
import time
from typing import Literal, get_args

import numpy as np

from packstore.core.threads import ForkSafeLock
from packstore.core.typing import Bytes
from packstore.errors import (
    ClosedError,
    MissingFileError,
    OptionError,
    ReadOnlyError,
    ShapeError,
    TruncatedFileError,
    WriteError,
    message,
)
from packstore.source import refusal

__all__ = ["MODES", "Mapping", "Mode", "check_size", "create", "file_size"]

Mode = Literal["r", "r+", "w+", "c"]
MODES: tuple[Mode, ...] = get_args(Mode)
_ACCESS: dict[Mode, int] = {
    "r": mmap.ACCESS_READ,
    "r+": mmap.ACCESS_WRITE,
    "w+": mmap.ACCESS_WRITE,
    "c": mmap.ACCESS_COPY,
}


def file_size(path: str) -> int:
    """Size of the regular file `path`."""
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        hint = 'Check the path, or create the file with mode="w+" and a shape'
        raise MissingFileError(message("opening", path, expected="a file", got="nothing there", hint=hint)) from error
    except OSError as error:
        raise refusal(error, path) from error
    if not stat.S_ISREG(status.st_mode):
        raise OptionError(message("opening", path, expected="a regular file", got="something else"))
    return status.st_size


def create(path: str, nbytes: int) -> None:
    """Make `path` a file of `nbytes` zeros, with its blocks reserved.

    Notes
    -----
    Storing through a map onto a full disk kills the process (SIGBUS), so the space is claimed here, where it can fail;
    if it does, a file that was there stays as it was.
    """
    existed = os.path.exists(path)
    if existed:
        file_size(path)
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
    except (FileNotFoundError, NotADirectoryError) as error:
        text = message("creating", path, expected="a folder to put it in", got=error.strerror)
        raise MissingFileError(text) from error
    except OSError as error:
        raise _write_error(path, nbytes, error) from error
    try:
        old = os.fstat(fd).st_size
        try:
            _reserve(fd, nbytes)
        except OSError as error:
            os.ftruncate(fd, old)
            if not existed:
                os.unlink(os.path.realpath(path))
            raise _write_error(path, nbytes, error) from error
        if old:
            # There is room, so the old bits may go; the blocks just given back are claimed again.
            os.ftruncate(fd, 0)
            _reserve(fd, nbytes)
    finally:
        os.close(fd)


def _reserve(fd: int, nbytes: int) -> None:
    if nbytes and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(fd, 0, nbytes)
        except OSError as error:
            # Not every file system can; a sparse file is the next best.
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise
    os.ftruncate(fd, nbytes)


def _write_error(path: str, nbytes: int, error: OSError) -> WriteError:
    text = message("creating", path, expected=f"room for {nbytes} bytes", got=error.strerror or str(error))
    wrapped = WriteError(text)
    wrapped.errno = error.errno
    return wrapped


class Mapping:
    """The mapped bytes ``offset … offset + nbytes`` of a file.

    Parameters
    ----------
    path, mode
        The file and how to map it; ``"w+"`` maps a file that `create` has made.
    offset
        Where the packed bytes begin.
    packed_shape
        Shape of the bytes.

    Notes
    -----
    `lock` makes read-modify-write of a byte atomic among the threads that share this object.
    """

    def __init__(self, path: str, mode: Mode, offset: int, packed_shape: tuple[int, ...], nbytes: int) -> None:
        self.path = path
        self.mode = mode
        self.lock = ForkSafeLock()
        self.generation = 0
        self._dirty = False
        self._end = offset + nbytes
        self._map: mmap.mmap | None = None
        self._bytes: Bytes | None = None
        flags = (os.O_RDWR if mode in ("r+", "w+") else os.O_RDONLY) | getattr(os, "O_CLOEXEC", 0)
        try:
            fd = os.open(path, flags | getattr(os, "O_BINARY", 0))
        except FileNotFoundError as error:
            raise MissingFileError(message("opening", path, expected="a file", got="nothing there")) from error
        except PermissionError as error:
            if mode == "r":
                raise refusal(error, path) from error
            hint = 'Open it with mode="r", or "c" for changes in memory only'
            raise ReadOnlyError(
                message("opening", path, expected=f"permission for mode {mode!r}", got=error.strerror, hint=hint)
            ) from error
        try:
            self._inode = os.fstat(fd).st_ino
            if nbytes == 0:
                self._bytes = np.zeros(packed_shape, np.uint8)
                return
            if os.fstat(fd).st_size < self._end:
                raise self._truncated(os.fstat(fd).st_size)
            self._map = mmap.mmap(fd, self._end, access=_ACCESS[mode])
        finally:
            os.close(fd)
        self._bytes = np.frombuffer(self._map, np.uint8, nbytes, offset).reshape(packed_shape)

    def read(self) -> Bytes:
        """The bytes, for reading now; checked to be there, as reading past the end of a file kills the process."""
        data = self._bytes
        if data is None:
            raise ClosedError(message("using", self.path, expected="an open BitMemmap", got="a closed one"))
        if self._map is not None:
            size = self._map.size()
            if size < self._end:
                raise self._truncated(size)
        return data

    def write(self) -> Bytes:
        """The bytes, for changing now."""
        data = self.read()
        if self.mode == "r":
            hint = 'Open it with mode="r+", or "c" for changes in memory only'
            raise ReadOnlyError(message("writing to", self.path, expected="a writable mode", got="mode 'r'", hint=hint))
        self._dirty = True
        self.generation += 1
        return data

    def flush(self) -> None:
        """Write changed pages to the file and let its modification time show it."""
        self.read()
        if self._map is None or self.mode not in ("r+", "w+"):
            return
        self._map.flush()
        if self._dirty:
            self._dirty = False
            # Some file systems (tmpfs) do not note a change made through a map, and a cache would trust the old time.
            try:
                status = os.stat(self.path)
            except FileNotFoundError:
                # Unlinked or renamed since: the map is still good, and there is no name to date.
                return
            if status.st_ino != self._inode:
                return
            try:
                os.utime(self.path, ns=(status.st_atime_ns, time.time_ns()))
            except PermissionError:
                # Only the owner may set a time; who may write may still set it to now.
                os.utime(self.path)

    @property
    def closed(self) -> bool:
        return self._bytes is None

    def close(self) -> None:
        """Flush and unmap; once is enough, again does no harm."""
        if self._bytes is None:
            return
        try:
            self.flush()
        finally:
            self._bytes = None
            mapped, self._map = self._map, None
            if mapped is not None:
                # If another thread is still reading, the map goes when that read ends.
                with contextlib.suppress(BufferError):
                    mapped.close()

    def _truncated(self, size: int) -> TruncatedFileError:
        hint = "Something cut the file after it was opened; restore it and open it again"
        return TruncatedFileError(
            message("reading", self.path, expected=f"{self._end} bytes", got=f"{size} bytes", hint=hint)
        )


def check_size(
    path: str, size: int, offset: int, nbytes: int, shape: tuple[int, ...], elements: int, axis: object
) -> None:
    """Refuse a file whose size is not exactly that of the packed array."""
    if size == offset + nbytes:
        return
    expected = f"{offset + nbytes} bytes (offset {offset} + {nbytes} for shape {shape} packed along axis {axis})"
    hint = "Check shape, axis and offset"
    if size - offset == elements:
        hint = "That is one byte per element: np.memmap(path, bool) reads it"
    raise ShapeError(message("opening", path, expected=expected, got=f"{size} bytes", hint=hint))
