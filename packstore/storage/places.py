"""Where the chunks of an array lie: an object and a byte range of it for each, or none where nothing was written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from packstore.core.typing import U64, Array, Bytes
from packstore.errors import TruncatedFileError, message
from packstore.source import ByteSpace, FileSource
from packstore.storage.array import Facts
from packstore.storage.stored import MemoryBytes, SpaceRange, Stored

__all__ = ["INDEX", "MISSING", "OneRange", "Places", "Run", "TablePlaces", "Wanted"]

# The offset of a chunk that was never written: it reads as the fill value.
MISSING = np.uint64(2**64 - 1)
_MISSING = int(MISSING)

# Coordinates of a chunk, and the bytes of it that are wanted, from and to; None: all of them.
Wanted = tuple[tuple[int, ...], tuple[int, int] | None]
# For a shard: its index, which tells what else is wanted.
INDEX = (-1, -1)
# (offset, nbytes, filter mask) of neighbouring chunks.
Run = list[tuple[int, int, int]]


class Places:
    """The places of all chunks of one array. Thread safe.

    Attributes
    ----------
    name
        What error messages call the object.
    verb
        What error messages say is done to a chunk that does not decode.
    reads_ranges
        Whether `read_range` gives single ranges of chunks.
    has_sum
        Whether there is a checksum over all chunks together, which `verify` compares.
    is_far
        Whether each chunk is an object that a request is made for: `fetch` asks for several at the same time.
    """

    is_far: bool = False
    name: str
    verb: str = "decoding"
    reads_ranges: bool = False
    has_sum: bool = False

    def opened(self, ns: int | None = None) -> Places:
        """The same places for an array that is opened now, or was at `ns`, where it matters when that was."""
        return self

    @property
    def opened_ns(self) -> int | None:
        """When the array was opened, where that matters."""
        return None

    def check(self) -> None:
        """Raise StaleFileError where the array is no longer the one that was opened, as far as that must be asked."""

    def verify(self, *, reading: bool = False) -> None:
        """Raise ChecksumError unless the checksum over all chunks is right; once it is, it is not computed again.

        Parameters
        ----------
        reading
            The caller is about to read all bytes: places that sum them up on the way do nothing here.
        """

    def open(self, coords: tuple[int, ...]) -> Stored | None:
        """The stored bytes of chunk `coords`; None where there are none. Close them after use."""
        raise NotImplementedError

    def fetch(self, wanted: Sequence[Wanted]) -> list[Stored | None]:
        """The stored bytes of several chunks, or the parts of them that are wanted; None where nothing is stored."""
        return [self.open(coords) for coords, _ in wanted]

    def read_range(self, coords: Sequence[int], chunk_nbytes: int, offset: int, nbytes: int) -> bytes | None:
        """Some bytes of chunk `coords`; none where it is not stored, None where it is not of `chunk_nbytes` bytes."""
        raise NotImplementedError

    def has(self, coords: tuple[int, ...]) -> bool:
        """Whether chunk `coords` is stored."""
        return True

    def has_along(self, first: tuple[int, ...], axis: int, count: int) -> npt.NDArray[np.bool_]:
        """Whether each of `count` chunks from `first` on along `axis` is stored."""
        coords = ((*first[:axis], first[axis] + i, *first[axis + 1 :]) for i in range(count))
        return np.fromiter((self.has(each) for each in coords), np.bool_, count)

    def stored_below(self, fixed: tuple[int, ...], grid_shape: tuple[int, ...]) -> Iterable[int]:
        """Indexes along the axis after `fixed` below which some chunk is stored."""
        return range(grid_shape[len(fixed)])

    def nothing_stored(self) -> bool:
        """Whether it is known, without a look at each chunk, that none is stored."""
        return False

    def stored_nbytes(self) -> tuple[int | None, int | None]:
        """Bytes that all chunks take, and the number of chunks that are missing, each where it is known."""
        return None, None

    def facts(self) -> Facts | None:
        """How the array is stored, where the places know more of it than the chain; None: they do not."""
        return None

    @property
    def space(self) -> ByteSpace | None:
        """The bytes that all chunks lie in; None where each chunk is an object of its own."""
        return None

    def run(self, first: tuple[int, ...], axis: int, count: int) -> Run | None:
        """Where `count` chunks from `first` on along `axis` lie in `space`; None where that takes an open."""
        return None

    def token(self) -> object:
        """What identifies the state of the chunks besides the file's fingerprint; None: nothing."""
        return None

    def stamps(self) -> npt.NDArray[np.uint32] | None:
        """A digest of each chunk's own state, on the grid of chunks.

        None where the file's fingerprint says it, or where there are too many to look at.
        """
        return None

    def stamp(self, coords: tuple[int, ...]) -> int:
        """The digest of one chunk's own state."""
        return 0


