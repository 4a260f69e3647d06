"""Pickles: unpickling opens nothing, and what is wrong with a file is an error of the read, by name."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pytest
import zarr
from zarr.abc.store import Store

import packstore
from packstore.errors import AccessError, PackstoreError, StaleFileError
from packstore.readers import npy as npy_reader
from packstore.readers.location import Location
from packstore.views.lazy import open_lazy

X = np.arange(12_000.0).reshape(100, 120)
MASK = X % 3 == 0


def write_npy(path: Path) -> None:
    np.save(path, X)


def write_h5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=X, chunks=(10, 60), compression="gzip")


def write_text(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=["a", "bc", ""] * 4, dtype=h5py.string_dtype())


def write_npz(path: Path) -> None:
    np.savez(path, x=X)


def write_zarr(path: Path) -> None:
    packstore.save(path, {"x": X}, chunks=(10, 60))


def write_packed(path: Path) -> None:
    np.packbits(MASK, axis=0).tofile(path)


CASES: dict[str, tuple[str, str | None, Callable[[Path], None], dict[str, Any]]] = {
    "npy": ("a.npy", None, write_npy, {}),
    "npz": ("a.npz", "x", write_npz, {}),
    "hdf5": ("a.h5", "x", write_h5, {}),
    "text in hdf5": ("t.h5", "x", write_text, {}),
    "zarr": ("a.zarr", "x", write_zarr, {}),
    "packed": ("a.bits", None, write_packed, {"format": "raw", "shape": X.shape, "packed_axis": 0}),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, str | None, dict[str, Any]]:
    name, component, write, options = CASES[request.param]
    write(tmp_path / name)
    return tmp_path / name, component, options


def opened(path: Path, component: str | None, options: dict[str, Any]) -> dict[str, Any]:
    array = packstore.open_array(path, component, **options)
    store = packstore.open_store(path, **options)
    found = {
        "lazy": open_lazy(path, component, **options),
        "array": array,
        "from_file": packstore.from_file(path, component, **options),
        "from_files": packstore.from_files([path], component, **options),
        "store": store,
        "zarr array": zarr.open_array(store=store, path=component or "", mode="r"),
    }
    if array.dtype.kind != "T":
        found["from_zarr"] = da.from_zarr(array)
    if component is not None:
        found["group"] = packstore.open_group(path, **options)
    return found


def read(found: Any, component: str | None) -> Any:
    if isinstance(found, Store):
        found = zarr.open_array(store=found, path=component or "", mode="r")
    if isinstance(found, zarr.Group):
        found = found[component or ""]
    return np.asarray(found.compute(scheduler="synchronous") if hasattr(found, "compute") else found[...])


def test_unpickling_opens_nothing(
    case: tuple[Path, str | None, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, component, options = case
    before = opened(path, component, options)
    pickles = {name: pickle.dumps(each) for name, each in before.items()}
    hidden = path.with_name("elsewhere")
    path.rename(hidden)
    # What this process keeps open would go on.
    before["lazy"].location.close()
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", lambda *_, **__: pytest.fail("a file was opened"))
        after = {name: pickle.loads(data) for name, data in pickles.items()}
        # And once more, before anything is read.
        after = {name: pickle.loads(pickle.dumps(each)) for name, each in after.items()}
    for name, each in after.items():
        # Zarr's own arrays over a directory have zarr's own errors.
        with pytest.raises((PackstoreError, FileNotFoundError), match=path.name):
            read(each, component)
            pytest.fail(name)
    hidden.rename(path)
    for name, each in after.items():
        np.testing.assert_array_equal(read(each, component), read(before[name], component), err_msg=name)


def test_what_travels_is_small_and_knows_its_shape(case: tuple[Path, str | None, dict[str, Any]]) -> None:
    path, component, options = case
    before = open_lazy(path, component, **options)
    data = pickle.dumps(before)
    assert len(data) < 700
    os.rename(path, path.with_name("elsewhere"))
    after = pickle.loads(data)
    assert (after.shape, after.dtype, after.chunks, after.nbytes) == (
        before.shape,
        before.dtype,
        before.chunks,
        before.nbytes,
    )
    assert after.dtype.metadata == before.dtype.metadata
    assert len(after) == len(before)


def test_errors_of_a_read_elsewhere_name_the_process(tmp_path: Path) -> None:
    write_npy(tmp_path / "a.npy")
    data = pickle.dumps(packstore.open_array(tmp_path / "a.npy"))
    np.save(tmp_path / "a.npy", X[:50])
    again = pickle.loads(data)
    for _ in range(2):
        with pytest.raises(StaleFileError, match=rf"a\.npy.*Read by process {os.getpid()} on [^.]+\S*\.$") as caught:
            again[...]
        assert str(caught.value).count("Read by") == 1
    error = pickle.loads(pickle.dumps(caught.value))
    assert type(error) is StaleFileError and str(error) == str(caught.value)


def in_pool(array: Any) -> float:
    return float(np.asarray(array[...]).sum())


def test_a_pool_lives_on(tmp_path: Path) -> None:
    write_npy(tmp_path / "a.npy")
    array = packstore.open_array(tmp_path / "a.npy")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply_async(in_pool, (array,)).get(60) == X.sum()
        (tmp_path / "a.npy").unlink()
        with pytest.raises(StaleFileError, match="got nothing of that name"):
            pool.apply_async(in_pool, (array,)).get(60)
        write_npy(tmp_path / "a.npy")
        assert pool.apply_async(in_pool, (packstore.open_array(tmp_path / "a.npy"),)).get(60) == X.sum()


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.mark.long
@pytest.mark.parametrize("kind", ["gone", "replaced", "refused"])
def test_workers_live_on(client: Any, tmp_path: Path, kind: str) -> None:
    """A file that a worker cannot read is an error of its task, which names the worker."""
    if kind == "refused" and os.geteuid() == 0:
        pytest.skip("root reads everything")
    path = tmp_path / "a.npy"
    write_npy(path)
    pids = client.run(os.getpid)
    makers: list[Callable[[], Any]] = [
        lambda: packstore.from_file(path, chunks=(20, 120)),
        lambda: da.from_zarr(packstore.open_array(path, chunks=(20, 120))),
        lambda: packstore.from_files([path], chunks=(20, 120)),
    ]
    for make in makers:
        array = make()
        if kind == "gone":
            path.unlink()
        elif kind == "replaced":
            np.save(path, X[:99])
        else:
            path.chmod(0)
        with pytest.raises(
            AccessError if kind == "refused" else StaleFileError, match=r"a\.npy.*Read by worker \d at "
        ):
            client.compute(array.sum()).result(timeout=30)
        path.unlink(missing_ok=True)
        write_npy(path)
        assert client.compute(make().sum()).result(timeout=30) == X.sum()
    assert client.run(os.getpid) == pids


def test_threads_that_want_one_index_read_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_npy(tmp_path / "a.npy")
    lazy = pickle.loads(pickle.dumps(open_lazy(tmp_path / "a.npy")))
    lazy.location.close()
    calls: list[int] = []
    real = npy_reader.read
    start = threading.Barrier(8)

    def slow(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        threading.Event().wait(0.05)
        return real(*args, **kwargs)

    monkeypatch.setattr(npy_reader, "read", slow)
    found: list[float] = []

    def work() -> None:
        start.wait()
        found.append(float(pickle.loads(pickle.dumps(lazy))[...].sum()))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [X.sum()] * 8 and len(calls) == 1
    assert isinstance(lazy.location, Location)


def test_threads_that_read_first_at_the_same_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_npy(tmp_path / "a.npy")
    lazy = pickle.loads(pickle.dumps(open_lazy(tmp_path / "a.npy")))
    real = type(lazy.array.storage).view
    lazy = pickle.loads(pickle.dumps(lazy))

    def slow(self: Any, array: Any) -> Any:
        threading.Event().wait(0.02)
        return real(self, array)

    monkeypatch.setattr(type(open_lazy(tmp_path / "a.npy").array.storage), "view", slow)
    start, found = threading.Barrier(8), list[float]()

    def work() -> None:
        start.wait()
        found.extend(float(lazy[...].sum()) for _ in range(5))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [X.sum()] * 40
