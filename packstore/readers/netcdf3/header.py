"""The header of a NetCDF-3 file; in: its bytes, out: dimensions, attributes and variables, checked against each other.

Source: https://docs.unidata.ucar.edu/netcdf-c/current/file_format_specifications.html, for the classic format (CDF-1),
64-bit offsets (CDF-2) and 64-bit data (CDF-5). Numbers are big-endian, and names and values are padded to four bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from packstore.errors import FormatError, TruncatedFileError, message
from packstore.source import Source

__all__ = ["Header", "Variable", "read_header"]

# Parsing takes some 40 bytes of memory for each byte; a header of some 100,000 variables is as large.
MAX_HEADER_NBYTES = 16 << 20
FIRST_NBYTES = 1 << 16
_DIMENSION, _VARIABLE, _ATTRIBUTE = 10, 11, 12
_TYPES = {1: "i1", 2: "S1", 3: ">i2", 4: ">i4", 5: ">f4", 6: ">f8"}
# Only in CDF-5.
_WIDE_TYPES = {7: "u1", 8: ">u2", 9: ">u4", 10: ">i8", 11: ">u8"}


@dataclass(frozen=True)
class Variable:
    """A variable, as the header declares it.

    Parameters
    ----------
    name
        Its name.
    dimensions
        The names of its dimensions.
    shape
        Their lengths; the number of records for the record dimension.
    dtype
        Of its elements, in the file's byte order.
    attributes
        Name to text, or to an array of numbers in native byte order.
    begin
        Where its first element lies.
    step
        Bytes from one record of it to the next; None where it has no record dimension.
    """

    name: str
    dimensions: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    attributes: dict[str, Any]
    begin: int
    step: int | None

    @property
    def end(self) -> int:
        """Where its last element ends."""
        if 0 in self.shape:
            return self.begin
        if self.step is None:
            return self.begin + math.prod(self.shape) * self.dtype.itemsize
        return self.begin + (self.shape[0] - 1) * self.step + math.prod(self.shape[1:]) * self.dtype.itemsize


@dataclass(frozen=True)
class Header:
    """What a file declares: its variables in their order, and its own attributes."""

    variables: list[Variable]
    attributes: dict[str, Any]


@dataclass(frozen=True)
class _Declared:
    """A variable before the length of its records is known."""

    name: str
    dimensions: tuple[int, ...]
    attributes: dict[str, Any]
    dtype: np.dtype[Any]
    begin: int


class _Short(Exception):
    """More bytes of the header are needed."""


def read_header(source: Source) -> Header:
    """Read and check the header.

    Raises
    ------
    FormatError
        It is no header of NetCDF-3, or one that contradicts itself.
    TruncatedFileError
        The file ends inside it.
    """
    nbytes = min(FIRST_NBYTES, source.nbytes)
    while True:
        parser = _Parser(bytes(source.pread(0, nbytes)), source)
        try:
            return parser.header()
        except _Short:
            if nbytes == source.nbytes:
                raise TruncatedFileError(
                    message("reading the NetCDF-3 header of", source.name, expected="more bytes", got=nbytes)
                ) from None
            if nbytes >= MAX_HEADER_NBYTES:
                raise parser.bad(f"a header of at most {MAX_HEADER_NBYTES} bytes", "a longer one") from None
            nbytes = min(8 * nbytes, MAX_HEADER_NBYTES, source.nbytes)


class _Parser:
    """Reads the first bytes of a file from front to back; raises `_Short` where they end."""

    def __init__(self, data: bytes, source: Source) -> None:
        self.data = data
        self.source = source
        self.at = 4
        self.version = data[3] if len(data) > 3 else 0
        # Of counts and lengths, and of offsets.
        self.count_nbytes = 8 if self.version == 5 else 4
        self.offset_nbytes = 4 if self.version == 1 else 8
        self.types = {k: np.dtype(v) for k, v in (_TYPES | (_WIDE_TYPES if self.version == 5 else {})).items()}

    def bad(self, expected: object, got: object) -> FormatError:
        """The error for a header that makes no sense."""
        return FormatError(
            message(
                "reading the NetCDF-3 header of",
                self.source.name,
                expected=expected,
                got=got,
                hint="The file is damaged; copy or save it again",
            )
        )

    def header(self) -> Header:
        """All of it."""
        if len(self.data) < 4:
            raise _Short
        if self.data[:3] != b"CDF" or self.version not in (1, 2, 5):
            raise self.bad("the magic bytes CDF and version 1, 2 or 5", repr(self.data[:4]))
        records = self.count()
        dims = [(self.name(), self.count()) for _ in self.entries(_DIMENSION, "dimensions")]
        if sum(length == 0 for _, length in dims) > 1:
            raise self.bad("at most one record dimension", [name for name, length in dims if length == 0])
        attributes = self.attributes()
        declared = [self.variable(dims) for _ in self.entries(_VARIABLE, "variables")]
        return Header(self._laid_out(declared, dims, records), attributes)

    def take(self, nbytes: int) -> bytes:
        """The next bytes."""
        if nbytes > len(self.data) - self.at:
            # A length that no file of this size can hold is not worth reading on for.
            if nbytes > self.source.nbytes - self.at and self.source.nbytes > len(self.data):
                raise self.bad(f"at most {self.source.nbytes - self.at} bytes", nbytes)
            raise _Short
        self.at += nbytes
        return self.data[self.at - nbytes : self.at]

    def padded(self, nbytes: int) -> bytes:
        """The next bytes, which are padded to a multiple of four."""
        return self.take(-(-nbytes // 4) * 4)[:nbytes]

    def number(self, nbytes: int) -> int:
        """An integer, which is not negative."""
        return int.from_bytes(self.take(nbytes), "big")

    def count(self) -> int:
        """A count or a length."""
        return self.number(self.count_nbytes)

    def name(self) -> str:
        """A name."""
        return _text(self.padded(self.count()))

    def entries(self, tag: int, what: str) -> range:
        """The entries of a list; it may be absent."""
        found, count = self.number(4), self.count()
        if found != tag and (found or count):
            raise self.bad(f"a list of {what} (tag {tag}) at byte {self.at - 4 - self.count_nbytes}", f"tag {found}")
        # The shortest entry is an empty name and a length.
        if count * 8 > self.source.nbytes:
            raise self.bad(f"{what} that fit into {self.source.nbytes} bytes", count)
        return range(count)

    def type(self) -> np.dtype[Any]:
        """The type of a variable or attribute."""
        code = self.number(4)
        if code not in self.types:
            raise self.bad(f"a type from 1 to {max(self.types)}", code)
        return self.types[code]

    def attributes(self) -> dict[str, Any]:
        """A list of attributes."""
        found: dict[str, Any] = {}
        for _ in self.entries(_ATTRIBUTE, "attributes"):
            name, dtype, count = self.name(), self.type(), self.count()
            data = self.padded(count * dtype.itemsize)
            if dtype.kind == "S":
                found[name] = _text(data)
            else:
                found[name] = np.frombuffer(data, dtype).astype(dtype.newbyteorder("="))
        return found

    def variable(self, dims: list[tuple[str, int]]) -> _Declared:
        """One variable."""
        name, ndim = self.name(), self.count()
        raw = self.take(ndim * self.count_nbytes)
        ids = np.frombuffer(raw, f">u{self.count_nbytes}").tolist()
        if any(i >= len(dims) for i in ids):
            raise self.bad(f"dimensions of {name!r} among {len(dims)}", ids)
        if any(dims[i][1] == 0 for i in ids[1:]):
            raise self.bad(f"the record dimension of {name!r} to be its first", [dims[i][0] for i in ids])
        attributes, dtype = self.attributes(), self.type()
        # The size is what shape and type say, and does not hold those of 4 GiB or more.
        self.count()
        return _Declared(name, tuple(ids), attributes, dtype, self.number(self.offset_nbytes))

    def _laid_out(self, declared: list[_Declared], dims: list[tuple[str, int]], records: int) -> list[Variable]:
        """The variables in the places that they have; all record variables share each record."""
        growing = [v for v in declared if v.dimensions and dims[v.dimensions[0]][1] == 0]
        sizes = [math.prod([dims[i][1] for i in v.dimensions[1:]]) * v.dtype.itemsize for v in growing]
        # One record variable alone is not padded.
        step = sizes[0] if len(sizes) == 1 else sum(-(-n // 4) * 4 for n in sizes)
        first = min([v.begin for v in growing], default=0)
        ends = [v.begin - first + n for v, n in zip(growing, sizes, strict=True)]
        if any(end > step for end in ends):
            raise self.bad(f"record variables within {step} bytes", f"ends at {ends}")
        if records == 2 ** (8 * self.count_nbytes) - 1:
            # The writer did not come back to say how many records it wrote.
            whole, rest = divmod(max(self.source.nbytes - first, 0), step or 1)
            records = whole + (rest >= max(ends)) if step else 0
        found = []
        for v in declared:
            shape = tuple([dims[i][1] for i in v.dimensions])
            is_growing = bool(shape) and shape[0] == 0
            if is_growing:
                shape = (records, *shape[1:])
            if 0 not in shape and v.begin < self.at:
                raise self.bad(f"data of {v.name!r} behind the header of {self.at} bytes", f"offset {v.begin}")
            names = tuple([dims[i][0] for i in v.dimensions])
            found.append(Variable(v.name, names, shape, v.dtype, v.attributes, v.begin, step if is_growing else None))
        return found


def _text(data: bytes) -> str:
    r"""Text in UTF-8 without the NULs that some writers count; other bytes become ``\xNN``."""
    return data.rstrip(b"\0").decode("utf-8", "backslashreplace")
