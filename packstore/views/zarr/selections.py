"""Selections that are no plain slicing: a key goes in, the fields that it names and the axis that it picks along."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, cast

import numpy as np

from packstore.core.selection import Resolved, as_slice
from packstore.errors import SelectionError, message

__all__ = ["AlongAxis", "along_axis", "coordinates", "split_fields", "take_fields"]


def split_fields(key: Any) -> tuple[str | list[str] | None, Any]:
    """The fields that a key names, as a str or a list of them, and the rest of the key; None: it names none.

    Examples
    --------
    >>> split_fields(("a", slice(2))), split_fields(["a", "b"]), split_fields([0, 1])
    (('a', (slice(None, 2, None),)), (['a', 'b'], ()), (None, [0, 1]))
    """
    if not isinstance(key, tuple):
        return (key, ()) if _names_fields(key) else (None, key)
    named = [k for k in key if _names_fields(k)]
    if not named:
        return None, key
    rest = tuple([k for k in key if not _names_fields(k)])
    if len(named) == 1:
        return named[0], rest
    # As h5py has it: several names are as good as a list of them.
    return [name for k in named for name in ([k] if isinstance(k, str) else k)], rest


def _names_fields(key: Any) -> bool:
    return isinstance(key, str) or (isinstance(key, list) and bool(key) and all(isinstance(k, str) for k in key))


def take_fields(part: Any, fields: str | list[str], path: object) -> Any:
    """The named fields of structured elements, without what lies between them.

    Raises
    ------
    SelectionError
        The elements have no such field.
    """
    names = part.dtype.names
    wanted = [fields] if isinstance(fields, str) else fields
    for name in wanted:
        if names is None or name not in names:
            expected = "no field, as there are none" if names is None else f"one of {', '.join(map(repr, names))}"
            raise SelectionError(message("indexing", path, expected=expected, got=repr(name)))
    found = np.asarray(part)[fields]
    if not isinstance(fields, str):
        packed = np.dtype([(name, part.dtype.fields[name][0]) for name in fields])
        found = found.astype(packed)
    return found if isinstance(part, np.ndarray) else found[()]


# Bytes that are read for nothing without a thought, and how many times as many elements as are wanted may be read.
SMALL_NBYTES, MAX_WASTE = 16 << 20, 4


class AlongAxis(NamedTuple):
    """A selection of indices along one axis, and of a box along the others, each axis by itself.

    Attributes
    ----------
    key
        The selection, an entry for each axis: the indices, and slices, of length 1 for an int.
    after
        What is left to select of the result: it drops the axes of ints.
    bounds
        How many indices lie between the first and the last of each axis.
    counts
        How many are selected along it.
    """

    key: tuple[Any, ...]
    after: tuple[Any, ...]
    bounds: tuple[int, ...]
    counts: tuple[int, ...]

    @property
    def is_reversed(self) -> bool:
        """Whether a slice runs backwards."""
        return any(isinstance(k, slice) and k.step < 0 for k in self.key)

    def is_dense(self, itemsize: int) -> bool:
        """Whether reading all that lies between the first and the last index is not much more than is wanted."""
        read = math.prod(self.bounds)
        return read * itemsize <= SMALL_NBYTES or read <= MAX_WASTE * math.prod(self.counts)


def along_axis(resolved: list[Resolved]) -> AlongAxis | None:
    """What a key selects that has one list of indices, or one bool for each index of an axis, and ints and slices.

    Parameters
    ----------
    resolved
        The key, as `packstore.core.selection.resolve` gives it.

    Returns
    -------
    AlongAxis or None
        None for all other keys.

    Examples
    --------
    >>> from packstore.core.selection import resolve
    >>> along_axis(resolve((0, [True, False, True]), (4, 3), None)[0]).key
    (slice(0, 1, 1), array([0, 2]))
    """
    values = [value for axis, value in resolved if axis >= 0]
    lists = [value for value in values if isinstance(value, np.ndarray)]
    if len(lists) != 1 or lists[0].ndim != 1 or any(axis < 0 and value is not Ellipsis for axis, value in resolved):
        return None
    key: list[Any] = []
    after: list[Any] = []
    bounds: list[int] = []
    counts: list[int] = []
    for value in values:
        if isinstance(value, np.ndarray):
            key.append(value)
            bounds.append(int(value.max()) - int(value.min()) + 1 if value.size else 0)
        else:
            steps = value if isinstance(value, range) else range(cast(int, value), cast(int, value) + 1)
            key.append(as_slice(steps))
            bounds.append(len(steps))
        after.append(0 if type(value) is int else slice(None))
        counts.append(value.size if isinstance(value, np.ndarray) else bounds[-1])
    return AlongAxis(tuple(key), tuple(after), tuple(bounds), tuple(counts))


def coordinates(resolved: list[Resolved]) -> tuple[Any, ...] | None:
    """The indices along each axis of a key that selects single elements; None for all other keys."""
    values = [value for _, value in resolved]
    if any(axis < 0 for axis, _ in resolved) or not all(isinstance(v, np.ndarray) or type(v) is int for v in values):
        return None
    return tuple(np.broadcast_arrays(*cast("list[Any]", values)))
