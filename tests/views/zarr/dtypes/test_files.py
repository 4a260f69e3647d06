"""Files of dtypes that zarr itself cannot say: numpy (or h5py) == direct == dask, and zarr where it can have them."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import hypothesis.strategies as st
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from packaging.version import Version

import packstore
from packstore.cli.info import describe
from packstore.errors import UnsupportedError
from packstore.readers.hdf5.types.empty import empty_element
from packstore.testing.codecs import pipelines
from packstore.testing.strategies import basic_indices, chunk_shapes, shapes_st
from packstore.views.lazy import open_lazy
from packstore.views.zarr.dtypes.own import data_type
from packstore.views.zarr.store import ManifestStore

from .helpers import FIXED, PADDED, TEXT, VARIABLE, example, same

NO_WARNING = pytest.mark.filterwarnings("error:.*does not have a Zarr V3 specification")


def agree(path: Path, component: str | None, want: Any, draw: st.DataObject, **options: Any) -> None:
    """Every route gives `want`."""
    key = draw.draw(basic_indices(want.shape))
    array = packstore.open_array(path, component, **options)
    assert (array.dtype, array.shape) == (want.dtype, want.shape)
    expected = want[key]
    if want.ndim:
        same(array[key], expected)
        same(array[...], want)
    from_file = packstore.from_file(path, component, **options)
    assert from_file.dtype == want.dtype
    same(np.asarray(from_file.compute(scheduler="sync")), want)
    store = packstore.open_store(path, **options)
    assert component is None or component not in store.unsupported
    for pipeline in pipelines():
        with zarr.config.set({"codec_pipeline.path": pipeline}):
            opened = zarr.open_array(store, path=array.path, mode="r")
            assert opened.dtype == want.dtype
            whole = opened[...]
            if want.ndim:
                same(np.asarray(whole), want)
                same(da.from_zarr(opened).compute(scheduler="threads"), want)
            else:
                # numpy's scalars have no byte order.
                same(np.asarray(whole).astype(want.dtype), want)
    if np.ndim(expected) and want.ndim and expected.dtype == want.dtype:
        same(da.from_zarr(array)[key].compute(scheduler="sync"), expected)


# npy has no fields in another order than in memory.
NPY = [*FIXED[:-1], np.dtype([("a", "u1"), ("b", "<f8", (2,))], align=True)]


@NO_WARNING
@settings(max_examples=60)
@given(dtype=st.sampled_from(NPY), shape=shapes_st(max_side=7, max_dims=3), seed=st.integers(0, 99), draw=st.data())
def test_npy(tmp_path: Path, dtype: Any, shape: tuple[int, ...], seed: int, draw: st.DataObject) -> None:
    data = example(np.dtype(dtype), int(np.prod(shape)), np.random.default_rng(seed)).reshape(shape)
    data = np.asfortranarray(data) if data.ndim > 1 and draw.draw(st.booleans()) else data
    np.save(tmp_path / "x.npy", data)
    agree(tmp_path / "x.npy", None, np.load(tmp_path / "x.npy"), draw, chunks=draw.draw(chunk_shapes(shape)))


def agree_without_zarr(path: Path, component: str, want: Any, key: Any) -> None:
    """The direct path and dask give `want`; zarr cannot have the array, and the reason names what can."""
    lazy = open_lazy(path, component)
    from_file = packstore.from_file(path, component)
    assert lazy.dtype == from_file.dtype == want.dtype
    assert lazy.shape == from_file.shape == want.shape
    same(np.asarray(lazy), want)
    same(np.asarray(from_file.compute(scheduler="sync")), want)
    if want.ndim:
        same(lazy[key], want[key])
        same(lazy[...], want)
    store: Any = packstore.open_store(path)
    assert "packstore.from_file reads them" in store.unsupported[component]
    for attempt in (
        lambda: packstore.open_array(path, component),
        lambda: packstore.open(path, component),
        lambda: packstore.open_group(path)[component],
    ):
        with pytest.raises(UnsupportedError, match=r"variable-length .*; packstore\.from_file reads them"):
            attempt()


HDF5 = [d for d in (np.dtype(f) for f in FIXED) if "U" not in str(d) and "M8" not in str(d)]
# What h5py can write: no sequences of arrays, none in sequences, and no NULs in strings.
HDF5_VARIABLE = [
    *VARIABLE[1:3],
    h5py.vlen_dtype(np.dtype([("a", "<i4"), ("b", "<f8", (2,))])),
    np.dtype([("n", "i4"), ("v", h5py.vlen_dtype(np.dtype("f8"))), ("p", "u1", (3,))]),
]


@NO_WARNING
@settings(max_examples=80)
@given(
    dtype=st.sampled_from([*HDF5, *HDF5_VARIABLE]),
    shape=shapes_st(max_side=5, max_dims=3),
    seed=st.integers(0, 99),
    draw=st.data(),
)
def test_hdf5(tmp_path: Path, dtype: Any, shape: tuple[int, ...], seed: int, draw: st.DataObject) -> None:
    data = example(dtype, int(np.prod(shape)), np.random.default_rng(seed)).reshape(shape)
    chunked = bool(data.ndim and data.size and draw.draw(st.booleans()))
    options: dict[str, Any] = {}
    if chunked:
        options = {"chunks": tuple(max(n // 2, 1) for n in shape)}
        if not dtype.hasobject:
            options |= {"compression": "gzip", "shuffle": True}
    written = draw.draw(st.lists(st.sampled_from(list(np.ndindex(shape))), max_size=6)) if data.size else []
    with h5py.File(tmp_path / "x.h5", "w") as f:
        dataset = f.create_dataset("g/a", shape, dtype, **options)
        # One by one: h5py takes sequences of equal lengths for one more axis.
        for index in written:
            dataset[index] = data[index]
    with h5py.File(tmp_path / "x.h5") as f:
        want = np.empty(shape, f["g/a"].dtype)
        want[...] = empty_element(want.dtype)
        for index in written:
            want[index] = f["g/a"][index]
    if dtype.hasobject:
        agree_without_zarr(tmp_path / "x.h5", "g/a", want, draw.draw(basic_indices(shape)))
    else:
        agree(tmp_path / "x.h5", "g/a", want, draw)


def test_fill_values_of_hdf5(tmp_path: Path) -> None:
    struct = np.dtype([("a", "<f4", (2,)), ("n", "i2")])
    fill = np.array(([np.nan, 2], -3), struct)
    with h5py.File(tmp_path / "x.h5", "w") as f:
        f.create_dataset("s", (5,), struct, chunks=(2,), fillvalue=fill)
        f.create_dataset("g", (5,), "g", chunks=(2,), fillvalue=np.longdouble(1) / 3)
        f["s"][0] = 0
        f["g"][0] = 0
    for name in "sg":
        with h5py.File(tmp_path / "x.h5") as f:
            want = f[name][...]
        array = packstore.open_array(tmp_path / "x.h5", name)
        same(array[...], want)
        opened = zarr.open_array(packstore.open_store(tmp_path / "x.h5"), path=name, mode="r")
        same(opened[...], want)
        same(np.asarray(opened.fill_value), want[4, ...])


@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_virtual_sequences(tmp_path: Path, libver: str) -> None:
    """What no source covers is empty, as h5py has it."""
    sequences = h5py.vlen_dtype(np.dtype("<i4"))
    with h5py.File(tmp_path / "x.h5", "w", libver=libver) as f:
        source = f.create_dataset("source", (2,), sequences)
        source[0], source[1] = [1, 2, 3], [4]
        layout = h5py.VirtualLayout((4,), sequences)
        layout[1:3] = h5py.VirtualSource(source)
        f.create_virtual_dataset("all", layout)
    reads: list[Callable[[], Any]] = [
        lambda: open_lazy(tmp_path / "x.h5", "all")[...],
        lambda: packstore.from_file(tmp_path / "x.h5", "all").compute(),
    ]
    for read in reads:
        assert [v.tolist() for v in read()] == [[], [1, 2, 3], [4], []]
        assert all(v.dtype == "<i4" for v in read())
    assert sorted(packstore.open_store(tmp_path / "x.h5").unsupported) == ["all", "source"]


def test_virtual_structs_and_text(tmp_path: Path) -> None:
    struct = np.dtype([("s", TEXT), ("n", "<i4"), ("v", h5py.vlen_dtype(np.dtype("<f8")))])
    with h5py.File(tmp_path / "x.h5", "w") as f:
        f.create_dataset("s", (2,), struct)[1] = ("b", 3, np.array([0.5, 1]))
        f["t"] = ["a", "b"]
        for name in "st":
            layout = h5py.VirtualLayout((4,), f[name].dtype)
            layout[1:3] = h5py.VirtualSource(f[name])
            f.create_virtual_dataset(f"all {name}", layout)
    rows = packstore.from_file(tmp_path / "x.h5", "all s").compute()
    assert [(s, n, v.tolist()) for s, n, v in rows.tolist()] == [
        (b"", 0, []),
        (b"", 0, []),
        (b"b", 3, [0.5, 1.0]),
        (b"", 0, []),
    ]
    assert packstore.from_file(tmp_path / "x.h5", "all t").compute().tolist() == [b"", b"a", b"b", b""]
    assert packstore.open_array(tmp_path / "x.h5", "all t")[:].tolist() == ["", "a", "b", ""]


def test_elements_that_were_never_written() -> None:
    empty = empty_element(np.dtype([("s", TEXT), ("v", h5py.vlen_dtype(np.dtype("i4")), (2,)), ("p", PADDED)]))
    assert empty["s"] == b"" and empty["p"]["b"].tolist() == [0, 0]
    assert all(v.dtype == np.int32 and v.shape == (0,) for v in empty["v"])
    for dtype in VARIABLE:
        empty = empty_element(dtype)
        assert empty.shape == () and empty.dtype == dtype
    assert empty_element(VARIABLE[3])[()].shape == (0, 3)
    assert empty_element(VARIABLE[5])[()].dtype == h5py.vlen_dtype(np.dtype("i4"))


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "x.h5", "w") as f:
        dataset = f.create_dataset("v", (5,), h5py.vlen_dtype(np.dtype("<f8")), chunks=(2,))
        for i in range(5):
            dataset[i] = np.arange(i)
        f.create_dataset("s", data=np.zeros(3, [("a", "f4", (2,)), ("g", "g")]), chunks=(2,))
        f["t"] = np.array([(b"abc", 1)], [("s", TEXT), ("n", "i4")])
        f["w"] = ["a", "bc"]
    return tmp_path / "x.h5"


def test_what_zarr_has_of_a_file(mixed: Path) -> None:
    store: Any = packstore.open_store(mixed)
    assert store.unsupported == {
        "v": "zarr has no data type for variable-length sequences; packstore.from_file reads them",
        "t": "zarr has no data type for structs with variable-length members; packstore.from_file reads them",
    }
    assert sorted(zarr.open_group(store, mode="r").array_keys()) == ["s", "w"]
    described = describe(str(mixed), None, {})["arrays"]
    assert {name: x["zarr_reason"] for name, x in described.items() if x["zarr_reason"]} == store.unsupported
    assert described["v"]["dtype"] == "variable-length sequence of float64"
    assert described["w"]["dtype"] == "variable-length string"
    assert [len(v) for v in packstore.from_file(mixed, "v").compute()] == [0, 1, 2, 3, 4]
    assert packstore.from_file(mixed, "t").compute().tolist() == [(b"abc", 1)]


def test_files_of_sequences_and_of_text_joined(tmp_path: Path, mixed: Path) -> None:
    again = tmp_path / "y.h5"
    again.write_bytes(mixed.read_bytes())
    joined = packstore.from_files([mixed, again], "v")
    assert [len(v) for v in joined.compute()] == [0, 1, 2, 3, 4] * 2
    assert packstore.from_files([mixed, again], "w").compute().tolist() == [b"a", b"bc"] * 2
    store: Any = packstore.open_store([mixed, again], component="w")
    store = pickle.loads(pickle.dumps(store))
    assert np.asarray(zarr.open_array(store, mode="r")[:]).tolist() == ["a", "bc"] * 2
    assert "packstore.from_file reads them" in packstore.open_store([mixed, again], component="v").unsupported[""]


def test_sizes_are_those_of_the_bytes(mixed: Path) -> None:
    import asyncio

    store: Any = packstore.open_store(mixed)
    for key in ("s/c/0", "w/c/0"):
        assert asyncio.run(store.getsize(key)) == len(store.get_sync(key))


PROGRAM = """
import pickle, sys, zarr
store = pickle.loads(bytes.fromhex(sys.argv[1]))
print(zarr.open_array(store, path="s", mode="r").dtype.names, zarr.open_array(store, path="s", mode="r")[0:1].tolist())
"""


def test_fresh_process_with_only_the_store(mixed: Path) -> None:
    store = packstore.open_store(mixed)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, pickle.dumps(store).hex()], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == f"('a', 'g') {np.zeros(1, [('a', 'f4', (2,)), ('g', 'g')]).tolist()}"


@pytest.mark.long
def test_distributed_worker(mixed: Path) -> None:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=1, threads_per_worker=2, processes=True, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        store = packstore.open_store(mixed)
        assert isinstance(store, ManifestStore)
        # The worker gets the store and calls nothing but zarr.
        opened = client.submit(zarr.open_array, store, path="s", mode="r")
        assert client.submit(np.asarray, opened).result(timeout=60)["a"].shape == (3, 2)
        array = packstore.from_file(mixed, "v")
        assert [len(v) for v in client.compute(array).result(timeout=60)] == [0, 1, 2, 3, 4]
        struct = da.from_zarr(zarr.open_array(store, path="s", mode="r"))
        assert client.compute(struct).result(timeout=60)["a"].shape == (3, 2)


@pytest.mark.skipif(
    Version(zarr.__version__) < Version("3.2"), reason="zarr 3.1 never loads entry points of data types"
)
def test_fresh_process_that_does_not_import_packstore(tmp_path: Path) -> None:
    dtype = np.dtype([("a", ">f4", (2,)), ("g", "g")])
    zarr.create_array(tmp_path / "x.zarr", shape=(3,), dtype=data_type(dtype))[:] = np.ones(3, dtype)
    program = "import sys, zarr; print(zarr.open_array(sys.argv[1], mode='r')[1:2].tolist())"
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "x.zarr")], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == str(np.ones(1, dtype).tolist())
