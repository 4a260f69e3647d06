"""Small boxes of chunks that have no codec but a serializer: one ranged read a chunk, of the bytes of the box.

This is a short form of the engine's plan: the serializer says which bytes hold the box and unpacks them, the places
read them. `Crops.read` leaves a box to the general form wherever a chunk is not as it should be: that one names it.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from packstore.core.boxes import Box, box_shape, touched
from packstore.core.typing import Array
from packstore.errors import CorruptDataError
from packstore.storage.bits import PackedBits
from packstore.storage.chain import Chain
from packstore.storage.places import Places
from packstore.storage.plain import PlainBytes, is_tight
from packstore.storage.stored import SMALL_NBYTES

__all__ = ["Crops"]

# Elements of a box over several chunks up to which no thread is worth its price.
CROP_SIZE = 1 << 21


class Crops:
    """Reads small boxes of an array.

    Parameters
    ----------
    chunk_shape
        Elements a stored chunk.
    places
        Where the chunks lie; they read ranges of single chunks.
    serializer
        The only codec of the chunks.
    """

    @classmethod
    def of(cls, chunk_shape: tuple[int, ...], places: Places, chain: Chain) -> Crops | None:
        """The reader of small boxes; None where the places or the codecs call for the general form."""
        serializer = chain.serializer
        if not places.reads_ranges or not chunk_shape:
            return None
        if chain.decoder is not None or chain.order is not None or chain.convert is not None:
            return None
        return cls(chunk_shape, places, serializer) if isinstance(serializer, (PackedBits, PlainBytes)) else None

    def __init__(self, chunk_shape: tuple[int, ...], places: Places, serializer: PackedBits | PlainBytes) -> None:
        self._chunk_shape = chunk_shape
        self._read_range = places.read_range
        self._nbytes = serializer.nbytes
        # The two kinds of plans are alike in all that is asked here.
        self._serializer: Any = serializer

    def read(self, box: Box, fill_value: Any) -> Array | None:
        """Elements of `box`; None where the box is large, or a chunk is not as it should be."""
        coords: list[int] = []
        inner: list[slice] = []
        for s, c in zip(box, self._chunk_shape, strict=True):
            start, stop = s.start, s.stop
            i = start // c
            base = i * c
            if stop > base + c:
                return self._read_several(box, fill_value)
            coords.append(i)
            inner.append(slice(start - base, stop - base, s.step))
        plan = self._serializer.plan(inner)
        if not 0 < plan.nbytes <= SMALL_NBYTES:
            return None
        data = self._read_range(coords, self._nbytes, plan.offset, plan.nbytes)
        if not data:
            return None if data is None else np.full(plan.shape, fill_value, self._serializer.dtype)
        try:
            part: Array = self._serializer.unpack(data, plan)
        except CorruptDataError:
            return None
        return part if part.flags.writeable and is_tight(part) else part.copy()

    def _read_several(self, box: Box, fill_value: Any) -> Array | None:
        """As `read`, of several chunks."""
        serializer = self._serializer
        rows = serializer.packed_rows if isinstance(serializer, PackedBits) else None
        last = box[-1]
        if rows is None or last.step != 1:
            return self._gather(serializer, box, self._chunk_shape, fill_value)
        # The packed bytes of all chunks are put together, then unpacked at once.
        bytes_box = (*box[:-1], slice(last.start >> 3, -(-last.stop // 8), 1))
        packed = self._gather(rows, bytes_box, rows.shape, 0xFF if fill_value else 0)
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
        read_range, plan_of, unpack = self._read_range, serializer.plan, serializer.unpack
        per_axis = [_chunks_of(s, c) for s, c in zip(box, chunk_shape, strict=True)]
        for combo in itertools.product(*per_axis):
            plan = plan_of([inner for _, inner, _ in combo])
            if not 0 < plan.nbytes <= SMALL_NBYTES:
                return None
            data = read_range([i for i, _, _ in combo], self._nbytes, plan.offset, plan.nbytes)
            if data is None:
                return None
            try:
                out[tuple([outer for _, _, outer in combo])] = unpack(data, plan) if data else fill_value
            except CorruptDataError:
                return None
        return out


def _chunks_of(s: slice, chunk: int) -> list[tuple[int, slice, slice]]:
    """Each chunk that a slice touches along an axis: its index, its wanted part, where that goes."""
    start, stop, step = s.start, s.stop, s.step
    if step != 1:
        return [(item.coords[0], item.inner[0], item.outer[0]) for item in touched((s,), (chunk,))]
    found = []
    at = start
    while at < stop:
        i = at // chunk
        base = i * chunk
        end = min(stop, base + chunk)
        found.append((i, slice(at - base, end - base, 1), slice(at - start, end - start, 1)))
        at = end
    return found
