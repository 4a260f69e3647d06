"""Raw files: elements without a header, as ``ndarray.tofile`` and ``np.memmap`` leave them, or bits packed by numpy."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, Literal, SupportsIndex, cast

import numpy as np

from packstore.errors import DtypeError, MissingFileError, OptionError, ShapeError, message
from packstore.readers.npy.header import as_dtype
from packstore.source import DirectorySource, Source
from packstore.storage import ManifestArray, ManifestGroup, contiguous, packed, packed_mask, regroup

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
        Type of the elements; may be left out (or bool) with `packed_axis`.
    shape
        Shape of the elements, one entry may be -1; None: one axis of as many as the file holds. With `packed_axis`
        the shape of the bool array before packing, so nothing can be inferred along the packed axis.
    offset
        Bytes before the first element.
    order
        "C" or "F".
    packed_axis
        The bytes are those of ``np.packbits(mask, axis=packed_axis)``; "flat" for ``axis=None``.
    bitorder
        "big" (numpy's default) or "little".

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
    if packed_axis is not None:
        array = _packed(source, chunks, dtype, shape, int(offset), order, packed_axis, bitorder)
    elif bitorder is not None:
        raise OptionError(message("opening", source.name, expected="packed_axis= together with bitorder=", got="none"))
    else:
        array = _plain(source, chunks, dtype, shape, int(offset), order)
    return ManifestGroup({"": array})


def _plain(
    source: Source, chunks: Any, dtype: Any, shape: Sequence[int] | int | None, offset: int, order: Literal["C", "F"]
) -> ManifestArray:
    stored = _dtype(source, dtype)
    available = source.nbytes - offset
    dims = _shape(source, shape)
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
                hint=_fitting(dims, stored, available, source.nbytes - nbytes),
            )
        )
    return ManifestArray(
        shape=dims,
        dtype=stored,
        chunk_shape=regroup(dims, stored.itemsize, order, chunks),
        storage=contiguous(dims, source, offset, stored, order),
    )


def _packed(
    source: Source,
    chunks: Any,
    dtype: Any,
    shape: Sequence[int] | int | None,
    offset: int,
    order: str,
    packed_axis: int | str,
    bitorder: str | None,
) -> ManifestArray:
    bitorder = "big" if bitorder is None else bitorder
    if bitorder not in ("big", "little"):
        raise OptionError(message("opening", source.name, expected="bitorder= big or little", got=repr(bitorder)))
    if dtype is not None and _dtype(source, dtype) != np.dtype(bool):
        raise DtypeError(message("opening packed bits in", source.name, expected="dtype bool", got=repr(dtype)))
    if order != "C":
        raise OptionError(message("opening packed bits in", source.name, expected="order C", got=repr(order)))
    available = source.nbytes - offset
    if shape is None:
        raise OptionError(
            message(
                "opening packed bits in",
                source.name,
                expected="shape= of the unpacked mask",
                got="none",
                hint=f"The file holds {available} bytes, so at most {8 * available} elements",
            )
        )
    dims = _shape(source, shape)
    axis: int | None = None
    if packed_axis != "flat":
        try:
            axis = operator.index(cast("SupportsIndex", packed_axis))
        except TypeError:
            raise OptionError(
                message("opening packed bits in", source.name, expected='an axis or "flat"', got=repr(packed_axis))
            ) from None
        if not -len(dims) <= axis < len(dims):
            raise OptionError(
                message("opening packed bits in", source.name, expected=f"packed_axis within shape {dims}", got=axis)
            )
        axis %= len(dims)
    if -1 in dims:
        free = dims.index(-1)
        if axis is None or free == axis:
            raise OptionError(
                message("opening packed bits in", source.name, expected="the length of the packed axis", got=-1)
            )
        line = math.prod(-(-n // 8) if i == axis else n for i, n in enumerate(dims) if i != free)
        if line == 0 or available % line:
            raise ShapeError(
                message(
                    f"opening packed bits of shape {dims} in",
                    source.name,
                    expected=f"a multiple of {line} bytes" if line else "no zero beside -1",
                    got=available,
                )
            )
        dims = tuple(available // line if n == -1 else n for n in dims)
    order = cast(Literal["big", "little"], bitorder)
    nbytes = packed_mask(dims, axis, order).nbytes
    if nbytes != available:
        bytes_shape = (nbytes,) if axis is None else packed_mask(dims, axis, order).byte_shape
        hint = _fitting(bytes_shape, np.dtype(np.uint8), available, source.nbytes - nbytes)
        raise ShapeError(
            message(
                f"opening packed bits of shape {dims} (bytes {bytes_shape}) in",
                source.name,
                expected=f"{nbytes} bytes",
                got=available,
                hint=hint.replace("shape ", "bytes of shape "),
            )
        )
    return ManifestArray(
        shape=dims,
        dtype=np.dtype(bool),
        chunk_shape=_packed_chunks(dims, axis, chunks),
        storage=packed(dims, source, offset, axis, order),
    )


def _packed_chunks(shape: tuple[int, ...], axis: int | None, chunks: Any) -> tuple[int, ...]:
    """Pieces of about 8 MB unpacked; a cut along the packed axis falls on whole bytes."""
    out = regroup(shape, 1, "C", chunks)
    if (chunks is None or chunks == "auto") and axis is not None and out[axis] < shape[axis]:
        out = tuple(-(-n // 8) * 8 if i == axis else n for i, n in enumerate(out))
    return out


def _dtype(source: Source, dtype: Any) -> np.dtype[Any]:
    if dtype is None:
        raise OptionError(message("opening", source.name, expected="dtype= (raw files have no header)", got="none"))
    return as_dtype(dtype, source.name)


def _shape(source: Source, shape: Any) -> tuple[int, ...]:
    if shape is None:
        return (-1,)
    try:
        if isinstance(shape, (bool, str)):
            raise TypeError
        dims = (operator.index(shape),) if hasattr(shape, "__index__") else tuple(operator.index(n) for n in shape)
    except TypeError:
        raise OptionError(message("opening", source.name, expected="shape= of integers", got=repr(shape))) from None
    if (
        any(n < -1 for n in dims)
        or dims.count(-1) > 1
        or len(dims) > 64
        or math.prod(n for n in dims if n > 0) >= 2**63
    ):
        raise OptionError(
            message("opening", source.name, expected="non-negative lengths (one may be -1)", got=repr(shape))
        )
    return dims


def _fitting(shape: tuple[int, ...], dtype: np.dtype[Any], available: int, spare: int) -> str:
    """What would fit, as a sentence."""
    fits: list[str] = []
    order = [0, len(shape) - 1] if len(shape) > 1 else list(range(len(shape)))
    for axis in order:
        rest = math.prod(n for i, n in enumerate(shape) if i != axis) * dtype.itemsize
        if rest and available and available % rest == 0:
            candidate = (*shape[:axis], available // rest, *shape[axis + 1 :])
            text = f"shape {candidate} would fit"
            if text not in fits:
                fits.append(text)
    count = math.prod(shape)
    if count and available % count == 0 and available // count in (1, 2, 4, 8, 16) and dtype.kind in "biufc":
        fits.append(f"a dtype of {available // count} bytes would fit shape {shape}")
    if not fits and available % dtype.itemsize == 0:
        fits.append(f"shape ({available // dtype.itemsize},) would fit")
    if 0 < spare <= 65536 or (spare > 0 and not fits):
        fits.append(f"offset={spare} would fit, if that is a header")
    return "; ".join(fits) if fits else f"No shape of {dtype} fits: the bytes are no multiple of {dtype.itemsize}"
