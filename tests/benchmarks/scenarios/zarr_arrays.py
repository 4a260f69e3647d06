"""Zarr's default (zstd in chunks of 4 MB): float32 read whole, by crops and under dask, beside zarr's pipelines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import packstore
from tests.benchmarks.data import crop_all, crop_corners, floats, take_crops, zarr_array
from tests.benchmarks.model import Case, Data, Peer, Scenario
from tests.benchmarks.scenarios.masks import FUSED, _open

__all__ = ["SCENARIOS"]

Use = Callable[[Any], Callable[[], Any]]


def _path(data: Data) -> Path:
    return zarr_array(data, "floats-zstd", floats(data))


def _b2nd(data: Data) -> Path:
    """The same array in Blosc 2's own format."""

    def write(path: Path) -> None:
        import blosc2

        blosc2.asarray(floats(data), urlpath=str(path), mode="w", chunks=(1024, 1024))

    return data.path("floats.b2nd", write)


def _tensorstore(data: Data) -> Any:
    import tensorstore as ts

    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(_path(data))}}
    opened = ts.open(spec, open=True, read=True).result()

    class Read:
        shape, dtype = tuple(opened.shape), np.dtype("f4")

        def __getitem__(self, key: Any) -> Any:
            return opened[key].read().result()

    return Read()


def _blosc2(path: Path) -> Any:
    import blosc2

    return blosc2.open(str(path), mode="r")


def _case(data: Data, expected: Any, use: Use, floor: float) -> Case:
    path = _path(data)
    return Case(
        expected,
        lambda: use(packstore.open_array(path)),
        (
            Peer("zarr", lambda: use(_open(path)), floor=floor),
            Peer("zarr, fused", lambda: use(_open(path, FUSED)), floor=1),
            Peer("zarrs", lambda: use(_open(path, "zarrs.ZarrsCodecPipeline")), floor=1),
            Peer("tensorstore", lambda: use(_tensorstore(data))),
            Peer("blosc2, zarr", lambda: use(_blosc2(path)), floor=1),
            Peer("blosc2, b2nd", lambda: use(_blosc2(_b2nd(data)))),
        ),
    )


def _full(data: Data) -> Case:
    return _case(data, floats(data), lambda opened: lambda: opened[...], 1.2)


def _crops(data: Data) -> Case:
    array = floats(data)
    corners = crop_corners(array.shape)
    return _case(data, take_crops(array, corners), lambda opened: crop_all(opened, corners), 1.5)


SCENARIOS = (
    Scenario("zarr-full", "zarr default (zstd), read whole", _full),
    Scenario("zarr-crops", "zarr default (zstd), 200 random 256² crops", _crops),
)
