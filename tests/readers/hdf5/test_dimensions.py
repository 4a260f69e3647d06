"""Names of dimensions and what becomes of attributes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import packstore
from packstore.readers.hdf5 import read
from packstore.source import FileSource
from packstore.storage import Attributes


def test_dimension_scales(tmp_path: Path, check: Any) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        f["g/time"] = np.arange(3.0)
        f["g/time"].make_scale("some other name")
        f["depth"] = np.arange(4.0)
        f["depth"].make_scale()
        f["g/data"] = np.zeros((3, 4, 2))
        f["g/data"].dims[0].attach_scale(f["g/time"])
        f["g/data"].dims[1].attach_scale(f["depth"])
        f["g/data"].dims[1].label = "not used"
        f["g/data"].dims[2].label = "pair"
        f["plain"] = np.zeros((2, 2))
    found = check(path)
    names = {n: a.dimension_names for n, a in found.arrays.items()}
    assert names == {
        "g/time": ("time",),
        "depth": ("depth",),
        "g/data": ("time", "depth", "pair"),
        "plain": None,
    }
    for name, expected in names.items():
        assert check(path, component=name).arrays[name].dimension_names == expected
    # What the names now say is no attribute; the rest stays.
    assert dict(found.arrays["g/data"].attributes) == {}


@pytest.mark.parametrize("names", [["x", "", "z"], ["x"]], ids=["one an axis", "fewer than axes"])
@pytest.mark.parametrize("dtype", [h5py.string_dtype(), "S4"], ids=["variable", "fixed"])
def test_labels_without_scales(tmp_path: Path, check: Any, names: list[str], dtype: Any) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        f["data"] = np.zeros((2, 3, 4))
        f["data"].attrs["DIMENSION_LABELS"] = np.array(names, dtype)
        f["set"] = np.zeros((2, 3))
        f["set"].dims[1].label = "größe"
    want = {"data": ("x", None, "z" if len(names) > 1 else None), "set": (None, "größe")}
    assert {n: a.dimension_names for n, a in check(path).arrays.items()} == want
    document = packstore.open_array(path, "set").metadata.to_dict()
    assert document["dimension_names"] == (None, "größe")


def test_partly_named(tmp_path: Path, check: Any) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        f["x"] = np.arange(3.0)
        f["x"].make_scale()
        f["data"] = np.zeros((2, 3))
        f["data"].dims[1].attach_scale(f["x"])
    assert check(path).arrays["data"].dimension_names == (None, "x")


def test_netcdf4(tmp_path: Path, check: Any) -> None:
    """As the NetCDF-4 library lays it out: a coordinate variable of two dimensions, one without a variable."""
    path = tmp_path / "x.nc"
    with h5py.File(path, "w", track_order=True) as f:
        f.attrs["_NCProperties"] = np.bytes_(b"version=2,netcdf=4.9.2,hdf5=1.14")
        f.attrs["title"] = "test"
        f.attrs["one"] = np.array([5], "i4")
        for number, (name, n) in enumerate({"lat": 2, "string_length": 4}.items()):
            f.create_dataset(name, (n,), "f4")
            f[name].make_scale(name if n == 2 else f"This is a netCDF dimension but not a netCDF variable.{n:10d}")
            f[name].attrs["_Netcdf4Dimid"] = np.int32(number)
        f["lat"].attrs["units"] = "degrees"
        f["station"] = np.zeros((3, 4), "S1")
        f["station"].make_scale("station")
        f["station"].attrs["_Netcdf4Dimid"] = np.int32(2)
        f["station"].attrs["_Netcdf4Coordinates"] = np.array([2, 1], "i4")
        f["value"] = np.zeros((2, 3))
        f["value"].dims[0].attach_scale(f["lat"])
        f["value"].dims[1].attach_scale(f["station"])
        f["value"].attrs["_FillValue"] = np.array([9.0])
    found = check(path, unsupported=("string_length",))
    assert list(found.unlisted) == ["string_length"]
    assert check(path, component="string_length").arrays["string_length"].dimension_names == ("string_length",)
    assert {n: a.dimension_names for n, a in found.arrays.items()} == {
        "lat": ("lat",),
        "station": ("station", "string_length"),
        "value": ("lat", "station"),
    }
    assert dict(found.groups[""]) == {"title": "test", "one": 5}
    assert dict(found.arrays["lat"].attributes) == {"units": "degrees"}
    assert dict(found.arrays["value"].attributes) == {"_FillValue": 9.0}


def test_attributes_of_the_same_names_without_scales_stay(tmp_path: Path, check: Any) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        f["x"] = np.arange(3)
        f["x"].attrs["CLASS"] = "ARRAY"
        f["x"].attrs["NAME"] = "n"
        f.create_group("g").attrs["CLASS"] = "GROUP"
    found = check(path)
    assert dict(found.arrays["x"].attributes) == {"CLASS": "ARRAY", "NAME": "n"}
    assert dict(found.groups["g"]) == {"CLASS": "GROUP"}


def test_facts_of_the_type_are_attributes(tmp_path: Path, check: Any) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        f.create_dataset("x", data=[0, 1], dtype=h5py.enum_dtype({"RED": 0, "BLUE": 1}, "i1"))
        f["x"].attrs["note"] = "n"
    assert dict(check(path).arrays["x"].attributes) == {"enum": {"RED": 0, "BLUE": 1}, "note": "n"}


def test_unreadable_attributes_are_listed(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        f["g/x"] = np.arange(3)
        f["g/x"].attrs["good"] = 1
    monkeypatch.setattr(
        "packstore.readers.hdf5.walk.read_attributes", lambda oid, **options: (Attributes({"good": 1}), {"bad": "why"})
    )
    assert read(FileSource(path)).unsupported == {"@bad": "why", "g@bad": "why", "g/x@bad": "why"}
    found = read(FileSource(path), component="g/x")
    assert found.unsupported == {"g/x@bad": "why"}
    assert dict(found.arrays["g/x"].attributes) == {"good": 1}


def test_damaged_scales_cost_the_names_alone(tmp_path: Path, check: Any) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        f["x"] = np.arange(3.0)
        f["x"].attrs["DIMENSION_LIST"] = "nonsense"
        f["y"] = np.arange(3.0)
        f["y"].attrs["CLASS"] = np.array([1, 2])
        f["z"] = np.arange(3.0)
        f["z"].make_scale()
        f["data"] = np.zeros(3)
        f["data"].dims[0].attach_scale(f["z"])
        del f["z"]
    found = check(path)
    assert set(found.arrays) == {"x", "y", "data"}


@pytest.mark.parametrize("reference", [0, 7, 2**40, 2**64 - 1], ids=["null", "odd", "far", "undefined"])
def test_damaged_references_of_an_unlimited_dimension_cost_its_length_alone(tmp_path: Path, reference: int) -> None:
    path = tmp_path / "x.nc"
    with h5py.File(path, "w") as f:
        f.attrs["_NCProperties"] = np.bytes_(b"version=2")
        f.create_dataset("x", (3,), "f8", maxshape=(None,), data=np.arange(3.0))
        f["x"].make_scale("x")
        f.create_dataset("long", (5,), "f4", maxshape=(None,), data=np.arange(5.0))
        f["long"].dims[0].attach_scale(f["x"])
        f.create_dataset("short", (2,), "i4", maxshape=(None,), data=[1, 2])
        f["short"].dims[0].attach_scale(f["x"])
        at = h5py.h5o.get_info(f["long"].id).addr
    assert packstore.open_array(path, "short")[...].tolist() == [1, 2, *[-2147483647] * 3]
    assert packstore.open_array(path, "x").shape == (5,)
    raw = path.read_bytes()
    # The compound of an address and an axis, not the address in the list of links.
    entry = at.to_bytes(8, "little") + bytes(8)
    assert entry in raw
    path.write_bytes(raw.replace(entry, reference.to_bytes(8, "little") + bytes(8)))
    assert packstore.open_array(path, "short")[:2].tolist() == [1, 2]
    assert packstore.open_array(path, "x")[:3].tolist() == [0, 1, 2]
