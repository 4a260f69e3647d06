"""Filter 32000, LZF: h5py's own fast compressor, a bare LZF block per chunk.

Decoded by imagecodecs. There is no other decoder for Python; without it h5py, which has LZF built in, reads the
dataset.
"""

from __future__ import annotations

from packstore.codecs.hdf5 import probe
from packstore.codecs.hdf5.base import Bytes, FilterSpec, call, compressed_size, store

__all__ = ["decode", "encoded_size", "unavailable"]

encoded_size = compressed_size


def unavailable() -> str | None:
    """imagecodecs, or nothing."""
    return None if probe.imagecodecs_function("lzf") is not None else "imagecodecs"


def decode(data: Bytes, spec: FilterSpec, out: Bytes, exact: bool) -> Bytes:
    """Decompress into `out`."""
    fast = probe.imagecodecs_function("lzf")
    assert fast is not None  # the pipeline asked `unavailable` first
    return store(spec, call(spec, fast, data, out=out), out, exact)
