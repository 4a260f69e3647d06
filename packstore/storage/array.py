"""`ManifestArray`: what an array is (shape, dtype, attributes), and the `Storage` that its elements come from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from packstore.core.boxes import Box
from packstore.core.typing import Array

__all__ = ["Facts", "ManifestArray", "Storage", "missing_value"]


class Facts(NamedTuple):
    """How an array is stored, for people.

    Parameters
    ----------
    layout
        In a word: "contiguous", "chunked", "packed bits", …
    filters
        Names of codecs and filters, in the order of writing.
    nbytes
        What its elements take in the file; None where only reading would tell.
    missing
        Chunks that were never written; None where that is not known.
    """

    layout: str
    filters: tuple[str, ...] = ()
    nbytes: int | None = None
    missing: int | None = None


class Storage:
    """Where an array's elements come from. All that other modules want to know of it, it answers.

    A subclass gives `read`; each other answer has a default that is right for a storage that knows nothing better.
    Methods are thread safe and keep no file of another process open across a fork.

    Attributes
    ----------
    order
        "F" where the first axis is the fastest one in the file, so that runs of bytes lie along the first axes.
    is_view
        Whether the array is a view of mapped bytes: a read decodes and copies nothing.
    reads_parts
        Whether part of a chunk costs only its share, and is checked as the whole chunk would be.
    has_chunks
        Whether the file is cut into chunks, each of which is cheapest to read whole.
    has_sum
        Whether there is a checksum over the whole array, which only `verify` and reads of all of it compare.
    is_instant
        Whether a read neither decodes nor waits for anything but a page of the file.
    """

    order: Literal["C", "F"] = "C"
    is_view: bool = False
    reads_parts: bool = False
    has_chunks: bool = True
    has_sum: bool = False

    @property
    def is_instant(self) -> bool:
        return False

    def opened(self, ns: int | None = None) -> Storage:
        """The same storage for an array that is opened now, or was at `ns`, where it matters when that was."""
        return self

    @property
    def opened_ns(self) -> int | None:
        """When the array was opened, in ns since 1970, where that matters: it travels with the array."""
        return None

    def read(self, array: ManifestArray, box: Box) -> Array:
        """Elements of `box`, in the array's dtype.

        Parameters
        ----------
        array
            The array that this is the storage of.
        box
            One slice an axis with ``0 <= start <= stop <= n`` and ``step >= 1``.
        """
        raise NotImplementedError

    def read_chunk(self, array: ManifestArray, coords: tuple[int, ...]) -> Array | None:
        """Chunk `coords` of the array's grid, whole; chunks at the edges are filled up with the fill value.

        Returns
        -------
        ndarray or None
            Shape ``array.chunk_shape``, in C order, or in F order where the data are; None for a chunk that was never
            written.
        """
        bounds = zip(coords, array.chunk_shape, array.shape, strict=True)
        part = self.read(array, tuple([slice(i * c, min((i + 1) * c, n), 1) for i, c, n in bounds]))
        if part.shape == array.chunk_shape:
            return part
        whole = np.full(array.chunk_shape, missing_value(array), array.dtype, order=self.order)
        whole[tuple([slice(0, n) for n in part.shape])] = part
        return whole

    def verify(self, *, reading: bool = False) -> None:
        """Compare the checksum over the whole array, where there is one; checksums of chunks are compared by reads.

        Parameters
        ----------
        reading
            The caller is about to read the whole array, so that it need not be read here only for its sum.

        Raises
        ------
        ChecksumError
            The stored bytes are damaged.
        """

    def view(self, array: ManifestArray) -> Callable[[], Array | None] | None:
        """A function that gives the whole array as a read-only view, each time checked against the file.

        None where no view is possible; the function gives None where the bytes turn out not to be mapped.
        """
        return None

    def has_chunk(self, coords: tuple[int, ...]) -> bool:
        """Whether chunk `coords` is stored; missing chunks hold the fill value."""
        return True

    def stored_below(self, fixed: tuple[int, ...], grid_shape: tuple[int, ...]) -> Iterable[int]:
        """Indexes along the axis after `fixed` below which some chunk is stored."""
        return range(grid_shape[len(fixed)])

    def count_nonzero(self, array: ManifestArray, box: Box, axes: tuple[int, ...]) -> Array | None:
        """Elements of `box` that are not zero, counted along `axes` as they are stored.

        Returns
        -------
        ndarray of int64 or None
            None where counting needs the decoded elements: count those.
        """
        return None

    def owners(self) -> Iterable[object]:
        """The objects in whose name caches keep what was decoded of the array."""
        return ()

    def facts(self, array: ManifestArray) -> Facts:
        """How the array is stored."""
        return Facts("other")

    def token(self) -> object:
        """What identifies the state of the stored bytes besides the file's fingerprint; None: nothing."""
        return None

    def stamps(self) -> npt.NDArray[np.uint32] | None:
        """A digest of the state of each stored chunk, where each has one besides the file's fingerprint, or None."""
        return None

    def compare(self, stamps: npt.NDArray[np.uint32], box: Box) -> None:
        """Raise StaleFileError where a chunk that `box` touches is in another state than `stamps` say."""

    def unreachable(self) -> Mapping[str, str]:
        """Parts that a read would fail for, by name, and why: other files that are not there."""
        return {}


@dataclass(frozen=True, eq=False)
class ManifestArray:
    """An array in a file.

    Parameters
    ----------
    shape, dtype
        As a numpy user sees it (byte order included). Objects are of variable length: h5py's metadata on the dtype
        says of which type (`h5py.check_string_dtype` and `h5py.check_vlen_dtype` read it).
    chunk_shape
        The grid that zarr sees; all positive. Where the file is chunked it is the stored grid.
    storage
        Where the elements come from.
    fill_value
        What missing chunks hold, as a scalar of `dtype`; None: the dtype's zero.
    attributes
        JSON-able values; an `Attributes` also knows in which types they are stored.
    dimension_names
        One name (or None) an axis, or None.
    shard_shape
        The unit that is cheapest to read whole, where it is larger than a chunk.
    version
        What identifies the array's state besides the file's fingerprint (the time of a nested metadata file), or None.
    max_shape
        How far each axis may grow in the file, None for without end; None where no axis may.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunk_shape: tuple[int, ...]
    storage: Storage
    fill_value: Any = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    dimension_names: tuple[str | None, ...] | None = None
    shard_shape: tuple[int, ...] | None = None
    version: tuple[Any, ...] | None = None
    max_shape: tuple[int | None, ...] | None = None

    @property
    def grid_shape(self) -> tuple[int, ...]:
        """Number of chunks along each axis."""
        return tuple(-(-n // c) for n, c in zip(self.shape, self.chunk_shape, strict=True))

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements, decoded."""
        return self.size * self.dtype.itemsize


def missing_value(array: ManifestArray) -> Any:
    """What an element that was never written holds: the fill value, or the zero of the type (b"", 0, None)."""
    if array.fill_value is not None or array.dtype.kind == "O":
        return array.fill_value
    return np.zeros((), array.dtype)[()]
