"""Boxes of packed arrays whose bytes are an array of their own, eight elements along one axis to a byte."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from packstore.codecs.bits.axes import pick_bits, unpack_axis
from packstore.codecs.bits.counts import count_bits
from packstore.codecs.bits.kernels import BitOrder, Bytes
from packstore.core.counts import Counts

__all__ = ["PlanesPlan"]

_U8 = np.dtype(np.uint8)
# Rows of at most this many bytes are unpacked faster as one row, where they lie next to each other.
MAX_ROW = 16


class PlanesPlan(NamedTuple):
    """See `packstore.codecs.bits.boxes.BoxPlan`."""

    offset: int
    nbytes: int
    padding: int
    bitorder: BitOrder
    sizes: Sequence[int]  # of the array of the bytes that hold the box
    strides: Sequence[int]  # between those bytes, along each axis
    axis: int  # the packed one
    lead: int  # bits of the first byte before the box
    step: int  # bits from one element to the next along the packed axis
    length: int  # elements along it

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.sizes[: self.axis], self.length, *self.sizes[self.axis + 1 :])

    @property
    def extents(self) -> tuple[int, ...]:
        return tuple(self.sizes)

    @property
    def wanted_nbytes(self) -> int:
        return math.prod(self.sizes)

    @property
    def scratch_nbytes(self) -> int:
        return math.prod(self.shape) if self.step >= 8 else math.prod(self.sizes) * 8

    def unpack(self, data: bytes | Bytes) -> NDArray[Any]:
        _, _, _, bitorder, sizes, strides, axis, lead, step, length = self
        rows: Bytes = np.ndarray(sizes, _U8, data, 0, strides)
        if step >= 8:
            return pick_bits(rows, axis, bitorder, range(lead, lead + (length - 1) * step + 1, step))
        if axis < len(sizes) - 1:
            bits = unpack_axis(rows, axis, bitorder, lead + (length - 1) * step + 1)
            return bits[(*(slice(None),) * axis, slice(lead, None, step))]
        if sizes[-1] <= MAX_ROW and rows.flags.c_contiguous:
            # Short rows are unpacked faster as a single one.
            rows = rows.reshape(-1)
        bits = np.unpackbits(rows, axis=-1, bitorder=bitorder).view(np.bool_)
        if rows.ndim < len(sizes):
            bits = bits.reshape(*sizes[:-1], 8 * sizes[-1])
        return bits[..., lead : lead + (length - 1) * step + 1 : step]

    def counts_packed(self, axes: tuple[int, ...]) -> bool:
        return self.step == 1 and self.axis in axes

    def count_nonzero(self, data: bytes | Bytes, axes: tuple[int, ...]) -> Counts:
        if not self.counts_packed(axes):
            return np.asarray(np.count_nonzero(self.unpack(data), axis=axes), np.int64)
        rows: Bytes = np.ndarray(self.sizes, _U8, data, 0, self.strides)
        return count_bits(rows, self.axis, self.lead, self.lead + self.length, axes, self.bitorder)
