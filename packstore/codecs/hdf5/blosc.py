"""Filter 32001, Blosc 1: one self-describing Blosc buffer per chunk (with its own shuffle inside).

imagecodecs or numcodecs, both over c-blosc and both without the GIL: 6-8 GB/s a core for lz4, 2 for zstd. One thread
per chunk: the caller's threads are the parallelism.
"""

from __future__ import annotations

from collections.abc import Sequence

from packstore.codecs.hdf5 import blosc_frame, probe
from packstore.codecs.hdf5.base import Bytes, FilterSpec, call, check_size, compressed_size, corrupt, label, store
from packstore.errors import MissingFilterError, message

__all__ = ["decode", "decode_many", "encoded_size", "unavailable"]

encoded_size = compressed_size

_HEADER = 16
_SNAPPY = 2


def unavailable() -> str | None:
    """Always there: numcodecs, which zarr needs, has a decoder."""
    return None


def decode(data: Bytes, spec: FilterSpec, out: Bytes, exact: bool) -> Bytes:
    """Decompress into `out`, once the sizes in the buffer's header are plausible."""
    if data.size < _HEADER:
        corrupt(spec, f"at least {_HEADER} bytes", data.size)
    nbytes = int.from_bytes(data[4:8].tobytes(), "little")
    stored = int.from_bytes(data[12:16].tobytes(), "little")
    if not _HEADER <= stored <= data.size:
        corrupt(spec, f"a Blosc buffer of at most {data.size} bytes", stored)
    result = out[: check_size(spec, nbytes, out, exact)]
    if not nbytes:
        return result
    fast = probe.imagecodecs_function("blosc")
    if fast is not None:
        return store(spec, call(spec, fast, data[:stored], numthreads=1, out=result), result, True)
    if int(data[2]) >> 5 == _SNAPPY and not int(data[2]) & 2:
        text = message(
            f"decoding HDF5 filter {label(spec)}", got="Snappy inside", hint="Install imagecodecs to read it."
        )
        raise MissingFilterError(text)
    import numcodecs.blosc

    return store(spec, call(spec, numcodecs.blosc.decompress, data[:stored], result), result, True)


def decode_many(chunks: Sequence[Bytes], spec: FilterSpec, out: Bytes) -> bool:
    """Decode chunks of one kind in one call."""
    if chunks[0].size < _HEADER or int(chunks[0][2]) >> 5 == _SNAPPY:
        return False
    return blosc_frame.decode_buffers(chunks, spec, out)
