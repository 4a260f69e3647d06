"""npy files: scans under dask and random crops."""

from __future__ import annotations

from typing import Any

import numpy as np

import packstore
from tests.benchmarks.data import crop_all, crop_corners, floats, mask, npy, take_crops, zarr_array
from tests.benchmarks.model import Case, Data, Peer, Scenario

__all__ = ["SCENARIOS"]


def _scan(kind: str) -> Any:
    def build(data: Data) -> Case:
        import dask.array as da

        array = mask(data) if kind == "any" else floats(data)
        if kind == "any":
            array = np.zeros_like(array)  # all of it must be looked at
        path = npy(data, f"scan-{kind}", array)
        reduce = da.any if kind == "any" else da.sum
        expected = bool(array.any()) if kind == "any" else np.float32(array.sum(dtype=np.float64))

        def peer(**options: Any) -> Any:
            return lambda: lambda: reduce(da.from_array(np.load(path, mmap_mode="r"), **options)).compute()

        return Case(
            expected,
            lambda: lambda: reduce(packstore.from_file(path)).compute(),
            (
                Peer("da.from_array(np.load(mmap))", peer(), floor=8),
                Peer("the same, name=False", peer(name=False), floor=2.5),
            ),
            close=kind == "sum",
        )

    return build


class _Copied:
    """A mapped array that gives arrays of the caller's own, as `open_array` does."""

    def __init__(self, mapped: Any) -> None:
        self.mapped, self.dtype = mapped, mapped.dtype

    def __getitem__(self, key: Any) -> Any:
        return np.array(self.mapped[key])


def _crops(data: Data) -> Case:
    import zarr

    array = floats(data)
    path = npy(data, "floats", array)
    corners = crop_corners(array.shape)

    def uncompressed() -> Any:
        plain = zarr_array(data, "floats-plain", array, compressors=None)
        return crop_all(zarr.open_array(plain, mode="r"), corners)

    return Case(
        take_crops(array, corners),
        lambda: crop_all(packstore.open_array(path), corners),
        (
            Peer("np.memmap, copied", lambda: crop_all(_Copied(np.load(path, mmap_mode="r")), corners), floor=0.9),
            Peer("np.memmap, views", lambda: crop_all(np.load(path, mmap_mode="r"), corners)),
            Peer("zarr, uncompressed", uncompressed, floor=15),
        ),
    )


SCENARIOS = (
    Scenario("npy-any", "npy bool, any() under dask", _scan("any")),
    Scenario("npy-sum", "npy float32, sum() under dask", _scan("sum")),
    Scenario("npy-crops", "npy float32, 200 random 256² crops", _crops),
)
