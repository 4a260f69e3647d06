"""Decompress bytes: one function for each algorithm, which takes no more memory than the caller's limit allows.

Each function is called as ``decode(data, limit, out=None, what=...)``:

``data``
    The compressed bytes, a contiguous array of uint8.
``limit``
    How many bytes they must decode to, or the most that they may decode to: a `Limit`.
``out``
    Where the decoded bytes go: ``limit.nbytes`` contiguous bytes. Without it the function takes the memory.
``what``
    What errors call the compressed bytes; the function formats it only for an error.

It returns the decoded bytes, a part of `out` where that was given, and raises `CorruptDataError` for bytes that do not
decode or decode to another size. It uses imagecodecs where that is installed, else numcodecs or the standard library,
and releases the GIL while it decodes.

To add an algorithm, write a module here and name its function below; HDF5 filters (``codecs/hdf5``) and the codecs of
zarr (``readers/zarr/byte_codecs.py``) are tables of these functions.

Examples
--------
>>> import zlib
>>> import numpy as np
>>> data = np.frombuffer(zlib.compress(b"abcd"), np.uint8)
>>> decode_zlib(data, Limit(4, exact=True)).tobytes()
b'abcd'
"""

from __future__ import annotations

from packstore.codecs.decompress.blosc import decode_blosc, decode_blosc_buffer
from packstore.codecs.decompress.bzip2 import decode_bz2
from packstore.codecs.decompress.deflate import GzipStream, decode_deflate, decode_gzip, decode_zlib
from packstore.codecs.decompress.limit import Limit, call, check_ratio, corrupt, fill, store
from packstore.codecs.decompress.lz4 import decode_lz4, decode_lz4_block
from packstore.codecs.decompress.lzf import decode_lzf
from packstore.codecs.decompress.zstd import decode_zstd, zstd_content_nbytes

__all__ = [
    "GzipStream",
    "Limit",
    "call",
    "check_ratio",
    "corrupt",
    "decode_blosc",
    "decode_blosc_buffer",
    "decode_bz2",
    "decode_deflate",
    "decode_gzip",
    "decode_lz4",
    "decode_lz4_block",
    "decode_lzf",
    "decode_zlib",
    "decode_zstd",
    "fill",
    "store",
    "zstd_content_nbytes",
]
