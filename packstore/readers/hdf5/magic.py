"""HDF5's superblock, found without importing h5py; in: a source, out: the byte where it starts, or None."""

from __future__ import annotations

from packstore.source import DirectorySource, Source

__all__ = ["MAGIC", "find_magic"]

MAGIC = b"\x89HDF\r\n\x1a\n"


def find_magic(source: Source, head: bytes = b"") -> int | None:
    """Where the superblock starts: 0, or after a user block of 512, 1024, 2048, … bytes; None where there is none."""
    if isinstance(source, DirectorySource):
        return None
    at = 0
    while at + len(MAGIC) <= source.nbytes:
        found = head[at : at + len(MAGIC)]
        if len(found) < len(MAGIC):
            found = bytes(source.pread(at, len(MAGIC)))
        if found == MAGIC:
            return at
        at = at * 2 or 512
    return None
