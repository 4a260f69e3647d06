"""Boxes over chunk grids: their shapes, and the chunks that they touch.

A box is one slice an axis with ``0 <= start <= stop <= n`` and ``step >= 1``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

__all__ = ["Box", "Touched", "as_index", "box_shape", "c_strides", "pieces_of", "touched"]

Box = tuple[slice, ...]


class Touched(NamedTuple):
    """A chunk that a box touches.

    Attributes
    ----------
    coords
        Of the chunk in its grid.
    inner
        The wanted part of the chunk.
    outer
        Where that goes in the result.
    """

    coords: tuple[int, ...]
    inner: Box
    outer: Box


def box_shape(box: Box) -> tuple[int, ...]:
    """Shape of the elements of `box`.

    Examples
    --------
    >>> box_shape((slice(1, 6, 2), slice(0, 4, 1)))
    (3, 4)
    """
    return tuple([max(-((s.start - s.stop) // s.step), 0) for s in box])


def c_strides(shape: Sequence[int], itemsize: int = 1) -> tuple[int, ...]:
    """Distance from one index to the next along each axis of an array in C order, `itemsize` along the last one.

    Examples
    --------
    >>> c_strides((2, 3, 4), 8)
    (96, 32, 8)
    """
    strides = []
    stride = itemsize
    for n in reversed(shape):
        strides.append(stride)
        stride *= n
    return tuple(reversed(strides))


def pieces_of(box: Box, axis: int, length: int, first: int | None = None) -> Iterator[tuple[Box, slice]]:
    """Cut `box` along `axis` into pieces of `length` indices; each comes with its place along that axis of the result.

    Parameters
    ----------
    first
        Indices of the first piece; None: `length`, as all others.

    Examples
    --------
    >>> for piece, place in pieces_of((slice(0, 9, 2), slice(3, 4, 1)), 0, 3):
    ...     print(piece, place)
    (slice(0, 5, 2), slice(3, 4, 1)) slice(0, 3, 1)
    (slice(6, 9, 2), slice(3, 4, 1)) slice(3, 5, 1)
    """
    start, step = box[axis].start, box[axis].step
    count = box_shape((box[axis],))[0]
    lo, hi = 0, length if first is None else first
    while lo < count:
        hi = min(hi, count)
        piece = slice(start + lo * step, start + (hi - 1) * step + 1, step)
        yield (*box[:axis], piece, *box[axis + 1 :]), slice(lo, hi, 1)
        lo, hi = hi, hi + length


def as_index(box: Box) -> tuple[Any, ...]:
    """`box` as an index: the Ellipsis keeps a 0-d result an array, as numpy's scalars lose the byte order."""
    return (*box, ...)


def touched(box: Box, chunk_shape: Sequence[int]) -> Iterator[Touched]:
    """Each chunk that has an element of `box`, in C order.

    Examples
    --------
    >>> for item in touched((slice(3, 9, 1),), (4,)):
    ...     print(item.coords, item.inner, item.outer)
    (0,) (slice(3, 4, 1),) (slice(0, 1, 1),)
    (1,) (slice(0, 4, 1),) (slice(1, 5, 1),)
    (2,) (slice(0, 1, 1),) (slice(5, 6, 1),)
    """
    per_axis = []
    for s, c in zip(box, chunk_shape, strict=True):
        axis = []
        start, stop, step = s.start, s.stop, s.step
        for i in range(start // c, -(-stop // c) if stop > start else 0):
            base = i * c
            # The first selected index at or after the chunk's start.
            first = start if start >= base else start + -(-(base - start) // step) * step
            end = min(stop, base + c)
            if first >= end:
                continue
            at = (first - start) // step
            count = -(-(end - first) // step)
            axis.append((i, slice(first - base, end - base, step), slice(at, at + count, 1)))
        per_axis.append(axis)
    for combo in itertools.product(*per_axis):
        yield Touched(tuple([c[0] for c in combo]), tuple([c[1] for c in combo]), tuple([c[2] for c in combo]))
