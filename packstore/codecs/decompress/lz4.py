"""LZ4: a block in, bare or behind its decoded size as numcodecs writes it, its decoded bytes out.

imagecodecs and numcodecs both run the reference library, at 4-5 GB/s a core.
"""

from __future__ import annotations

import numpy as np

from packstore.codecs import libraries
from packstore.codecs.decompress.limit import Limit, call, corrupt, fill, store
from packstore.core.typing import Bytes

__all__ = ["decode_lz4", "decode_lz4_block"]


def decode_lz4(data: Bytes, limit: Limit, out: Bytes | None = None, what: object = "lz4") -> Bytes:
    """Decode numcodecs' LZ4: the decoded size in four bytes, little-endian, then one block.

    See `packstore.codecs.decompress` for parameters and errors.
    """
    if data.size < 4:
        corrupt(what, "at least 4 bytes", f"{data.size} bytes")
    nbytes = int.from_bytes(data[:4].tobytes(), "little")
    limit.check(nbytes, what)
    target = None if out is None else out[:nbytes]
    fast = libraries.imagecodecs_function("lz4")
    if fast is not None:
        return fill(fast, data[4:], Limit(nbytes, True), target, what)
    return store(call(what, libraries.numcodecs_function("lz4"), data, target), Limit(nbytes, True), target, what)


def decode_lz4_block(data: Bytes, out: Bytes, what: object = "lz4") -> Bytes:
    """Decode one bare LZ4 block that must fill `out`; its decoded size is stored elsewhere."""
    fast = libraries.imagecodecs_function("lz4")
    if fast is not None:
        return fill(fast, data, Limit(out.size, True), out, what)
    sized = np.empty(4 + data.size, np.uint8)
    sized[:4] = np.frombuffer(out.size.to_bytes(4, "little"), np.uint8)
    sized[4:] = data
    return store(call(what, libraries.numcodecs_function("lz4"), sized, out), Limit(out.size, True), out, what)
