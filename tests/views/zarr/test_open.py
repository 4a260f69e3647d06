"""The opening functions: what is read of a file to open one array of it, lists of files, the store behind an array."""

from __future__ import annotations

import asyncio
import inspect
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
import zarr

import packstore
from packstore.errors import (
    ComponentNotFoundError,
    DtypeError,
    FormatError,
    MissingFileError,
    OptionError,
    UnsupportedError,
)
from packstore.readers import Reader, location
from packstore.readers.find import locate
from packstore.views.lazy import LazyArray, open_lazy
from packstore.views.zarr.store import ManifestStore

ONE = np.arange(24, dtype="i4").reshape(6, 4)
NAMES = ("g/one", "g/two", "three")


def store_of(array: packstore.Array) -> Any:
    """The store behind an array: packstore's own, which zarr's types do not tell."""
    return array.store


def npz(path: Path) -> Path:
    arrays: dict[str, Any] = dict.fromkeys(NAMES, ONE)
    np.savez(path / "x.npz", **arrays)
    return path / "x.npz"


def hdf5(path: Path) -> Path:
    with h5py.File(path / "x.h5", "w") as file:
        for name in NAMES:
            file.create_dataset(name, data=ONE, chunks=(2, 4), compression="gzip").attrs["unit"] = "mm"
        file["g"].attrs["title"] = "some"
        file["g"]["loop"] = h5py.SoftLink("/g")
        file["empty"] = h5py.Empty("f4")
    return path / "x.h5"


def zarr_directory(path: Path) -> Path:
    root = zarr.create_group(path / "x.zarr")
    root.create_group("g").attrs["title"] = "some"
    for name in NAMES:
        root.create_array(name, data=ONE, chunks=(2, 4)).attrs["unit"] = "mm"
    return path / "x.zarr"


def pickled(path: Path) -> Path:
    (path / "x.pkl").write_bytes(pickle.dumps({"g": {"one": ONE, "two": ONE}, "three": ONE}))
    return path / "x.pkl"


def folder(path: Path) -> Path:
    (path / "x/g").mkdir(parents=True)
    for name in NAMES:
        with open(path / "x" / name, "wb") as file:
            np.save(file, ONE)
    return path / "x"


FILES = [npz, hdf5, zarr_directory, pickled, folder]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """The component of each call of a reader's `read`, all formats together; no manifest is kept from before."""
    found: list[str | None] = []
    load = Reader.load

    def recording(self: Reader) -> Any:
        module = load(self)

        def read(source: Any, *, component: str | None, **options: Any) -> Any:
            found.append(component)
            return module.read(source, component=component, **options)

        return SimpleNamespace(sniff=module.sniff, read=read)

    monkeypatch.setattr(Reader, "load", recording)
    location._manifests.clear()
    return found


def as_in_another_process(value: Any) -> Any:
    data = pickle.dumps(value)
    location._manifests.clear()
    return pickle.loads(data)


def listed(found: Any) -> list[str]:
    async def run() -> list[str]:
        return sorted([key async for key in found])

    return asyncio.run(run())


@pytest.mark.parametrize("write", FILES)
@pytest.mark.parametrize("call", [packstore.open_array, packstore.open, packstore.from_file, open_lazy])
def test_one_array_is_read_once_and_by_its_name(
    tmp_path: Path, reads: list[str | None], write: Callable[[Path], Path], call: Callable[..., Any]
) -> None:
    array = call(write(tmp_path), "/g/one/")
    for again in (False, True):
        opened = as_in_another_process(array) if again else array
        np.testing.assert_array_equal(np.asarray(opened[1:3]), ONE[1:3])
        assert opened.shape == ONE.shape
        # A folder asks the reader of the member after its own.
        assert [name for name in reads if name is not None] == ["g/one"]
        assert reads.count(None) == (write is folder)
        reads.clear()


