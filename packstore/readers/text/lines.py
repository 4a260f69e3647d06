"""Where the rows of a text table are: one pass over its bytes, no number parsed."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from packstore.core.typing import Bytes
from packstore.errors import FormatError, message

__all__ = ["RowIndex", "data_lines", "first_row", "index_rows", "line_feeds"]

BLOCK_NBYTES = 1 << 18
MAX_LINE_NBYTES = 64 << 20
BOM = b"\xef\xbb\xbf"
# The blanks of ASCII, as `str.split` has them.
_BLANK = np.isin(np.arange(256), [9, 10, 11, 12, 13, 28, 29, 30, 31, 32])
_LONE = re.compile(rb"\r(?!\n)")


@dataclass(frozen=True, eq=False)
class RowIndex:
    """Byte offset and line number of every `step`-th row, and where the last one ends."""

    rows: int
    step: int
    offsets: npt.NDArray[np.int64]
    lines: npt.NDArray[np.int64]

    def block(self, i: int) -> tuple[int, int, int, int]:
        """Start and end in bytes, number of rows and first line number of block `i`."""
        rows = min(self.step, self.rows - i * self.step)
        return int(self.offsets[i]), int(self.offsets[i + 1]), rows, int(self.lines[i])


def line_feeds(buffer: bytes) -> bytes:
    r"""The same bytes with a line feed for each lone carriage return, which ends a line too.

    Examples
    --------
    >>> line_feeds(b"1\r2\r\n")
    b'1\n2\r\n'
    """
    if b"\r" in buffer and buffer.count(b"\r") != buffer.count(b"\r\n"):
        return _LONE.sub(b"\n", buffer)
    return buffer


def whole_lines(pieces: Iterable[bytes], path: str) -> Iterator[bytes]:
    """The bytes with `line_feeds`, cut at line ends; a missing last line end is added."""
    rest = b""
    for piece in pieces:
        if rest.endswith(b"\r"):
            # Whether a line feed follows could not be seen before.
            piece, rest = b"\r" + piece, rest[:-1]
        last = piece.endswith(b"\r")
        piece = line_feeds(piece[:-1]) + b"\r" if last else line_feeds(piece)
        cut = piece.rfind(b"\n") + 1
        if not cut:
            rest += piece
            if len(rest) > MAX_LINE_NBYTES:
                raise FormatError(
                    message(
                        "reading lines of",
                        path,
                        expected=f"lines of at most {MAX_LINE_NBYTES} bytes",
                        got="a longer one",
                    )
                )
            continue
        yield rest + piece[:cut]
        rest = piece[cut:]
    if rest:
        yield rest[:-1] + b"\n" if rest.endswith(b"\r") else rest + b"\n"


def data_lines(
    buffer: bytes, comment: bytes | None, by_space: bool, skip: int = 0
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Start of each line in `buffer` (whole lines, after `skip` bytes), and whether it holds a row.

    Notes
    -----
    As ``np.loadtxt`` sees it: what follows a comment mark does not count, a line with nothing in it is no row, and
    one with only blanks is none where blanks separate the columns.
    """
    raw = np.frombuffer(buffer, np.uint8)
    ends = np.flatnonzero(raw == 10)
    starts = np.concatenate([[skip], ends[:-1] + 1])
    stops = ends.copy()
    stops[(ends > starts) & (raw[ends - 1] == 13)] -= 1
    if comment:
        if len(comment) == 1:
            marks = np.flatnonzero(raw == comment[0])
        else:
            marks = np.array([m.start() for m in re.finditer(re.escape(comment), buffer)], np.int64)
        lines, first = np.unique(np.searchsorted(ends, marks), return_index=True)
        stops[lines] = np.minimum(stops[lines], marks[first])
    filled = stops > starts
    if by_space and filled.any():
        # reduceat takes pairs: from each start to its stop, and (thrown away) from there to the next start.
        bounds = np.stack([starts[filled], stops[filled]], axis=1).ravel()
        filled[filled] = np.logical_or.reduceat(_is_ink(raw), bounds)[::2]
    return starts, filled


def _is_ink(raw: Bytes) -> npt.NDArray[np.bool_]:
    """Which bytes are no blanks: control characters are none of them, though next to no text holds any."""
    ink: npt.NDArray[np.bool_] = raw > 32
    low = ~ink
    if int(np.count_nonzero(low)) != int(np.count_nonzero((raw == 32) | (raw == 10))):
        ink[low] = ~_BLANK[raw[low]]
    return ink


def first_row(pieces: Iterable[bytes], skiprows: int, comment: bytes | None, path: str) -> tuple[bytes, int] | None:
    """The first line that holds a row, without its comment, and its line number; None where there is none."""
    number = 0
    for buffer in whole_lines(pieces, path):
        for line in io.BytesIO(buffer):
            number += 1
            if number <= skiprows:
                continue
            line = line.rstrip(b"\r\n")
            if number == 1:
                line = line.removeprefix(BOM)
            row = line.split(comment, 1)[0] if comment else line
            if row.strip():
                return row, number
    return None


def index_rows(
    pieces: Iterable[bytes],
    path: str,
    *,
    skiprows: int = 0,
    comment: bytes | None = b"#",
    by_space: bool = True,
    max_rows: int | None = None,
) -> RowIndex:
    """Find the rows.

    Raises
    ------
    FormatError
        A line of more than 64 MB.

    Notes
    -----
    One pass over the bytes by numpy, no Python loop over lines. 16 bytes are kept for about 256 KB of text.
    """
    rows = number = base = step = 0
    offsets: list[npt.NDArray[np.int64]] = []
    lines: list[npt.NDArray[np.int64]] = []
    end = None
    for buffer in whole_lines(pieces, path):
        skip = len(BOM) if number == 0 and buffer.startswith(BOM) else 0
        starts, filled = data_lines(buffer, comment, by_space, skip)
        filled[: max(skiprows - number, 0)] = False
        if not step:
            step = 1 << max(6, (BLOCK_NBYTES * len(starts) // len(buffer)).bit_length() - 1)
        at = np.flatnonzero(filled)
        if max_rows is not None and rows + len(at) > max_rows:
            end = base + int(starts[at[max_rows - rows]])
            at = at[: max_rows - rows]
        picked = at[(-rows) % step :: step]
        offsets.append(base + starts[picked])
        lines.append(number + 1 + picked)
        rows += len(at)
        number += len(starts)
        base += len(buffer)
        if end is not None:
            break
    tail = np.array([base if end is None else end], np.int64)
    return RowIndex(rows, max(step, 1), np.concatenate([*offsets, tail]), np.concatenate([*lines, tail[:0]]))
