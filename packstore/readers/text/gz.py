"""Gzip files as byte spaces: decoded once from the start, then read at any place from decoder states kept on the way.

Format: RFC 1952. Several members in a row are one stream of bytes; zlib checks the CRC-32 of each.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from packstore.errors import CorruptDataError, TruncatedFileError, message
from packstore.source import RangeReads, Source
from packstore.source.cache import FileLRU

__all__ = ["GZIP_MAGIC", "GzipSpace", "gunzip_head"]

GZIP_MAGIC = b"\x1f\x8b"
FEED_NBYTES = 1 << 14
SPAN_NBYTES = 2 << 20
# Decoded spans: several blocks of text lie in one.
CACHE = FileLRU("gzip")


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
        # Before each span: the decoder and how far it has been fed.
        self._states: list[tuple[Any, int]] = []

    def pieces(self) -> Iterator[bytes]:
        """All decoded bytes in order, a span at a time; remembers where each span starts."""
        self.nbytes = 0
        self._states = []
        decoder: Any = zlib.decompressobj(31)
        at = 0
        while True:
            state = decoder.copy(), at
            piece, decoder, at = self._run(decoder, at, SPAN_NBYTES)
            if not piece:
                return
            self._states.append(state)
            self.nbytes += len(piece)
            yield piece

    def _run(self, decoder: Any, at: int, nbytes: int) -> tuple[bytes, Any, int]:
        """Up to `nbytes` more bytes (fewer only at the end), the decoder after them and how far it has been fed."""
        out: list[bytes] = []
        need = nbytes
        feed = decoder.unconsumed_tail
        while need:
            if decoder.eof:
                # Zeros after the last member are padding.
                rest = decoder.unused_data.lstrip(b"\0")
                while not rest and at < self.source.nbytes:
                    rest, at = self._feed(at)
                    rest = rest.lstrip(b"\0")
                if not rest:
                    break
                decoder, feed = zlib.decompressobj(31), rest
            elif not feed and at < self.source.nbytes:
                feed, at = self._feed(at)
            try:
                piece = decoder.decompress(feed, need)
            except zlib.error as error:
                raise CorruptDataError(message("decoding", self.name, expected="gzip data", got=error)) from None
            if not piece and not feed and not decoder.eof:
                raise TruncatedFileError(
                    message("decoding", self.name, expected="the end of the gzip stream", got="the end of the file")
                )
            feed = decoder.unconsumed_tail
            need -= len(piece)
            out.append(piece)
        return b"".join(out), decoder, at

    def _feed(self, at: int) -> tuple[bytes, int]:
        data = self.source.pread(at, min(FEED_NBYTES, self.source.nbytes - at))
        return data, at + len(data)

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
        found = CACHE.get(self.source.fingerprint, i)
        if found is None:
            decoder, at = self._states[i]
            data, _, _ = self._run(decoder.copy(), at, SPAN_NBYTES)
            found = np.frombuffer(data, np.uint8)
            CACHE.put(self.source.fingerprint, i, found)
        return found.tobytes()

    def view(self) -> None:
        return None


def gunzip_head(head: bytes, nbytes: int = 4096) -> bytes:
    """The decoded start of a gzip file whose first bytes are `head`; empty where it does not decode."""
    try:
        return zlib.decompressobj(31).decompress(head, nbytes)
    except zlib.error:
        return b""
