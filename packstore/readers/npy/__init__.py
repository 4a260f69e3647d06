"""A ``.npy`` file in, its one array out; the elements stay where they lie in the file."""

from __future__ import annotations

from typing import Any

from packstore.readers.npy.header import MAGIC, contiguous_array, read_header
from packstore.source import Source
from packstore.storage import ManifestGroup

__all__ = ["read", "sniff"]


def sniff(source: Source, head: bytes) -> bool:
    """Whether the file starts with the magic string of ``.npy``."""
    return head.startswith(MAGIC)


def read(source: Source, *, component: str | None, chunks: Any) -> ManifestGroup:
    """Describe the one array of a ``.npy`` file (versions 1.0 to 3.0).

    Parameters
    ----------
    source
        The file.
    component
        Not used: the file is one array.
    chunks
        How to cut it for zarr; None for pieces of about 8 MB along the slowest axis.

    Returns
    -------
    ManifestGroup
        The array at "", or its reason in `unsupported` where its elements are pickled objects.

    Raises
    ------
    FormatError
        The header makes no sense.
    TruncatedFileError
        The file ends before the header or the data do.

    Notes
    -----
    Reads the header only, whatever the file's size. Bytes after the data are ignored, as by ``np.load``.
    """
    header = read_header(source, source.name)
    if header.unsupported is not None:
        return ManifestGroup({}, unsupported={"": header.unsupported})
    return ManifestGroup({"": contiguous_array(header, source, 0, source.nbytes, chunks, source.name)})
