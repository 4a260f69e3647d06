"""libhdf5's list of a dataset's chunks; in: the list, out: a grid of places, or an exception that says what is wrong.

The list must pass checks: coordinates inside the grid and aligned, no chunk twice, byte ranges inside the file and
apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from packstore.codecs.hdf5 import FilterSpec
from packstore.core.typing import U64
from packstore.errors import CorruptDataError
from packstore.readers.hdf5.format.tree import Entries
from packstore.readers.hdf5.guard import check_ranges
from packstore.readers.hdf5.problems import Damaged
from packstore.storage import MISSING

if TYPE_CHECKING:
    import h5py

    from packstore.readers.hdf5.files import Session

__all__ = ["Collector", "spread"]

_BATCH = 4096


class Collector:
    """Fills the grid from libhdf5's list, a few thousand chunks at a time: Python objects take memory."""

    def __init__(
        self,
        session: Session,
        grid: tuple[int, ...],
        chunk: tuple[int, ...],
        filters: tuple[FilterSpec, ...],
        chunk_nbytes: int,
    ) -> None:
        self.session = session
        self.filters = filters
        self.grid = grid
        self.chunk = np.array(chunk, np.uint64)
        self.limit = np.array(grid, np.uint64)
        self.strides = np.array([math.prod(grid[i + 1 :]) for i in range(len(grid))], np.uint64)
        self.exact = None if filters else chunk_nbytes
        self.cells = math.prod(grid)
        self.mask: npt.NDArray[np.uint32] | None = None

    def collect(self, dataset: h5py.h5d.DatasetID, count: int, remap: Callable[[U64], U64] | None) -> None:
        """Read the list; `remap` corrects the coordinates (in chunks) of a list that libhdf5 is known to garble."""
        self._clear()
        # Lists of integers: tuples would set off the garbage collector again and again.
        coords: list[int] = []
        masks: list[int] = []
        offsets: list[int] = []
        sizes: list[int] = []
        failed: list[Damaged | CorruptDataError] = []

        def drain() -> None:
            try:
                flat = np.fromiter(coords, np.uint64, len(coords))
                mask = np.fromiter(masks, np.uint32, len(masks))
                offset = np.fromiter(offsets, np.uint64, len(offsets))
                nbytes = np.fromiter(sizes, np.uint64, len(sizes))
            except (TypeError, ValueError, OverflowError) as why:
                raise Damaged(f"an entry without an address or size: {why}") from None
            if len(flat) != len(offset) * len(self.grid):
                raise Damaged(f"coordinates that are not of {len(self.grid)} dimensions")
            self._store(flat.reshape(len(offset), len(self.grid)), mask, offset, nbytes, remap)
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
                except (Damaged, CorruptDataError) as why:
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
        self._check(count)

    def collect_tree(self, entries: Iterable[Entries], base: int, count: int) -> None:
        """Take the entries of a B-tree, whose addresses count from byte `base` of the file."""
        self._clear()
        for part in entries:
            self._store(part.coords, part.mask, part.address + np.uint64(base), part.nbytes, None)
        self._check(count)

    def _clear(self) -> None:
        self.offsets = np.full(self.cells, MISSING)
        self.nbytes = np.zeros(self.cells, np.uint64)
        self.mask = None
        self.seen = 0

    def _check(self, count: int) -> None:
        stored = self.offsets != MISSING
        if self.seen != count or int(np.count_nonzero(stored)) != count:
            places = int(np.count_nonzero(stored))
            raise Damaged(f"{count} chunks announced, {self.seen} listed, {places} places")
        self._check_apart(stored, count)

    def _store(
        self,
        at: U64,
        mask: npt.NDArray[np.uint32],
        offset: U64,
        nbytes: U64,
        remap: Callable[[U64], U64] | None,
    ) -> None:
        self.seen += len(offset)
        if not len(offset):
            return
        check_ranges(self.session, offset, nbytes, mask, self.filters)
        scaled, rest = np.divmod(at, self.chunk)
        if rest.any():
            raise Damaged("coordinates that are no multiple of the chunk shape")
        if remap is not None:
            scaled = remap(scaled)
        if (scaled >= self.limit).any():
            raise Damaged("coordinates outside the dataset")
        if self.exact is not None and (nbytes != self.exact).any():
            raise Damaged(f"chunks without filters that do not have {self.exact} bytes")
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
        # In pieces, so that no sorted copy of a large table takes memory.
        for i in range(0, count - 1, _BATCH):
            piece = slice(i, i + _BATCH + 1) if order is None else order[i : i + _BATCH + 1]
            if (np.diff(starts[piece]) < sizes[piece][:-1]).any():
                raise Damaged("byte ranges that overlap")

    def sample(self, n: int) -> npt.NDArray[np.int64]:
        """Cells of up to `n` stored chunks, spread over the list."""
        stored = np.flatnonzero(self.offsets != MISSING)
        return spread(stored, n)


def spread(cells: npt.NDArray[np.int64], n: int) -> npt.NDArray[np.int64]:
    """Up to `n` of the cells, spread over all of them."""
    # Not np.unique, whose first call imports numpy.ma for 10 ms.
    return cells[sorted(set(np.linspace(0, len(cells) - 1, n).astype(np.int64).tolist()))] if len(cells) else cells
