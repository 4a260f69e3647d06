"""Small boxes of chunks that nothing but their serializer encodes: one ranged read a chunk, of the bytes of the box.

The serializer plans which bytes those are and unpacks them; here is only where the chunks lie. `Crops.read` leaves a
box to the general way wherever a chunk is not what it should be, so that an error names the chunk.
"""

from __future__ import annotations

import itertools
import math
import os
from typing import Any

import numpy as np

from packstore.core.boxes import Box, box_shape, touched
from packstore.core.typing import Array
from packstore.errors import CorruptDataError
from packstore.readers.zarr.metadata import Layout
from packstore.storage.bits import PackedBits
from packstore.storage.plain import PlainBytes, is_tight
from packstore.storage.stored import OPEN_FLAGS, SMALL_NBYTES

__all__ = ["Crops"]

# Elements of a box over several chunks up to which no thread is worth its price.
CROP_SIZE = 1 << 21


class Crops:
    """Reads small boxes.

    Parameters
    ----------
    directory
        Of the array.
    layout
        Its metadata.
    serializer
        The only codec of the chunks.
    """

    @classmethod
    def of(cls, directory: str, layout: Layout) -> Crops | None:
        """The reader of small boxes of an array; None where its codecs call for the general way."""
        chain = layout.chain
        serializer = chain.serializer
        if chain.decoder is not None or chain.order is not None or chain.convert is not None or not layout.shape:
            return None
        return cls(directory, layout, serializer) if isinstance(serializer, (PackedBits, PlainBytes)) else None

    def __init__(self, directory: str, layout: Layout, serializer: PackedBits | PlainBytes) -> None:
        prefix, self._separator, _ = layout.key
        self._prefix = f"{directory}/{prefix}"
        self._chunk_shape = layout.grid_chunk_shape
        self._fill_value = layout.fill_value
        self._nbytes = serializer.nbytes
        # Its two kinds of plans are alike in all that is asked here.
        self._serializer: Any = serializer

    def read(self, box: Box) -> Array | None:
        """Elements of `box`; None where the box is large, or a chunk is not what it should be."""
        names: list[str] = []
        inner: list[slice] = []
        for s, c in zip(box, self._chunk_shape, strict=True):
            start, stop = s.start, s.stop
            i = start // c
            base = i * c
            if stop > base + c:
                return self._read_several(box)
            names.append(str(i))
            inner.append(slice(start - base, stop - base, s.step))
        plan = self._serializer.plan(inner)
        if not 0 < plan.nbytes <= SMALL_NBYTES:
            return None
        data = _read_range(self._prefix + self._separator.join(names), self._nbytes, plan.offset, plan.nbytes)
        if not data:
            return None if data is None else np.full(plan.shape, self._fill_value, self._serializer.dtype)
        try:
            part: Array = self._serializer.unpack(data, plan)
        except CorruptDataError:
            return None
        return part if part.flags.writeable and is_tight(part) else part.copy()

    def _read_several(self, box: Box) -> Array | None:
        """As `read`, of several chunks."""
        serializer = self._serializer
        rows = serializer.packed_rows if isinstance(serializer, PackedBits) else None
        last = box[-1]
        if rows is None or last.step != 1:
            return self._gather(serializer, box, self._chunk_shape, self._fill_value)
        # The packed bytes of all chunks are put together, then unpacked at once.
        bytes_box = (*box[:-1], slice(last.start >> 3, -(-last.stop // 8), 1))
        packed = self._gather(rows, bytes_box, rows.shape, 0xFF if self._fill_value else 0)
        if packed is None:
            return None
        lead = last.start & 7
        bits = np.unpackbits(packed, axis=-1, bitorder=serializer.packed.bitorder)
        mask: Array = bits[..., lead : lead + last.stop - last.start].view(np.bool_)
        return mask

    def _gather(self, serializer: Any, box: Box, chunk_shape: tuple[int, ...], fill_value: Any) -> Array | None:
        """The elements of several chunks, as `serializer` has them."""
        shape = box_shape(box)
        if math.prod(shape) > CROP_SIZE:
            return None
        out = np.empty(shape, serializer.dtype)
        prefix, separator, plan_of, unpack = self._prefix, self._separator, serializer.plan, serializer.unpack
        per_axis = [_chunks_of(s, c) for s, c in zip(box, chunk_shape, strict=True)]
        for combo in itertools.product(*per_axis):
            plan = plan_of([inner for _, inner, _ in combo])
            if not 0 < plan.nbytes <= SMALL_NBYTES:
                return None
            path = prefix + separator.join([name for name, _, _ in combo])
            data = _read_range(path, self._nbytes, plan.offset, plan.nbytes)
            if data is None:
                return None
            try:
                out[tuple([outer for _, _, outer in combo])] = unpack(data, plan) if data else fill_value
            except CorruptDataError:
                return None
        return out


def _chunks_of(s: slice, chunk: int) -> list[tuple[str, slice, slice]]:
    """Each chunk that a slice touches along an axis: its name in the key, its wanted part, where that goes."""
    start, stop, step = s.start, s.stop, s.step
    if step != 1:
        return [(str(item.coords[0]), item.inner[0], item.outer[0]) for item in touched((s,), (chunk,))]
    found = []
    at = start
    while at < stop:
        i = at // chunk
        base = i * chunk
        end = min(stop, base + chunk)
        found.append((str(i), slice(at - base, end - base, 1), slice(at - start, end - start, 1)))
        at = end
    return found


def _read_range(path: str, file_nbytes: int, offset: int, nbytes: int) -> bytes | None:
    """Some bytes of a chunk's file; none where there is no file, None where the file is not as it should be."""
    try:
        fd = os.open(path, OPEN_FLAGS)
    except (FileNotFoundError, NotADirectoryError):
        return b""
    try:
        # A third of the time of os.fstat.
        if os.lseek(fd, 0, os.SEEK_END) != file_nbytes:
            return None
        data = os.pread(fd, nbytes, offset)
    except OSError:
        return None
    finally:
        os.close(fd)
    return data if len(data) == nbytes else None
