"""Chunk shapes for arrays whose files have no chunks of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from packstore.errors import OptionError, message

__all__ = ["DEFAULT_CHUNK_NBYTES", "regroup"]

DEFAULT_CHUNK_NBYTES = 8 << 20


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
