"""One dataset; in: an array and how it is to be stored, out: the dataset in an open file, and its elements.

Chunks are encoded in parallel outside h5py's lock where our encoder makes them; a run of elements is written past
libhdf5; all else goes through h5py, block by block.
"""

from __future__ import annotations

import errno
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5p, h5s, h5t

from packstore.core.boxes import Box
from packstore.core.typing import Array
from packstore.errors import DtypeError, OptionError, WriteError, message
from packstore.storage import regroup
from packstore.writers.atomic import allocate
from packstore.writers.blocks import write_blocks
from packstore.writers.chunk_shapes import BLOCK_NBYTES, chunk_option, fitting_chunks, grown, square_chunks
from packstore.writers.hdf5.chunks import ChunkEncoder
from packstore.writers.hdf5.filters import Filters
from packstore.writers.hdf5.types import as_objects, stored_dtype, with_facts
from packstore.writers.items import Item
from packstore.writers.progress import Progress
from packstore.writers.raw import RegionSink
from packstore.writers.tree import Tree

__all__ = ["Plan"]

CHUNK_NBYTES = 1 << 20
# Chunks that one choice of an encoder holds for, and that one thread takes at a time.
GROUP_NBYTES, LARGE_GROUP_NBYTES = 4 << 20, 8 << 20
LARGE_NBYTES = 64 << 20
_MAX_CHUNK_NBYTES = (1 << 32) - 1
# The source's own chunks are kept between these, or where they are few.
_LEAST_NBYTES, _MOST_NBYTES, _FEW = 4 << 10, 256 << 20, 4096
# Elements of a chunk along an axis that has none yet and may grow.
_GROWING = 1024


