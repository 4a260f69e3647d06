"""HDF5's superblock, found without importing h5py; in: a source, out: the byte where it starts, or None."""

from __future__ import annotations

from packstore.source import DirectorySource, RemoteFolder, RemoteSource, Source

__all__ = ["MAGIC", "find_magic"]

MAGIC = b"\x89HDF\r\n\x1a\n"
SUFFIXES = (".h5", ".hdf5", ".hdf", ".he5", ".nc", ".nc4", ".mat", ".nxs")
FAR_NBYTES = 256 << 10


def find_magic(source: Source, head: bytes = b"") -> int | None:
    """Where the superblock starts: 0, or after a user block of 512, 1024, 2048, … bytes; None where there is none."""
    if isinstance(source, (DirectorySource, RemoteFolder)):
        return None
    at = 0
    most = source.nbytes
    if isinstance(source, RemoteSource) and not source.name.lower().endswith(SUFFIXES):
        # Further on each look is a request, for a file that most likely is another one.
        most = min(most, FAR_NBYTES)
    while at + len(MAGIC) <= most:
        found = head[at : at + len(MAGIC)]
        if len(found) < len(MAGIC):
            found = bytes(source.pread(at, len(MAGIC)))
        if found == MAGIC:
            return at
        at = at * 2 or 512
    return None
