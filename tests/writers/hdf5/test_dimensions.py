"""Names of dimensions in HDF5 targets, as xarray (both engines), netCDF4, h5py and packstore read them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import packstore
from packstore.writers.hdf5 import write
from packstore.writers.items import Item
from packstore.writers.progress import NoProgress
from packstore.writers.tree import Tree
from tests.writers.hdf5.conftest import Write, item

netCDF4 = pytest.importorskip("netCDF4")
xr = pytest.importorskip("xarray")
pytest.importorskip("h5netcdf")

ENGINES = ("h5netcdf", "netcdf4")
OURS = {"CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "_Netcdf4Dimid", "_Netcdf4Coordinates", "_NCProperties"}


def names(path: Path) -> dict[str, tuple[str, ...]]:
    """Dimensions of all variables, as netCDF4 has them."""
    found: dict[str, tuple[str, ...]] = {}

    def walk(group: Any) -> None:
        for name, variable in group.variables.items():
            found[f"{group.path}/{name}".strip("/")] = variable.dimensions
        for below in group.groups.values():
            walk(below)

    with netCDF4.Dataset(path) as file:
        walk(file)
    return found


def xarray_names(path: Path, engine: str, group: str | None = None) -> dict[str, tuple[str, ...]]:
    with xr.open_dataset(path, engine=engine, group=group) as found:
        return {str(n): tuple(v.dims) for n, v in found.variables.items()}


# --- the same as files of xarray and netCDF4 ------------------------------------------------------------------------


def tree_of(path: Path) -> Tree:
    """A NetCDF-4 file as a tree, by what netCDF4 says of its dimensions and h5py of all else."""
    tree = Tree()

    def walk(group: Any, node: h5py.Group) -> None:
        at = group.path.strip("/")
        tree.groups[at] = {k: node.attrs[k] for k in node.attrs if k not in OURS}
        for name, variable in group.variables.items():
            stored = node[name] if name in node else node[f"_nc4_non_coord_{name}"]
            dtype = stored.dtype
            array = stored[()].reshape(variable.shape) if stored.shape == variable.shape else variable[...].data
            fill = None if dtype.kind == "O" else stored.fillvalue
            attributes = {k: stored.attrs[k] for k in stored.attrs if k not in OURS}
            tree.items.append(
                Item(
                    f"{at}/{name}".strip("/"),
                    np.asarray(array, dtype),
                    variable.shape,
                    dtype,
                    attributes,
                    variable.dimensions,
                    fill,
                    stored.chunks,
                    stored.maxshape,
                )
            )
        for name, below in group.groups.items():
            walk(below, node[name])

    with netCDF4.Dataset(path) as file, h5py.File(path) as nodes:
        file.set_auto_maskandscale(False)
        walk(file, nodes)
    return tree


def weather(engine: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        rng = np.random.default_rng(0)
        xr.Dataset(
            {
                "t": (("time", "y", "x"), rng.random((4, 3, 2)), {"units": "K", "flags": np.array([1, 2], "i2")}),
                "packed": (("y", "x"), np.round(rng.random((3, 2)), 1)),
                "name": ("y", np.array(["a", "bü", ""])),
                "n": ((), 5),
            },
            {"time": np.array(["2020-01-01", "2020-01-03", "2020-01-04", "2021-01-01"], "M8[ns]"), "x": [1.5, 2.5]},
            {"title": "weather", "empty": "", "levels": [1.0, 2.0]},
        ).to_netcdf(path, engine=engine, encoding={"packed": {"dtype": "i2", "scale_factor": 0.1, "_FillValue": -9}})

    return make


def unlimited(path: Path) -> None:
    data = xr.Dataset({"v": (("time", "x"), np.arange(6.0).reshape(3, 2))}, {"time": [1, 2, 3]})
    data.to_netcdf(path, engine="netcdf4", unlimited_dims=["time"])


def unlimited_without_variable(path: Path) -> None:
    xr.Dataset({"v": (("time", "x"), np.arange(6).reshape(3, 2))}).to_netcdf(
        path, engine="netcdf4", unlimited_dims="time"
    )


def curvilinear(path: Path) -> None:
    y, x = np.mgrid[:3, :4]
    xr.Dataset({"v": (("j", "i"), y * x)}, {"lat": (("j", "i"), y + 0.5), "lon": (("j", "i"), x + 0.5)}).to_netcdf(path)


def masked(path: Path) -> None:
    values = np.array([1.0, np.nan, 3.0])
    xr.Dataset({"f": ("x", values.astype("f4")), "d": ("x", values)}).to_netcdf(path, engine="netcdf4")


def flags(path: Path) -> None:
    xr.Dataset({"ok": ("x", np.array([True, False])), "u": ("x", np.array([1, 255], "u1"))}).to_netcdf(path)


def coordinate_of_several_axes(path: Path) -> None:
    with netCDF4.Dataset(path, "w") as file:
        for name, n in (("y", 3), ("x", 2)):
            file.createDimension(name, n)
        file.createVariable("x", "f8", ("x", "y"))[...] = np.arange(6).reshape(2, 3)
        file.createVariable("v", "f8", ("y", "x"))[...] = np.arange(6).reshape(3, 2)


def variable_named_like_another_dimension(path: Path) -> None:
    with netCDF4.Dataset(path, "w") as file:
        for name, n in (("y", 3), ("x", 2)):
            file.createDimension(name, n)
        file.createVariable("v", "f8", ("y", "x"))[...] = np.arange(6).reshape(3, 2)
        file.createVariable("x", "f8", ("y",))[...] = np.arange(3)


def one_dimension_twice(path: Path) -> None:
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("x", 3)
        file.createVariable("v", "f8", ("x", "x"))[...] = np.eye(3)


def text_and_characters(path: Path) -> None:
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("x", 2)
        file.createDimension("n", 3)
        file.createVariable("s", str, ("x",))[...] = np.array(["a", "bü"], object)
        file.createVariable("c", "S1", ("x", "n"))[...] = np.array([list("abc"), list("def")], "S1")
        file.setncattr_string("list", ["a", "b"])


def groups(path: Path) -> None:
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("x", 3)
        file.createVariable("x", "i4", ("x",))[...] = [1, 2, 3]
        a = file.createGroup("a")
        a.createDimension("y", 2)
        a.createVariable("v", "f4", ("y", "x"))[...] = np.ones((2, 3))
        a.createGroup("b").createVariable("w", "f4", ("x", "y"))[...] = np.zeros((3, 2))
        c = file.createGroup("c")
        c.note = "no variables"


def empty_axis(path: Path) -> None:
    xr.Dataset({"v": (("t", "x"), np.zeros((0, 2)))}, {"x": [1, 2]}).to_netcdf(path, engine="h5netcdf")


def plain(path: Path) -> None:
    xr.Dataset(attrs={"title": "nothing"}).to_netcdf(path, engine="netcdf4")


FILES = [
    weather("netcdf4"),
    weather("h5netcdf"),
    unlimited,
    unlimited_without_variable,
    curvilinear,
    masked,
    flags,
    one_dimension_twice,
    text_and_characters,
    groups,
    empty_axis,
    plain,
]


@pytest.mark.filterwarnings("ignore:Duplicate dimension names")
@pytest.mark.parametrize("make", FILES, ids=lambda f: f.__qualname__.partition(".")[0])
def test_the_same_for_xarray(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "a.nc")
    tree = tree_of(tmp_path / "a.nc")
    write(tmp_path / "b.nc", tree, NoProgress())
    assert tree.lost == []
    assert names(tmp_path / "b.nc") == names(tmp_path / "a.nc")
    paths = [group or None for group in tree.groups]
    for engine in ENGINES:
        for group in paths:
            with (
                xr.open_dataset(tmp_path / "a.nc", engine=engine, group=group) as want,
                xr.open_dataset(tmp_path / "b.nc", engine=engine, group=group) as got,
            ):
                xr.testing.assert_identical(got, want)
                assert got.encoding.get("unlimited_dims") == want.encoding.get("unlimited_dims")
                for name in want.variables:
                    assert got[name].encoding.get("_FillValue", 0) == pytest.approx(
                        want[name].encoding.get("_FillValue", 0), nan_ok=True
                    )


@pytest.mark.parametrize("make", [coordinate_of_several_axes, variable_named_like_another_dimension])
def test_clashes_of_names_as_netcdf4_has_them(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """xarray's data model refuses these; netCDF4's has them."""
    make(tmp_path / "a.nc")
    tree = tree_of(tmp_path / "a.nc")
    write(tmp_path / "b.nc", tree, NoProgress())
    assert names(tmp_path / "b.nc") == names(tmp_path / "a.nc")
    with netCDF4.Dataset(tmp_path / "a.nc") as want, netCDF4.Dataset(tmp_path / "b.nc") as got:
        assert {n: len(d) for n, d in got.dimensions.items()} == {n: len(d) for n, d in want.dimensions.items()}
        for name in want.variables:
            assert np.array_equal(got[name][...], want[name][...])


def test_more_can_be_added_by_netcdf4(written: Write) -> None:
    path, _ = written(
        item("t", [1.0, 2.0], ("t",), max_shape=(None,)), item("v", np.ones((2, 3)), ("t", "x"), max_shape=(None, 3))
    )
    with netCDF4.Dataset(path, "a") as file:
        file.createVariable("w", "i4", ("t", "x"))[...] = 1
        file["t"][2] = 3.0
        assert file["v"].shape == (3, 3)
    assert xarray_names(path, "netcdf4") == {"t": ("t",), "v": ("t", "x"), "w": ("t", "x")}


# --- what becomes what ----------------------------------------------------------------------------------------------


def test_dimensions_of_groups(written: Write) -> None:
    path, lost = written(
        item("x", [1, 2, 3], ("x",)),
        item("a/v", np.ones((3, 2)), ("x", "y")),
        item("a/deep/w", np.ones((2, 3)), ("y", "x")),
        item("b/v", np.ones((5, 2)), ("x", "y")),
    )
    assert lost == []
    with netCDF4.Dataset(path) as file:
        assert [len(d) for d in file.dimensions.values()] == [3]
        assert {n: {k: len(d) for k, d in g.dimensions.items()} for n, g in file.groups.items()} == {
            "a": {"y": 2},
            "b": {"x": 5, "y": 2},
        }
    assert names(path) == {"x": ("x",), "a/v": ("x", "y"), "a/deep/w": ("y", "x"), "b/v": ("x", "y")}
    for engine in ENGINES:
        assert xarray_names(path, engine, "a/deep") == {"w": ("y", "x")}


def test_dimensions_without_variables_take_no_space(written: Write) -> None:
    path, _ = written(item("v", np.ones((2, 3)), ("time", "x"), max_shape=(None, 3)))
    with h5py.File(path) as file:
        for name, text in (("time", f"{2:10}"), ("x", f"{3:10}")):
            assert file[name].id.get_storage_size() == 0
            assert file[name].attrs["NAME"] == b"This is a netCDF dimension but not a netCDF variable." + text.encode()
        assert file["time"].maxshape == (None,)
        assert [scale.name for scale in file["v"].dims[0].values()] == ["/time"]
    assert packstore.open_group(path)["v"].metadata.dimension_names == ("time", "x")


def test_lengths_that_differ_are_labels(written: Write) -> None:
    path, lost = written(item("a", np.ones((3, 2)), ("x", "y")), item("b", np.ones((2, 4)), ("y", "x")))
    assert names(path)["a"] == ("x", "y")
    with h5py.File(path) as file:
        assert [d.label for d in file["b"].dims] == ["y", "x"]
        assert len(file["b"].dims[0]) == 0
    assert lost == [
        "[b] dimension names are kept as labels: 'x' (4) cannot be a dimension of its group, where the name or another "
        "length is"
    ]
    assert packstore.open_group(path)["b"].metadata.dimension_names == ("y", "x")


def test_a_coordinate_decides_the_length(written: Write) -> None:
    path, lost = written(item("a", np.ones(3), ("x",)), item("x", np.arange(4), ("x",)), item("c", np.ones(4), ("x",)))
    assert (len(lost), lost[0][:3]) == (1, "[a]")
    with h5py.File(path) as file:
        assert file["c"].dims[0][0] == file["x"]


def test_a_coordinate_without_all_of_its_dimensions_is_none(written: Write) -> None:
    path, lost = written(
        item("v", np.ones((3, 2)), ("y", "x")), item("y", np.arange(3), ("y",)), item("x", np.ones((2, 4)), ("x", "y"))
    )
    assert len(lost) == 1
    assert {name: names(path)[name] for name in "yv"} == {"y": ("y",), "v": ("y", "x")}
    with h5py.File(path) as file:
        assert [d.label for d in file["_nc4_non_coord_x"].dims] == ["x", "y"]


@pytest.mark.parametrize("dims", [("x", None), (None, "x"), ("x", ""), ("a/b", "c"), (".", "c"), ("\ud800", "c")])
def test_names_that_are_no_dimensions_are_labels(written: Write, dims: Any) -> None:
    path, _ = written(item("v", np.ones((2, 3)), dims))
    with h5py.File(path) as file:
        assert list(file) == ["v"]
        assert [d.label for d in file["v"].dims] == [(n or "").replace("\ud800", "\\ud800") for n in dims]
    found = packstore.open_group(path)["v"].metadata.dimension_names
    assert found == tuple(n and n.replace("\ud800", "\\ud800") for n in (d or None for d in dims))


@pytest.mark.parametrize("what", ["group", "link", "arrays"])
def test_a_place_that_is_taken(written: Write, what: str) -> None:
    choices: dict[str, dict[str, Any]] = {"group": {"groups": {"x": {}}}, "link": {"links": {"x": "v"}}}
    more = choices.get(what, {})
    items = [item("v", np.ones(2), ("x",)), *([item("x/y", [1])] if what == "arrays" else [])]
    path, lost = written(*items, **more)
    with h5py.File(path) as file:
        assert file["v"].dims[0].label == "x"
    assert len(lost) == 1


def test_an_array_without_names_is_the_coordinate_of_its_name(written: Write) -> None:
    path, lost = written(item("x", [1, 2]), item("v", np.ones(2), ("x",)))
    assert names(path) == {"x": ("x",), "v": ("x",)}
    assert lost == []


def test_types_that_netcdf_has_not(written: Write) -> None:
    path, lost = written(item("x", np.ones(3, "f2"), ("x",)), item("t", np.zeros(3, "M8[s]"), ("x",)))
    assert lost == [
        f"[{n}] NetCDF has no type {t}: h5py reads it, NetCDF's libraries do not"
        for n, t in (("x", "float16"), ("t", "datetime64[s]"))
    ]
    with h5py.File(path) as file:
        assert file["t"].dims[0][0] == file["x"]


def test_bool_and_complex_open(written: Write) -> None:
    path, lost = written(item("b", np.array([True, False]), ("x",)), item("c", np.array([1j, 2]), ("x",)))
    assert lost == []
    assert names(path) == {"b": ("x",), "c": ("x",)}
    with xr.open_dataset(path, engine="h5netcdf") as got:
        assert got["b"].dtype == bool
        assert got["c"].values.tolist() == [1j, 2]
