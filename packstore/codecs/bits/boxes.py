"""Whole arrays and boxes of arrays, packed: the functions that both codecs and the direct path share.

The encoded form is that of the registered Zarr v3 codec ``packbits``: elements in C order, a fixed number of bits
each, zero bits up to the next byte, and optionally one byte, before or after, that says how many those are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from packstore.codecs.bits.frame import (
    WHAT,
    check_frame,
    check_out,
    check_padding_bits,
    decode_frame,
    encode_flat,
    stored_padding,
    unpack_elements,
)
from packstore.codecs.bits.kernels import BitOrder, Bytes, as_bytes, group_size, packed_nbytes
from packstore.codecs.bits.layout import BitLayout, PaddingEncoding, bit_layout, check_config
from packstore.errors import CorruptDataError, SelectionError, message

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = [
    "BoxPlan",
    "check_frame",
    "check_padding_bits",
    "decode_array",
    "decode_box",
    "decode_frame",
    "encode_array",
    "encode_flat",
    "plan_box",
    "stored_padding",
    "unpack_box",
    "unpack_elements",
]


# ------------------------------------------------------------------------------------------------------------ encoding


def encode_array(
    array: NDArray[Any],
    *,
    padding_encoding: PaddingEncoding = "none",
    first_bit: int | None = None,
    last_bit: int | None = None,
    bitorder: BitOrder = "little",
) -> Bytes:
    """Pack an array.

    Parameters
    ----------
    array
        Any layout in memory; its elements are packed in C order.
    padding_encoding, first_bit, last_bit
        As in `PackBitsCodec`. Bits outside the range are dropped, as the format demands.
    bitorder
        ``"little"`` is the registered codec; ``"big"`` is what `numpy.packbits` does by default.

    Returns
    -------
    numpy.ndarray
        New uint8 array. A non-contiguous or byte-swapped input costs one copy.

    Raises
    ------
    DtypeError, CodecConfigError
        If the codec does not take the type or the configuration.

    Examples
    --------
    >>> encode_array(np.array([True, True, False, False, False, False, False, True, True])).tolist()
    [131, 1]
    """
    check_config(padding_encoding, first_bit, last_bit)
    return encode_flat(array, bit_layout(array.dtype, first_bit, last_bit), padding_encoding, bitorder)


# ------------------------------------------------------------------------------------------------------------ decoding


def decode_array(
    buf: Buffer | NDArray[Any],
    shape: Sequence[int],
    dtype: np.dtype[Any] | str | type,
    *,
    padding_encoding: PaddingEncoding = "none",
    first_bit: int | None = None,
    last_bit: int | None = None,
    bitorder: BitOrder = "little",
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Unpack a whole array.

    Parameters
    ----------
    buf
        The encoded bytes, all of them.
    shape, dtype
        Of the decoded array.
    padding_encoding, first_bit, last_bit
        As in `PackBitsCodec`.
    bitorder
        ``"little"`` is the registered codec; ``"big"`` is what `numpy.packbits` does by default.
    out
        Array of that shape and type to fill instead of a new one.

    Returns
    -------
    numpy.ndarray
        `out`, or an array in C order. If every bit is stored, in this machine's byte order, it is a view of `buf`,
        read-only if that is; a new array otherwise.

    Raises
    ------
    CorruptDataError
        If the length, the padding count or the padding bits are not what an encoder writes.
    DtypeError, CodecConfigError
        If the codec does not take the type or the configuration.
    ShapeError
        If `out` has another shape.

    Notes
    -----
    The length is checked before memory is taken. Releases the GIL in all heavy steps; safe to call from many threads.

    Examples
    --------
    >>> decode_array(bytes([131, 1]), (3, 3), "bool").astype(int).tolist()
    [[1, 1, 0], [0, 0, 0], [0, 1, 1]]
    """
    check_config(padding_encoding, first_bit, last_bit)
    layout = bit_layout(np.dtype(dtype), first_bit, last_bit)
    return decode_frame(as_bytes(buf), tuple(shape), layout, padding_encoding, bitorder, out)


