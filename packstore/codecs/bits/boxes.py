"""Boxes of packed arrays: `PackedArray.plan` says which bytes hold a box, `unpack_box` turns those bytes into elements.

Elements lie in one of two ways. *Whole bytes along an axis*: the bytes are an array of their own, whose lines along the
packed axis each hold a line of elements. *A run of bits*: the elements in C order, so that a row may begin inside
a byte. The plans of the first are `packstore.codecs.bits.planes.PlanesPlan` for single bits and
`packstore.codecs.bits.rows.RowsPlan` for more of them, those of the second `packstore.codecs.bits.runs.RunsPlan`.

>>> from packstore.codecs.bits.layout import bit_layout
>>> mask = np.arange(200).reshape(10, 20) % 3 == 0
>>> packed = PackedArray((10, 20), bit_layout(np.dtype(bool)), bitorder="big")
>>> box = (slice(2, 5, 1), slice(1, 20, 6))
>>> plan = packed.plan(box)
>>> plan.offset, plan.nbytes
(5, 8)
>>> stored = np.packbits(mask)[5:13]
>>> bool((unpack_box(stored, plan) == mask[box]).all())
True
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from packstore.codecs.bits.counts import count_nonzero_packed
from packstore.codecs.bits.frame import WHAT, check_frame, check_padding_bits, decode_frame
from packstore.codecs.bits.kernels import BitOrder, Bytes, as_bytes, packed_nbytes
from packstore.codecs.bits.layout import BitLayout, PaddingEncoding, frame_nbytes
from packstore.codecs.bits.planes import PlanesPlan
from packstore.codecs.bits.rows import RowsPlan
from packstore.codecs.bits.runs import RunsPlan
from packstore.core.boxes import Box, box_shape, c_strides
from packstore.core.counts import Counts
from packstore.errors import CorruptDataError, message

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["BoxPlan", "PackedArray", "count_box", "plan_box", "unpack_box"]

# Twice as fast as the constructor of a NamedTuple.
_make = tuple.__new__


class BoxPlan(Protocol):
    """The bytes of a box, and how its elements lie in them."""

    @property
    def offset(self) -> int:
        """The first byte that holds an element of the box."""

    @property
    def nbytes(self) -> int:
        """Bytes from there to the last one that holds an element; 0 for an empty box."""

    @property
    def padding(self) -> int:
        """Padding bits at the end of that range, which are zero in what an encoder wrote."""

    @property
    def bitorder(self) -> BitOrder:
        """Which end of a byte comes first."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the box."""

    @property
    def extents(self) -> tuple[int, ...]:
        """As `shape`, but whole bytes along a packed axis."""

    @property
    def wanted_nbytes(self) -> int:
        """Bytes that hold elements of the box, without those between its rows."""

    @property
    def scratch_nbytes(self) -> int:
        """Memory that unpacking takes, the result included; not exact."""

    def unpack(self, data: bytes | Bytes) -> NDArray[Any]:
        """The elements of the box, possibly as a strided view; `data` is the range."""

    def counts_packed(self, axes: tuple[int, ...]) -> bool:
        """Whether `count_nonzero` along these axes looks at packed bytes, without unpacking more than their ends."""

    def count_nonzero(self, data: bytes | Bytes, axes: tuple[int, ...]) -> Counts:
        """Count the elements that are not zero along `axes`, in ascending order."""


