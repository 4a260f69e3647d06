"""Where the bit of an element lies: shape, packed axis and bit order, worked out once per map."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from packstore.codecs.bits.boxes import PackedArray
from packstore.codecs.bits.kernels import BitOrder, Bytes
from packstore.codecs.bits.layout import bit_layout

__all__ = ["Bools", "Geometry"]

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Geometry:
    """The layout of ``np.packbits(mask, axis=axis, bitorder=bitorder)``.

    Parameters
    ----------
    shape
        Logical shape, in elements.
    axis
        The packed axis, not negative, or None: bits of the flattened (C order) array in one run.
    bitorder
        ``"little"`` or ``"big"``, as in `numpy.packbits`.
    """

    shape: tuple[int, ...]
    axis: int | None
    bitorder: BitOrder

    @cached_property
    def packed(self) -> PackedArray:
        """Where the bits of boxes are: all that reading and counting need."""
        return PackedArray(self.shape, bit_layout(np.dtype(np.bool_)), None, self.bitorder, self.axis)

    @property
    def packed_axis(self) -> int | None:
        """The axis along which bytes run, or None where rows may start inside a byte.

        A flattened array whose rows are whole bytes has the same bytes as one packed along its last axis.
        """
        return self.packed.bytes_axis

    @cached_property
    def size(self) -> int:
        return math.prod(self.shape)

    @cached_property
    def length(self) -> int:
        """Elements along the packed run (of the whole array if flattened)."""
        return self.size if self.packed_axis is None else self.shape[self.packed_axis]

    @cached_property
    def packed_shape(self) -> tuple[int, ...]:
        """Shape of the bytes."""
        return self.packed.byte_shape

    @property
    def nbytes(self) -> int:
        return self.packed.nbytes

    @cached_property
    def bytes_axis(self) -> int:
        """The packed axis within `packed_shape`."""
        return 0 if self.packed_axis is None else self.packed_axis

    @cached_property
    def planes_shape(self) -> tuple[int, int, int]:
        """`packed_shape` as (outer, bytes along the packed axis, inner)."""
        a = self.bytes_axis
        p = self.packed_shape
        return math.prod(p[:a]), p[a], math.prod(p[a + 1 :])

    @cached_property
    def tail_mask(self) -> int:
        """The bits in use in the last byte along the packed axis."""
        used = self.length % 8
        if used == 0:
            return 0xFF
        low = (1 << used) - 1
        return low if self.bitorder == "little" else low << (8 - used)

    def shift(self, position: int) -> int:
        """How far right to shift a byte so that the bit of `position` along the packed axis comes lowest."""
        return position & 7 if self.bitorder == "little" else 7 - (position & 7)

    def shifts(self, positions: NDArray[np.intp]) -> Bytes:
        """`shift` of many positions."""
        low = (positions & 7).astype(np.uint8)
        return low if self.bitorder == "little" else np.uint8(7) - low

    def lead_blocks(self, nbits: int = 1 << 23) -> Iterator[tuple[slice, slice]]:
        """Cut the array along its first axis (flattened: along its bits) into blocks of about `nbits` elements.

        Yields the slice of elements and the slice of bytes; a block never shares a byte with another.
        """
        if self.packed_axis is None:
            total, row = self.size, 1
        else:
            total, row = self.shape[0], max(1, math.prod(self.shape[1:]))
        packed_first = self.bytes_axis == 0
        step = max(1, nbits // row)
        if packed_first:
            step = -(-step // 8) * 8
        for lo in range(0, total, step):
            hi = min(lo + step, total)
            yield slice(lo, hi), (slice(lo // 8, -(-hi // 8)) if packed_first else slice(lo, hi))
