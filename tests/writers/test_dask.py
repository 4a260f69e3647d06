"""Saving dask arrays on each scheduler: once each chunk, few at a time, errors, progress."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster

import packstore
from packstore.testing.readers import assert_same
from packstore.writers import progress

SUFFIXES = ["npy", "npz", "h5", "zarr", "raw"]


def read(path: Path, like: np.ndarray) -> np.ndarray:
    options: dict[str, Any] = (
        {"format": "raw", "shape": like.shape, "dtype": like.dtype} if path.suffix == ".raw" else {}
    )
    return np.asarray(packstore.from_file(path, **options).compute(scheduler="synchronous"))


def numbers() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 99, (300, 400))


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@pytest.mark.parametrize("chunks", [(70, 90), (300, 400)])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_distributed(tmp_path: Path, client: Client, suffix: str, chunks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(progress.RichProgress, "advance", lambda self, nbytes: seen.append(nbytes))
    array = numbers()
    with client.as_current():
        packstore.save(tmp_path / f"x.{suffix}", da.from_array(array, chunks=chunks), progress=True)
    assert_same(read(tmp_path / f"x.{suffix}", array), array)
    assert sum(seen) == array.nbytes
    assert [p.name for p in tmp_path.iterdir()] == [f"x.{suffix}"]


@pytest.mark.parametrize("options", [{"compressed": False}, {}])
def test_distributed_npz_of_columns(tmp_path: Path, client: Client, options: dict[str, Any]) -> None:
    array = numbers()
    source = da.from_array(array, chunks=(-1, 50))
    with client.as_current():
        packstore.save(tmp_path / "x.npz", {"a": source, "b": source - source.sum(axis=1, keepdims=True)}, **options)
    with np.load(tmp_path / "x.npz") as archive:
        assert_same(archive["a"], array)
        assert_same(archive["b"], array - array.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("pack", [True, False])
def test_distributed_masks(tmp_path: Path, client: Client, pack: bool) -> None:
    array = numbers() > 50
    with client.as_current():
        packstore.save(tmp_path / "x.h5", da.from_array(array, chunks=100), pack=pack)
        packstore.save(tmp_path / "x.zarr", da.from_array(array, chunks=100), pack=pack)
        packstore.save(tmp_path / "x.raw", da.from_array(array, chunks=100), packed_axis=1)
    assert np.array_equal(read(tmp_path / "x.h5", array), array)
    assert_same(read(tmp_path / "x.zarr", array), array)
    assert (tmp_path / "x.raw").read_bytes() == np.packbits(array, axis=1).tobytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_error_in_a_worker(tmp_path: Path, client: Client, suffix: str) -> None:
    def fail(block: np.ndarray) -> np.ndarray:
        raise ZeroDivisionError("in the graph")

    source = da.zeros((100, 100), chunks=50).map_blocks(fail, dtype=float, meta=np.empty((0, 0)))
    with client.as_current(), pytest.raises(ZeroDivisionError, match="in the graph"):
        packstore.save(tmp_path / f"x.{suffix}", source)
    with pytest.raises(ZeroDivisionError, match="in the graph"):
        packstore.save(tmp_path / f"x.{suffix}", source)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("scheduler", ["threads", "synchronous", "processes"])
def test_local_schedulers(tmp_path: Path, scheduler: str, suffix: str) -> None:
    array = numbers()
    with dask.config.set(scheduler=scheduler, num_workers=2):
        packstore.save(tmp_path / f"x.{suffix}", da.from_array(array, chunks=(150, 170)) + 1)
    assert_same(read(tmp_path / f"x.{suffix}", array), array + 1)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_few_chunks_at_a_time_and_each_once(tmp_path: Path, suffix: str) -> None:
    alive = [0, 0]
    made: list[Any] = []
    lock = threading.Lock()

    def forget() -> None:
        with lock:
            alive[0] -= 1

    def make(block_info: Any = None) -> np.ndarray:
        box = block_info[None]["array-location"]
        values = np.full(tuple(b - a for a, b in box), len(made) % 100, np.uint8)
        with lock:
            made.append(box)
            alive[0] += 1
            alive[1] = max(alive)
        weakref.finalize(values, forget)
        time.sleep(0.001)
        return values

    chunks = ((1024,) * 64, (1024,))
    source = da.map_blocks(make, chunks=chunks, dtype=np.uint8, meta=np.empty((0, 0), np.uint8))
    packstore.save(tmp_path / f"x.{suffix}", source)
    assert len(made) == 64
    assert alive[1] <= 16


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_odd_arrays(tmp_path: Path, suffix: str) -> None:
    cases = [
        da.from_array(np.array(5), chunks=()),
        da.zeros((0, 3), chunks=2, dtype="i2"),
        da.concatenate([da.zeros((0, 4)), da.ones((3, 4)), da.zeros((0, 4)), da.ones((2, 4))]),
        da.from_array(np.arange(7.0), chunks=((1, 0, 4, 2),)),
        da.from_array(np.asfortranarray(numbers()), chunks=77).T,
    ]
    for i, source in enumerate(cases):
        packstore.save(tmp_path / f"{i}.{suffix}", source)
        want = source.compute(scheduler="synchronous")
        assert_same(read(tmp_path / f"{i}.{suffix}", np.asarray(want)), np.asarray(want))


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("bitorder", ["big", "little"])
def test_packed_raw(tmp_path: Path, axis: int, bitorder: Any) -> None:
    array = numbers() > 50
    for name, source in (("a.raw", array), ("b.raw", da.from_array(array, chunks=(37, 41)))):
        packstore.save(tmp_path / name, source, packed_axis=axis, bitorder=bitorder)
        assert (tmp_path / name).read_bytes() == np.packbits(array, axis=axis, bitorder=bitorder).tobytes()
