"""Small boxes of packed masks whose rows are no whole bytes: the bits of their rows are aligned, then unpacked.

Like `packstore.readers.zarr.crops`, a short way for what `packstore.readers.zarr.chain` reads in general; it gives up
wherever a chunk is not what it should be.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

from packstore.core.boxes import Box
from packstore.readers.zarr.blobs import read_of_chunk
from packstore.readers.zarr.metadata import Layout
from packstore.storage.serializers import PackedBits

__all__ = ["BitCropper", "runs_of_axis"]

# Of one axis and one chunk: its index in the key, how many elements, where the first one starts, how much further the
# last one is, and where they go in the result.
Run = tuple[str, int, int, int, int]

# Bytes of a run beyond which unpacking all of it costs more than the calls that are saved.
RUN_NBYTES = 1 << 17
# Rows are aligned one by one where they are that many, and that much shorter than those of the chunk; what lies between
# them is then read, but not unpacked.
MIN_ROWS, MIN_RATIO, ROWS_NBYTES = 16, 3, 1 << 19


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
        # Where the packed bits end.
        self.end = self.chunk_nbytes - int(serializer.padding_encoding == "last_byte")
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
            # A view would keep all that was unpacked.
            return part if part is None or part.nbytes * 2 > part.shape[0] * part.strides[0] else part.copy()
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
        in_rows = self._in_rows(sizes)
        if stop - offset > (ROWS_NBYTES if in_rows else RUN_NBYTES):
            return None
        offset, stop = offset + self.offset, stop + self.offset
        if stop >= self.end:
            # The last byte holds the padding, which the general way checks.
            return None
        if in_rows:
            # Up to seven rows and one word more than are wanted, where there are so many.
            stop = min(stop + 7 * (self._axes[-2][1] // 8 + 1) + 16, self.end)
        path = self.prefix + self.separator.join([c[0] for c in combo])
        data = read_of_chunk(path, self.chunk_nbytes, offset, stop - offset)
        if not data:
            return None if data is None else np.full(sizes, self.fill)
        rows = self._rows(data, first & 7, sizes[-2], sizes[-1]) if in_rows else None
        if rows is not None:
            return rows.reshape(sizes)
        bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder=self.bitorder)
        return np.ndarray(sizes, np.bool_, bits.data, first & 7, [stride for _, stride in self._axes])

    def _in_rows(self, sizes: list[int]) -> bool:
        """Whether a box of one plane is that much narrower than the chunk that `_rows` is the quicker way."""
        if len(sizes) < 2 or sizes[-2] < MIN_ROWS or self._axes[-2][1] < MIN_RATIO * sizes[-1]:
            return False
        return sizes[:-2].count(1) == len(sizes) - 2

    def _rows(self, data: bytes, first: int, count: int, width: int) -> npt.NDArray[Any] | None:
        """`count` rows of `width` bits, the first one from bit `first` of `data` on; None where that is too short.

        Every eighth row begins at the same bit of its byte. Within eight, row k is taken from k times the whole bytes
        of a row on, and shifted by the bits that it begins later: at most 7 + 7 * 7, which a word of 64 bits can hold.
        """
        stride = self._axes[-2][1]
        groups, words = -(-count // 8), -(-width // 64)
        order = "<u8" if self.bitorder == "little" else ">u8"
        nbytes = (groups - 1) * stride + 7 * (stride // 8) + 8 * (words + 1)
        if nbytes > len(data):
            return None
        stored = np.ndarray((groups, 8, words + 1), order, data, 0, (stride, stride // 8, 8))
        shift, rest = _shifts(first, stride % 8)
        if self.bitorder == "little":
            aligned = stored[..., :-1] >> shift
            aligned |= stored[..., 1:] << rest
        else:
            aligned = stored[..., :-1] << shift
            aligned |= stored[..., 1:] >> rest
        packed = aligned.astype(order, copy=False).reshape(-1).view(np.uint8)
        bits = np.unpackbits(packed, bitorder=self.bitorder).view(np.bool_)
        return bits.reshape(8 * groups, 64 * words)[:count, :width]


@functools.cache
def _shifts(first: int, step: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """By how many bits to shift the words of each of eight rows, and those that follow them the other way."""
    shift = (first + step * np.arange(8, dtype=np.uint64))[:, None]
    # numpy makes a shift by 64 a zero.
    return shift, np.uint64(64) - shift
