"""The places of a dataset's chunks; in: libhdf5's chunk list, out: a table in the shape of the grid, checked.

libhdf5 2.0.0 lists wrong coordinates for extensible arrays whose unlimited dimension is not the first: it stores them
with that dimension moved to the front and decodes them as if it were not. A list with few chunks may even look sound.
So each list must pass checks (inside the grid, aligned, no chunk twice, byte ranges inside the file and apart), and
samples of it are compared with the bytes that libhdf5 itself reads for these coordinates. Where no reading of such an
array passes, the caller reads through h5py; any other list that does not pass is damage. Trees of version 1 are walked
here, as are those of version 2, without libhdf5.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import h5py
import numpy as np
import numpy.typing as npt

from packstore.codecs.hdf5 import FilterSpec
from packstore.core.typing import U64
from packstore.readers.hdf5.chunk_list import Collector, spread
from packstore.readers.hdf5.files import H5_ERRORS, Session
from packstore.readers.hdf5.format.header import B_TREE_V1, B_TREE_V2, EXTENSIBLE_ARRAY
from packstore.readers.hdf5.guard import check_room, layout_of, tree_entries
from packstore.readers.hdf5.problems import Damaged, NotServed
from packstore.storage import MISSING

__all__ = ["ChunkTable", "chunk_table"]

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
    Damaged
        The list contradicts itself or the file.
    NotServed
        A table of it would take too much memory, or libhdf5 garbles it: read through h5py instead.
    CorruptDataError
        Chunks outside the file, or of sizes that no chunk has: libhdf5 must not read them either.

    Notes
    -----
    About 1.5 s for a million chunks, and 25 bytes a chunk at the peak.
    """
    check_room(session, dataset, maxshape, chunk)
    grid = tuple(-(-n // c) for n, c in zip(shape, chunk, strict=True))
    count = int(dataset.get_num_chunks()) if math.prod(grid) else 0
    cells = math.prod(grid)
    if count == 0:
        # No chunk is stored: one value in memory stands for every cell.
        return ChunkTable(np.broadcast_to(MISSING, grid), np.broadcast_to(np.uint64(0), grid), None)
    if count > session.source.nbytes or count > cells:
        raise Damaged(f"{count} chunks in a grid of {cells} and a file of {session.source.nbytes} bytes")
    if cells > max(_FREE_CELLS, _CELLS_PER_CHUNK * count):
        raise NotServed(f"only {count} of {cells} chunks are stored")
    layout = layout_of(session, dataset)
    table = Collector(session, grid, chunk, filters, chunk_nbytes)
    if layout.index in (B_TREE_V1, B_TREE_V2):
        table.collect_tree(tree_entries(session, layout, chunk, chunk_nbytes), session.origin.base, count)
    elif layout.index != EXTENSIBLE_ARRAY or maxshape[0] is None:
        table.collect(dataset, count, None)
        _compare(session, dataset, table, table.sample(_SAMPLES))
    else:
        _collect_in_doubt(session, dataset, table, count, maxshape)
    mask = table.mask
    if filters and layout.raw_edges:
        mask = _mask_edges(table, shape, chunk_nbytes)
    if mask is not None:
        mask = mask.reshape(grid)
    return ChunkTable(table.offsets.reshape(grid), table.nbytes.reshape(grid), mask)


def _compare(session: Session, dataset: h5py.h5d.DatasetID, table: Collector, cells: npt.NDArray[np.int64]) -> None:
    """Compare the table with the bytes that libhdf5 reads for the same coordinates: its lookup for reading is right."""
    budget = _SAMPLE_NBYTES
    for cell in cells:
        at = tuple(int(i) * int(c) for i, c in zip(np.unravel_index(cell, table.grid), table.chunk, strict=True))
        offset, nbytes = int(table.offsets[cell]), int(table.nbytes[cell])
        try:
            mask, data = dataset.read_direct_chunk(at)
        except H5_ERRORS as why:
            raise Damaged(f"libhdf5 finds no chunk at {at}: {why}") from None
        expected = 0 if table.mask is None else int(table.mask[cell])
        if mask != expected or len(data) != nbytes or bytes(session.source.pread(offset, nbytes)) != data:
            raise Damaged(f"libhdf5 reads other bytes for the chunk at {at}")
        budget -= nbytes
        if budget <= 0:
            break


def _collect_in_doubt(
    session: Session,
    dataset: h5py.h5d.DatasetID,
    table: Collector,
    count: int,
    maxshape: tuple[int | None, ...],
) -> None:
    """Try the list as it is and as libhdf5 2.0.0 garbles it; keep the reading that passes the comparison."""
    remap = _swizzled(maxshape, table.chunk)
    readings = []
    for correct in (None, remap):
        try:
            table.collect(dataset, count, correct)
        except Damaged:
            continue
        readings.append((correct, table.offsets))
    if not readings:
        raise NotServed("its coordinates lie outside the dataset")
    if len(readings) == 2:
        # Samples decide only where the two differ.
        cells = np.flatnonzero(readings[0][1] != readings[1][1])
    else:
        cells = np.flatnonzero(readings[0][1] != MISSING)
    cells = spread(cells, _SAMPLES_IN_DOUBT)
    right = []
    for correct, offsets in readings:
        if table.offsets is not offsets:
            table.collect(dataset, count, correct)
        try:
            _compare(session, dataset, table, cells[table.offsets[cells] != MISSING])
        except Damaged:
            continue
        right.append(correct)
    # Both may pass where the chunks that were compared hold the same bytes: then neither is proven.
    if len(right) != 1 and len(cells):
        raise NotServed("its coordinates do not agree with what libhdf5 reads")
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
            raise Damaged("coordinates that no known listing gives")
        rest = scaled @ np.array(listed, np.uint64)
        out = np.empty_like(scaled)
        for i, size in zip(order, true, strict=True):
            out[:, i], rest = np.divmod(rest, np.uint64(size))
        return out

    return remap


def _mask_edges(table: Collector, shape: tuple[int, ...], chunk_nbytes: int) -> npt.NDArray[np.uint32]:
    """Mark the chunks that reach over an edge: stored without any filter, although their own mask does not say so."""
    mask = np.zeros(table.cells, np.uint32) if table.mask is None else table.mask
    shaped = mask.reshape(table.grid)
    for axis, (n, c) in enumerate(zip(shape, table.chunk, strict=True)):
        if n % int(c):
            shaped[(slice(None),) * axis + (-1,)] = ALL_FILTERS
    raw = (mask == ALL_FILTERS) & (table.offsets != MISSING)
    if (table.nbytes[raw] != chunk_nbytes).any():
        raise Damaged(f"unfiltered chunks at the edges that do not have {chunk_nbytes} bytes")
    return mask
