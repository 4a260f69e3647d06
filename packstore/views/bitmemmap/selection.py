"""numpy's indexing rules: per axis a key becomes an integer, a range or an index array with a place in the result."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from packstore.errors import SelectionError, message

__all__ = ["Item", "Selection", "parse"]

Indices = NDArray[np.intp]
# A bool stands for a 0-d bool index, which adds a dimension and selects along none.
Value = int | range | Indices | EllipsisType | bool | None


@dataclass(slots=True)
class Item:
    """One position of the key: the axis it selects on, what it selects, its dimension in the result; -1 is none."""

    axis: int
    value: Value
    dim: int = -1


@dataclass(slots=True)
class Selection:
    """A key, checked and resolved against a shape.

    Parameters
    ----------
    items
        In the order of the key, every axis named once.
    shape
        Of the result.
    fancy
        Whether index arrays take part.
    fancy_after
        Then the number of dimensions of the result behind those of the index arrays.
    scalar
        Whether numpy would return a scalar.
    """

    items: list[Item]
    shape: tuple[int, ...]
    fancy: bool
    fancy_after: int
    scalar: bool

    def on(self, axis: int) -> Item:
        """The item that selects on `axis`."""
        return next(item for item in self.items if item.axis == axis)

    def key(self, axis: int, replacement: int | slice | Indices) -> tuple[Any, ...]:
        """The key for numpy, with another entry for `axis`."""
        return tuple(replacement if item.axis == axis else _entry(item.value) for item in self.items)

    def fit(self, indices: NDArray[Any]) -> NDArray[Any]:
        """Reshape something of an index array's shape so that it broadcasts against the result."""
        return indices.reshape(indices.shape + (1,) * self.fancy_after)

    def grid(self, item: Item) -> Indices:
        """The indices `item` selects, shaped to broadcast against the result."""
        ndim = len(self.shape)
        value = item.value
        if isinstance(value, range):
            steps = np.arange(value.start, value.stop, value.step, dtype=np.intp)
            return steps.reshape((1,) * item.dim + (-1,) + (1,) * (ndim - item.dim - 1))
        if isinstance(value, np.ndarray):
            fitted: Indices = self.fit(value)
            return fitted.reshape((1,) * (ndim - fitted.ndim) + fitted.shape)
        assert isinstance(value, int)
        return np.full((1,) * ndim, value, np.intp)


def as_slice(steps: range) -> slice:
    """The slice that selects `steps`."""
    stop = steps.stop if steps.step > 0 or steps.stop >= 0 else None
    return slice(steps.start, stop, steps.step)


def _entry(value: Value) -> Any:
    return as_slice(value) if isinstance(value, range) else value


def parse(key: object, shape: tuple[int, ...], path: str) -> Selection:
    """Resolve `key` against `shape` as numpy does.

    Raises
    ------
    SelectionError
        For an index out of bounds, too many indices, or a key that numpy does not take either.
    """
    entries = [_normalise(entry, path) for entry in (key if isinstance(key, tuple) else (key,))]
    used = sum(_axes(entry) for entry in entries)
    if used > len(shape):
        raise SelectionError(message("indexing", path, expected=f"at most {len(shape)} indices", got=used))
    ellipses = sum(entry is Ellipsis for entry in entries)
    if ellipses > 1:
        raise SelectionError(message("indexing", path, expected="at most one ellipsis", got=ellipses))
    items: list[Item] = []
    axis = 0
    for entry in entries:
        if entry is Ellipsis:
            # An ellipsis of no axes still separates index arrays, so it stays in the key.
            missing = len(shape) - used
            items += [Item(axis + i, range(shape[axis + i])) for i in range(missing)] or [Item(-1, Ellipsis)]
            axis += missing
        elif isinstance(entry, slice):
            items.append(Item(axis, _range(entry, shape[axis], path)))
            axis += 1
        elif entry is None or isinstance(entry, bool):
            items.append(Item(-1, entry))
        elif isinstance(entry, int):
            items.append(Item(axis, _bounded(entry, axis, shape[axis], path)))
            axis += 1
        elif entry.dtype == np.bool_:
            covered = shape[axis : axis + entry.ndim]
            if entry.shape != covered:
                raise SelectionError(
                    message("indexing", path, expected=f"a bool index of shape {covered}", got=entry.shape)
                )
            for indices in entry.nonzero():
                items.append(Item(axis, indices))
                axis += 1
        else:
            items.append(Item(axis, _bounded_array(entry, axis, shape[axis], path)))
            axis += 1
    items += [Item(i, range(shape[i])) for i in range(axis, len(shape))]
    return _place(items, ellipses > 0, path)


