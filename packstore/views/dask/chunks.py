"""Chunks for dask: the shape of an array and of its storage chunks go in, the shape of dask's chunks comes out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from packstore.errors import OptionError, message
from packstore.source.remote.urls import is_url
from packstore.storage import ManifestArray

__all__ = ["MAX_BLOCKS", "auto_chunks", "chunks_of", "least_nbytes_of", "normal_chunks", "split_chunks"]

# Below 32 MB malloc gives the memory of the last block again; from there on the pages of each block are made anew, and
# that costs as much as copying the elements once more. Views of a mapped file take no memory: they save tasks instead.
# Behind a URL a request takes 50 ms, in which a connection brings several MB.
MIN_CHUNK_NBYTES = 16 << 20
MIN_VIEW_NBYTES = MIN_FAR_NBYTES = 64 << 20
MAX_CHUNK_NBYTES = 128 << 20
# So many tasks before chunks grow past the minimum, and memory with them: up to 8 GB they do not.
WANTED_CHUNKS = 256
# No plan has more blocks: from here on they grow without end. dask keeps a list of block lengths an axis, and takes
# some 300 µs a block: a million blocks of 128 MB are 128 TB, and five minutes of dask alone.
MAX_BLOCKS = 1_000_000


def least_nbytes_of(path: str, *, is_view: bool) -> int:
    """Bytes that a dask chunk has at least, of a file that `path` names; `is_view`: mapped as it is."""
    return MIN_FAR_NBYTES if is_url(path) else MIN_VIEW_NBYTES if is_view else MIN_CHUNK_NBYTES


def chunks_of(array: ManifestArray, path: str) -> tuple[int, ...]:
    """The shape of the dask chunks of an array, of a file that `path` names, where the caller has no wish."""
    storage = array.storage
    least = least_nbytes_of(path, is_view=storage.is_view)
    unit = array.shard_shape or array.chunk_shape
    shape = array.shape
    itemsize = max(array.dtype.itemsize, 1)
    turn = slice(None, None, -1 if storage.order == "F" else 1)
    parts = split_chunks(shape, itemsize, unit, least) if storage.reads_parts else None
    return parts or auto_chunks(shape[turn], itemsize, unit[turn], least)[turn]


def auto_chunks(
    shape: tuple[int, ...], itemsize: int, unit: tuple[int, ...], least_nbytes: int = MIN_CHUNK_NBYTES
) -> tuple[int, ...]:
    """Merge storage chunks into dask chunks of 16-128 MB.

    Parameters
    ----------
    shape
        Of the array.
    itemsize
        Bytes an element.
    unit
        Shape of a storage chunk; the result is a whole multiple of it along each axis (or the whole axis).
    least_nbytes
        Of a chunk, where there are so few.

    Notes
    -----
    dask costs about 270 µs a task, so a dask chunk per storage chunk would spend most of its time there. Chunks grow
    along the fastest axes first: a dask chunk is then one run of the file where the storage is. They grow past 128 MB
    where there would be more than a million, and an array without elements is one chunk, however long its axes.

    Examples
    --------
    >>> auto_chunks((16384, 16384), 1, (1024, 1024))
    (1024, 16384)
    """
    if 0 in shape:
        return tuple([max(n, 1) for n in shape])
    target = _target_nbytes(shape, itemsize, least_nbytes)
    out = [max(min(u, n), 1) for u, n in zip(unit, shape, strict=True)]
    for axis in range(len(shape) - 1, -1, -1):
        size = math.prod(out) * itemsize
        if size <= 0 or size * 2 > target:
            break
        factor = target // size
        out[axis] = max(min(out[axis] * factor, shape[axis]), 1)
        if out[axis] < shape[axis]:
            break
    return _bounded(shape, out)


def _bounded(shape: tuple[int, ...], chunk: list[int]) -> tuple[int, ...]:
    """Whole multiples of `chunk`, the fastest axes first, of which at most `MAX_BLOCKS` make the array."""
    for axis in range(len(shape) - 1, -1, -1):
        blocks = [-(-n // c) for n, c in zip(shape, chunk, strict=True)]
        count = math.prod(blocks)
        if count <= MAX_BLOCKS:
            break
        allowed = max(MAX_BLOCKS * blocks[axis] // count, 1)
        chunk[axis] = min(-(-blocks[axis] // allowed) * chunk[axis], shape[axis])
    return tuple(chunk)


def normal_chunks(
    chunks: Any,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    path: str,
    component: str | None = None,
    previous: tuple[int, ...] | None = None,
) -> tuple[tuple[int, ...], ...]:
    """A caller's `chunks`, of any form that dask takes, as the block lengths of each axis.

    Parameters
    ----------
    path, component
        For error messages.
    previous
        Storage chunks, which dask keeps to where it may choose.

    Raises
    ------
    OptionError
        dask does not take them, or they make more blocks than it can list.
    """
    # Function-level, for import time.
    from dask.array.core import normalize_chunks

    try:
        if isinstance(chunks, Mapping) and not all(
            isinstance(axis, (int, np.integer)) and -len(shape) <= axis < len(shape) for axis in chunks
        ):
            raise ValueError(f"the axes are 0 to {len(shape) - 1}")
        _check_lengths(chunks)
        _check_count(chunks, shape)
        found: tuple[tuple[int, ...], ...] = normalize_chunks(chunks, shape, dtype=dtype, previous_chunks=previous)
    except (ValueError, TypeError, ArithmeticError, AttributeError, LookupError, NotImplementedError) as error:
        raise OptionError(
            message(
                "chunking",
                path,
                component or None,
                expected=f"chunks= that dask takes for shape {shape}",
                got=f"{chunks!r:.200} ({error})",
                hint='Pass one length for all axes, one an axis (-1: the whole axis), or "auto"',
            )
        ) from None
    return found


def _check_lengths(chunks: Any) -> None:
    """Refuse what dask would quietly take for a length, or fail on later."""
    if isinstance(chunks, Mapping):
        chunks = tuple(chunks.values())
    if isinstance(chunks, (list, tuple)):
        for each in chunks:
            _check_lengths(each)
    elif chunks is not None and not isinstance(chunks, str):
        if isinstance(chunks, (bool, np.bool_)) or not isinstance(chunks, (int, np.integer)):
            raise ValueError(f"{chunks!r} is no length")
        if chunks < -1:
            raise ValueError(f"{chunks} is negative")


def _check_count(chunks: Any, shape: tuple[int, ...]) -> None:
    """Refuse chunks of one length an axis that make too many blocks: dask would list them before it said anything."""
    lengths = (chunks,) * len(shape) if isinstance(chunks, int) else chunks
    if isinstance(lengths, (list, tuple)) and len(lengths) == len(shape) and all(isinstance(c, int) for c in lengths):
        counts = [-(-n // c) if c > 0 else 1 for n, c in zip(shape, lengths, strict=True)]
        if max(math.prod(counts), *counts, 1) > 100 * MAX_BLOCKS:
            raise ValueError(f"more than {100 * MAX_BLOCKS} blocks")


def _target_nbytes(shape: tuple[int, ...], itemsize: int, least_nbytes: int) -> int:
    return min(max(math.prod(shape) * itemsize // WANTED_CHUNKS, least_nbytes), MAX_CHUNK_NBYTES)


def split_chunks(
    shape: tuple[int, ...], itemsize: int, unit: tuple[int, ...], least_nbytes: int = MIN_CHUNK_NBYTES
) -> tuple[int, ...] | None:
    """Cut large storage chunks into dask chunks, for storage of which parts can be read by themselves.

    Parameters
    ----------
    shape, itemsize, unit, least_nbytes
        As for `auto_chunks`; a part has about `least_nbytes`.

    Returns
    -------
    tuple or None
        The shape of a part; None where no chunk has twice the size. It divides the chunk evenly where something near
        `least_nbytes` does; else some parts lie in two chunks, for ``dask.array.to_zarr`` wants them all alike.

    Notes
    -----
    A part of a chunk is one run of its bytes.

    Examples
    --------
    >>> split_chunks((20_000, 8192), 1, (8192, 8192))
    (2048, 8192)
    """
    unit = tuple([max(min(u, n), 1) for u, n in zip(unit, shape, strict=True)])
    nbytes = math.prod(unit) * itemsize
    target = _target_nbytes(shape, itemsize, least_nbytes)
    axis = next((i for i, n in enumerate(unit) if n > 1), None)
    if nbytes < 2 * target or 0 in shape or axis is None:
        return None
    length, wanted = unit[axis], round(nbytes / target)
    even = [k for k in range(-(-3 * wanted // 4), 2 * wanted) if length % k == 0 and k > 1]
    step = -(-length // min(even, key=lambda k: abs(k - wanted), default=wanted))
    if not even and step > 8:
        step = -(-step // 8) * 8  # whole bytes of bits
    parts = (*unit[:axis], step, *unit[axis + 1 :])
    return parts if math.prod([-(-n // c) for n, c in zip(shape, parts, strict=True)]) <= MAX_BLOCKS else None
