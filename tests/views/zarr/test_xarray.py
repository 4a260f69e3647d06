"""xarray over the store against xarray over the file: the same dataset, for files of all the kinds that NetCDF has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import packstore
from packstore.views.lazy import open_lazy

xr = pytest.importorskip("xarray")
netCDF4 = pytest.importorskip("netCDF4")
h5netcdf = pytest.importorskip("h5netcdf")
pd = pytest.importorskip("pandas")

pytestmark = [
    # h5netcdf says so of complex numbers.
    pytest.mark.filterwarnings("ignore:You are writing invalid netcdf features"),
    # netCDF4 says so of each big-endian variable.
    pytest.mark.filterwarnings("ignore:.*endian.*:UserWarning"),
]

Writer = Callable[[Path], None]
WRITERS: dict[str, Writer] = {}


def kind(write: Writer) -> Writer:
    """One kind of file."""
    WRITERS[write.__name__] = write
    return write


def of_netcdf4(path: Path) -> Any:
    return netCDF4.Dataset(path, "w")


@kind
def float_fill_value(path: Path) -> None:
    values = np.array([1.5, np.nan, -9999.0], "f4")
    xr.Dataset({"a": ("x", values), "b": ("x", values.astype("f8"))}, {"x": [1.0, 2.0, 3.0]}).to_netcdf(
        path, engine="netcdf4", encoding={"a": {"_FillValue": np.float32(-9999.0)}, "b": {"_FillValue": np.nan}}
    )


@kind
def integer_fill_value(path: Path) -> None:
    with of_netcdf4(path) as f:
        f.createDimension("x", 4)
        for code in ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"):
            v = f.createVariable(code, code, ("x",), fill_value=7)
            v[1:3] = [1, 2]


@kind
def missing_value(path: Path) -> None:
    with of_netcdf4(path) as f:
        f.createDimension("x", 3)
        a = f.createVariable("a", "f4", ("x",))
        a.missing_value = np.float32(1e20)
        a[:] = [1, 1e20, 3]
        b = f.createVariable("b", "i2", ("x",), fill_value=-1)
        b.missing_value = np.int16(-1)
        b[:] = [1, -1, 3]


@kind
def unsigned(path: Path) -> None:
    with of_netcdf4(path) as f:
        f.createDimension("x", 3)
        v = f.createVariable("a", "i1", ("x",), fill_value=-1)
        v.set_auto_maskandscale(False)
        v._Unsigned = "true"
        v[:] = [-128, -1, 5]
        w = f.createVariable("b", "i2", ("x",))
        w.set_auto_maskandscale(False)
        w._Unsigned = "true"
        w.scale_factor = 0.5
        w[:] = [-1, 2, 3]


@kind
def packed(path: Path) -> None:
    encoding = {"dtype": "i2", "scale_factor": 0.1, "add_offset": 20.0, "_FillValue": -32768}
    xr.Dataset({"t": (("y", "x"), np.array([[1.0, np.nan, 3.5], [20.0, 21.0, 22.0]]))}).to_netcdf(
        path, engine="h5netcdf", encoding={"t": encoding}
    )


@kind
def times(path: Path) -> None:
    when = pd.date_range("2001-02-03", periods=4, freq="6h")
    data = {"t2": ("time", when + pd.Timedelta("1s")), "lead": ("time", pd.to_timedelta([1, 2, 3, 4], "h"))}
    xr.Dataset(data, {"time": when}).to_netcdf(
        path, engine="netcdf4", encoding={"time": {"dtype": "i4", "units": "hours since 1970-01-01"}}
    )


@kind
def calendars(path: Path) -> None:
    with of_netcdf4(path) as f:
        f.createDimension("n", 3)
        for calendar in ("360_day", "noleap", "julian", "standard", "proleptic_gregorian"):
            v = f.createVariable(calendar, "f8", ("n",))
            v.units, v.calendar = "days since 1900-01-01 00:00:00", calendar
            v[:] = [0.5, 59, 700]


@kind
def packed_times(path: Path) -> None:
    with of_netcdf4(path) as f:
        f.createDimension("time", None)
        v = f.createVariable("time", "i4", ("time",), fill_value=-99)
        v.set_auto_maskandscale(False)
        v.units, v.scale_factor = "seconds since 2000-01-01", 60.0
        v[:] = [0, 1, 2]


@kind
def text_of_any_length(path: Path) -> None:
    with of_netcdf4(path) as f:
        f.createDimension("x", 3)
        v = f.createVariable("s", str, ("x",))
        v[:] = np.array(["a", "", "Zürich"], object)
        c = f.createVariable("x", str, ("x",))
        c[:] = np.array(["p", "q", "r"], object)


@kind
def text_of_characters(path: Path) -> None:
    with of_netcdf4(path) as f:
        f.createDimension("x", 2)
        f.createDimension("n", 5)
        v = f.createVariable("s", "S1", ("x", "n"))
        v[:] = netCDF4.stringtochar(np.array(["abc", "defgh"], "S5"))
        w = f.createVariable("u", "S1", ("x", "n"))
        w._Encoding = "utf-8"
        w[:] = np.array(["aé", "ß"])


@kind
def coordinates(path: Path) -> None:
    lat, lon = np.meshgrid(np.arange(2.0), np.arange(3.0), indexing="ij")
    xr.Dataset(
        {"t": (("y", "x"), lat * lon, {"units": "K", "grid_mapping": "crs"})},
        {"lat": (("y", "x"), lat), "lon": (("y", "x"), lon), "crs": ((), 0, {"grid_mapping_name": "sphere"})},
        {"title": "two-dimensional coordinates", "Conventions": "CF-1.8"},
    ).to_netcdf(path, engine="netcdf4")


@kind
def booleans(path: Path) -> None:
    xr.Dataset({"mask": ("x", [True, False, True])}).to_netcdf(path, engine="h5netcdf")


@kind
def unlimited(path: Path) -> None:
    data = {"a": (("time", "x"), np.arange(6.0).reshape(2, 3)), "b": ("x", [1, 2, 3])}
    xr.Dataset(data, {"time": [10, 20]}).to_netcdf(path, engine="netcdf4", unlimited_dims=["time"])


@kind
def dimensions_without_variables(path: Path) -> None:
    with of_netcdf4(path) as f:
        for name, n in (("x", 3), ("y", 3), ("unused", 5), ("t", None)):
            f.createDimension(name, n)
        f.createVariable("a", "f4", ("x", "y"))[:] = np.eye(3)
        f.createVariable("b", "i4", ("t", "x"))[:] = np.arange(6).reshape(2, 3)


@kind
def shorter_than_its_dimension(path: Path) -> None:
    with of_netcdf4(path) as f:
        f.createDimension("t", None)
        f.createDimension("s", None)
        f.createVariable("long", "f4", ("t",))[:] = np.arange(5)
        f.createVariable("short", "f8", ("t",))[:2] = [1, 2]
        f.createVariable("filled", "i4", ("t",), fill_value=-9)[:1] = [1]
        f.createVariable("never", "i2", ("t",))
        f.createVariable("two", "f4", ("t", "s"))[:2, :3] = np.ones((2, 3))
        f.createVariable("wide", "i8", ("s",))[:] = np.arange(4)


@kind
def scalars(path: Path) -> None:
    with of_netcdf4(path) as f:
        f.createVariable("n", "i4")[...] = 5
        f.createVariable("x", "f8", fill_value=-1.0)[...] = 2.5
        f.createVariable("missing", "f4", fill_value=-1.0)
        f.createVariable("s", str)[...] = "text"


@kind
def coordinate_of_two_dimensions(path: Path) -> None:
    with of_netcdf4(path) as f:
        f.createDimension("station", 3)
        f.createDimension("n", 4)
        f.createVariable("station", "S1", ("station", "n"))[:] = netCDF4.stringtochar(np.array(["ab", "c", "d"], "S4"))
        f.createVariable("v", "f4", ("station",))[:] = [1, 2, 3]


@kind
def big_endian(path: Path) -> None:
    with of_netcdf4(path) as f:
        f.createDimension("x", 3)
        for code in ("i2", "i4", "f4", "f8"):
            f.createVariable(code, code, ("x",), endian="big", fill_value=2)[:] = [1, 2, 3]


@kind
def empty_dimensions(path: Path) -> None:
    with of_netcdf4(path) as f:
        f.createDimension("t", None)
        f.createDimension("x", 3)
        f.createVariable("a", "f4", ("t", "x"), fill_value=0.5)
        f.createVariable("t", "i4", ("t",))


@kind
def attributes(path: Path) -> None:
    with of_netcdf4(path) as f:
        f.createDimension("x", 2)
        f.title, f.empty, f.umlaut = "a title", "", "Größe"
        f.numbers, f.one, f.real = np.array([1, 2, 3], "i2"), np.int8(5), np.float32(0.1)
        f.setncattr_string("texts", ["a", "bc"])
        f.not_a_number = np.array([np.nan, np.inf])
        v = f.createVariable("v", "i2", ("x",))
        v.valid_range, v.flag_values, v.flag_meanings = np.array([0, 5], "i2"), np.array([0, 1], "i1"), "no yes"
        v.actual_range = np.array([0.5, 1.5], "f4")
        v[:] = [1, 2]


@kind
def unicode_names(path: Path) -> None:
    with of_netcdf4(path) as f:
        f.createDimension("länge", 2)
        f.createVariable("größe", "f4", ("länge",))[:] = [1, 2]
        f.createVariable("name with blanks", "f4", ("länge",)).setncattr("ünit", "µm")
        f.createVariable("長さ", "i4", ("länge",))[:] = [3, 4]


@kind
def compressed_chunks(path: Path) -> None:
    values = np.arange(600.0).reshape(20, 30)
    values[3, 4] = np.nan
    xr.Dataset({"a": (("y", "x"), values)}, {"y": np.arange(20), "x": np.arange(30.0)}).to_netcdf(
        path, engine="h5netcdf", encoding={"a": {"zlib": True, "shuffle": True, "chunksizes": (7, 11)}}
    )


@kind
def of_the_classic_model(path: Path) -> None:
    with netCDF4.Dataset(path, "w", format="NETCDF4_CLASSIC") as f:
        f.createDimension("t", None)
        f.createVariable("t", "f8", ("t",)).units = "days since 2000-01-01"
        f["t"][:] = [0, 1]
        f.createVariable("a", "f4", ("t",), fill_value=1e20)[:] = [1, 1e20]


@kind
def bounds(path: Path) -> None:
    with of_netcdf4(path) as f:
        f.createDimension("time", 2)
        f.createDimension("nv", 2)
        t = f.createVariable("time", "f8", ("time",))
        t.units, t.calendar, t.bounds = "days since 2000-01-01", "noleap", "time_bnds"
        t[:] = [0.5, 1.5]
        f.createVariable("time_bnds", "f8", ("time", "nv"))[:] = [[0, 1], [1, 2]]


@kind
def complex_numbers(path: Path) -> None:
    with h5netcdf.File(path, "w", invalid_netcdf=True) as f:
        f.dimensions["x"] = 2
        f.create_variable("z", ("x",), "c16", data=np.array([1 + 2j, 3j]), fillvalue=1 + 2j)


@pytest.fixture(params=WRITERS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    found = tmp_path / "x.nc"
    WRITERS[request.param](found)
    return found


def assert_same_dataset(got: Any, want: Any) -> None:
    """As xarray says, and with the same data types."""
    xr.testing.assert_identical(got, want)
    for name in want.variables:
        a, b = got[name].dtype, want[name].dtype
        assert (a.kind, a.itemsize) == (b.kind, b.itemsize) or {a.kind, b.kind} <= set("OSUT"), name


def test_same_as_of_the_file(path: Path) -> None:
    store = packstore.open_store(path)
    with xr.open_dataset(path, engine="h5netcdf") as want:
        assert_same_dataset(xr.open_zarr(store, consolidated=False, chunks=None).load(), want.load())
        assert_same_dataset(xr.open_dataset(store, engine="zarr", consolidated=False).load(), want)
    with xr.open_dataset(path, engine="h5netcdf", decode_cf=False) as raw:
        found = xr.open_zarr(store, consolidated=False, chunks=None, decode_cf=False)
        assert set(found.variables) == set(raw.variables) and dict(found.sizes) == dict(raw.sizes)


def test_groups(tmp_path: Path) -> None:
    """Dimensions and coordinates of the groups above count in a group."""
    with of_netcdf4(tmp_path / "x.nc") as f:
        f.createDimension("x", 3)
        f.createDimension("t", None)
        f.createVariable("x", "f8", ("x",))[:] = [1, 2, 3]
        f.createVariable("a", "f4", ("t", "x"), fill_value=-1)[:] = np.ones((2, 3))
        f.title = "root"
        g = f.createGroup("g")
        g.note = "group"
        g.createDimension("y", 2)
        g.createVariable("b", "f4", ("t", "y"), fill_value=np.nan)[:4] = np.ones((4, 2))
        g.createVariable("c", "i4", ("x",))[:] = [1, 2, 3]
        g.createGroup("inner").createVariable("d", "f8", ("y", "x"))[:] = np.eye(2, 3)
        f.createGroup("empty")
    store = packstore.open_store(tmp_path / "x.nc")
    with xr.open_datatree(tmp_path / "x.nc", engine="h5netcdf") as want:
        got = xr.open_datatree(store, engine="zarr", consolidated=False)
        xr.testing.assert_identical(got.load(), want.load())
    for group in ("g", "g/inner", "empty"):
        with xr.open_dataset(tmp_path / "x.nc", engine="h5netcdf", group=group) as want:
            got = xr.open_zarr(store, consolidated=False, group=group, chunks=None)
            assert_same_dataset(got.load(), want.load())


def test_enums(tmp_path: Path) -> None:
    """xarray does not count their names as an attribute; `unsupported` and the direct path have them."""
    with of_netcdf4(tmp_path / "x.nc") as f:
        f.createDimension("x", 3)
        cloud = f.createEnumType(np.uint8, "cloud_t", {"clear": 0, "cumulus": 1, "missing": 255})
        f.createVariable("cloud", cloud, ("x",), fill_value=255)[:] = np.array([0, 1, 255], "u1")
    store = packstore.open_store(tmp_path / "x.nc")
    with xr.open_dataset(tmp_path / "x.nc", engine="h5netcdf") as want:
        assert_same_dataset(xr.open_zarr(store, consolidated=False, chunks=None).load(), want.load())
    assert "cumulus" in store.unsupported["cloud@enum"]
    assert open_lazy(tmp_path / "x.nc", "cloud").attrs["enum"] == {"clear": 0, "cumulus": 1, "missing": 255}


def test_with_dask(tmp_path: Path) -> None:
    compressed_chunks(tmp_path / "x.nc")
    got = xr.open_zarr(packstore.open_store(tmp_path / "x.nc"), consolidated=False)
    assert got["a"].chunks == ((7, 7, 6), (11, 11, 8))
    with xr.open_dataset(tmp_path / "x.nc", engine="h5netcdf") as want:
        xr.testing.assert_identical(got.compute(scheduler="synchronous"), want.load())


@pytest.mark.parametrize("fill", [{}, {"fillvalue": -9}], ids=["default", "given"])
def test_shorter_variables_read_as_the_library_reads_them(tmp_path: Path, fill: dict[str, Any]) -> None:
    """h5netcdf writes no fill value of its own, and the library then takes that of the type."""
    codes = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", "S1"]
    path = tmp_path / "x.nc"
    with h5netcdf.File(path, "w") as f:
        f.dimensions["x"] = None
        f.dimensions["y"] = 2
        f.create_variable("x", ("x",), "f8")
        f.create_variable("text", ("x",), h5py.string_dtype())
        for code in codes:
            own = fill if code[0] not in "uS" else {}
            f.create_variable(code, ("x", "y"), code, **own)
        f.resize_dimension("x", 5)
    with h5py.File(path, "r+") as f:
        for name in [*codes, "x", "text"]:
            f[name].resize(2, 0)
            f[name][...] = b"1" if f[name].dtype.kind in "SO" else 1
        f["i4"].resize(5, 0)
    with netCDF4.Dataset(path) as f:
        f.set_auto_mask(False)
        f.set_auto_chartostring(False)
        for name, variable in f.variables.items():
            array, lazy = packstore.open_array(path, name), packstore.from_file(path, name)
            want = variable[...]
            assert array.shape == lazy.shape == want.shape
            assert np.asarray(array[...]).tolist() == want.tolist(), name
            assert np.asarray(array[1:4]).tolist() == want[1:4].tolist()
            assert np.asarray(array[4:1:-2]).tolist() == want[4:1:-2].tolist()
            if name != "text":
                np.testing.assert_array_equal(lazy.compute(scheduler="synchronous"), want)
    # HDF5's own shape where no NetCDF library wrote the file.
    with h5py.File(path, "r+") as f:
        del f.attrs["_NCProperties"]
    assert packstore.open_array(path, "f4").shape == (2, 2)


def test_dimension_without_a_variable(tmp_path: Path) -> None:
    """No listing has it, `unsupported` says why, and it still opens by its name."""
    import zarr

    path = tmp_path / "x.nc"
    with of_netcdf4(path) as f:
        f.createDimension("x", 3)
        f.createVariable("a", "f4", ("x",))[:] = [1, 2, 3]
    group = packstore.open_group(path)
    assert list(group.array_keys()) == ["a"] and [name for name, _ in group.members()] == ["a"]
    assert group["a"].metadata.dimension_names == ("x",)
    assert "without a variable" in group.unsupported["x"] and list(group.unsupported) == ["x"]
    # The only array of the file.
    assert packstore.open_array(path)[...].tolist() == [1, 2, 3]
    for found in (
        packstore.open_array(path, "x"),
        packstore.from_file(path, "x"),
        group["x"],
        zarr.open_array(packstore.open_store(path), path="x", mode="r"),
    ):
        assert found.shape == (3,) and np.asarray(found[...]).tolist() == [0, 0, 0]
    store = packstore.open_array(path, "x").store
    assert [name for name, _ in zarr.open_group(store, mode="r").members()] == ["a"]


def test_fill_values_that_xarray_cannot_spell(tmp_path: Path) -> None:
    """They are named, and do not keep the rest from opening; other interfaces have them."""
    path = tmp_path / "x.nc"
    with of_netcdf4(path) as f:
        f.createDimension("x", 2)
        f.createVariable("c", "S1", ("x",), fill_value="z")[:] = np.array(["a", "b"], "S1")
        f.createVariable("a", "f4", ("x",), fill_value=-1)[:] = [1, 2]
    store = packstore.open_store(path)
    assert "_FillValue" in store.unsupported["c@_FillValue"]
    got = xr.open_zarr(store, consolidated=False, chunks=None)
    assert got["c"].values.tolist() == [b"a", b"b"] and got["a"].values.tolist() == [1, 2]
    assert packstore.open_array(path, "c").attrs.get("_FillValue") is None


def test_fill_values_of_plain_hdf5(tmp_path: Path) -> None:
    """Arrays of one number, as h5py's users write them, and numbers of another type than the data."""
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        f["x"] = np.arange(3.0)
        f["x"].make_scale()
        for name, dtype, fill in (("a", "f4", [-1.0]), ("b", "i2", [2.0]), ("c", "f8", 3)):
            f[name] = np.array([1, 2, 3], dtype)
            f[name].dims[0].attach_scale(f["x"])
            f[name].attrs["_FillValue"] = fill
    got = xr.open_zarr(packstore.open_store(path), consolidated=False, chunks=None)
    nan = np.nan
    np.testing.assert_array_equal(got["a"], [1, 2, 3])
    np.testing.assert_array_equal(got["b"], [1, nan, 3])
    np.testing.assert_array_equal(got["c"], [1, 2, nan])


def test_a_zarr_directory_keeps_its_attributes(tmp_path: Path) -> None:
    data = xr.Dataset({"a": ("x", np.array([1.0, np.nan])), "b": ("x", [1, 2])}, {"x": [0.0, 1.0]})
    data.to_zarr(tmp_path / "x.zarr", zarr_format=3, consolidated=False)
    found = packstore.open_group(tmp_path / "x.zarr")
    assert dict(found["a"].attrs) == {"_FillValue": "AAAAAAAA+H8="}
    xr.testing.assert_identical(xr.open_zarr(found.store, consolidated=False).load(), data)
