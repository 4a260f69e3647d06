"""The pipeline of HDF5 filters as the `Decoder` of a chain: a chunk's stored bytes in, its decoded bytes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from packstore.codecs.hdf5 import FilterSpec
from packstore.codecs.hdf5.pipeline import Step, decode_many, decode_range, decode_short, plan_steps, run_steps
from packstore.codecs.hdf5.registry import FILTERS
from packstore.core.scratch import Scratch
from packstore.core.typing import Bytes
from packstore.storage.stored import Stored

__all__ = ["FilterDecoder"]

# Slow filters (deflate, szip, bzip2, LZF), and the decoded bytes from which one of them is worth starting a thread,
# which takes 0.1 ms.
_SLOW_FROM_NBYTES = {1: 1 << 20, 4: 1 << 20, 307: 1 << 16, 32000: 1 << 20}
# Filters whose blocks decode on their own: bitshuffle.
_FILTERS_OF_PARTS = frozenset({32008})


@dataclass(frozen=True, eq=False)
class FilterDecoder:
    """Undoes the filters of an HDF5 dataset.

    Parameters
    ----------
    filters
        The pipeline in the order of writing.
    nbytes
        Bytes of a chunk of which all filters are undone.
    """

    filters: tuple[FilterSpec, ...]
    nbytes: int

    @property
    def names(self) -> tuple[str, ...]:
        """Of the filters, in the order of writing."""
        return tuple(FILTERS[f.id].name if f.id in FILTERS else f.name or f"filter {f.id}" for f in self.filters)

    @cached_property
    def slow_from_nbytes(self) -> int | None:
        """Decoded bytes from which even a crop is worth a second thread."""
        return min([_SLOW_FROM_NBYTES[f.id] for f in self.filters if f.id in _SLOW_FROM_NBYTES], default=None)

    @cached_property
    def reads_ranges(self) -> bool:
        """Whether `decode_range` can do anything."""
        return len(self.filters) == 1 and self.filters[0].id in _FILTERS_OF_PARTS

    @cached_property
    def _steps(self) -> list[Step]:
        return plan_steps(self.filters, 0, self.nbytes)

    @property
    def max_stored_nbytes(self) -> None:
        """None: the pipeline bounds the sizes that it decodes itself."""
        return None

    def decode(self, stored: Stored, out: Bytes | None, scratch: Scratch | None) -> Bytes:
        """The decoded bytes of a chunk; see `packstore.codecs.hdf5.decode_chunk`."""
        data = stored.pread(0, stored.nbytes)
        if out is None and scratch is not None:
            out = scratch.take(self.nbytes)
        # Most chunks skip no filter: their steps are planned once.
        steps = plan_steps(self.filters, stored.mask, self.nbytes) if stored.mask else self._steps
        return run_steps(steps, np.frombuffer(data, np.uint8), self.nbytes, out)

    def decode_short(self, stored: Stored, least: int) -> Bytes:
        """The decoded bytes of a chunk at the edge; see `packstore.codecs.hdf5.pipeline.decode_short`."""
        return decode_short(stored.pread(0, stored.nbytes), self.filters, stored.mask, self.nbytes, least)

    def decode_range(self, stored: Stored, start: int, stop: int) -> tuple[Bytes, int] | None:
        """The decoded blocks that cover bytes `start` to `stop`; see `packstore.codecs.hdf5.pipeline.decode_range`."""
        return decode_range(self.filters, stored.pread(0, stored.nbytes), self.nbytes, start, stop)

    def decode_many(self, chunks: Sequence[Any], out: Bytes) -> bool:
        """Several small chunks in one call of a library; see `packstore.codecs.hdf5.pipeline.decode_many`."""
        return decode_many(self._steps, chunks, out)
