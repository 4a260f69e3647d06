"""Saved arrays as dask arrays: a path and options go in, a `dask.array.Array` over the direct path comes out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from packstore.readers.joined import join_files
from packstore.views.dask.from_files import from_location
from packstore.views.dask.from_lazy import from_lazy
from packstore.views.dask.pinned import pinned
from packstore.views.lazy import LazyArray, open_lazy

if TYPE_CHECKING:
    import dask.array as da

__all__ = ["count_nonzero", "from_file", "from_lazy"]


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
    path : path-like, str or list of them
        A local file, a zarr directory (v2 or v3), a URL or URL pipeline, a binary file object, or a zarr store. A list
        of files is one array: it takes `axis` and `new_axis` as `from_files` does.
    component : str, optional
        The array in the file; may be left out where there is only one.
    chunks : optional
        As ``dask.array.from_array``; "auto" merges storage chunks to 16-128 MB (from 64 where nothing is to decode, and
        behind URLs), and cuts larger ones to that where parts can be read by themselves (uncompressed zarr).
        Chunks grow further where there would be more than a million; an array without elements is one.
    format : str, optional
        "npy", "npz", "hdf5", "zarr", "raw", …; recognised by content where None. Raw bytes have no signs: name them.
    storage_options : mapping, optional
        For the fsspec file system of a URL.
    inline_array : bool
        As ``dask.array.from_array``; the array pickles as a path, so it goes into each task by default.
    **reader_options
        Options of the format: ``dtype=``, ``shape=``, ``offset=``, ``order=``, ``packed_axis=``, ``bitorder=``
        and ``bits=`` for "raw", ``allow_external=`` for "hdf5", those of `numpy.loadtxt` for "text".

    Returns
    -------
    dask.array.Array
        Shape and dtype (byte order included) of the saved array, for every dtype that numpy can hold.

    Raises
    ------
    MissingFileError
        No such file.
    AccessError, ReadError
        The operating system or the server refuses to read it.
    MissingPackageError
        A URL needs a package that is not installed; the text names it.
    FormatError
        No format recognises the content, or the file is damaged.
    OptionError
        An unknown format, or an option that the format does not take.
    ComponentNotFoundError
        No such array, or several and none named.
    UnsupportedError
        The array cannot be read; the text says why.
    ShapeError, DtypeError
        A file of a list does not fit the first.
    StaleFileError
        On computing, where the file changed since.

    Notes
    -----
    Nothing is read but headers and indexes; the graph pickles to a few KB whatever the file's size. Its name holds the
    file's fingerprint (path, size, modification time), so results are never reused across a change of the file.

    Examples
    --------
    >>> import numpy as np, packstore, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "x.npy"
    >>> np.save(path, np.arange(10))
    >>> int(packstore.from_file(path).sum().compute())
    45
    """
    options = {"format": format, "storage_options": storage_options, **reader_options}
    if isinstance(path, (list, tuple)):
        return from_location(join_files(path, component, **options), chunks)
    lazy = open_lazy(path, component, **options)
    return from_lazy(lazy, chunks, inline_array=inline_array)


def count_nonzero(
    array: Any, axis: int | tuple[int, ...] | None = None, *, chunks: Any = "auto", **open_options: Any
) -> da.Array:
    """Count the elements that are not zero, lazily; packed masks without unpacking them.

    Parameters
    ----------
    array : packstore.Array, LazyArray, path-like, str or list of them
        The array to count in; a path, or a list of files, is opened with `open_options`, which are those of
        `from_file`.
    axis : int or tuple of int, optional
        Along which to count, as ``numpy.count_nonzero``; None: the whole array.
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
    >>> from packstore import count_nonzero
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "x.npy"
    >>> np.save(path, np.eye(3))
    >>> count_nonzero(path, axis=0).compute()
    array([1, 1, 1])
    """
    # Function-level, for import time.
    import dask.array as da
    from dask.base import tokenize

    from packstore.storage.count import reduced_axes
    from packstore.views.dask.block_counts import BlockCounts

    lazy = getattr(array, "lazy", array)
    if not isinstance(lazy, LazyArray):
        lazy = open_lazy(array, **open_options)
    lazy = pinned(lazy)
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