class OneRange(Places):
    """One chunk, a run of bytes: npy, npz members, raw files, contiguous and compact HDF5 datasets.

    Parameters
    ----------
    space
        The bytes.
    offset, nbytes
        The run.
    """

    def __init__(self, space: ByteSpace, offset: int, nbytes: int) -> None:
        self._space = space
        self.offset = offset
        self.nbytes = nbytes
        self.name = space.name

    @property
    def space(self) -> ByteSpace:
        # docstring inherited
        return self._space

    def open(self, coords: tuple[int, ...]) -> Stored:
        # docstring inherited
        self.check_extent()
        raw = self._space.settled_view()
        if raw is None:
            return SpaceRange(self._space, self.offset, self.nbytes, None, 0)
        return MemoryBytes(raw[self.offset : self.offset + self.nbytes], mapped=True)

    def check_extent(self) -> None:
        """Raise TruncatedFileError where the run reaches beyond the bytes."""
        end = self.offset + self.nbytes
        if end > self._space.nbytes:
            raise TruncatedFileError(
                message("reading", self.name, expected=f"at least {end} bytes", got=self._space.nbytes)
            )

    def kept_view(self, key: object, shaped: Callable[[Bytes], Array]) -> Callable[[], Array | None]:
        """A function that gives a shaped view of the bytes, checked against the file; None where they are not mapped.

        Views of a file are kept with its mapping, under `key`.
        """
        space = self._space

        def of_file() -> Array:
            handle = space.check()  # type: ignore[attr-defined]  # a FileSource has it
            found: Array | None = handle.views.get(key)
            if found is None:
                self.check_extent()
                raw = space.view()
                assert raw is not None
                found = handle.keep_view(key, shaped(raw))
            return found

        def of_memory() -> Array | None:
            self.check_extent()
            raw = space.view()
            return None if raw is None else shaped(raw)

        return of_file if isinstance(space, FileSource) else of_memory

    def stored_nbytes(self) -> tuple[int | None, int | None]:
        # docstring inherited
        return self.nbytes, 0


class TablePlaces(Places):
    """A byte range a chunk in one space, in the shape of the chunk grid: chunked HDF5 datasets.

    Parameters
    ----------
    space
        The bytes.
    offsets, nbytes
        uint64 arrays in the shape of the chunk grid; `offsets` is ``MISSING`` where nothing is stored.
    filter_mask
        uint32 array in the same shape, or None where no chunk skips a filter. Bit i set: filter i was not applied.

    Notes
    -----
    20 bytes a chunk: a million chunks are 20 MB. Where nothing is stored, `offsets` is one value in that shape, without
    memory of its own: the shape may be astronomic, so nothing here compares the whole of it.
    """

    def __init__(
        self, space: ByteSpace, offsets: U64, nbytes: U64, filter_mask: npt.NDArray[np.uint32] | None = None
    ) -> None:
        self._space = space
        self.offsets = offsets
        self.nbytes = nbytes
        self.filter_mask = filter_mask
        self.name = space.name

    @property
    def space(self) -> ByteSpace:
        # docstring inherited
        return self._space

    def open(self, coords: tuple[int, ...]) -> Stored | None:
        # docstring inherited
        offset = self.offsets.item(coords)
        if offset == _MISSING:
            return None
        nbytes = self.nbytes.item(coords)
        mask = 0 if self.filter_mask is None else self.filter_mask.item(coords)
        raw = self._space.settled_view()
        key = (id(self), coords)
        if raw is None:
            return SpaceRange(self._space, offset, nbytes, key, mask)
        if offset + nbytes > raw.size:
            raise TruncatedFileError(
                message(
                    "reading",
                    self.name,
                    None,
                    coords,
                    expected=f"at least {offset + nbytes} bytes in the file",
                    got=self._space.nbytes,
                )
            )
        return MemoryBytes(raw[offset : offset + nbytes], key, mask, mapped=True)

    def has(self, coords: tuple[int, ...]) -> bool:
        # docstring inherited
        return self.offsets.item(coords) != _MISSING

    def has_along(self, first: tuple[int, ...], axis: int, count: int) -> npt.NDArray[np.bool_]:
        # docstring inherited
        where: Any = (*first[:axis], slice(first[axis], first[axis] + count), *first[axis + 1 :])
        there: npt.NDArray[np.bool_] = self.offsets[where] != MISSING
        return there

    def nothing_stored(self) -> bool:
        # docstring inherited
        return self.offsets.size == 0 or (not any(self.offsets.strides) and self.offsets.flat[0] == MISSING)

    def stored_below(self, fixed: tuple[int, ...], grid_shape: tuple[int, ...]) -> Iterable[int]:
        # docstring inherited
        if self.nothing_stored():
            return ()
        found = (self.offsets[fixed] != MISSING).reshape(grid_shape[len(fixed)], -1).any(axis=1)
        indexes: list[int] = np.flatnonzero(found).tolist()
        return indexes

    def stored_nbytes(self) -> tuple[int | None, int | None]:
        # docstring inherited
        if self.nothing_stored():
            return 0, self.offsets.size
        there = self.offsets != MISSING
        return int(self.nbytes[there].sum()), int(there.size - there.sum())

    def run(self, first: tuple[int, ...], axis: int, count: int) -> Run | None:
        # docstring inherited
        where: Any = (*first[:axis], slice(first[axis], first[axis] + count), *first[axis + 1 :])
        offsets, sizes = self.offsets[where].tolist(), self.nbytes[where].tolist()
        masks: list[Any] = [0] * len(offsets) if self.filter_mask is None else self.filter_mask[where].tolist()
        return list(zip(offsets, sizes, masks, strict=True))
