"""The bytes of a ``.npy`` header in, the shape, dtype and order out, and the array whose data follow the header.

Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html (versions 1.0, 2.0 and 3.0).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from packstore.errors import DtypeError, FormatError, TruncatedFileError, message
from packstore.readers.npy.fields import parse_dtype, parse_fields
from packstore.source import ByteSpace
from packstore.storage import ManifestArray, contiguous, regroup

__all__ = [
    "MAGIC",
    "MAX_HEADER_NBYTES",
    "NpyHeader",
    "as_dtype",
    "contiguous_array",
    "fitting_chunks",
    "read_header",
    "unsupported_dtype",
]

MAGIC = b"\x93NUMPY"
# Parsing takes some 500 bytes of memory for each byte. numpy stops at 10,000, but writes longer headers.
MAX_HEADER_NBYTES = 1 << 17
PEEK_NBYTES = 1024
MAX_CACHED_TEXT = 512
KEYS = {"descr", "fortran_order", "shape"}
PICKLED = "its elements are pickled Python objects, and packstore never unpickles"


class NpyHeader(NamedTuple):
    """The fields of a header; `nbytes` is the header's own length, so the data start there."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: Literal["C", "F"]
    nbytes: int

    @property
    def data_nbytes(self) -> int:
        """Bytes of the elements."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def unsupported(self) -> str | None:
        """Why elements of this type are not served; None where they are."""
        return unsupported_dtype(self.dtype)


def read_header(
    space: ByteSpace, path: str, component: str | None = None, *, start: int = 0, end: int | None = None
) -> NpyHeader:
    """Read and check the header of the ``.npy`` data in ``space[start:end]``.

    Parameters
    ----------
    space
        The bytes; only the header's are read.
    path, component
        For error messages.

    Raises
    ------
    FormatError
        Not a header of version 1 to 3, or one that makes no sense.
    TruncatedFileError
        The bytes end inside the header.
    """
    end = space.nbytes if end is None else end
    head = bytes(space.pread(start, min(PEEK_NBYTES, end - start)))
    if head[:6] != MAGIC[: len(head)]:
        raise _bad(path, component, expected="the magic string \\x93NUMPY", got=repr(head[:6]))
    if len(head) < 8:
        raise _cut(path, component, 10, len(head))
    version = head[6], head[7]
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise _bad(path, component, expected="version 1.0, 2.0 or 3.0", got=f"{version[0]}.{version[1]}")
    base = 10 if version[0] == 1 else 12
    if len(head) < base:
        raise _cut(path, component, base, len(head))
    length = int.from_bytes(head[8:base], "little")
    if length > MAX_HEADER_NBYTES:
        raise _bad(path, component, expected=f"a header of at most {MAX_HEADER_NBYTES} bytes", got=length)
    if base + length > end - start:
        raise _cut(path, component, base + length, end - start)
    if base + length > len(head):
        head = bytes(space.pread(start, base + length))
    try:
        text = head[base : base + length].decode("utf-8" if version[0] == 3 else "latin-1")
    except UnicodeDecodeError as error:
        raise _bad(path, component, expected="UTF-8", got=str(error)) from None
    if len(text) <= MAX_CACHED_TEXT:
        try:
            return _interpret_cached(text)._replace(nbytes=base + length)
        except FormatError:
            pass  # raised again below, with the path
    return _interpret(text, base + length, path, component)


@functools.lru_cache(maxsize=1024)
def _interpret_cached(text: str) -> NpyHeader:
    """Thousands of files in a row have the same header."""
    return _interpret(text, 0, "", None)


def _interpret(text: str, nbytes: int, path: str, component: str | None) -> NpyHeader:
    try:
        fields = parse_fields(text)
    except ValueError as error:
        raise _bad(path, component, expected="a dictionary literal", got=str(error)) from None
    if not isinstance(fields, dict) or fields.keys() != KEYS:
        got = sorted(map(str, fields)) if isinstance(fields, dict) else type(fields).__name__
        raise _bad(path, component, expected=f"the keys {sorted(KEYS)}", got=f"{got!s:.200}")
    shape, fortran, descr = fields["shape"], fields["fortran_order"], fields["descr"]
    if not isinstance(fortran, bool):
        raise _bad(path, component, expected="fortran_order True or False", got=f"{fortran!r:.200}")
    try:
        dtype = parse_dtype(descr)
    except ValueError as error:
        raise _bad(path, component, expected="a dtype description", got=f"{descr!r:.200} ({error!s:.200})") from None
    if not isinstance(dtype, np.dtype) or dtype.subdtype is not None:
        raise _bad(path, component, expected="the dtype of one element", got=f"{descr!r:.200}")
    check_shape(shape, dtype, path, component)
    return NpyHeader(shape, dtype, "F" if fortran else "C", nbytes)


def unsupported_dtype(dtype: np.dtype[Any]) -> str | None:
    """Why elements of `dtype` are never served; None where they are."""
    if dtype.hasobject:
        return f"dtype {dtype}: {PICKLED}"
    if dtype.itemsize == 0:
        return f"dtype {dtype.str}: its elements have zero bytes, so there is no data"
    return None


def check_shape(shape: Any, dtype: np.dtype[Any], path: str, component: str | None) -> None:
    """Raise FormatError unless `shape` is one that numpy can hold."""
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
        raise _bad(path, component, expected="a shape of non-negative integers", got=f"{shape!r:.200}")
    if len(shape) > 64:
        raise _bad(path, component, expected="at most 64 axes", got=len(shape))
    # numpy leaves the zeros out of the product.
    if math.prod(n for n in shape if n) * max(dtype.itemsize, 1) >= 2**63:
        raise _bad(path, component, expected="a size below 2**63 bytes", got=f"shape {shape} of {dtype.str}")


def contiguous_array(
    header: NpyHeader, space: ByteSpace, start: int, end: int, chunks: Any, path: str, component: str | None = None
) -> ManifestArray:
    """The array whose header is at ``space[start]``; its data must lie before `end`.

    Raises
    ------
    TruncatedFileError
        The data run past `end`.
    OptionError
        `chunks` does not fit the shape.
    """
    offset = start + header.nbytes
    # More bytes than needed are no error: numpy reads several arrays out of one file, and stops at the first.
    if header.data_nbytes > end - offset:
        raise TruncatedFileError(
            message(
                f"reading {header.dtype} data of shape {header.shape} in",
                path,
                component,
                expected=f"{header.data_nbytes} bytes",
                got=max(end - offset, 0),
                hint="The file is cut short; copy or save it again",
            )
        )
    return ManifestArray(
        shape=header.shape,
        dtype=header.dtype,
        chunk_shape=regroup(header.shape, header.dtype.itemsize, header.order, chunks),
        storage=contiguous(header.shape, space, offset, header.dtype, header.order),
    )


def as_dtype(value: Any, path: str) -> np.dtype[Any]:
    """The dtype a caller asks for.

    Raises
    ------
    DtypeError
        numpy knows no such dtype, or its elements have no fixed number of plain bytes.
    """
    try:
        dtype: np.dtype[Any] = np.dtype(_fields(value))
    except (TypeError, ValueError) as error:
        got = f"{value!r} ({error})"
        raise DtypeError(message("opening", path, expected="a numpy dtype", got=got)) from None
    if dtype.hasobject:
        raise DtypeError(
            message("opening", path, expected="elements stored as plain bytes", got=f"{value!r}: {PICKLED}")
        )
    if dtype.itemsize == 0 or dtype.subdtype is not None:
        raise DtypeError(
            message(
                "opening",
                path,
                expected="a dtype of one element, with its length",
                got=repr(value),
                hint="Strings need one ('S8', 'U3'); put the shape of a sub-array into shape=",
            )
        )
    return dtype


def _fields(value: Any) -> Any:
    """Options are kept as tuples so that they hash; numpy wants the fields of a struct as a list."""
    if isinstance(value, tuple) and value and all(isinstance(v, tuple) and len(v) in (2, 3) for v in value):
        return [(v[0], _fields(v[1]), *v[2:]) for v in value]
    return value


def fitting_chunks(chunks: Any, shape: tuple[int, ...], *, strict: bool) -> Any:
    """The caller's chunks for an array of `shape`: `strict` as they are, else only where they have its axes."""
    if strict or chunks is None or isinstance(chunks, str):
        return chunks
    fits = bool(shape) if not isinstance(chunks, Sequence) else len(chunks) == len(shape)
    return chunks if fits else None


def _bad(path: str, component: str | None, *, expected: object, got: object) -> FormatError:
    return FormatError(message("reading the npy header of", path, component, expected=expected, got=got))


def _cut(path: str, component: str | None, expected: int, got: int) -> TruncatedFileError:
    return TruncatedFileError(
        message("reading the npy header of", path, component, expected=f"at least {expected} bytes", got=got)
    )
