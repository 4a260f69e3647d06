"""Conversions, one small thread-safe callable per kind of type; in: stored HDF5 elements, out: numpy values.

Each takes an array in the stored layout (any shape) and returns an array of the same shape in the numpy dtype, with the
values that libhdf5's own conversion to that dtype gives. They pickle as their few parameters.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from h5py import h5t

from packstore.core.typing import Array

__all__ = ["BitRange", "Convert", "ConvertFields", "LibraryConvert", "NamedBool", "Tabulate", "TrimSpaces", "TrimTail"]

Convert = Callable[[Array], Array]


@dataclass(frozen=True)
class BitRange:
    """Integers that use only some bits: `precision` bits from bit `offset`, sign-extended where `dtype` is signed."""

    dtype: np.dtype[Any]
    offset: int
    precision: int

    def __call__(self, stored: Array) -> Array:
        width = self.dtype.itemsize * 8
        native = self.dtype.newbyteorder("=")
        # Up to the top bit, then down again: the second shift is arithmetic for signed integers and extends the sign.
        bits = stored.astype(native) << native.type(width - self.offset - self.precision)
        bits >>= native.type(width - self.precision)
        out: Array = bits.astype(self.dtype, copy=False)
        return out


@dataclass(frozen=True)
class NamedBool:
    """A FALSE/TRUE enum over an integer that is not one byte wide."""

    def __call__(self, stored: Array) -> Array:
        return np.not_equal(stored, 0)


@dataclass(frozen=True)
class TrimTail:
    """Null-terminated strings: the bytes behind the first NUL are not part of the string."""

    def __call__(self, stored: Array) -> Array:
        data = _letters(stored)
        ended = data == 0
        if not (ended[:, :-1] & ~ended[:, 1:]).any():
            return stored
        np.logical_or.accumulate(ended, axis=1, out=ended)
        return _strings(np.where(ended, np.uint8(0), data), stored)


@dataclass(frozen=True)
class TrimSpaces:
    """Space-padded strings: the trailing spaces are not part of the string."""

    def __call__(self, stored: Array) -> Array:
        data = _letters(stored)
        padding = data == 0x20
        if not padding[:, -1].any():
            return stored
        backwards = padding[:, ::-1]
        np.logical_and.accumulate(backwards, axis=1, out=backwards)
        return _strings(np.where(padding, np.uint8(0), data), stored)


def _letters(stored: Array) -> npt.NDArray[np.uint8]:
    flat = np.ascontiguousarray(stored).reshape(-1)
    return flat.view(np.uint8).reshape(flat.size, stored.dtype.itemsize)


def _strings(data: npt.NDArray[np.uint8], like: Array) -> Array:
    return data.reshape(-1).view(like.dtype).reshape(like.shape)


@dataclass(frozen=True)
class ConvertFields:
    """Compound elements, field by field. `fields` holds (stored name, part of the result, conversion).

    The part is a field name, or "real"/"imag" of a complex result.
    """

    dtype: np.dtype[Any]
    fields: tuple[tuple[str, str, Convert | None], ...]

    def __call__(self, stored: Array) -> Array:
        out = np.zeros(stored.shape, self.dtype)
        for name, part, convert in self.fields:
            values = stored[name] if convert is None else convert(stored[name])
            if self.dtype.names is not None:
                out[part] = values
            elif part == "real":
                out.real = values
            else:
                out.imag = values
        return out


@dataclass(frozen=True)
class LibraryConvert:
    """libhdf5's own conversion, for the types too rare for one of ours.

    Parameters
    ----------
    source, target
        The stored and the memory type, as `h5py.h5t.TypeID.encode` gives them (no open identifier is kept).
    dtype
        The numpy dtype of `target`.

    Notes
    -----
    Works on a copy in memory, one thread of the process at a time (h5py's lock); reads no file.
    """

    source: bytes
    target: bytes
    dtype: np.dtype[Any]

    def __call__(self, stored: Array) -> Array:
        source, target = h5t.decode(self.source), h5t.decode(self.target)
        nbytes = stored.dtype.itemsize * stored.size
        # The conversion is in place, so the buffer must hold the wider of the two.
        buffer = np.zeros(stored.size * max(stored.dtype.itemsize, self.dtype.itemsize), np.uint8)
        buffer[:nbytes] = np.ascontiguousarray(stored).reshape(-1).view(np.uint8)
        if stored.size:
            h5t.convert(source, target, stored.size, buffer, np.zeros_like(buffer))
        return buffer[: stored.size * self.dtype.itemsize].view(self.dtype).reshape(stored.shape)


@dataclass(frozen=True)
class Tabulate:
    """A conversion of one- or two-byte elements, looked up: `library` is asked once for every bit pattern."""

    library: LibraryConvert

    def __call__(self, stored: Array) -> Array:
        bits = np.ascontiguousarray(stored).view(f"u{stored.dtype.itemsize}")
        out: Array = _table(self.library, stored.dtype.itemsize)[bits]
        return out


@functools.lru_cache(maxsize=64)
def _table(library: LibraryConvert, itemsize: int) -> Array:
    # In the machine's byte order, as `Tabulate` indexes it.
    table = library(np.arange(256**itemsize, dtype=f"u{itemsize}"))
    table.flags.writeable = False
    return table