class Plan:
    """How one array is stored.

    Parameters
    ----------
    item, name
        The array, and the path of its dataset.
    chunks
        The option of `save`.
    pack
        Whether bool arrays take one bit an element.

    Raises
    ------
    DtypeError
        A dtype that HDF5 cannot hold.
    OptionError
        Chunks that do not fit.
    """

    def __init__(self, target: Path, item: Item, name: str, chunks: Any, filters: Filters, pack: bool) -> None:
        self.item, self.name, self.filters = item, name, filters
        self.packed = pack and item.dtype == np.bool_
        dtype, self.attributes, self._tag = with_facts(item.dtype, item.attributes)
        try:
            self.stored = stored_dtype(dtype)
            self.kind = self._type()
        except (TypeError, ValueError) as error:
            raise self._refuse(error) from error
        self.variable = self.stored.hasobject
        self.max_shape = self._max_shape()
        self.chunk = self._chunk(target, chunks)
        self.contiguous = (
            self.chunk is None and not self.variable and bool(item.shape) and 0 not in item.shape and not filters.any
        )
        self.fill_value = self._fill_value()
        self.encoder: ChunkEncoder | None = None
        if self.chunk is not None and not self.variable and filters.ours:
            planes = filters.shuffles(item.dtype, packed=self.packed)
            self.encoder = ChunkEncoder(self.chunk, item.dtype, planes, filters.level, self.packed, self.fill_value)

    def _refuse(self, why: object) -> DtypeError:
        return DtypeError(
            message("writing", None, self.name, expected="a dtype for HDF5", got=f"{self.item.dtype} ({why})")
        )

    def _type(self) -> h5t.TypeID:
        if self.packed:
            kind = h5t.STD_U8LE.copy()
            kind.set_precision(1)
            return kind
        kind = h5t.py_create(self.stored, logical=True)
        if self._tag is not None:
            kind.set_tag(self._tag)
        if not self.stored.hasobject and kind.get_size() != self.item.dtype.itemsize:
            raise TypeError(f"HDF5 needs {kind.get_size()} bytes for it")
        return kind

    def _max_shape(self) -> tuple[int | None, ...] | None:
        """How far the axes may grow, None where none may."""
        item = self.item
        if item.max_shape is None or all(m == n for m, n in zip(item.max_shape, item.shape, strict=True)):
            return None
        return tuple(None if m is None else max(m, n) for m, n in zip(item.max_shape, item.shape, strict=True))

    def _chunk(self, target: Path, option: Any) -> tuple[int, ...] | None:
        """The chunk shape, or None."""
        item = self.item
        wanted = chunk_option(target, item, option)
        source = item.chunk_shape
        if not item.shape or (0 in item.shape and self.max_shape is None):
            return None
        if self.max_shape is None and wanted is None:
            unfiltered = not (self.filters.any or self.packed)
            if source is None if self.variable else unfiltered:
                return None
        most = self.max_shape or item.shape
        if wanted is None and source is not None and self._is_sensible(source):
            wanted = source
        if wanted is None:
            room = tuple(
                n or (1 if m == 0 else min(m or _GROWING, _GROWING)) for n, m in zip(item.shape, most, strict=True)
            )
            wanted = fitting_chunks(item, square_chunks(room, max(CHUNK_NBYTES // self.kind.get_size(), 1)))
        chunk = tuple(c if m is None else max(min(c, m), 1) for c, m in zip(wanted, most, strict=True))
        if math.prod(chunk) * self.kind.get_size() > _MAX_CHUNK_NBYTES:
            raise OptionError(
                message("chunking", target, item.name or None, expected="HDF5 chunks below 4 GiB", got=chunk)
            )
        return chunk

    def _is_sensible(self, chunk: tuple[int, ...]) -> bool:
        """Whether the source's chunks are good ones here too."""
        nbytes = math.prod(chunk) * self.kind.get_size()
        count = math.prod(-(-n // c) for n, c in zip(self.item.shape, chunk, strict=True))
        return nbytes <= _MOST_NBYTES and (nbytes >= _LEAST_NBYTES or count <= _FEW)

    def _fill_value(self) -> Any:
        """The fill value as an array, None where it is the type's zero."""
        fill = self.item.fill_value
        if fill is None:
            return None
        if self.variable:
            is_text = h5py.check_string_dtype(self.stored) is not None
            return as_objects(np.asarray(fill, object), self.stored) if is_text and fill else None
        array = np.asarray(fill, self.item.dtype)
        return array if any(array.tobytes()) else None

    def create(self, file: h5py.File, tree: Tree) -> Any:
        """Make the dataset, empty."""
        try:
            plist = self._creation_list(tree)
        except (TypeError, ValueError) as error:
            raise self._unfiltered(error) from error
        shape = self.item.shape
        limits = tuple(h5s.UNLIMITED if m is None else m for m in self.max_shape) if self.max_shape else None
        space = h5s.create_simple(shape, limits) if shape else h5s.create(h5s.SCALAR)
        links = h5p.create(h5p.LINK_CREATE)
        links.set_char_encoding(h5t.CSET_UTF8)
        try:
            return h5py.Dataset(h5d.create(file.id, self.name.encode(), self.kind, space, plist, links))
        except (TypeError, ValueError) as error:
            if self.chunk is not None and self.filters.number is not None:
                raise self._unfiltered(error) from error
            raise self._refuse(error) from error

    def _unfiltered(self, why: object) -> OptionError:
        expected = f"a type and chunks that the filters take ({self.filters.name})"
        got = f"{self.item.dtype}, chunks {self.chunk} ({why})"
        # A plugin that was loaded after netCDF4 finds that package's libhdf5 instead of h5py's.
        hint = "Import hdf5plugin before netCDF4" if "user callback" in str(why) else None
        return OptionError(message("writing", None, self.name, expected=expected, got=got, hint=hint))

    def _creation_list(self, tree: Tree) -> h5p.PropDCID:
        plist = h5p.create(h5p.DATASET_CREATE)
        plist.set_obj_track_times(False)
        # Keeps the order of attributes, and lets them be larger than 64 KB.
        plist.set_attr_creation_order(h5p.CRT_ORDER_TRACKED | h5p.CRT_ORDER_INDEXED)
        if self.contiguous:
            # The bytes are written past libhdf5, so they need a place now, and no zeros.
            plist.set_alloc_time(h5d.ALLOC_TIME_EARLY)
            plist.set_fill_time(h5d.FILL_TIME_NEVER if self.fill_value is None else h5d.FILL_TIME_IFSET)
        if self.chunk is not None:
            plist.set_chunk(self.chunk)
            if not self.variable:
                # Of text the file holds references, which do not compress, and NetCDF allows no filters on them.
                self.filters.put(plist, self.item.dtype, packed=self.packed)
        if self.fill_value is not None:
            try:
                plist.set_fill_value(self._fill_for_h5py())
            except (TypeError, ValueError, OSError) as error:
                tree.lose(self.name, f"the fill value {self.item.fill_value!r} is not kept ({error})")
                self.fill_value = None
        return plist

    def _fill_for_h5py(self) -> Any:
        if self.variable:
            return self.fill_value
        if self.item.dtype.kind == "S":
            # h5py takes the fill value of any text for one of variable length.
            found = h5py.check_string_dtype(self.stored)
            return np.array(self.fill_value[()], h5py.string_dtype("ascii" if found is None else found.encoding))
        return self.fill_value.view(np.uint8 if self.packed else self.stored)

    def fill(self, file: h5py.File, progress: Progress) -> None:
        """Write all elements through libhdf5: encoded chunks, or values where our encoder makes none."""
        item, dataset = self.item, file[self.name]
        if not item.shape:
            value = item.data.compute() if item.is_dask else item.get(())
            self._put(dataset, (), np.asarray(value, item.dtype))
            progress.advance(item.nbytes)
            return
        if self.encoder is None:
            unit = (1,) * len(item.shape) if self.chunk is None else self.chunk
            block = unit if item.is_dask else grown(item.shape, max(item.dtype.itemsize, 1), unit, BLOCK_NBYTES)

            def collect_values(result: Any) -> None:
                self._put(dataset, *result)

            put, whole = _AsStored(self.name, self.stored), self.chunk is not None
            write_blocks(item, block, put, progress, whole_chunks=whole, collect=collect_values)
            return

        def collect(encoded: list[tuple[tuple[int, ...], bytes]]) -> None:
            for coordinates, data in encoded:
                dataset.id.write_direct_chunk(coordinates, data)

        assert self.chunk is not None  # as there is an encoder
        group = GROUP_NBYTES if item.nbytes < LARGE_NBYTES else LARGE_GROUP_NBYTES
        block = self.chunk if item.is_dask else grown(item.shape, item.dtype.itemsize, self.chunk, group)
        write_blocks(item, block, self.encoder, progress, whole_chunks=True, collect=collect)

    def _put(self, dataset: Any, box: Box, values: Array) -> None:
        """Write one box through libhdf5."""
        memory = file = h5s.ALL
        if box:
            memory, file = h5s.create_simple(values.shape), dataset.id.get_space()
            file.select_hyperslab(tuple(s.start for s in box), values.shape)
        values = np.require(values, requirements="C")
        if self.variable:
            values = values if box else _AsStored(self.name, self.stored)((), values)[1]
            dataset.id.write(memory, file, values)
        elif self.packed:
            dataset.id.write(memory, file, values.view(np.uint8), h5t.NATIVE_UINT8)
        else:
            # The type of the file itself: nothing is converted.
            dataset.id.write(memory, file, values.view(_bytes_of(values.dtype)), self.kind)

    def offset(self, file: h5py.File) -> int | None:
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
            # Never shorter: where blocks cannot be had in advance, this sets the file's length.
            allocate(fd, max(offset + item.nbytes, os.fstat(fd).st_size))
        finally:
            os.close(fd)
        sink = RegionSink(os.fspath(target), offset, item.shape, item.dtype)
        block = regroup(item.shape, item.dtype.itemsize, nbytes=BLOCK_NBYTES)
        write_blocks(item, block, sink, progress, whole_chunks=False)


def _bytes_of(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return np.dtype(f"V{dtype.itemsize}")


@dataclass(frozen=True)
class _AsStored:
    """Gives the values of a box as h5py takes them; thread safe, picklable."""

    name: str
    stored: np.dtype[Any]

    def __call__(self, box: Box, values: Array) -> tuple[Box, Array]:
        if not self.stored.hasobject:
            return box, values
        try:
            return box, as_objects(values, self.stored)
        except DtypeError as error:
            raise DtypeError(message("writing", None, self.name, expected="values for HDF5", got=error)) from None
