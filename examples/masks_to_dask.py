"""Segmentation masks saved in six ways (five formats), each opened lazily by packstore and computed by dask.

Takes a real photograph (scikit-image's bundled ``coins``), tiles it to a large frame with noise of its own on each
tile, segments a stack of such frames twice, saves both mask stacks in every format, opens each lazily, and computes the
area of each frame, any/all, and the intersection over union (IoU) of the two stacks. Every format must give what plain
numpy gives. Prints one table.

    python examples/masks_to_dask.py [--size 4096] [--frames 6] [--keep FOLDER]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import h5py
import numpy as np
import zarr
from rich.console import Console
from rich.table import Table
from skimage import data, filters

import packstore

CROP = 256
CROPS = 200


def frames(count: int, size: int) -> Iterator[np.ndarray]:
    """Large noisy frames made of the photograph."""
    coins = data.coins().astype(np.float32) / 255
    tiles = [-(-size // n) for n in coins.shape]
    big = np.tile(coins, tiles)[:size, :size]
    for seed in range(count):
        rng = np.random.default_rng(seed)
        # A gain and an offset a tile, and noise a pixel.
        gain = np.kron(rng.normal(1, 0.05, tiles), np.ones(coins.shape, np.float32))[:size, :size].astype(np.float32)
        yield big * gain + rng.normal(0, 0.04, big.shape).astype(np.float32)


def segment(count: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Two segmentations of the same frames: a fine one and a smoother one."""
    threshold = filters.threshold_otsu(data.coins() / 255)
    fine = np.empty((count, size, size), bool)
    smooth = np.empty_like(fine)
    for k, frame in enumerate(frames(count, size)):
        fine[k] = filters.gaussian(frame, 1) > threshold
        smooth[k] = filters.gaussian(frame, 3) > threshold
    return fine, smooth


@dataclass
class Format:
    """How to save both stacks, and how packstore opens them."""

    name: str
    write: Callable[[Path, dict[str, np.ndarray]], None]
    # (path, name of the stack) → arguments of packstore.open_array and from_file
    where: Callable[[Path, str], tuple[tuple[Any, ...], dict[str, Any]]]


def formats(shape: tuple[int, ...]) -> list[Format]:
    chunks = (1, min(1024, shape[1]), min(1024, shape[2]))

    def packed_zarr(folder: Path, masks: dict[str, np.ndarray], compressors: Any = None) -> None:
        group = zarr.create_group(folder / "masks.zarr")
        for name, mask in masks.items():
            array = group.create_array(
                name,
                shape=mask.shape,
                chunks=chunks,
                dtype=bool,
                serializer=packstore.PackBitsCodec(),
                compressors=compressors,
            )
            array[...] = mask

    def npz(folder: Path, masks: dict[str, np.ndarray]) -> None:
        np.savez(folder / "masks.npz", **masks)

    def npy(folder: Path, masks: dict[str, np.ndarray]) -> None:
        for name, mask in masks.items():
            np.save(folder / f"{name}.npy", mask)

    def raw(folder: Path, masks: dict[str, np.ndarray]) -> None:
        for name, mask in masks.items():
            np.packbits(mask, axis=-1).tofile(folder / f"{name}.bits")

    def hdf5(folder: Path, masks: dict[str, np.ndarray]) -> None:
        with h5py.File(folder / "masks.h5", "w") as file:
            for name, mask in masks.items():
                file.create_dataset(name, data=mask, chunks=chunks, compression="gzip", shuffle=True)

    raw_options = {"format": "raw", "shape": shape, "packed_axis": -1}
    return [
        Format("zarr, packed", packed_zarr, lambda p, n: ((p / "masks.zarr", n), {})),
        Format(
            "zarr, packed + zstd",
            lambda p, m: packed_zarr(p, m, zarr.codecs.ZstdCodec()),
            lambda p, n: ((p / "masks.zarr", n), {}),
        ),
        Format("npz", npz, lambda p, n: ((p / "masks.npz", n), {})),
        Format("npy", npy, lambda p, n: ((p / f"{n}.npy",), {})),
        Format("raw, packed bits", raw, lambda p, n: ((p / f"{n}.bits",), raw_options)),
        Format("HDF5, gzip", hdf5, lambda p, n: ((p / "masks.h5", n), {})),
    ]


