"""Read and assign a resolved selection, touching only the bytes that hold its bits."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from packstore.codecs.bits.axes import pack_axis, unpack_axis
from packstore.codecs.bits.kernels import Bytes
from packstore.codecs.bits.large import read_bits
from packstore.core.selection import Selection, parse
from packstore.views.bitmemmap.addresses import gather, scatter
from packstore.views.bitmemmap.geometry import Bools, Geometry

__all__ = ["read", "write"]

Lock = AbstractContextManager[object]
_ONE = np.uint8(1)


def _along(axis: int, entry: Any) -> tuple[Any, ...]:
    return (*(slice(None),) * axis, entry)


def read(packed: Bytes, geometry: Geometry, selection: Selection) -> Bools:
    """The selected elements as a new array."""
    if 0 in selection.shape:
        return np.zeros(selection.shape, np.bool_)
    axis = geometry.packed_axis
    if not selection.fancy and (selection.shape or axis is None):
        return _read_box(packed, geometry, selection)
    if axis is None:
        return gather(packed, geometry, selection)
    item = selection.on(axis)
    value = item.value
    if isinstance(value, range):
        if abs(value.step) > 8 and value.step % 8:
            return gather(packed, geometry, selection)
        # Index arrays along other axes choose among the bytes; then bits are unpacked along one dimension.
        rising = value if value.step > 0 else value[::-1]
        first, last, step = rising[0] & ~7, rising[-1], rising.step
        found = packed[selection.key(axis, slice(first >> 3, (last >> 3) + 1, max(step >> 3, 1)))]
        if step >= 8:
            bits: Bools = ((found >> np.uint8(geometry.shift(rising[0]))) & _ONE).view(np.bool_)
        else:
            bits = unpack_axis(found, item.dim, geometry.bitorder, last + 1 - first)
            bits = bits[_along(item.dim, slice(rising[0] - first, None, step))]
            # A stepped view would keep all the bits between.
            bits = bits.copy() if step > 1 else bits
        return bits if value.step > 0 else bits[_along(item.dim, slice(None, None, -1))]
    if isinstance(value, np.ndarray):
        found = packed[selection.key(axis, value >> 3)]
        shifted = found >> selection.fit(geometry.shifts(value))
    else:
        assert isinstance(value, int)
        found = np.asarray(packed[selection.key(axis, value >> 3)])
        shifted = np.asarray(found >> np.uint8(geometry.shift(value)))
    return np.asarray(shifted & _ONE).view(np.bool_)


def _read_box(packed: Bytes, geometry: Geometry, selection: Selection) -> Bools:
    """A selection by integers and slices."""
    box: list[slice] = []
    flipped = False
    for item in selection.items:
        value = item.value
        if item.axis < 0:
            continue
        if type(value) is int:
            box.append(slice(value, value + 1, 1))
            continue
        assert isinstance(value, range)
        if value.step < 0:
            flipped = True
            value = value[::-1]
        box.append(slice(value.start, value[-1] + 1, value.step))
    flat = packed.reshape(-1)
    found: Bools = read_bits(geometry.packed, lambda offset, nbytes: flat[offset : offset + nbytes], tuple(box))
    if found.base is not None and found.base.nbytes > 2 * found.size + 64:
        # A view would keep all the bits between.
        found = found.copy()
    if flipped:
        values = [item.value for item in selection.items if item.axis >= 0]
        found = found[tuple([slice(None, None, -1 if isinstance(v, range) and v.step < 0 else 1) for v in values])]
    return found if found.shape == selection.shape else found.reshape(selection.shape)


def write(packed: Bytes, geometry: Geometry, selection: Selection, value: Bools, lock: Lock) -> None:
    """Assign `value`, already of the selection's shape."""
    if 0 in selection.shape:
        return
    axis = geometry.packed_axis
    if axis is None:
        run = _run(geometry, selection)
        if run is None:
            scatter(packed, geometry, selection, value, lock)
        else:
            constant = value.size > 0 and not any(value.strides)
            line = np.broadcast_to(value[(0,) * value.ndim], value.size) if constant else value.reshape(-1)
            write(packed, *run, line, lock)
        return
    item = selection.on(axis)
    where = item.value
    if isinstance(where, np.ndarray):
        if selection.fancy and sum(isinstance(other.value, int | np.ndarray) for other in selection.items) == 1:
            _write_lanes(packed, geometry, selection, value, lock)
        else:
            scatter(packed, geometry, selection, value, lock)
        return
    if isinstance(where, range):
        if abs(where.step) > 8 and where.step % 8:
            scatter(packed, geometry, selection, value, lock)
            return
        if where.step < 0:
            value = value[_along(item.dim, slice(None, None, -1))]
            where = where[::-1]
        if where.step < 8:
            _write_bytes(packed, geometry, selection, where, value, lock)
            return
        bit = geometry.shift(where.start)
        key = selection.key(axis, slice(where.start >> 3, (where[-1] >> 3) + 1, where.step >> 3))
    else:
        assert isinstance(where, int)
        bit = geometry.shift(where)
        key = selection.key(axis, where >> 3)
    _blend(packed, key, np.uint8(1 << bit), value.view(np.uint8) << np.uint8(bit), lock)


