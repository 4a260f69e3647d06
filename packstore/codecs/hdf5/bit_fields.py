"""Unpack bit fields: a stream of fields of any width at any bit in, whole integers out, as nbit and scaleoffset need.

The most significant bit comes first. A field that repeats every *s* bits starts on the same bit of a byte again after
8 repetitions, *s* bytes further on.
So each of the 8 phases is a strided array of 1 to 8 byte windows, and two shifts unpack a whole phase.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from packstore.core.typing import Bytes

__all__ = ["PADDING", "Dims", "unpack_fields"]

# Windows of up to nine bytes may reach past the last bit of the stream: callers append this many bytes.
PADDING = 16

# (repetitions, distance in bits) of the loops around a field, outermost first
Dims = Sequence[tuple[int, int]]


def unpack_fields(stream: Bytes, bit: int, dims: Dims, width: int, out: npt.NDArray[np.unsignedinteger]) -> None:
    """Take a repeated field out of a bit stream.

    Parameters
    ----------
    stream
        The bytes, with `PADDING` more at the end.
    bit
        Where the first field starts.
    dims
        How it repeats; ``out.shape`` has the same counts.
    width
        Bits of the field, 1 to 64; not more than an element of `out` has.
    out
        Native unsigned integers of any strides, the field in their low bits.

    Notes
    -----
    2 to 4 GB/s of output on one core; the GIL is released in every step. Temporaries are 8 bytes per 8 fields.

    Examples
    --------
    >>> out = np.zeros(4, np.uint16)
    >>> stream = np.append(np.array([0xAB, 0xCD, 0xEF, 0x12, 0x34, 0x56], np.uint8), np.zeros(16, np.uint8))
    >>> unpack_fields(stream, 0, [(4, 12)], 12, out)
    >>> [hex(v) for v in out]
    ['0xabc', '0xdef', '0x123', '0x456']
    """
    phases = [range(min(8, count)) if stride % 8 else range(1) for count, stride in dims]
    strides = tuple(stride if stride % 8 else stride // 8 for _, stride in dims)
    for phase in itertools.product(*phases):
        part = out[tuple(slice(p, None, 8) if s % 8 else slice(None) for p, (_, s) in zip(phase, dims, strict=True))]
        start = bit + sum(p * s for p, (_, s) in zip(phase, dims, strict=True))
        _unpack_phase(stream, start // 8, start % 8, width, strides, part)


def _unpack_phase(
    stream: Bytes, offset: int, shift: int, width: int, strides: tuple[int, ...], out: npt.NDArray[np.unsignedinteger]
) -> None:
    """Take out the fields that start on one bit of a byte."""
    used = shift + width
    bits = next(b for b in (8, 16, 32, 64) if used <= b or b == 64)
    # The constructor checks that the strides stay inside the stream.
    window: npt.NDArray[np.unsignedinteger] = np.ndarray(
        out.shape, np.dtype(f">u{bits // 8}"), stream.data, offset, strides
    ).astype(f"u{bits // 8}")
    kind = window.dtype.type
    if shift:
        window <<= kind(shift)
    if width < bits:
        window >>= kind(bits - width)
    if used > 64:
        # The last bits lie in a ninth byte.
        ninth: npt.NDArray[np.uint8] = np.ndarray(out.shape, np.uint8, stream.data, offset + 8, strides)
        window |= ninth >> np.uint8(72 - used)
    out[...] = window
