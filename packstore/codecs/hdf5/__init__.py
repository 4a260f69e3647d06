"""HDF5 filters: the stored bytes of a chunk and its pipeline in, the chunk's elements as bytes out, without libhdf5.

To add a filter, write one file here that has the functions of `base.FilterModule`, name it in one line of `FILTERS`
(``registry.py``), and test it by one subclass of `packstore.testing.filters.FilterTests`. The smallest file is
``deflate.py``. The decompressors themselves are in `packstore.codecs.decompress`.

A filter's file, and the library behind it, are imported when a dataset needs them. Every decoder releases the GIL while
it works and takes no more memory than the chunk's declared size justifies.
"""

from __future__ import annotations

from packstore.codecs.hdf5.base import FilterSpec
from packstore.codecs.hdf5.pipeline import decode_chunk
from packstore.codecs.hdf5.registry import FILTERS, Filter, h5py_can_decode, unavailable

__all__ = ["FILTERS", "Filter", "FilterSpec", "decode_chunk", "h5py_can_decode", "unavailable"]
