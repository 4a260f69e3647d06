"""Where a dataset's chunks lie: libhdf5's chunk list, checked entry by entry.

libhdf5 2.0.0 lists wrong coordinates for extensible arrays whose unlimited dimension is not the first: it stores them
with that dimension moved to the front and decodes them as if it were not. A list with few chunks may even look sound.
So each list is checked for what must hold (inside the grid, aligned, no chunk twice, byte ranges inside the file and
apart), and samples of it are compared with what libhdf5 itself reads for these coordinates. Where no reading of the
list stands, the caller reads through h5py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from packstore.codecs.hdf5 import FilterSpec
from packstore.errors import CorruptDataError
from packstore.readers.hdf5.chunk_checks import BadIndex, check_ranges, check_room, layout_of
from packstore.readers.hdf5.files import H5_ERRORS, Session
from packstore.readers.hdf5.format.header import B_TREE_V1, EXTENSIBLE_ARRAY
from packstore.storage import MISSING

__all__ = ["ChunkTable", "chunk_table"]

U64 = npt.NDArray[np.uint64]
_BATCH = 4096
# A grid may be this much larger than the number of stored chunks before a table of it would waste memory.
_FREE_CELLS = 1 << 20
_CELLS_PER_CHUNK = 64
_SAMPLES = 3
_SAMPLES_IN_DOUBT = 64
_SAMPLE_NBYTES = 4 << 20
ALL_FILTERS = 0xFFFFFFFF


@dataclass(frozen=True)
class ChunkTable:
    """Byte ranges in the shape of the grid; `filter_mask` is None where no chunk skips a filter."""

    offsets: U64
    nbytes: U64
    filter_mask: npt.NDArray[np.uint32] | None


def chunk_table(
    session: Session,
    dataset: h5py.h5d.DatasetID,
    shape: tuple[int, ...],
    maxshape: tuple[int | None, ...],
    chunk: tuple[int, ...],
    chunk_nbytes: int,
    filters: tuple[FilterSpec, ...],
) -> ChunkTable:
    """Read and check the chunk list of a dataset.

    Parameters
    ----------
    session, dataset
        The open file and dataset.
    shape, maxshape, chunk
        Of the dataset, without the dimensions of array types; None in `maxshape` for unlimited.
    chunk_nbytes
        Decoded size of a chunk.
    filters
        The pipeline.

    Raises
    ------
    BadIndex
        Read through h5py instead.
    CorruptDataError
        Not even that: chunks outside the file, or of sizes that no chunk has.

    Notes
    -----
    About 1.5 s for a million chunks, and 25 bytes a chunk at the peak.
    """
    check_room(session, dataset, maxshape, chunk)
    grid = tuple(-(-n // c) for n, c in zip(shape, chunk, strict=True))
    count = int(dataset.get_num_chunks()) if math.prod(grid) else 0
    cells = math.prod(grid)
    if count == 0:
        # Nothing is stored: one value, seen from every cell.
        return ChunkTable(np.broadcast_to(MISSING, grid), np.broadcast_to(np.uint64(0), grid), None)
    if count > session.source.nbytes or count > cells:
        raise BadIndex(f"{count} chunks in a grid of {cells} and a file of {session.source.nbytes} bytes")
    if cells > max(_FREE_CELLS, _CELLS_PER_CHUNK * count):
        raise BadIndex(f"only {count} of {cells} chunks are stored")
    layout = layout_of(session, dataset)
    table = _Collector(session, grid, chunk, filters, chunk_nbytes)
    in_doubt = layout.index == EXTENSIBLE_ARRAY and maxshape[0] is not None
    if not in_doubt:
        table.collect(dataset, count, None)
        if layout.index != B_TREE_V1:
            _compare(session, dataset, table, table.sample(_SAMPLES))
    else:
        _collect_in_doubt(session, dataset, table, count, maxshape)
    mask = table.mask
    if filters and layout.raw_edges:
        mask = _mask_edges(table, shape, chunk_nbytes)
    if mask is not None:
        mask = mask.reshape(grid)
    return ChunkTable(table.offsets.reshape(grid), table.nbytes.reshape(grid), mask)


class _Collector:
    """Fills the grid with what libhdf5 lists, a few thousand chunks at a time: Python objects take memory."""

    def __init__(
        self,
        session: Session,
        grid: tuple[int, ...],
        chunk: tuple[int, ...],
        filters: tuple[FilterSpec, ...],
        chunk_nbytes: int,
    ) -> None:
        self.source = session.source
        self.filters = filters
        self.grid = grid
        self.chunk = np.array(chunk, np.uint64)
        self.limit = np.array(grid, np.uint64)
        self.strides = np.array([math.prod(grid[i + 1 :]) for i in range(len(grid))], np.uint64)
        self.exact = None if filters else chunk_nbytes
        self.cells = math.prod(grid)
        self.mask: npt.NDArray[np.uint32] | None = None

    def collect(self, dataset: h5py.h5d.DatasetID, count: int, remap: Callable[[U64], U64] | None) -> None:
        """Read the list; `remap` corrects chunk coordinates (in chunks) where they are known to be listed wrongly."""
        self.offsets = np.full(self.cells, MISSING)
        self.nbytes = np.zeros(self.cells, np.uint64)
        self.mask = None
        # Lists of integers, not of tuples: those would set off the garbage collector again and again.
        coords: list[int] = []
        masks: list[int] = []
        offsets: list[int] = []
        sizes: list[int] = []
        failed: list[BadIndex | CorruptDataError] = []
        seen = 0

        def drain() -> None:
            nonlocal seen
            seen += len(offsets)
            self._store(coords, masks, offsets, sizes, remap)
            for part in (coords, masks, offsets, sizes):
                part.clear()

        def visit(info: Any) -> bool | None:
            at, mask, offset, nbytes = info
            coords.extend(at)
            masks.append(mask)
            offsets.append(offset)
            sizes.append(nbytes)
            if len(offsets) == _BATCH:
                try:
                    drain()
                except (BadIndex, CorruptDataError) as why:
                    # An exception would have to pass through libhdf5; a value other than None stops the iteration.
                    failed.append(why)
                    return True
            return None

        if hasattr(dataset, "chunk_iter"):
            dataset.chunk_iter(visit)
        else:  # h5py built against HDF5 before 1.14
            for i in range(count):
                if visit(dataset.get_chunk_info(i)):
                    break
        if failed:
            raise failed[0]
        drain()
        stored = self.offsets != MISSING
        if seen != count or int(np.count_nonzero(stored)) != count:
            raise BadIndex(f"{count} chunks announced, {seen} listed, {int(np.count_nonzero(stored))} places")
        self._check_apart(stored, count)

    def _store(
        self,
        coords: list[int],
        masks: list[int],
        offsets: list[int],
        sizes: list[int],
        remap: Callable[[U64], U64] | None,
    ) -> None:
        count = len(offsets)
        if not count:
            return
        try:
            flat = np.fromiter(coords, np.uint64, len(coords))
            mask = np.fromiter(masks, np.uint32, count)
            offset = np.fromiter(offsets, np.uint64, count)
            nbytes = np.fromiter(sizes, np.uint64, count)
        except (TypeError, ValueError, OverflowError) as why:
            raise BadIndex(f"an entry without an address or size: {why}") from None
        if len(flat) != count * len(self.grid):
            raise BadIndex(f"coordinates that are not of {len(self.grid)} dimensions")
        check_ranges(self.source, offset, nbytes, mask, self.filters)
        at = flat.reshape(count, len(self.grid))
        scaled, rest = np.divmod(at, self.chunk)
        if rest.any():
            raise BadIndex("coordinates that are no multiple of the chunk shape")
        if remap is not None:
            scaled = remap(scaled)
        if (scaled >= self.limit).any():
            raise BadIndex("coordinates outside the dataset")
        if self.exact is not None and (nbytes != self.exact).any():
            raise BadIndex(f"chunks without filters that do not have {self.exact} bytes")
        cell = scaled @ self.strides
        self.offsets[cell] = offset
        self.nbytes[cell] = nbytes
        if self.mask is None and mask.any():
            self.mask = np.zeros(self.cells, np.uint32)
        if self.mask is not None:
            self.mask[cell] = mask

    def _check_apart(self, stored: npt.NDArray[np.bool_], count: int) -> None:
        """No two chunks share bytes."""
        starts, sizes = self.offsets, self.nbytes
        if count < self.cells:
            starts, sizes = starts[stored], sizes[stored]
        order = np.argsort(starts) if (starts[1:] < starts[:-1]).any() else None
        # In pieces: a sorted copy of a large table is memory for nothing.
        for i in range(0, count - 1, _BATCH):
            piece = slice(i, i + _BATCH + 1) if order is None else order[i : i + _BATCH + 1]
            if (np.diff(starts[piece]) < sizes[piece][:-1]).any():
                raise BadIndex("byte ranges that overlap")

    def sample(self, n: int) -> npt.NDArray[np.int64]:
        """Cells of up to `n` stored chunks, spread over the list."""
        stored = np.flatnonzero(self.offsets != MISSING)
        return stored[np.unique(np.linspace(0, len(stored) - 1, n).astype(np.int64))]


def _compare(session: Session, dataset: h5py.h5d.DatasetID, table: _Collector, cells: npt.NDArray[np.int64]) -> None:
    """Hold the table against what libhdf5 reads for the same coordinates: the lookup for reading is right."""
    budget = _SAMPLE_NBYTES
    for cell in cells:
        at = tuple(int(i) * int(c) for i, c in zip(np.unravel_index(cell, table.grid), table.chunk, strict=True))
        offset, nbytes = int(table.offsets[cell]), int(table.nbytes[cell])
        try:
            mask, data = dataset.read_direct_chunk(at)
        except H5_ERRORS as why:
            raise BadIndex(f"libhdf5 finds no chunk at {at}: {why}") from None
        expected = 0 if table.mask is None else int(table.mask[cell])
        if mask != expected or len(data) != nbytes or bytes(session.source.pread(offset, nbytes)) != data:
            raise BadIndex(f"libhdf5 reads other bytes for the chunk at {at}")
        budget -= nbytes
        if budget <= 0:
            break


def _collect_in_doubt(
    session: Session,
    dataset: h5py.h5d.DatasetID,
    table: _Collector,
    count: int,
    maxshape: tuple[int | None, ...],
) -> None:
    """Try the list as it is and as libhdf5 2.0.0 garbles it; take the one that reading bears out."""
    remap = _swizzled(maxshape, table.chunk)
    readings = []
    for correct in (None, remap):
        try:
            table.collect(dataset, count, correct)
        except BadIndex:
            continue
        readings.append((correct, table.offsets))
    if not readings:
        raise BadIndex("its coordinates lie outside the dataset")
    if len(readings) == 2:
        # Samples decide only where the two differ.
        cells = np.flatnonzero(readings[0][1] != readings[1][1])
    else:
        cells = np.flatnonzero(readings[0][1] != MISSING)
    cells = (
        cells[np.unique(np.linspace(0, max(len(cells) - 1, 0), _SAMPLES_IN_DOUBT).astype(np.int64))]
        if len(cells)
        else cells
    )
    right = []
    for correct, offsets in readings:
        if table.offsets is not offsets:
            table.collect(dataset, count, correct)
        try:
            _compare(session, dataset, table, cells[table.offsets[cells] != MISSING])
        except BadIndex:
            continue
        right.append(correct)
    # Both may pass where the chunks that were compared hold the same bytes: then neither is proven.
    if len(right) != 1 and len(cells):
        raise BadIndex("its coordinates do not agree with what libhdf5 reads")
    last = readings[-1][0]
    if right and right[0] is not last:
        table.collect(dataset, count, right[0])


def _swizzled(maxshape: tuple[int | None, ...], chunk: U64) -> Callable[[U64], U64]:
    """From coordinates as libhdf5 2.0.0 lists them to the true ones.

    The array's index number counts with the unlimited dimension slowest; libhdf5 decodes it with the dimensions in
    their own order, the unlimited one taking up whatever is left over.
    """
    axis = maxshape.index(None)
    most = [1 if n is None else -(-n // int(c)) for n, c in zip(maxshape, chunk, strict=True)]
    order = [axis, *(i for i in range(len(most)) if i != axis)]
    listed = [math.prod(most[i + 1 :]) if i >= axis else 0 for i in range(len(most))]
    true = [math.prod(most[j] for j in order[k + 1 :]) for k in range(len(order))]

    def remap(scaled: U64) -> U64:
        if scaled[:, :axis].any():
            raise BadIndex("coordinates that no known listing gives")
        rest = scaled @ np.array(listed, np.uint64)
        out = np.empty_like(scaled)
        for i, size in zip(order, true, strict=True):
            out[:, i], rest = np.divmod(rest, np.uint64(size))
        return out

    return remap


def _mask_edges(table: _Collector, shape: tuple[int, ...], chunk_nbytes: int) -> npt.NDArray[np.uint32]:
    """Mark the chunks that reach over an edge: stored without any filter, although their own mask does not say so."""
    mask = np.zeros(table.cells, np.uint32) if table.mask is None else table.mask
    shaped = mask.reshape(table.grid)
    for axis, (n, c) in enumerate(zip(shape, table.chunk, strict=True)):
        if n % int(c):
            shaped[(slice(None),) * axis + (-1,)] = ALL_FILTERS
    raw = (mask == ALL_FILTERS) & (table.offsets != MISSING)
    if (table.nbytes[raw] != chunk_nbytes).any():
        raise BadIndex(f"unfiltered chunks at the edges that do not have {chunk_nbytes} bytes")
    return mask
