"""A folder of .npz files, one a batch of frames, as one dask array; reduced; saved as a packed zarr.

Each file holds ``frames`` (a batch of different length) and ``times``, as a microscope or a simulation leaves them.
`packstore.from_files` reads the headers only; dask then computes the background, the mask of what is brighter, and
its area in each frame, and `packstore.save` writes the mask while it is computed, at one bit an element: nothing is
ever in memory as a whole. All of it is checked against plain numpy.

    python examples/batch_folder.py [--files 12] [--frames 8] [--size 512] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from pathlib import Path

import dask.array as da
import numpy as np
from rich.console import Console

import packstore

THRESHOLD = 40


def write_batches(folder: Path, files: int, frames: int, size: int) -> np.ndarray:
    """The folder as somebody left it; returns all frames, to check against."""
    rng = np.random.default_rng(0)
    y, x = np.ogrid[:size, :size]
    background = (100 + 50 * np.sin(x / 90) * np.cos(y / 70)).astype(np.float32)
    everything = []
    at = 0
    for i in range(files):
        count = int(rng.integers(max(frames // 2, 1), frames + 1))
        batch = np.empty((count, size, size), np.uint16)
        for k in range(count):
            # A few round cells that move over the background.
            centers = (np.arange(6)[:, np.newaxis] * (size / 6, size / 5) + (at * 4, at * 7)) % size
            cells = sum(np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * (size / 25) ** 2)) for cy, cx in centers)
            batch[k] = rng.poisson(background + 200 * np.asarray(cells))
            at += 1
        # Some archives are compressed and some are not: either is read as it is.
        save = np.savez_compressed if i % 2 else np.savez
        save(folder / f"batch_{i}.npz", frames=batch, times=np.arange(at - count, at) * 0.5)
        everything.append(batch)
    return np.concatenate(everything)


def disk_nbytes(path: Path) -> int:
    return sum(f.stat().st_size for f in path.rglob("*") if f.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=12)
    parser.add_argument("--frames", type=int, default=8, help="the most frames a file")
    parser.add_argument("--size", type=int, default=512, help="pixels along each side of a frame")
    parser.add_argument("--keep", type=Path, help="write the files into this folder and leave them there")
    args = parser.parse_args()
    console = Console(highlight=False)

    with contextlib.ExitStack() as stack:
        root = args.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = root / "batches"
        folder.mkdir(parents=True)
        expected = write_batches(folder, args.files, args.frames, args.size)
        console.print(f"{args.files} files, {disk_nbytes(folder) / 1e6:.1f} MB in {folder.name}/")

        start = time.perf_counter()
        # Sorted by the numbers in the names: batch_2 comes before batch_10.
        frames = packstore.from_files(folder / "*.npz", "frames")
        times = packstore.from_files(folder / "*.npz", "times")
        opened = time.perf_counter() - start
        assert frames.shape == expected.shape and frames.dtype == expected.dtype
        np.testing.assert_array_equal(times.compute(), np.arange(len(expected)) * 0.5)
        console.print(
            f"one dask array {frames.shape} {frames.dtype} in {opened * 1e3:.0f} ms, nothing read but headers"
        )

        start = time.perf_counter()
        background = frames.mean(axis=0, dtype=np.float64).compute()
        mask = frames > (background + THRESHOLD)
        packstore.save(root / "cells.zarr", mask)
        console.print(f"background and mask computed and written in {time.perf_counter() - start:.2f} s")

        want = expected > (expected.mean(axis=0, dtype=np.float64) + THRESHOLD)
        cells = packstore.open_array(root / "cells.zarr")
        np.testing.assert_array_equal(cells[...], want)
        area = da.from_zarr(cells).sum(axis=(1, 2)).compute()
        np.testing.assert_array_equal(area, want.sum(axis=(1, 2)))
        assert int(cells.count_nonzero()) == int(want.sum())
        stored = disk_nbytes(root / "cells.zarr")
        console.print(
            f"mask {cells.shape}: {want.nbytes / 1e6:.1f} MB as bool, {stored / 1e6:.2f} MB as packed zarr "
            f"({want.nbytes / stored:.0f} times smaller); mean area {area.mean():.0f} pixels"
        )
    console.print("all results agree with numpy")


if __name__ == "__main__":
    main()
