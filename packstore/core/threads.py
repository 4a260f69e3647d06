"""Spreading the work of one read over threads, and a lock that survives a fork."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from typing import TypeVar

from packstore import config

__all__ = ["ForkSafeLock", "may_use_threads", "run_all", "thread_count"]

T = TypeVar("T")
# What a small item may take on average, and all of them together beyond that, before threads are worth it.
SLOW_S, SPARE_S = 0.00025, 0.001


class ForkSafeLock:
    """A lock that is free in a forked child, even where another thread of the parent held it.

    Examples
    --------
    >>> lock = ForkSafeLock()
    >>> with lock:
    ...     pass
    """

    __slots__ = ("__weakref__", "_lock")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        _locks.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


_locks: weakref.WeakSet[ForkSafeLock] = weakref.WeakSet()


def _renew_locks() -> None:
    for lock in _locks:
        lock._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)


def may_use_threads() -> bool:
    """Only the main thread spreads one read over a pool: a caller's own workers (dask's) are parallel already."""
    return threading.current_thread() is threading.main_thread()


def thread_count() -> int:
    """Threads that one read may use here: ``packstore.config``'s in the main thread, else one."""
    return config.thread_count() if may_use_threads() else 1


def run_all(work: Callable[[T], object], items: Iterable[T], *, parallel: bool, small: bool = False) -> None:
    """Call `work` on each item, in several threads where `parallel` and the caller is the main thread.

    Parameters
    ----------
    work
        Called once with each item, in any order; thread safe.
    items
        Taken one by one.
    parallel
        Whether the items together are enough work for several threads.
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
    _run_in_threads(work, list(rest))


def _run_in_threads(work: Callable[[T], object], items: list[T]) -> None:
    """Call `work` on each item; threads take the items one by one from a shared iterator."""
    threads = min(config.thread_count(), len(items))
    if threads < 2:
        for item in items:
            work(item)
        return
    # Neither a queue nor a future per item.
    lock = threading.Lock()
    rest = iter(items)
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

    # Function-level, for import time: small reads need no threads.
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(threads - 1) as pool:
        others = [pool.submit(drain) for _ in range(threads - 1)]
        drain()
        for other in others:
            other.result()
