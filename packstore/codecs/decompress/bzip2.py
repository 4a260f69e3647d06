"""bzip2: one stream or several in, their decoded bytes out, by the standard library."""

from __future__ import annotations

from packstore.codecs.decompress.limit import Limit, call, corrupt, store
from packstore.core.typing import Bytes

__all__ = ["decode_bz2"]


def decode_bz2(
    data: Bytes, limit: Limit, out: Bytes | None = None, what: object = "bz2", *, several: bool = True
) -> Bytes:
    """Decode bzip2 streams; see `packstore.codecs.decompress` for the other parameters and errors.

    Parameters
    ----------
    several
        Whether what follows the first stream is one more; otherwise it is ignored.
    """
    import bz2  # import time: 1 ms, and few need it

    parts: list[bytes] = []
    room = limit.nbytes + 1
    rest: Bytes | bytes = data
    while True:
        stream = bz2.BZ2Decompressor()
        part = call(what, stream.decompress, rest, room)
        parts.append(part)
        room -= len(part)
        if room and not stream.eof:
            decoded = limit.nbytes + 1 - room
            corrupt(what, "a whole bzip2 stream", f"one that stops after {decoded} decoded bytes")
        rest = stream.unused_data
        if not (room and several and rest):
            break
    return store(b"".join(parts), limit, out, what)
