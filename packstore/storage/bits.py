"""`PackedBits`: the serializer of elements that take a fixed number of bits each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from packstore.codecs.bits.boxes import BoxPlan, PackedArray, count_box, unpack_box
from packstore.codecs.bits.kernels import BitOrder
from packstore.codecs.bits.large import count_bits_of, read_bits
from packstore.codecs.bits.layout import BitLayout, PaddingEncoding, bit_layout
from packstore.codecs.decompress.limit import Limit
from packstore.core.boxes import Box
from packstore.core.counts import Counts
from packstore.core.typing import Array
from packstore.storage.plain import PlainBytes, wrong_size
from packstore.storage.stored import Stored

__all__ = ["PackedBits"]


@dataclass(frozen=True, eq=False)
class PackedBits:
    """Elements of a fixed number of bits: `packstore.PackBitsCodec`, `packstore.BitPack`, numcodecs' packbits.

    Parameters
    ----------
    packed
        Where the bits of the elements are.
    names
        What people call it, where there is more to say than that elements become bytes.
    """

    packed: PackedArray
    names: tuple[str, ...] = ()
    nested: ClassVar[bool] = False
    inner: ClassVar[None] = None

    @property
    def reads_parts(self) -> bool:
        """Whether a part is checked as the whole: the count of padding bits is looked at with whole chunks only."""
        return self.packed.padding_encoding == "none"

    @property
    def counts_packed(self) -> bool:
        """Whether bits are counted without unpacking them."""
        return self.layout.is_bool

    def cover(self, box: Box) -> tuple[int, int] | None:
        """The range of bytes, from and to, that covers the elements of `box`."""
        plan = self.packed.plan(box)
        return plan.offset, plan.offset + plan.nbytes

    @classmethod
    def of(
        cls,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        padding_encoding: PaddingEncoding,
        first_bit: int | None,
        last_bit: int | None,
        bitorder: BitOrder,
    ) -> PackedBits:
        """Build one from the options of the codecs."""
        return cls(PackedArray(shape, bit_layout(dtype, first_bit, last_bit), padding_encoding, bitorder))

    @property
    def shape(self) -> tuple[int, ...]:
        return self.packed.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.packed.layout.dtype

    @property
    def nbytes(self) -> int:
        return self.packed.nbytes

    @property
    def layout(self) -> BitLayout:
        return self.packed.layout

    @property
    def padding_encoding(self) -> PaddingEncoding | None:
        return self.packed.padding_encoding

    @cached_property
    def limit(self) -> Limit:
        return Limit(self.nbytes, True)

    @cached_property
    def packed_rows(self) -> PlainBytes | None:
        """The packed bytes as an array, where rows are whole bytes of bits and no byte stands before them."""
        shape = self.shape
        if not self.layout.is_bool or not shape or shape[-1] % 8 or self.padding_encoding == "first_byte":
            return None
        u1 = np.dtype(np.uint8)
        return PlainBytes((*shape[:-1], shape[-1] // 8), u1, u1)

    def plan(self, box: Box) -> BoxPlan:
        """The bytes of a chunk that hold a box."""
        return self.packed.plan(box)

    unpack = staticmethod(unpack_box)

    def count_axes(self, stored: Stored, box: Box, axes: tuple[int, ...]) -> Counts:
        """Elements of `box` that are not zero, along any `axes`; of a box as large as a file."""
        return count_bits_of(self.packed, stored.pread, box, axes, stored.gap_nbytes)

    def read(self, stored: Stored, box: Box, whole: bool, out: Array | None) -> Array:
        """Elements of `box`, in `out` (of any strides) if there is one."""
        self._check_size(stored)
        if self.packed.padding_encoding is None:
            # A file, which may be too large to be unpacked in one piece.
            values = read_bits(self.packed, stored.pread, box, stored.gap_nbytes)
            if out is not None:
                out[...] = values
        elif whole:
            values = self.packed.decode(stored.pread(0, self.nbytes), out)
        else:
            plan = self.packed.plan(box)
            values = unpack_box(stored.pread(plan.offset, plan.nbytes), plan)
            if out is not None:
                out[...] = values
        if out is not None:
            return out
        # Where every bit of an element is stored, the elements may be a view of the stored bytes.
        return values.copy() if self.layout.is_plain and not stored.fresh else values

    def _check_size(self, stored: Stored) -> None:
        if stored.nbytes != self.nbytes:
            raise wrong_size(self.nbytes, stored.nbytes, self.shape, self.dtype)

    def count_nonzero(self, stored: Stored, box: Box, whole: bool) -> int:
        """Population count where the elements are bits: nothing is unpacked but ragged ends."""
        self._check_size(stored)
        if whole:
            return self.packed.count_all(stored.pread(0, self.nbytes))
        plan = self.packed.plan(box)
        return int(count_box(stored.pread(plan.offset, plan.nbytes), plan))
