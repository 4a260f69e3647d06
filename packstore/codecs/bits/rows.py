"""Boxes of elements of several bits each whose lines along one axis all begin on a whole byte."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from packstore.codecs.bits.frame import unpack_elements
from packstore.codecs.bits.kernels import BitOrder, Bytes, group_size
from packstore.codecs.bits.layout import BitLayout
from packstore.core.counts import Counts

__all__ = ["RowsPlan", "unpack_rows"]


class RowsPlan(NamedTuple):
    """See `packstore.codecs.bits.boxes.BoxPlan`."""

    offset: int
    nbytes: int
    padding: int
    bitorder: BitOrder
    layout: BitLayout
    sizes: Sequence[int]  # of the array of the bytes that hold the box
    strides: Sequence[int]  # between those bytes, along each axis
    axis: int  # the packed one
    first: int  # the first element of the box along the packed axis
    step: int  # elements from one to the next along it
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
        return math.prod(self.sizes) * 8 // self.layout.element_bits * self.layout.dtype.itemsize

    def unpack(self, data: bytes | Bytes) -> NDArray[Any]:
        rows: Bytes = np.moveaxis(np.ndarray(self.sizes, np.uint8, data, 0, self.strides), self.axis, -1)
        run = (self.length - 1) * self.step + 1
        return np.moveaxis(
            unpack_rows(rows, self.first, run, self.layout, self.bitorder)[..., :: self.step], -1, self.axis
        )

    def counts_packed(self, axes: tuple[int, ...]) -> bool:
        return False

    def count_nonzero(self, data: bytes | Bytes, axes: tuple[int, ...]) -> Counts:
        return np.asarray(np.count_nonzero(self.unpack(data), axis=axes), np.int64)


def unpack_rows(rows: Bytes, first: int, run: int, layout: BitLayout, bitorder: BitOrder) -> NDArray[Any]:
    """Unpack `run` elements of each row, element `first` of a line of elements and those that follow it.

    Parameters
    ----------
    rows
        Along the last axis, the bytes from the one that holds the first bit of element `first` on.
    """
    bits = layout.element_bits
    group = group_size(bits)
    lead = first % group  # elements of the group that come before the run
    skip = lead * bits // 8  # their whole bytes, which were not read
    # One byte-aligned row of whole groups per run makes a single sequence.
    total = -(-(lead + run) // group) * group
    padded = np.zeros((*rows.shape[:-1], total * bits // 8), np.uint8)
    padded[..., skip : skip + rows.shape[-1]] = rows
    flat = unpack_elements(padded.reshape(-1), 0, math.prod(rows.shape[:-1]) * total, layout, bitorder)
    return flat.reshape(*rows.shape[:-1], total)[..., lead : lead + run]
