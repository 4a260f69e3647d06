"""From a manifest to elements: the one place where stored bytes become arrays.

`read_box` serves the direct path, `read_chunk` the zarr store; both decode with the same functions. A box is one slice
an axis with ``0 <= start <= stop <= n`` and ``step >= 1``.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from packstore.core.boxes import Box
from packstore.storage import ChunkedManifest, ContiguousManifest, ManifestArray, PackedManifest
from packstore.storage.chunked_read import read_chunked, read_stored_chunk
from packstore.storage.contiguous_read import contiguous_view, read_contiguous
from packstore.storage.packed_read import packed_bytes, read_packed

__all__ = ["contiguous_view", "packed_bytes", "read_box", "read_chunk"]

Array = npt.NDArray[Any]


def read_box(array: ManifestArray, box: Box) -> Array:
    """Read the elements of `box`.

    Parameters
    ----------
    array
        What to read.
    box
        One normalised slice an axis.

    Returns
    -------
    ndarray
        Shape as `box_shape` says, dtype of the array. Where nothing is to decode it is a read-only view of the mapped
        file; otherwise a new array.

    Raises
    ------
    StaleFileError
        The file changed since it was opened.
    TruncatedFileError, CorruptDataError, ChecksumError
        Stored bytes are missing or do not decode.

    Notes
    -----
    Thread safe. Costs the bytes of the chunks (or of the rows, where nothing is compressed) that the box touches.
    """
    storage = array.storage
    if isinstance(storage, ContiguousManifest):
        return read_contiguous(array, storage, box)
    if isinstance(storage, PackedManifest):
        return read_packed(array, storage, box)
    if isinstance(storage, ChunkedManifest):
        return read_chunked(array, storage, box)
    return storage.reader.read(box)


def read_chunk(array: ManifestArray, coords: tuple[int, ...]) -> Array | None:
    """Read chunk `coords` of the array's grid, whole: tail chunks are padded with the fill value.

    Returns
    -------
    ndarray or None
        Shape ``array.chunk_shape``, in C order, or in F order where the data are; None for a chunk that was never
        written.
    """
    storage = array.storage
    if isinstance(storage, ChunkedManifest):
        return read_stored_chunk(array, storage, coords)
    box = tuple(
        slice(i * c, min((i + 1) * c, n)) for i, c, n in zip(coords, array.chunk_shape, array.shape, strict=True)
    )
    box = tuple(slice(s.start, s.stop, 1) for s in box)
    part = read_box(array, box)
    if part.shape == array.chunk_shape:
        return part
    order: Literal["C", "F"] = "F" if isinstance(storage, ContiguousManifest) and storage.order == "F" else "C"
    whole: Array = np.zeros(array.chunk_shape, array.dtype, order=order)
    if array.fill_value is not None and not isinstance(storage, ContiguousManifest):
        whole[...] = array.fill_value
    whole[tuple(slice(0, n) for n in part.shape)] = part
    return whole