# --------------------------------------------------------------------------------------------------------------- boxes


class BoxPlan(NamedTuple):
    """Which bytes a box needs, and what is in them.

    Attributes
    ----------
    offset, nbytes
        The byte range of the encoded array that covers the box.
    """

    offset: int
    nbytes: int
    layout: BitLayout
    bitorder: BitOrder
    box_shape: tuple[int, ...]
    first: int  # flat position of the box's first element
    runs: tuple[int, ...]  # extents of the box before its contiguous runs
    strides: tuple[int, ...]  # elements between neighbours along each of them
    run: int  # elements per contiguous run
    padding: int  # padding bits at the end of the range; 0 if it stops before the last byte


def plan_box(
    shape: tuple[int, ...],
    bounds: Sequence[tuple[int, int]],
    layout: BitLayout,
    padding_encoding: PaddingEncoding,
    bitorder: BitOrder = "little",
) -> BoxPlan:
    """Find the bytes that cover a box.

    Parameters
    ----------
    shape
        Of the whole array.
    bounds
        Half-open, non-empty range along each axis.
    layout, padding_encoding, bitorder
        How the array is packed.
    """
    # Axes after the last one that is cut merge with it into one contiguous run.
    axis = len(shape)
    run = stride = 1
    first = 0
    while axis:
        axis -= 1
        lo, hi = bounds[axis]
        first += lo * stride
        run *= hi - lo
        stride *= shape[axis]
        if hi - lo != shape[axis]:
            break
    runs: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    last = first + run
    while axis:
        axis -= 1
        lo, hi = bounds[axis]
        first += lo * stride
        last += (hi - 1) * stride
        if hi - lo > 1:
            runs = (hi - lo, *runs)
            strides = (stride, *strides)
        stride *= shape[axis]
    bits = layout.element_bits
    begin, end = first * bits // 8, packed_nbytes(last, bits)
    count = stride
    return BoxPlan(
        offset=begin + (padding_encoding == "first_byte"),
        nbytes=end - begin,
        layout=layout,
        bitorder=bitorder,
        box_shape=tuple([hi - lo for lo, hi in bounds]),
        first=first,
        runs=runs,
        strides=strides,
        run=run,
        padding=layout.padding(count) if end == layout.nbytes(count) else 0,
    )


def unpack_box(buf: Buffer | NDArray[Any], plan: BoxPlan) -> NDArray[Any]:
    """Unpack the bytes that a plan asked for; see `decode_box`."""
    data = as_bytes(buf)
    if data.size != plan.nbytes:
        raise CorruptDataError(
            message(
                WHAT,
                expected=f"{plan.nbytes} bytes from offset {plan.offset} on",
                got=f"{data.size}",
                hint="The chunk is truncated, or was written for another shape, data type or bit range",
            )
        )
    check_padding_bits(data, plan.padding, plan.bitorder)
    layout, bits = plan.layout, plan.layout.element_bits
    if not plan.runs:
        return unpack_elements(data, plan.first, plan.run, layout, plan.bitorder).reshape(plan.box_shape)
    if math.gcd(*plan.strides) * bits % 8 == 0:
        values = _unpack_aligned_runs(data, plan)
    else:
        # Runs that begin at different bits of a byte: everything between the first and the last is unpacked.
        span = sum((n - 1) * s for n, s in zip(plan.runs, plan.strides, strict=True)) + plan.run
        flat = unpack_elements(data, plan.first, span, layout, plan.bitorder)
        size = flat.itemsize
        strides = (*(s * size for s in plan.strides), size)
        values = np.ndarray((*plan.runs, plan.run), flat.dtype, buffer=flat, strides=strides)
    return values.reshape(plan.box_shape)


