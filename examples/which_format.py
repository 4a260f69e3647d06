"""What is the best way to preserve numpy arrays on disk? Measured, for masks, floats and ints.

Makes three arrays (cell-like masks, a smooth float32 field with noise, uint16 camera counts), writes each with
everything that is usually named in answer to that question, and with packstore; reads each back whole and in one crop,
by the library that wrote it and by packstore; asserts that every one of these gives the same values; prints a table and
an answer for each kind of data, and draws a plot.

    python examples/which_format.py [--size 1024] [--frames 8] [--rounds 2] [--out FOLDER]
"""

from __future__ import annotations

import argparse
import itertools
import os
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import zarr
from rich.console import Console
from rich.table import Table

import packstore
from packstore.cli import bench
from packstore.cli.measure import Figures, Way, files_of, interleave, least, read_back, write_out

CROP = 256
# Text takes seconds for what others do in milliseconds: it gets the first frame, and its figures are scaled.
TEXT_FRAMES = 1
# Names of formats that are packstore's begin with it.
OURS = "packstore "


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


def to_disk(write: Callable[[str, np.ndarray], object]) -> Callable[[str, np.ndarray], object]:
    """A way to write that waits until the bytes are on the disk, as packstore.save does."""

    def written(path: str, array: np.ndarray) -> None:
        write(path, array)
        for file in files_of(path):
            fd = os.open(file, os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)

    return written


def saved_by_h5py(path: str, array: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=array, compression="gzip")


def pickled(path: str, array: np.ndarray) -> None:
    with open(path, "wb") as file:
        pickle.dump(array, file, protocol=5)


def unpickled(path: str, shape: tuple[int, ...]) -> np.ndarray:
    with open(path, "rb") as file:
        return pickle.load(file)


def as_text(path: str, array: np.ndarray) -> None:
    np.savetxt(path, array.reshape(-1, array.shape[-1]), fmt="%.9g" if array.dtype.kind == "f" else "%d")


def ways(dtype: np.dtype) -> dict[str, tuple[Way, Way | None]]:
    """All that are tried for one kind of data: how its own library writes and reads it, and how packstore reads it."""

    def text(path: str, shape: tuple[int, ...]) -> np.ndarray:
        # Tables are two-dimensional, and loadtxt reads no bools.
        return np.loadtxt(path, dtype="u1" if dtype.kind == "b" else dtype, ndmin=2).reshape(shape).astype(dtype)

    def text_by_packstore(path: str, shape: tuple[int, ...]) -> np.ndarray:
        table = packstore.open_array(path, dtype="u1" if dtype.kind == "b" else dtype)
        return np.array(table[...]).reshape(shape).astype(dtype)

    def opened(component: str | None = None) -> Callable[[str, tuple[int, ...]], Any]:
        return lambda path, shape: packstore.open_array(path, component)

    # Shape and type are in no header: the reader has to know them.
    def raw(path: str, shape: tuple[int, ...]) -> Any:
        return packstore.open_array(path, format="raw", shape=shape, dtype=dtype)

    def mapped(path: str, shape: tuple[int, ...]) -> np.ndarray:
        return np.memmap(path, dtype, "r", shape=shape)

    def from_npz(path: str, shape: tuple[int, ...]) -> np.ndarray:
        with np.load(path) as archive:
            return archive["data"]

    def theirs(
        suffix: str, write: Callable[..., object], read: Callable[..., Any], by_packstore: Callable[..., Any]
    ) -> tuple[Way, Way]:
        return Way(suffix, to_disk(write), read), Way(suffix, write, by_packstore)

    found: dict[str, tuple[Way, Way | None]] = {
        "np.save": theirs(".npy", np.save, lambda path, shape: np.load(path, mmap_mode="r"), opened()),
        "np.savez": theirs(".npz", lambda path, a: np.savez(path, data=a), from_npz, opened("data")),
        "np.savez_compressed": theirs(
            ".npz", lambda path, a: np.savez_compressed(path, data=a), from_npz, opened("data")
        ),
        "tofile": theirs(".raw", lambda path, a: a.tofile(path), mapped, raw),
        "pickle": theirs(".pkl", pickled, unpickled, opened()),
        "np.savetxt": theirs(".txt", as_text, text, text_by_packstore),
        "h5py gzip": theirs(".h5", saved_by_h5py, lambda path, shape: h5py.File(path, "r")["data"], opened("data")),
        "zarr default": theirs(".zarr", zarr.save_array, lambda path, shape: zarr.open_array(path, mode="r"), opened()),
    }
    ours = {"npz": "npz compressed", "h5": "hdf5", "zarr": "zarr"}
    if dtype.kind == "b":
        ours |= {"zarr, no zstd": "zarr uncompressed", "bits": "packed bits"}
    known = bench.ways(3, dtype)
    return found | {OURS + name: (known[way], None) for name, way in ours.items()}


