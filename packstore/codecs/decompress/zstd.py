"""Zstandard: one or more frames (RFC 8878) in, their decoded bytes out.

imagecodecs and numcodecs both run the reference library at about 1 GB/s a core; it verifies a frame's own checksum.
"""

from __future__ import annotations

from packstore.codecs import libraries
from packstore.codecs.decompress.limit import Limit, call, corrupt, fill, store
from packstore.core.typing import Bytes

__all__ = ["decode_zstd", "zstd_content_nbytes"]


def decode_zstd(data: Bytes, limit: Limit, out: Bytes | None = None, what: object = "zstd") -> Bytes:
    """Decode zstd frames; see `packstore.codecs.decompress` for parameters and errors."""
    fast = libraries.imagecodecs_function("zstd")
    if fast is not None:
        return fill(fast, data, limit, out, what)
    # numcodecs takes the memory that the first frame declares.
    declared = zstd_content_nbytes(data)
    if declared is None:
        corrupt(what, "a zstd frame that declares its size", "one that does not", "Install imagecodecs to read it")
    limit.check(declared, what)
    target = None if out is None else out[:declared]
    return store(call(what, libraries.numcodecs_function("zstd"), data, target), limit, target, what)


def zstd_content_nbytes(data: Bytes) -> int | None:
    """Read how many bytes the first frame decodes to from its header; None where the header does not say."""
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
