"""The kinds of grids that files hold: one run of elements, one run of packed bits, a table of filtered chunks."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from packstore.codecs.bits.boxes import PackedArray
from packstore.codecs.bits.kernels import RAW_BITORDER, BitOrder
from packstore.codecs.bits.layout import BitLayout, bit_layout
from packstore.codecs.hdf5 import FilterSpec
from packstore.core.typing import U64
from packstore.source import ByteSpace
from packstore.storage.bits import PackedBits
from packstore.storage.chain import Chain, Convert
from packstore.storage.filters import FilterDecoder
from packstore.storage.grid import GridStorage
from packstore.storage.places import OneRange, TablePlaces
from packstore.storage.plain import PlainBytes

__all__ = ["chunked", "contiguous", "packed", "packed_bits"]


def contiguous(
    shape: tuple[int, ...],
    space: ByteSpace,
    offset: int,
    stored: np.dtype[Any],
    order: Literal["C", "F"] = "C",
    convert: Convert | None = None,
    step: int | None = None,
) -> GridStorage:
    """All elements in one run of bytes: element (i, j, …) lies at ``offset + index·itemsize`` in C or F order.

    Parameters
    ----------
    shape
        Of the array.
    space
        The bytes.
    offset
        Where the first element starts, in bytes.
    stored
        The element type as it lies there.
    order
        "C": last axis fastest; "F": first axis fastest.
    convert
        Turns an array of `stored` into one of the array's dtype (same shape); None where they are the same.
    step
        Bytes from one index of the first axis to the next, where other data lie between them (C order only).
    """
    axes = tuple(reversed(range(len(shape)))) if order == "F" and len(shape) > 1 else None
    serializer = PlainBytes(shape[::-1] if axes else shape, stored, stored, step)
    chain = Chain(shape, serializer, None, axes, convert)
    layout = "contiguous" if step is None else "records"
    return GridStorage(tuple([max(n, 1) for n in shape]), OneRange(space, offset, serializer.nbytes), chain, layout)


def chunked(
    space: ByteSpace,
    chunk_shape: tuple[int, ...],
    offsets: U64,
    nbytes: U64,
    filter_mask: Any,
    filters: tuple[FilterSpec, ...],
    stored: np.dtype[Any],
    convert: Convert | None = None,
) -> GridStorage:
    """A byte range of one space for each chunk, behind a pipeline of HDF5 filters.

    Parameters
    ----------
    chunk_shape
        Elements a stored chunk.
    space, offsets, nbytes, filter_mask
        Where the chunks lie: see `packstore.storage.places.TablePlaces`.
    filters
        The pipeline in the order of writing.
    stored
        The element type of the decoded bytes, C order.
    convert
        As for `contiguous`.
    """
    serializer = PlainBytes(chunk_shape, stored, stored)
    decoder = FilterDecoder(filters, serializer.nbytes) if filters else None
    places = TablePlaces(space, offsets, nbytes, filter_mask)
    return GridStorage(chunk_shape, places, Chain(chunk_shape, serializer, decoder, None, convert))


def packed_bits(
    shape: tuple[int, ...], axis: int | None, bitorder: BitOrder = RAW_BITORDER, layout: BitLayout | None = None
) -> PackedArray:
    """Where the bits of an array are in a raw file of them, as ``np.packbits(mask, axis=axis, bitorder=bitorder)``.

    Parameters
    ----------
    shape
        Of the array.
    axis
        The packed axis (never negative), each line along it padded to whole bytes; None: the flattened array.
    bitorder
        "big" or "little".
    layout
        How many bits an element takes; None: a mask.
    """
    return PackedArray(shape, layout or bit_layout(np.dtype(np.bool_)), None, bitorder, axis)


def packed(
    shape: tuple[int, ...],
    space: ByteSpace,
    offset: int,
    axis: int | None,
    bitorder: BitOrder = RAW_BITORDER,
    layout: BitLayout | None = None,
) -> GridStorage:
    """Packed bits in one run of bytes.

    Parameters
    ----------
    shape, axis, bitorder, layout
        As for `packed_bits`.
    space
        The bytes.
    offset
        Where the packed ones start.
    """
    bits = packed_bits(shape, axis, bitorder, layout)
    what = "bits" if bits.layout.is_bool else f"elements of {bits.layout.nbits} bits"
    label = f"packed {what} ({'flat' if axis is None else f'axis {axis}'}, {bitorder})"
    places = OneRange(space, offset, bits.nbytes)
    return GridStorage(
        tuple([max(n, 1) for n in shape]), places, Chain(shape, PackedBits(bits, (label,))), "packed bits"
    )
