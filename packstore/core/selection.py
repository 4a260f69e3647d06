"""Numpy's basic indexing as boxes: ints, slices with any step, Ellipsis and newaxis."""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

import numpy as np

from packstore.errors import SelectionError, message

__all__ = ["BasicSelection", "basic_selection", "is_basic"]


class BasicSelection(NamedTuple):
    """A basic index in normal form.

    Attributes
    ----------
    box
        One slice an axis with ``0 <= start <= stop <= n`` and ``step >= 1``; `stop` is one past the last index that is
        selected, and a slice of at most one index has step 1.
    after
        What to apply to the box to get numpy's result: drops int axes, turns reversed ones, adds new ones. None where
        the box is the result.
    """

    box: tuple[slice, ...]
    after: tuple[Any, ...] | None


def is_basic(key: Any) -> bool:
    """Whether `key` is basic indexing in numpy's sense.

    Examples
    --------
    >>> is_basic((1, slice(None, None, -2), ..., None)), is_basic([0, 1])
    (True, False)
    """
    # Exact types first: what nearly all keys are made of.
    kind = type(key)
    if kind in _BASIC:
        return True
    if isinstance(key, tuple):
        return _BASIC.issuperset(map(type, key)) or all(_is_basic_item(k) for k in key)
    return _is_basic_item(key)


_BASIC = frozenset((int, slice, type(None), type(Ellipsis)))


def _is_basic_item(k: Any) -> bool:
    if k is None or k is Ellipsis or isinstance(k, slice):
        return True
    if isinstance(k, (bool, np.bool_)):
        return False
    return isinstance(k, (int, np.integer))


def basic_selection(key: Any, shape: tuple[int, ...]) -> BasicSelection:
    """Normalise a basic index.

    Raises
    ------
    SelectionError
        Too many indices, more than one Ellipsis, an int out of bounds, or an index that is not basic.

    Examples
    --------
    >>> basic_selection((3, slice(None, None, -2)), (5, 6))
    BasicSelection(box=(slice(3, 4, 1), slice(1, 6, 2)), after=(0, slice(None, None, -1)))
    """
    if type(key) is tuple and key and len(key) == len(shape):
        # What nearly all crops are, a slice from an index to an index on each axis, without the rest's bookkeeping.
        found = []
        for k, n in zip(key, shape, strict=True):
            if type(k) is not slice or k.step is not None:
                break
            start, stop = k.start, k.stop
            if type(start) is not int or type(stop) is not int:
                break
            if not 0 <= start <= stop <= n:
                start, stop, _ = k.indices(n)
                stop = max(start, stop)
            found.append(slice(start, stop, 1))
        else:
            return BasicSelection(tuple(found), None)
    keys = key if isinstance(key, tuple) else (key,)
    used = 0
    ellipses = 0
    for k in keys:
        if k is Ellipsis:
            ellipses += 1
        elif k is not None:
            used += 1
    ndim = len(shape)
    if ellipses > 1:
        raise SelectionError(message("indexing", expected="at most one Ellipsis", got=ellipses))
    if used > ndim:
        raise SelectionError(message("indexing", expected=f"at most {ndim} indices", got=used))
    box: list[slice] = []
    after: list[Any] = []
    plain = True
    axis = 0
    # numpy gives a scalar where ints alone leave no axis, an array where an Ellipsis was said.
    if not ellipses:
        keys = (*keys, Ellipsis)
        plain = ndim > 0
    for k in keys:
        if k is Ellipsis:
            if ellipses:
                after.append(Ellipsis)
            for n in shape[axis : axis + ndim - used]:
                box.append(slice(0, n, 1))
                after.append(slice(None))
            axis += ndim - used
        elif k is None:
            after.append(None)
            plain = False
        elif isinstance(k, slice):
            n = shape[axis]
            axis += 1
            try:
                start, stop, step = k.indices(n)
            except (TypeError, ValueError) as error:
                raise SelectionError(message("indexing", expected="integer slice bounds", got=error)) from None
            count = len(range(start, stop, step))
            last = start + (count - 1) * step
            if count < 2:
                box.append(slice(start, start + 1, 1) if count else slice(0, 0, 1))
                after.append(slice(None))
            elif step > 0:
                box.append(slice(start, last + 1, step))
                after.append(slice(None))
            else:
                box.append(slice(last, start + 1, -step))
                after.append(slice(None, None, -1))
                plain = False
        else:
            n = shape[axis]
            if not _is_basic_item(k):
                raise SelectionError(
                    message("indexing", expected="ints, slices, Ellipsis or newaxis", got=type(k).__name__)
                )
            i = operator.index(k)
            if not -n <= i < n:
                raise SelectionError(message("indexing", expected=f"an index within [{-n}, {n}) on axis {axis}", got=i))
            axis += 1
            i %= n
            box.append(slice(i, i + 1, 1))
            after.append(0)
            plain = False
    if plain:
        return BasicSelection(tuple(box), None)
    return BasicSelection(tuple(box), tuple(after))
