"""Raw files: elements without a header, as ``ndarray.tofile`` and ``np.memmap`` leave them, or packed bits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from packstore.errors import MissingFileError, OptionError, ShapeError, message
from packstore.readers.raw.options import dtype_of, fitting, shape_of
from packstore.readers.raw.packed import packed_array
from packstore.source import DirectorySource, Source
from packstore.storage import ManifestArray, ManifestGroup, contiguous, regroup

__all__ = ["read", "sniff"]


def sniff(source: Source, head: bytes) -> bool:
    """False: raw bytes have no sign; they are opened by ``format="raw"``."""
    return False


def read(
    source: Source,
    *,
    component: str | None,
    chunks: Any,
    dtype: Any = None,
    shape: Sequence[int] | int | None = None,
    offset: int = 0,
    order: Literal["C", "F"] = "C",
    packed_axis: int | Literal["flat"] | None = None,
    bitorder: Literal["big", "little"] | None = None,
    bits: int | None = None,
) -> ManifestGroup:
    """Describe a raw file of elements, or of packed bits.

    Parameters
    ----------
    source
        The file.
    component
        Not used: the file is one array.
    chunks
        How to cut it for zarr.
    dtype
        Type of the elements; may be left out for packed masks, which are bool.
    shape
        Shape of the elements, one entry may be -1; None: one axis of as many as the file holds. Of packed bits the
        shape before packing: one index more must be a byte more at least, or nothing can be inferred.
    offset
        Bytes before the first element.
    order
        "C" or "F".
    packed_axis
        The bytes are those of ``np.packbits(mask, axis=packed_axis)``; "flat" for ``axis=None``. With `bits`: each line
        along this axis begins on a byte, as a row of PLINK's ``.bed`` does; None or "flat": all elements are one run of
        bits, as those of cameras and of DICOM segmentations are.
    bitorder
        "big" (`np.packbits`' order, the default for elements of one bit): the first element, and of each element the
        highest bit, is in the highest bits of a byte; "little" (the default for elements of several bits): the first
        element, and of each element the lowest bit, in the lowest bits, as in GenICam's Mono10p and Mono12p, in PLINK
        and, for masks, in DICOM.
    bits
        How many bits each element takes; those of signed integers are two's complement. None: as many as `dtype` has,
        or one with `packed_axis`.

    Raises
    ------
    ShapeError
        The file does not hold exactly that many elements; the text names shapes that would fit.
    OptionError, DtypeError
        Options that make no sense.

    Notes
    -----
    Reads nothing but the file's size.
    """
    if isinstance(source, DirectorySource):
        raise MissingFileError(message("opening", source.name, expected="a file", got="a directory"))
    if isinstance(offset, bool) or not isinstance(offset, (int, np.integer)) or offset < 0:
        raise OptionError(message("opening", source.name, expected="offset= of 0 or more bytes", got=repr(offset)))
    if order not in ("C", "F"):
        raise OptionError(message("opening", source.name, expected="order= C or F", got=repr(order)))
    if offset > source.nbytes:
        raise ShapeError(
            message("opening", source.name, expected=f"more than offset={offset} bytes", got=source.nbytes)
        )
    if packed_axis is not None or bits is not None:
        if order != "C":
            raise OptionError(message("opening packed bits in", source.name, expected="order C", got=repr(order)))
        array = packed_array(source, chunks, dtype, shape, int(offset), packed_axis, bitorder, bits)
    elif bitorder is not None:
        expected = "bits= or packed_axis= together with bitorder="
        raise OptionError(message("opening", source.name, expected=expected, got="neither"))
    else:
        array = _plain(source, chunks, dtype, shape, int(offset), order)
    return ManifestGroup({"": array})


def _plain(
    source: Source, chunks: Any, dtype: Any, shape: Sequence[int] | int | None, offset: int, order: Literal["C", "F"]
) -> ManifestArray:
    stored = dtype_of(source, dtype)
    available = source.nbytes - offset
    dims = shape_of(source, shape)
    if -1 in dims:
        known = math.prod(n for n in dims if n != -1) * stored.itemsize
        if known == 0 or available % known:
            raise ShapeError(
                message(
                    f"opening {source.name} with shape {dims} and dtype {stored}",
                    expected=f"a multiple of {known} bytes" if known else "no zero beside -1",
                    got=f"{available}",
                    hint="Check dtype=, shape= and offset=",
                )
            )
        dims = tuple(available // known if n == -1 else n for n in dims)
    nbytes = math.prod(dims) * stored.itemsize
    if nbytes != available:
        raise ShapeError(
            message(
                f"opening {source.name} with shape {dims} and dtype {stored}",
                expected=f"{nbytes} bytes",
                got=f"{available}" + (f" after offset {offset}" if offset else ""),
                hint=fitting(dims, stored, available, source.nbytes - nbytes),
            )
        )
    return ManifestArray(
        shape=dims,
        dtype=stored,
        chunk_shape=regroup(dims, stored.itemsize, order, chunks),
        storage=contiguous(dims, source, offset, stored, order),
    )