def _unpack_aligned_runs(data: Bytes, plan: BoxPlan) -> NDArray[Any]:
    """Runs that all begin at the same bit of a byte: only their own bytes are unpacked."""
    layout, bits = plan.layout, plan.layout.element_bits
    group = group_size(bits)
    lead = plan.first % group  # elements of the group that come before the run
    skip = lead * bits // 8  # their whole bytes, which were not read
    phase = plan.first * bits % 8
    width = packed_nbytes(phase + plan.run * bits, 1)
    byte_strides = [s * bits // 8 for s in plan.strides]
    rows: Bytes = np.ndarray((*plan.runs, width), np.uint8, buffer=data, strides=(*byte_strides, 1))
    if layout.is_bool:
        unpacked = np.unpackbits(rows, axis=-1, bitorder=plan.bitorder)
        return unpacked[..., lead : lead + plan.run].view(np.bool_)
    # One byte-aligned row of whole groups per run makes a single sequence.
    total = -(-(lead + plan.run) // group) * group
    padded = np.zeros((*plan.runs, total * bits // 8), np.uint8)
    padded[..., skip : skip + width] = rows
    flat = unpack_elements(padded.reshape(-1), 0, math.prod(plan.runs) * total, layout, plan.bitorder)
    return flat.reshape(*plan.runs, total)[..., lead : lead + plan.run]


def decode_box(
    read: Callable[[int, int], Buffer | NDArray[Any]],
    shape: Sequence[int],
    dtype: np.dtype[Any] | str | type,
    selection: Sequence[slice],
    *,
    padding_encoding: PaddingEncoding = "none",
    first_bit: int | None = None,
    last_bit: int | None = None,
    bitorder: BitOrder = "little",
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Unpack part of an array, reading only the bytes between its first and last element.

    Parameters
    ----------
    read
        ``read(offset, nbytes)`` gives that part of the encoded bytes. Called once, or never for an empty selection.
    shape, dtype
        Of the whole decoded array.
    selection
        One slice per axis, with any step but 0; numpy's rules for bounds.
    padding_encoding, first_bit, last_bit
        As in `PackBitsCodec`.
    bitorder
        ``"little"`` is the registered codec; ``"big"`` is what `numpy.packbits` does by default.
    out
        Array of the selection's shape, and of that type, to fill.

    Returns
    -------
    numpy.ndarray
        `out`, or an array of the selection's shape. It may be a strided view, or a view of what `read` gave.

    Raises
    ------
    CorruptDataError
        If `read` gives fewer bytes, or the last byte is read and its padding bits are not zero.
    SelectionError
        If the selection does not have one slice per axis.
    DtypeError, CodecConfigError
        If the codec does not take the type or the configuration.
    ShapeError
        If `out` has another shape.

    Notes
    -----
    Where rows are whole bytes, only the bytes of the wanted columns are unpacked. The padding count is not looked at.

    Examples
    --------
    >>> mask = np.eye(16, dtype=bool)
    >>> packed = encode_array(mask)
    >>> decode_box(lambda o, n: packed[o : o + n], (16, 16), "bool", (slice(2, 5), slice(3, 6))).astype(int).tolist()
    [[0, 0, 0], [1, 0, 0], [0, 1, 0]]
    """
    check_config(padding_encoding, first_bit, last_bit)
    shape = tuple(shape)
    layout = bit_layout(np.dtype(dtype), first_bit, last_bit)
    if len(selection) != len(shape):
        raise SelectionError(message("selecting", expected=f"{len(shape)} slices", got=f"{len(selection)}"))
    ranges = [range(*s.indices(n)) for s, n in zip(selection, shape, strict=True)]
    result_shape = tuple(len(r) for r in ranges)
    if out is not None:
        check_out(out, result_shape, layout)
    if 0 in result_shape:
        return np.empty(result_shape, layout.dtype) if out is None else out
    bounds = [(min(r[0], r[-1]), max(r[0], r[-1]) + 1) for r in ranges]
    plan = plan_box(shape, bounds, layout, padding_encoding, bitorder)
    values = unpack_box(read(plan.offset, plan.nbytes), plan)
    if any(r.step != 1 for r in ranges):
        # Within its own bounds, a backwards slice begins at the far end.
        values = values[tuple(slice(None, None, r.step) for r in ranges)]
    if out is None:
        return values
    out[...] = values
    return out