def _normalise(entry: Any, path: str) -> slice | int | bool | NDArray[Any] | EllipsisType | None:
    kind = type(entry)
    if kind is slice or kind is int or entry is None or entry is Ellipsis:
        plain: slice | int | EllipsisType | None = entry
        return plain
    if isinstance(entry, (bool, np.bool_)):
        return bool(entry)
    if not isinstance(entry, np.ndarray):
        try:
            return operator.index(entry)
        except TypeError:
            pass
    if isinstance(entry, (str, bytes)):
        raise SelectionError(message("indexing", path, expected="integers, slices or arrays", got=repr(entry)))
    array = np.asarray(entry)
    if array.size == 0 and not isinstance(entry, np.ndarray) and not hasattr(entry, "dtype"):
        array = array.astype(np.intp)
    if array.dtype == np.bool_:
        return array if array.ndim else bool(array)
    if array.dtype.kind not in "iu":
        got = f"{kind.__name__} of {array.dtype}"
        raise SelectionError(message("indexing", path, expected="integers, slices, integer or bool arrays", got=got))
    return array if array.ndim else int(array)


def _axes(entry: object) -> int:
    if entry is None or entry is Ellipsis or isinstance(entry, bool):
        return 0
    return entry.ndim if isinstance(entry, np.ndarray) and entry.dtype == np.bool_ else 1


def _range(entry: slice, length: int, path: str) -> range:
    try:
        return range(*entry.indices(length))
    except (TypeError, ValueError) as error:
        raise SelectionError(
            message("indexing", path, expected="a slice of integers", got=entry, hint=str(error))
        ) from error


def _bounded(index: int, axis: int, length: int, path: str) -> int:
    if -length <= index < length:
        return index + length if index < 0 else index
    raise _out_of_bounds(index, axis, length, path)


def _bounded_array(indices: NDArray[Any], axis: int, length: int, path: str) -> Indices:
    if indices.size:
        low, high = int(indices.min()), int(indices.max())
        if low < -length or high >= length:
            raise _out_of_bounds(high if high >= length else low, axis, length, path)
        indices = indices.astype(np.intp)
        if low < 0:
            indices[indices < 0] += length
        return indices
    return indices.astype(np.intp)


def _out_of_bounds(index: int, axis: int, length: int, path: str) -> SelectionError:
    expected = f"an index from {-length} to {length - 1} on axis {axis}" if length else f"no index on empty axis {axis}"
    return SelectionError(message("indexing", path, expected=expected, got=index))


def _place(items: list[Item], ellipsis: bool, path: str) -> Selection:
    """Give every item its dimension in the result, by numpy's rule for index arrays."""
    arrays: list[tuple[int, ...]] = []
    advanced: list[int] = []
    basic: list[int] = []
    for position, item in enumerate(items):
        value = item.value
        if isinstance(value, bool):
            arrays.append((int(value),))
            advanced.append(position)
        elif isinstance(value, np.ndarray):
            arrays.append(value.shape)
            advanced.append(position)
        elif isinstance(value, range) or value is None:
            item.dim = len(basic)
            basic.append(1 if value is None else len(value))
        elif value is not Ellipsis:
            advanced.append(position)
    if not arrays:
        shape = tuple(basic)
        return Selection(items, shape, False, 0, not shape and not ellipsis)
    common = _broadcast(arrays, path)
    first, last = advanced[0], advanced[-1]
    # Index arrays (integers count) side by side stay where they are; apart, their dimensions come first.
    at = sum(item.dim >= 0 for item in items[:first]) if last - first + 1 == len(advanced) else 0
    for item in items:
        if item.dim >= at:
            item.dim += len(common)
    return Selection(items, (*basic[:at], *common, *basic[at:]), True, len(basic) - at, False)


def _broadcast(shapes: Sequence[tuple[int, ...]], path: str) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError as error:
        got = " and ".join(str(shape) for shape in shapes)
        raise SelectionError(message("indexing", path, expected="index arrays that broadcast", got=got)) from error
