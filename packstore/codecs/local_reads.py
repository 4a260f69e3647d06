"""Small reads of a file of a `zarr.storage.LocalStore` on the spot: a short cut of `PackBitsCodec` round the store.

A codec has no business with the store's files, and this one has it for one reason. The store hands each read to a
thread, which costs several times what reading and unpacking a small box does. 60 crops of 256 x 256 of a packed mask,
zarr 3.4 on Python 3.12, against the same with numcodecs' ``packbits``:

==================  =============  ================
zarr's pipeline     on the spot    through the store
==================  =============  ================
batched (default)   3.0 x faster   1.9 x faster
fused               1.4 x faster   1.2 x faster
==================  =============  ================

Should zarr's store read small ranges without a thread one day, this module can go.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Any

from zarr.storage import LocalStore, StorePath

from packstore.codecs.bits.frame import WHAT
from packstore.errors import CorruptDataError, message

if TYPE_CHECKING:
    from zarr.core.buffer import Buffer, BufferPrototype

__all__ = ["LocalReads", "check_file", "local_reads"]

_OPEN_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)
_HAS_PREAD = hasattr(os, "pread")


class LocalReads:
    """Reads ranges of files without a thread, as long as that is quick.

    Notes
    -----
    A thread is worth its price where storage is slow: after a read that took `SLOW_S` seconds, the next `PAUSE` reads
    go through the store again.
    """

    SLOW_S = 0.002
    PAUSE = 64

    def __init__(self) -> None:
        self._left_out = 0  # approximate if threads race, which does no harm

    def are_quick(self, byte_getter: Any) -> bool:
        """Whether the next small read of `byte_getter` may be made here."""
        # The exact type: a subclass of the store may do anything. Windows has no pread.
        if type(byte_getter) is not StorePath or type(byte_getter.store) is not LocalStore or not _HAS_PREAD:
            return False
        if self._left_out:
            self._left_out -= 1
            return False
        return True

    def read(
        self, byte_getter: Any, offset: int, nbytes: int, prototype: BufferPrototype, chunk_nbytes: int
    ) -> Buffer | None:
        """Read a range of a file; None where there is no file, as the store has it.

        Raises
        ------
        CorruptDataError
            The file has not `chunk_nbytes` bytes.
        """
        started = time.perf_counter()
        try:
            # A file object would cost three times as much.
            fd = os.open(f"{byte_getter.store.root}/{byte_getter.path}", _OPEN_FLAGS)
            try:
                check_size(os.fstat(fd).st_size, chunk_nbytes)
                data = prototype.buffer.from_bytes(os.pread(fd, nbytes, offset))
            finally:
                os.close(fd)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None
        if time.perf_counter() - started > self.SLOW_S:
            self._left_out = self.PAUSE
        return data


def check_size(found: int, chunk_nbytes: int) -> None:
    """Raise CorruptDataError for a chunk of another size: a part of it would be read as if it were sound."""
    if found != chunk_nbytes:
        hint = "The chunk is truncated, or was written for another shape, data type or bit range"
        raise CorruptDataError(message(WHAT, expected=f"{chunk_nbytes} bytes", got=found, hint=hint))


def check_file(byte_getter: Any, chunk_nbytes: int) -> None:
    """`check_size` of the file that `byte_getter` reads, if it reads one and there is one."""
    if type(byte_getter) is StorePath and type(byte_getter.store) is LocalStore:
        with contextlib.suppress(OSError):  # zarr says what it is
            check_size(os.stat(f"{byte_getter.store.root}/{byte_getter.path}").st_size, chunk_nbytes)


local_reads = LocalReads()
