"""The codec ``sharding_indexed``: inner chunks in one stored object, behind an index at either end.

Source: https://zarr-specs.readthedocs.io/en/latest/v3/codecs/sharding-indexed/index.html
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from packstore.codecs.decompress import Limit
from packstore.core.boxes import Box, Touched, box_shape, touched
from packstore.core.typing import Array
from packstore.errors import ChecksumError, CorruptDataError, PackstoreError, message
from packstore.readers.zarr.byte_codecs import BYTE_CODECS
from packstore.source.cache import SHARDS
from packstore.storage.plan import one_chunk
from packstore.storage.stored import MemoryBytes, Stored

if TYPE_CHECKING:
    from packstore.storage.chain import Chain

__all__ = ["Sharded"]


_EMPTY = 2**64 - 1


@dataclass(frozen=True, eq=False)
class Sharded:
    """A shard.

    Parameters
    ----------
    shape
        Of the shard, along the stored axes.
    inner
        The codecs of the inner chunks, which may be shards themselves.
    fill_value
        What inner chunks hold that are not stored.
    index_at_start, index_big_endian, index_checksum
        Where the index is, its byte order, and whether four bytes of CRC-32C follow it.
    """

    shape: tuple[int, ...]
    inner: Chain
    fill_value: Any
    index_at_start: bool
    index_big_endian: bool
    index_checksum: bool
    nested: ClassVar[bool] = True
    reads_parts: ClassVar[bool] = False
    counts_packed: ClassVar[bool] = False
    names: ClassVar[tuple[str, ...]] = ()

    def cover(self, box: Box) -> None:
        """None: the index says where the inner chunks are."""
        return None

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.inner.serializer.dtype

    @cached_property
    def grid_shape(self) -> tuple[int, ...]:
        return tuple(n // c for n, c in zip(self.shape, self.inner.shape, strict=True))

    @cached_property
    def index_nbytes(self) -> int:
        return math.prod(self.grid_shape) * 16 + 4 * self.index_checksum

    @cached_property
    def limit(self) -> Limit:
        return Limit(math.prod(self.grid_shape) * self.inner.max_nbytes + self.index_nbytes, False)

    def read(self, stored: Stored, box: Box, whole: bool, out: Array | None) -> Array:
        index = self._index(stored)
        one = one_chunk(box, self.inner.shape) if out is None else None
        if one is not None:
            part = self._stored(stored, index, one[0])
            if part is not None:
                return self._read_inner(part, *one, None, cache=not whole)
        if out is None:
            out = np.empty(box_shape(box), self.dtype)
        items = list(touched(box, self.inner.shape))
        parts = self._parts(stored, index, items)
        for (coords, inner, outer), part in zip(items, parts, strict=True):
            if part is None:
                out[outer] = self.fill_value
            else:
                self._read_inner(part, coords, inner, out[outer], cache=False)
        return out

    def count_nonzero(self, stored: Stored, box: Box, whole: bool) -> int:
        index = self._index(stored)
        total = 0
        for coords, inner, _ in touched(box, self.inner.shape):
            part = self._stored(stored, index, coords)
            if part is not None:
                try:
                    total += int(self.inner.count_nonzero(part, inner, 0))
                except PackstoreError as error:
                    raise _inside(error, coords) from error
            elif np.count_nonzero(self.fill_value):
                total += math.prod(box_shape(inner))
        return total

    def _read_inner(
        self, stored: Stored, coords: tuple[int, ...], box: Box, out: Array | None, *, cache: bool
    ) -> Array:
        try:
            return self.inner.read(stored, box, out=out, cache=cache)
        except PackstoreError as error:
            raise _inside(error, coords) from error

    def _stored(self, stored: Stored, index: npt.NDArray[np.uint64], coords: tuple[int, ...]) -> Stored | None:
        """The stored bytes of an inner chunk; None where there are none."""
        offset, nbytes = index[coords].tolist()
        if offset == nbytes == _EMPTY:
            return None
        self._check_entry(stored, coords, offset, nbytes)
        return stored.part(offset, nbytes)

    def _check_entry(self, stored: Stored, coords: tuple[int, ...], offset: int, nbytes: int) -> None:
        """Raise CorruptDataError where an entry of the index reaches beyond the shard."""
        if offset + nbytes > stored.nbytes:
            raise CorruptDataError(
                message(
                    f"reading the index entry of the inner chunk {coords} of",
                    "the shard",
                    expected=f"a range within its {stored.nbytes} bytes",
                    got=f"{nbytes} bytes at offset {offset}",
                    hint="The shard is cut short or damaged",
                )
            )

    def _parts(self, stored: Stored, index: npt.NDArray[np.uint64], items: list[Touched]) -> Iterable[Stored | None]:
        """The stored bytes of several inner chunks: by one call where they are far away."""
        if not stored.is_far:
            return (self._stored(stored, index, item.coords) for item in items)
        found: list[Stored | None] = [None] * len(items)
        entries = {i: tuple(index[item.coords].tolist()) for i, item in enumerate(items)}
        there = {i: entry for i, entry in entries.items() if entry != (_EMPTY, _EMPTY)}
        for i, entry in there.items():
            self._check_entry(stored, items[i].coords, *entry)
        for i, data in zip(there, stored.read_ranges(list(there.values())), strict=True):
            found[i] = MemoryBytes(data, fresh=True)
        return found

    def _index(self, stored: Stored) -> npt.NDArray[np.uint64]:
        key = stored.key
        if key is not None:
            found = SHARDS.get(key, self)
            if found is not None:
                return found
        size = self.index_nbytes
        if stored.nbytes < size:
            raise CorruptDataError(
                message(
                    "reading the index of the shard",
                    expected=f"at least {size} bytes",
                    got=f"{stored.nbytes}",
                    hint="The shard is cut short, or was written for another shape",
                )
            )
        data = stored.pread(0 if self.index_at_start else stored.nbytes - size, size)
        if self.index_checksum:
            try:
                data = BYTE_CODECS["crc32c"].decode(data, Limit(size - 4, True), None)
            except ChecksumError as error:
                raise ChecksumError(f"reading the index of the shard: {error}") from error
        entries = data.view(">u8" if self.index_big_endian else "<u8").astype(np.uint64)
        index = entries.reshape(*self.grid_shape, 2)
        if key is not None:
            SHARDS.put(key, self, index)
        return index


def _inside(error: PackstoreError, coords: tuple[int, ...]) -> PackstoreError:
    return type(error)(f"inner chunk {coords}: {error}")
