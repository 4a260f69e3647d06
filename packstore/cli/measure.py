"""Measure alternatives side by side: takes named runs or ways to keep an array in a file, gives times and the machine.

Every round calls each run once and begins with another one, so that a busy moment of the machine hits all alike. The
least time of all rounds says what a run can do, the median what it does. ``packstore bench``, ``python -m
tests.benchmarks`` and ``examples/which_format.py`` all measure with this module.

Examples
--------
>>> figures, rounds = interleave({"sum": lambda: {"s": clocked(lambda: sum(range(9))).seconds}}, rounds=3)
>>> rounds, len(figures["sum"]["s"]), 0 < least(figures["sum"])["s"] < 1
(3, 3, True)
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import math
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from packstore.cli.compare import comparable, first_difference
from packstore.core.boxes import Box
from packstore.core.typing import Array

__all__ = [
    "Clocked",
    "Figures",
    "Way",
    "WrongValueError",
    "clocked",
    "environment",
    "files_of",
    "interleave",
    "least",
    "read_back",
    "write_out",
]

Figures = dict[str, float]


class WrongValueError(AssertionError):
    """A run returned other values than it must."""


class Clocked(NamedTuple):
    """What a run took and gave: wall time, processor time of all threads, its result."""

    seconds: float
    cpu_seconds: float
    value: Any


def clocked(run: Callable[[], Any]) -> Clocked:
    """Call `run` once, timed."""
    start, worked = time.perf_counter(), time.process_time()
    value = run()
    return Clocked(time.perf_counter() - start, time.process_time() - worked, value)


def interleave(
    runs: Mapping[str, Callable[[], Figures]],
    rounds: int,
    *,
    seconds: float = math.inf,
    after: Callable[[], object] = lambda: None,
) -> tuple[dict[str, dict[str, list[float]]], int]:
    """Call all runs once a round, another one first each time.

    Parameters
    ----------
    runs
        Each gives its figures of one round.
    rounds
        Rounds that are wanted.
    seconds
        No further round begins after so long.
    after
        Called after each run.

    Returns
    -------
    dict, int
        The figures of each run, in the order of the rounds; and the number of rounds.
    """
    figures: dict[str, dict[str, list[float]]] = {name: {} for name in runs}
    names = list(runs)
    start = time.perf_counter()
    for done in range(rounds):
        if done and time.perf_counter() - start > seconds:
            return figures, done
        first = done % max(len(names), 1)
        for name in names[first:] + names[:first]:
            for key, value in runs[name]().items():
                figures[name].setdefault(key, []).append(value)
            after()
    return figures, rounds


def least(figures: Mapping[str, list[float]]) -> Figures:
    """The best of all rounds, of each figure."""
    return {key: min(values) for key, values in figures.items()}


# -- an array in a file -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Way:
    """One way to keep an array in a file.

    Parameters
    ----------
    suffix
        Of the file's name.
    write
        Writes an array to a path, in the place of what is there.
    open
        Opens a path, given the array's shape; the result is sliced.
    """

    suffix: str
    write: Callable[[str, Array], object]
    open: Callable[[str, tuple[int, ...]], Any]


def write_out(way: Way, path: str, array: Array) -> Figures:
    """Write `array` once: the time (``write_s``) and the bytes on disk (``stored_nbytes``)."""
    took = clocked(lambda: way.write(path, array)).seconds
    return {"write_s": took, "stored_nbytes": sum(os.path.getsize(file) for file in files_of(path))}


def read_back(way: Way, path: str, array: Array, boxes: Sequence[Box]) -> Figures:
    """Open a file and read all of it, then open it again and read boxes: ``open_s``, ``read_s``, ``crops_s``.

    The file gets a new time stamp before it is opened, so that nothing decoded earlier is in a cache of packstore's;
    its bytes are in the page cache. What is read is copied: a view of a mapped file has read nothing yet.

    Raises
    ------
    WrongValueError
        The values are not those of `array`.
    """
    _renew(path)
    opened = clocked(lambda: way.open(path, array.shape))
    whole = clocked(lambda: np.array(opened.value[...]))
    _check(whole.value, array)
    read_s = whole.seconds
    del whole  # so that the crops do not compete with it for memory
    _renew(path)
    again = way.open(path, array.shape)
    crops = clocked(lambda: [_own(again[box]) for box in boxes])
    for box, crop in zip(boxes, crops.value, strict=True):
        _check(crop, array[box])
    return {"open_s": opened.seconds, "read_s": read_s, "crops_s": crops.seconds}


def _check(values: Array, expected: Array) -> None:
    if values.shape != expected.shape or not comparable(values.dtype, expected.dtype):
        raise WrongValueError(f"it comes back as {values.dtype}")
    if first_difference(values, expected) is not None:
        raise WrongValueError("it comes back with other values")


def _own(values: Any) -> Array:
    return values if isinstance(values, np.ndarray) and values.flags.writeable else np.array(values)


def _renew(path: str) -> None:
    stamp = time.time_ns()
    for file in files_of(path):
        os.utime(file, ns=(stamp, stamp))


def files_of(path: str) -> list[str]:
    """The file itself, or all files below a folder."""
    if not os.path.isdir(path):
        return [path]
    return [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]


# -- the machine ------------------------------------------------------------------------------------------------------


def environment(packages: Sequence[str]) -> dict[str, Any]:
    """The machine, its load, Python, and the versions of `packages` that are installed."""
    versions = {}
    for name in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cores": allowed,
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "machine": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": versions,
    }
