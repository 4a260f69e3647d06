"""Raw files of packed bits: masks as `numpy.packbits` packs them, and elements of any other number of bits."""

from __future__ import annotations

import math
import operator
from typing import Any, SupportsIndex, cast

import numpy as np

from packstore.codecs.bits.kernels import RAW_BITORDER, packed_nbytes
from packstore.codecs.bits.layout import BitLayout, bit_layout
from packstore.errors import DtypeError, OptionError, ShapeError, message
from packstore.readers.raw.options import dtype_of, fitting, shape_of
from packstore.source import Source
from packstore.storage import ManifestArray, packed, packed_bits, regroup

__all__ = ["packed_array"]

WHAT = "opening packed bits in"


def packed_array(
    source: Source,
    chunks: Any,
    dtype: Any,
    shape: Any,
    offset: int,
    packed_axis: Any,
    bitorder: Any,
    bits: Any,
) -> ManifestArray:
    """Describe packed bits; parameters and errors as `packstore.readers.raw.read`."""
    order = bitorder
    if order is None:
        # Of masks numpy's order; of wider elements the one of cameras and genotypes: numpy packs none.
        order = "little" if bits is not None and bits != 1 else RAW_BITORDER
    if order not in ("big", "little"):
        raise OptionError(message("opening", source.name, expected="bitorder= big or little", got=repr(bitorder)))
    layout = _layout(source, dtype, bits)
    available = source.nbytes - offset
    if shape is None and layout.nbits < 8:
        raise OptionError(
            message(
                WHAT,
                source.name,
                expected=f"shape= of the unpacked {'mask' if layout.is_bool else 'elements'}",
                got="none",
                hint=f"The file holds {available} bytes, so at most {8 * available // layout.nbits} elements",
            )
        )
    dims = shape_of(source, shape)
    axis = _axis(source, packed_axis, dims)
    if -1 in dims:
        dims = _inferred(source, dims, axis, layout, available)
    found = packed_bits(dims, axis, order, layout)
    if found.nbytes != available:
        bytes_shape = (found.nbytes,) if axis is None else found.byte_shape
        raise ShapeError(
            message(
                f"opening packed bits of shape {dims} (bytes {bytes_shape}) in",
                source.name,
                expected=f"{found.nbytes} bytes",
                got=available,
                hint=_hint(source, dims, axis, layout, available),
            )
        )
    return ManifestArray(
        shape=dims,
        dtype=layout.dtype,
        chunk_shape=_chunk_shape(dims, layout, axis, chunks),
        storage=packed(dims, source, offset, axis, order, layout),
    )


def _layout(source: Source, dtype: Any, bits: Any) -> BitLayout:
    """How many bits of which type an element has."""
    if bits is None:
        if dtype is not None and dtype_of(source, dtype) != np.dtype(bool):
            hint = "Say with bits= how many bits an element takes"
            raise DtypeError(message(WHAT, source.name, expected="dtype bool", got=repr(dtype), hint=hint))
        return bit_layout(np.dtype(bool))
    if isinstance(bits, bool) or not isinstance(bits, (int, np.integer)) or bits < 1:
        raise OptionError(message("opening", source.name, expected="bits= of 1 or more", got=repr(bits)))
    wanted = np.dtype(bool) if dtype is None and bits == 1 else dtype_of(source, dtype)
    if wanted.kind not in "biu":
        raise DtypeError(
            message(f"opening elements of {bits} bits in", source.name, expected="bool or an integer", got=f"{wanted}")
        )
    most = 1 if wanted.kind == "b" else 8 * wanted.itemsize
    if bits > most:
        expected = f"bits= of at most {most}, as dtype {wanted} has"
        fits = next((n for n in (8, 16, 32, 64) if bits <= n), None)
        wider = None if fits is None else f'dtype="uint{fits}" holds them'
        raise OptionError(message("opening", source.name, expected=expected, got=bits, hint=wider))
    return bit_layout(wanted, 0, int(bits) - 1)


def _axis(source: Source, packed_axis: Any, dims: tuple[int, ...]) -> int | None:
    if packed_axis is None or (isinstance(packed_axis, str) and packed_axis == "flat"):
        return None
    try:
        axis = operator.index(cast("SupportsIndex", packed_axis))
    except TypeError:
        expected = 'an axis or "flat"'
        raise OptionError(message(WHAT, source.name, expected=expected, got=repr(packed_axis))) from None
    if not -len(dims) <= axis < len(dims):
        raise OptionError(message(WHAT, source.name, expected=f"packed_axis within shape {dims}", got=axis))
    return axis % len(dims)


def _inferred(
    source: Source, dims: tuple[int, ...], axis: int | None, layout: BitLayout, available: int
) -> tuple[int, ...]:
    """The shape with the length in the place of -1 that the file's size tells, where it tells one."""
    free = dims.index(-1)
    others = math.prod([layout.nbytes(n) if i == axis else n for i, n in enumerate(dims) if i != free])
    # Bits that one index more takes along the free axis: of a line of it, or of all that lies behind it.
    step = layout.nbits if axis == free else others * (layout.nbits if axis is None else 8)
    if 0 < step < 8:
        expected = "all lengths, as several fit the file" if axis is None else "the length of the packed axis"
        raise OptionError(message(WHAT, source.name, expected=expected, got=-1))
    nbytes = available // others if others and axis == free else available
    count = nbytes * 8 // step if others else -1
    found = tuple(count if n == -1 else n for n in dims)
    if count < 0 or packed_bits(found, axis, layout=layout).nbytes != available:
        expected = f"a multiple of {packed_nbytes(others * step if axis == free else step, 1)} bytes"
        expected = expected if others else "no zero beside -1"
        raise ShapeError(
            message(f"opening packed bits of shape {dims} in", source.name, expected=expected, got=available)
        )
    return found


def _hint(source: Source, dims: tuple[int, ...], axis: int | None, layout: BitLayout, available: int) -> str:
    """What would fit, as a sentence."""
    if not layout.is_bool and len(dims) > 1:
        for other, said in ((None, "without packed_axis="), (len(dims) - 1, "with packed_axis=-1")):
            if other != axis and packed_bits(dims, other, layout=layout).nbytes == available:
                return f"This shape would fit {said}"
    found = packed_bits(dims, axis, layout=layout)
    bytes_shape = (found.nbytes,) if axis is None else found.byte_shape
    hint = fitting(bytes_shape, np.dtype(np.uint8), available, source.nbytes - found.nbytes)
    return hint.replace("shape ", "bytes of shape ")


def _chunk_shape(shape: tuple[int, ...], layout: BitLayout, axis: int | None, chunks: Any) -> tuple[int, ...]:
    """Pieces of about 8 MB unpacked; a cut along the packed axis falls on whole bytes."""
    out = regroup(shape, layout.dtype.itemsize, "C", chunks)
    if (chunks is None or chunks == "auto") and axis is not None and out[axis] < shape[axis]:
        out = tuple(-(-n // 8) * 8 if i == axis else n for i, n in enumerate(out))
    return out
