"""What a pickle's opcodes are run on: symbolic values, and a cursor over the file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from packstore.source import ByteSpace

__all__ = ["MAX_TEXT_NBYTES", "Blob", "Call", "Cursor", "Global", "Opaque", "Pairs", "ShortText", "text_blob"]

# Longer texts are kept as blobs: they are array data of protocols 0 to 2.
MAX_TEXT_NBYTES = 1 << 12
WINDOW_NBYTES = 1 << 16


Coding = Literal["raw", "utf-8", "raw-unicode-escape", "repr"]


@dataclass(frozen=True)
class Blob:
    """Bytes in the file. `coding` says how they become the pickled ones ("raw": as they are); `old`: Python 2's str."""

    offset: int
    nbytes: int
    coding: Coding = "raw"
    old: bool = False


@dataclass(frozen=True)
class Global:
    """A name that a pickle would import."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Call:
    """What calling `func` with `args` would give, `state` the argument of its BUILD."""

    func: Any
    args: Any
    state: Any = None
    built: bool = False
    # Of an OrderedDict or defaultdict.
    items: list[tuple[Any, Any]] = field(default_factory=list)
    # Set for joblib's array wrappers: where the elements start, once the bytes behind them are known.
    data: int | None = None


@dataclass(eq=False)
class Opaque:
    """Something that no array is made of; `what` names it."""

    what: str


@dataclass(eq=False)
class Pairs:
    """A dict; a list of pairs, because keys may be anything."""

    items: list[tuple[Any, Any]] = field(default_factory=list)


class ShortText(str):
    """A short text that remembers where it was stored: it may be array data after all."""

    blob: Blob

    def __new__(
        cls, text: str, cursor: Cursor, nbytes: int, start: int | None = None, coding: Coding = "utf-8"
    ) -> ShortText:
        self = super().__new__(cls, text)
        at = cursor.position - nbytes if start is None else start
        self.blob = Blob(at, nbytes, coding)
        return self


def text_blob(value: Any) -> Blob | None:
    """Where a text's bytes are; None for what is no text."""
    return value.blob if isinstance(value, ShortText) else value if isinstance(value, Blob) else None


class Cursor:
    """Sequential reading by windows, as the argument readers of `pickletools` want it; can skip."""

    def __init__(self, space: ByteSpace, position: int) -> None:
        self.space = space
        self.position = position
        self._window = b""
        self._start = position

    def read(self, nbytes: int) -> bytes:
        if nbytes > self.space.nbytes - self.position:
            raise EOFError
        at = self.position - self._start
        if at < 0 or at + nbytes > len(self._window):
            self._start = self.position
            size = min(max(nbytes, WINDOW_NBYTES), self.space.nbytes - self.position)
            self._window = bytes(self.space.pread(self.position, size))
            at = 0
        self.position += nbytes
        return self._window[at : at + nbytes]

    def skip(self, nbytes: int) -> int:
        """Pass over `nbytes` without reading them; where they start."""
        at = self.position
        if nbytes < 0 or nbytes > self.space.nbytes - at:
            raise EOFError
        self.position += nbytes
        return at

    def readline(self) -> bytes:
        """Up to and with the next line end; only for short lines."""
        start, nbytes = self.line()
        if nbytes > MAX_TEXT_NBYTES:
            raise ValueError(f"a line of {nbytes} bytes")
        self.position = start
        return self.read(nbytes + 1)

    def line(self) -> tuple[int, int]:
        """Pass over a line; its start and its length without the line end."""
        start = at = self.position
        while at < self.space.nbytes:
            piece = bytes(self.space.pread(at, min(WINDOW_NBYTES, self.space.nbytes - at)))
            end = piece.find(b"\n")
            if end >= 0:
                self.position = at + end + 1
                return start, at + end - start
            at += len(piece)
        raise EOFError
