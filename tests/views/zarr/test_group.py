"""packstore.Group: members of its own classes, and reasons for those that are missing."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import packstore
from packstore.errors import ComponentNotFoundError, FormatError, MissingFileError, OptionError, UnsupportedError

ARRAYS: dict[str, Any] = {"a": np.arange(6).reshape(2, 3), "g/b": np.arange(4.0), "g/h/c": np.array(3.5)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    np.savez(tmp_path / "x.npz", bad=np.array([{}]), **ARRAYS)
    return tmp_path / "x.npz"


def test_members_are_packstores(path: Path) -> None:
    group = packstore.open_group(path)
    assert isinstance(group, packstore.Group)
    found = dict(group.members(max_depth=None))
    assert {name: type(node) for name, node in found.items()} == {
        "a": packstore.Array,
        "g": packstore.Group,
        "g/b": packstore.Array,
        "g/h": packstore.Group,
        "g/h/c": packstore.Array,
    }
    for name, data in ARRAYS.items():
        for node in (found[name], group[name]):
            assert node.lazy is not None
            np.testing.assert_array_equal(node[...], data)
    assert [type(node) for _, node in group.arrays()] == [packstore.Array]
    assert [type(node) for node in group.array_values()] == [packstore.Array]
    assert [type(node) for _, node in group.groups()] == [packstore.Group]
    assert [type(node) for node in group.group_values()] == [packstore.Group]
    assert isinstance(group["g"]["h"]["c"], packstore.Array)


def test_what_zarr_groups_do(path: Path) -> None:
    group = packstore.open_group(path)
    assert sorted(group) == ["a", "g"]
    assert sorted(group.array_keys()) == ["a"]
    assert sorted(group.group_keys()) == ["g"]
    assert (len(group), group.nmembers(None)) == (2, 5)
    assert "g/b" in group
    assert dict(group.attrs) == {}
    text = str(group.tree())
    assert all(name in text for name in ("a (2, 3) int64", "b (4,) float64", "c () float64"))
    assert "Read-only" in str(group.info)
    assert group == packstore.open_group(path)
    with pytest.raises(ValueError, match="read-only"):
        group.create_group("new")


def test_unsupported_members_say_why(path: Path) -> None:
    group = packstore.open_group(path)
    assert list(group.unsupported) == ["bad"]
    assert "pickled" in group.unsupported["bad"]
    assert "bad" not in group
    with pytest.raises(UnsupportedError, match=r"opening .*x\.npz\[bad\]: .*pickled"):
        group["bad"]
    with pytest.raises(UnsupportedError):
        packstore.open(path, "bad")


def test_missing_members(path: Path) -> None:
    group = packstore.open_group(path)
    with pytest.raises(KeyError):
        group["none"]
    assert group.get("none", 5) == 5
    assert isinstance(group.get("a"), packstore.Array)
    with pytest.raises(ComponentNotFoundError, match=r"x\.npz\[none\]: expected an array or group, got nothing"):
        packstore.open(path, "none")
    with pytest.raises(MissingFileError):
        packstore.open(path.parent / "absent.npz")


def test_missing_members_name_the_nearest(path: Path) -> None:
    nested: dict[str, Any] = {"pressure": np.arange(3), "run/temperature": np.arange(4)}
    np.savez(path.parent / "y.npz", **nested)
    h5py = pytest.importorskip("h5py")
    with h5py.File(path.parent / "y.h5", "w") as file:
        file["pressure"], file["run/temperature"] = np.arange(3), np.arange(4)
    zarr.create_group(path.parent / "y.zarr").create_array("pressure", data=np.arange(3))
    zarr.open_group(path.parent / "y.zarr").create_array("run/temperature", data=np.arange(4))
    for name in ("y.npz", "y.h5", "y.zarr"):
        group = packstore.open_group(path.parent / name)
        with pytest.raises(ComponentNotFoundError, match=rf"{name}\[presure\]: .*The nearest name is 'pressure'\.$"):
            group["presure"]
        with pytest.raises(KeyError, match=r"\[run/temprature\]: .*The nearest name is 'run/temperature'\.$"):
            group["run/temprature"]
        with pytest.raises(KeyError, match=r"\[run/temprature\]: .*The nearest name is 'temperature'\.$"):
            group["run"]["temprature"]
        with pytest.raises(KeyError, match=r"got nothing of that name\.$"):
            group["zzz"]
        assert group.get("presure") is None and "presure" not in group
        with pytest.raises(OptionError, match="expected a str, got 0"):
            group[0]  # type: ignore[index]


def test_mapping(path: Path) -> None:
    group = packstore.open_group(path)
    assert sorted(group.keys()) == sorted(group) == sorted(group._ipython_key_completions_()) == ["a", "g"]
    assert group.keys() & {"a", "b"} == {"a"} and len(group.keys()) == len(group.values()) == len(group.items()) == 2
    found = dict(group.items())
    assert {name: type(node) for name, node in found.items()} == {"a": packstore.Array, "g": packstore.Group}
    assert sorted(type(node).__name__ for node in group.values()) == ["Array", "Group"]
    np.testing.assert_array_equal(found["a"][...], ARRAYS["a"])
    assert {name: node for name, node in group["g"].items() if name == "b"}["b"].shape == (4,)


def test_visits_as_h5py_does(path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path.parent / "x.h5", "w") as file:
        for name, data in ARRAYS.items():
            file[name] = data
        file.create_group("g/empty")
    with h5py.File(path.parent / "x.h5") as file:
        for opened in (packstore.open_group(path.parent / "x.h5"), packstore.open_group(path.parent / "x.h5", "g")):
            theirs: list[str] = []
            file[f"/{opened.path}"].visit(theirs.append)
            ours: list[str] = []
            assert opened.visit(ours.append) is None
            assert ours == theirs
    group = packstore.open_group(path)
    seen: dict[str, Any] = {}
    group.visititems(seen.__setitem__)
    assert list(seen) == ["a", "g", "g/b", "g/h", "g/h/c"]
    assert seen["g/h/c"][()] == 3.5
    assert group.visititems(lambda name, node: name if isinstance(node, packstore.Group) else None) == "g"


def test_files_of_npz(path: Path) -> None:
    with np.load(path) as theirs:
        assert sorted(packstore.open_group(path).files) == sorted(theirs.files)
    assert packstore.open_group(path, "g").files == ["b", "h/c"]
    zarr.create_group(path.parent / "z.zarr")
    assert not hasattr(packstore.open_group(path.parent / "z.zarr"), "files")


def test_pickle(path: Path) -> None:
    group = pickle.loads(pickle.dumps(packstore.open_group(path, "g")))
    assert group.path == "g"
    np.testing.assert_array_equal(group["b"][1:], ARRAYS["g/b"][1:])
    assert isinstance(group["b"], packstore.Array)


def test_open_gives_what_is_there(path: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", ARRAYS["a"])
    assert isinstance(packstore.open(tmp_path / "x.npy"), packstore.Array)
    assert isinstance(packstore.open(path), packstore.Group)
    assert isinstance(packstore.open(path, "g"), packstore.Group)
    assert isinstance(packstore.open(path, "/g/h/c"), packstore.Array)
    for component in (None, ""):
        with pytest.raises(FormatError, match=r"expected a group, got one array\. Use packstore\.open_array\."):
            packstore.open_group(tmp_path / "x.npy", component)
    with pytest.raises(FormatError, match="got one array"):
        packstore.open_group(path, "a")


def test_an_empty_archive_is_an_empty_group(tmp_path: Path) -> None:
    np.savez(tmp_path / "e.npz")
    group = packstore.open(tmp_path / "e.npz")
    assert isinstance(group, packstore.Group)
    assert list(group) == []


def test_zarr_directory(tmp_path: Path) -> None:
    root = zarr.create_group(tmp_path / "z.zarr")
    root.create_array("m", data=np.arange(6), chunks=(4,))
    root.create_group("g").attrs["title"] = "below"
    group = packstore.open(tmp_path / "z.zarr")
    assert isinstance(group, packstore.Group)
    assert isinstance(group["m"], packstore.Array)
    np.testing.assert_array_equal(group["m"][1:5], np.arange(1, 5))
    assert dict(group["g"].attrs) == {"title": "below"}


@pytest.mark.parametrize("component", [0, b"a", ("a",)])
def test_components_are_names(path: Path, component: Any) -> None:
    for call in (packstore.open, packstore.open_array, packstore.from_file):
        with pytest.raises(OptionError, match="expected component= to be a str"):
            call(path, component)
