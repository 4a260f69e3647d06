"""Text in UTF-16 and UTF-32 as a byte space in UTF-8: rows are found in bytes that extend ASCII."""

from __future__ import annotations

import codecs
from bisect import bisect_right
from collections.abc import Callable, Iterator

from packstore.core.typing import Bytes
from packstore.errors import FormatError, TruncatedFileError, message
from packstore.source import ByteSpace, RangeReads

__all__ = ["WIDE_ENCODINGS", "Utf8Space", "wide_encoding"]

# The byte order mark at the start tells the order of the first two.
WIDE_ENCODINGS = frozenset({"utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"})
_MARKS = {"utf-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE), "utf-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)}
SPAN_NBYTES = 1 << 18


def wide_encoding(head: bytes) -> str | None:
    """The name of the wide encoding whose byte order mark text begins with; None for other text."""
    # The mark of utf-32 begins with that of utf-16.
    return next((name for name in ("utf-32", "utf-16") if head.startswith(_MARKS[name])), None)


class Utf8Space(RangeReads):
    """The text of a space, in UTF-8.

    Parameters
    ----------
    space
        The stored bytes.
    stored_pieces
        Gives them from the start. Where that is what finds their length, it must have run before anything is read.
    encoding
        A name in `WIDE_ENCODINGS`.

    Notes
    -----
    `pieces` makes the pass that finds the length; it keeps two numbers for each 256 KB. Thread safe once it is through.
    """

    __slots__ = ("_encoding", "_starts", "_stored", "_stored_pieces", "name", "nbytes", "space")

    def __init__(self, space: ByteSpace, stored_pieces: Callable[[], Iterator[bytes]], encoding: str) -> None:
        self.space = space
        self.name = space.name
        self.nbytes = 0
        self._encoding = encoding
        self._stored_pieces = stored_pieces
        # Where each span starts: in UTF-8, and as it is stored.
        self._starts: list[int] = []
        self._stored: list[int] = []

    def _without_mark(self, head: bytes) -> tuple[str, int]:
        """The encoding with its byte order, and the length of the mark."""
        for mark, order in zip(_MARKS.get(self._encoding, ()), ("le", "be"), strict=False):
            if head.startswith(mark):
                return f"{self._encoding}-{order}", len(mark)
        # Without a mark Python takes the machine's own order, as numpy does with it.
        return self._encoding, 0

    def pieces(self) -> Iterator[bytes]:
        """Decode from the start, a span at a time, and remember where each starts."""
        self.nbytes, self._starts, self._stored = 0, [], []
        at, rest, first = 0, b"", True
        for piece in self._stored_pieces():
            rest += piece
            if first:
                self._encoding, at = self._without_mark(rest)
                rest, first = rest[at:], False
            while len(rest) > SPAN_NBYTES:
                taken, text = self._decode(rest[:SPAN_NBYTES], at, final=False)
                yield self._keep(text, at)
                at, rest = at + taken, rest[taken:]
        yield self._keep(self._decode(rest, at, final=True)[1], at)
        self._stored.append(at + len(rest))

    def _keep(self, text: bytes, at: int) -> bytes:
        self._starts.append(self.nbytes)
        self._stored.append(at)
        self.nbytes += len(text)
        return text

    def _decode(self, data: bytes, at: int, *, final: bool) -> tuple[int, bytes]:
        """How many bytes hold whole characters, and these in UTF-8."""
        try:
            decoder = codecs.getincrementaldecoder(self._encoding)()
            text = decoder.decode(data, final)
        except UnicodeDecodeError as error:
            got = f"{data[error.start : error.end]!r} at byte {at + error.start}"
            raise FormatError(message("decoding", self.name, expected=f"text in {self._encoding}", got=got)) from None
        return len(data) - len(decoder.getstate()[0]), text.encode()

    def pread(self, offset: int, nbytes: int) -> bytes:
        if offset < 0 or nbytes < 0 or offset + nbytes > self.nbytes:
            raise TruncatedFileError(
                message(f"reading at offset {offset} of", self.name, expected=f"{nbytes} bytes", got=self.nbytes)
            )
        first = bisect_right(self._starts, offset) - 1
        out = bytearray()
        for i in range(first, len(self._starts)):
            start, stop = self._stored[i], self._stored[i + 1]
            out += self._decode(bytes(self.space.pread(start, stop - start)), start, final=True)[1]
            if self._starts[first] + len(out) >= offset + nbytes:
                break
        at = offset - self._starts[first]
        return bytes(out[at : at + nbytes])

    def view(self) -> Bytes | None:
        return None
