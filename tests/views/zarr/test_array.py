"""packstore.Array: a zarr array in every respect, faster where it can be."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import packstore
from packstore.errors import ComponentNotFoundError, SelectionError, StaleFileError, UnsupportedError

DATA = np.arange(60, dtype="i4").reshape(5, 4, 3)


@pytest.fixture(params=["<i4", ">i4"])
def array(request: pytest.FixtureRequest, tmp_path: Path) -> packstore.Array:
    np.save(tmp_path / "x.npy", DATA.astype(request.param))
    return packstore.open_array(tmp_path / "x.npy", chunks=(2, 4, 3))


def test_is_a_zarr_array(array: packstore.Array) -> None:
    assert isinstance(array, zarr.Array)
    assert isinstance(array, packstore.Array)
    assert (array.shape, array.dtype, array.chunks, array.shards) == (DATA.shape, DATA.dtype, (2, 4, 3), None)
    assert (array.nchunks, array.cdata_shape, array.size, array.nbytes) == (3, (3, 1, 1), 60, 240)
    assert dict(array.attrs) == {}
    assert array.read_only
    assert array.nchunks_initialized == 3
    assert "int32" in repr(array)
    assert "ManifestStore" in str(array.info)
    assert "No. bytes stored" in str(array.info_complete())
    assert array.lazy is not None


def test_selections_that_zarr_answers(array: packstore.Array) -> None:
    mask = DATA > 50
    np.testing.assert_array_equal(array[mask], DATA[mask])
    np.testing.assert_array_equal(array[[0, 2]], DATA[[0, 2]])
    np.testing.assert_array_equal(array.oindex[np.array([0, 2]), :, np.array([1])], DATA[np.ix_([0, 2], range(4), [1])])
    np.testing.assert_array_equal(array.vindex[[0, 2], [1, 1], [0, 0]], DATA[[0, 2], [1, 1], [0, 0]])
    np.testing.assert_array_equal(array.blocks[1], DATA[2:4])
    np.testing.assert_array_equal(array.get_basic_selection((slice(1, 3), 0)), DATA[1:3, 0])
    np.testing.assert_array_equal(array.get_mask_selection(mask), DATA[mask])
    assert zarr.core.sync.sync(array.async_array.getitem((4, 3, 2))) == 59


def test_selections_that_numpy_has_and_zarr_has_not(array: packstore.Array) -> None:
    np.testing.assert_array_equal(array[::-2, None, ..., -1], DATA[::-2, None, ..., -1])
    with pytest.raises(IndexError, match=r"out of bounds|within"):
        array[5]


def test_plain_slicing_never_asks_the_store(array: packstore.Array, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("the store was asked")

    monkeypatch.setattr(type(array.store), "get", refuse)
    monkeypatch.setattr(type(array.store), "get_sync", refuse)
    np.testing.assert_array_equal(array[1:4, 2], DATA[1:4, 2])
    np.testing.assert_array_equal(np.asarray(array), DATA)
    assert [int(row[0, 0]) for row in iter(array)] == [0, 12, 24, 36, 48]
    with pytest.raises(AssertionError, match="the store was asked"):
        array.oindex[np.array([0])]


def test_conversion(array: packstore.Array) -> None:
    assert np.asarray(array, dtype="f8").dtype == np.float64
    writable = np.array(array)
    writable[:] = 0
    np.testing.assert_array_equal(array[...], DATA)
    assert int(np.sum(array)) == DATA.sum()
    np.testing.assert_array_equal(np.add(array, 1), DATA + 1)


def test_with_config(array: packstore.Array) -> None:
    same = array.with_config({"write_empty_chunks": True})
    assert isinstance(same, packstore.Array)
    assert same.lazy is not None
    fortran = array.with_config({"order": "F"})
    assert fortran.lazy is None
    assert fortran[1].flags.f_contiguous
    with pytest.raises(SelectionError, match=r"indexing .*x\.npy: got .*out of bounds"):
        fortran[9]
    for other in (same, fortran, pickle.loads(pickle.dumps(fortran))):
        np.testing.assert_array_equal(other[1:3], DATA[1:3])


def test_copies_and_pickles(array: packstore.Array) -> None:
    data = pickle.dumps(array)
    assert len(data) < 600
    for other in (copy.copy(array), copy.deepcopy(array), pickle.loads(data)):
        assert isinstance(other, packstore.Array)
        assert other == array
        np.testing.assert_array_equal(other[2], DATA[2])


def test_pickle_of_a_changed_file(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", DATA)
    data = pickle.dumps(packstore.open_array(tmp_path / "x.npy"))
    np.save(tmp_path / "x.npy", DATA[1:])
    with pytest.raises(StaleFileError):
        pickle.loads(data)[0]


def test_writes_are_refused(array: packstore.Array) -> None:
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        array.resize((1, 1, 1))
    with pytest.raises(ValueError, match="read-only"):
        array.append(DATA)


@pytest.mark.parametrize("value", [np.array(3.5), np.array(7, ">i2"), np.array(True)])
def test_0d(tmp_path: Path, value: Any) -> None:
    np.save(tmp_path / "s.npy", value)
    array = packstore.open_array(tmp_path / "s.npy")
    assert array.shape == ()
    assert array[()] == value[()]
    assert type(array[()]) is type(value[()])
    assert type(array[...]) is np.ndarray
    assert zarr.open_array(array.store, mode="r")[()] == value[()]


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0, 2)])
def test_empty(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "e.npy", np.zeros(shape, "f4"))
    array = packstore.open_array(tmp_path / "e.npy")
    assert array[...].shape == shape
    assert np.shape(zarr.open_array(array.store, mode="r")[...]) == shape
    assert array.nchunks_initialized == 0


def test_arrays_that_zarr_has_not(tmp_path: Path) -> None:
    data = np.arange(3).astype("M8")
    np.savez(tmp_path / "x.npz", bare=data, fine=np.arange(2))
    with pytest.raises(UnsupportedError, match=r"opening .*x\.npz\[bare\].*packstore\.from_file reads it all the same"):
        packstore.open_array(tmp_path / "x.npz", "bare")
    np.testing.assert_array_equal(packstore.from_file(tmp_path / "x.npz", "bare").compute(), data)


def test_names(tmp_path: Path) -> None:
    nested: dict[str, Any] = {"g/a": np.arange(2)}
    np.savez(tmp_path / "x.npz", **nested)
    assert packstore.open_array(tmp_path / "x.npz").path == "g/a"
    assert packstore.open_array(tmp_path / "x.npz", "/g/a/").path == "g/a"
    with pytest.raises(ComponentNotFoundError, match=r"x\.npz\[g\]: expected one of 'g/a', got no array of that name"):
        packstore.open_array(tmp_path / "x.npz", "g")


def _saved(path: Path, name: str) -> tuple[Path, str]:
    """One array of each kind of file, and its name."""
    if name.startswith("zarr"):
        options: dict[str, Any] = {"shards": (4, 8)} if name == "zarr-shards" else {}
        group = zarr.open_group(path / "g.zarr", mode="w", zarr_format=2 if name == "zarr-v2" else 3)
        array = group.create_array("a/b", shape=(9, 8), chunks=(2, 8), dtype="f4", fill_value=np.nan, **options)
        array[3:] = 1.5
        array.attrs["unit"] = "mm"
        return path / "g.zarr", "a/b"
    if name == "hdf5":
        import h5py

        with h5py.File(path / "x.h5", "w") as file:
            attributes = file.create_dataset("a/b", data=DATA, chunks=(2, 4, 3)).attrs
            attributes["unit"] = "mm"
            attributes["origin"] = [1, 2]
        return path / "x.h5", "a/b"
    dtype = np.dtype([("x", "<i4"), ("y", ">f8")]) if name == "struct" else np.dtype(name)
    np.savez(path / "x.npz", c=np.zeros((3, 4), dtype))
    return path / "x.npz", "c"


@pytest.mark.filterwarnings("ignore:.*not.*have a Zarr V3 specification")
@pytest.mark.parametrize("name", ["zarr", "zarr-v2", "zarr-shards", "hdf5", "struct", "U5", "M8[s]", ">u2", "bool"])
def test_opened_as_zarr_opens_it(tmp_path: Path, name: str) -> None:
    path, component = _saved(tmp_path, name)
    store = packstore.open_store(path)
    for order in ("C", "F"):
        with zarr.config.set({"array.order": order}):
            ours = packstore.open_array(path, component)
            zarrs = zarr.open_array(store, path=component, mode="r")
        # As text: a NaN is not equal to itself.
        assert repr(ours.metadata) == repr(zarrs.metadata)
        assert ours.async_array.config == zarrs.async_array.config
        assert ours.store_path == zarrs.store_path
        assert (ours.path, ours.name, ours.dtype, ours.chunks) == (zarrs.path, zarrs.name, zarrs.dtype, zarrs.chunks)
        np.testing.assert_array_equal(ours.oindex[:2], zarrs.oindex[:2])


def test_zarr_chooses_between_two_documents(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "x.zarr", data=DATA)
    (tmp_path / "x.zarr/.zarray").write_text("{}")
    with pytest.warns(UserWarning, match="Both"):
        opened = packstore.open_array(tmp_path / "x.zarr")
    np.testing.assert_array_equal(opened[...], DATA)


def test_no_attribute_is_shared_between_arrays(tmp_path: Path) -> None:
    path, component = _saved(tmp_path, "hdf5")
    first = packstore.open_array(path, component)
    first.metadata.attributes["unit"] = "km"
    origin = first.attrs["origin"]
    assert isinstance(origin, list)
    origin.append(99)
    again = packstore.open_array(path, component)
    assert dict(again.attrs) == {"unit": "mm", "origin": [1, 2]}
    assert dict(packstore.open_group(path)[component].attrs) == dict(again.attrs)
