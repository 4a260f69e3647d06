"""What is the best way to preserve numpy arrays on disk? Measured, for masks, floats and ints.

Makes three arrays (cell-like masks, a smooth float32 field with noise, uint16 camera counts), writes each with
everything that is usually named in answer to that question, and with packstore; reads each back whole and in one crop,
by the library that wrote it and by packstore; asserts that every one of these gives the same values; prints a table and
an answer for each kind of data, and draws a plot.

    python examples/which_format.py [--size 1024] [--frames 8] [--rounds 2] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pickle
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import zarr
from rich.console import Console
from rich.table import Table

import packstore

CROP = 256
# Text takes seconds for what others do in milliseconds: it gets the first frame, and its figures are scaled.
TEXT_FRAMES = 1

Read = Callable[[Path, Any], np.ndarray]


def arrays(frames: int, size: int) -> dict[str, np.ndarray]:
    """The three kinds of data."""
    rng = np.random.default_rng(0)
    y, x = np.ogrid[:size, :size]
    waves = np.empty((frames, size, size), np.float32)
    for k in range(frames):
        # Blobs of some 40 pixels that move from frame to frame.
        waves[k] = np.sin((x + 5 * k) / 19) * np.cos((y - 3 * k) / 23) + np.sin((x + y) / 61)
    noise = rng.normal(0, 0.1, waves.shape).astype(np.float32)
    return {
        "masks": waves + noise / 4 > 0.6,
        "floats": waves + noise,
        "ints": rng.poisson(200 + 100 * waves).astype(np.uint16),
    }


@dataclass
class Format:
    """How one way of saving is used."""

    name: str
    suffix: str
    write: Callable[[Path, np.ndarray], Any]
    # Opens the file and reads the elements at a key (... for all).
    read: Read
    # Options of packstore, where the file itself does not tell.
    options: Callable[[np.ndarray], dict[str, Any]] = lambda array: {}
    component: str | None = None
    text: bool = False
    ours: bool = False


def formats(kind: str) -> list[Format]:
    """All that are tried for one kind of data."""

    def by_packstore(**options: Any) -> Read:
        return lambda path, key: np.array(packstore.open_array(path, **options)[key])

    def saved_by_h5py(path: Path, array: np.ndarray) -> None:
        with h5py.File(path, "w") as file:
            file.create_dataset("data", data=array, compression="gzip")

    def read_by_h5py(path: Path, key: Any) -> np.ndarray:
        with h5py.File(path, "r") as file:
            return file["data"][key]

    def read_npz(path: Path, key: Any) -> np.ndarray:
        with np.load(path) as archive:
            return archive["data"][key]

    def pickled(path: Path, array: np.ndarray) -> None:
        with path.open("wb") as file:
            pickle.dump(array, file, protocol=5)

    def unpickled(path: Path, key: Any) -> np.ndarray:
        with path.open("rb") as file:
            return pickle.load(file)[key]

    def as_text(path: Path, array: np.ndarray) -> None:
        np.savetxt(path, array.reshape(-1, array.shape[-1]), fmt="%.9g" if array.dtype.kind == "f" else "%d")

    dtype = {"masks": np.bool_, "floats": np.float32, "ints": np.uint16}[kind]
    # What loadtxt reads; the tables are two-dimensional.
    text_dtype = np.uint8 if kind == "masks" else dtype

    def read_text(path: Path, key: Any) -> np.ndarray:
        table = np.loadtxt(path, dtype=text_dtype, ndmin=2)
        return table.reshape(-1, table.shape[1], table.shape[1]).astype(dtype)[key]

    def raw(array: np.ndarray) -> dict[str, Any]:
        return {"format": "raw", "dtype": array.dtype, "shape": array.shape}

    def read_raw(path: Path, key: Any) -> np.ndarray:
        # Shape and type are in no header: the name has to carry them.
        shape = tuple(int(n) for n in path.stem.split("-")[-1].split("x"))
        return np.array(np.memmap(path, dtype, "r", shape=shape)[key])

    found = [
        Format("np.save", ".npy", np.save, lambda p, k: np.array(np.load(p, mmap_mode="r")[k])),
        Format("np.savez", ".npz", lambda p, a: np.savez(p, data=a), read_npz, component="data"),
        Format("np.savez_compressed", ".npz", lambda p, a: np.savez_compressed(p, data=a), read_npz, component="data"),
        Format("tofile", ".raw", lambda p, a: a.tofile(p), read_raw, raw),
        Format("pickle", ".pkl", pickled, unpickled),
        Format("np.savetxt", ".txt", as_text, read_text, text=True),
        Format("h5py gzip", ".h5", saved_by_h5py, read_by_h5py, component="data"),
        Format(
            "zarr default", ".zarr", lambda p, a: zarr.save_array(p, a), lambda p, k: zarr.open_array(p, mode="r")[k]
        ),
        Format("packstore npz", ".npz", packstore.save, by_packstore(), ours=True),
        Format("packstore h5", ".h5", packstore.save, by_packstore(), ours=True),
        Format("packstore zarr", ".zarr", packstore.save, by_packstore(), ours=True),
    ]
    if kind == "masks":

        def bits(array: np.ndarray) -> dict[str, Any]:
            return {"format": "raw", "shape": array.shape, "packed_axis": -1}

        def packed(path: Path, array: np.ndarray) -> None:
            packstore.save(path, array, packed_axis=-1)

        def read_packed(path: Path, key: Any) -> np.ndarray:
            shape = tuple(int(n) for n in path.stem.split("-")[-1].split("x"))
            return np.array(packstore.open_memmap(path, "r", shape, axis=-1, bitorder="big")[key])

        plain = Format(
            "packstore zarr, no zstd",
            ".zarr",
            lambda p, a: packstore.save(p, a, compressor=None),
            by_packstore(),
            ours=True,
        )
        found += [plain, Format("packstore bits", ".bits", packed, read_packed, bits, ours=True)]
    return found


@dataclass
class Row:
    """What one format costs: bytes, and the best time of each kind in seconds."""

    nbytes: float = 0
    times: dict[str, float] = field(default_factory=dict)

    def add(self, what: str, seconds: float) -> None:
        self.times[what] = min(seconds, self.times.get(what, seconds))


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def files(path: Path) -> list[Path]:
    return [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file()]


def to_disk(path: Path) -> None:
    """Wait until the bytes are on the disk, as packstore.save does itself."""
    for file in files(path):
        fd = os.open(file, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)


def measure(form: Format, folder: Path, array: np.ndarray, row: Row, number: int, *, with_packstore: bool) -> None:
    """One round: write, read whole, read a crop; the last two by packstore too."""
    whole = array
    if form.text:
        array = array[:TEXT_FRAMES]
    scale = whole.size / array.size
    shape = "x".join(map(str, array.shape))
    path = folder / f"{form.name.replace(' ', '_')}-{number}-{shape}{form.suffix}"

    def write() -> None:
        form.write(path, array)
        if not form.ours:
            to_disk(path)

    row.add("write", timed(write)[0] * scale)
    row.nbytes = sum(f.stat().st_size for f in files(path)) * scale
    size = array.shape[-1]
    crop = min(CROP, size)
    y, x = np.random.default_rng(number).integers(0, size - crop + 1, 2)
    key = (len(array) // 2, slice(y, y + crop), slice(x, x + crop))

    seconds, got = timed(lambda: form.read(path, ...))
    row.add("read", seconds * scale)
    np.testing.assert_array_equal(got, array)
    # Of text, a crop means reading all of it: that is what is scaled.
    seconds, got = timed(lambda: form.read(path, key))
    row.add("crop", seconds * scale)
    np.testing.assert_array_equal(got, array[key])
    if not with_packstore:
        return
    if form.text:
        table = packstore.open_array(path, dtype="u1" if array.dtype == bool else array.dtype)
        np.testing.assert_array_equal(np.array(table[...]).reshape(array.shape).astype(array.dtype), array)
        return

    def again(at: Any) -> np.ndarray:
        return np.array(packstore.open_array(path, form.component, **form.options(array))[at])

    seconds, got = timed(lambda: again(...))
    row.add("read by packstore", seconds)
    np.testing.assert_array_equal(got, array)
    seconds, got = timed(lambda: again(key))
    row.add("crop by packstore", seconds)
    np.testing.assert_array_equal(got, array[key])


def table_of(kind: str, array: np.ndarray, rows: dict[str, Row]) -> Table:
    table = Table(title=f"{kind}: {array.shape} {array.dtype}, {array.nbytes / 1e6:.1f} MB; times in ms")
    table.add_column("format", no_wrap=True)
    for column in ("MB", "ratio", "write", "read", "crop", "read*", "crop*"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, row in rows.items():
        numbers = [row.times.get(w) for w in ("write", "read", "crop", "read by packstore", "crop by packstore")]
        shown = ["" if n is None else f"{n * 1e3:.{0 if n >= 0.01 else 1}f}" for n in numbers]
        table.add_row(name, f"{row.nbytes / 1e6:.3g}", f"{array.nbytes / row.nbytes:.1f}", *shown)
    return table


def answer(kind: str, rows: dict[str, Row]) -> str:
    """The best for each need; as good is what is within 10 %."""

    def best(value: Callable[[Row], float]) -> str:
        least = min(value(r) for r in rows.values())
        return " or ".join(name for name, r in rows.items() if value(r) <= 1.1 * least)

    return (
        f"{kind}: smallest {best(lambda r: r.nbytes)}; read whole fastest {best(lambda r: r.times['read'])}; "
        f"a crop fastest {best(lambda r: r.times['crop'])}"
    )


def plot(path: Path, results: dict[str, dict[str, Row]], ours: set[str]) -> None:
    """Bars: a row of panels for each kind of data."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 4 * len(results)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(results), 3, squeeze=False)
    for line, (kind, rows) in zip(axes, results.items(), strict=True):
        names = list(rows)
        colors = ["tab:blue" if n in ours else "0.6" for n in names]
        panels: dict[str, list[float]] = {
            "MB on disk": [r.nbytes / 1e6 for r in rows.values()],
            "full read, ms": [r.times["read"] * 1e3 for r in rows.values()],
            "open and read one crop, ms": [r.times["crop"] * 1e3 for r in rows.values()],
        }
        for ax, (title, values) in zip(line, panels.items(), strict=True):
            bars = ax.barh(names, values, color=colors)
            ax.bar_label(bars, fmt="%.3g", padding=2)
            ax.set_xscale("log")
            ax.margins(x=0.15)
            ax.invert_yaxis()
            ax.set_title(f"{kind}: {title}")
        for ax in line[1:]:
            ax.set_yticklabels([])
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1024, help="pixels along each side of a frame")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=2, help="interleaved rounds; the best counts")
    parser.add_argument("--out", type=Path, help="where the plot goes; default: a new temporary folder")
    args = parser.parse_args()
    console = Console(highlight=False)
    out: Path = args.out or Path(tempfile.mkdtemp(prefix="which-format-"))
    out.mkdir(parents=True, exist_ok=True)

    results: dict[str, dict[str, Row]] = {}
    ours: set[str] = set()
    for kind, array in arrays(args.frames, args.size).items():
        tried = formats(kind)
        ours.update(f.name for f in tried if f.ours)
        rows = results[kind] = {form.name: Row() for form in tried}
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=out)))
            for number in range(args.rounds):
                for form in tried:
                    if number and form.text:
                        continue
                    measure(form, folder, array, rows[form.name], number, with_packstore=not form.ours)
        console.print(table_of(kind, array, rows))
    console.print(
        f"best of {args.rounds} interleaved rounds, {os.cpu_count()} cores, page cache warm, writes with fsync; "
        f"crop: open the file and read {min(CROP, args.size)} x {min(CROP, args.size)} of one frame; "
        f"* the same file read by packstore; text: measured on {TEXT_FRAMES} frame and scaled",
        soft_wrap=True,
    )
    for kind, rows in results.items():
        console.print(answer(kind, rows), soft_wrap=True)
    target = out / "which_format.png"
    plot(target, results, ours)
    console.print(f"all formats gave equal values; plot: {target}", soft_wrap=True)


if __name__ == "__main__":
    main()
