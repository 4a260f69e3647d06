"""``.h5``: chunks filtered and compressed in parallel outside h5py's lock, then handed to libhdf5 as they are.

Filters are those of libhdf5 itself (shuffle, deflate, nbit), so any HDF5 tool reads the file.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from packstore.errors import DtypeError, OptionError, WriteError, message
from packstore.storage import regroup
from packstore.writers.atomic import allocate
from packstore.writers.blocks import write_blocks
from packstore.writers.chunk_shapes import BLOCK_NBYTES, chunk_option, fitting_chunks, grown, square_chunks
from packstore.writers.hdf5_chunks import ChunkEncoder
from packstore.writers.items import Item
from packstore.writers.progress import Progress
from packstore.writers.raw import RegionSink
from packstore.writers.tree import Tree

__all__ = ["SINGLE_NAME", "write"]

# What a dataset is called whose array has no name.
SINGLE_NAME = "data"
CHUNK_NBYTES = 1 << 20
# Chunks that one choice of an encoder holds for, and that one thread takes at a time.
GROUP_NBYTES, LARGE_GROUP_NBYTES = 4 << 20, 8 << 20
LARGE_NBYTES = 64 << 20
_MAX_CHUNK_NBYTES = (1 << 32) - 1


def write(
    target: Path,
    tree: Tree,
    progress: Progress,
    *,
    chunks: Any = None,
    level: int = 4,
    shuffle: bool = True,
    pack: bool = False,
    compressor: Literal["gzip"] | None = "gzip",
) -> None:
    """Write datasets into a new HDF5 file; one array is called ``data``, and ``a/b`` is ``b`` in the group ``a``.

    Parameters
    ----------
    chunks
        One chunk shape for all arrays, or a dict of them by name; default: about 1 MiB, square in the last two axes.
    level
        1 to 9: chunks become as small as zlib makes them at that level.
    shuffle
        Whether bytes of equal significance are stored together, which helps with numbers.
    pack
        Whether bool arrays take one bit an element: integers of 1 bit (uint8 for h5py) with the filter nbit, instead
        of h5py's enumeration of 1 byte.
    compressor
        "gzip", or None. Without compressor and chunks, elements lie in one run, which can be mapped.

    Raises
    ------
    DtypeError
        A dtype that HDF5 cannot hold.
    OptionError
        Options that do not fit together.

    Notes
    -----
    ``datetime64`` and ``timedelta64`` become opaque types that h5py reads back; ``U`` strings become UTF-8 strings of
    variable length, which are not compressed.
    """
    if compressor not in ("gzip", None):
        raise OptionError(message("writing", target, expected='compressor "gzip" or None', got=repr(compressor)))
    if isinstance(level, bool) or level not in range(1, 10):
        hint = "compressor=None turns compression off"
        raise OptionError(message("writing", target, expected="level 1 to 9", got=repr(level), hint=hint))
    plans = [
        _Plan(target, item, tree.single, chunks, level if compressor else None, shuffle, pack) for item in tree.items
    ]
    with _h5py_errors(target):
        import h5py

        with h5py.File(target, "x", locking=False) as file:
            # All at once: names and types that do not work show before any data is written.
            for plan in plans:
                plan.create(file)
            for plan in plans:
                if plan.item.nbytes and not plan.contiguous:
                    plan.fill(file, progress)
            offsets = [plan.offset(file) for plan in plans]
    for plan, offset in zip(plans, offsets, strict=True):
        if offset is not None:
            plan.fill_run(target, offset, progress)


@contextlib.contextmanager
def _h5py_errors(target: Path) -> Iterator[None]:
    """Turn libhdf5's failed writes, which h5py raises as RuntimeError or OSError, into OSError with its number."""
    try:
        yield
    except (RuntimeError, OSError) as error:
        found = re.search(r"errno = (\d+)", str(error))
        if found is None:
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1]))) from error


