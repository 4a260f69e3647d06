"""Deflate (RFC 1951), bare or in the wrapping of zlib (RFC 1950) or gzip (RFC 1952): a stream in, its bytes out.

libdeflate (imagecodecs) decodes at about 0.5-0.8 GB/s a core, the standard library's zlib at 0.3. Both verify the
checksum of zlib and gzip streams; a bare stream has none.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

from packstore.codecs import libraries
from packstore.codecs.decompress.limit import Limit, call, corrupt, fill, store
from packstore.core.typing import Bytes
from packstore.errors import CorruptDataError

__all__ = ["GzipStream", "decode_deflate", "decode_gzip", "decode_zlib"]

# How zlib tells the wrappings apart.
_ZLIB, _GZIP, _BARE = 15, 31, -15


def decode_zlib(data: Bytes, limit: Limit, out: Bytes | None = None, what: object = "zlib") -> Bytes:
    """Decode a zlib stream; see `packstore.codecs.decompress` for parameters and errors."""
    fast = libraries.imagecodecs_function("deflate")
    if fast is not None:
        return fill(fast, data, limit, out, what)
    return _inflate(data, limit, out, what, _ZLIB)


def decode_deflate(data: Any, limit: Limit, out: Bytes | None = None, what: object = "deflate") -> Bytes:
    """Decode a bare deflate stream; see `packstore.codecs.decompress` for parameters and errors."""
    fast = libraries.imagecodecs_function("deflate")
    if fast is not None:
        return fill(fast, data, limit, out, what, raw=True)
    return _inflate(data, limit, out, what, _BARE)


def decode_gzip(data: Bytes, limit: Limit, out: Bytes | None = None, what: object = "gzip") -> Bytes:
    """Decode one or more gzip members; see `packstore.codecs.decompress` for parameters and errors."""
    fast = libraries.imagecodecs_function("gzip")
    # libdeflate decodes the first member only. That is all of the data if the size at their very end is the wanted one.
    if fast is not None and limit.exact and int.from_bytes(data[-4:].tobytes(), "little") == limit.nbytes & 0xFFFFFFFF:
        try:
            return fill(fast, data, limit, out, what)
        except CorruptDataError:
            # Damage, or several members: zlib tells which.
            pass
    view = memoryview(data)
    stream = GzipStream(lambda at: view[at:])
    return store(call(what, stream.read, limit.nbytes + 1), limit, out, what)


def _inflate(data: Any, limit: Limit, out: Bytes | None, what: object, wrapping: int) -> Bytes:
    """Decode one stream by zlib; it may end before the data do."""
    stream = zlib.decompressobj(wrapping)
    decoded = call(what, stream.decompress, data, limit.nbytes + 1)
    if len(decoded) <= limit.nbytes and not stream.eof:
        corrupt(what, "a whole deflate stream", f"one that stops after {len(decoded)} decoded bytes")
    return store(decoded, limit, out, what)


class GzipStream:
    """Decode gzip members in a row as one stream, a part at a time; zeros after a member are padding.

    Parameters
    ----------
    stored
        Gives some of the compressed bytes, those that follow the first `at`; none only at their end.

    Examples
    --------
    >>> import gzip
    >>> data = gzip.compress(b"pack") + gzip.compress(b"store")
    >>> stream = GzipStream(lambda at: data[at:])
    >>> stream.read(6)
    b'packst'
    >>> later = stream.copy()
    >>> stream.read(100)
    b'ore'
    >>> later.read(1)
    b'o'
    """

    __slots__ = ("_at", "_decoder", "_stored")

    def __init__(self, stored: Callable[[int], Any]) -> None:
        self._stored = stored
        self._decoder: Any = zlib.decompressobj(_GZIP)
        # Stored bytes that the decoder was given so far.
        self._at = 0

    def copy(self) -> GzipStream:
        """Copy the decoder's state, about 60 KB: the copy reads on from the same place."""
        other = GzipStream(self._stored)
        other._decoder, other._at = self._decoder.copy(), self._at
        return other

    def read(self, nbytes: int) -> bytes:
        """Decode the next `nbytes` bytes; fewer only at the end of the last member.

        Raises
        ------
        zlib.error
            The stored bytes are not gzip's, or a checksum does not match.
        EOFError
            The stored bytes end inside a member.
        """
        parts: list[bytes] = []
        need = nbytes
        feed = self._decoder.unconsumed_tail
        while need:
            if self._decoder.eof:
                feed = self._decoder.unused_data.lstrip(b"\0")
                while not feed and (more := self._more()):
                    feed = bytes(more).lstrip(b"\0")
                if not feed:
                    break
                self._decoder = zlib.decompressobj(_GZIP)
            elif not feed:
                feed = self._more()
            part = self._decoder.decompress(feed, need)
            if not part and not feed and not self._decoder.eof:
                raise EOFError(f"the stored bytes end inside a gzip member, {nbytes - need} bytes further on")
            feed = self._decoder.unconsumed_tail
            need -= len(part)
            parts.append(part)
        return b"".join(parts)

    def _more(self) -> memoryview:
        found = memoryview(self._stored(self._at))
        self._at += len(found)
        return found
