"""The one parser of numpy's indexing: a key and a shape go in, the selection on each axis comes out.

It knows every key that numpy takes: ints, slices with any step, Ellipsis, newaxis, integer and bool arrays, and
mixtures of them. `packstore.core.box_selection` turns a selection into a box.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from types import EllipsisType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from packstore.errors import SelectionError, message

__all__ = ["Indices", "Item", "Resolved", "Selection", "as_slice", "parse", "place", "resolve"]

Indices = NDArray[np.intp]
# A bool stands for a 0-d bool index, which adds a dimension and selects along no axis.
Value = int | range | Indices | EllipsisType | bool | None
# An axis, or -1 for none, and the selection on it.
Resolved = tuple[int, Value]
Entry = int | slice | NDArray[Any] | EllipsisType | bool | None


@dataclass(slots=True)
class Item:
    """One position of a key: its axis, the selection on the axis, its dimension in the result; -1 is none."""

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
        return tuple(replacement if item.axis == axis else _as_entry(item.value) for item in self.items)

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


def _as_entry(value: Value) -> Any:
    return as_slice(value) if isinstance(value, range) else value


def parse(key: Any, shape: tuple[int, ...], path: object = None) -> Selection:
    """Resolve `key` against `shape` as numpy does.

    Parameters
    ----------
    key
        Any index that numpy takes for an array of `shape`, names of fields excepted.
    shape
        Of the array.
    path
        The file that errors name.

    Raises
    ------
    SelectionError
        Too many indices, more than one Ellipsis, an index out of bounds, index arrays that do not fit, or a key that
        numpy does not take either.

    Examples
    --------
    >>> selection = parse((3, slice(None, None, -2)), (5, 6))
    >>> selection.shape, [item.value for item in selection.items]
    ((3,), [3, range(5, -1, -2)])
    """
    resolved, ellipsis, _ = resolve(key if isinstance(key, tuple) else (key,), shape, path)
    return place(resolved, ellipsis, path)


def resolve(keys: tuple[Any, ...], shape: tuple[int, ...], path: object) -> tuple[list[Resolved], bool, bool]:
    """The selection of each position of a key; whether an Ellipsis is in the key; whether index arrays or bools are."""
    entries, used, ellipses = _entries(keys, path)
    ndim = len(shape)
    if used > ndim:
        raise SelectionError(message("indexing", path, expected=f"at most {ndim} indices", got=used))
    if ellipses > 1:
        raise SelectionError(message("indexing", path, expected="at most one Ellipsis", got=ellipses))
    resolved: list[Resolved] = []
    axis = 0
    fancy = False
    for entry in entries:
        if type(entry) is slice:
            resolved.append((axis, _range(entry, shape[axis], path)))
            axis += 1
        elif type(entry) is int:
            resolved.append((axis, _bounded(entry, axis, shape[axis], path)))
            axis += 1
        elif entry is Ellipsis:
            # An Ellipsis of no axes still separates index arrays, so it stays in the key.
            rest = range(axis, axis + ndim - used)
            resolved += [(i, range(shape[i])) for i in rest] or [(-1, Ellipsis)]
            axis += len(rest)
        elif isinstance(entry, np.ndarray):
            found = _index_arrays(entry, axis, shape, path)
            resolved += [(axis + i, indices) for i, indices in enumerate(found)]
            axis += len(found)
            fancy = True
        else:
            resolved.append((-1, entry))
            fancy = fancy or entry is not None
    for i in range(axis, ndim):
        resolved.append((i, range(shape[i])))
    return resolved, ellipses > 0, fancy


def _entries(keys: tuple[Any, ...], path: object) -> tuple[list[Entry], int, int]:
    """The entries of a key as plain types, how many axes they select on, and how many Ellipses are among them."""
    entries: list[Entry] = []
    used = ellipses = 0
    for k in keys:
        kind = type(k)
        if kind is int or kind is slice:
            used += 1
            entries.append(k)
        elif k is None:
            entries.append(k)
        elif k is Ellipsis:
            ellipses += 1
            entries.append(k)
        else:
            entry = _plain_entry(k, path)
            if not isinstance(entry, bool):
                used += entry.ndim if isinstance(entry, np.ndarray) and entry.dtype == np.bool_ else 1
            entries.append(entry)
    return entries, used, ellipses


def _plain_entry(k: Any, path: object) -> int | bool | NDArray[Any]:
    """An int, a bool or an index array from any object that numpy takes for one."""
    if isinstance(k, (bool, np.bool_)):
        return bool(k)
    if not isinstance(k, np.ndarray):
        try:
            return int(operator.index(k))
        except TypeError:
            pass
    if isinstance(k, (str, bytes)):
        raise SelectionError(message("indexing", path, expected="ints, slices or arrays", got=repr(k)))
    try:
        array = np.asarray(k)
    except ValueError as error:
        raise SelectionError(message("indexing", path, expected="ints, slices or arrays", got=error)) from None
    if array.size == 0 and not isinstance(k, np.ndarray) and not hasattr(k, "dtype"):
        array = array.astype(np.intp)
    if array.dtype == np.bool_:
        return array if array.ndim else bool(array)
    if array.dtype.kind not in "iu":
        got = f"{type(k).__name__} of {array.dtype}"
        raise SelectionError(message("indexing", path, expected="ints, slices, integer or bool arrays", got=got))
    return array if array.ndim else int(array)


def _range(entry: slice, length: int, path: object) -> range:
    try:
        return range(*entry.indices(length))
    except (TypeError, ValueError) as error:
        raise SelectionError(message("indexing", path, expected="integer slice bounds", got=error)) from None


def _bounded(index: int, axis: int, length: int, path: object) -> int:
    if -length <= index < length:
        return index + length if index < 0 else index
    raise _out_of_bounds(index, axis, length, path)


def _index_arrays(entry: NDArray[Any], axis: int, shape: tuple[int, ...], path: object) -> Sequence[Indices]:
    """An index array for each axis that `entry` selects on, from `axis` on; none negative."""
    if entry.dtype == np.bool_:
        covered = shape[axis : axis + entry.ndim]
        if entry.shape != covered:
            expected = f"a bool index of shape {covered}"
            raise SelectionError(message("indexing", path, expected=expected, got=entry.shape))
        return entry.nonzero()
    length = shape[axis]
    indices = entry.astype(np.intp)
    if entry.size:
        low, high = int(entry.min()), int(entry.max())
        if low < -length or high >= length:
            raise _out_of_bounds(high if high >= length else low, axis, length, path)
        if low < 0:
            indices[indices < 0] += length
    return (indices,)


def _out_of_bounds(index: int, axis: int, length: int, path: object) -> SelectionError:
    expected = f"an index within [{-length}, {length}) on axis {axis}"
    return SelectionError(message("indexing", path, expected=expected, got=index))


def place(resolved: list[Resolved], ellipsis: bool, path: object) -> Selection:
    """Give every item its dimension in the result, by numpy's rule for index arrays."""
    items = [Item(axis, value) for axis, value in resolved]
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
    # Index arrays (ints count) side by side stay where they are; apart, their dimensions come first.
    at = sum(item.dim >= 0 for item in items[:first]) if last - first + 1 == len(advanced) else 0
    for item in items:
        if item.dim >= at:
            item.dim += len(common)
    return Selection(items, (*basic[:at], *common, *basic[at:]), True, len(basic) - at, False)


def _broadcast(shapes: Sequence[tuple[int, ...]], path: object) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        got = " and ".join(str(shape) for shape in shapes)
        raise SelectionError(message("indexing", path, expected="index arrays that broadcast", got=got)) from None
