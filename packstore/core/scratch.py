"""Memory for intermediate results that each thread keeps: fresh pages cost as much as undoing a shuffle."""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt

__all__ = ["KEEP_NBYTES", "Scratch"]

KEEP_NBYTES = 16 << 20


class Scratch(threading.local):
    """Memory that one owner lends to itself, separately in each thread.

    Each user makes an object of its own, so no two of them get the same memory.

    Examples
    --------
    >>> scratch = Scratch()
    >>> scratch.take(10).shape, scratch.take(4).base is scratch.take(8).base
    ((10,), True)
    """

    def __init__(self) -> None:
        self._held = np.empty(0, np.uint8)

    def take(self, nbytes: int) -> npt.NDArray[np.uint8]:
        """Lend `nbytes` bytes until the calling thread asks this object again; above 16 MiB they are not kept."""
        if nbytes > KEEP_NBYTES:
            return np.empty(nbytes, np.uint8)
        if self._held.size < nbytes:
            self._held = np.empty(nbytes, np.uint8)
        return self._held[:nbytes]
