"""Elements in one run of bytes: npy, stored npz members, raw files, contiguous and compact HDF5 datasets."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from packstore.errors import OptionError, message
from packstore.source import ByteSpace

__all__ = ["DEFAULT_CHUNK_NBYTES", "ContiguousManifest", "Convert", "regroup"]

DEFAULT_CHUNK_NBYTES = 8 << 20

Convert = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]


@dataclass(frozen=True, eq=False)
class ContiguousManifest:
    """All elements in a row: element (i, j, …) lies at ``offset + index·itemsize`` in C or F order.

    Parameters
    ----------
    space
        The bytes.
    offset
        Where the first element starts, in bytes.
    stored
        The element type as it lies there.
    order
        "C": last axis fastest; "F": first axis fastest.
    convert
        Turns an array of `stored` into one of the array's dtype (same shape); None where they are the same.
    """

    space: ByteSpace
    offset: int
    stored: np.dtype[Any]
    order: Literal["C", "F"] = "C"
    convert: Convert | None = None


def regroup(
    shape: Sequence[int],
    itemsize: int,
    order: Literal["C", "F"] = "C",
    chunks: Sequence[int] | int | str | None = None,
    nbytes: int = DEFAULT_CHUNK_NBYTES,
) -> tuple[int, ...]:
    """Chunk shape for data that has no chunks of its own.

    The default cuts along the slowest axis (axis 0 in C order, the last in F order) into pieces of about `nbytes`;
    where one index of it is larger than that, along the next axis, so that each chunk stays one run of bytes.

    Parameters
    ----------
    chunks
        None or "auto" for the default; an int for that many along the slowest axis; a tuple of one length an axis
        (-1 or None: the whole axis).

    Raises
    ------
    OptionError
        `chunks` does not fit `shape`.

    Examples
    --------
    >>> regroup((1000, 1024, 1024), 4)
    (2, 1024, 1024)
    >>> regroup((1000, 1024), 4, chunks=(100, -1))
    (100, 1024)
    """
    shape = tuple(int(n) for n in shape)
    axes = list(range(len(shape))) if order == "C" else list(reversed(range(len(shape))))
    if chunks is None or (isinstance(chunks, str) and chunks == "auto"):
        out = [max(n, 1) for n in shape]
        inner = max(itemsize, 1)
        for n in out:
            inner *= n
        for axis in axes:
            inner //= out[axis]  # bytes of one index along this axis
            out[axis] = min(out[axis], max(nbytes // max(inner, 1), 1))
            if out[axis] > 1 or inner <= nbytes:
                break
        return tuple(out)
    if isinstance(chunks, (int, np.integer)) and not isinstance(chunks, bool):
        if not shape:
            raise OptionError(message("chunking", expected="chunks=() for a 0-d array", got=chunks))
        full: list[int | None] = [None] * len(shape)
        full[axes[0]] = int(chunks)
        chunks = full  # type: ignore[assignment]  # None entries are filled in below
    if isinstance(chunks, str) or not isinstance(chunks, Sequence) or len(chunks) != len(shape):
        raise OptionError(
            message("chunking", expected=f"chunks of {len(shape)} lengths for shape {shape}", got=repr(chunks))
        )
    result = []
    for c, n in zip(chunks, shape, strict=True):
        if c is None or c == -1:
            c = n
        elif isinstance(c, bool) or not isinstance(c, (int, np.integer)) or c < 1:
            raise OptionError(message("chunking", expected="positive lengths (or -1)", got=repr(chunks)))
        result.append(max(min(int(c), n), 1))
    return tuple(result)


def run_nbytes(shape: Sequence[int], itemsize: int) -> int:
    """Bytes of a whole array, exact for any size."""
    return math.prod(int(n) for n in shape) * itemsize
