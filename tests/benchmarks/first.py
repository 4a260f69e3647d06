"""The first second: whole Python processes that open one array of a file and read it, ours and each peer's in turn.

What a user waits for who runs one script: the interpreter, the imports, the index, the decoding, the first touch of
every page. The file is in the page cache. Each process checks the sum of what it read.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from packstore.cli.measure import WrongValueError, interleave
from tests.benchmarks.data import Array, floats, mask, npy, packed_zarr
from tests.benchmarks.model import Data
from tests.benchmarks.report import about_run

__all__ = ["JOBS", "Job", "run_first"]

Row = dict[str, Any]
# Processes a side and job.
ROUNDS = 9

OURS = {
    "open_lazy": "import numpy as np, packstore; x = packstore.open_lazy({path!r}, {name!r})[...]",
    "open_array": "import packstore; x = packstore.open_array({path!r}, {name!r})[...]",
    "from_file": "import packstore; x = packstore.from_file({path!r}, {name!r}).compute()",
}
NUMPY = {
    "np.load": "import numpy as np; x = np.load({path!r})",
    "np.load, dask": "import numpy as np, dask.array as da; "
    "x = da.from_array(np.load({path!r}, mmap_mode='r'), name=False).compute()",
}
NPZ = {"np.load": "import numpy as np; x = np.load({path!r})[{name!r}]"}
ZARR = {"zarr.open_array": "import zarr; x = zarr.open_array({path!r}, mode='r')[...]"}
H5PY = {
    "h5py": "import h5py; x = h5py.File({path!r}, 'r')[{name!r}][...]",
    "h5py, dask": "import h5py, dask.array as da; x = da.from_array(h5py.File({path!r}, 'r')[{name!r}]).compute()",
    "blosc2": "import blosc2; x = blosc2.open({path!r}, mode='r', dataset={name!r})[...]",
}
# What every process does at its end: it says what it has read.
TAIL = "; import json, sys; print(json.dumps([int(x.sum(dtype='f8') // 1), 'zarr' in sys.modules]))"
IMPORTS = ("numpy", "zarr", "dask.array", "h5py", "packstore", "packstore.views.lazy", "packstore.views.zarr.open")


@dataclass(frozen=True)
class Job:
    """One file, and the ways to read one array of it.

    Parameters
    ----------
    name, title
        As the table has them.
    make
        Gives the file and the array that must come out of it.
    component
        The array in the file.
    peers
        By name, what a process runs: it leaves the array in ``x``.
    """

    name: str
    title: str
    make: Callable[[Data], tuple[Path, Array]]
    component: str | None
    peers: dict[str, str]


def _part(data: Data) -> Array:
    """32 MB of floats (quick: 4 MB)."""
    return floats(data)[: 1024 if data.quick else 2048]


def _npy(data: Data) -> tuple[Path, Array]:
    return npy(data, "first", _part(data)), _part(data)


def _npz(save: Callable[..., None]) -> Callable[[Data], tuple[Path, Array]]:
    def make(data: Data) -> tuple[Path, Array]:
        array = _part(data)

        def write(path: Path) -> None:
            with open(path, "wb") as file:
                save(file, x=array)

        return data.path(f"first-{save.__name__}.npz", write), array

    return make


def _packed(data: Data) -> tuple[Path, Array]:
    array = mask(data)
    return packed_zarr(data, array), array


def _hdf5(name: str, others: int = 0, **options: Any) -> Callable[[Data], tuple[Path, Array]]:
    def make(data: Data) -> tuple[Path, Array]:
        array = _part(data)
        others_made = min(others, 100) if data.quick else others

        def write(path: Path) -> None:
            import h5py

            with h5py.File(path, "w") as file:
                for i in range(others_made):
                    file.create_dataset(f"other/{i:04}", data=array[:8, :8])
                file.create_dataset("x", data=array, **options)

        return data.path(f"first-{name}.h5", write), array

    return make


GZIP: dict[str, Any] = {"chunks": (256, 512), "shuffle": True, "compression": "gzip"}
JOBS = (
    Job("npy", "npy", _npy, None, NUMPY),
    Job("npz-stored", "npz, stored", _npz(np.savez), "x", NPZ),
    Job("npz-deflated", "npz, deflated", _npz(np.savez_compressed), "x", NPZ),
    Job("zarr-packed", "packed zarr", _packed, None, ZARR),
    Job("hdf5-contiguous", "HDF5 contiguous", _hdf5("contiguous"), "x", H5PY),
    Job("hdf5-gzip", "HDF5 shuffle+gzip", _hdf5("gzip", **GZIP), "x", H5PY),
    Job("hdf5-gzip-3000", "HDF5 shuffle+gzip, one of 3,000", _hdf5("gzip-3000", 3000, **GZIP), "x", H5PY),
)


def _process(code: str, environment: dict[str, str]) -> tuple[float, list[Any]]:
    """Seconds of a whole process, and what it printed."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1][:200])
    return seconds, json.loads(done.stdout or "[]")


