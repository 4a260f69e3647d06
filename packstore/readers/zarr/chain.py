"""The codecs of a chunk: from its stored bytes, or as few of them as will do, to the elements of a box."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from packstore.core.boxes import Box, box_shape
from packstore.core.scratch import Scratch
from packstore.errors import CorruptDataError, message
from packstore.readers.zarr.blobs import Blob, MemoryBlob
from packstore.readers.zarr.byte_codecs import ByteCodec, Limit
from packstore.readers.zarr.serializers import Filtered, PackedBits, PlainBytes
from packstore.source.cache import ByteLRU

__all__ = ["PAYLOADS", "Chain", "Filtered", "PackedBits", "PlainBytes", "Serializer"]

Array = npt.NDArray[Any]
U8 = npt.NDArray[np.uint8]

# Decompressed chunks of which a crop used only a part. Packed ones are kept packed.
PAYLOADS = ByteLRU("chunks")
# Elements for which a call of its own costs less than unpacking them.
_MIN_COUNTED = 1 << 14
# A codec decodes from one of them into another.
_stored, _decoded = Scratch(), (Scratch(), Scratch())


class Serializer(Protocol):
    """Turns bytes into elements: the array-to-bytes codec of a chain."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the elements."""

    @property
    def limit(self) -> Limit:
        """How many bytes the elements of a chunk take."""

    @property
    def nested(self) -> bool:
        """Whether it decodes with chains of its own, which use the scratch memory."""

    def read(self, blob: Blob, box: Box, whole: bool, out: Array | None) -> Array:
        """Elements of `box`, in `out` (of any strides) if there is one."""

    def count_nonzero(self, blob: Blob, box: Box, whole: bool) -> int:
        """How many elements of `box` are not zero."""


@dataclass(frozen=True, eq=False)
class Chain:
    """All codecs of a chunk.

    Parameters
    ----------
    shape
        Of a chunk, as the array has it.
    order
        Stored axis i is the array's axis ``order[i]``; None: as they are.
    serializer
        Works on the stored axes.
    byte_codecs
        In the order of decoding.
    """

    shape: tuple[int, ...]
    order: tuple[int, ...] | None
    serializer: Serializer
    byte_codecs: tuple[ByteCodec, ...]

    @cached_property
    def limits(self) -> tuple[Limit, ...]:
        """How many bytes each of the byte codecs may give."""
        found = [self.serializer.limit]
        for codec in reversed(self.byte_codecs[1:]):
            found.append(found[-1].encoded(codec.grows_by))
        return tuple(reversed(found))

    @cached_property
    def max_nbytes(self) -> int:
        """The most bytes that a stored chunk may have."""
        limit = self.serializer.limit
        for codec in reversed(self.byte_codecs):
            limit = limit.encoded(codec.grows_by)
        return limit.nbytes

    @cached_property
    def _inverse(self) -> tuple[int, ...]:
        assert self.order is not None
        return tuple(self.order.index(i) for i in range(len(self.order)))

    def read(self, blob: Blob, box: Box, *, out: Array | None = None, cache: bool = False) -> Array:
        """Elements of `box`.

        Parameters
        ----------
        blob
            The stored bytes.
        box
            A box of the chunk.
        out
            Where to put them.
        cache
            Keep what was decompressed, for the next box of the same chunk.
        """
        whole = all(s.start == 0 and s.stop == n and s.step == 1 for s, n in zip(box, self.shape, strict=True))
        order = self.order
        if order is not None:
            box = tuple([box[i] for i in order])
            if out is not None:
                out = out.transpose(order)
        if self.byte_codecs:
            target = None
            if whole and isinstance(self.serializer, PlainBytes):
                if out is None:
                    out = np.empty(self.serializer.shape, self.serializer.dtype)
                target = self.serializer.target(out)
            blob = self._decoded(blob, cache, target, scratch=out is not None)
        part = self.serializer.read(blob, box, whole, out)
        return part if order is None else part.transpose(self._inverse)

    def count_nonzero(self, blob: Blob, box: Box, keep: int) -> Array:
        """Non-zero elements of `box` for each index along its first `keep` axes, as an int64 array."""
        if keep and (self.order is not None or math.prod(box_shape(box)[keep:]) < _MIN_COUNTED):
            axes = tuple(range(keep, len(box)))
            return np.asarray(np.count_nonzero(self.read(blob, box), axis=axes), np.int64)
        whole = all(s.start == 0 and s.stop == n and s.step == 1 for s, n in zip(box, self.shape, strict=True))
        if self.order is not None:
            box = tuple([box[i] for i in self.order])
        if self.byte_codecs:
            blob = self._decoded(blob, False, None, scratch=True)
        if not keep:
            return np.asarray(self.serializer.count_nonzero(blob, box, whole), np.int64)
        ranges = [range(s.start, s.stop, s.step) for s in box[:keep]]
        counts = np.empty([len(r) for r in ranges], np.int64)
        for at in np.ndindex(*counts.shape):
            index = [r[i] for r, i in zip(ranges, at, strict=True)]
            row = (*[slice(i, i + 1, 1) for i in index], *box[keep:])
            counts[at] = self.serializer.count_nonzero(blob, row, False)
        return counts

    def _decoded(self, blob: Blob, cache: bool, target: U8 | None, *, scratch: bool) -> Blob:
        """What the byte codecs give, in memory."""
        key = blob.key
        cache = cache and key is not None
        if key is not None:
            found = PAYLOADS.get(key, self)
            if found is not None:
                return MemoryBlob(found, key)
        if blob.nbytes > self.max_nbytes:
            raise CorruptDataError(
                message(
                    "reading the stored bytes",
                    expected=f"at most {self.max_nbytes} bytes for a chunk of shape {self.shape}",
                    got=f"{blob.nbytes}",
                )
            )
        scratch = scratch and not cache and not self.serializer.nested
        last = len(self.byte_codecs) - 1
        # A checksum gives a view of what it is given; what the last compressor gives must live as long as the result.
        keeps = max([i for i, codec in enumerate(self.byte_codecs) if codec.grows_by is None], default=-1)
        data = blob.pread(0, blob.nbytes, _stored.take(blob.nbytes) if scratch or keeps >= 0 else None)
        for i, (codec, limit) in enumerate(zip(self.byte_codecs, self.limits, strict=True)):
            out = None
            if codec.grows_by is None:
                if i == last and target is not None and target.size == limit.nbytes:
                    out = target
                elif scratch or i < keeps:
                    out = _decoded[i % 2].take(limit.nbytes)
            data = codec.decode(data, limit, out)
        if not (scratch or cache):
            return MemoryBlob(data)
        if cache:
            # A part of a much larger buffer would keep all of it.
            if data.size * 2 < getattr(data.base, "nbytes", 0):
                data = data.copy()
            PAYLOADS.put(key, self, data)
        return MemoryBlob(data, key if cache else None)
