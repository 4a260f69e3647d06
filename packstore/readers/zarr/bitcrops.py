"""Small boxes of packed masks whose rows are no whole bytes: the run of bits that covers them, unpacked and cut.

Like `packstore.readers.zarr.crops`, a short way for what `packstore.readers.zarr.chain` reads in general; it gives up
wherever a chunk is not what it should be.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

from packstore.boxes import Box
from packstore.readers.zarr.blobs import read_of_chunk
from packstore.readers.zarr.metadata import Layout
from packstore.readers.zarr.serializers import PackedBits

__all__ = ["BitCropper", "runs_of_axis"]

# Of one axis and one chunk: its index in the key, how many elements, where the first one starts, how much further the
# last one is, and where they go in the result.
Run = tuple[str, int, int, int, int]

# Bytes of a run beyond which unpacking all of it costs more than the calls that are saved.
RUN_NBYTES = 1 << 17


def runs_of_axis(start: int, stop: int, chunk: int, stride: int) -> list[Run]:
    """What the elements from `start` to `stop` are of each chunk along an axis, elements being `stride` apart."""
    runs = []
    at = start
    while at < stop:
        i = at // chunk
        end = min(stop, (i + 1) * chunk)
        runs.append((str(i), end - at, (at - i * chunk) * stride, (end - at - 1) * stride, at - start))
        at = end
    return runs


class BitCropper:
    """Reads small boxes.

    Parameters
    ----------
    directory
        Of the array.
    layout
        Its metadata.
    serializer
        Of bool elements.
    """

    def __init__(self, directory: str, layout: Layout, serializer: PackedBits) -> None:
        self.chunk_nbytes = serializer.nbytes
        self.bitorder = serializer.bitorder
        prefix, self.separator, _ = layout.key
        self.prefix = f"{directory}/{prefix}"
        self.fill = bool(layout.fill_value)
        self.offset = int(serializer.padding_encoding == "first_byte")
        strides = [1]
        for n in serializer.shape[:0:-1]:
            strides.append(strides[-1] * n)
        self._axes = tuple(zip(serializer.shape, reversed(strides), strict=True))

    def read(self, box: Box) -> npt.NDArray[Any] | None:
        """Elements of `box`; None for one that is not for this reader: large, empty or with steps."""
        per_axis = []
        wanted = []
        for s, (c, stride) in zip(box, self._axes, strict=True):
            start, stop = s.start, s.stop
            if s.step != 1 or stop <= start:
                return None
            wanted.append(stop - start)
            runs = runs_of_axis(start, stop, c, stride)
            per_axis.append(runs)
            if len(runs) > 8:
                return None
        combos = list(itertools.product(*per_axis))
        if len(combos) == 1:
            part = self._part(combos[0])
            # A view would keep all bits of the run.
            return None if part is None else part.copy()
        out = np.empty(wanted, np.bool_)
        for combo in combos:
            part = self._part(combo)
            if part is None:
                return None
            out[tuple([slice(at, at + n) for _, n, _, _, at in combo])] = part
        return out

    def _part(self, combo: tuple[Run, ...]) -> npt.NDArray[Any] | None:
        """The part of one chunk, as a view of its unpacked bits."""
        first = sum([f for _, _, f, _, _ in combo])
        last = first + sum([m for _, _, _, m, _ in combo])
        sizes = [n for _, n, _, _, _ in combo]
        offset, stop = first >> 3, (last >> 3) + 1
        if stop - offset > RUN_NBYTES:
            return None
        offset, stop = offset + self.offset, stop + self.offset
        if stop >= self.chunk_nbytes:
            # The last byte holds the padding, which the general way checks.
            return None
        path = self.prefix + self.separator.join([c[0] for c in combo])
        data = read_of_chunk(path, self.chunk_nbytes, offset, stop - offset)
        if not data:
            return None if data is None else np.full(sizes, self.fill)
        bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder=self.bitorder)
        return np.ndarray(sizes, np.bool_, bits.data, first & 7, [stride for _, stride in self._axes])
