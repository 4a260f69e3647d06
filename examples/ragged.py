"""N arrays of one height and varying widths: saved together, read back one by one, or as one array.

numpy has no array for data whose second dimension varies (strips of images, spike trains, sequences); np.save would
pickle it as objects. A dict of arrays keeps each with its own shape: in .npz, .h5 and .zarr, all opened lazily, so that
reading one array, or a few columns of it, reads no other. One file an array works as well: `packstore.from_files`
joins them along the ragged axis into one dask array, without reading them. Each result is checked against numpy.

    python examples/ragged.py [--arrays 200] [--rows 512] [--width 500] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import packstore


def strips(count: int, rows: int, width: int) -> dict[str, np.ndarray]:
    """Arrays of shape (rows, n), with n different for each, between nothing and `width`."""
    rng = np.random.default_rng(0)
    widths = rng.integers(1, width + 1, count)
    widths[count // 2] = 0  # an empty one is an array like any other
    start = np.concatenate([[0], np.cumsum(widths)])
    y = np.arange(rows, dtype=np.float32)[:, np.newaxis]
    return {
        f"strip_{i:05}": np.sin(y / 50 + np.arange(start[i], start[i + 1], dtype=np.float32) / 300)
        for i in range(count)
    }


def disk_nbytes(path: Path) -> int:
    return path.stat().st_size if path.is_file() else sum(f.stat().st_size for f in path.rglob("*") if f.is_file())


def together(folder: Path, arrays: dict[str, np.ndarray], table: Table) -> None:
    """All in one file, each under its name."""
    wide = max(arrays, key=lambda name: arrays[name].shape[1])
    columns = slice(arrays[wide].shape[1] // 2, arrays[wide].shape[1] // 2 + 10)
    for suffix in (".npz", ".h5", ".zarr"):
        path = folder / f"strips{suffix}"
        start = time.perf_counter()
        packstore.save(path, arrays)
        saved = time.perf_counter()
        # Once before it counts: the first use of a format also imports what it needs.
        for _ in range(2):
            opened = time.perf_counter()
            group = packstore.open_group(path)
            some = group[wide][:, columns]
            read = time.perf_counter()
        np.testing.assert_array_equal(some, arrays[wide][:, columns])
        # Not one of them lost its shape or an element.
        assert sorted(group.array_keys()) == sorted(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(group[name][...], array)
        table.add_row(
            f"one {suffix}",
            f"{disk_nbytes(path) / 1e6:.1f}",
            f"{(saved - start) * 1e3:.0f}",
            f"{(read - opened) * 1e3:.1f}",
        )


def one_by_one(folder: Path, arrays: dict[str, np.ndarray], table: Table) -> None:
    """A file an array, joined along the axis in which they differ."""
    home = folder / "strips"
    home.mkdir()
    start = time.perf_counter()
    for name, array in arrays.items():
        packstore.save(home / f"{name}.npy", array)
    saved = time.perf_counter()
    for _ in range(2):
        opened = time.perf_counter()
        joined = packstore.from_files(home / "*.npy", axis=1)
        some = joined[:, -10:].compute()
        read = time.perf_counter()
    expected = np.concatenate(list(arrays.values()), axis=1)
    assert joined.shape == expected.shape and joined.dtype == expected.dtype
    np.testing.assert_array_equal(some, expected[:, -10:])
    # Across the borders of files, with steps, and all of it.
    np.testing.assert_array_equal(joined[3, ::7].compute(), expected[3, ::7])
    np.testing.assert_allclose(joined.mean(axis=0).compute(), expected.mean(axis=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(joined.max(axis=1).compute(), expected.max(axis=1))
    table.add_row(
        f"{len(arrays)} .npy, joined",
        f"{disk_nbytes(home) / 1e6:.1f}",
        f"{(saved - start) * 1e3:.0f}",
        f"{(read - opened) * 1e3:.1f}",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arrays", type=int, default=200)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--width", type=int, default=500, help="the largest second dimension")
    parser.add_argument("--keep", type=Path, help="write the files into this folder and leave them there")
    args = parser.parse_args()
    console = Console(highlight=False)

    arrays = strips(args.arrays, args.rows, args.width)
    widths = [a.shape[1] for a in arrays.values()]
    total = sum(a.nbytes for a in arrays.values())
    table = Table(
        title=f"{len(arrays)} arrays of shape ({args.rows}, {min(widths)} to {max(widths)}), {total / 1e6:.0f} MB"
    )
    table.add_column("saved as")
    for column in ("MB on disk", "save ms", "open and read 10 columns ms"):
        table.add_column(column, justify="right")
    with contextlib.ExitStack() as stack:
        folder = args.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        together(folder, arrays, table)
        one_by_one(folder, arrays, table)
    console.print(table)
    console.print("all arrays came back with their shapes and values")


if __name__ == "__main__":
    main()