class _Plan:
    """How one array is stored."""

    def __init__(
        self, target: Path, item: Item, single: bool, chunks: Any, level: int | None, shuffle: bool, pack: bool
    ) -> None:
        self.item = item
        self.name = SINGLE_NAME if single else item.name
        self.packed = pack and item.dtype == np.bool_
        self.strings = item.dtype.kind == "U"
        wanted = chunk_option(target, item, chunks)
        plain = not item.shape or 0 in item.shape or self.strings
        self.contiguous = not plain and wanted is None and level is None and not self.packed
        self.chunk: tuple[int, ...] | None = None
        self.encoder: ChunkEncoder | None = None
        if plain or self.contiguous:
            return
        if wanted is None:
            wanted = fitting_chunks(item, square_chunks(item.shape, max(CHUNK_NBYTES // item.dtype.itemsize, 1)))
        self.chunk = tuple(min(c, n) for c, n in zip(wanted, item.shape, strict=True))
        nbytes = int(np.prod(self.chunk, dtype=np.int64)) * item.dtype.itemsize
        if nbytes > _MAX_CHUNK_NBYTES:
            raise OptionError(
                message("chunking", target, item.name or None, expected="HDF5 chunks below 4 GiB", got=self.chunk)
            )
        planes = shuffle and level is not None and not self.packed and item.dtype.itemsize > 1
        self.encoder = ChunkEncoder(self.chunk, item.dtype, planes, level, self.packed)

    def create(self, file: Any) -> None:
        """Make the dataset, empty, with its attributes."""
        item = self.item
        try:
            dataset = self._create(file)
        except (TypeError, ValueError) as error:
            raise DtypeError(
                message("writing", None, self.name, expected="a dtype for HDF5", got=f"{item.dtype} ({error})")
            ) from error
        for key, value in item.attributes.items():
            _put_attribute(dataset, str(key), value)

    def _create(self, file: Any) -> Any:
        import h5py

        if self.packed:
            kind = h5py.h5t.STD_U8LE.copy()
            kind.set_precision(1)
        else:
            kind = h5py.h5t.py_create(_stored_dtype(self.item.dtype), logical=True)
            if not self.strings and kind.get_size() != self.item.dtype.itemsize:
                raise TypeError(f"HDF5 needs {kind.get_size()} bytes for it")
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_obj_track_times(False)
        if self.contiguous:
            # The bytes are written past libhdf5, so they need a place now, and no zeros.
            plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            plist.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        if self.encoder is not None:
            plist.set_chunk(self.chunk)
            if self.packed:
                # libhdf5 fills in the parameters (the type's layout) itself.
                plist.set_filter(h5py.h5z.FILTER_NBIT, 0, ())
            if self.encoder.shuffle:
                plist.set_shuffle()
            if self.encoder.level is not None:
                plist.set_deflate(self.encoder.level)
        links = h5py.h5p.create(h5py.h5p.LINK_CREATE)
        links.set_create_intermediate_group(True)
        links.set_char_encoding(h5py.h5t.CSET_UTF8)
        space = h5py.h5s.create_simple(self.item.shape) if self.item.shape else h5py.h5s.create(h5py.h5s.SCALAR)
        return h5py.Dataset(h5py.h5d.create(file.id, self.name.encode(), kind, space, plist, links))

    def fill(self, file: Any, progress: Progress) -> None:
        """Write all elements through libhdf5: encoded chunks, or values where there are none."""
        item, dataset = self.item, file[self.name]
        if not item.shape:
            value = item.data.compute() if item.is_dask else item.get(())
            dataset[()] = np.asarray(value).astype(object if self.strings else item.dtype)[()]
            progress.advance(item.nbytes)
            return
        if self.encoder is None:
            block = regroup(item.shape, item.dtype.itemsize, nbytes=BLOCK_NBYTES)

            def collect_values(result: Any) -> None:
                box, values = result
                dataset[box] = values.astype(object)

            write_blocks(item, block, _as_given, progress, whole_chunks=False, collect=collect_values)
            return

        def collect(encoded: list[tuple[tuple[int, ...], bytes]]) -> None:
            for coordinates, data in encoded:
                dataset.id.write_direct_chunk(coordinates, data)

        assert self.chunk is not None  # as there is an encoder
        group = GROUP_NBYTES if item.nbytes < LARGE_NBYTES else LARGE_GROUP_NBYTES
        block = self.chunk if item.is_dask else grown(item.shape, item.dtype.itemsize, self.chunk, group)
        write_blocks(item, block, self.encoder, progress, whole_chunks=True, collect=collect)

    def offset(self, file: Any) -> int | None:
        """Where the elements of a contiguous dataset lie in the file, which is made long enough."""
        if not self.contiguous:
            return None
        file.flush()
        found = file[self.name].id.get_offset()
        if found is None:
            raise WriteError(errno.EIO, message("writing", None, self.name, expected="storage in the file", got="none"))
        return int(found)

    def fill_run(self, target: Path, offset: int, progress: Progress) -> None:
        """Write the elements of a contiguous dataset past libhdf5, in parallel."""
        item = self.item
        fd = os.open(target, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
        try:
            allocate(fd, offset + item.nbytes)
        finally:
            os.close(fd)
        sink = RegionSink(os.fspath(target), offset, item.shape, item.dtype)
        block = regroup(item.shape, item.dtype.itemsize, nbytes=BLOCK_NBYTES)
        write_blocks(item, block, sink, progress, whole_chunks=False)


def _as_given(box: Any, values: Any) -> Any:
    return box, values


def _stored_dtype(dtype: np.dtype[Any]) -> Any:
    import h5py

    if dtype.kind in "mM":
        return h5py.opaque_dtype(dtype)
    if dtype.kind == "U":
        return h5py.string_dtype("utf-8")
    return dtype


def _put_attribute(dataset: Any, key: str, value: Any) -> None:
    """Carry an attribute; what HDF5 has no type for becomes JSON text."""
    import h5py

    dtype = getattr(value, "dtype", None)
    if isinstance(value, (h5py.Reference, h5py.RegionReference)) or (dtype is not None and _has_reference(dtype)):
        # It points into the file that the array came from: links to dimension scales, as a rule.
        return
    try:
        if value is None or isinstance(value, dict):
            raise TypeError
        dataset.attrs[key] = value
    except (TypeError, ValueError):
        try:
            dataset.attrs[key] = json.dumps(value)
        except TypeError as error:
            raise DtypeError(
                message("writing", None, dataset.name, expected=f"an attribute {key!r} for HDF5", got=repr(value))
            ) from error


def _has_reference(dtype: np.dtype[Any]) -> bool:
    import h5py

    if dtype.names is not None:
        return any(_has_reference(dtype[name]) for name in dtype.names)
    base = h5py.check_vlen_dtype(dtype)
    return h5py.check_ref_dtype(base if isinstance(base, np.dtype) else dtype) is not None
