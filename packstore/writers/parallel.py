"""Threads that work ahead: takes tasks, gives their results in order, with a bounded number of them in memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from packstore.config import thread_count

__all__ = ["map_ordered"]

T = TypeVar("T")
R = TypeVar("R")


def map_ordered(work: Callable[[T], R], tasks: Iterable[T]) -> Generator[R, None, None]:
    """Results of `work` in the order of the tasks, computed ahead by several threads, a bounded number of them.

    Notes
    -----
    Iterate inside ``contextlib.closing`` where an error of the consumer must stop the threads at once.
    """
    tasks = iter(tasks)
    first = list(itertools.islice(tasks, 2))
    if len(first) == 1:
        # Starting a thread takes longer than most single tasks.
        yield work(first[0])
        return
    tasks = itertools.chain(first, tasks)
    count = thread_count()
    with ThreadPoolExecutor(count) as pool:
        window: list[Future[R]] = []
        try:
            for task in tasks:
                window.append(pool.submit(work, task))
                if len(window) >= 2 * count:
                    yield window.pop(0).result()
            while window:
                yield window.pop(0).result()
        finally:
            for future in window:
                future.cancel()
