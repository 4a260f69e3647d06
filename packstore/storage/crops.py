"""Boxes of chunks that have no codec but a serializer: one ranged read a chunk, of the bytes of the box.

This is a short form of the engine's plan: the serializer says which bytes hold the box and unpacks them, the places
read them. `Crops.read` takes small boxes, `Crops.fill` large ones of small packed chunks, a row of chunks at a time.
Both leave a box to the general form wherever a chunk is not as it should be: that one names it.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import time
from typing import Any

import numpy as np

from packstore.core.boxes import Box, Touched, as_index, box_shape, touched
from packstore.core.threads import SLOW_S, ForkSafeLock, run_all
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
# Packed chunks of at most so many elements are put together before they are unpacked.
SMALL_CHUNK = 1 << 19


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
        # Threads that open files at the same time wait for each other's system calls: one at a time opens them, while
        # the others unpack, unless opening turns out to be slow, as on a network.
        self._turn = ForkSafeLock()
        self._is_slow = False

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
        packed = self._packed(rows, box, fill_value)
        return None if packed is None else self._unpacked(packed, last)

    def fill(self, box: Box, out: Array, fill_value: Any) -> bool:
        """Put a large box of small packed chunks into `out`; False: take the general form."""
        serializer, chunk_shape = self._serializer, self._chunk_shape
        rows = serializer.packed_rows if isinstance(serializer, PackedBits) else None
        size = math.prod(chunk_shape)
        # A count of the padding bits is compared where a chunk is decoded as a whole.
        if rows is None or serializer.padding_encoding != "none" or box[-1].step != 1 or not size <= SMALL_CHUNK:
            return False
        strip_shape = (*chunk_shape[:-1], CROP_SIZE // size * chunk_shape[-1])
        is_whole = True

        def work(item: Touched) -> None:
            nonlocal is_whole
            starts = [i * n for i, n in zip(item.coords, strip_shape, strict=True)]
            strip = tuple([slice(s.start + at, s.stop + at, s.step) for s, at in zip(item.inner, starts, strict=True)])
            with contextlib.nullcontext() if self._is_slow else self._turn:
                began = time.perf_counter()
                packed = self._packed(rows, strip, fill_value)
                if time.perf_counter() - began > SLOW_S * (CROP_SIZE // size):
                    self._is_slow = True
            if packed is None:
                is_whole = False
            else:
                out[as_index(item.outer)] = self._unpacked(packed, strip[-1])

        run_all(work, touched(box, strip_shape), parallel=out.size > CROP_SIZE)
        return is_whole

    def _packed(self, rows: PlainBytes, box: Box, fill_value: Any) -> Array | None:
        """The packed bytes that hold a box of several chunks; None where a chunk is not as it should be."""
        last = box[-1]
        bytes_box = (*box[:-1], slice(last.start >> 3, -(-last.stop // 8), 1))
        return self._gather(rows, bytes_box, rows.shape, 0xFF if fill_value else 0)

    def _unpacked(self, packed: Array, last: slice) -> Array:
        """Packed rows, unpacked at once, without what stands in the first and last byte beside the box."""
        bits = np.unpackbits(packed.reshape(-1), bitorder=self._serializer.packed.bitorder)
        lead = last.start & 7
        rows = bits.reshape(*packed.shape[:-1], 8 * packed.shape[-1])
        mask: Array = rows[..., lead : lead + last.stop - last.start].view(np.bool_)
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
