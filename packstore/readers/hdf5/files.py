"""An HDF5 file opened through h5py; in: a source, out: a session with its objects, addresses and heaps.

h5py reads through a file object of ours, never through libhdf5's own driver. Such a file takes no lock and shares
nothing with files that the caller has open in the same process (libhdf5 refuses a second open whose locking or access
mode differs), and remote files open the same way. Each read is a ``pread``, so a fork does not share a file position.

No lock of ours is held around h5py calls: h5py serialises them itself and takes its lock across forks. A second lock
would deadlock with a caller who reads from inside one of h5py's callbacks.
"""

from __future__ import annotations

import functools
import os
from typing import Any

import h5py
from h5py import h5f, h5fd, h5g, h5p

from packstore.errors import FormatError, ReadError, StaleFileError, TruncatedFileError, message
from packstore.readers.hdf5.format.collection import SIGNATURE
from packstore.readers.hdf5.format.header import chunk_node_half, end_of_file, shares_messages
from packstore.readers.hdf5.format.heaps import Heaps
from packstore.readers.hdf5.format.place import Place
from packstore.readers.hdf5.guard import check_headers, check_heap
from packstore.source import FileSource, Source, refusal
from packstore.source.local import open_file

__all__ = ["H5_ERRORS", "Session", "object_info"]

# h5py raises these for damaged or unusual objects, whatever libhdf5's class of the error is. MemoryError and
# OverflowError come from declared sizes that no machine holds, SystemError from a callback that failed in C.
H5_ERRORS = (
    RuntimeError,
    OSError,
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    NotImplementedError,
    OverflowError,
    MemoryError,
    SystemError,
)


CACHE_NBYTES = 4 << 20


