"""Encode the chunks of an HDF5 dataset: pad, pack or shuffle, deflate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from packstore.core.boxes import Box
from packstore.core.typing import Array, Bytes
from packstore.writers.chunk_shapes import block_boxes
from packstore.writers.deflate import NOTHING, Sample, changes, choose

__all__ = ["ChunkEncoder", "shuffle_bytes"]

SAMPLE_NBYTES, SAMPLES = 192 << 10, 3
BUSY_NBYTES = 256 << 10
# libdeflate spends more than zlib on the start of a stream: what comes near on a sample is smaller on a chunk.
SIZE_LIMIT = 1.002


@dataclass(frozen=True)
class ChunkEncoder:
    """Gives the stored bytes of every chunk in a box; thread safe, picklable.

    Parameters
    ----------
    chunk
        The chunk shape; boxes start at multiples of it and end there or where the array ends.
    shuffle
        Whether filter 2 comes first.
    level
        Of deflate, or None for none.
    packed
        Whether filter 5 (nbit) stores bools in one bit.
    fill
        What chunks at the edge are filled up with; None: zeros.
    """

    chunk: tuple[int, ...]
    dtype: np.dtype[Any]
    shuffle: bool
    level: int | None
    packed: bool
    fill: Any = None

    def __call__(self, box: Box, values: Array) -> list[tuple[tuple[int, ...], bytes]]:
        """``(coordinates of the first element, stored bytes)`` of each chunk."""
        boxes = list(block_boxes(values.shape, self.chunk))
        raw = [self._filtered(self._padded(values[inner])) for inner in boxes]
        starts = [tuple(outer.start + s.start for outer, s in zip(box, inner, strict=True)) for inner in boxes]
        if self.level is None:
            return [(start, chunk.tobytes()) for start, chunk in zip(starts, raw, strict=True)]
        samples = self._samples(values[boxes[len(boxes) // 2]])
        encoder = choose(samples, self.level, blocks=False, limit=SIZE_LIMIT, busiest=lambda: _busiest(raw))
        return [(start, encoder.whole(chunk)) for start, chunk in zip(starts, raw, strict=True)]

    def _padded(self, values: Array) -> Array:
        """A whole chunk in one run: chunks at the edge are filled up."""
        if values.shape == self.chunk:
            return np.ascontiguousarray(values)
        whole = np.zeros(self.chunk, self.dtype)
        if self.fill is not None:
            whole[...] = self.fill
        whole[tuple(slice(n) for n in values.shape)] = values
        return whole

    def _filtered(self, values: Array) -> Bytes:
        """The bytes of contiguous elements as they go into deflate."""
        if self.packed:
            bits = np.packbits(values.reshape(-1))
            # libhdf5 begins another byte when the last one is full.
            return bits if values.size % 8 else np.append(bits, np.uint8(0))
        raw = values.reshape(-1).view(np.uint8)
        return shuffle_bytes(raw, self.dtype.itemsize) if self.shuffle else raw

    def _samples(self, values: Array) -> list[Sample]:
        """Elements from several places of a chunk, filtered as the chunk is."""
        size = max(SAMPLE_NBYTES * (8 if self.packed else 1) // self.dtype.itemsize // SAMPLES, 1)
        elements = np.ascontiguousarray(values).reshape(-1)
        if elements.size <= SAMPLES * size:
            return [(self._filtered(elements), NOTHING)]
        starts = [(elements.size - size) * i // (SAMPLES - 1) for i in range(SAMPLES)]
        runs = [elements[a : a + size] for a in starts]
        if self.shuffle:
            # Together: a chunk has each byte plane once, and its streams' beginnings cost little.
            runs = [np.concatenate(runs)]
        return [(self._filtered(run), NOTHING) for run in runs]


def _busiest(raw: list[Bytes]) -> tuple[list[Sample], bool]:
    """Of the chunk in which most happens the part in which most does."""
    size = min(BUSY_NBYTES, raw[0].nbytes) // 8 * 8
    if not size:
        return [(raw[0], NOTHING)], True
    counts = [changes(chunk, size) for chunk in raw]
    i = max(range(len(raw)), key=lambda i: int(counts[i].sum()))
    at = int(counts[i].argmax()) * size
    return [(raw[i][at : at + size], NOTHING)], True


def shuffle_bytes(raw: Bytes, itemsize: int) -> Bytes:
    """Filter 2, shuffle: byte *i* of every element stored together.

    Examples
    --------
    >>> shuffle_bytes(np.array([1, 2, 3, 4, 5, 6], np.uint8), 2).tolist()
    [1, 3, 5, 2, 4, 6]
    """
    # One copy at 3.5 GB/s; moving byte planes by hand in blocks is no faster for most sizes.
    return np.ascontiguousarray(raw.reshape(-1, itemsize).T).reshape(-1)
