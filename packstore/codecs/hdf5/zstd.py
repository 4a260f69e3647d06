"""Filter 32015, Zstandard: one or more zstd frames (RFC 8878) per chunk.

imagecodecs and numcodecs both run the reference library at about 1 GB/s a core and release the GIL.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from packstore.codecs.hdf5 import probe
from packstore.codecs.hdf5.base import Bytes, FilterSpec, call, check_size, compressed_size, corrupt, store

__all__ = ["decode", "decode_many", "encoded_size", "unavailable", "zstd_into"]

encoded_size = compressed_size


def unavailable() -> str | None:
    """Always there: numcodecs, which zarr needs, has a decoder."""
    return None


def decode(data: Bytes, spec: FilterSpec, out: Bytes, exact: bool) -> Bytes:
    """Decompress into `out`."""
    return zstd_into(data, spec, out, exact)


def decode_many(chunks: Sequence[Bytes], spec: FilterSpec, out: Bytes) -> bool:
    """Decode frames that say their size in one call: zstd takes them one behind the other."""
    nbytes = out.size // len(chunks)
    if probe.imagecodecs_function("zstd") is None or any(_content_size(data) != nbytes for data in chunks):
        return False
    frames = np.frombuffer(b"".join([memoryview(data) for data in chunks]), np.uint8)
    zstd_into(frames, spec, out, True)
    return True


def zstd_into(data: Bytes, spec: FilterSpec, out: Bytes, exact: bool) -> Bytes:
    """Decompress one zstd frame sequence; shared with bitshuffle."""
    fast = probe.imagecodecs_function("zstd")
    if fast is not None:
        return store(spec, call(spec, fast, data, out=out), out, exact)
    import numcodecs.zstd

    # numcodecs allocates what the frame declares, so the declaration is checked first.
    declared = _content_size(data)
    if declared is None:
        corrupt(spec, "a zstd frame that declares its size", "one that does not", "Install imagecodecs to read it.")
    check_size(spec, declared, out, exact)
    return store(spec, call(spec, numcodecs.zstd.decompress, data), out, exact)


def _content_size(data: Bytes) -> int | None:
    """Read the content size from the header of the first frame; None where there is none."""
    head = data[:18].tobytes()
    if len(head) < 6 or head[:4] != b"\x28\xb5\x2f\xfd":
        return None
    descriptor = head[4]
    single_segment = descriptor >> 5 & 1
    start = 5 + (not single_segment) + (0, 1, 2, 4)[descriptor & 3]
    width = (single_segment, 2, 4, 8)[descriptor >> 6]
    field = head[start : start + width]
    if not width or len(field) < width:
        return None
    return int.from_bytes(field, "little") + (256 if width == 2 else 0)
