"""Boxes of masks that are stored as `numpy.packbits` lays them out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from packstore.codecs.bits.axes import unpack_axis
from packstore.core.boxes import Box, box_shape
from packstore.core.threads import run_all
from packstore.storage import ManifestArray, PackedManifest, contiguous

__all__ = ["packed_bytes", "read_packed"]

Array = npt.NDArray[Any]

# Packed bits are unpacked at several GB/s a core, so it takes more of them to be worth other threads; in pieces that
# fit the second-level cache.
PARALLEL_PACKED_NBYTES, _PIECE_NBYTES = 16 << 20, 1 << 20


def packed_bytes(array: ManifestArray, storage: PackedManifest, box: Box) -> Array:
    """The stored bytes of `box`, which is one of the array of bytes; a read-only view where they can be mapped."""
    return _read_packed_bytes(_packed_array(array, storage), box)


def _packed_array(array: ManifestArray, storage: PackedManifest) -> ManifestArray:
    """The packed bytes as an array of their own."""
    shape = storage.byte_shape(array.shape)
    bits = contiguous(shape, storage.space, storage.offset, np.dtype(np.uint8))
    return ManifestArray(shape, np.dtype(np.uint8), tuple([max(n, 1) for n in shape]), bits)


def read_packed(array: ManifestArray, storage: PackedManifest, box: Box) -> Array:
    packed = _packed_array(array, storage)
    if 0 in box_shape(box):
        return np.empty(box_shape(box), np.bool_)
    if storage.axis is None:
        return _read_packed_flat(array, storage, packed, box)
    if math.prod(box_shape(box)) < PARALLEL_PACKED_NBYTES:
        return _read_packed_part(packed, storage, storage.axis, box)
    return _read_packed_pieces(packed, storage, storage.axis, box)


def _read_packed_part(packed: ManifestArray, storage: PackedManifest, axis: int, box: Box) -> Array:
    along = box[axis]
    first, last = along.start // 8, -(-along.stop // 8)
    byte_box = tuple(slice(first, last, 1) if i == axis else s for i, s in enumerate(box))
    raw = _read_packed_bytes(packed, byte_box)
    if along.step >= 8:
        return _pick_bits(raw, np.arange(along.start - 8 * first, along.stop - 8 * first, along.step), axis, storage)
    mask = unpack_axis(raw, axis, storage.bitorder, along.stop - 8 * first)
    return mask[(slice(None),) * axis + (slice(along.start - 8 * first, None, along.step),)]


def _read_packed_pieces(packed: ManifestArray, storage: PackedManifest, axis: int, box: Box) -> Array:
    """A large box by several threads, in pieces along its slowest axis."""
    shape = box_shape(box)
    out = np.empty(shape, np.bool_)
    cut = next(i for i, n in enumerate(shape) if n > 1)
    rows = max(_PIECE_NBYTES // (math.prod(shape) // shape[cut]), 1)
    if cut == axis:
        # Pieces of whole bytes, so that none is unpacked twice.
        rows = -(-rows // 8) * 8
    start, stop, step = box[cut].start, box[cut].stop, box[cut].step

    def fill(at: int) -> None:
        lo, hi = max(at, 0), min(at + rows, shape[cut])
        piece = slice(start + lo * step, min(start + (hi - 1) * step + 1, stop), step)
        part = _read_packed_part(packed, storage, axis, (*box[:cut], piece, *box[cut + 1 :]))
        out[(*(slice(None),) * cut, slice(lo, hi))] = part

    # The first piece is shorter where that makes the others begin at a byte.
    before = start % 8 if cut == axis and step == 1 else 0
    run_all(fill, range(-before, shape[cut], rows), parallel=True)
    return out


def _read_packed_bytes(packed: ManifestArray, box: Box) -> Array:
    return packed.storage.read(packed, box)


def _pick_bits(raw: Array, index: npt.NDArray[np.intp], axis: int, storage: PackedManifest) -> Array:
    """Single bits along `axis`: far cheaper than unpacking all between them, in memory too."""
    shift = (index % 8 if storage.bitorder == "little" else 7 - index % 8).astype(np.uint8)
    shift = shift.reshape((-1,) + (1,) * (raw.ndim - 1 - axis))
    # Not np.take, which first copies what is not contiguous.
    picked = (raw[(slice(None),) * axis + (index // 8,)] >> shift) & 1
    return picked.view(np.bool_)


def _read_packed_flat(array: ManifestArray, storage: PackedManifest, packed: ManifestArray, box: Box) -> Array:
    """The flattened form: unpack the covering run of bits, a slowest-axis row at a time where the run is sparse."""
    strides = [1] * len(array.shape)
    for i in range(len(array.shape) - 2, -1, -1):
        strides[i] = strides[i + 1] * array.shape[i + 1]
    wanted = box_shape(box)

    def run(lo: int, hi: int) -> Array:
        raw = _read_packed_bytes(packed, (slice(lo // 8, -(-hi // 8), 1),))
        return np.unpackbits(raw, bitorder=storage.bitorder)[lo % 8 : lo % 8 + hi - lo].view(np.bool_)

    def gather(base: int, level: int) -> Array:
        sub = box[level:]
        sizes = wanted[level:]
        if not sub:
            return run(base, base + 1).reshape(())
        st = strides[level:]
        lo = base + sum(s.start * k for s, k in zip(sub, st, strict=True))
        hi = base + sum((s.start + (n - 1) * s.step) * k for s, n, k in zip(sub, sizes, st, strict=True)) + 1
        if len(sub) == 1 and sub[0].step >= 8:
            raw = _read_packed_bytes(packed, (slice(lo // 8, -(-hi // 8), 1),))
            return _pick_bits(raw, np.arange(lo % 8, lo % 8 + hi - lo, sub[0].step), 0, storage)
        if hi - lo <= 4 * math.prod(sizes) + 65536 or len(sub) == 1:
            flat = run(lo, hi)
            steps = tuple(s.step * k for s, k in zip(sub, st, strict=True))
            return np.ndarray(sizes, np.bool_, np.ascontiguousarray(flat).data, 0, steps)
        return np.stack([gather(base + i * st[0], level + 1) for i in range(sub[0].start, sub[0].stop, sub[0].step)])

    return gather(0, 0)
