"""Many: a dataset of a million chunks, and ten thousand files as one array: time and memory of each step."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import packstore
from packstore.cli.measure import clocked
from tests.benchmarks.memory import in_fresh_process, probe
from tests.benchmarks.model import Data
from tests.benchmarks.report import about_run

__all__ = ["run_many"]

Row = dict[str, Any]


def _chunks(data: Data) -> Path:
    """float32 in a million chunks of 1 KB behind shuffle and gzip (quick: a thousand)."""
    count = 1000 if data.quick else 1_000_000

    def write(path: Path) -> None:
        import h5py

        with h5py.File(path, "w", libver="latest") as file:
            shape, chunks = (16 * count, 16), (16, 16)
            made = file.create_dataset("x", shape, "f4", chunks=chunks, shuffle=True, compression="gzip")
            made[:16] = np.arange(256, dtype="f4").reshape(16, 16)
            mask, stored = made.id.read_direct_chunk((0, 0))
            for i in range(1, count):
                made.id.write_direct_chunk((16 * i, 0), stored, mask)

    return data.path(f"chunks-{count}-small.h5", write)


def _files(data: Data) -> Path:
    """Ten thousand npz files of two arrays (quick: a hundred)."""
    count = 100 if data.quick else 10_000

    def write(folder: Path) -> None:
        folder.mkdir()
        for i in range(count):
            np.savez(folder / f"{i:05}.npz", x=np.full((32, 32), i, "f4"), y=np.arange(8))

    return data.path(f"npz-{count}", write)


def _hdf5_ours(path: Path) -> dict[str, Callable[[], Any]]:
    return {
        "open": lambda: packstore.open_array(path, "x"),
        "crop": lambda: packstore.open_array(path, "x")[-10:, 3],
        "scan": lambda: packstore.from_file(path, "x").max().compute(),
    }


def _hdf5_h5py(path: Path) -> dict[str, Callable[[], Any]]:
    import dask.array as da
    import h5py

    opened = h5py.File(path, "r")["x"]
    chunks = packstore.from_file(path, "x").chunks
    return {
        "open": lambda: h5py.File(path, "r")["x"],
        "crop": lambda: opened[-10:, 3],
        "scan": lambda: da.from_array(opened, chunks=chunks).max().compute(),
    }


def _npz_ours(folder: Path) -> dict[str, Callable[[], Any]]:
    def opened() -> Any:
        return packstore.from_files(f"{folder}/*.npz", "x", new_axis=True)

    return {"open": opened, "crop": lambda: opened()[-1, 3].compute(), "scan": lambda: opened().max().compute()}


def _npz_numpy(folder: Path) -> dict[str, Callable[[], Any]]:
    def load(path: Path) -> Any:
        with np.load(path) as file:
            return file["x"]

    names = sorted(folder.iterdir())
    return {"crop": lambda: load(names[-1])[3], "scan": lambda: max(load(path).max() for path in names)}


JOBS: dict[str, tuple[str, Callable[[Data], Path], dict[str, Callable[[Path], dict[str, Callable[[], Any]]]]]] = {
    "chunks": ("HDF5 of a million chunks", _chunks, {"packstore": _hdf5_ours, "h5py": _hdf5_h5py}),
    "files": ("ten thousand npz files", _files, {"packstore": _npz_ours, "np.load": _npz_numpy}),
}


def _measure(job: str, side: str, root: str, quick: bool) -> Row:
    """The steps of one side, in a process of its own: the first time that each takes, and the memory of all."""
    path = JOBS[job][1](Data(Path(root), quick))
    steps = JOBS[job][2][side](path)
    found: Row = {}

    def run() -> Any:
        value = None
        for name, step in steps.items():
            took = clocked(step)
            found[f"{name}_s"], value = took.seconds, took.value
        return value

    memory = probe(run)
    return found | {"peak_anon_mb": memory.get("peak_anon_nbytes", 0) / 1e6}


def run_many(data: Data, out: Path) -> list[Row]:
    """Measure both, print them, write ``many.json``."""
    rows: list[Row] = []
    for job, (title, make, sides) in JOBS.items():
        make(data)
        for side in sides:
            arguments = (job, side, str(data.root), data.quick)
            figures = in_fresh_process(_measure, arguments) or _measure(*arguments)
            rows.append({"job": job, "title": title, "side": side, **figures})
            shown = ", ".join(f"{key} {value:.3f}" for key, value in figures.items())
            print(f"{title} | {side}: {shown}", flush=True)
    text = json.dumps({"environment": about_run(), "rows": rows}, indent=1)
    (out / "many.json").write_text(text + "\n", encoding="utf-8")
    print(f"written: {out / 'many.json'}")
    return rows
