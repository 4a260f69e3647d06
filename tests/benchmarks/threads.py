"""Threads: how each kind of read scales with the threads of one process, and what stops it.

Three figures of each read say so: its time with one thread and with all cores, from which Amdahl's law gives the part
that runs by itself (Python under the GIL, and waiting for it); and the bytes that it moves to and from memory, held
against what the memory of the machine moves with as many threads. The model beyond this machine's cores is the larger
of the two: ``max(t1 * (serial + (1 - serial) / n), bytes / bandwidth(n))``, with the bandwidth of all cores here as
that of every number of threads, which a machine of more channels exceeds.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import packstore
from packstore import config
from packstore.cli.measure import clocked, interleave
from tests.benchmarks.data import floats, mask, npy, packed_zarr, zarr_array
from tests.benchmarks.model import Data
from tests.benchmarks.report import about_run
from tests.benchmarks.scenarios import hdf5

__all__ = ["run_threads", "serial_part"]

Row = dict[str, Any]
FURTHER = (4, 8, 16)
# Name: the file, and the array in it.
READS: dict[str, Callable[[Data], tuple[Path, str | None]]] = {
    "npy, copied": lambda data: (npy(data, "floats", floats(data)), None),
    "packed zarr": lambda data: (packed_zarr(data, mask(data)), None),
    "zarr, zstd": lambda data: (zarr_array(data, "floats-zstd", floats(data)), None),
    "HDF5 chunked": lambda data: (hdf5.file(data, "chunked"), "x"),
    "HDF5 shuffle+gzip": lambda data: (hdf5.file(data, "shuffle+gzip"), "x"),
    "HDF5 shuffle+gzip, 64 KB": lambda data: (hdf5.file(data, "shuffle+gzip-64k"), "x"),
    "HDF5 blosc2, 64 KB": lambda data: (hdf5.file(data, "blosc2-64k"), "x"),
    "HDF5 bitshuffle+lz4": lambda data: (hdf5.file(data, "bitshuffle-lz4"), "x"),
}


def serial_part(one_s: float, many_s: float, threads: int) -> float:
    """The part of the work that more threads do not make shorter, by Amdahl's law.

    Examples
    --------
    >>> serial_part(1.0, 0.5, 2), serial_part(1.0, 1.0, 2)
    (0.0, 1.0)
    """
    if threads < 2:
        return 1.0
    return min(max((many_s / one_s - 1 / threads) / (1 - 1 / threads), 0.0), 1.0)


def _bandwidth(threads: int, nbytes: int) -> float:
    """Bytes a second that so many threads write into memory that is at hand."""
    target = np.zeros(nbytes, np.uint8)
    parts = np.array_split(target, threads)

    def fill() -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda part: part.fill(1), parts))

    return nbytes / min(clocked(fill).seconds for _ in range(5))


def run_threads(data: Data, out: Path, rounds: int) -> list[Row]:
    """Measure all reads, print them, write ``threads.json``."""
    cores = config.cpu_count()
    bandwidth = {n: _bandwidth(n, (1 << 24) if data.quick else (1 << 28)) for n in sorted({1, cores})}
    rows: list[Row] = []
    for name, make in READS.items():
        path, component = make(data)
        opened = packstore.open_array(path, component)

        def timed(threads: int, opened: Any = opened) -> Callable[[], dict[str, float]]:
            def once() -> dict[str, float]:
                with packstore.config.set({"threads": threads}):
                    return {"s": clocked(lambda: opened[...]).seconds}

            return once

        found, _ = interleave({str(n): timed(n) for n in bandwidth}, rounds)
        times = {n: statistics.median(found[str(n)]["s"]) for n in bandwidth}
        serial = serial_part(times[1], times[cores], cores)
        # Each byte is written once, into pages that the system has zeroed before: twice.
        floor_s = 2 * opened.nbytes / bandwidth[cores]
        row: Row = {"read": name, "nbytes": opened.nbytes, "one_ms": 1000 * times[1], "cores": cores}
        row |= {"cores_ms": 1000 * times[cores], "speed_up": times[1] / times[cores], "serial": serial}
        row["memory_floor_ms"] = 1000 * floor_s
        row["model_ms"] = {n: 1000 * max(times[1] * (serial + (1 - serial) / n), floor_s) for n in FURTHER}
        rows.append(row)
    about = about_run()
    _print(rows, bandwidth)
    text = json.dumps({"environment": about, "bandwidth": bandwidth, "rows": rows}, indent=1)
    (out / "threads.json").write_text(text + "\n", encoding="utf-8")
    print(f"written: {out / 'threads.json'}")
    return rows


def _print(rows: list[Row], bandwidth: dict[int, float]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=140)
    cores = rows[0]["cores"]
    table = Table(title=f"whole arrays with 1 and {cores} threads, and a model beyond")
    heads = ("1 thread, ms", f"{cores} threads, ms", "speed-up", "serial", "memory floor, ms")
    table.add_column("read")
    for head in (*heads, *(f"model {n}, ms" for n in FURTHER)):
        table.add_column(head, justify="right")
    for row in rows:
        figures = [f"{row['one_ms']:.0f}", f"{row['cores_ms']:.0f}", f"{row['speed_up']:.2f}", f"{row['serial']:.2f}"]
        models = [f"{row['model_ms'][n]:.0f}" for n in FURTHER]
        table.add_row(row["read"], *figures, f"{row['memory_floor_ms']:.0f}", *models)
    console.print(table)
    shown = ", ".join(f"{n}: {rate / 1e9:.1f} GB/s" for n, rate in bandwidth.items())
    console.print(f"writing memory, by threads: {shown}", highlight=False)
