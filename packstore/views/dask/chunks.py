"""Chunks for dask: the shape of an array and of its storage chunks go in, the shape of dask's chunks comes out."""

from __future__ import annotations

import math

__all__ = ["MIN_CHUNK_NBYTES", "MIN_VIEW_NBYTES", "auto_chunks", "split_chunks"]

# Below 32 MB malloc gives the memory of the last block again; from there on the pages of each block are made anew, and
# that costs as much as copying the elements once more. Views of a mapped file take no memory: they save tasks instead.
MIN_CHUNK_NBYTES = 16 << 20
MIN_VIEW_NBYTES = 64 << 20
MAX_CHUNK_NBYTES = 128 << 20
# So many tasks before chunks grow past the minimum, and memory with them: up to 8 GB they do not.
WANTED_CHUNKS = 256


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
    along the fastest axes first: a dask chunk is then one run of the file where the storage is.

    Examples
    --------
    >>> auto_chunks((16384, 16384), 1, (1024, 1024))
    (1024, 16384)
    """
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
    return tuple(out)


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
    return (*unit[:axis], step, *unit[axis + 1 :])
