"""The arrays that the scenarios store: made by rule, the same on every machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.benchmarks.model import Data

__all__ = ["crop_all", "crop_corners", "floats", "mask", "npy", "packed_zarr", "take_crops", "zarr_array"]

Array = npt.NDArray[Any]
CHUNKS = (1024, 1024)


def mask(data: Data) -> Array:
    """A segmentation-like mask, 16384 x 16384 (quick: 2048 x 2048): blobs with rough edges and some salt."""

    def make() -> Array:
        rng = np.random.default_rng(1)
        side = 2048
        coarse = rng.standard_normal((33, 33))
        rows = np.linspace(0, 32, side)
        at = np.minimum(rows.astype(int), 31)
        part = rows - at
        lines = coarse[at] * (1 - part)[:, None] + coarse[at + 1] * part[:, None]
        field = lines[:, at] * (1 - part) + lines[:, at + 1] * part
        tile = field + 0.05 * rng.standard_normal((side, side)) > 0.3
        count = 1 if data.quick else 8
        out = np.empty((side * count, side * count), np.bool_)
        for i in range(count):
            for j in range(count):
                out[i * side : (i + 1) * side, j * side : (j + 1) * side] = np.roll(tile, (137 * i, 211 * j), (0, 1))
        salt = rng.integers(0, out.size, out.size // 1000)
        out.reshape(-1)[salt] ^= True
        return out

    return np.asarray(data.keep("mask", make))


def floats(data: Data) -> Array:
    """Detector-like float32 of limited precision, 8192 x 4096 (quick: 1024 x 1024)."""

    def make() -> Array:
        rng = np.random.default_rng(2)
        shape = (1024, 1024) if data.quick else (8192, 4096)
        y = np.linspace(0, 40, shape[0], dtype=np.float32)[:, None]
        x = np.linspace(0, 25, shape[1], dtype=np.float32)
        values = 100 * np.sin(y) * np.cos(x) + 2 * rng.standard_normal(shape, np.float32)
        return np.round(values * 16) / np.float32(16)

    return np.asarray(data.keep("floats", make))


def smooth(data: Data) -> Array:
    """Float32 as a simulation writes it, every digit kept, 2048 x 4096 (quick: 1024 x 1024)."""
    shape = (1024, 1024) if data.quick else (2048, 4096)
    y = np.linspace(0, 10, shape[0], dtype=np.float32)[:, None]
    x = np.linspace(0, 25, shape[1], dtype=np.float32)
    return 100 * np.sin(y) * np.cos(x)


def npy(data: Data, name: str, array: Array) -> Path:
    """`array` as an npy file."""

    def write(path: Path) -> None:
        with open(path, "wb") as file:
            np.save(file, array)

    return data.path(f"{name}.npy", write)


def zarr_array(data: Data, name: str, array: Array, **options: Any) -> Path:
    """`array` as a zarr array in a directory, chunks of 1024 x 1024 unless told."""
    import zarr

    def write(path: Path) -> None:
        chunks = options.pop("chunks", CHUNKS)
        chunks = tuple(min(c, n) for c, n in zip(chunks, array.shape, strict=True))
        target = zarr.create_array(path, shape=array.shape, chunks=chunks, dtype=array.dtype, **options)
        target[...] = array

    return data.path(f"{name}.zarr", write)


def packed_zarr(data: Data, array: Array, compressors: Any = None) -> Path:
    """A mask behind our codec: alone, or with zarr's default zstd after it."""
    import packstore

    name = "packed" if compressors is None else "packed-zstd"
    return zarr_array(data, name, array, serializer=packstore.PackBitsCodec(), compressors=compressors)


def crop_corners(shape: tuple[int, ...], size: int = 256, count: int = 200) -> list[tuple[int, int]]:
    """Upper left corners of random square crops."""
    rng = np.random.default_rng(3)
    return [(int(rng.integers(shape[0] - size)), int(rng.integers(shape[1] - size))) for _ in range(count)]


def take_crops(array: Any, corners: list[tuple[int, int]], size: int = 256, out: Array | None = None) -> Array:
    """All crops of an array in one block: a view that is never looked at would cost nothing."""
    if out is None:
        out = np.empty((len(corners), size, size), array.dtype)
    for i, (y, x) in enumerate(corners):
        out[i] = array[y : y + size, x : x + size]
    return out


def crop_all(opened: Any, corners: list[tuple[int, int]], size: int = 256) -> Any:
    """A run that takes all crops of an opened array, into the same memory each time: new pages would cost all alike."""
    out = np.zeros((len(corners), size, size), opened.dtype)
    return lambda: take_crops(opened, corners, size, out)
