"""``packstore bench``: one array in each format, measured; and which is best for what."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from packstore.cli.convert import size_on_disk
from packstore.cli.info import human
from packstore.lazy import LazyArray
from packstore.readers import find_array, locate
from packstore.writers import save

__all__ = ["measure", "render"]

# Name → file name, options of save, options of reading.
Target = tuple[str, dict[str, Any], dict[str, Any]]


def targets(array: LazyArray) -> dict[str, Target]:
    """The formats this array can take."""
    raw = {"format": "raw", "shape": array.shape, "dtype": array.dtype.str if not array.dtype.names else array.dtype}
    found: dict[str, Target] = {
        "npy": ("x.npy", {}, {}),
        "raw": ("x.raw", {}, raw),
        "npz": ("x.npz", {}, {}),
        "zarr": ("x.zarr", {}, {}),
        "hdf5": ("x.h5", {}, {}),
    }
    if array.dtype == np.bool_ and array.shape:
        bits = {"format": "raw", "shape": array.shape, "packed_axis": len(array.shape) - 1}
        found["packed bits"] = ("x.bits", {"packed_axis": -1}, bits)
        found["zarr, no zstd"] = ("y.zarr", {"compressor": None}, {})
    return found


def random_boxes(shape: tuple[int, ...], count: int) -> list[tuple[slice, ...]]:
    """Small boxes at random places: up to 256 along each of the last two axes, one index of the others."""
    rng = np.random.default_rng(0)
    boxes = []
    for _ in range(count):
        box = []
        for axis, n in enumerate(shape):
            size = min(n, 256 if axis >= len(shape) - 2 else 1)
            start = int(rng.integers(0, n - size + 1)) if n else 0
            box.append(slice(start, start + size, 1))
        boxes.append(tuple(box))
    return boxes


def _median(run: Callable[[], Any], rounds: int) -> float:
    times = []
    for _ in range(max(rounds, 1)):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def measure(
    path: str, component: str | None, options: dict[str, Any], *, crops: int, rounds: int, folder: str | None
) -> dict[str, Any]:
    """Write the array in each format into a temporary folder and time it there (files in the page cache)."""
    location = locate(path, **options)
    name, manifest = find_array(location, component)
    array = LazyArray(location, name, manifest)
    boxes = random_boxes(array.shape, crops)
    home = folder or os.path.dirname(os.path.abspath(path)) or "."
    rows: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(dir=home, prefix=".packstore-bench-") as work:
        for label, (file, writing, reading) in targets(array).items():
            rows[label] = _row(array, os.path.join(work, file), writing, reading, boxes, rounds)
    good = {k: r for k, r in rows.items() if "error" not in r}
    best = {
        "size": min(good, key=lambda k: good[k]["stored_nbytes"]),
        "reading": min(good, key=lambda k: good[k]["read_s"]),
        "crops": min(good, key=lambda k: good[k]["crops_s"]),
    }
    reasons = {
        "size": f"{human(good[best['size']]['stored_nbytes'])} for {human(array.nbytes)}",
        "reading": f"{array.nbytes / max(good[best['reading']]['read_s'], 1e-9) / 1e9:.2f} GB/s into memory",
        "crops": f"{good[best['crops']]['crops_s'] / max(crops, 1) * 1e6:.0f} µs a crop",
    }
    return {
        "path": path,
        "component": name,
        "shape": list(array.shape),
        "dtype": str(array.dtype),
        "nbytes": array.nbytes,
        "formats": rows,
        "best": {k: {"format": best[k], "why": reasons[k]} for k in best},
    }


def _row(
    array: LazyArray,
    path: str,
    writing: dict[str, Any],
    reading: dict[str, Any],
    boxes: list[tuple[slice, ...]],
    rounds: int,
) -> dict[str, Any]:
    from packstore.errors import PackstoreError
    from packstore.lazy import open_lazy

    start = time.perf_counter()
    try:
        save(path, array, **writing)
    except PackstoreError as error:
        # This format does not take this dtype: the table says so.
        return {"error": str(error)}
    wrote = time.perf_counter() - start
    where = open_lazy(path, **reading)
    return {
        "stored_nbytes": size_on_disk(path),
        "write_s": wrote,
        "read_s": _median(lambda: np.array(where[...]), rounds),
        "crops_s": _median(lambda: [np.array(where[b]) for b in boxes], rounds),
    }


def render(console: Console, result: dict[str, Any]) -> None:
    """The table and the verdicts."""
    table = Table(
        title=f"{tuple(result['shape'])} {result['dtype']}, {human(result['nbytes'])}; files in the page cache"
    )
    table.add_column("format")
    for column in ("on disk", "ratio", "write s", "full read s", "crops ms"):
        table.add_column(column, justify="right")
    for name, row in result["formats"].items():
        if "error" in row:
            table.add_row(name, "not possible", "", "", "", "")
            continue
        table.add_row(
            name,
            human(row["stored_nbytes"]),
            f"{result['nbytes'] / max(row['stored_nbytes'], 1):.2f}",
            f"{row['write_s']:.3f}",
            f"{row['read_s']:.3f}",
            f"{row['crops_s'] * 1e3:.1f}",
        )
    console.print(table)
    for what, verdict in result["best"].items():
        console.print(f"best for {what}: {verdict['format']} ({verdict['why']})")
