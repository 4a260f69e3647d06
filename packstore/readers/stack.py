"""Directories of ``dask.array.to_npy_stack``: numbered ``.npy`` files and an ``info`` file go in, one array comes out.

``info`` is a pickle of a dict of plain values and a dtype. Its opcodes are read; it is never unpickled.
"""

from __future__ import annotations

import itertools
import os
from typing import Any

import numpy as np

from packstore.errors import DtypeError, FormatError, ShapeError, UnsupportedError, message
from packstore.readers.concatenated import Concatenated
from packstore.readers.npy.header import MAGIC, contiguous_array, read_header
from packstore.readers.pickle.arrays import Refused, dtype_of, plain_text
from packstore.readers.pickle.machine import run
from packstore.readers.pickle.values import Pairs
from packstore.source import DirectorySource, FileSource, Source, refusal
from packstore.source.inside import Inside
from packstore.storage import ManifestArray, ManifestGroup, ReaderStorage, regroup

__all__ = ["read", "sniff"]

INFO = "info"
MAX_INFO_NBYTES = 16 << 20


def sniff(source: Source, head: bytes) -> bool:
    """Whether the directory has ``info`` and ``0.npy``."""
    if not isinstance(source, DirectorySource):
        return False
    try:
        first = os.path.join(source.path, "0.npy")
        # Opening a pipe would wait for its writer.
        if not os.path.isfile(first) or not os.path.isfile(os.path.join(source.path, INFO)):
            return False
        with open(first, "rb") as f:
            return f.read(6) == MAGIC
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise refusal(error, source.path) from None


def read(source: Source, *, component: str | None, chunks: Any, allow_external: Any = False) -> ManifestGroup:
    """Describe the one array of a stack of ``.npy`` files.

    Parameters
    ----------
    source
        The directory.
    component
        Not used: the directory is one array.
    chunks
        How to cut it for zarr; None: one chunk a file where the files are of one length, else about 8 MB.

    allow_external
        Where symbolic links in the directory may lead: False for nowhere else, True for anywhere, or a folder.

    Raises
    ------
    ExternalFileError
        A file is a link that leads out of the directory.
    FormatError
        ``info`` is another pickle than dask writes.
    MissingFileError, ShapeError, DtypeError
        A file of the stack is missing, or holds another array than ``info`` says.

    Notes
    -----
    Reads ``info`` and the header of each file. A file that changes later raises ``StaleFileError`` when it is read.
    """
    if not isinstance(source, DirectorySource):
        raise FormatError(message("opening a npy stack in", source.name, expected="a directory", got="a file"))
    inside = Inside(source.path, allow_external)
    inside.check_file(os.path.join(source.path, INFO))
    lengths, axis, dtype = _info(source.path)
    parts = []
    for i, length in enumerate(lengths[axis]):
        path = os.path.join(source.path, f"{i}.npy")
        inside.check_file(path)
        want = tuple(length if k == axis else sum(n) for k, n in enumerate(lengths))
        parts.append(_part(path, want, dtype))
    shape = tuple(sum(n) for n in lengths)
    starts = [0, *itertools.accumulate(lengths[axis])]
    return ManifestGroup(
        {
            "": ManifestArray(
                shape=shape,
                dtype=dtype,
                chunk_shape=_chunk_shape(lengths, axis, dtype, chunks),
                storage=ReaderStorage(Concatenated(parts, starts, axis, dtype)),
            )
        }
    )


def _info(folder: str) -> tuple[tuple[tuple[int, ...], ...], int, np.dtype[Any]]:
    """The ``chunks``, ``axis`` and ``dtype`` that dask wrote."""
    source = FileSource(os.path.join(folder, INFO))
    if source.nbytes > MAX_INFO_NBYTES:
        raise _bad(source, f"at most {MAX_INFO_NBYTES} bytes", str(source.nbytes))
    value, _ = run(source, source.name)
    fields = {plain_text(k, source): v for k, v in value.items} if isinstance(value, Pairs) else {}
    if not fields.keys() >= {"chunks", "dtype", "axis"}:
        raise _bad(source, "a dict of chunks, dtype and axis", "another pickle")
    chunks, axis = fields["chunks"], fields["axis"]
    if not isinstance(chunks, tuple) or not all(
        isinstance(row, tuple) and all(type(n) is int and n >= 0 for n in row) for row in chunks
    ):
        raise _bad(source, "chunks as tuples of lengths", "something else")
    if type(axis) is not int or not 0 <= axis < len(chunks):
        raise _bad(source, f"an axis of {len(chunks)}", "another one")
    try:
        dtype = dtype_of(fields["dtype"], source)
    except Refused as why:
        raise _bad(source, "a numpy dtype", str(why)) from None
    return chunks, axis, dtype


def _part(path: str, want: tuple[int, ...], dtype: np.dtype[Any]) -> ManifestArray:
    source = FileSource(path)
    header = read_header(source, path)
    if header.unsupported is not None:
        raise UnsupportedError(message("opening", path, expected="a supported array", got=header.unsupported))
    if header.shape != want:
        raise ShapeError(message("reading the npy stack file", path, expected=f"shape {want}", got=header.shape))
    if header.dtype.newbyteorder("=") != dtype.newbyteorder("="):
        raise DtypeError(message("reading the npy stack file", path, expected=f"dtype {dtype}", got=header.dtype))
    return contiguous_array(header, source, 0, source.nbytes, None, path)


def _chunk_shape(lengths: tuple[tuple[int, ...], ...], axis: int, dtype: np.dtype[Any], chunks: Any) -> tuple[int, ...]:
    shape = tuple(sum(n) for n in lengths)
    row = lengths[axis]
    regular = len(set(row[:-1])) <= 1 and bool(row) and row[0] > 0 and row[-1] <= row[0]
    if chunks is None and regular:
        return tuple(row[0] if i == axis else max(n, 1) for i, n in enumerate(shape))
    return regroup(shape, dtype.itemsize, "C", chunks)


def _bad(source: FileSource, expected: str, got: str) -> FormatError:
    return FormatError(message("reading the npy stack index", source.name, expected=expected, got=got))
