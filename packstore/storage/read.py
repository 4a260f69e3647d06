"""Reading an array by its storage: boxes for the direct path, whole chunks for the zarr store."""

from __future__ import annotations

import math
import sys

from packstore.core.boxes import Box, box_shape
from packstore.core.typing import Array
from packstore.errors import MemoryLimitError, PackstoreError, message
from packstore.storage.array import ManifestArray

__all__ = ["read_box", "read_chunk"]


def read_box(array: ManifestArray, box: Box) -> Array:
    """Read the elements of `box`.

    Parameters
    ----------
    array
        What to read.
    box
        One slice an axis with ``0 <= start <= stop <= n`` and ``step >= 1``.

    Returns
    -------
    ndarray
        Shape as `packstore.core.boxes.box_shape` says, dtype of the array. Where nothing is to decode it is a read-only
        view of the mapped file; otherwise a new array.

    Raises
    ------
    StaleFileError
        The file changed since it was opened.
    TruncatedFileError, CorruptDataError, ChecksumError
        Stored bytes are missing or do not decode.
    MemoryLimitError
        There is no memory for the result.

    Notes
    -----
    Thread safe. Costs the bytes of the chunks (or of the rows, where nothing is compressed) that the box touches.
    """
    try:
        return array.storage.read(array, box)
    except (MemoryError, ValueError) as error:
        # Numpy has a ValueError for more bytes than an address can count.
        nbytes = math.prod(box_shape(box)) * array.dtype.itemsize
        if isinstance(error, PackstoreError) or (isinstance(error, ValueError) and nbytes <= sys.maxsize):
            raise
        expected = f"memory for {nbytes} bytes, and for the chunks that they lie in"
        raise MemoryLimitError(message("reading", expected=expected, got=error, hint="Read a smaller part")) from None


def read_chunk(array: ManifestArray, coords: tuple[int, ...]) -> Array | None:
    """Read chunk `coords` of the array's grid, whole: tail chunks are padded with the fill value.

    Returns
    -------
    ndarray or None
        Shape ``array.chunk_shape``, in C order, or in F order where the data are; None for a chunk that was never
        written.
    """
    return array.storage.read_chunk(array, coords)
