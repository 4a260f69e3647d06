"""The codecs of a chunk: from its stored bytes, or as few of them as will do, to the elements of a box.

A `Chain` undoes the bytes-to-bytes codecs (its `Decoder`), turns bytes into elements (its `Serializer`), puts axes into
their order and converts the elements. Chains of HDF5 filters and of zarr codecs differ in the decoder only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from packstore.codecs.decompress.limit import Limit
from packstore.core.boxes import Box, box_shape
from packstore.core.scratch import Scratch
from packstore.core.typing import Array, Bytes
from packstore.errors import PackstoreError
from packstore.source.cache import CHUNKS
from packstore.storage.plain import PlainBytes
from packstore.storage.stored import MemoryBytes, Stored

__all__ = ["Chain", "Convert", "Decoder", "Serializer"]

Convert = Callable[[Array], Array]

# Elements for which a call of its own costs less than unpacking them.
_MIN_COUNTED = 1 << 14
# Chunks whose parts are counted; it is only a hint.
_MOST_PARTS = 1 << 14
# Decoded chunks on their way into a larger result.
_scratch = Scratch()


class Serializer(Protocol):
    """Turns bytes into elements."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the elements."""

    @property
    def limit(self) -> Limit:
        """How many bytes the elements of a chunk take."""

    @property
    def nested(self) -> bool:
        """Whether it decodes with chains of its own, which use the scratch memory."""

    @property
    def reads_parts(self) -> bool:
        """Whether part of the bytes is enough for part of the elements, and is checked as all of them would be."""

    @property
    def counts_packed(self) -> bool:
        """Whether `count_nonzero` spares the unpacking."""

    @property
    def inner(self) -> Chain | None:
        """The codecs of inner chunks, where there are some."""

    @property
    def names(self) -> tuple[str, ...]:
        """What people call it, where there is more to say than that elements become bytes."""

    def cover(self, box: Box) -> tuple[int, int] | None:
        """The range of bytes, from and to, that covers the elements of `box`; None where all of them are needed."""

    def read(self, stored: Stored, box: Box, whole: bool, out: Array | None) -> Array:
        """Elements of `box`, in `out` (of any strides) if there is one."""

    def count_nonzero(self, stored: Stored, box: Box, whole: bool) -> int:
        """How many elements of `box` are not zero."""


class Decoder(Protocol):
    """Undoes all bytes-to-bytes codecs of a chunk."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of the codecs, in the order of writing."""

    @property
    def slow_from_nbytes(self) -> int | None:
        """Decoded bytes from which even a crop is worth a second thread; None: the codecs are too fast for that."""

    @property
    def reads_ranges(self) -> bool:
        """Whether `decode_range` can do anything."""

    @property
    def max_stored_nbytes(self) -> int | None:
        """The most bytes that a stored chunk may have; None: the codecs bound that themselves."""

    def decode(self, stored: Stored, out: Bytes | None, scratch: Scratch | None) -> Bytes:
        """The decoded bytes: in `out`, in `scratch` (only until the thread's next chunk), or in memory of their own."""

    def decode_range(self, stored: Stored, start: int, stop: int) -> tuple[Bytes, int] | None:
        """Decoded bytes that cover `start` to `stop`, and where they begin; None: decode all of them."""

    def decode_short(self, stored: Stored, least: int) -> Bytes | None:
        """Decoded bytes, filled up, of a chunk of which only the first `least` need be stored; None: no such chunks."""

    def decode_many(self, chunks: Sequence[Any], out: Bytes) -> bool:
        """Decode chunks of equal size one behind the other into `out`; False: take them one by one."""


