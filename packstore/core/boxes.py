"""Boxes over chunk grids: what a box touches, and spreading the work over threads.

A box is one slice an axis with ``0 <= start <= stop <= n`` and ``step >= 1``.
"""

from __future__ import annotations

import functools
import itertools
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

__all__ = ["Box", "Touched", "as_index", "box_shape", "cpu_count", "may_use_threads", "run_all", "touched"]

Box = tuple[slice, ...]
T = TypeVar("T")
MAX_THREADS = 16
# What a small item may take on average, and all of them together beyond that, before threads are worth it.
SLOW_S, SPARE_S = 0.00025, 0.001


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


def may_use_threads() -> bool:
    """Only the main thread spreads one read over a pool: a caller's own workers (dask's) are parallel already."""
    return threading.current_thread() is threading.main_thread()


@functools.cache
def cpu_count() -> int:
    """Cores of the machine; asking the system costs as much as reading a small chunk."""
    return os.cpu_count() or 1


def run_all(work: Callable[[T], object], items: Iterable[T], *, parallel: bool, small: bool = False) -> None:
    """Call `work` on each item, in several threads where `parallel` and the caller is the main thread.

    Parameters
    ----------
    small
        Each item is a few system calls and hardly more: threads would spend their time waiting for the GIL after each,
        so they only come where the calls turn out to be slow, as on a network or a cold disk.

    Notes
    -----
    The first error ends the run and is raised; calls that have begun are waited for.
    """
    if not parallel or not may_use_threads():
        for item in items:
            work(item)
        return
    rest = iter(items)
    if small:
        limit = time.perf_counter() + SPARE_S
        for item in rest:
            work(item)
            limit += SLOW_S
            if time.perf_counter() > limit:
                break
    todo = list(rest)
    threads = min(cpu_count(), len(todo), MAX_THREADS)
    if threads < 2:
        for item in todo:
            work(item)
        return
    # Threads take the items one by one from a shared iterator: no queue and no future per item.
    lock = threading.Lock()
    rest = iter(todo)
    failed = False

    def drain() -> None:
        nonlocal failed
        try:
            while not failed:
                with lock:
                    item = next(rest, lock)
                if item is lock:
                    return
                work(item)  # type: ignore[arg-type]  # the lock, as the end mark, is gone
        except BaseException:  # Ctrl-C between two items stops the other threads, too
            failed = True
            raise

    with ThreadPoolExecutor(threads - 1) as pool:
        others = [pool.submit(drain) for _ in range(threads - 1)]
        drain()
        for other in others:
            other.result()
