"""Operations over all bits: counts, any, all, masks of the full shape, in-place logic; blockwise, on packed bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import numpy as np
from numpy.typing import NDArray

from packstore.views.bitmemmap.geometry import Bools, Bytes, Geometry
from packstore.views.bitmemmap.kernels import pack, popcount, unpack

__all__ = ["combine", "count", "count_along", "every", "invert", "logic_along", "read_mask", "some", "write_mask"]

Lock = AbstractContextManager[object]
# A block and its popcounts stay in the second-level cache.
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


def count(packed: Bytes, geometry: Geometry) -> int:
    """All set bits."""
    return sum(popcount(block) for block in _blocks(packed, geometry, 0))


def some(packed: Bytes, geometry: Geometry) -> bool:
    """Whether a bit is set; stops at the first block that has one."""
    return any(bool(block.any()) for block in _blocks(packed, geometry, 0))


def every(packed: Bytes, geometry: Geometry) -> bool:
    """Whether all bits are set; stops at the first block that has a clear one."""
    return all(int(block.min()) == 0xFF for block in _blocks(packed, geometry, 1))


def _element_blocks(packed: Bytes, geometry: Geometry) -> Iterator[tuple[slice, Bytes, Bools]]:
    """Blocks along the first axis: the elements, their bytes (a view), the unpacked bits."""
    axis = geometry.bytes_axis
    for elements, where in geometry.lead_blocks():
        view = packed[where]
        length = elements.stop - elements.start if axis == 0 else geometry.length
        yield elements, view, unpack(view, axis, geometry.bitorder, length)


def count_along(packed: Bytes, geometry: Geometry, axes: tuple[int, ...]) -> NDArray[np.intp]:
    """Set bits along `axes`, which stay as dimensions of length 1.

    Notes
    -----
    Popcounts if the packed axis is among them; columns of bits must be unpacked, a block at a time.
    """
    kept = tuple(1 if i in axes else n for i, n in enumerate(geometry.shape))
    out = np.zeros(kept, np.intp)
    axis = geometry.packed_axis
    assert axis is not None
    rest = tuple(a for a in axes if a != axis)
    if axis not in axes:
        for elements, _, bits in _element_blocks(packed, geometry):
            _accumulate(out, elements, np.count_nonzero(bits, axis=axes, keepdims=True), 0 in axes)
        return out
    keep = np.full(geometry.packed_shape[axis], 0xFF, np.uint8)
    keep[-1:] = geometry.tail_mask
    keep = keep.reshape((-1,) + (1,) * (len(kept) - axis - 1))
    for elements, where in geometry.lead_blocks(_BLOCK_NBYTES * 8):
        mask = keep[where] if axis == 0 else keep
        counts = np.bitwise_count(packed[where] & mask).sum(axis=axis, keepdims=True, dtype=np.intp)
        _accumulate(out, elements, counts.sum(axis=rest, keepdims=True) if rest else counts, 0 in axes)
    return out


def _accumulate(out: NDArray[np.intp], elements: slice, part: NDArray[np.intp], reduced: bool) -> None:
    if reduced:
        out += part
    else:
        out[elements] = part


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
        return unpack(found, axis, geometry.bitorder, geometry.length)
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
            parts.append(unpack(packed[where], axis, geometry.bitorder, length)[chosen])
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
        change, new = pack(chosen, axis, order), pack(bits, axis, order)
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
        new = pack(other(elements), geometry.bytes_axis, geometry.bitorder)
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