def _run(geometry: Geometry, selection: Selection) -> tuple[Geometry, Selection] | None:
    """The selection as one run of bits of a flattened array, if it is one."""
    if selection.fancy:
        return None
    start, length, inside = 0, 1, False
    for item in selection.items:
        if item.axis < 0:
            continue
        value = item.value
        extent = geometry.shape[item.axis]
        if isinstance(value, range):
            if len(value) == 1:
                first = value[0]
            elif value.step != 1:
                return None
            else:
                first = value.start
            if inside and len(value) != extent:
                return None
            inside = inside or len(value) > 1
            length *= len(value)
        else:
            assert isinstance(value, int)
            if inside and extent > 1:
                return None
            first = value
        start += first * math.prod(geometry.shape[item.axis + 1 :])
    line = Geometry((geometry.size,), 0, geometry.bitorder)
    return line, parse(slice(start, start + length), line.shape, "")


def _write_bytes(
    packed: Bytes, geometry: Geometry, selection: Selection, where: range, value: Bools, lock: Lock
) -> None:
    """Assign a range of step 1 to 7: whole bytes are stored, shared ones blended."""
    axis, order = geometry.bytes_axis, geometry.bitorder
    item = selection.on(axis)
    value = _core(value, item.dim)
    first = where.start & ~7
    low, high = first >> 3, (where[-1] >> 3) + 1
    lead = where.start - first
    end = where[-1] + 1 - first
    if lead or where.step > 1:
        padded = np.zeros((*value.shape[: item.dim], end, *value.shape[item.dim + 1 :]), np.bool_)
        padded[_along(item.dim, slice(lead, None, where.step))] = value
        value = padded
    new = pack_axis(value, item.dim, order)
    key = selection.key(axis, slice(low, high))
    if selection.fancy or where.step > 1:
        chosen = np.zeros(end, np.bool_)
        chosen[lead :: where.step] = True
        mask = np.packbits(chosen, bitorder=order).reshape((-1,) + (1,) * (new.ndim - item.dim - 1))
        _blend(packed, key, mask, new, lock)
        return
    region = packed[key]
    # The padding behind the last element is zero in `new`, so that byte is whole as well.
    whole_from = 1 if lead else 0
    whole_to = high - low if end % 8 == 0 or where[-1] + 1 == geometry.length else high - low - 1
    if whole_to > whole_from:
        whole = _along(item.dim, slice(whole_from, whole_to))
        # A thread that blends the same byte must not write back what it read before.
        with lock:
            region[whole] = new[whole]
    for edge in {0, high - low - 1}:
        if whole_from <= edge < whole_to:
            continue
        chosen = np.zeros(8, np.bool_)
        chosen[lead if edge == 0 else 0 : min(8, end - 8 * edge)] = True
        at = _along(item.dim, slice(edge, edge + 1))
        _blend(region, at, np.packbits(chosen, bitorder=order)[0], new[at], lock)


def _core(value: Bools, dim: int) -> Bools:
    """`value` without its repetitions along other dimensions than `dim`: a scalar packs as one row, not as all."""
    return value[tuple(slice(None) if i == dim or step else slice(1) for i, step in enumerate(value.strides))]


def _blend(packed: Bytes, key: tuple[Any, ...], mask: np.uint8 | Bytes, new: Bytes, lock: Lock) -> None:
    """Replace the bits in `mask` by those of `new`, which has no others."""
    with lock:
        packed[key] = (packed[key] & ~mask) | new


def _write_lanes(packed: Bytes, geometry: Geometry, selection: Selection, value: Bools, lock: Lock) -> None:
    """Assign at an index array along the packed axis, everything else sliced: no address per element needed."""
    axis = geometry.bytes_axis
    where = selection.on(axis).value
    assert isinstance(where, np.ndarray)
    touched, rank = np.unique(where >> 3, return_inverse=True)
    key = selection.key(axis, touched)
    dim = len(selection.shape) - selection.fancy_after - where.ndim
    place = rank.reshape(where.shape) * 8 + (where & 7)
    with lock:
        bits = unpack_axis(packed[key], dim, geometry.bitorder, touched.size * 8)
        bits[_along(dim, place)] = value
        packed[key] = pack_axis(bits, dim, geometry.bitorder)
