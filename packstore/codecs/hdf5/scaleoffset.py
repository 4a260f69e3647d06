"""Filter 6, scale-offset: integers minus their minimum, or decimally scaled floats, in as few bits as they need.

A chunk is: 4 bytes little-endian number of bits per value; 1 byte size of the minimum, the minimum in 8 of 16 bytes;
then the values, most significant bit first, without padding between them. The largest value that fits stands for the
fill value, where the dataset has one. Layout and arithmetic follow H5Zscaleoffset.c of libhdf5.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from packstore.codecs.decompress import Limit, corrupt
from packstore.codecs.hdf5.base import FilterSpec, always_available
from packstore.codecs.hdf5.bit_fields import PADDING, unpack_fields
from packstore.core.typing import Bytes

__all__ = ["decode", "encoded", "unavailable"]

_HEADER = 21
_PARAMETERS = 20
# Bytes of integers and of floats.
_SIZES: dict[int, tuple[int, ...]] = {0: (1, 2, 4, 8), 1: (4, 8)}
_BLOCK = 1 << 18  # values per step, a multiple of 8: temporaries stay in the cache

unavailable = always_available

_Unsigned = npt.NDArray[np.unsignedinteger]


def encoded(spec: FilterSpec, limit: Limit) -> Limit:
    """Allow the header and at most the full width of every value, and the one byte more that libhdf5 writes."""
    return Limit(limit.nbytes + _HEADER + 1, False)


class _Parameters(NamedTuple):
    """The filter's parameters that decoding needs.

    Attributes
    ----------
    factor
        Of integers, how many bits the writer asked for; of floats, how many decimal digits it kept.
    length, size
        The number of values in the chunk, and the bytes of each.
    is_float, is_big_endian
        The type of the values.
    fill
        The fill value's bits; None where the dataset has no fill value.
    """

    factor: int
    length: int
    size: int
    is_float: bool
    is_big_endian: bool
    fill: int | None

    @classmethod
    def of(cls, spec: FilterSpec) -> _Parameters:
        """Read the parameters and check that they describe a type that the filter takes."""
        values = spec.client_values
        if len(values) != _PARAMETERS:
            corrupt(spec, f"{_PARAMETERS} parameters", len(values))
        scale_type, factor, count, kind, size, sign, order, has_fill = values[:8]
        # For floats HDF5 writes whatever lies in memory as the sign.
        if size not in _SIZES.get(kind, ()) or (sign > 1 and kind == 0) or order > 1 or has_fill > 1:
            corrupt(spec, "parameters of an integer or float type", values[:8])
        if scale_type != (0 if kind else 2):
            corrupt(spec, "scale type 0 (float, decimal) or 2 (integer)", scale_type)
        factor = factor - (1 << 32) if factor >> 31 else factor
        if kind == 0 and factor > 8 * size:
            corrupt(spec, f"at most {8 * size} bits per value", factor)
        fill = int.from_bytes(b"".join(v.to_bytes(4, "little") for v in values[8:10])[:size], "little")
        return cls(factor, count, size, kind == 1, order == 1, fill if has_fill else None)


def decode(data: Bytes, limit: Limit, out: Bytes, spec: FilterSpec) -> Bytes:
    """Widen the values, put the minimum or the scale back, and the fill value."""
    parameters = _Parameters.of(spec)
    factor, length, size, is_float, is_big_endian, _ = parameters
    if not is_float and factor == 8 * size:
        return data  # the writer asked for the full width: the filter does nothing
    nbytes = length * size
    limit.check(nbytes, spec)
    if data.size < _HEADER:
        corrupt(spec, f"at least {_HEADER} bytes", data.size)
    bits = int.from_bytes(data[:4].tobytes(), "little")
    if bits > 8 * size:
        corrupt(spec, f"at most {8 * size} bits per value", bits)
    needed = _HEADER + (length * bits + 7) // 8
    if data.size < needed:
        corrupt(spec, f"at least {needed} bytes", data.size)
    result = out[:nbytes]
    stored: _Unsigned = result.view(f"u{size}")
    if bits == 8 * size:
        # Full width: the values themselves, in the byte order of the writing machine, which libhdf5 assumes to be
        # the reading one's. Files come from little-endian machines.
        result[:] = data[_HEADER : _HEADER + nbytes]
        if is_big_endian:
            stored.byteswap(inplace=True)
        return result
    minimum = int.from_bytes(data[5 : 5 + min(8, int(data[4]))].tobytes(), "little")
    _widen(data[_HEADER:needed], bits, minimum, parameters, stored)
    return result


def _widen(packed: Bytes, bits: int, minimum: int, parameters: _Parameters, stored: _Unsigned) -> None:
    """Unpack values of `bits` bits into `stored` and undo the scaling."""
    factor, length, size, is_float, is_big_endian, fill = parameters
    stream = np.empty(packed.size + PADDING, np.uint8)
    stream[:-PADDING] = packed
    stream[-PADDING:] = 0
    for start in range(0, length, _BLOCK):
        part = stored[start : start + _BLOCK]
        if bits:
            unpack_fields(stream, start * bits, [(part.size, bits)], bits, part)
        else:
            part[:] = 0
        is_fill = None if fill is None else part == part.dtype.type((1 << bits) - 1)
        if is_float:
            _unscale(part, minimum, factor)
        else:
            part += part.dtype.type(minimum & ((1 << 8 * size) - 1))
        if fill is not None:
            part[is_fill] = part.dtype.type(fill)
        if is_big_endian:
            part.byteswap(inplace=True)


def _unscale(part: _Unsigned, minimum: int, factor: int) -> None:
    """Turn scaled integers into floats in place, in the precision (and so with the rounding) that libhdf5 uses."""
    size = part.itemsize
    real = np.float32 if size == 4 else np.float64
    low = np.frombuffer((minimum & ((1 << 8 * size) - 1)).to_bytes(size, "little"), f"<f{size}")[0]
    with np.errstate(all="ignore"):
        scaled: npt.NDArray[Any] = part.view(f"i{size}").astype(real)
        scaled /= np.power(real(10), real(factor))
        scaled += real(low)
    part[:] = scaled.view(part.dtype)
