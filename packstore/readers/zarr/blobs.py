"""Some bytes of a chunk's file, for the reader of small boxes."""

from __future__ import annotations

import os

from packstore.storage.stored import OPEN_FLAGS

__all__ = ["read_of_chunk"]


def read_of_chunk(path: str, chunk_nbytes: int, offset: int, nbytes: int) -> bytes | None:
    """Some bytes of the file of a chunk; none where there is no file, None where it is not as it should be."""
    try:
        fd = os.open(path, OPEN_FLAGS)
    except (FileNotFoundError, NotADirectoryError):
        return b""
    try:
        if os.fstat(fd).st_size != chunk_nbytes:
            return None
        data = os.pread(fd, nbytes, offset)
    except OSError:
        return None
    finally:
        os.close(fd)
    return data if len(data) == nbytes else None
