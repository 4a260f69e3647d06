"""`PlainBytes`: the serializer of elements that lie as they are, one behind the other in C order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np

from packstore.codecs.decompress.limit import Limit
from packstore.core.boxes import Box, as_index, box_shape, c_strides
from packstore.core.typing import Array, Bytes
from packstore.errors import CorruptDataError, message
from packstore.storage.stored import MemoryBytes, Stored

__all__ = ["PlainBytes", "is_tight", "wrong_size"]


def wrong_size(expected: int, got: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> CorruptDataError:
    """The error for stored bytes that are not as many as the elements of a chunk take."""
    return CorruptDataError(
        message(
            "decoding",
            expected=f"{expected} bytes for a chunk of shape {shape} and type {dtype}",
            got=f"{got}",
            hint="The file is cut short, or was written for another shape or data type",
        )
    )


class PlainPlan(NamedTuple):
    """The range of bytes that holds a box of plain elements, and how they lie in it."""

    offset: int
    nbytes: int
    shape: Sequence[int]
    strides: Sequence[int]


@dataclass(frozen=True, eq=False)
class PlainBytes:
    """Elements in C order.

    Parameters
    ----------
    shape
        Along the stored axes.
    stored
        The element type in the file.
    dtype
        The element type that is wanted: the same in any byte order.
    step
        Bytes from one index of the first axis to the next, where other data lie between them; None: none do.
    """

    shape: tuple[int, ...]
    stored: np.dtype[Any]
    dtype: np.dtype[Any]
    step: int | None = None
    nested: ClassVar[bool] = False
    reads_parts: ClassVar[bool] = True
    counts_packed: ClassVar[bool] = False
    inner: ClassVar[None] = None
    names: ClassVar[tuple[str, ...]] = ()

    @cached_property
    def nbytes(self) -> int:
        """Bytes of all elements, and of what lies between them."""
        if self.step is None or 0 in self.shape:
            return math.prod(self.shape) * self.stored.itemsize
        return (self.shape[0] - 1) * self.step + math.prod(self.shape[1:]) * self.stored.itemsize

    @cached_property
    def limit(self) -> Limit:
        """How many bytes the elements of a chunk take."""
        return Limit(self.nbytes, True)

    @cached_property
    def strides(self) -> tuple[int, ...]:
        """Bytes from one index to the next along each axis."""
        strides = c_strides(self.shape, self.stored.itemsize)
        return strides if self.step is None else (self.step, *strides[1:])

    @cached_property
    def _converts(self) -> bool:
        return self.stored != self.dtype

    def plan(self, box: Box) -> PlainPlan:
        """The bytes of a chunk that hold a box."""
        offset = 0
        span = self.stored.itemsize
        shape: list[int] = []
        strides: list[int] = []
        for s, stride in zip(box, self.strides, strict=True):
            start, step = s.start, s.step
            n = s.stop - start
            if step != 1:
                n = -(-n // step)
            if n <= 0:
                return PlainPlan(0, 0, box_shape(box), self.strides)
            offset += start * stride
            if step != 1:
                stride *= step
            span += (n - 1) * stride
            shape.append(n)
            strides.append(stride)
        return PlainPlan(offset, span, shape, strides)

    def unpack(self, data: bytes | Bytes, plan: PlainPlan) -> Array:
        """The elements of the box, from those bytes."""
        part: Array = np.ndarray(plan.shape, self.stored, data, 0, plan.strides)
        return part if self.stored == self.dtype else part.astype(self.dtype)

    def target(self, out: Array) -> Bytes | None:
        """The memory of `out`, if the bytes of a whole chunk may be put there as they are."""
        if self.step is not None:
            return None
        if out.dtype != self.stored or not out.flags.c_contiguous or not out.size or out.dtype.hasobject:
            return None
        return out.reshape(-1).view(np.uint8)

    def cover(self, box: Box) -> tuple[int, int] | None:
        """The range of bytes, from and to, that covers the elements of `box`."""
        plan = self.plan(box)
        return plan.offset, plan.offset + plan.nbytes

    def read(self, stored: Stored, box: Box, whole: bool, out: Array | None) -> Array:
        """Elements of `box`, in `out` (of any strides) if there is one."""
        if stored.nbytes != self.nbytes:
            raise wrong_size(self.nbytes, stored.nbytes, self.shape, self.dtype)
        if not self.nbytes or (not whole and 0 in box_shape(box)):
            return np.empty(box_shape(box), self.dtype) if out is None else out
        if type(stored) is MemoryBytes:
            return self._from_memory(stored, box, whole, out)
        if whole and self.step is None:
            if out is None:
                out = np.empty(self.shape, self.dtype)
            target = self.target(out)
            data = stored.pread(0, self.nbytes, target)
            if target is None or _address(data) != _address(target):
                out[...] = np.ndarray(self.shape, self.stored, data)
            return out
        part = self.rows(stored, box)
        if out is not None:
            out[...] = part
            return out
        # A small part must not keep all of a large read in memory.
        return part.astype(self.dtype) if self._converts or not is_tight(part) else part

    def _from_memory(self, stored: MemoryBytes, box: Box, whole: bool, out: Array | None) -> Array:
        data = stored.data
        if data.size != stored.nbytes:
            part: Array = self.rows(stored, box)
        else:
            part = np.ndarray(self.shape, self.stored, data.data, 0, self.strides)
            if not whole:
                part = part[as_index(box)]
        if out is not None:
            if not whole or part.dtype.hasobject or _address(part) != _address(out):
                out[...] = part
            return out
        if self._converts or not (stored.mapped or (stored.fresh and (whole or 2 * part.nbytes >= data.nbytes))):
            return part.astype(self.dtype)
        return part

    def rows(self, stored: Stored, box: Box) -> Array:
        """A box by the covering range, or by the ranges of its rows where that would read much more than is wanted.

        The result may be a view of `stored`; its elements are of the stored type.
        """
        wanted = box_shape(box)
        steps = [s.step * k for s, k in zip(box, self.strides, strict=True)]
        itemsize = self.stored.itemsize
        first = sum([s.start * k for s, k in zip(box, self.strides, strict=True)])
        # Axes before `cut` are walked index by index; one range covers all that lies behind an index of them.
        need, cut = math.prod(wanted) * itemsize, 0
        spans = [(n - 1) * k for n, k in zip(wanted, steps, strict=True)]
        while cut < len(box):
            span = sum(spans[cut:]) + itemsize
            if stored.covers(need, span, wanted[cut]):
                break
            need //= wanted[cut]
            cut += 1
        else:
            cut = max(len(box) - 1, 0)
        outer, inner = wanted[:cut], wanted[cut:]
        span = sum(spans[cut:]) + itemsize
        if not cut and (len(box) != 1 or stored.covers(need, span, wanted[0])):
            return np.ndarray(wanted, self.stored, stored.pread(first, span), 0, tuple(steps))
        starts = [first + sum([i * k for i, k in zip(index, steps, strict=False)]) for index in np.ndindex(*outer)]
        out = np.empty((len(starts), *inner), self.stored)
        if stored.covers(need, span, inner[0] if inner else 1):
            found = stored.read_ranges([(start, span) for start in starts])
            for k, data in enumerate(found):
                out[k] = np.ndarray(inner, self.stored, data, 0, tuple(steps[cut:]))
            return out.reshape(wanted)
        # Elements of the last axis that lie far apart: as many of them to a range as a range is worth.
        step = steps[-1]
        run = next((n for n in (64, 8) if stored.covers(n * itemsize, n * step, n)), 1)
        ranges = []
        for start in starts:
            for i in range(0, inner[0], run):
                count = min(run, inner[0] - i)
                ranges.append((start + i * step, (count - 1) * step + itemsize, count))
        flat = out.reshape(-1)
        at = 0
        for data, (_, _, count) in zip(stored.read_ranges([r[:2] for r in ranges]), ranges, strict=True):
            flat[at : at + count] = np.ndarray((count,), self.stored, data, 0, (step,))
            at += count
        return out.reshape(wanted)

    def count_nonzero(self, stored: Stored, box: Box, whole: bool) -> int:
        """How many elements of `box` are not zero."""
        return int(np.count_nonzero(self.read(stored, box, whole, None)))


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


def is_tight(part: Array) -> bool:
    """Whether the memory behind a view is hardly more than the view."""
    return part.base is None or part.nbytes * 2 >= getattr(part.base, "nbytes", 0)
