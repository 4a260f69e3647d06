"""What callers pass, checked and brought to one form."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, SupportsIndex

import numpy as np

from packstore.errors import OptionError, ShapeError, message
from packstore.views.bitmemmap.geometry import Bools
from packstore.views.bitmemmap.storage import Mode

__all__ = ["as_bool", "extents_of", "normal_axis"]

_BOOL = np.dtype(np.bool_)


def as_bool(value: Any) -> Bools:
    """`value` as bools, cast as numpy does on assignment."""
    array = np.asarray(value)
    if array.dtype == _BOOL:
        return array
    bits = np.empty(array.shape, np.bool_)
    # numpy's own rule of assignment: what is not zero is True.
    bits[...] = array
    return bits


def normal_axis(path: str, axis: int | None, ndim: int) -> int | None:
    """`axis`, not negative, or None."""
    if axis is None:
        return None
    try:
        number = operator.index(axis)
    except TypeError as error:
        raise OptionError(message("using", path, expected="an integer axis or None", got=repr(axis))) from error
    # numpy.packbits takes a 0-d array for a 1-d one.
    extent = max(ndim, 1)
    if not -extent <= number < extent:
        raise OptionError(message("using", path, expected=f"an axis from {-extent} to {extent - 1}", got=number))
    return number % extent


def extents_of(
    path: str, mode: Mode, shape: SupportsIndex | Sequence[SupportsIndex] | None, offset: int, size: int
) -> tuple[int, ...]:
    """The shape asked for, or that of all bits of a file of `size` bytes."""
    if shape is None:
        if mode == "w+":
            raise OptionError(message("creating", path, expected="a shape", got=None, hint="Pass shape="))
        if offset > size:
            raise ShapeError(message("opening", path, expected=f"at least {offset} bytes (the offset)", got=f"{size}"))
        return ((size - offset) * 8,)
    try:
        extents = tuple(operator.index(n) for n in (shape if isinstance(shape, Sequence) else (shape,)))
    except TypeError as error:
        raise ShapeError(message("opening", path, expected="a shape of integers", got=repr(shape))) from error
    if any(n < 0 for n in extents):
        raise ShapeError(message("opening", path, expected="extents of at least 0", got=extents))
    return extents
