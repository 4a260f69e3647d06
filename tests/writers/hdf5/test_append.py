"""Arrays added to an HDF5 or NetCDF-4 file that is there already."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from packstore.errors import FormatError, PackstoreError, TargetExistsError
from tests.writers.hdf5.conftest import Write, item


@pytest.fixture(name="base")
def fixture_base(tmp_path: Path) -> Path:
    path = tmp_path / "base.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("a", data=np.arange(5), chunks=(2,), compression="gzip")
        file["g/b"] = [1.5, 2.5]
        file["g"].attrs["n"] = 1
        file["g"].attrs["kept"] = "k"
        file["link"] = h5py.SoftLink("/a")
    return path


def test_arrays_are_added_and_groups_merged(written: Write, base: Path) -> None:
    before = base.read_bytes()
    path, lost = written(
        item("g/c", np.arange(100_000), attributes={"unit": "m"}),
        item("h/d", np.ones((3, 2)), fill_value=7),
        base=base,
        groups={"g": {"n": 2}, "": {"title": "T"}, "new": {}},
        links={"again": "g/c"},
    )
    assert base.read_bytes() == before
    with h5py.File(path) as file:
        assert sorted(file) == ["a", "again", "g", "h", "link", "new"]
        assert file["a"][()].tolist() == [0, 1, 2, 3, 4]
        assert np.array_equal(file["again"][()], np.arange(100_000))
        assert dict(file["g"].attrs) == {"n": 2, "kept": "k"}
        assert (file["g/c"].attrs["unit"], file["h/d"].fillvalue, file.attrs["title"]) == ("m", 7, "T")
        assert file["g/b"][()].tolist() == [1.5, 2.5]
    assert lost == []


@pytest.mark.parametrize("userblock", [0, 512])
def test_one_run_is_added(written: Write, tmp_path: Path, userblock: int) -> None:
    with h5py.File(tmp_path / "base.h5", "w", userblock_size=userblock) as file:
        file["a"] = np.arange(1000)
    arrays = {name: np.random.default_rng(0).random((100, n)) for name, n in (("b", 50), ("c", 20))}
    path, _ = written(*[item(n, a) for n, a in arrays.items()], base=tmp_path / "base.h5", compressor=None)
    with h5py.File(path) as file:
        assert np.array_equal(file["a"][()], np.arange(1000))
        for name, array in arrays.items():
            assert file[name].chunks is None
            assert np.array_equal(file[name][()], array)


@pytest.mark.parametrize("name", ["a", "link", "g/b"])
def test_a_name_that_is_there(written: Write, base: Path, name: str) -> None:
    text = rf"adding to .*\[{name}\]: expected a name that is free, got an array\. .*overwrite=True"
    with pytest.raises(TargetExistsError, match=text):
        written(item(name, [7]), base=base)
    path, _ = written(item(name, [7]), base=base, replace=True, path="y.h5")
    with h5py.File(path) as file:
        assert file[name][()].tolist() == [7]
        assert len(file["a"]) == (1 if name == "a" else 5)


@pytest.mark.parametrize("replace", [False, True])
def test_groups_and_arrays_do_not_take_each_others_place(written: Write, base: Path, replace: bool) -> None:
    with pytest.raises(
        TargetExistsError, match=r"\[g\]: expected a name that is free, got a group\. Choose another name\."
    ):
        written(item("g", [7]), base=base, replace=replace)
    with pytest.raises(TargetExistsError, match=r"\[a\]: expected a name that is free, got an array"):
        written(item("a/x", [7]), base=base, replace=replace, path="y.h5")


def test_a_link_that_leads_nowhere(written: Write, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "base.h5", "w") as file:
        file["lost"] = h5py.SoftLink("/nowhere")
    with pytest.raises(TargetExistsError, match=r"\[lost\]: .*, got a link that leads nowhere"):
        written(item("lost/x", [1]), base=tmp_path / "base.h5")
    path, _ = written(item("lost", [1]), base=tmp_path / "base.h5", replace=True, path="y.h5")
    with h5py.File(path) as file:
        assert file["lost"][()].tolist() == [1]


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00", b"\x89HDF\r\n\x1a\n" + b"\xff" * 50])
def test_no_hdf5_file(written: Write, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(FormatError, match=r"adding to .*a: expected an HDF5 file, got ") as caught:
        written(item("x", [1]), base=tmp_path / "a")
    assert isinstance(caught.value, PackstoreError)


def test_attributes_too_large_for_old_object_headers(written: Write, base: Path) -> None:
    path, lost = written(item("x", [1]), base=base, groups={"g": {"big": np.zeros(20_000), "n": 5}})
    with h5py.File(path) as file:
        assert dict(file["g"].attrs) == {"n": 5, "kept": "k"}
    assert len(lost) == 1
    assert lost[0].startswith("[g] attribute 'big' is not written (")


def test_dimensions_that_are_there(written: Write) -> None:
    first, _ = written(item("x", [1, 2, 3], ("x",)), item("v", np.ones((2, 3)), ("y", "x")), path="a.nc")
    path, lost = written(
        item("w", np.ones((3, 2)), ("x", "y")),
        item("g/u", np.ones((4, 2)), ("z", "y")),
        item("bad", np.ones(5), ("x",)),
        base=first,
    )
    with h5py.File(path) as file:
        assert [d[0].name for d in file["w"].dims] == ["/x", "/y"]
        assert [d[0].name for d in file["g/u"].dims] == ["/g/z", "/y"]
        numbers = [int(file[n].attrs["_Netcdf4Dimid"]) for n in ("x", "y", "g/z")]
        assert len(set(numbers)) == 3
        assert file["bad"].dims[0].label == "x"
    assert len(lost) == 1


def test_a_scale_that_is_replaced(written: Write) -> None:
    first, _ = written(item("x", [1, 2, 3], ("x",)), item("v", np.ones((2, 3)), ("y", "x")), path="a.nc")
    path, _ = written(
        # A variable for a dimension that has none is no second array of that name.
        item("y", [10.0, 20.0], ("y",)),
        item("x", [4, 5, 6], ("x",)),
        base=first,
        replace=True,
    )
    with h5py.File(path) as file:
        assert [d[0].name for d in file["v"].dims] == ["/y", "/x"]
        assert [d[0][()].tolist() for d in file["v"].dims] == [[10.0, 20.0], [4, 5, 6]]
    again, _ = written(item("v", np.zeros((2, 3)), ("y", "x")), base=path, replace=True, path="y.nc")
    with h5py.File(again) as file:
        assert [file[r].name for r, _ in file["x"].attrs["REFERENCE_LIST"]] == ["/v"]
        assert file["v"][()].tolist() == [[0.0] * 3] * 2
    other, _ = written(item("y", [1.0, 2.0], ("y",)), base=first, path="z.nc")
    with h5py.File(other) as file:
        assert file["v"].dims[0][0] == file["y"]


def test_netcdf_reads_what_was_added(written: Write) -> None:
    netCDF4 = pytest.importorskip("netCDF4")
    path = written(item("x", [1, 2, 3], ("x",)))[0].with_name("a.nc")
    with netCDF4.Dataset(path, "w") as file:
        file.createDimension("t", None)
        file.createDimension("x", 3)
        file.createVariable("v", "f8", ("t", "x"))[:2] = 1
    added, lost = written(item("w", np.ones((2, 3)), ("t", "x"), max_shape=(None, 3)), base=path, path="b.nc")
    with netCDF4.Dataset(added) as file:
        assert {n: v.dimensions for n, v in file.variables.items()} == {"v": ("t", "x"), "w": ("t", "x")}
        assert file["w"][...].tolist() == [[1.0] * 3] * 2
    assert lost == []