class PackedArray:
    """Where the bits of an array's elements are.

    Parameters
    ----------
    shape
        Of the array.
    layout
        How many bits an element takes, and which.
    padding_encoding
        Whether a byte before or behind the elements says how many bits of the last byte are padding; those must be
        zeros. None: a raw file, of which padding bits are not checked.
    bitorder
        Which end of a byte comes first.
    axis
        The axis (never negative) along which the bits are packed, each line of it padded to whole bytes, as
        `numpy.packbits` does it; only with a `padding_encoding` of None. None: one run of all elements in C order.

    Attributes
    ----------
    nbytes
        Of the encoded array.
    bytes_axis
        The axis along which whole bytes run; None where rows may begin inside a byte.
    """

    __slots__ = (
        "_axes",
        "_axes_reversed",
        "_end",
        "_head",
        "_padding",
        "bitorder",
        "bytes_axis",
        "layout",
        "nbytes",
        "padding_encoding",
        "shape",
        "size",
    )

    def __init__(
        self,
        shape: tuple[int, ...],
        layout: BitLayout,
        padding_encoding: PaddingEncoding | None = "none",
        bitorder: BitOrder = "little",
        axis: int | None = None,
    ) -> None:
        self.shape = shape
        self.layout = layout
        self.padding_encoding = padding_encoding
        self.bitorder = bitorder
        self.size = math.prod(shape)
        bits = layout.element_bits
        self.bytes_axis = axis if shape else None
        if not layout.is_bool and axis == len(shape) - 1 and (axis == 0 or shape[axis] * bits % 8 == 0):
            # One run: no line needs padding, or there is only one.
            self.bytes_axis = None
        self._head = int(padding_encoding == "first_byte")
        self._padding = 0
        if self.bytes_axis is None:
            self._padding = 0 if padding_encoding is None else layout.padding(self.size)
            # The same bytes, where each row is whole ones, or where there is only one row.
            if layout.is_bool and shape and (len(shape) == 1 or shape[-1] % 8 == 0):
                self.bytes_axis = len(shape) - 1
        self._axes: tuple[tuple[int, bool], ...]
        if self.bytes_axis is None:
            self._axes = tuple([(stride, False) for stride in c_strides(shape, 1)])
            self.nbytes = frame_nbytes(layout, self.size, padding_encoding or "none")
        else:
            byte_shape = self.byte_shape
            strides = c_strides(byte_shape, 1)
            self._axes = tuple([(stride, i == self.bytes_axis) for i, stride in enumerate(strides)])
            self.nbytes = math.prod(byte_shape) + (padding_encoding in ("first_byte", "last_byte"))
        self._axes_reversed = self._axes[::-1]
        self._end = self.nbytes - (padding_encoding == "last_byte")

    @property
    def byte_shape(self) -> tuple[int, ...]:
        """Shape of the packed bytes as an array."""
        if self.bytes_axis is None:
            return (self.layout.nbytes(self.size),)
        bits = self.layout.element_bits
        return tuple([packed_nbytes(n, bits) if i == self.bytes_axis else n for i, n in enumerate(self.shape)])

    # --------------------------------------------------------------------------------------------------- whole arrays

    def decode(self, data: Bytes, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """All elements, from all bytes of a run of bits; see `packstore.codecs.bits.arrays.decode_array`."""
        return decode_frame(data, self.shape, self.layout, self.padding_encoding or "none", self.bitorder, out)

    def count_all(self, data: Bytes) -> int:
        """Count the elements that are not zero, from all bytes of a run of bits."""
        if not self.layout.is_bool:
            return int(np.count_nonzero(self.decode(data)))
        payload = check_frame(data, self.size, self.layout, self.padding_encoding or "none", self.bitorder)
        return count_nonzero_packed(payload, self.size, bitorder=self.bitorder)

    # ---------------------------------------------------------------------------------------------------------- boxes

    def plan(self, box: Box) -> BoxPlan:
        """Find the bytes that hold a box.

        Parameters
        ----------
        box
            One slice an axis, with ``0 <= start <= stop <= n`` and ``step >= 1``.

        Returns
        -------
        BoxPlan
            One covering range of bytes; `packstore.codecs.bits.large.read_bits` splits boxes whose rows lie far apart.
        """
        if self.bytes_axis is None:
            return self._plan_runs(box)
        if not self.layout.is_bool:
            return self._plan_rows(box)
        offset, span = self._head, 1
        lead = length = 0
        bit_step = 1
        sizes: list[int] = []
        strides: list[int] = []
        for s, (stride, is_packed) in zip(box, self._axes, strict=True):
            start, step = s.start, s.step
            n = s.stop - start
            if step != 1:
                n = -(-n // step)
            if n <= 0:
                return self._plan_nothing(box)
            if is_packed:
                length, bit_step, lead = n, step, start & 7
                start >>= 3
                # The byte of the last element, counted from that of the first.
                n = ((lead + (n - 1) * step) >> 3) + 1
                step = 1
            offset += start * stride
            if step != 1:
                stride *= step
            span += (n - 1) * stride
            sizes.append(n)
            strides.append(stride)
        padding = self._padding if self._padding and offset + span == self._end else 0
        fields = (offset, span, padding, self.bitorder, sizes, strides, self.bytes_axis, lead, bit_step, length)
        return _make(PlanesPlan, fields)

    def _plan_runs(self, box: Box) -> BoxPlan:
        first = beyond = 0
        run = 1
        runs: tuple[int, ...] = ()
        strides: tuple[int, ...] = ()
        shape: tuple[int, ...] = ()
        for s, (stride, _) in zip(reversed(box), self._axes_reversed, strict=True):
            start, step = s.start, s.step
            n = s.stop - start
            if step != 1:
                n = -(-n // step)
            if n <= 0:
                return self._plan_nothing(box)
            shape = (n, *shape)
            first += start * stride
            if n == 1:
                continue
            if step != 1:
                stride *= step
            beyond += (n - 1) * stride
            if not runs and stride == run:
                # Axes behind the last one that is cut are one run with it.
                run *= n
            else:
                runs = (n, *runs)
                strides = (stride, *strides)
        layout = self.layout
        bits = layout.element_bits
        begin, end = first * bits // 8, packed_nbytes(first + beyond + 1, bits)
        offset = begin + self._head
        padding = self._padding if self._padding and offset + end - begin == self._end else 0
        return _make(RunsPlan, (offset, end - begin, padding, self.bitorder, layout, shape, first, runs, strides, run))

    def _plan_rows(self, box: Box) -> BoxPlan:
        axis, bits = self.bytes_axis, self.layout.element_bits
        assert axis is not None
        shape = box_shape(box)
        if 0 in shape:
            return self._plan_nothing(box)
        along = box[axis]
        start = along.start * bits >> 3
        stop = packed_nbytes(along.start + (shape[axis] - 1) * along.step + 1, bits)
        bytes_box = (*box[:axis], slice(start, stop, 1), *box[axis + 1 :])
        sizes = box_shape(bytes_box)
        strides = [s.step * stride for s, (stride, _) in zip(bytes_box, self._axes, strict=True)]
        offset = sum([s.start * stride for s, (stride, _) in zip(bytes_box, self._axes, strict=True)])
        span = 1 + sum([(n - 1) * stride for n, stride in zip(sizes, strides, strict=True)])
        place = (sizes, strides, axis, along.start, along.step, shape[axis])
        return RowsPlan(offset, span, 0, self.bitorder, self.layout, *place)

    def _plan_nothing(self, box: Box) -> RunsPlan:
        return RunsPlan(self._head, 0, 0, self.bitorder, self.layout, box_shape(box), 0, (), (), 0)


def plan_box(
    shape: tuple[int, ...],
    box: Box,
    layout: BitLayout,
    padding_encoding: PaddingEncoding | None = "none",
    bitorder: BitOrder = "little",
    axis: int | None = None,
) -> BoxPlan:
    """Find the bytes that hold a box; parameters as `PackedArray` and `PackedArray.plan`."""
    return PackedArray(shape, layout, padding_encoding, bitorder, axis).plan(box)


def unpack_box(buf: Buffer | NDArray[Any], plan: BoxPlan) -> NDArray[Any]:
    """Unpack the bytes that a plan asks for.

    Parameters
    ----------
    buf
        The bytes ``plan.offset … plan.offset + plan.nbytes`` of the encoded array.

    Returns
    -------
    numpy.ndarray
        Of the box's shape. It may be a strided view of what was unpacked, or, where every bit of an element is
        stored, of `buf`.

    Raises
    ------
    CorruptDataError
        If there are fewer or more bytes, or padding bits are not zero.
    """
    data = buf if type(buf) is bytes else as_bytes(buf)
    if len(data) != plan.nbytes or plan.padding:
        _check(data, plan)
    return plan.unpack(data)


def count_box(buf: Buffer | NDArray[Any], plan: BoxPlan, axes: tuple[int, ...] | None = None) -> Counts:
    """Count the elements of a box that are not zero, along `axes` in ascending order; None: all axes.

    Raises
    ------
    CorruptDataError
        As `unpack_box`.
    """
    data = as_bytes(buf)
    _check(data, plan)
    return plan.count_nonzero(data, tuple(range(len(plan.shape))) if axes is None else axes)


def _check(data: bytes | Bytes, plan: BoxPlan) -> None:
    if len(data) != plan.nbytes:
        raise CorruptDataError(
            message(
                WHAT,
                expected=f"{plan.nbytes} bytes from offset {plan.offset} on",
                got=f"{len(data)}",
                hint="The chunk is truncated, or was written for another shape, data type or bit range",
            )
        )
    check_padding_bits(data, plan.padding, plan.bitorder)
