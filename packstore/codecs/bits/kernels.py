"""Pure numpy kernels for buffers of single bits, and what all packing kernels share.

Nothing here knows of files, zarr or headers; every function takes whole, already checked buffers. Bit orders:
``"little"`` puts the first value in the least significant bits, ``"big"`` in the most significant ones, as in
`numpy.packbits`. Values of more bits: `packstore.codecs.bits.words`.
"""

from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from typing_extensions import Buffer

BitOrder: TypeAlias = Literal["little", "big"]
Bytes: TypeAlias = NDArray[np.uint8]

# The order of raw files of packed elements, unless the caller says otherwise: that of `numpy.packbits`.
RAW_BITORDER: BitOrder = "big"

BLOCK_BYTES = 1 << 14


def as_bytes(buf: Buffer | NDArray[Any]) -> Bytes:
    """View any contiguous buffer as a flat uint8 array, without a copy."""
    if isinstance(buf, np.ndarray):
        if buf.dtype == np.uint8 and buf.ndim == 1 and buf.flags.c_contiguous:
            return buf
        return np.ascontiguousarray(buf).reshape(-1).view(np.uint8)
    view = memoryview(buf)
    if view.nbytes == 0:  # numpy refuses to wrap an empty buffer
        return np.empty(0, np.uint8)
    return np.frombuffer(view, dtype=np.uint8)


def packed_nbytes(count: int, nbits: int) -> int:
    """Bytes that `count` values of `nbits` bits fill, the last one padded.

    Examples
    --------
    >>> packed_nbytes(11, 1), packed_nbytes(3, 12), packed_nbytes(0, 5)
    (2, 5, 0)
    """
    return (count * nbits + 7) // 8


def group_size(nbits: int) -> int:
    """Smallest number of values of `nbits` bits that fills whole bytes."""
    return 8 // gcd(nbits, 8)


def pack_bools(values: NDArray[np.bool_], bitorder: BitOrder = "little") -> Bytes:
    """Pack a bool array, in C order, one bit per element; the padding bits are zero."""
    return np.packbits(values.reshape(-1), bitorder=bitorder)


def unpack_bools(
    data: Bytes,
    count: int,
    *,
    start: int = 0,
    bitorder: BitOrder = "little",
    out: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:
    """Unpack `count` bits.

    Parameters
    ----------
    data
        The bytes from the one that holds the first wanted bit on.
    count
        Number of elements.
    start
        Position of the first wanted bit in the whole bit sequence; only ``start % 8`` matters.
    bitorder
        Which end of a byte comes first.
    out
        C-contiguous bool array of `count` elements to fill instead of a new one.

    Returns
    -------
    numpy.ndarray
        `out`, or a new flat array. Nothing is copied after unpacking into a new array; filling `out` costs one more
        pass through cache-sized blocks.
    """
    phase = start % 8
    if out is None:
        bits = np.unpackbits(data[: packed_nbytes(phase + count, 1)], count=phase + count, bitorder=bitorder)
        return bits[phase:].view(np.bool_)
    target = out.reshape(-1).view(np.uint8)
    done = 0
    while done < count:
        at, skip = divmod(phase + done, 8)
        n = min(BLOCK_BYTES * 8 - skip, count - done)
        bits = np.unpackbits(data[at : at + packed_nbytes(skip + n, 1)], count=skip + n, bitorder=bitorder)
        target[done : done + n] = bits[skip:]
        done += n
    return out
