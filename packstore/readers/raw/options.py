"""What callers say of a raw file: options go in, a dtype and a shape come out, or a hint of what would fit."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from packstore.errors import OptionError, message
from packstore.readers.npy.header import as_dtype
from packstore.source import Source

__all__ = ["dtype_of", "fitting", "shape_of"]


def dtype_of(source: Source, dtype: Any) -> np.dtype[Any]:
    """The dtype that the caller names."""
    if dtype is None:
        raise OptionError(message("opening", source.name, expected="dtype= (raw files have no header)", got="none"))
    return as_dtype(dtype, source.name)


def shape_of(source: Source, shape: Any) -> tuple[int, ...]:
    """The shape that the caller names, with at most one -1."""
    if shape is None:
        return (-1,)
    try:
        if isinstance(shape, (bool, str)):
            raise TypeError
        dims = (operator.index(shape),) if hasattr(shape, "__index__") else tuple(operator.index(n) for n in shape)
    except TypeError:
        raise OptionError(message("opening", source.name, expected="shape= of integers", got=repr(shape))) from None
    if (
        any(n < -1 for n in dims)
        or dims.count(-1) > 1
        or len(dims) > 64
        or math.prod(n for n in dims if n > 0) >= 2**63
    ):
        raise OptionError(
            message("opening", source.name, expected="non-negative lengths (one may be -1)", got=repr(shape))
        )
    return dims


def fitting(shape: tuple[int, ...], dtype: np.dtype[Any], available: int, spare: int) -> str:
    """What would fit, as a sentence."""
    fits: list[str] = []
    order = [0, len(shape) - 1] if len(shape) > 1 else list(range(len(shape)))
    for axis in order:
        rest = math.prod(n for i, n in enumerate(shape) if i != axis) * dtype.itemsize
        if rest and available and available % rest == 0:
            candidate = (*shape[:axis], available // rest, *shape[axis + 1 :])
            text = f"shape {candidate} would fit"
            if text not in fits:
                fits.append(text)
    count = math.prod(shape)
    if count and available % count == 0 and available // count in (1, 2, 4, 8, 16) and dtype.kind in "biufc":
        fits.append(f"a dtype of {available // count} bytes would fit shape {shape}")
    if not fits and available % dtype.itemsize == 0:
        fits.append(f"shape ({available // dtype.itemsize},) would fit")
    if 0 < spare <= 65536 or (spare > 0 and not fits):
        fits.append(f"offset={spare} would fit, if that is a header")
    return "; ".join(fits) if fits else f"No shape of {dtype} fits: the bytes are no multiple of {dtype.itemsize}"