@pytest.mark.parametrize("write", [npz, hdf5, zarr_directory, pickled])
def test_zarr_reads_one_array_by_its_own_index(
    tmp_path: Path, reads: list[str | None], write: Callable[[Path], Path]
) -> None:
    array = packstore.open_array(write(tmp_path), "g/one")
    for opened in (array, as_in_another_process(array)):
        np.testing.assert_array_equal(opened.oindex[np.array([0, 5]), np.array([1])], ONE[[0, 5]][:, [1]])
        assert dict(opened.attrs) == ({} if write in (npz, pickled) else {"unit": "mm"})
        store = as_in_another_process(opened.store)
        np.testing.assert_array_equal(zarr.open_array(store, path="g/one", mode="r")[...], ONE)
        assert "c" in listed(store.list_dir("g/one"))
        assert None not in reads


@pytest.mark.parametrize("write", FILES)
def test_the_store_of_one_array_is_that_of_the_file(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    path = write(tmp_path)
    whole = packstore.open_store(path)
    for name in NAMES:
        store = packstore.open_array(path, name).store
        assert store == whole
        assert hash(store) == hash(whole)
        assert listed(store.list_dir("")) == listed(whole.list_dir(""))
        assert listed(packstore.open_array(path, name).store.list()) == listed(whole.list())
        assert listed(packstore.open_array(path, name).store.list_prefix("g")) == listed(whole.list_prefix("g"))
        assert dict(store_of(packstore.open_array(path, name)).unsupported) == dict(whole.unsupported)
        group = zarr.open_group(packstore.open_array(path, name).store, mode="r")
        assert dict(group["g"].attrs) == dict(zarr.open_group(whole, mode="r")["g"].attrs)
        np.testing.assert_array_equal(np.asarray(group["three"]), ONE)
        assert asyncio.run(packstore.open_array(path, name).store.exists("g/two/zarr.json"))


def test_the_store_tells_what_is_not_served(tmp_path: Path) -> None:
    path = hdf5(tmp_path)
    store = store_of(packstore.open_array(path, "g/one"))
    assert set(store.unsupported) == {"empty", "g/loop"}
    with pytest.raises(UnsupportedError, match=r"x\.h5\[empty\]: expected an array that zarr can hold, got "):
        store.array_document("empty")


def test_an_array_behind_a_link_that_no_listing_follows(tmp_path: Path) -> None:
    path = hdf5(tmp_path)
    array = packstore.open_array(path, "g/loop/one")
    np.testing.assert_array_equal(array.oindex[np.array([1])], ONE[[1]])
    np.testing.assert_array_equal(np.asarray(zarr.open_group(array.store, mode="r")["three"]), ONE)
    assert "g/loop/one/zarr.json" in listed(array.store.list())
    np.testing.assert_array_equal(as_in_another_process(array).oindex[np.array([1])], ONE[[1]])


def test_an_array_below_an_array_has_a_store_of_its_own(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {"a": ONE, "a/b": -ONE}
    np.savez(tmp_path / "x.npz", **arrays)
    for _ in range(2):  # with and without the index of the whole file at hand
        array = packstore.open_array(tmp_path / "x.npz", "a/b")
        np.testing.assert_array_equal(array.oindex[np.array([1])], -ONE[[1]])
        assert list(packstore.open_store(tmp_path / "x.npz").unsupported) == ["a/b"]


def test_a_store_of_no_array(tmp_path: Path) -> None:
    where = locate(npz(tmp_path))
    with pytest.raises(ComponentNotFoundError, match=r"x\.npz\[g\]: expected one of"):
        ManifestStore(where, "g")
    np.savez(tmp_path / "dates.npz", bare=np.arange(3).astype("M8"))
    with pytest.raises(UnsupportedError, match=r"dates\.npz\[bare\].*packstore\.from_file reads it all the same"):
        ManifestStore(locate(tmp_path / "dates.npz"), "bare")


def test_groups_read_the_whole_file_once(tmp_path: Path, reads: list[str | None]) -> None:
    group = packstore.open_group(npz(tmp_path))
    for name in NAMES:
        np.testing.assert_array_equal(group[name][2], ONE[2])
    assert reads == [None]
    group = as_in_another_process(packstore.open_group(npz(tmp_path), "g"))
    np.testing.assert_array_equal(group["two"][2], ONE[2])


def parts(path: Path) -> list[Path]:
    files = [path / f"{i}.npy" for i in range(3)]
    for i, file in enumerate(files):
        np.save(file, ONE + 100 * i)
    return files


@pytest.mark.parametrize("options", [{}, {"axis": 1}, {"axis": -1, "new_axis": True}])
@pytest.mark.parametrize("call", [packstore.open_array, packstore.open, packstore.from_file, open_lazy])
def test_a_list_of_files_is_one_array(tmp_path: Path, call: Callable[..., Any], options: dict[str, Any]) -> None:
    arrays = [ONE + 100 * i for i in range(3)]
    join = np.stack if options.get("new_axis") else np.concatenate
    want = join(arrays, axis=options.get("axis", 0))
    array = call(parts(tmp_path), **options)
    for opened in (array, as_in_another_process(array)):
        assert opened.shape == want.shape
        np.testing.assert_array_equal(np.asarray(opened), want)
        np.testing.assert_array_equal(np.asarray(opened[1:7:3, ::-1]), want[1:7:3, ::-1])
    store = packstore.open_store(parts(tmp_path), **options)
    np.testing.assert_array_equal(zarr.open_array(store, mode="r")[...], want)


def test_lists_of_files_with_components(tmp_path: Path) -> None:
    files = [tmp_path / f"{i}.npz" for i in range(2)]
    for i, file in enumerate(files):
        np.savez(file, mask=np.full((2, 3), i == 1), other=ONE)
    array = packstore.open_array(files, "mask")
    np.testing.assert_array_equal(array.oindex[np.array([0, 3])], [[False] * 3, [True] * 3])
    assert array.count_nonzero() == 6
    assert array.count_nonzero(axis=1, keepdims=True).tolist() == [[0], [0], [3], [3]]
    assert packstore.count_nonzero(files, component="mask").compute() == 6
    assert zarr.open_array(packstore.open_store(files, component="mask"), mode="r").shape == (4, 3)
    with pytest.raises(ComponentNotFoundError, match=r"0\.npz.*component="):
        packstore.open_array(files)


def test_lists_of_files_that_are_no_array(tmp_path: Path) -> None:
    files = parts(tmp_path)
    np.save(files[1], ONE.astype("f8"))
    for call in (packstore.open_array, packstore.from_file, packstore.open_store):
        with pytest.raises(DtypeError, match=r"1\.npy: expected dtype int32"):
            call(files)
        with pytest.raises(MissingFileError, match="an empty list"):
            call([])
        with pytest.raises(OptionError, match="got 'axis'"):
            call(files[0], axis=0)
    with pytest.raises(OptionError, match="got 'component'"):
        packstore.open_store(files[0], component="a")
    with pytest.raises(FormatError, match="expected a group, got one array"):
        packstore.open_group(files[:1])


def test_signatures() -> None:
    options = ["format", "chunks", "storage_options", "mode"]
    assert list(inspect.signature(packstore.open_store).parameters) == ["path", *options, "reader_options"]
    for call in (packstore.open, packstore.open_array, packstore.open_group):
        assert list(inspect.signature(call).parameters) == ["path", "component", *options, "copy", "reader_options"]
    counts = inspect.signature(LazyArray.count_nonzero).parameters
    assert counts == inspect.signature(packstore.Array.count_nonzero).parameters


# -- modes ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> dict[str, Path]:
    """An array, and files of several: one has an array that is called as a mode is."""
    np.save(tmp_path / "x.npy", np.arange(6))
    nested: dict[str, Any] = {"one": np.arange(3), "g/b": np.arange(4)}
    np.savez(tmp_path / "x.npz", **nested)
    np.savez(tmp_path / "r.npz", r=np.arange(3), w=np.arange(4))
    zarr.create_group(tmp_path / "x.zarr").create_array("one", data=np.arange(5))
    return {name: tmp_path / name for name in ("x.npy", "x.npz", "r.npz", "x.zarr")}


def test_mode_r_is_taken(saved: dict[str, Path]) -> None:
    call: Any = packstore.open
    assert call(saved["x.npy"], "r")[1] == call(saved["x.npy"], mode="r")[1] == 1
    assert packstore.open_array(saved["x.npy"], "r")[2] == packstore.open_array(saved["x.npy"], mode="r")[2] == 2
    for name in ("x.npz", "x.zarr"):
        assert call(saved[name], "r")["one"][2] == 2
        assert packstore.open_group(saved[name], "r")["one"][2] == 2
        assert packstore.open_group(saved[name], mode="r")["one"][2] == 2
        assert zarr.open_array(packstore.open_store(saved[name], mode="r"), path="one", mode="r")[2] == 2
    assert packstore.open_array(saved["x.npz"], "g/b", mode="r").shape == (4,)
    assert call([saved["x.npy"], saved["x.npy"]], "r").shape == (12,)


def test_a_component_that_is_called_as_a_mode_wins(saved: dict[str, Path]) -> None:
    call: Any = packstore.open
    assert call(saved["r.npz"], "r").shape == packstore.open_array(saved["r.npz"], "r").shape == (3,)
    assert call(saved["r.npz"], "w", mode="r").shape == (4,)
    with pytest.raises(FormatError, match="expected a group, got one array"):
        packstore.open_group(saved["r.npz"], "r")


@pytest.mark.parametrize("mode", ["w", "a", "r+", "w-", "x", "rb", "c", None, 3, "read"])
def test_other_modes_are_refused(saved: dict[str, Path], mode: Any) -> None:
    match = rf"opening .*x\.np[yz]: expected mode \"r\", got {re.escape(repr(mode))}\. packstore\.save writes files"
    for call in (packstore.open, packstore.open_array, packstore.open_store):
        with pytest.raises(OptionError, match=match):
            call(saved["x.npy"], mode=mode)
    with pytest.raises(OptionError, match=match):
        packstore.open_group(saved["x.npz"], mode=mode)


@pytest.mark.parametrize("mode", ["r+", "w-", "w+", "rb"])
def test_other_modes_in_second_place(saved: dict[str, Path], mode: str) -> None:
    for call in (packstore.open, packstore.open_array, packstore.open_group):
        with pytest.raises(
            OptionError, match=rf"x\.npz: expected mode \"r\", got {re.escape(repr(mode))}\. packstore\.save"
        ):
            call(saved["x.npz"], mode)


@pytest.mark.parametrize("mode", ["a", "w", "x", "c"])
def test_letters_may_be_components_or_modes(saved: dict[str, Path], mode: str) -> None:
    match = (
        rf"\[{mode}\]: expected .* of that name\. .*If '{mode}' is a mode: only \"r\" is; packstore\.save writes files"
    )
    for call in (packstore.open, packstore.open_array, packstore.open_group):
        for name in ("x.npy", "x.npz"):
            with pytest.raises(ComponentNotFoundError, match=match):
                call(saved[name], mode)


def test_near_names_of_what_is_not_there(saved: dict[str, Path]) -> None:
    for name in ("G/b", "g/bb"):
        with pytest.raises(ComponentNotFoundError, match=r"expected an array or group, .*The nearest name is 'g/b'\."):
            packstore.open(saved["x.npz"], name)
    with pytest.raises(ComponentNotFoundError, match=r"nothing of that name\.$"):
        packstore.open(saved["x.npz"], "quite another")
