"""Reductions and logic of a bit map, on its packed bytes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from packstore.codecs.bits.kernels import Bytes
from packstore.errors import DtypeError, OptionError, ShapeError, message
from packstore.views.bitmemmap import whole
from packstore.views.bitmemmap.arguments import normal_axis
from packstore.views.bitmemmap.geometry import Bools, Geometry
from packstore.views.bitmemmap.storage import Mapping

__all__ = ["BitLogic"]

_BOOL = np.dtype(np.bool_)


class BitLogic(ABC):
    """The part of `BitMemmap` that looks at all bits."""

    _geometry: Geometry
    _mapping: Mapping

    @abstractmethod
    def __getitem__(self, key: Any) -> Any: ...

    def count_nonzero(self, axis: int | tuple[int, ...] | None = None, *, keepdims: bool = False) -> Any:
        """Number of True elements: an int, or an array of counts along `axis`, as `numpy.count_nonzero`.

        Parameters
        ----------
        axis
            One or more axes; None for all.
        keepdims
            Keep them as dimensions of length 1.

        Notes
        -----
        By popcount, without unpacking, unless the packed axis stays.
        """
        packed = self._mapping.read()
        axes = self._axes(axis)
        counts = whole.count(packed, self._geometry, axes)
        if keepdims:
            return np.expand_dims(counts, axes)
        return int(counts) if axis is None else counts[()]

    def any(self, axis: int | tuple[int, ...] | None = None, out: Any = None, keepdims: bool = False) -> Any:
        """Whether any element (along `axis`) is True; over all axes it stops at the first True block."""
        return self._logic(axis, out, keepdims, conjunction=False)

    def all(self, axis: int | tuple[int, ...] | None = None, out: Any = None, keepdims: bool = False) -> Any:
        """Whether all elements (along `axis`) are True; over all axes it stops at the first False block."""
        return self._logic(axis, out, keepdims, conjunction=True)

    def _logic(self, axis: int | tuple[int, ...] | None, out: Any, keepdims: bool, conjunction: bool) -> Any:
        packed = self._mapping.read()
        axes = self._axes(axis)
        result: Any
        if self._whole(axes):
            found = (whole.every if conjunction else whole.some)(packed, self._geometry)
            result = np.full((1,) * len(axes), found)
        elif self._geometry.packed_axis is None:
            test = np.all if conjunction else np.any
            result = self._by_rows(axes, test, test)
        else:
            result = whole.logic_along(packed, self._geometry, axes, conjunction)
        if not keepdims and result.ndim:
            result = result.squeeze(axes)
        if out is None:
            return result[()]
        out[...] = result
        return out

    def _by_rows(self, axes: tuple[int, ...], reduce: Callable[..., Any], join: Callable[..., Any]) -> NDArray[Any]:
        """Reduce rows that do not start on whole bytes: unpacked, a block at a time."""
        shape = self._geometry.shape
        rows = max(1, (1 << 23) // max(1, math.prod(shape[1:])))
        parts = [
            reduce(self[start : start + rows], axis=axes, keepdims=True) for start in range(0, max(1, shape[0]), rows)
        ]
        joined: NDArray[Any] = np.concatenate(parts, axis=0)
        return np.asarray(join(joined, axis=0, keepdims=True)) if 0 in axes else joined

    def _axes(self, axis: int | tuple[int, ...] | None) -> tuple[int, ...]:
        if axis is None:
            return tuple(range(len(self._geometry.shape)))
        axes = tuple(
            normal_axis(self._mapping.path, a, len(self._geometry.shape))
            for a in (axis if isinstance(axis, tuple) else (axis,))
        )
        if len(set(axes)) != len(axes):
            raise OptionError(message("reducing", self._mapping.path, expected="each axis once", got=axis))
        return cast(tuple[int, ...], axes)

    def _whole(self, axes: tuple[int, ...]) -> bool:
        return len(axes) == len(self._geometry.shape)

    def invert(self) -> Self:
        """Flip every element in place; returns the map itself. ``~m`` gives an ndarray instead."""
        whole.invert(self._mapping.write(), self._geometry, self._mapping.lock)
        return self

    def _combine(self, other: Any, operation: Callable[..., Bytes]) -> Self:
        packed = self._mapping.write()
        lock = self._mapping.lock
        if isinstance(other, BitLogic) and other._geometry == self._geometry:
            whole.combine(packed, self._geometry, other._mapping.read(), operation, lock)
            return self
        aligned = isinstance(other, BitLogic) and other._geometry.shape == self._geometry.shape
        values = other if aligned else np.asarray(other)
        path = self._mapping.path
        if values.dtype != _BOOL:
            raise DtypeError(message("combining bits of", path, expected="bool values", got=values.dtype))
        if not aligned:
            try:
                values = np.broadcast_to(values, self._geometry.shape)
            except ValueError as error:
                expected = f"values that broadcast to {self._geometry.shape}"
                raise ShapeError(message("combining bits of", path, expected=expected, got=values.shape)) from error
        if self._geometry.packed_axis is None:
            flat = (np.asarray(values) if aligned else values).flat
            whole.combine(packed, self._geometry, lambda block: flat[block], operation, lock)
        else:
            whole.combine(packed, self._geometry, lambda block: values[block], operation, lock)
        return self

    def __iand__(self, other: Any) -> Self:
        return self._combine(other, np.bitwise_and)

    def __ior__(self, other: Any) -> Self:
        return self._combine(other, np.bitwise_or)

    def __ixor__(self, other: Any) -> Self:
        return self._combine(other, np.bitwise_xor)

    # Out of place the result is an ordinary array: there is no file to put it in.
    def __and__(self, other: Any) -> Any:
        return np.asarray(self) & np.asarray(other)

    def __or__(self, other: Any) -> Any:
        return np.asarray(self) | np.asarray(other)

    def __xor__(self, other: Any) -> Any:
        return np.asarray(self) ^ np.asarray(other)

    __rand__ = __and__
    __ror__ = __or__
    __rxor__ = __xor__

    def __invert__(self) -> Bools:
        bits: Bools = np.asarray(self[...])
        return np.logical_not(bits, out=bits)
