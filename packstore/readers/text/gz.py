"""Gzip files as byte spaces: one pass from the start keeps decoder states, from which any place can be read later.

Format: RFC 1952. Several members in a row are one stream of bytes; zlib checks the CRC-32 of each.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np

from packstore.codecs.decompress import GzipStream
from packstore.core.typing import Bytes
from packstore.errors import CorruptDataError, TruncatedFileError, message
from packstore.source import RangeReads, Source
from packstore.source.cache import GZIP

__all__ = ["GZIP_MAGIC", "GzipSpace", "gunzip_head"]

GZIP_MAGIC = b"\x1f\x8b"
FEED_NBYTES = 1 << 14
SPAN_NBYTES = 2 << 20


class GzipSpace(RangeReads):
    """The decoded bytes of a gzip file.

    Parameters
    ----------
    source
        The file. Constructing costs nothing; `pieces` makes the pass that finds the length.

    Notes
    -----
    About 60 KB are kept for each 2 MB decoded. Thread safe once `pieces` has run through.
    """

    __slots__ = ("_states", "name", "nbytes", "source")

    def __init__(self, source: Source) -> None:
        self.source = source
        self.name = source.name
        self.nbytes = 0
        # The decoder before each span.
        self._states: list[GzipStream] = []

    def pieces(self) -> Iterator[bytes]:
        """Decode the file from its start, a span at a time, and remember where each span starts."""
        self.nbytes = 0
        self._states = []
        stream = GzipStream(self._stored)
        while True:
            state = stream.copy()
            piece = self._read(stream)
            if not piece:
                return
            self._states.append(state)
            self.nbytes += len(piece)
            yield piece

    def _read(self, stream: GzipStream) -> bytes:
        """Decode the next span; it is shorter only at the end."""
        try:
            return stream.read(SPAN_NBYTES)
        except zlib.error as error:
            raise CorruptDataError(message("decoding", self.name, expected="gzip data", got=error)) from None
        except EOFError:
            raise TruncatedFileError(
                message("decoding", self.name, expected="the end of the gzip stream", got="the end of the file")
            ) from None

    def _stored(self, at: int) -> bytes | Bytes:
        return self.source.pread(at, min(FEED_NBYTES, self.source.nbytes - at))

    def pread(self, offset: int, nbytes: int) -> bytes:
        if offset < 0 or nbytes < 0 or offset + nbytes > self.nbytes:
            raise TruncatedFileError(
                message(f"reading at offset {offset} of", self.name, expected=f"{nbytes} bytes", got=self.nbytes)
            )
        self.source.check()
        if nbytes == 0:
            return b""
        first, last = offset // SPAN_NBYTES, (offset + nbytes - 1) // SPAN_NBYTES
        data = b"".join(self._span(i) for i in range(first, last + 1))
        at = offset - first * SPAN_NBYTES
        return data[at : at + nbytes]

    def _span(self, i: int) -> bytes:
        found = GZIP.get(self.source.fingerprint, i)
        if found is None:
            found = np.frombuffer(self._read(self._states[i].copy()), np.uint8)
            GZIP.put(self.source.fingerprint, i, found)
        return found.tobytes()

    def view(self) -> None:
        return None


def gunzip_head(head: bytes, nbytes: int = 4096) -> bytes:
    """Decode the start of a gzip file whose first bytes are `head`; give nothing where it does not decode."""
    try:
        return zlib.decompressobj(31).decompress(head, nbytes)
    except zlib.error:
        return b""
