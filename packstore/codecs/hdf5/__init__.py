"""HDF5 filters: undo a chunk's filter pipeline outside libhdf5 and its lock.

One file a filter, one line in `FILTERS`; the file and the library behind it load when a dataset needs them.
Every decoder releases the GIL while it works and takes no more memory than the chunk's declared size justifies.
"""

from __future__ import annotations

from packstore.codecs.hdf5.base import FilterSpec
from packstore.codecs.hdf5.pipeline import decode_chunk
from packstore.codecs.hdf5.registry import FILTERS, Filter, h5py_can_decode, unavailable

__all__ = ["FILTERS", "Filter", "FilterSpec", "decode_chunk", "h5py_can_decode", "unavailable"]
