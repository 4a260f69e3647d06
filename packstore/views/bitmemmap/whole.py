"""Operations over all bits: counts, any, all, masks of the full shape, in-place logic; blockwise, on packed bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import numpy as np
from numpy.typing import NDArray

from packstore.codecs.bits.axes import pack_axis, unpack_axis
from packstore.codecs.bits.kernels import Bytes
from packstore.codecs.bits.large import count_bits_of
from packstore.views.bitmemmap.geometry import Bools, Geometry

__all__ = ["combine", "count", "every", "invert", "logic_along", "read_mask", "some", "write_mask"]

Lock = AbstractContextManager[object]
# A block stays in the second-level cache.
_BLOCK_NBYTES = 3 << 18


def _blocks(packed: Bytes, geometry: Geometry, padding: int) -> Iterator[Bytes]:
    """Contiguous runs of all bytes in order, with the padding bits, whatever the file holds there, set to `padding`."""
    if not packed.size:
        return
    if geometry.tail_mask == 0xFF:
        flat = packed.reshape(-1)
        for lo in range(0, flat.size, _BLOCK_NBYTES):
            yield flat[lo : lo + _BLOCK_NBYTES]
        return
    keep = np.uint8(geometry.tail_mask)
    fill = ~keep if padding else np.uint8(0)
    planes = packed.reshape(geometry.planes_shape)
    outer, length, inner = geometry.planes_shape
    rows = max(1, _BLOCK_NBYTES // max(1, length * inner))
    lanes = max(1, _BLOCK_NBYTES // max(1, inner))
    for row in range(0, outer, rows):
        for lane in range(0, length, lanes):
            block = planes[row : row + rows, lane : lane + lanes]
            if lane + lanes >= length:
                block = block.copy()
                block[:, -1] = (block[:, -1] & keep) | fill
            # Whole rows or parts of one row: contiguous either way.
            yield block.reshape(-1)


def count(packed: Bytes, geometry: Geometry, axes: tuple[int, ...]) -> NDArray[np.int64]:
    """Set bits along `axes`; unpacked only where the packed axis stays."""
    flat = packed.reshape(-1)
    box = tuple([slice(0, n, 1) for n in geometry.shape])
    return count_bits_of(geometry.packed, lambda offset, nbytes: flat[offset : offset + nbytes], box, axes)


def some(packed: Bytes, geometry: Geometry) -> bool:
    """Whether a bit is set; stops at the first block that has one."""
    return any(bool(block.any()) for block in _blocks(packed, geometry, 0))


def every(packed: Bytes, geometry: Geometry) -> bool:
    """Whether all bits are set; stops at the first block that has a clear one."""
    return all(int(block.min()) == 0xFF for block in _blocks(packed, geometry, 1))


def logic_along(packed: Bytes, geometry: Geometry, axes: tuple[int, ...], conjunction: bool) -> Bools:
    """any (or all, if `conjunction`) along `axes`, which stay as dimensions of length 1, on packed bytes."""
    axis = geometry.packed_axis
    assert axis is not None
    rest = tuple(a for a in axes if a != axis)
    found = packed
    if rest:
        reduce = np.bitwise_and.reduce if conjunction else np.bitwise_or.reduce
        found = np.asarray(reduce(packed, axis=rest, keepdims=True))
    if axis not in axes:
        return unpack_axis(found, axis, geometry.bitorder, geometry.length)
    keep = np.uint8(geometry.tail_mask)
    before = (slice(None),) * axis
    body, tail = found[(*before, slice(None, -1))], found[(*before, slice(-1, None))]
    if conjunction:
        result = (body == 0xFF).all(axis, keepdims=True) & ((tail & keep) == keep).all(axis, keepdims=True)
    else:
        result = (body != 0).any(axis, keepdims=True) | ((tail & keep) != 0).any(axis, keepdims=True)
    return np.asarray(result)


def read_mask(packed: Bytes, geometry: Geometry, mask: Bools) -> Bools:
    """The elements where `mask`, of the full shape, is true."""
    axis = geometry.bytes_axis
    mask = mask.reshape(-1) if geometry.packed_axis is None else mask
    parts = [np.zeros(0, np.bool_)]
    for elements, where in geometry.lead_blocks():
        chosen = mask[elements]
        if chosen.any():
            length = chosen.shape[axis]
            parts.append(unpack_axis(packed[where], axis, geometry.bitorder, length)[chosen])
    return np.concatenate(parts)


def write_mask(packed: Bytes, geometry: Geometry, mask: Bools, values: Bools, lock: Lock) -> None:
    """Assign `values` (0-d, or one for each true element in C order) where `mask`, of the full shape, is true."""
    axis, order = geometry.bytes_axis, geometry.bitorder
    mask = mask.reshape(-1) if geometry.packed_axis is None else mask
    taken = 0
    for elements, where in geometry.lead_blocks():
        chosen = mask[elements]
        number = int(np.count_nonzero(chosen))
        if not number:
            continue
        bits = chosen
        if values.ndim:
            bits = np.zeros(chosen.shape, np.bool_)
            bits[chosen] = values[taken : taken + number]
            taken += number
        elif not values:
            bits = np.zeros(chosen.shape, np.bool_)
        change, new = pack_axis(chosen, axis, order), pack_axis(bits, axis, order)
        view = packed[where]
        with lock:
            # Bytes without a chosen element are left alone: another process may be writing them.
            np.copyto(view, (view & ~change) | new, where=change != 0)


Bitwise = Callable[..., Bytes]


def combine(
    packed: Bytes, geometry: Geometry, other: Bytes | Callable[[slice], Bools], operation: Bitwise, lock: Lock
) -> None:
    """``packed = operation(packed, other)``, where `other` is bytes of the same layout or gives blocks of elements."""
    if not callable(other):
        with lock:
            operation(packed, other, out=packed)
            _clear_padding(packed, geometry)
        return
    for elements, where in geometry.lead_blocks():
        new = pack_axis(other(elements), geometry.bytes_axis, geometry.bitorder)
        view = packed[where]
        with lock:
            operation(view, new, out=view)


def invert(packed: Bytes, geometry: Geometry, lock: Lock) -> None:
    """Flip every bit but the padding."""
    with lock:
        np.invert(packed, out=packed)
        _clear_padding(packed, geometry)


def _clear_padding(packed: Bytes, geometry: Geometry) -> None:
    if geometry.tail_mask != 0xFF and packed.size:
        packed.reshape(geometry.planes_shape)[:, -1] &= np.uint8(geometry.tail_mask)
