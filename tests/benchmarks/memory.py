"""Bytes read and memory of a run, in a fresh process."""

from __future__ import annotations

import gc
import multiprocessing
import os
import threading
import time
from collections.abc import Callable
from typing import Any

__all__ = ["disk_nbytes", "in_fresh_process", "probe"]

Figures = dict[str, Any]

SAMPLE_SECONDS = 0.001


def in_fresh_process(work: Callable[..., Figures], args: tuple[Any, ...]) -> Figures:
    """Run `work` in a process forked from a clean server: no caches, no memory of earlier scenarios.

    Returns
    -------
    dict
        What `work` returned; empty where the system has no ``/proc``, or the process died.
    """
    if not os.path.exists("/proc/self/status"):
        return {}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.benchmarks.preload"])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, work, args))
    process.start()
    sender.close()
    try:
        return dict(receiver.recv())
    except EOFError:
        return {}
    finally:
        process.join()


def _send(sender: Any, work: Callable[..., Figures], args: tuple[Any, ...]) -> None:
    sender.send(work(*args))


def probe(run: Callable[[], Any]) -> Figures:
    """Bytes read and peak anonymous memory of one run.

    Returns
    -------
    dict
        ``nbytes_read``: what ``read`` calls gave plus the file pages that came into the process's mappings;
        ``peak_anon_nbytes``: the largest growth of RssAnon, sampled each millisecond. Mapped file pages are no
        process's own memory, so they are not in it. Empty where there is no ``/proc``.
    """
    if not os.path.exists("/proc/self/status"):
        return {}
    gc.collect()
    stop = threading.Event()
    status = os.open("/proc/self/status", os.O_RDONLY)
    base_anon, base_file = _rss(status)
    peak = [base_anon, base_file]
    own = 0

    def sample() -> None:
        nonlocal own
        while True:
            last = stop.is_set()
            anon, file = _rss(status)
            own += 1
            peak[0], peak[1] = max(peak[0], anon), max(peak[1], file)
            if last:
                return
            time.sleep(SAMPLE_SECONDS)

    own_nbytes = len(os.pread(status, 1 << 16, 0))
    start = _read_calls()
    thread = threading.Thread(target=sample)
    thread.start()
    try:
        value = run()
        # While the result lives, so that it counts.
        read = _read_calls() - start
    finally:
        stop.set()
        thread.join()
        os.close(status)
    del value
    return {
        "nbytes_read": max(read - own * own_nbytes, 0) + peak[1] - base_file,
        "peak_anon_nbytes": peak[0] - base_anon,
    }


def _rss(fd: int) -> tuple[int, int]:
    """RssAnon and RssFile in bytes."""
    text = os.pread(fd, 1 << 16, 0)
    found = dict(line.split(b":", 1) for line in text.splitlines() if line.startswith(b"Rss"))
    return int(found[b"RssAnon"].split()[0]) << 10, int(found[b"RssFile"].split()[0]) << 10


def _read_calls() -> int:
    """Bytes that read calls gave to this process."""
    try:
        with open("/proc/self/io", "rb") as file:
            return int(file.readline().split()[1])
    except OSError:
        return 0


def disk_nbytes() -> int:
    """Bytes that this process made the system read from disks; 0 where it does not tell."""
    try:
        with open("/proc/self/io", "rb") as file:
            return next((int(line.split()[1]) for line in file if line.startswith(b"read_bytes")), 0)
    except OSError:
        return 0
