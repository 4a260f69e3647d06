"""Filter 32000, LZF: h5py's own fast compressor, a bare LZF block per chunk.

Without imagecodecs h5py, which has LZF built in, reads the dataset.
"""

from __future__ import annotations

from packstore.codecs.decompress import decode_lzf
from packstore.codecs.hdf5.base import compressed, needs_imagecodecs

__all__ = ["decode", "encoded", "unavailable"]

unavailable = needs_imagecodecs("lzf")
encoded = compressed
decode = decode_lzf