def disk_nbytes(folder: Path) -> int:
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())


def milliseconds(run: Callable[[], Any], rounds: int = 3) -> tuple[float, Any]:
    """The fastest of a few runs, and the result."""
    best, result = float("inf"), None
    for _ in range(rounds):
        start = time.perf_counter()
        result = run()
        best = min(best, time.perf_counter() - start)
    return best * 1e3, result


def statistics(a: Any, b: Any) -> tuple[Any, ...]:
    """Area, any and all of each frame, and the IoU of each pair of frames; of numpy or dask arrays."""
    axes = (1, 2)
    return (a.sum(axis=axes), a.any(axis=axes), a.all(axis=axes), (a & b).sum(axis=axes) / (a | b).sum(axis=axes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=4096, help="pixels along each side of a frame")
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--keep", type=Path, help="write the files into this folder and leave them there")
    args = parser.parse_args()
    console = Console()

    start = time.perf_counter()
    fine, smooth = segment(args.frames, args.size)
    masks = {"fine": fine, "smooth": smooth}
    expected = statistics(fine, smooth)
    console.print(
        f"two stacks of {fine.shape} masks ({2 * fine.nbytes / 1e6:.0f} MB as bool) "
        f"segmented in {time.perf_counter() - start:.1f} s"
    )
    rng = np.random.default_rng(0)
    corners = [
        (int(rng.integers(args.frames)), *map(int, rng.integers(0, args.size - CROP + 1, 2))) for _ in range(CROPS)
    ]

    table = Table(title=f"{os.cpu_count()} cores, files in the page cache, best of 3")
    table.add_column("format")
    for column in ("MB on disk", "open ms", "full scan ms", f"{CROPS} crops ms"):
        table.add_column(column, justify="right")

    with contextlib.ExitStack() as stack:
        root = args.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for i, form in enumerate(formats(fine.shape)):
            folder = root / str(i)
            folder.mkdir(parents=True)
            form.write(folder, masks)
            where = {name: form.where(folder, name) for name in masks}

            def open_both(where: dict[str, Any] = where) -> list[packstore.Array]:
                return [packstore.open_array(*args, **options) for args, options in where.values()]

            open_ms, (array, other) = milliseconds(open_both)
            assert array.shape == other.shape == fine.shape and array.dtype == bool

            def scan(where: dict[str, Any] = where) -> Any:
                a, b = (packstore.from_file(*args, **options) for args, options in where.values())
                return dask.compute(*statistics(a, b))

            scan_ms, result = milliseconds(scan)
            for got, want in zip(result, expected, strict=True):
                np.testing.assert_array_equal(got, want)

            def crops(array: packstore.Array = array) -> list[np.ndarray]:
                return [array[k, y : y + CROP, x : x + CROP] for k, y, x in corners]

            crop_ms, parts = milliseconds(crops)
            for part, (k, y, x) in zip(parts, corners, strict=True):
                np.testing.assert_array_equal(part, fine[k, y : y + CROP, x : x + CROP])
            table.add_row(
                form.name, f"{disk_nbytes(folder) / 1e6:.1f}", f"{open_ms:.1f}", f"{scan_ms:.0f}", f"{crop_ms:.1f}"
            )
        # The packed zarr is a zarr array like any other: dask's own reader takes it as it is.
        again = da.from_zarr(packstore.open_array(root / "0" / "masks.zarr", "fine"))
        assert int(again[0].sum().compute()) == int(expected[0][0])
    console.print(table)
    areas, _, _, iou = expected
    console.print(f"area of frame 0: {areas[0]} pixels; mean IoU of the two segmentations: {iou.mean():.4f}")
    console.print("all formats agree with numpy")


if __name__ == "__main__":
    main()