def _job(job: Job, data: Data, rounds: int, environment: dict[str, str]) -> list[Row]:
    path, array = job.make(data)
    expected = int(array.sum(dtype="f8") // 1)
    rows: list[Row] = []
    runs: dict[str, Callable[[], dict[str, float]]] = {}
    for side, code in (job.peers | OURS).items():
        code = code.format(path=str(path), name=job.component) + TAIL
        row: Row = {"job": job.name, "title": job.title, "side": side, "ours": side in OURS, "status": "ok"}
        rows.append(row)
        try:
            _, (value, row["imports_zarr"]) = _process(code, environment)
        except RuntimeError as error:
            if row["ours"]:
                raise
            row["status"] = str(error)
            continue
        if value != expected:
            if row["ours"]:
                raise WrongValueError(f"{job.name}: {side} read another array")
            row["status"] = "wrong values"
            continue
        runs[side] = lambda code=code: {"ms": 1000 * _process(code, environment)[0]}  # type: ignore[misc]
    found, _ = interleave(runs, rounds)
    for row in rows:
        if row["side"] in found:
            times = found[row["side"]]["ms"]
            row |= {"ms": statistics.median(times), "ms_min": min(times), "rounds": rounds}
    return rows


def _imports(rounds: int, environment: dict[str, str]) -> Row:
    """Milliseconds that a process takes which imports one module, less those of one that imports nothing."""

    def run(code: str) -> Callable[[], dict[str, float]]:
        return lambda: {"ms": 1000 * _process(code, environment)[0]}

    found, _ = interleave({"": run("pass")} | {name: run(f"import {name}") for name in IMPORTS}, rounds)
    start = statistics.median(found.pop("")["ms"])
    return {"python": start} | {name: statistics.median(f["ms"]) - start for name, f in found.items()}


def run_first(data: Data, out: Path, rounds: int, only: Sequence[str] = ()) -> list[Row]:
    """Measure the jobs, print them, write ``first.json``."""
    # As an installed package is: compiled once.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    imports = _imports(rounds, environment)
    rows = [
        row
        for job in JOBS
        if not only or any(part in job.name for part in only)
        for row in _job(job, data, rounds, environment)
    ]
    about = about_run()
    _print(rows, imports)
    text = json.dumps({"environment": about, "imports_ms": imports, "rows": rows}, indent=1)
    (out / "first.json").write_text(text + "\n", encoding="utf-8")
    print(f"written: {out / 'first.json'}")
    return rows


def _print(rows: list[Row], imports: Row) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=140)
    table = Table(title="whole processes that open one array and read it")
    for head in ("file", "reader", "ms", "least ms", "imports zarr"):
        table.add_column(head, justify="right" if "ms" in head else "left")
    for row in rows:
        times = [f"{row['ms']:.0f}", f"{row['ms_min']:.0f}"] if "ms" in row else [row["status"], ""]
        table.add_row(row["title"], row["side"], *times, str(row.get("imports_zarr", "")))
    console.print(table)
    shown = ", ".join(f"{name} {ms:.0f}" for name, ms in imports.items())
    console.print(f"import times, ms beyond the interpreter's own: {shown}", highlight=False)
