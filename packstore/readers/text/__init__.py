"""Tables in text files, as ``np.savetxt`` writes and ``np.loadtxt`` reads them, plain or gzipped; parsed in blocks."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from packstore.errors import FormatError, MissingFileError, OptionError, message
from packstore.readers.known import magic_kind
from packstore.readers.npy.header import as_dtype
from packstore.readers.text.gz import GZIP_MAGIC, GzipSpace, gunzip_head
from packstore.readers.text.lines import RowIndex, first_row, index_rows, line_feeds
from packstore.readers.text.transcode import WIDE_ENCODINGS, Utf8Space, wide_encoding
from packstore.source import DirectorySource, Source
from packstore.source.cache import TEXT
from packstore.storage import BoxReader, Facts, ManifestArray, ManifestGroup, ReaderStorage, regroup

__all__ = ["TextReader", "read", "sniff"]

SUFFIXES = (".txt", ".csv", ".tsv", ".dat", ".asc")
PIECE_NBYTES = 4 << 20
_CONTROLS = frozenset(map(chr, {*range(32), 127} - set(b"\t\n\r\f")))


def sniff(source: Source, head: bytes) -> bool:
    """Whether the name is that of a text table and the first bytes are printable."""
    name = source.name.lower()
    if head.startswith(GZIP_MAGIC):
        if not name.removesuffix(".gz").endswith(SUFFIXES):
            return False
        head = gunzip_head(head)
    elif not name.endswith(SUFFIXES):
        return False
    # An empty file is no table: what was to be in it is missing. format="text" reads it as one of no rows.
    if not head or isinstance(source, DirectorySource) or magic_kind(head) is not None:
        return False
    try:
        # Not final: the last character may be cut. Wide text is taken for what it is, and read asks for its encoding.
        text = codecs.getincrementaldecoder(wide_encoding(head) or "utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return not _CONTROLS.intersection(text)


def read(
    source: Source,
    *,
    component: str | None,
    chunks: Any,
    delimiter: str | None = None,
    dtype: Any = float,
    skiprows: int = 0,
    comments: str | None = "#",
    max_rows: int | None = None,
    usecols: Sequence[int] | int | None = None,
    ndmin: int = 0,
    encoding: str = "utf-8",
) -> ManifestGroup:
    """Describe the table in a text file.

    Parameters
    ----------
    source
        The file, gzipped or not.
    component
        Not used: the file is one array.
    chunks
        How to cut it for zarr.
    delimiter
        Between columns; None: semicolon, comma, tab or blanks, whichever the first row shows.
    dtype, skiprows, comments, max_rows, usecols, ndmin, encoding
        As ``np.loadtxt`` takes them; `dtype` needs a fixed width, `comments` is one mark or None.

    Returns
    -------
    ManifestGroup
        The array at "", in the shape and type that ``np.loadtxt`` gives.

    Raises
    ------
    FormatError
        Bytes that are no text. A row that does not parse raises when it is read, with its line number.
    OptionError, DtypeError
        Options that make no sense.

    Notes
    -----
    One pass over the bytes (about 0.3 GB/s, gzipped ones 0.1) finds the rows; numbers are parsed when they are read,
    about 256 KB of text at a time. ``np.loadtxt`` holds the GIL, so threads do not parse faster than one.
    """
    if isinstance(source, DirectorySource):
        raise MissingFileError(message("opening", source.name, expected="a file", got="a directory"))
    for name, value in (("skiprows", skiprows), ("max_rows", max_rows), ("ndmin", ndmin)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0):
            raise OptionError(message("opening", source.name, expected=f"{name}= of 0 or more", got=repr(value)))
    if usecols is not None and not all(type(c) is int for c in np.atleast_1d(np.asarray(usecols, object)).tolist()):
        expected = "usecols= as an int or a sequence of ints"
        raise OptionError(message("opening", source.name, expected=expected, got=f"{usecols!r:.200}"))
    element = as_dtype(dtype, source.name)
    wide = wide_encoding(bytes(source.pread(0, min(4, source.nbytes))))
    if wide is not None and encoding == "utf-8":
        hint = f'Pass encoding="{wide}"'
        raise FormatError(message("opening", source.name, expected="text in utf-8", got=f"{wide}", hint=hint))
    space, encoding = _space(source, encoding)
    comment = _mark(source, comments, encoding, "comments")

    def pieces() -> Iterator[bytes]:
        return _pieces(source) if space is source else space.pieces()  # type: ignore[union-attr]

    first = first_row(pieces(), skiprows, comment, source.name)
    row = b"" if first is None else first[0]
    mark = _guess_delimiter(row, element) if delimiter is None else delimiter
    _mark(source, mark, encoding, "delimiter")
    index = index_rows(
        pieces(), source.name, skiprows=skiprows, comment=comment, by_space=mark is None, max_rows=max_rows
    )
    settings = {"dtype": element, "delimiter": mark, "comments": comments, "usecols": usecols, "ndmin": 2}
    reader = TextReader(space, source, index, settings, encoding)
    if element.names is not None or index.rows == 0:
        columns = 1
    elif usecols is not None:
        columns = len(np.atleast_1d(usecols))
    else:
        text = row.decode(encoding, "replace")
        columns = len(text.split(mark))
    reader.columns = columns
    if first is not None and index.rows:
        # Names in the first row, or prose, are better told now than at the first read.
        reader.parse(row, 1, first[1])
    shape: tuple[int, ...] = (index.rows, columns)
    reader.axes = _kept_axes(shape, ndmin)
    shape = tuple(shape[axis] for axis in reader.axes)
    return ManifestGroup(
        {"": ManifestArray(shape, element, regroup(shape, element.itemsize, "C", chunks), ReaderStorage(reader))}
    )


def _space(source: Source, encoding: str) -> tuple[Source | GzipSpace | Utf8Space, str]:
    """The text as bytes that extend ASCII, and their encoding."""
    space = GzipSpace(source) if source.pread(0, min(2, source.nbytes)) == GZIP_MAGIC else source
    try:
        name = codecs.lookup(encoding).name
    except (LookupError, TypeError, ValueError):
        return space, encoding  # refused by its name below
    if name == "utf-8-sig":
        # The byte order mark is no part of the first row in any case.
        return space, "utf-8"
    if name in WIDE_ENCODINGS:
        stored = space.pieces if isinstance(space, GzipSpace) else lambda: _pieces(source)
        return Utf8Space(space, stored, name), "utf-8"
    return space, encoding


def _pieces(source: Source) -> Iterator[bytes]:
    for at in range(0, source.nbytes, PIECE_NBYTES):
        yield source.pread(at, min(PIECE_NBYTES, source.nbytes - at))


def _kept_axes(shape: tuple[int, ...], ndmin: int) -> tuple[int, ...]:
    """The axes of (rows, columns) that ``np.loadtxt`` keeps: those longer than 1, and others up to `ndmin`."""
    kept = [axis for axis in (0, 1) if shape[axis] != 1]
    if ndmin > 2:
        raise OptionError(message("opening text", expected="ndmin= of at most 2", got=ndmin))
    for axis in (0, 1):
        if len(kept) < ndmin and axis not in kept:
            kept.append(axis)
    return tuple(sorted(kept))


def _mark(source: Source, mark: str | None, encoding: str, name: str) -> bytes | None:
    """The mark as bytes, once the encoding is known to keep ASCII bytes as they are."""
    try:
        if "\n#0".encode(encoding) != b"\n#0":
            raise LookupError
    except (LookupError, TypeError, ValueError):
        raise OptionError(
            message(
                "opening",
                source.name,
                expected="an encoding= that extends ASCII (utf-8, latin-1 …), utf-16 or utf-32",
                got=repr(encoding),
            )
        ) from None
    if mark is None:
        return None
    if not isinstance(mark, str) or not mark or "\n" in mark or (name == "delimiter" and len(mark) != 1):
        expected = f"{name}= as one character" if name == "delimiter" else f"{name}= as a string or None"
        raise OptionError(message("opening", source.name, expected=expected, got=repr(mark)))
    return mark.encode(encoding)


def _guess_delimiter(row: bytes, dtype: np.dtype[Any]) -> str | None:
    for mark in (";", ","):
        if mark.encode() in row:
            return mark
    # Numbers hold no blanks, so a tab is one more of them; texts may.
    return "\t" if b"\t" in row and (dtype.kind in "SU" or dtype.names is not None) else None


class TextReader(BoxReader):
    """Parses the blocks that a selection touches."""

    columns = 1
    axes: tuple[int, ...] = (0, 1)

    def __init__(
        self,
        space: Source | GzipSpace | Utf8Space,
        source: Source,
        index: RowIndex,
        settings: dict[str, Any],
        encoding: str,
    ) -> None:
        self.space = space
        self.source = source
        self.index = index
        self.settings = settings
        self.encoding = encoding
        self.key = (encoding, str(sorted((k, str(v)) for k, v in settings.items())))

    def facts(self, array: ManifestArray) -> Facts:
        """How the array is stored."""
        return Facts("text")

    def read(self, selection: tuple[slice, ...]) -> npt.NDArray[Any]:
        """Elements of a box."""
        self.source.check()
        box = [slice(0, 1, 1), slice(0, 1, 1)]
        for axis, part in zip(self.axes, selection, strict=True):
            box[axis] = part
        rows = range(box[0].start, box[0].stop, box[0].step)
        shape = tuple(len(range(box[axis].start, box[axis].stop, box[axis].step)) for axis in (0, 1))
        out = np.empty(shape, self.settings["dtype"])
        step = self.index.step
        done = 0
        while done < len(rows) and out.size:
            i = rows[done] // step
            count = len(range(rows[done], min(rows[-1] + 1, (i + 1) * step), rows.step))
            lo = rows[done] - i * step
            out[done : done + count] = self.block(i)[lo : lo + (count - 1) * rows.step + 1 : rows.step, box[1]]
            done += count
        index = tuple(slice(None) if axis in self.axes else 0 for axis in (0, 1))
        return out[(*index, ...)]

    def block(self, i: int) -> npt.NDArray[Any]:
        """Block `i` as (rows, columns)."""
        start, stop, rows, line = self.index.block(i)
        fingerprint, key = self.source.fingerprint, (self.key, start, stop)
        found = TEXT.get(fingerprint, key)
        if found is None:
            # The index counts a line end that the last line may lack.
            data = self.space.read_ranges([(start, min(stop, self.space.nbytes) - start)])[0]
            found = self.parse(line_feeds(bytes(data)), rows, line)
            TEXT.put(fingerprint, key, found)
        return found

    def parse(self, raw: bytes, rows: int, line: int) -> npt.NDArray[Any]:
        """Parse whole lines; `rows` of them are expected to hold a row, and `line` is the number of the first."""
        try:
            text = raw.decode(self.encoding)
        except UnicodeDecodeError as error:
            at = line + raw[: error.start].count(b"\n")
            raise self.bad_line(at, f"text in {self.encoding}", repr(raw[error.start : error.end])) from None
        lines = text.replace("\r\n", "\n").split("\n")
        try:
            found = np.loadtxt(lines, **self.settings)
        except ValueError as error:
            raise self.locate(lines, line, str(error)) from None
        if found.shape[0] != rows or found.shape[1] != self.columns:
            if found.shape[0] == rows:
                raise self.locate(lines, line, "")
            raise self.bad_line(line, f"{rows} rows from here on", str(found.shape[0]))
        return found

    def locate(self, lines: list[str], first: int, why: str) -> FormatError:
        """The error for the first line that does not parse."""
        mark, comments = self.settings["delimiter"], self.settings["comments"]
        numeric = self.settings["dtype"].names is None and self.settings["usecols"] is None
        lo, hi = 0, len(lines)
        for i, line in enumerate(lines):
            row = line.split(comments, 1)[0] if comments else line
            if not (row.strip() if mark is None else row):
                continue
            count = len(row.split(mark))
            if numeric and count != self.columns:
                hi = min(hi, i)
                wrong_count = self.bad_line(first + i, f"{self.columns} columns", str(count))
                break
        else:
            wrong_count = None
        # The shortest run of lines from the start that fails ends with the culprit.
        if not self.parses(lines[:hi]):
            while hi - lo > 1:
                middle = (lo + hi) // 2
                lo, hi = (middle, hi) if self.parses(lines[:middle]) else (lo, middle)
            detail = self.failure(lines[lo:hi]) or why
            return self.bad_line(first + lo, f"{self.settings['dtype']} values", detail)
        return wrong_count or self.bad_line(first, "rows that parse", why)

    def parses(self, lines: list[str]) -> bool:
        return self.failure(lines) is None

    def failure(self, lines: list[str]) -> str | None:
        """What ``np.loadtxt`` has against `lines`; None where nothing."""
        import warnings

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about lines without data
                np.loadtxt(lines, **self.settings)
        except ValueError as error:
            return str(error).split(" at row ")[0].split("; use `usecols`")[0]
        return None

    def bad_line(self, number: int, expected: str, got: str) -> FormatError:
        hint = None
        if number == 1:
            hint = "If the first line holds names, pass skiprows=1"
        return FormatError(
            message(f"parsing line {number} of", self.source.name, expected=expected, got=got, hint=hint)
        )
