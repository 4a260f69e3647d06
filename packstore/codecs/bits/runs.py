"""Boxes of packed arrays whose elements are one run of bits, so that a row may begin inside a byte."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from packstore.codecs.bits.counts import count_bits, count_nonzero_packed
from packstore.codecs.bits.frame import unpack_elements
from packstore.codecs.bits.kernels import BitOrder, Bytes, as_bytes, packed_nbytes
from packstore.codecs.bits.layout import BitLayout
from packstore.codecs.bits.rows import unpack_rows
from packstore.core.counts import Counts

__all__ = ["RunsPlan"]

# Rows are aligned one by one where they are that many, and that much shorter than those of the array.
MIN_ROWS, MIN_RATIO = 16, 3
# Single bits are picked where at least that many lie between one and the next.
MIN_GAP = 128


class RunsPlan(NamedTuple):
    """See `packstore.codecs.bits.boxes.BoxPlan`.

    Notes
    -----
    The box is `runs` runs (an extent for each axis they lie along, and the elements between neighbours) of `run`
    elements each. Unpacking takes the cheapest of five ways: a single run as it is; runs that all begin at the same
    bit of a byte, without the bytes between them; rows of a narrow box, shifted to whole words first; single bits that
    are far apart, picked; else all from the first element to the last, of which the result is a strided view.
    """

    offset: int
    nbytes: int
    padding: int
    bitorder: BitOrder
    layout: BitLayout
    shape: tuple[int, ...]
    first: int  # position of the first element among all of the array
    runs: tuple[int, ...]
    strides: tuple[int, ...]
    run: int

    @property
    def extents(self) -> tuple[int, ...]:
        return self.shape

    @property
    def wanted_nbytes(self) -> int:
        return packed_nbytes(math.prod(self.shape), self.layout.element_bits)

    @property
    def scratch_nbytes(self) -> int:
        bits = self.layout.element_bits
        return max(self.nbytes * 8 // bits, math.prod(self.shape)) * self.layout.dtype.itemsize

    def unpack(self, data: bytes | Bytes) -> NDArray[Any]:
        _, nbytes, _, bitorder, layout, shape, first, runs, strides, run = self
        if layout.is_bool and len(runs) == 1 and runs[0] >= MIN_ROWS and run > 1 and strides[0] >= MIN_RATIO * run:
            rows = _align_rows(data, first % 8, runs[0], strides[0], run, bitorder)
            return rows if rows.shape == shape else rows.reshape(shape)
        data = as_bytes(data)
        if not runs:
            return unpack_elements(data, first, run, layout, bitorder).reshape(shape)
        if strides[-1] * layout.element_bits % 8 == 0 and self._is_aligned:
            return _unpack_aligned(data, self).reshape(shape)
        if layout.is_bool and nbytes * 8 > MIN_GAP * math.prod(shape):
            return _pick(data, self).reshape(shape)
        if layout.is_bool:
            bits = np.unpackbits(data, bitorder=bitorder)
            values: NDArray[Any] = np.ndarray((*runs, run), np.bool_, bits, first % 8, (*strides, 1))
        else:
            span = sum((n - 1) * s for n, s in zip(runs, strides, strict=True)) + run
            flat = unpack_elements(data, first, span, layout, bitorder)
            size = flat.itemsize
            values = np.ndarray((*runs, run), flat.dtype, flat, 0, (*[s * size for s in strides], size))
        return values.reshape(shape)

    @property
    def _is_aligned(self) -> bool:
        """Whether all runs begin at the same bit of a byte."""
        return math.gcd(*self.strides) * self.layout.element_bits % 8 == 0

    def counts_packed(self, axes: tuple[int, ...]) -> bool:
        whole = len(axes) == len(self.shape)
        return whole and self.layout.is_bool and (not self.runs or self._is_aligned)

    def count_nonzero(self, data: bytes | Bytes, axes: tuple[int, ...]) -> Counts:
        if not self.nbytes or not self.counts_packed(axes):
            return np.asarray(np.count_nonzero(self.unpack(data), axis=axes), np.int64)
        data = as_bytes(data)
        lead = self.first % 8
        if not self.runs:
            return np.asarray(count_nonzero_packed(data, self.run, lead, bitorder=self.bitorder), np.int64)
        rows: Bytes = np.ndarray(
            (*self.runs, packed_nbytes(lead + self.run, 1)), np.uint8, data, 0, (*[s // 8 for s in self.strides], 1)
        )
        every = tuple(range(rows.ndim))
        return count_bits(rows, rows.ndim - 1, lead, lead + self.run, every, self.bitorder)


def _unpack_aligned(data: Bytes, plan: RunsPlan) -> NDArray[Any]:
    """Runs that all begin at the same bit of a byte: only their own bytes are unpacked."""
    layout, bits = plan.layout, plan.layout.element_bits
    phase = plan.first * bits % 8
    width = packed_nbytes(phase + plan.run * bits, 1)
    byte_strides = [s * bits // 8 for s in plan.strides]
    rows: Bytes = np.ndarray((*plan.runs, width), np.uint8, buffer=data, strides=(*byte_strides, 1))
    if layout.is_bool and plan.run == 1:
        shift = np.uint8(phase if plan.bitorder == "little" else 7 - phase)
        return ((rows >> shift) & np.uint8(1)).view(np.bool_)
    if layout.is_bool:
        unpacked = np.unpackbits(rows, axis=-1, bitorder=plan.bitorder)
        return unpacked[..., phase : phase + plan.run].view(np.bool_)
    return unpack_rows(rows, plan.first, plan.run, layout, plan.bitorder)


def _align_rows(
    data: bytes | Bytes, first: int, count: int, stride: int, width: int, bitorder: BitOrder
) -> NDArray[np.bool_]:
    """`count` rows of `width` bits, `stride` bits apart, the first one from bit `first` of `data` on.

    Every eighth row begins at the same bit of its byte. Within eight, row k is taken from k times the whole bytes of a
    row on, and shifted by the bits that it begins later: at most 7 + 7 * 7, which a word of 64 bits can hold.
    """
    groups, words = -(-count // 8), -(-width // 64)
    order = "<u8" if bitorder == "little" else ">u8"
    nbytes = (groups - 1) * stride + 7 * (stride // 8) + 8 * (words + 1)
    missing = nbytes - len(data)
    if missing > 0:
        # The words of the last rows end behind the data.
        data = data + bytes(missing) if isinstance(data, bytes) else np.append(data, np.zeros(missing, np.uint8))
    stored: NDArray[np.uint64] = np.ndarray((groups, 8, words + 1), order, data, 0, (stride, stride // 8, 8))
    shift, rest = _shifts(first, stride % 8)
    if bitorder == "little":
        aligned = stored[..., :-1] >> shift
        aligned |= stored[..., 1:] << rest
    else:
        aligned = stored[..., :-1] << shift
        aligned |= stored[..., 1:] >> rest
    packed = aligned.astype(order, copy=False).reshape(-1).view(np.uint8)
    bits = np.unpackbits(packed, bitorder=bitorder).view(np.bool_)
    return bits.reshape(8 * groups, 64 * words)[:count, :width]


@lru_cache(maxsize=64)
def _shifts(first: int, step: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """By how many bits to shift the words of each of eight rows, and those that follow them the other way."""
    shift = (first + step * np.arange(8, dtype=np.uint64))[:, None]
    # numpy makes a shift by 64 a zero.
    return shift, np.uint64(64) - shift


def _pick(data: Bytes, plan: RunsPlan) -> NDArray[np.bool_]:
    """Single bits, each from its own byte."""
    at: Any = np.asarray(plan.first % 8)
    for n, stride in zip((*plan.runs, plan.run), (*plan.strides, 1), strict=True):
        at = at[..., None] + np.arange(0, n * stride, stride)
    bit = (at & 7).astype(np.uint8)
    found: Bytes = data[at >> 3] >> (bit if plan.bitorder == "little" else 7 - bit)
    return (found & np.uint8(1)).view(np.bool_)