def round_of(
    name: str, way: Way, by_packstore: Way | None, folder: str, whole: np.ndarray, rng: np.random.Generator
) -> Callable[[], Figures]:
    """One round: write, read whole, open and read a crop; the last two by packstore too."""
    text = way.suffix == ".txt"
    array = whole[:TEXT_FRAMES] if text else whole
    scale = whole.size / array.size
    size = array.shape[-1]
    crop = min(CROP, size)
    numbers = itertools.count()

    def run() -> Figures:
        path = os.path.join(folder, f"{name.replace(' ', '_')}-{next(numbers)}{way.suffix}")
        y, x = (int(start) for start in rng.integers(0, size - crop + 1, 2))
        box = (slice(len(array) // 2, len(array) // 2 + 1), slice(y, y + crop), slice(x, x + crop))
        wrote = write_out(way, path, array)
        took = read_back(way, path, array, [box])
        found = {
            "nbytes": wrote["stored_nbytes"] * scale,
            "write": wrote["write_s"] * scale,
            "read": (took["open_s"] + took["read_s"]) * scale,
            "crop": (took["open_s"] + took["crops_s"]) * scale,
        }
        if by_packstore is not None:
            again = read_back(by_packstore, path, array, [box])
            if not text:
                found["read by packstore"] = again["open_s"] + again["read_s"]
                found["crop by packstore"] = again["open_s"] + again["crops_s"]
        return found

    return run


def table_of(kind: str, array: np.ndarray, rows: dict[str, Figures]) -> Table:
    table = Table(title=f"{kind}: {array.shape} {array.dtype}, {array.nbytes / 1e6:.1f} MB; times in ms")
    table.add_column("format", no_wrap=True)
    for column in ("MB", "ratio", "write", "read", "crop", "read*", "crop*"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, row in rows.items():
        numbers = [row.get(w) for w in ("write", "read", "crop", "read by packstore", "crop by packstore")]
        shown = ["" if n is None else f"{n * 1e3:.{0 if n >= 0.01 else 1}f}" for n in numbers]
        table.add_row(name, f"{row['nbytes'] / 1e6:.3g}", f"{array.nbytes / row['nbytes']:.1f}", *shown)
    return table


def answer(kind: str, rows: dict[str, Figures]) -> str:
    """The best for each need; as good is what is within 10 %."""

    def best(key: str) -> str:
        limit = 1.1 * min(row[key] for row in rows.values())
        return " or ".join(name for name, row in rows.items() if row[key] <= limit)

    return f"{kind}: smallest {best('nbytes')}; read whole fastest {best('read')}; a crop fastest {best('crop')}"


def plot(path: Path, results: dict[str, dict[str, Figures]]) -> None:
    """Bars: a row of panels for each kind of data."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 4 * len(results)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(results), 3, squeeze=False)
    for line, (kind, rows) in zip(axes, results.items(), strict=True):
        names = list(rows)
        colors = ["tab:blue" if n.startswith(OURS) else "0.6" for n in names]
        panels: dict[str, list[float]] = {
            "MB on disk": [r["nbytes"] / 1e6 for r in rows.values()],
            "full read, ms": [r["read"] * 1e3 for r in rows.values()],
            "open and read one crop, ms": [r["crop"] * 1e3 for r in rows.values()],
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
    try:
        # Now: nobody waits for the figures to learn that the plot cannot be drawn.
        import matplotlib  # noqa: F401
    except ImportError:
        parser.error("the plot needs matplotlib: pip install matplotlib")
    console = Console(highlight=False)
    out: Path = args.out or Path(tempfile.mkdtemp(prefix="which-format-"))
    out.mkdir(parents=True, exist_ok=True)

    results: dict[str, dict[str, Figures]] = {}
    rng = np.random.default_rng(0)
    for kind, array in arrays(args.frames, args.size).items():
        with tempfile.TemporaryDirectory(dir=out) as folder:
            tried = ways(array.dtype)
            runs = {name: round_of(name, *pair, folder, array, rng) for name, pair in tried.items()}
            figures, _ = interleave(runs, args.rounds)
        results[kind] = {name: least(found) for name, found in figures.items()}
        console.print(table_of(kind, array, results[kind]))
    console.print(
        f"best of {args.rounds} interleaved rounds, {os.cpu_count()} cores, page cache warm, writes with fsync; "
        f"crop: open the file and read {min(CROP, args.size)} x {min(CROP, args.size)} of one frame; "
        f"* the same file read by packstore; text: measured on {TEXT_FRAMES} frame and scaled",
        soft_wrap=True,
    )
    for kind, rows in results.items():
        console.print(answer(kind, rows), soft_wrap=True)
    target = out / "which_format.png"
    plot(target, results)
    console.print(f"all formats gave equal values; plot: {target}", soft_wrap=True)


if __name__ == "__main__":
    main()
