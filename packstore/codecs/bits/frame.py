"""The encoded form of the codec ``packbits``: packed elements, with their padding and its count, checked.

Elements in C order take a fixed number of bits each; zero bits fill the last byte; optionally one byte, before or
after, says how many those are. The functions here take layouts that are already checked;
`packstore.codecs.bits.arrays` has the ones that take data types and options.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from packstore.codecs.bits.kernels import BitOrder, Bytes, pack_bools, unpack_bools
from packstore.codecs.bits.layout import BitLayout, PaddingEncoding, frame_nbytes
from packstore.codecs.bits.words import pack_words, unpack_words
from packstore.errors import CorruptDataError, DtypeError, ShapeError, message

WHAT = "decoding packed bits"

# Elements unpacked at once on the way into memory that is not contiguous: small enough for the second-level cache.
_BLOCK_NBYTES = 1 << 20


def encode_flat(array: NDArray[Any], layout: BitLayout, padding_encoding: PaddingEncoding, bitorder: BitOrder) -> Bytes:
    """Pack an array; see `encode_array`."""
    count = array.size
    if layout.is_bool and padding_encoding == "none":
        return pack_bools(array, bitorder)
    frame = np.empty(frame_nbytes(layout, count, padding_encoding), np.uint8)
    payload = frame
    if padding_encoding == "first_byte":
        frame[0] = layout.padding(count)
        payload = frame[1:]
    elif padding_encoding == "last_byte":
        frame[-1] = layout.padding(count)
        payload = frame[:-1]
    if layout.is_bool:
        payload[...] = pack_bools(array, bitorder)
    else:
        flat = np.ascontiguousarray(array, dtype=layout.dtype.newbyteorder("=")).reshape(-1)
        pack_words(flat.view(layout.word), layout.nbits, payload, first_bit=layout.first_bit, bitorder=bitorder)
    return frame


def decode_frame(
    data: Bytes,
    shape: tuple[int, ...],
    layout: BitLayout,
    padding_encoding: PaddingEncoding,
    bitorder: BitOrder = "little",
    out: NDArray[Any] | None = None,
) -> NDArray[Any]:
    """Unpack a whole array; see `decode_array`."""
    count = math.prod(shape)
    payload = check_frame(data, count, layout, padding_encoding, bitorder)
    if out is not None:
        check_out(out, shape, layout)
        if out.flags.c_contiguous or not count:
            unpack_elements(payload, 0, count, layout, bitorder, out)
            return out
        _unpack_into(out, payload, layout, bitorder)
        return out
    return unpack_elements(payload, 0, count, layout, bitorder).reshape(shape)


def _unpack_into(out: NDArray[Any], payload: Bytes, layout: BitLayout, bitorder: BitOrder) -> None:
    """Fill an array that is not contiguous, through blocks that are."""
    row = math.prod(out.shape[1:])
    # Eight rows end on a whole byte, whatever the width.
    step = max(_BLOCK_NBYTES // (row * out.itemsize) // 8, 1) * 8
    for start in range(0, out.shape[0], step):
        block = out[start : start + step]
        part = payload[start * row * layout.element_bits // 8 :]
        block[...] = unpack_elements(part, 0, block.size, layout, bitorder).reshape(block.shape)


def check_out(out: NDArray[Any], shape: tuple[int, ...], layout: BitLayout) -> None:
    """Check a caller's output array."""
    if out.dtype != layout.dtype:
        raise DtypeError(message(f"{WHAT} into an array", expected=f"dtype {layout.dtype}", got=f"{out.dtype}"))
    if out.shape != shape:
        raise ShapeError(message(f"{WHAT} into an array", expected=f"shape {shape}", got=f"{out.shape}"))


def unpack_elements(
    payload: Bytes, start: int, count: int, layout: BitLayout, bitorder: BitOrder, out: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Unpack elements `start` to ``start + count``; `payload` begins at the byte that holds the first of their bits."""
    if layout.is_bool:
        return unpack_bools(payload, count, start=start, bitorder=bitorder, out=out)
    nwords = count * layout.components
    if out is not None:
        words = out.reshape(-1).view(layout.word)
    elif layout.is_plain and bitorder == "little":
        stored = payload[: layout.nbytes(count)].view(layout.dtype.newbyteorder("<"))
        return stored.astype(layout.dtype, copy=False)
    else:
        words = np.empty(nwords, layout.word)
    unpack_words(
        payload,
        layout.nbits,
        words,
        start=start * layout.components,
        first_bit=layout.first_bit,
        signed=layout.signed,
        bitorder=bitorder,
    )
    if layout.value_mask:
        np.bitwise_and(words, layout.value_mask, out=words)
    if layout.swapped:
        words.byteswap(inplace=True)
    return words.view(layout.dtype) if out is None else out


def check_frame(
    data: Bytes, count: int, layout: BitLayout, padding_encoding: PaddingEncoding, bitorder: BitOrder
) -> Bytes:
    """Check the length, the padding count and the padding bits; return the packed bits alone."""
    expected = frame_nbytes(layout, count, padding_encoding)
    if data.size != expected:
        hint = "The bytes are truncated, or were written for another shape, data type or bit range"
        if padding_encoding != "none" and layout.is_plain and data.size == expected - 1:
            hint = "The padding count is missing; some writers leave it out where all bits of a type are kept"
        raise CorruptDataError(
            message(
                WHAT,
                expected=f"{expected} bytes for {count} elements of {layout.element_bits} bits",
                got=f"{data.size}",
                hint=hint,
            )
        )
    payload = data
    if padding_encoding != "none":
        stored = stored_padding(data, padding_encoding)
        payload = data[1:] if padding_encoding == "first_byte" else data[:-1]
        padding = layout.padding(count)
        if stored != padding:
            raise CorruptDataError(
                message(
                    WHAT,
                    expected=f"a padding count of {padding} for {count} elements of {layout.element_bits} bits",
                    got=f"{stored}",
                    hint="The bytes were written for another shape or data type",
                )
            )
    check_padding_bits(payload, layout.padding(count), bitorder)
    return payload


def stored_padding(data: Bytes, padding_encoding: PaddingEncoding) -> int:
    """Read the padding count."""
    stored = int(data[0 if padding_encoding == "first_byte" else -1])
    if stored > 7:
        raise CorruptDataError(
            message(
                WHAT,
                expected=f"a padding count of at most 7 in the {padding_encoding.replace('_', ' ')}",
                got=f"{stored}",
                hint="The bytes are damaged, or were written with another padding_encoding",
            )
        )
    return stored


def check_padding_bits(payload: bytes | Bytes, padding: int, bitorder: BitOrder) -> None:
    """Check that the last `padding` bits are zero."""
    if padding == 0:
        return
    mask = (0xFF << (8 - padding)) & 0xFF if bitorder == "little" else (1 << padding) - 1
    last = int(payload[-1])
    if last & mask:
        raise CorruptDataError(
            message(
                WHAT,
                expected=f"zeros in the {padding} padding bits of the last byte",
                got=f"0x{last & mask:02x}",
                hint="The bytes are damaged, or have the other bit order",
            )
        )
