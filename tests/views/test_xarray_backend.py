"""``engine="packstore"``: each kind of NetCDF as h5netcdf and scipy read it, and what they cannot open."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import packstore
from packstore.errors import ComponentNotFoundError, MissingFileError, OptionError, StaleFileError
from tests.views.zarr.test_xarray import WRITERS, assert_same_dataset, of_netcdf4

xr = pytest.importorskip("xarray")

pytestmark = [
    pytest.mark.filterwarnings("ignore:You are writing invalid netcdf features"),
    pytest.mark.filterwarnings("ignore:.*endian.*:UserWarning"),
]
RNG = np.random.default_rng(0)
MASK, X = RNG.random((30, 40)) < 0.3, RNG.integers(0, 1000, (30, 40))


def opened(path: Any, **options: Any) -> Any:
    return xr.open_dataset(path, engine="packstore", **options)


@pytest.mark.parametrize("kind", WRITERS)
def test_netcdf4(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.nc"
    WRITERS[kind](path)
    for options in {}, {"decode_cf": False}, {"mask_and_scale": False}, {"decode_times": False}:
        with xr.open_dataset(path, engine="h5netcdf", **options) as want, opened(path, **options) as got:
            assert_same_dataset(got.load(), want.load())
            assert got.encoding.get("unlimited_dims", set()) == want.encoding.get("unlimited_dims", set())
    with xr.open_dataset(path, engine="h5netcdf") as want:
        assert_same_dataset(opened(path, chunks={}).compute(scheduler="sync"), want.load())
        name = next(iter(want.variables))
    with xr.open_dataset(path, engine="h5netcdf", drop_variables=name) as want:
        xr.testing.assert_identical(opened(path, drop_variables=name).load(), want.load())


@pytest.mark.parametrize("version", ["NETCDF3_CLASSIC", "NETCDF3_64BIT"])
def test_netcdf3(tmp_path: Path, version: Any) -> None:
    path = tmp_path / "x.nc"
    data = xr.Dataset(
        {"t": (("time", "x"), np.array([[1.5, np.nan], [3.0, 4.0]], "f4"), {"units": "K"}), "s": ("x", ["ab", "c"])},
        {"time": np.array(["2001-01-01", "2001-01-03"], "M8[ns]"), "x": [1.0, 2.0]},
        {"title": "old"},
    )
    data.to_netcdf(path, format=version, engine="scipy", unlimited_dims=["time"])
    with xr.open_dataset(path, engine="scipy") as want, opened(path) as got:
        assert_same_dataset(got.load(), want.load())


def test_groups(tmp_path: Path) -> None:
    path = tmp_path / "x.nc"
    with of_netcdf4(path) as f:
        f.createDimension("x", 3)
        f.createVariable("x", "f8", ("x",))[:] = [1, 2, 3]
        f.title = "root"
        g = f.createGroup("g")
        g.note = "group"
        g.createDimension("y", 2)
        g.createVariable("b", "f4", ("y", "x"), fill_value=np.nan)[:] = np.ones((2, 3))
        g.createGroup("inner").createVariable("d", "f8", ("y", "x"))[:] = np.eye(2, 3)
        f.createGroup("empty")
    with (
        xr.open_datatree(path, engine="h5netcdf") as want,
        xr.open_datatree(path, engine="packstore") as got,
    ):
        xr.testing.assert_identical(got.load(), want.load())
    with xr.open_datatree(path, engine="h5netcdf", group="g") as want:
        xr.testing.assert_identical(xr.open_datatree(path, engine="packstore", group="g").load(), want.load())
    found = xr.open_groups(path, engine="packstore")
    assert list(found) == ["/", "/empty", "/g", "/g/inner"]
    for group in ("g", "/g/inner", "empty"):
        with xr.open_dataset(path, engine="h5netcdf", group=group) as want:
            assert_same_dataset(opened(path, group=group).load(), want.load())
    np.testing.assert_array_equal(opened(path, component="g/inner/d")["d"], np.eye(2, 3))
    with pytest.raises(ComponentNotFoundError, match=r"x\.nc: expected one of '', 'empty', 'g', 'g/inner', got 'h'"):
        opened(path, group="h")
    with pytest.raises(ComponentNotFoundError, match="got 'h'"):
        xr.open_groups(path, engine="packstore", group="h")
    with pytest.raises(OptionError, match="expected group= or component=, got both"):
        opened(path, group="g", component="g/b")


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    np.savez_compressed(tmp_path / "x.npz", mask=MASK, x=X, row=X[0], when=np.array(["2001-01-01"] * 40, "M8[D]"))
    return tmp_path / "x.npz"


def test_npz(npz: Path) -> None:
    ds = opened(npz)
    # One name for each length; a square array would have two.
    assert {n: v.dims for n, v in ds.variables.items()} == {
        "mask": ("phony_dim_0", "phony_dim_1"),
        "x": ("phony_dim_0", "phony_dim_1"),
        "row": ("phony_dim_1",),
        "when": ("phony_dim_1",),
    }
    np.testing.assert_array_equal(ds["mask"], MASK)
    assert ds["mask"].dtype == bool and ds["when"].dtype == "M8[s]"
    assert ds["when"].values[3] == np.datetime64("2001-01-01")
    named = opened(npz, dims=("y", "x"))
    assert named["mask"].dims == ("y", "x") and named["row"].dims == ("phony_dim_0",)
    named = opened(npz, dims={"mask": ["y", "x"], "x": ["y", "x"], "row": "x", "when": ["x"]})
    assert dict(named.sizes) == {"y": 30, "x": 40}
    # The variable "x" is no coordinate: it has two axes.
    assert list(opened(npz, component="row", dims=["x"]).variables) == ["row"]
    for wrong, text in {
        ("a", "b", "c"): "dims for arrays that are there",
        "": "dims for arrays that are there",
    }.items():
        with pytest.raises(OptionError, match=text):
            opened(npz, dims=wrong or {"absent": ["x"]})
    with pytest.raises(OptionError, match=r"expected 2 names in dims\['mask'\], got \['y'\]"):
        opened(npz, dims={"mask": ["y"]})


def test_files_of_one_array(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    np.packbits(MASK).tofile(tmp_path / "m.bits")
    np.testing.assert_array_equal(opened(tmp_path / "x.npy", dims=["y", "x"])["data"], X)
    one = xr.open_dataarray(tmp_path / "x.npy", engine="packstore")
    assert one.name == "data" and one.dims == ("phony_dim_0", "phony_dim_1")
    mask = opened(tmp_path / "m.bits", format="raw", shape=MASK.shape, packed_axis="flat", dims=["y", "x"])
    np.testing.assert_array_equal(mask["data"], MASK)
    # By the name alone xarray finds the engine.
    np.testing.assert_array_equal(xr.open_dataset(tmp_path / "x.npy")["data"], X)
    with pytest.raises(MissingFileError):
        opened(tmp_path / "absent.npy")


def test_many_files(tmp_path: Path) -> None:
    for i in range(3):
        np.save(tmp_path / f"{i}.npy", X + i)
    paths = [tmp_path / f"{i}.npy" for i in range(3)]
    got = xr.open_mfdataset(paths, engine="packstore", combine="nested", concat_dim="t", dims=["y", "x"])
    assert got["data"].dims == ("t", "y", "x")
    np.testing.assert_array_equal(got["data"].compute(scheduler="sync"), [X, X + 1, X + 2])


# xarray measures chunks by those that it would take itself.
@pytest.mark.filterwarnings("ignore:The specified chunks separate")
@pytest.mark.parametrize("chunks", [None, {}, {"y": 7}])
def test_selections(tmp_path: Path, chunks: Any) -> None:
    """Lazily, and with the values that the same selection of the values in memory has."""
    with h5py.File(tmp_path / "x.h5", "w") as f:
        for name, n in ("y", 30), ("x", 40):
            f[name] = np.arange(n, dtype="f8")
            f[name].make_scale(name)
        f.create_dataset("a", data=X, chunks=(7, 11), compression="gzip")
        f.create_dataset("text", data=np.array([f"t{i}" for i in range(30)], object), dtype=h5py.string_dtype())
        f["a"].dims[0].attach_scale(f["y"])
        f["a"].dims[1].attach_scale(f["x"])
        f["text"].dims[0].attach_scale(f["y"])
    ds = opened(tmp_path / "x.h5", chunks=chunks)
    memory = opened(tmp_path / "x.h5").load()
    if chunks is None:
        assert not ds["a"].variable._in_memory
    points = xr.DataArray([3, 29, 0], dims="p"), xr.DataArray([39, 0, 7], dims="p")
    square = xr.DataArray([[3, 29], [0, 3]], dims=["p", "q"])
    for key in (
        {"y": 3},
        {"y": slice(None, None, -3), "x": slice(5, 20, 2)},
        {"y": [29, 3, 3]},
        {"y": [5, 1], "x": [39, 0, 7]},
        {"y": points[0], "x": points[1]},
        {"y": points[0]},
        {"y": square},
        {"x": np.array([], int)},
        {"y": slice(4, 4)},
    ):
        xr.testing.assert_identical(ds.isel(key).load(), memory.isel(key))
    xr.testing.assert_identical(ds.sel(y=[2.0, 28.0], x=slice(3, 9)).load(), memory.sel(y=[2.0, 28.0], x=slice(3, 9)))
    xr.testing.assert_identical(ds.isel(y=[4, 9]).isel(x=slice(2, 5)).load(), memory.isel(y=[4, 9], x=slice(2, 5)))


def test_pickles_and_changes(npz: Path) -> None:
    ds = pickle.loads(pickle.dumps(opened(npz)))
    lazy = opened(npz, chunks={})
    np.testing.assert_array_equal(ds["mask"][3:5], MASK[3:5])
    np.testing.assert_array_equal(lazy["x"].sum("phony_dim_0").compute(scheduler="sync"), X.sum(0))
    np.savez(npz, mask=~MASK, x=X, row=X[0], when=X)
    with pytest.raises(StaleFileError):
        lazy["mask"].compute(scheduler="sync")
    with pytest.raises(StaleFileError):
        ds["mask"].values  # noqa: B018


def test_dask_chunks_are_ours(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as f:
        f.create_dataset("x", (8192, 16384), "u1", chunks=(256, 16384), compression="gzip")
    got = opened(tmp_path / "x.h5", chunks={})["x"]
    assert got.data.chunksize == packstore.from_file(tmp_path / "x.h5").chunksize == (1024, 16384)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_zarr(tmp_path: Path, zarr_format: Any) -> None:
    data = xr.Dataset(
        {
            "a": (("y", "x"), np.where(MASK, np.nan, X), {"units": "m"}),
            "n": ("y", np.arange(30, dtype="i2")),
            "when": ("y", np.arange(30).astype("M8[ns]")),
        },
        {"x": np.arange(40.0)},
        {"title": "a title"},
    )
    encoding = {"n": {"_FillValue": 3}, "a": {"chunks": (7, 11)}}
    data.to_zarr(tmp_path / "x.zarr", zarr_format=zarr_format, consolidated=False, encoding=encoding)
    with xr.open_zarr(tmp_path / "x.zarr", consolidated=False, chunks=None) as want:
        assert_same_dataset(opened(tmp_path / "x.zarr").load(), want.load())


def test_packed_masks_of_a_bucket(tmp_path: Path) -> None:
    url = "memory://xarray/m.zarr"
    packstore.save(url, {"mask": MASK}, dimension_names={"mask": ("y", "x")}, overwrite=True)
    got = opened(url)
    assert got["mask"].dims == ("y", "x")
    np.testing.assert_array_equal(got["mask"][3:9, 5:], MASK[3:9, 5:])


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=X, b=np.array([{}], object))
    with pytest.warns(UserWarning, match=r"x\.npz\[b\] is left out: "):
        got = opened(tmp_path / "x.npz")
    assert list(got.variables) == ["a"]


def test_unnamed_axes_are_called_as_h5netcdf_calls_them(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as f:
        f["a"], f["b"], f["c"] = np.zeros((3, 4)), np.zeros((4, 4, 3)), np.float64(5)
        f["g/d"], f["g/e"] = np.zeros((4, 7)), np.zeros(3)
        f["g/h/i"] = np.zeros((7, 7))
    with xr.open_datatree(tmp_path / "x.h5", engine="h5netcdf", phony_dims="access") as want:
        xr.testing.assert_identical(xr.open_datatree(tmp_path / "x.h5", engine="packstore").load(), want.load())
    for group in None, "g":
        with xr.open_dataset(tmp_path / "x.h5", engine="h5netcdf", phony_dims="access", group=group) as want:
            xr.testing.assert_identical(opened(tmp_path / "x.h5", group=group).load(), want.load())


def test_what_xarray_knows_of_it() -> None:
    engine = xr.backends.list_engines()["packstore"]
    assert engine.supports_groups and "group" in engine.open_dataset_parameters
    assert [engine.guess_can_open(n) for n in ("a.NPZ", "a.npy", "a.h5", "a.zarr", "a", 3)] == [True] * 3 + [False] * 3


@pytest.mark.parametrize("zarr_bits", [{}, {"first_bit": 0, "last_bit": 0}])
def test_masks_in_zarr_take_one_bit(tmp_path: Path, zarr_bits: dict[str, Any]) -> None:
    """xarray 2025.6 stores bool as int8, of which the lowest bit is all that counts; 2026.9 as bool."""
    encoding = {"mask": {"serializer": packstore.PackBitsCodec(**zarr_bits), "compressors": ()}}
    data = xr.Dataset({"mask": (("y", "x"), MASK, {"source": "threshold"})})
    data.to_zarr(tmp_path / "x.zarr", encoding=encoding, consolidated=False)
    (chunk,) = (path for path in (tmp_path / "x.zarr" / "mask" / "c").rglob("*") if path.is_file())
    as_bool = "bool" in (tmp_path / "x.zarr" / "mask" / "zarr.json").read_text().split("attributes")[0]
    assert chunk.stat().st_size == (MASK.size // 8 if as_bool or zarr_bits else MASK.size)
    for found in xr.open_zarr(tmp_path / "x.zarr", consolidated=False), opened(tmp_path / "x.zarr"):
        assert found["mask"].dtype == bool
        xr.testing.assert_identical(found.load(), data)