class _Bytes:
    """The read-only file object that h5py's file-object driver wants, over ``pread``."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._at = 0
        self._nbytes = source.nbytes
        self._fd = -1
        # Any place in the file; the superblock tells the widths of numbers once libhdf5 has read it.
        self.place = Place(source)
        # Whether messages of headers may be shared, as far as is known.
        self.shares = True
        if isinstance(source, FileSource):
            # A descriptor of its own: evicting the source's handle must not close it under libhdf5.
            source.check()
            self._fd = open_file(source.path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            if not source.fingerprint.is_of(os.fstat(self._fd)):
                self.close()
                raise StaleFileError(
                    message("opening", source.name, expected="the file that was opened before", got="a changed one")
                )

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close()

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._nbytes)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        if self._at >= self._nbytes and len(view):
            got = f"an address of {self._at}"
            raise TruncatedFileError(message("reading", self._source.name, expected=f"{self._nbytes} bytes", got=got))
        n = min(len(view), max(self._nbytes - self._at, 0))
        self._read_at(self._at, view[:n])
        # libhdf5 starts to read a global heap at its first byte. A heap further on in these bytes was only read ahead.
        if view[: len(SIGNATURE)] == SIGNATURE:
            self._check_heap(self._at)
        check_headers(bytes(view[:n]), self._at, self.place, shares=self.shares)
        self._at += n
        # libhdf5 reads ahead past the end of a short file, and takes the bytes there as zeros.
        view[n:] = bytes(len(view) - n)
        return len(view)

    def _read_at(self, offset: int, view: memoryview) -> None:
        n = len(view)
        if self._fd < 0:
            view[:] = bytes(self._source.pread(offset, n))
            return
        done = 0
        while done < n:
            try:
                got = os.preadv(self._fd, [view[done:]], offset + done)
            except OSError as error:
                raise refusal(error, self._source.name, "reading") from None
            if got == 0:
                raise TruncatedFileError(message("reading", self._source.name, expected=f"{n} bytes", got=done))
            done += got

    def _check_heap(self, offset: int) -> None:
        def read(at: int, nbytes: int) -> bytes:
            buffer = bytearray(max(min(nbytes, self._nbytes - at), 0))
            self._read_at(at, memoryview(buffer))
            return bytes(buffer)

        check_heap(read, offset, self.place.length_nbytes, self._source.name)

    def read(self, size: int = -1) -> bytes:
        n = max(self._nbytes - self._at, 0) if size < 0 else size
        buffer = bytearray(n)
        self.readinto(buffer)
        return bytes(buffer)

    def write(self, data: Any) -> int:
        raise PermissionError("read-only")

    def truncate(self, size: int | None = None) -> int:
        raise PermissionError("read-only")

    def flush(self) -> None:
        return None


def _open(file: _Bytes) -> h5py.h5f.FileID:
    """Open as ``h5py.File(file, "r")`` does, with a smaller cache in libhdf5: an index is read once, front to back."""
    fapl = h5p.create(h5p.FILE_ACCESS)
    fapl.set_fclose_degree(h5f.CLOSE_STRONG)
    fapl.set_fileobj_driver(h5fd.fileobj_driver, file)
    cache = fapl.get_mdc_config()
    cache.max_size = CACHE_NBYTES
    cache.min_size = min(cache.min_size, CACHE_NBYTES)
    cache.initial_size = min(cache.initial_size, CACHE_NBYTES)
    fapl.set_mdc_config(cache)
    return h5f.open(repr(file).encode("ascii", "replace"), h5f.ACC_RDONLY, fapl=fapl)


def object_info(oid: Any) -> tuple[int, int]:
    """The address of the header of an object that is open, and the number of hard links to it.

    Notes
    -----
    Not by ``h5o.get_info``, for which libhdf5 measures the object's indexes: it takes twice the time, and where an
    index does not open it closes one that never was.
    """
    found = h5g.get_objinfo(oid)
    low, high = found.objno
    # Each holds a C long, which has 4 bytes on Windows.
    return int(low) | int(high) << 32, int(found.nlink)


class Session:
    """One HDF5 file, open for as long as it is indexed or read from.

    Raises
    ------
    FormatError
        libhdf5 does not open it.
    StaleFileError
        It is not the file that the source was made for.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        # The number of callers that use its objects right now: a session in use is not closed to make room.
        self.users = 0
        self._bytes = _Bytes(source)
        try:
            self.file = h5py.File(_open(self._bytes))
            fcpl = self.file.id.get_create_plist()
            offset_nbytes, length_nbytes = (int(n) for n in fcpl.get_sizes())
            self._superblock = int(fcpl.get_version()[0])
            # The address 0 of this file: all addresses count from the end of the user block.
            self.origin = Place(source, 0, int(fcpl.get_userblock()), offset_nbytes, length_nbytes)
            self._bytes.place = self.origin
            self._bytes.shares = shares_messages(self.origin, self._superblock)
            self.heaps = Heaps(self.origin)
        except H5_ERRORS as why:
            self._bytes.close()
            if isinstance(why, (StaleFileError, ReadError)):
                raise
            raise FormatError(
                message(
                    "opening",
                    source.name,
                    expected="an HDF5 file",
                    got=f"libhdf5's refusal: {why}",
                    hint="The file may be cut short, damaged, or open for writing",
                )
            ) from None

    def close(self) -> None:
        """Close the file; the identifiers of its objects become invalid.

        What h5py has of the file goes at once. Left to the garbage collector, which may run in any thread, it would
        wait there for h5py's lock, which a thread that forks holds while it waits for the locks of others.
        """
        file = self.__dict__.pop("file", None)
        try:
            if file is not None:
                file.close()
        except H5_ERRORS as why:
            what, expected = "closing", "an index that libhdf5 lets go of"
            raise FormatError(message(what, self.source.name, expected=expected, got=why)) from None
        finally:
            self._bytes.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def place(self, address: int) -> Place:
        """An address of this file."""
        return self.origin.at(address)

    @functools.cached_property
    def half_node(self) -> int:
        """Half of the entries that a node of a chunk index (a version 1 B-tree) has room for."""
        return chunk_node_half(self.origin, self._superblock)

    @functools.cached_property
    def end(self) -> int:
        """The byte behind the last one that belongs to the file, as its superblock has it: libhdf5 reads none there."""
        return min(end_of_file(self.origin, self._superblock), self.source.nbytes)

    def header_of(self, oid: Any) -> Place:
        """The header of a group, dataset or named type that h5py has open."""
        return self.place(object_info(oid)[0])

    @property
    def directory(self) -> str | None:
        """The folder where relative names of other files start; None for a file that is remote or in memory."""
        return os.path.dirname(self.source.path) if isinstance(self.source, FileSource) else None
