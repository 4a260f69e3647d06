"""A folder of 1,000 mask files on a cluster: a statistic of each, and all of them as one packed zarr; a worker dies.

`packstore.from_files` makes one dask array of the files, whose graph holds a path and not the pixels. The workers of a
``dask.distributed`` cluster (here a `LocalCluster` of two processes) open the files themselves, count the pixels of
each mask, and write the zarr, each worker its own shards. In the middle of it one worker is killed: the others do its
work again. All of it is checked against plain numpy.

    python examples/cluster_batch.py [--files 1000] [--size 128] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import pickle
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import dask
import numpy as np
from distributed import Client, LocalCluster, progress, wait
from rich.console import Console

import packstore

# Each block waits as long as a slow file system would, so that there is a middle to kill a worker in.
PAUSE_S = 0.02


def write_masks(folder: Path, files: int, size: int) -> np.ndarray:
    """One .npy file a mask: a disk that moves; returns all masks, to check against."""
    y, x = np.ogrid[:size, :size]
    masks = np.empty((files, size, size), bool)
    for i in range(files):
        radius = size / 8 + i % (size // 4)
        masks[i] = (y - (3 * i) % size) ** 2 + (x - (7 * i) % size) ** 2 < radius**2
        np.save(folder / f"mask_{i}.npy", masks[i])
    return masks


def slowly(block: np.ndarray) -> np.ndarray:
    time.sleep(PAUSE_S)
    return block


def areas_and_rows(block: np.ndarray) -> np.ndarray:
    """Of each mask how many pixels are set, and in how many rows."""
    return np.stack([block.sum(axis=(1, 2)), block.any(axis=2).sum(axis=1)], axis=1)


def kill_one(client: Any, console: Console) -> None:
    """Kill a worker's process, as a node that runs out of memory does."""
    workers = client.run(os.getpid)
    os.kill(next(iter(workers.values())), signal.SIGKILL)
    console.print(f"killed one of {len(workers)} workers")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--size", type=int, default=128, help="pixels along each side of a mask")
    parser.add_argument("--keep", type=Path, help="write the files into this folder and leave them there")
    args = parser.parse_args()
    console = Console(highlight=False)
    # The killed worker is no news.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    dask.config.set({"distributed.logging.distributed": "critical", "distributed.scheduler.allowed-failures": 5})

    with contextlib.ExitStack() as stack:
        root = args.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder = root / "masks"
        folder.mkdir(parents=True)
        expected = write_masks(folder, args.files, args.size)
        console.print(f"{args.files} files, {expected.nbytes / 1e6:.1f} MB in {folder.name}/")

        cluster = stack.enter_context(
            LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=logging.CRITICAL)
        )
        client = stack.enter_context(Client(cluster))
        masks = packstore.from_files(folder / "mask_*.npy", new_axis=True)
        console.print(f"one dask array {masks.shape}, whose graph pickles to {len(pickle.dumps(masks)) / 1e3:.0f} kB")

        per_task = masks.rechunk((max(args.files // 50, 1), -1, -1)).map_blocks(slowly, dtype=bool)
        found = per_task.map_blocks(areas_and_rows, chunks=(per_task.chunks[0], 2), drop_axis=2, dtype=np.int64)
        start = time.perf_counter()
        future = client.compute(found)
        time.sleep(0.5)
        kill_one(client, console)
        progress(future, notebook=False)
        wait(future)
        np.testing.assert_array_equal(future.result(), areas_and_rows(expected))
        console.print(f"\nareas and rows of all masks in {time.perf_counter() - start:.1f} s")

        start = time.perf_counter()
        packstore.save(root / "masks.zarr", per_task)
        saved = packstore.open_array(root / "masks.zarr")
        np.testing.assert_array_equal(saved[...], expected)
        assert int(saved.count_nonzero()) == np.count_nonzero(expected)
        nbytes = sum(f.stat().st_size for f in (root / "masks.zarr").rglob("*") if f.is_file())
        console.print(f"written by the workers in {time.perf_counter() - start:.1f} s: {nbytes / 1e6:.2f} MB of zarr")
    console.print("all results agree with numpy")


if __name__ == "__main__":
    main()
