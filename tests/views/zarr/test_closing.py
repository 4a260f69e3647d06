"""Arrays, groups and stores that are closed: no file and no memory is kept, and reading them is an error."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import packstore
from packstore.errors import ClosedError, PackstoreError
from packstore.source import cache
from packstore.testing.readers import assert_same

DATA = np.arange(6000, dtype="f4").reshape(100, 60)


def _hdf5(path: Path) -> Path:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path / "x.h5", "w") as file:
        file.create_dataset("g/a", data=DATA, chunks=(10, 60), compression="gzip")
        file.create_dataset("b", data=DATA, chunks=(10, 60), compression="gzip")
    return path / "x.h5"


def _npz(path: Path) -> Path:
    arrays: dict[str, Any] = {"g/a": DATA, "b": DATA}
    np.savez_compressed(path / "x.npz", **arrays)
    return path / "x.npz"


def _zarr(path: Path) -> Path:
    root = zarr.create_group(path / "x.zarr")
    root.create_array("g/a", data=DATA, chunks=(10, 60))
    root.create_array("b", data=DATA, chunks=(5, 60), shards=(10, 60))
    return path / "x.zarr"


@pytest.fixture(params=[_hdf5, _npz, _zarr], ids=["hdf5", "npz", "zarr"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    made: Path = request.param(tmp_path)
    return made


def open_files(path: Path) -> list[str]:
    """The files at or below `path` that this process has open or mapped."""
    if not sys.platform.startswith("linux"):
        return []
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{name}"))
        except OSError:
            continue
    found += [line.split(maxsplit=5)[-1].strip() for line in Path("/proc/self/maps").read_text().splitlines()]
    return [name for name in found if name.startswith(str(path))]


def kept_nbytes() -> int:
    return sum(c.nbytes for c in (cache.CHUNKS, cache.SHARDS, cache.MEMBERS, cache.TEXT, cache.GZIP, cache.PICKLES))


def use(node: Any) -> list[Callable[[], Any]]:
    """Ways to read an array or a group."""
    if isinstance(node, packstore.Group):
        calls = [lambda: node["b"], lambda: node.get("b"), node.members, lambda: list(node), lambda: list(node.items())]
        return [*calls, lambda: node.visit(print), lambda: list(node.arrays()), lambda: "b" in node, node.__enter__]
    calls = [lambda: node[0], lambda: node[[0, 1]], lambda: np.asarray(node), lambda: list(node), node.count_nonzero]
    calls += [lambda: node.oindex[0], lambda: node.vindex[[0], [0]], lambda: node.blocks[0], lambda: node.view("i4")[0]]
    return [*calls, lambda: node.get_basic_selection(0), lambda: pickle.dumps(node), node.__enter__]


def check_closed(node: Any) -> None:
    assert node.closed and "closed" in repr(node)
    for call in use(node):
        with pytest.raises(ClosedError, match=rf"expected an open {type(node).__name__}, got a closed one\. Open the"):
            call()
    node.close()


def test_a_group_closes_with_its_members(path: Path) -> None:
    before = kept_nbytes()
    with packstore.open(path) as group:
        assert isinstance(group, packstore.Group) and not group.closed
        member, below = group["b"], group["g"]
        deep = below["a"]
        crop = member[3:5, 7:9]
        assert_same(deep[11, 12], DATA[11, 12])
    for node in (group, member, below, deep):
        check_closed(node)
    assert_same(crop, DATA[3:5, 7:9])
    assert open_files(path) == []
    assert kept_nbytes() <= before
    assert issubclass(ClosedError, ValueError) and issubclass(ClosedError, PackstoreError)


def test_a_member_closes_alone(path: Path) -> None:
    group = packstore.open_group(path)
    below = group["g"]
    deep = below["a"]
    with group["b"] as member:
        assert_same(member[0], DATA[0])
    check_closed(member)
    below.close()
    check_closed(deep)
    assert not group.closed
    assert_same(group["b"][0], DATA[0])
    assert_same(group["g/a"][0], DATA[0])


def test_other_openings_go_on(path: Path) -> None:
    first, second = packstore.open_array(path, "b"), packstore.open_array(path, "b")
    lazy = packstore.from_file(path, "b")
    assert_same(first[3, 4], DATA[3, 4])
    first.close()
    check_closed(first)
    assert_same(second[3:5, 4], DATA[3:5, 4])
    assert_same(lazy.compute(scheduler="synchronous"), DATA)
    assert_same(packstore.open_array(path, "b")[...], DATA)


def test_an_exception_closes_too(path: Path) -> None:
    with pytest.raises(RuntimeError), packstore.open_array(path, "b") as array:
        raise RuntimeError
    check_closed(array)


def test_mapped_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", DATA)
    with packstore.open_array(tmp_path / "x.npy") as array:
        crop = array[1]
    check_closed(array)
    assert open_files(tmp_path) == []
    assert_same(crop, DATA[1])
    with packstore.open_array(tmp_path / "x.npy", copy=False) as array:
        view = array[1]
    assert_same(view, DATA[1])
    files = [tmp_path / "x.npy", tmp_path / "x.npy"]
    with packstore.open_array(files) as joined:
        assert_same(joined[99:101], np.concatenate([DATA, DATA])[99:101])
    check_closed(joined)
    del view, array
    assert open_files(tmp_path) == []


def test_a_closed_store_opens_again_as_zarrs_do(path: Path) -> None:
    with packstore.open_store(path) as store:
        array = zarr.open_array(store, path="b", mode="r")
        assert_same(array[3], DATA[3])
    if not path.is_dir():
        assert open_files(path) == []
    assert_same(array[3], DATA[3])
    store.close()


def test_a_file_may_be_replaced_after_closing(tmp_path: Path) -> None:
    for i in range(3):
        np.savez_compressed(tmp_path / "x.npz", a=DATA + i)
        with packstore.open(tmp_path / "x.npz") as group:
            assert_same(group["a"][5], DATA[5] + i)
