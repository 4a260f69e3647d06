"""Selections as boxes: a key goes in, the box that bounds it and the key that remains within the box come out."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from packstore.core.boxes import Box
from packstore.core.selection import Resolved, place, resolve

__all__ = ["BoxSelection", "box_selection", "is_basic"]


class BoxSelection(NamedTuple):
    """The box that bounds a selection.

    Attributes
    ----------
    box
        One slice an axis with ``0 <= start <= stop <= n`` and ``step >= 1``; `stop` is one past the last index that is
        selected, and a slice of at most one index has step 1.
    after
        The key that makes numpy's result of the elements of the box: it drops int axes, turns reversed ones, adds new
        ones, picks by index arrays. None where the box is the result.
    """

    box: Box
    after: tuple[Any, ...] | None


def is_basic(key: Any) -> bool:
    """Whether `key` is basic indexing in numpy's sense: no index arrays, bools or names take part.

    Examples
    --------
    >>> is_basic((1, slice(None, None, -2), ..., None)), is_basic([0, 1])
    (True, False)
    """
    # Exact types first: nearly all keys are made of them.
    if isinstance(key, tuple):
        return _BASIC.issuperset(map(type, key)) or all(_is_basic_entry(k) for k in key)
    return type(key) in _BASIC or _is_basic_entry(key)


_BASIC = frozenset((int, slice, type(None), type(Ellipsis)))


def _is_basic_entry(k: Any) -> bool:
    if k is None or k is Ellipsis or isinstance(k, slice):
        return True
    return isinstance(k, (int, np.integer)) and not isinstance(k, bool)


def box_selection(key: Any, shape: tuple[int, ...], path: object = None) -> BoxSelection:
    """The box that bounds a selection, and the key that selects within the box.

    Parameters and errors are those of `packstore.core.selection.parse`.

    Examples
    --------
    >>> box_selection((3, slice(None, None, -2)), (5, 6))
    BoxSelection(box=(slice(3, 4, 1), slice(1, 6, 2)), after=(0, slice(None, None, -1)))
    >>> box_selection([4, 2], (5,))
    BoxSelection(box=(slice(2, 5, 1),), after=(array([2, 0]),))
    """
    keys = key if isinstance(key, tuple) else (key,)
    if keys and type(keys[0]) is slice:
        crop = _crop(keys, shape)
        if crop is not None:
            return BoxSelection(crop, None)
    resolved, ellipsis, fancy = resolve(keys, shape, path)
    if fancy:
        # Index arrays that do not broadcast fail here, before anything is read.
        place(resolved, ellipsis, path)
    return _bound(resolved, ellipsis, len(shape))


def _crop(keys: tuple[Any, ...], shape: tuple[int, ...]) -> Box | None:
    """The box of a key of slices without steps, which most keys are; None for other keys."""
    if len(keys) > len(shape):
        return None
    found = []
    for k, n in zip(keys, shape, strict=False):
        if type(k) is not slice or k.step is not None:
            return None
        start, stop = k.start, k.stop
        if type(start) is int and type(stop) is int:
            if not 0 <= start <= stop <= n:
                start, stop, _ = k.indices(n)
                stop = max(start, stop)
        elif start is None and stop is None:
            start, stop = 0, n
        else:
            return None
        found.append(slice(start, stop, 1))
    if len(found) < len(shape):
        found += [slice(0, n, 1) for n in shape[len(found) :]]
    return tuple(found)


def _bound(resolved: list[Resolved], ellipsis: bool, ndim: int) -> BoxSelection:
    box: list[slice] = []
    after: list[Any] = []
    # Numpy gives a scalar where ints alone leave no axis, an array where the key has an Ellipsis.
    plain = ndim > 0 or ellipsis
    for axis, value in resolved:
        if axis < 0:
            after.append(value)
            plain = plain and value is Ellipsis
        elif type(value) is range:
            part, turned = _bounding_slice(value)
            box.append(part)
            after.append(_TURN if turned else _ALL)
            plain = plain and not turned
        elif type(value) is int:
            box.append(slice(value, value + 1, 1))
            after.append(0)
            plain = False
        else:
            assert isinstance(value, np.ndarray)
            low, high = (int(value.min()), int(value.max()) + 1) if value.size else (0, 0)
            box.append(slice(low, high, 1))
            after.append(value - low)
            plain = False
    if plain:
        return BoxSelection(tuple(box), None)
    if ellipsis and not any(value is Ellipsis for _, value in resolved):
        after.append(Ellipsis)
    return BoxSelection(tuple(box), tuple(after))


_ALL, _TURN = slice(None), slice(None, None, -1)


def _bounding_slice(steps: range) -> tuple[slice, bool]:
    """The rising slice over the same indices, and whether `steps` run the other way."""
    start, step = steps.start, steps.step
    if step == 1:
        return slice(start, max(start, steps.stop), 1), False
    count = len(steps)
    if count < 2:
        return slice(start, start + 1, 1) if count else slice(0, 0, 1), False
    if step > 0:
        return slice(start, steps[-1] + 1, step), False
    return slice(steps[-1], start + 1, -step), True
