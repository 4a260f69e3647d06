"""Many files as one dask array: paths go in, a `dask.array.Array` whose tasks hold the files they touch comes out."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from packstore.core.process import read_here
from packstore.errors import PackstoreError
from packstore.readers.joined import FileParts, MultiLocation, join_files
from packstore.views.dask.chunks import auto_chunks, least_nbytes_of, normal_chunks
from packstore.views.dask.from_lazy import from_lazy
from packstore.views.lazy import LazyArray

if TYPE_CHECKING:
    import dask.array as da

__all__ = ["from_files"]


def _joined_chunks(where: MultiLocation, chunks: Any) -> tuple[tuple[int, ...], ...]:
    shape, axis = where.shape, where.axis
    itemsize = max(where.dtype.itemsize, 1)
    if not (isinstance(chunks, str) and chunks == "auto"):
        return normal_chunks(chunks, shape, where.dtype, where.path)
    first = where.parts[0]
    unit = first.shard_shape or first.chunk_shape
    least = least_nbytes_of(where.parts.locations[0].fingerprint.path, is_view=False)
    per_file = auto_chunks(first.shape, itemsize, unit, least)
    if where.new_axis:
        per_file = (*per_file[:axis], 1, *per_file[axis:])
    rest = [c for i, c in enumerate(per_file) if i != axis]
    row = itemsize
    for c in rest:
        row *= c
    lengths: list[int] = []
    open_length = 0
    for a, b in zip(where.starts, where.starts[1:], strict=False):
        length = b - a
        if length == 0:
            continue
        if length * row > 2 * least and not where.new_axis:
            # A large file: chunks of its own, cut where its storage is.
            if open_length:
                lengths.append(open_length)
                open_length = 0
            step = max(per_file[axis], 1)
            lengths += [min(step, length - at) for at in range(0, length, step)]
            continue
        open_length += length
        if open_length * row >= least:
            lengths.append(open_length)
            open_length = 0
    if open_length or not lengths:
        lengths.append(open_length)
    spec: list[Any] = list(per_file)
    spec[axis] = tuple(lengths)
    return normal_chunks(tuple(spec), shape, where.dtype, where.path)


def from_files(
    paths: str | os.PathLike[str] | Sequence[Any],
    component: str | None = None,
    axis: int = 0,
    new_axis: bool = False,
    chunks: Any = "auto",
    *,
    format: str | None = None,
    storage_options: Mapping[str, Any] | None = None,
    **reader_options: Any,
) -> da.Array:
    """Open many files as one dask array.

    Parameters
    ----------
    paths : str or sequence of path-like
        A glob (sorted, numbers in names by value) or a list (in its own order).
    component : str, optional
        The array in each file; may be left out where each holds one.
    axis : int
        The axis to join along; the files may differ in length there.
    new_axis : bool
        Stack on a new axis in that place instead; the files must then agree in shape.
    chunks : optional
        As ``dask.array.from_array``; "auto" joins small files to chunks of at least 16 MB (64 behind URLs) and
        cuts large ones.
    format : str, optional
        "npy", "npz", "hdf5", "zarr", "raw", …; recognised by content where None. Raw bytes have no signs: name them.
    storage_options : mapping, optional
        For the fsspec file system of a URL.
    **reader_options
        Options of the format: ``dtype=``, ``shape=``, ``offset=``, ``order=``, ``packed_axis=``, ``bitorder=``
        and ``bits=`` for "raw", ``allow_external=`` for "hdf5", those of `numpy.loadtxt` for "text". The same for every
        file.

    Returns
    -------
    dask.array.Array
        With the dtype of the files (byte order included).

    Raises
    ------
    MissingFileError
        Nothing matches.
    AccessError, ReadError
        The operating system or the server refuses to read it.
    MissingPackageError
        A URL needs a package that is not installed; the text names it.
    ShapeError, DtypeError
        A file does not fit the first; the text names it.
    OptionError
        `axis` out of range, an unknown format, or an option that the format does not take.
    FormatError
        No format recognises the content of a file, or the file is damaged.
    ComponentNotFoundError
        A file has no such array, or several and none named.
    UnsupportedError
        The array of a file cannot be read; the text says why.
    StaleFileError
        On computing, where a file changed since.

    Notes
    -----
    Reads one header a file. Each task carries only the files that its block touches.

    Examples
    --------
    >>> import numpy as np, packstore, pathlib, tempfile
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> for i in range(3):
    ...     np.save(folder / f"{i}.npy", np.full((i + 1, 2), i))
    >>> packstore.from_files(f"{folder}/*.npy").sum(axis=1).compute().tolist()
    [0, 2, 2, 4, 4, 4]
    """
    where = join_files(
        paths, component, axis, new_axis, format=format, storage_options=storage_options, **reader_options
    )
    return from_location(where, chunks)


def from_location(where: MultiLocation, chunks: Any = "auto") -> da.Array:
    """The dask array over joined files."""
    # Function-level, for import time.
    import dask.array as da
    from dask.base import tokenize
    from dask.blockwise import Blockwise
    from dask.blockwise import blockwise as core_blockwise
    from dask.highlevelgraph import HighLevelGraph

    from packstore.views.dask.file_dep import FilePartDep

    blocks = _joined_chunks(where, chunks)
    if da.Array.__module__ != "dask.array.core":
        # An expression ("array.query-planning") has no layer: each task has all of the files.
        return from_lazy(LazyArray(where, ""), blocks)
    name = "packstore-files-" + tokenize(where.fingerprint, where.parts.component, where.axis, where.new_axis, blocks)
    index = tuple(range(len(blocks)))
    # Releases of dask before 2025 do not ask which tasks make data.
    known = inspect.signature(Blockwise).parameters
    more = {"_data_producer": True} if "_data_producer" in known else {}
    layer = core_blockwise(_read_block, name, index, FilePartDep(blocks, where), index, numblocks={}, **more)
    graph = HighLevelGraph.from_collections(name, layer)
    meta = np.empty((0,) * len(blocks), where.dtype)
    return da.Array(graph, name, blocks, meta=meta)


def _read_block(part: tuple[FileParts, np.dtype[Any], int, bool, tuple[slice, ...]]) -> npt.NDArray[Any]:
    """A block: the box of the array that the few files it touches make."""
    files, dtype, axis, new_axis, box = part
    try:
        return MultiLocation(files, dtype, axis, new_axis).reader().read(box)
    except PackstoreError as error:
        raise read_here(error) from error
