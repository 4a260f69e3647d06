"""Copies of what is read: a part of mapped memory goes in, an array or scalar that is the caller's own comes out."""

from __future__ import annotations

from typing import Any

import numpy as np

from packstore.core.threads import run_all

__all__ = ["owned"]

# Bytes from which a copy is worth several threads: most of its time goes into pages that are touched the first time.
PARALLEL_NBYTES = 16 << 20
# Bytes of one thread's piece.
PIECE_NBYTES = 4 << 20


def owned(part: Any) -> Any:
    """`part` where it may be written to, which only memory of its own may; else a copy, in the same order of axes.

    Examples
    --------
    >>> mapped = np.arange(3)
    >>> mapped.flags.writeable = False
    >>> owned(mapped[1:])
    array([1, 2])
    """
    if not isinstance(part, np.ndarray):
        # Scalars of structured types are views, too.
        return part.copy() if isinstance(part, np.void) else part
    if part.flags.writeable:
        return part
    if part.nbytes < PARALLEL_NBYTES:
        return part.copy("K")
    out = np.empty_like(part)
    axis = max(range(part.ndim), key=lambda i: (part.shape[i] > 1, abs(part.strides[i])))
    length = max(PIECE_NBYTES * part.shape[axis] // part.nbytes, 1)
    lead = (slice(None),) * axis

    def fill(start: int) -> None:
        where = (*lead, slice(start, start + length))
        out[where] = part[where]

    run_all(fill, range(0, part.shape[axis], length), parallel=True)
    return out
