"""Cost as work grows: from 1 to 10,000 chunks, and from 1 MB to 4 GB of sparse files."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import packstore
from packstore.cli.measure import clocked
from tests.benchmarks.data import crop_corners, take_crops
from tests.benchmarks.memory import in_fresh_process, probe
from tests.benchmarks.model import Data
from tests.benchmarks.report import about_run, pyplot
from tests.benchmarks.scenarios.figures import sparse_npy

__all__ = ["growth", "run_scaling"]

SIDE = 256

Row = dict[str, Any]


def _counts(quick: bool) -> list[int]:
    return [1, 10, 100] if quick else [1, 10, 100, 1000, 10_000]


def _sizes(quick: bool) -> list[int]:
    return [1 << 20, 1 << 22] if quick else [1 << 20, 1 << 22, 1 << 24, 1 << 26, 1 << 28, 1 << 30, 1 << 32]


def _packed_chunks(data: Data, count: int) -> Path:
    """A packed mask of `count` chunks of 256 x 256, one file each."""

    def write(path: Path) -> None:
        import zarr

        array = zarr.create_array(
            path,
            shape=(count * SIDE, SIDE),
            chunks=(SIDE, SIDE),
            dtype=bool,
            serializer=packstore.PackBitsCodec(),
            compressors=None,
            config={"write_empty_chunks": True},
        )
        block = np.random.default_rng(0).random((SIDE * min(count, 1000), SIDE)) < 0.5
        for start in range(0, count * SIDE, len(block)):
            array[start : start + len(block)] = block
        assert array.nchunks == count

    return data.path(f"chunks-{count}.zarr", write)


def _hdf5_chunks(data: Data, count: int) -> Path:
    """float32 in `count` chunks of 64 KB behind shuffle and gzip."""

    def write(path: Path) -> None:
        import h5py

        block = np.random.default_rng(0).integers(0, 4096, (128, 128)).astype(np.float32)
        with h5py.File(path, "w") as file:
            made = file.create_dataset(
                "x", (count * 128, 128), "f4", chunks=(128, 128), shuffle=True, compression="gzip"
            )
            made[:128] = block
            # All chunks alike: stored as they are, so that writing them is quick.
            mask, stored = made.id.read_direct_chunk((0, 0))
            for i in range(1, count):
                made.id.write_direct_chunk((i * 128, 0), stored, mask)

    return data.path(f"chunks-{count}.h5", write)


def _packed_raw(data: Data, nbytes: int) -> Path:
    """`nbytes` elements at one bit each."""

    def write(path: Path) -> None:
        with open(path, "wb") as file:
            file.truncate(nbytes // 8)

    return data.path(f"sparse-{nbytes}.bits", write)


def _hdf5_contiguous(data: Data, nbytes: int) -> Path:
    def write(path: Path) -> None:
        import h5py

        with h5py.File(path, "w") as file:
            creation = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            creation.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            creation.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
            space = h5py.h5s.create_simple((nbytes // 4 // 512, 512))
            h5py.h5d.create(file.id, b"x", h5py.h5t.IEEE_F32LE, space, creation)

    return data.path(f"sparse-{nbytes}.h5", write)


# Name: (what grows, its steps, the file of a step, the options of opening it).
SERIES: dict[str, tuple[str, Callable[[bool], list[int]], Callable[[Data, int], Path], Callable[[int], Row]]] = {
    "packed zarr": ("chunks", _counts, _packed_chunks, lambda n: {}),
    "HDF5 shuffle+gzip": ("chunks", _counts, _hdf5_chunks, lambda n: {"component": "x"}),
    "npy": ("bytes", _sizes, lambda data, n: sparse_npy(data, (n // 2048, 512), f"sparse-{n}"), lambda n: {}),
    "HDF5 contiguous": ("bytes", _sizes, _hdf5_contiguous, lambda n: {"component": "x"}),
    "packed raw": (
        "bytes",
        _sizes,
        _packed_raw,
        lambda n: {"format": "raw", "shape": (n // 1024, 1024), "packed_axis": 1},
    ),
}


def _measure(name: str, step: int, root: str, quick: bool, rounds: int) -> Row:
    """One step, in a process of its own: first opening, repeated opening, scan, crops, memory."""
    data = Data(Path(root), quick)
    _, _, make, options = SERIES[name]
    path, opening = make(data, step), options(step)
    # Import what opening needs before the clock runs.
    small = SERIES[name][1](quick)[0]
    packstore.from_file(make(data, small), **options(small)).max().compute()
    found: Row = {"first_open_ms": 1000 * clocked(lambda: packstore.open_array(path, **opening)).seconds}
    array = packstore.from_file(path, **opening)
    found["nbytes"] = array.nbytes
    found["dask_chunks"] = array.npartitions
    memory = probe(lambda: packstore.from_file(path, **opening).max().compute())
    chunk_nbytes = math.prod(max(c) for c in array.chunks) * array.dtype.itemsize
    found["scan_peak_anon_mb"] = memory.get("peak_anon_nbytes", 0) / 1e6
    found["dask_chunk_mb"] = chunk_nbytes / 1e6
    found["open_ms"] = _median(lambda: packstore.open_array(path, **opening), rounds)
    found["graph_ms"] = _median(lambda: packstore.from_file(path, **opening), rounds)
    found["scan_ms"] = _median(lambda: packstore.from_file(path, **opening).max().compute(), min(rounds, 5))
    opened = packstore.open_array(path, **opening)
    size = min(64, *opened.shape)
    corners = crop_corners(tuple(n + 1 for n in opened.shape), size, 100)
    found["crop_us"] = 10 * _median(lambda: take_crops(opened, corners, size), rounds)
    return found


def _median(run: Callable[[], Any], rounds: int) -> float:
    """Milliseconds."""
    return 1000 * statistics.median(clocked(run).seconds for _ in range(rounds))


def growth(rows: list[Row], key: str) -> float | None:
    """The exponent with which `key` grows over the upper half of a series: 1 is linear, 0 is flat."""
    upper = rows[len(rows) // 2 :]
    if len(upper) < 2 or not all(row[key] > 0 for row in upper):
        return None
    return float(np.polyfit(np.log([row["step"] for row in upper]), np.log([row[key] for row in upper]), 1)[0])


def run_scaling(data: Data, out: Path, rounds: int) -> dict[str, list[Row]]:
    """Measure all series, print them, write ``scaling.json`` and ``scaling.svg``."""
    results: dict[str, list[Row]] = {}
    for name, (unit, steps, make, _) in SERIES.items():
        rows = results[name] = []
        for step in steps(data.quick):
            make(data, step)
            row = in_fresh_process(_measure, (name, step, str(data.root), data.quick, rounds))
            if not row:
                # No fresh processes on this system: the times are as good, the memory is not.
                row = _measure(name, step, str(data.root), data.quick, rounds)
            rows.append({"step": step, "unit": unit, **row})
    about = about_run()
    _print(results)
    text = json.dumps({"environment": about, "series": results}, indent=1)
    (out / "scaling.json").write_text(text + "\n", encoding="utf-8")
    _chart(out / "scaling.svg", results, about)
    print(f"written: {out / 'scaling.json'}, {out / 'scaling.svg'}")
    return results


COLUMNS_SHOWN = ("first_open_ms", "open_ms", "graph_ms", "scan_ms", "crop_us", "scan_peak_anon_mb", "dask_chunk_mb")


def _print(results: dict[str, list[Row]]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for name, rows in results.items():
        table = Table(title=name)
        table.add_column(rows[0]["unit"], justify="right")
        for key in COLUMNS_SHOWN:
            table.add_column(key.replace("_", " "), justify="right")
        for row in rows:
            table.add_row(f"{row['step']:,}", *(f"{row[key]:.2f}" for key in COLUMNS_SHOWN))
        exponents = [growth(rows, key) for key in COLUMNS_SHOWN]
        table.add_row("grows as n^", *("-" if e is None else f"{e:.2f}" for e in exponents), style="bold")
        console.print(table)


def _chart(path: Path, results: dict[str, list[Row]], about: Row) -> None:
    shown = (("open_ms", "opening, ms"), ("scan_ms", "scan under dask, ms"), ("scan_peak_anon_mb", "peak memory, MB"))
    with pyplot() as plt:
        figure, grid = plt.subplots(2, len(shown), figsize=(10, 5.5))
        for line, unit in enumerate(("chunks", "bytes")):
            for axes, (key, title) in zip(grid[line], shown, strict=True):
                for name, rows in results.items():
                    if rows[0]["unit"] == unit:
                        axes.plot(
                            [row["step"] for row in rows],
                            [max(row[key], 1e-2) for row in rows],
                            marker="o",
                            ms=3,
                            label=name,
                        )
                axes.set_xscale("log")
                axes.set_yscale("log")
                axes.set_xlabel(unit)
                axes.set_title(title, fontsize=8)
                axes.minorticks_off()
                axes.grid(alpha=0.3)
            grid[line][0].legend(fontsize=7)
        figure.suptitle(
            f"packstore {about['versions']['packstore']}: cost as work grows (Python {about['python']}, "
            f"{about['cores']} CPUs, warm cache)",
            fontsize=9,
        )
        figure.tight_layout()
        figure.savefig(path, metadata={"Date": None})
        plt.close(figure)
