"""``packstore bench``: one array in each format, measured.

How it is measured: the array (or the first rows of a large one) lies in memory. Each round goes through all formats in
turn, so that a busy moment of the machine hits all alike; a round writes the file anew (atomically, with fsync), reads
it whole into memory, and reads random boxes of it. Before each of the two the file gets a new time stamp, so that
nothing decoded earlier is still in packstore's caches; its bytes are in the page cache. The best of all rounds counts.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import math
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from packstore.cli.bench_report import reasons
from packstore.cli.compare import comparable, first_difference
from packstore.cli.show import human
from packstore.config import cpu_count
from packstore.errors import OptionError, PackstoreError, UnsupportedError, message
from packstore.readers.find import find_array, locate
from packstore.source.sizes import size_on_disk
from packstore.views.lazy import LazyArray, open_lazy
from packstore.writers import save

__all__ = ["Target", "measure", "random_boxes", "targets"]

CROP = 256


class Target(NamedTuple):
    """A format to try: suffix, options of `save` and of reading."""

    suffix: str
    writing: dict[str, Any]
    reading: dict[str, Any]


def targets(ndim: int, dtype: np.dtype[Any]) -> dict[str, Target]:
    """The formats that an array can take; the shape, which raw files have to be told, comes later."""
    raw = {"format": "raw", "dtype": dtype}
    found = {
        "npy": Target(".npy", {}, {}),
        "raw": Target(".raw", {}, raw),
        "npz": Target(".npz", {"compressed": False}, {}),
        "npz compressed": Target(".npz", {}, {}),
        "zarr": Target(".zarr", {}, {}),
        "zarr uncompressed": Target(".zarr", {"compressor": None}, {}),
        "hdf5": Target(".h5", {}, {}),
    }
    if dtype == np.bool_ and ndim:
        bits = {"format": "raw", "packed_axis": ndim - 1}
        found["packed bits"] = Target(".bits", {"packed_axis": -1}, bits)
        found["zarr unpacked"] = Target(".zarr", {"pack": False}, {})
        found["hdf5 packed"] = Target(".h5", {"pack": True}, {})
    return found


def random_boxes(shape: tuple[int, ...], count: int) -> list[tuple[slice, ...]]:
    """Boxes at random places: up to 256 along each of the last two axes, one index of the others."""
    rng = np.random.default_rng(0)
    boxes = []
    for _ in range(count):
        box = []
        for axis, n in enumerate(shape):
            size = min(n, CROP if axis >= len(shape) - 2 else 1)
            start = int(rng.integers(0, n - size + 1)) if n else 0
            box.append(slice(start, start + size, 1))
        boxes.append(tuple(box))
    return boxes


def measure(
    path: str,
    component: str | None,
    options: dict[str, Any],
    *,
    formats: Sequence[str] | None = None,
    crops: int = 100,
    rounds: int = 3,
    seconds: float = 60,
    max_nbytes: int = 256_000_000,
    folder: str | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Write the array in each format into a temporary folder, and time it there.

    Parameters
    ----------
    formats
        Names as in `targets`; None: all.
    crops, rounds
        Boxes a format and round; rounds, of which the best counts.
    seconds
        No further round starts after so long. The first one is always finished.
    max_nbytes
        Of a larger array the first rows are measured.
    folder
        Where the temporary folder is made.

    Raises
    ------
    UnsupportedError
        No format takes the array.
    OptionError
        An unknown format.
    WriteError
        Not enough room.
    """
    location = locate(path, **options)
    name, manifest = find_array(location, component)
    array = LazyArray(location, name, manifest)
    if array.dtype.hasobject:
        got = f"elements of no fixed size ({array.dtype})"
        raise UnsupportedError(
            message("measuring", path, name or None, expected="an array that can be written", got=got)
        )
    chosen = _chosen(targets(array.ndim, array.dtype), formats)
    box = _sample(array.shape, array.dtype.itemsize, max_nbytes)
    start = time.perf_counter()
    sample = np.array(array[box])
    source_s = time.perf_counter() - start
    rows: dict[str, dict[str, Any]] = {label: {} for label in chosen}
    boxes = random_boxes(sample.shape, crops)
    done = 0
    start = time.perf_counter()
    with _workspace(path, folder, len(chosen) * sample.nbytes) as work, _bar(progress, rounds * len(chosen)) as step:
        for label, target in chosen.items():
            # What only the first use costs (imports), or that there is no use.
            _measure(rows[label], os.path.join(work, "first"), target, sample[tuple(slice(0, 1) for _ in box)], [])
            if "error" not in rows[label]:
                rows[label].clear()
        for i in range(rounds):
            if i and time.perf_counter() - start > seconds:
                break
            # Another one first each time.
            labels = list(chosen)[i % len(chosen) :] + list(chosen)[: i % len(chosen)]
            for label in labels:
                if "error" not in rows[label]:
                    _measure(rows[label], os.path.join(work, label.replace(" ", "-")), chosen[label], sample, boxes)
                step()
            done += 1
    good = {label: row for label, row in rows.items() if "error" not in row}
    if not good:
        raise UnsupportedError(message("measuring", path, name or None, got=next(iter(rows.values()))["error"]))
    return {
        "path": path,
        "component": name,
        "shape": list(array.shape),
        "dtype": str(array.dtype),
        "nbytes": array.nbytes,
        "measured": {"shape": list(sample.shape), "nbytes": sample.nbytes, "whole": sample.shape == array.shape},
        "source_read_s": source_s,
        "formats": rows,
        "best": reasons(good, sample.nbytes, crops),
        "method": {
            **_machine(),
            "rounds": done,
            "rounds_wanted": rounds,
            "crops": crops,
            "crop_shape": _box_shape(boxes),
        },
    }