@dataclass(frozen=True, eq=False)
class Chain:
    """All codecs of a chunk.

    Parameters
    ----------
    shape
        Of a chunk, as the array has it.
    serializer
        Works on the stored axes.
    decoder
        Undoes the bytes-to-bytes codecs; None where there are none.
    order
        Stored axis i is the array's axis ``order[i]``; None: as they are.
    convert
        Turns an array of the serializer's type into one of the array's dtype (same shape); None where they are equal.
    """

    shape: tuple[int, ...]
    serializer: Serializer
    decoder: Decoder | None = None
    order: tuple[int, ...] | None = None
    convert: Convert | None = None
    # How many decoded bytes of which chunks were decoded in parts.
    _parts: dict[Any, int] = field(default_factory=dict)

    @property
    def is_compressed(self) -> bool:
        """Whether elements are behind bytes-to-bytes codecs, those of inner chunks included."""
        inner = self.serializer.inner
        return self.decoder is not None or (inner is not None and inner.is_compressed)

    @cached_property
    def keeps(self) -> bool:
        """Whether decoding a part of a chunk leaves something that the next part needs too."""
        return self.decoder is not None or self.serializer.nested

    @cached_property
    def reads_parts(self) -> bool:
        """Whether part of a chunk costs only its share, and is checked as the whole would be."""
        return self.decoder is None and self.order is None and self.serializer.reads_parts

    @cached_property
    def max_nbytes(self) -> int:
        """The most bytes that a stored chunk may have."""
        most = self.serializer.limit.nbytes if self.decoder is None else self.decoder.max_stored_nbytes
        return 2**62 if most is None else most

    @cached_property
    def is_plain(self) -> bool:
        """Whether the decoded bytes of a chunk are its elements as the array has them."""
        serializer = self.serializer
        return (
            self.order is None
            and self.convert is None
            and isinstance(serializer, PlainBytes)
            and serializer.stored == serializer.dtype
            and not serializer.dtype.hasobject
        )

    @cached_property
    def _inverse(self) -> tuple[int, ...]:
        assert self.order is not None
        return tuple(self.order.index(i) for i in range(len(self.order)))

    def cover(self, box: Box) -> tuple[int, int] | None:
        """The range of stored bytes that covers `box`; None where all of them are needed."""
        if self.decoder is not None:
            return None
        return self.serializer.cover(box if self.order is None else tuple([box[i] for i in self.order]))

    def read(self, stored: Stored, box: Box, *, out: Array | None = None, cache: bool = False) -> Array:
        """Elements of `box`.

        Parameters
        ----------
        stored
            The stored bytes.
        box
            A box of the chunk.
        out
            Where to put them.
        cache
            Keep what was decoded, for the next box of the same chunk.
        """
        if self.convert is not None:
            # Conversions make arrays of their own, or views that nobody else has.
            part = self.convert(self._read(stored, box, None, cache, lend=out is not None))
            if out is None:
                return part
            out[...] = part
            return out
        return self._read(stored, box, out, cache, lend=out is not None)

    def _read(self, stored: Stored, box: Box, out: Array | None, cache: bool, *, lend: bool) -> Array:
        """As `read`, before the conversion. `lend`: the result may lie in the thread's scratch memory."""
        whole = True
        for s, n in zip(box, self.shape, strict=True):
            if s.stop != n or s.start != 0 or s.step != 1:
                whole = False
                break
        order = self.order
        if order is not None:
            box = tuple([box[i] for i in order])
            if out is not None:
                out = out.transpose(order)
        if self.decoder is not None:
            target = None
            if whole and isinstance(self.serializer, PlainBytes):
                if out is None and not lend:
                    out = np.empty(self.serializer.shape, self.serializer.dtype)
                target = None if out is None else self.serializer.target(out)
            stored = self._decoded(stored, box, cache, target, lend=lend)
        part = self.serializer.read(stored, box, whole, out)
        return part if order is None else part.transpose(self._inverse)

    def read_short(self, stored: Stored, box: Box, least: int, *, out: Array | None = None) -> Array | None:
        """As `read`, of a chunk that was stored without what lies behind the edge; None where that is no such chunk.

        Parameters
        ----------
        least
            Elements up to the last one inside the array.
        """
        if self.decoder is None or not isinstance(self.serializer, PlainBytes):
            return None
        try:
            data = self.decoder.decode_short(stored, least * self.serializer.stored.itemsize)
        except PackstoreError:
            return None
        if data is None:
            return None
        if stored.key is not None:
            # The next box need not find out again.
            CHUNKS.put(stored.key, self, data)
        return replace(self, decoder=None).read(MemoryBytes(data), box, out=out)

    def count_nonzero(self, stored: Stored, box: Box, keep: int) -> Array:
        """Non-zero elements of `box` for each index along its first `keep` axes, as an int64 array."""
        if keep and (self.order is not None or math.prod(box_shape(box)[keep:]) < _MIN_COUNTED):
            axes = tuple(range(keep, len(box)))
            return np.asarray(np.count_nonzero(self.read(stored, box), axis=axes), np.int64)
        whole = all(s.start == 0 and s.stop == n and s.step == 1 for s, n in zip(box, self.shape, strict=True))
        if self.order is not None:
            box = tuple([box[i] for i in self.order])
        if self.decoder is not None:
            stored = self._decoded(stored, box, False, None, lend=True)
        if not keep:
            return np.asarray(self.serializer.count_nonzero(stored, box, whole), np.int64)
        ranges = [range(s.start, s.stop, s.step) for s in box[:keep]]
        counts = np.empty([len(r) for r in ranges], np.int64)
        for at in np.ndindex(*counts.shape):
            index = [r[i] for r, i in zip(ranges, at, strict=True)]
            row = (*[slice(i, i + 1, 1) for i in index], *box[keep:])
            counts[at] = self.serializer.count_nonzero(stored, row, False)
        return counts

    def _decoded(self, stored: Stored, box: Box, cache: bool, target: Bytes | None, *, lend: bool) -> MemoryBytes:
        """The decoded bytes, or those of them that cover `box` where a part can be decoded by itself."""
        assert self.decoder is not None
        key = stored.key
        if key is not None:
            found = CHUNKS.get(key, self)
            if found is not None:
                return MemoryBytes(found, key)
        cache = cache and key is not None
        nbytes = self.serializer.limit.nbytes
        if cache and not stored.mask and self.decoder.reads_ranges:
            part = self._decoded_part(stored, box, nbytes)
            if part is not None:
                return part
        if target is not None and target.size != nbytes:
            target = None
        lend = lend and not cache and target is None and not self.serializer.nested
        data = self.decoder.decode(stored, target, _scratch if lend else None)
        if cache:
            # A part of a much larger buffer would keep all of it.
            if data.size * 2 < getattr(data.base, "nbytes", 0):
                data = data.copy()
            CHUNKS.put(key, self, data)
        return MemoryBytes(data, key if cache else None, mapped=lend, fresh=not cache)

    def _decoded_part(self, stored: Stored, box: Box, nbytes: int) -> MemoryBytes | None:
        """The decoded bytes that cover a small box; None for what is better cut out of the whole chunk.

        Parts are not kept: a chunk of which as much was decoded as it holds is decoded whole the next time.
        """
        assert self.decoder is not None
        cover = self.serializer.cover(box)
        if cover is None or 4 * (cover[1] - cover[0]) > nbytes:
            return None
        start, stop = cover
        done = self._parts.get(stored.key, 0) + stop - start
        if done > nbytes:
            self._parts.pop(stored.key, None)
            return None
        found = self.decoder.decode_range(stored, start, stop)
        if found is None:
            return None
        if len(self._parts) >= _MOST_PARTS:
            self._parts.clear()
        self._parts[stored.key] = done
        data, first = found
        return MemoryBytes(data, base=first, nbytes=nbytes)
