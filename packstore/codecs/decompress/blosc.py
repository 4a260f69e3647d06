"""Blosc 1: one self-describing buffer in, its decoded and unshuffled bytes out.

imagecodecs and numcodecs both run c-blosc: 6-8 GB/s a core for lz4, 2 for zstd. One thread decodes a buffer: the
caller's threads are the parallelism.
"""

from __future__ import annotations

import struct

import numpy as np

from packstore.codecs import libraries
from packstore.codecs.decompress.limit import Limit, call, corrupt, fill, store
from packstore.core.typing import Bytes
from packstore.errors import MissingFilterError, message

__all__ = ["decode_blosc", "decode_blosc_buffer"]

# Format versions (of the buffer, of the compressor), flags, item size; decoded size, block size, buffer size.
_HEADER = struct.Struct("<4B3I")
_STORED, _SNAPPY = 0x02, 2


def decode_blosc(data: Bytes, limit: Limit, out: Bytes | None = None, what: object = "blosc") -> Bytes:
    """Decode a Blosc 1 buffer; see `packstore.codecs.decompress` for parameters and errors.

    Raises
    ------
    MissingFilterError
        The buffer is compressed by Snappy, which only imagecodecs decodes.
    """
    if data.size < _HEADER.size:
        corrupt(what, f"at least {_HEADER.size} bytes", f"{data.size} bytes")
    _, _, flags, _, nbytes, _, stored = _HEADER.unpack_from(data)
    limit.check(nbytes, what)
    if not _HEADER.size <= stored <= data.size:
        corrupt(what, f"a Blosc buffer of at most {data.size} bytes", f"{stored} bytes")
    if not nbytes:
        return np.empty(0, np.uint8)
    if out is None:
        out = np.empty(nbytes, np.uint8)
    elif nbytes < limit.nbytes:
        out = out[:nbytes]
    if flags >> 5 == _SNAPPY and not flags & _STORED and libraries.imagecodecs_function("blosc") is None:
        text = message(f"decoding {what}", got="Snappy inside", hint="Install imagecodecs to read it")
        raise MissingFilterError(text)
    return decode_blosc_buffer(data if stored == data.size else data[:stored], out, what)


def decode_blosc_buffer(buffer: Bytes, out: Bytes, what: object = "blosc") -> Bytes:
    """Decode a Blosc 1 buffer that fills `out`, and whose header the caller has checked or written."""
    limit = Limit(out.size, True)
    fast = libraries.imagecodecs_function("blosc")
    if fast is not None:
        return fill(fast, buffer, limit, out, what, numthreads=1)
    return store(call(what, libraries.numcodecs_function("blosc"), buffer, out), limit, out, what)