def _chosen(known: dict[str, Target], wanted: Sequence[str] | None) -> dict[str, Target]:
    if wanted is None:
        return known
    found: dict[str, Target] = {}
    for name in wanted:
        if name.strip() not in known:
            expected = f"formats out of {', '.join(known)}"
            raise OptionError(message("reading --formats", expected=expected, got=repr(name)))
        found[name.strip()] = known[name.strip()]
    return found


def _sample(shape: tuple[int, ...], itemsize: int, max_nbytes: int) -> tuple[slice, ...]:
    """The whole array, or its first rows; of a single row that is too large, its first part."""
    box = [slice(0, n, 1) for n in shape]
    nbytes = math.prod(shape) * itemsize
    for axis, n in enumerate(shape):
        if nbytes <= max_nbytes or n == 0:
            break
        row = nbytes // n
        length = max(min(max_nbytes // max(row, 1), n), 1)
        box[axis] = slice(0, length, 1)
        nbytes = row * length
    return tuple(box)


def _measure(
    row: dict[str, Any],
    stem: str,
    target: Target,
    sample: npt.NDArray[Any],
    boxes: list[tuple[slice, ...]],
) -> None:
    """One round of one format; the best times so far stay in `row`."""
    path = stem + target.suffix
    reading = {**target.reading, "shape": sample.shape} if target.reading else {}
    try:
        start = time.perf_counter()
        save(path, sample, overwrite=True, **target.writing)
        wrote = time.perf_counter() - start
        first = not row
        row["stored_nbytes"] = size_on_disk(path)
        _renew(path)
        opened, where = _timed(functools.partial(open_lazy, path, **reading))
        read, values = _timed(functools.partial(np.array, where))
        if first:
            row["dtype"] = str(values.dtype)
            if not comparable(values.dtype, sample.dtype):
                row["error"] = f"it comes back as {values.dtype}"
                return
            if first_difference(values, sample) is not None:
                row["error"] = "it comes back with other values"
                return
        del values
        _renew(path)
        fresh = open_lazy(path, **reading)
        cropped, _ = _timed(lambda: [_own(fresh[box]) for box in boxes])
    except PackstoreError as error:
        if isinstance(error, OSError):
            raise
        # This format does not take this dtype: the table says so, without the temporary file's name.
        row["error"] = str(error).partition(": ")[2] or str(error)
        return
    times = {"write_s": wrote, "open_s": opened, "read_s": read, "crops_s": cropped}
    for key, value in times.items():
        row[key] = min(value, row.get(key, value))


def _timed(run: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def _own(values: Any) -> Any:
    """The elements in memory of their own: a view of a mapped file has read nothing yet."""
    return values if isinstance(values, np.ndarray) and values.flags.writeable else np.array(values)


def _renew(path: str) -> None:
    """Another time stamp, which makes it another file to every cache of decoded data."""
    stamp = time.time_ns()
    if not os.path.isdir(path):
        os.utime(path, ns=(stamp, stamp))
        return
    for folder, _, names in os.walk(path):
        for name in names:
            os.utime(os.path.join(folder, name), ns=(stamp, stamp))


@contextlib.contextmanager
def _workspace(path: str, folder: str | None, nbytes: int) -> Iterator[str]:
    """A temporary folder with room for `nbytes`, beside the file if that can be; gone afterwards."""
    if folder is not None and not os.path.isdir(folder):
        raise OptionError(message("measuring", path, expected="--folder to exist", got=f"no folder {folder}"))
    beside = os.path.dirname(os.path.abspath(path))
    if folder is None and os.access(beside, os.W_OK):
        folder = beside
    with tempfile.TemporaryDirectory(dir=folder, prefix=".packstore-bench-") as work:
        free = shutil.disk_usage(work).free
        if free < nbytes:
            expected = f"{human(nbytes)} of room"
            raise OptionError(
                message("measuring in", work, expected=expected, got=human(free), hint="Use --folder or --max-size")
            )
        yield work


@contextlib.contextmanager
def _bar(show: bool, total: int) -> Iterator[Callable[[], None]]:
    if not show:
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("measuring", total=total)
        yield lambda: bar.advance(task)


def _box_shape(boxes: list[tuple[slice, ...]]) -> list[int]:
    return [s.stop - s.start for s in boxes[0]]


def _machine() -> dict[str, Any]:
    names = ("packstore", "numpy", "zarr", "h5py", "numcodecs", "imagecodecs")
    versions = {}
    for name in names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {
        "cores": cpu_count(),
        "machine": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": versions,
        "cache": "files in the page cache, nothing decoded beforehand",
        "write": "atomic, with fsync",
        "counts": "the best round",
    }
