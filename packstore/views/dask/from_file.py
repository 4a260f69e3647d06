"""A saved array as a dask array over the direct path."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from packstore.views.lazy import LazyArray, open_lazy

if TYPE_CHECKING:
    import dask.array as da

__all__ = ["auto_chunks", "count_nonzero", "from_file", "from_lazy", "split_chunks"]

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
        As for `auto_chunks`; `least_nbytes` is what a part has, more or less.

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


def from_lazy(lazy: LazyArray, chunks: Any = "auto", *, name: str | None = None, inline_array: bool = True) -> da.Array:
    """A dask array over a `LazyArray`; parameters as `from_file`."""
    import dask.array as da
    from dask.base import tokenize
    from dask.blockwise import Blockwise
    from dask.layers import ArraySliceDep

    from packstore.views.dask.slice_dep import RunLengthSliceDep

    array = lazy.array
    if isinstance(chunks, str) and chunks == "auto":
        storage = array.storage
        least = MIN_VIEW_NBYTES if storage.is_view else MIN_CHUNK_NBYTES
        unit = array.shard_shape or array.chunk_shape
        shape = lazy.shape
        itemsize = max(lazy.dtype.itemsize, 1)
        turn = slice(None, None, -1 if storage.order == "F" else 1)
        chunks = split_chunks(shape, itemsize, unit, least) if storage.reads_parts else None
        if chunks is None:
            chunks = auto_chunks(shape[turn], itemsize, unit[turn], least)[turn]
    if name is None:
        name = "packstore-" + tokenize(lazy, chunks)
    meta = np.empty((0,) * lazy.ndim, lazy.dtype)
    # dask would index a 0-d array with (), and numpy's scalars lose the byte order.
    getitem = None if lazy.ndim else _read_0d
    out = da.from_array(
        lazy, chunks=chunks, name=name, meta=meta, asarray=True, fancy=False, inline_array=inline_array, getitem=getitem
    )
    layer = out.dask.layers.get(name)
    if isinstance(layer, Blockwise):
        # dask's own block slices pickle to 7 bytes a block; all else of the layer is a few hundred bytes.
        for key, dep in layer.io_deps.items():
            if type(dep) is ArraySliceDep:
                layer.io_deps[key] = RunLengthSliceDep(dep.chunks)
    return out


def _read_0d(array: LazyArray, key: Any, asarray: bool = True, lock: Any = False) -> Any:
    return array[...]


def from_file(
    path: Any,
    component: str | None = None,
    chunks: Any = "auto",
    *,
    format: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    inline_array: bool = True,
    **reader_options: Any,
) -> da.Array:
    """Open one saved array as a dask array.

    Parameters
    ----------
    path : path-like or str
        A local file, a zarr directory, or an fsspec URL.
    component : str, optional
        The array in the file; may be left out where there is only one.
    chunks : optional
        As ``dask.array.from_array``; "auto" merges storage chunks to 16-128 MB (from 64 where
        nothing is to decode), and cuts larger ones to that where parts can be read by themselves (uncompressed zarr).
    inline_array : bool
        As ``dask.array.from_array``; the array pickles as a path, so it goes into each task by default.
    format, storage_options, **reader_options
        As for `open_store`.

    Returns
    -------
    dask.array.Array
        Shape and dtype (byte order included) of the saved array, for every dtype that numpy can hold.

    Raises
    ------
    MissingFileError, FormatError, OptionError, ComponentNotFoundError, UnsupportedError
        As for `open_array`.
    StaleFileError
        On computing, where the file changed since.

    Notes
    -----
    Nothing is read but headers and indexes; the graph pickles to a few KB whatever the file's size. Its name holds the
    file's fingerprint (path, size, modification time, inode), so results are never reused across a change of the file.

    Examples
    --------
    >>> import numpy as np, packstore, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "x.npy"
    >>> np.save(path, np.arange(10))
    >>> int(packstore.from_file(path).sum().compute())
    45
    """
    lazy = open_lazy(path, component, format=format, storage_options=storage_options, **reader_options)
    return from_lazy(lazy, chunks, inline_array=inline_array)


def count_nonzero(
    array: Any, axis: int | tuple[int, ...] | None = None, *, chunks: Any = "auto", **open_options: Any
) -> da.Array:
    """Count the elements that are not zero, lazily; packed masks without unpacking them.

    Parameters
    ----------
    array : packstore.Array, LazyArray, path-like or str
        What to count in; a path is opened with `open_options`, which are those of `from_file`.
    axis : int or tuple of int, optional
        As ``numpy.count_nonzero``.
    chunks : optional
        As `from_file`: one task a chunk.

    Returns
    -------
    dask.array.Array
        Of int64; 0-d where `axis` is None.

    Raises
    ------
    OptionError
        No such axis, or something that packstore did not open.
    MissingFileError, FormatError, ComponentNotFoundError, UnsupportedError
        As for `from_file`.

    Examples
    --------
    >>> import numpy as np, packstore, pathlib, tempfile
    >>> from packstore.views.dask.from_file import count_nonzero
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "x.npy"
    >>> np.save(path, np.eye(3))
    >>> count_nonzero(path, axis=0).compute()
    array([1, 1, 1])
    """
    import dask.array as da
    from dask.base import tokenize

    from packstore.storage.count import BlockCounts, reduced_axes

    lazy = getattr(array, "lazy", array)
    if not isinstance(lazy, LazyArray):
        lazy = open_lazy(array, **open_options)
    axes = reduced_axes(axis, lazy.ndim)
    blocks = from_lazy(lazy, chunks).chunks
    counts = BlockCounts(lazy, blocks, axes)
    parts = da.from_array(
        counts,
        chunks=tuple((1,) * len(c) if i in axes else c for i, c in enumerate(blocks)),
        name="packstore-count-" + tokenize(lazy, blocks, axes),
        meta=np.empty((0,) * lazy.ndim, np.int64),
        fancy=False,
        inline_array=True,
    )
    return parts.sum(axis=axes)
