"""Memory for intermediate results that each thread keeps: fresh pages cost as much as undoing a shuffle."""

from __future__ import annotations

import threading

import numpy as np
import numpy.typing as npt

__all__ = ["KEEP_NBYTES", "take"]

Bytes = npt.NDArray[np.uint8]

KEEP_NBYTES = 16 << 20


class _Buffers(threading.local):
    def __init__(self) -> None:
        self.held: dict[int, Bytes] = {}


_buffers = _Buffers()


def take(slot: int, nbytes: int) -> Bytes:
    """Lend memory until the calling thread asks for the same slot again; above 16 MiB it is not kept.

    Slots 0 and 1 are the pipeline's, which alternates between them; 2 is bitshuffle's, 8 shuffle's; 3 to 5 belong to
    the zarr reader, 6 to the chunks of HDF5.
    """
    if nbytes > KEEP_NBYTES:
        return np.empty(nbytes, np.uint8)
    held = _buffers.held.get(slot)
    if held is None or held.size < nbytes:
        held = _buffers.held[slot] = np.empty(nbytes, np.uint8)
    return held[:nbytes]
