"""``packstore bench``: one array in each format, measured.

The array (or the first rows of a large one) lies in memory. A round writes it anew in each format (atomically, with
fsync), reads the file whole into memory, and reads random boxes of it; `packstore.cli.measure` interleaves the rounds.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from packstore.cli.bench_report import reasons
from packstore.cli.measure import (
    Figures,
    Way,
    WrongValueError,
    clocked,
    environment,
    interleave,
    least,
    read_back,
    write_out,
)
from packstore.cli.show import human
from packstore.core.boxes import Box
from packstore.core.typing import Array
from packstore.errors import OptionError, PackstoreError, UnsupportedError, message
from packstore.views.lazy import LazyArray, open_lazy
from packstore.writers import save
from packstore.writers.progress import shown_progress

__all__ = ["Effort", "measure", "random_boxes", "ways"]

CROP = 256
PACKAGES = ("packstore", "numpy", "zarr", "h5py", "numcodecs", "imagecodecs")


class Effort(NamedTuple):
    """How much is measured.

    Parameters
    ----------
    crops, rounds
        Boxes a format and round; rounds, of which the best counts.
    seconds
        No further round starts after so long. The first one is always finished.
    max_nbytes
        Of a larger array the first rows are measured.
    """

    crops: int = 100
    rounds: int = 3
    seconds: float = 60
    max_nbytes: int = 256_000_000


def ways(ndim: int, dtype: np.dtype[Any]) -> dict[str, Way]:
    """The formats that an array can take."""

    def way(suffix: str, reading: dict[str, Any] | None = None, **writing: Any) -> Way:
        def write(path: str, array: Array) -> None:
            save(path, array, overwrite=True, **writing)

        def open_(path: str, shape: tuple[int, ...]) -> LazyArray:
            # Raw files have to be told what they hold.
            return open_lazy(path) if reading is None else open_lazy(path, format="raw", shape=shape, **reading)

        return Way(suffix, write, open_)

    found = {
        "npy": way(".npy"),
        "raw": way(".raw", {"dtype": dtype}),
        "npz": way(".npz", compressed=False),
        "npz compressed": way(".npz"),
        "zarr": way(".zarr"),
        "zarr uncompressed": way(".zarr", compressor=None, checksum=False),
        "hdf5": way(".h5"),
    }
    if dtype == np.bool_ and ndim:
        found["packed bits"] = way(".bits", {"packed_axis": ndim - 1}, packed_axis=-1)
        found["zarr unpacked"] = way(".zarr", pack=False)
        found["hdf5 packed"] = way(".h5", pack=True)
    return found


def random_boxes(shape: tuple[int, ...], count: int) -> list[Box]:
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
    effort: Effort,
    *,
    formats: Sequence[str] | None = None,
    folder: str | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Write the array in each format into a temporary folder, and time it there.

    Parameters
    ----------
    path, component, options
        The array, as `packstore.open_array` takes it.
    effort
        How much is measured.
    formats
        Names as in `ways`; None: all.
    folder
        Where the temporary folder is made.
    progress
        Show a progress bar.

    Raises
    ------
    UnsupportedError
        No format takes the array.
    OptionError
        An unknown format.
    WriteError
        Not enough room.
    """
    array = open_lazy(path, component, **options)
    if array.dtype.hasobject:
        got = f"elements of no fixed size ({array.dtype})"
        raise UnsupportedError(
            message("measuring", path, array.component or None, expected="an array that can be written", got=got)
        )
    chosen = _chosen(ways(array.ndim, array.dtype), formats)
    box = _sample(array.shape, array.dtype.itemsize, effort.max_nbytes)
    source = clocked(lambda: np.array(array[box]))
    sample = source.value
    boxes = random_boxes(sample.shape, effort.crops)
    rows: dict[str, dict[str, Any]] = {}
    with (
        _workspace(path, folder, len(chosen) * sample.nbytes) as work,
        shown_progress(progress, "measuring", effort.rounds * len(chosen) * sample.nbytes) as shown,
    ):
        runs: dict[str, Callable[[], Figures]] = {}
        for label, way in chosen.items():
            rows[label] = _first(way, os.path.join(work, "first") + way.suffix, sample[tuple(slice(0, 1) for _ in box)])
            if "error" not in rows[label]:
                runs[label] = _round(rows[label], way, os.path.join(work, label.replace(" ", "-")), sample, boxes)
        figures, done = interleave(
            runs, effort.rounds, seconds=effort.seconds, after=lambda: shown.advance(sample.nbytes)
        )
    for label, found in figures.items():
        if "error" not in rows[label]:
            rows[label] |= least(found)
    good = {label: row for label, row in rows.items() if "error" not in row}
    if not good:
        raise UnsupportedError(
            message("measuring", path, array.component or None, got=next(iter(rows.values()))["error"])
        )
    return {
        "path": path,
        "component": array.component,
        "shape": list(array.shape),
        "dtype": str(array.dtype),
        "nbytes": array.nbytes,
        "measured": {"shape": list(sample.shape), "nbytes": sample.nbytes, "whole": sample.shape == array.shape},
        "source_read_s": source.seconds,
        "formats": rows,
        "best": reasons(good, sample.nbytes, effort.crops),
        "method": {
            **environment(PACKAGES),
            "cache": "files in the page cache, nothing decoded beforehand",
            "write": "atomic, with fsync",
            "counts": "the best round",
            "rounds": done,
            "rounds_wanted": effort.rounds,
            "crops": effort.crops,
            "crop_shape": [s.stop - s.start for s in boxes[0]],
        },
    }


def _first(way: Way, path: str, little: Array) -> dict[str, Any]:
    """Use a format once, so that no round pays for imports; give the dtype it returns, or the error."""
    row: dict[str, Any] = {}

    def run() -> Figures:
        write_out(way, path, little)
        row["dtype"] = str(way.open(path, little.shape).dtype)
        return read_back(way, path, little, [])

    _or_error(row, run)
    return row


def _round(row: dict[str, Any], way: Way, stem: str, sample: Array, boxes: list[Box]) -> Callable[[], Figures]:
    path = stem + way.suffix
    return lambda: _or_error(row, lambda: write_out(way, path, sample) | read_back(way, path, sample, boxes))


def _or_error(row: dict[str, Any], run: Callable[[], Figures]) -> Figures:
    """The figures of one run; none where the format does not take the array, and `row` says why."""
    if "error" in row:
        return {}
    try:
        return run()
    except WrongValueError as error:
        row["error"] = str(error)
    except PackstoreError as error:
        if isinstance(error, OSError):
            raise
        # Without the temporary file's name.
        row["error"] = str(error).partition(": ")[2] or str(error)
    return {}


def _chosen(known: dict[str, Way], wanted: Sequence[str] | None) -> dict[str, Way]:
    if wanted is None:
        return known
    found: dict[str, Way] = {}
    for name in wanted:
        if name.strip() not in known:
            expected = f"formats out of {', '.join(known)}"
            raise OptionError(message("reading --formats", expected=expected, got=repr(name)))
        found[name.strip()] = known[name.strip()]
    return found


def _sample(shape: tuple[int, ...], itemsize: int, max_nbytes: int) -> Box:
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
