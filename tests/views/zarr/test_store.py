"""ManifestStore: the conformance suite over each format whose chunks reach it another way, and corner cases."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fsspec
import h5py
import numpy as np
import pytest
import zarr
from zarr.core.buffer import default_buffer_prototype

import packstore
from packstore.codecs.hdf5 import FilterSpec
from packstore.errors import MissingFileError, OptionError, StaleFileError
from packstore.readers import READERS, Reader
from packstore.readers.find import locate
from packstore.readers.location import Location
from packstore.source import Source
from packstore.storage import MISSING, ManifestArray, ManifestGroup, chunked
from packstore.testing.store import ReadOnlyStoreTests
from packstore.views.zarr.store import ManifestStore

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have a Zarr V3 specification")


class TestNpy(ReadOnlyStoreTests):
    """One array at the root."""

    @pytest.fixture
    def location(self, tmp_path: Path) -> Location:
        np.save(tmp_path / "x.npy", np.arange(35, dtype="i4").reshape(7, 5))
        return locate(tmp_path / "x.npy", chunks=(3, 2))


class TestNpyFortran(ReadOnlyStoreTests):
    """Transposed chunks with padding, big-endian."""

    @pytest.fixture
    def location(self, tmp_path: Path) -> Location:
        np.save(tmp_path / "x.npy", np.asfortranarray(np.arange(24, dtype=">f8").reshape(2, 3, 4)))
        return locate(tmp_path / "x.npy", chunks=(2, 2, 3))


class TestNpz(ReadOnlyStoreTests):
    """Nested groups, 0-d and empty arrays, stored members."""

    @pytest.fixture
    def location(self, tmp_path: Path) -> Location:
        arrays: dict[str, Any] = {
            "a": np.arange(10),
            "g/b": np.arange(6.0).reshape(2, 3),
            "g/h/s": np.array(7),
            "g/e": np.zeros((0, 3)),
        }
        np.savez(tmp_path / "x.npz", c=np.arange(3), names=np.array([{}], dtype=object), **arrays)
        return locate(tmp_path / "x.npz", chunks="auto")


class TestNpzDeflated(ReadOnlyStoreTests):
    """Members in memory."""

    @pytest.fixture
    def location(self, tmp_path: Path) -> Location:
        arrays: dict[str, Any] = {"a/c": np.arange(10), "b": np.array(["x", "yy"])}
        np.savez_compressed(tmp_path / "x.npz", **arrays)
        return locate(tmp_path / "x.npz")


class TestRaw(ReadOnlyStoreTests):
    """Elements without a header, at an offset."""

    @pytest.fixture
    def location(self, tmp_path: Path) -> Location:
        (tmp_path / "x.dat").write_bytes(b"head" + np.arange(30, dtype="u2").tobytes())
        return locate(tmp_path / "x.dat", format="raw", dtype="u2", shape=(6, 5), offset=4, chunks=(4, 5))


class TestPacked(ReadOnlyStoreTests):
    """Bits."""

    @pytest.fixture
    def location(self, tmp_path: Path) -> Location:
        np.packbits(np.random.default_rng(0).random((13, 20)) < 0.5, axis=1).tofile(tmp_path / "x.bits")
        return locate(tmp_path / "x.bits", format="raw", shape=(13, 20), packed_axis=1, chunks=(5, 8))


class TestHdf5(ReadOnlyStoreTests):
    """Groups with attributes, chunks behind filters, chunks never written, strings, what is not served."""

    @pytest.fixture
    def location(self, tmp_path: Path) -> Location:
        with h5py.File(tmp_path / "x.h5", "w") as f:
            f.attrs["title"] = "all sorts"
            f["g/contiguous"] = np.arange(12, dtype=">i2").reshape(3, 4)
            f.create_dataset(
                "g/packed", data=np.arange(35.0).reshape(5, 7), chunks=(2, 3), compression="gzip", shuffle=True
            )
            sparse = f.create_dataset("sparse", (6, 6), "i4", chunks=(2, 2), fillvalue=7)
            sparse[2:4, 4:6] = 1
            f["names"] = ["a", "bcd", "\u00e9"]
            f["scalar"] = 4.5
            f["reference"] = np.array([f["g"].ref], dtype=h5py.ref_dtype)
            f["empty"] = h5py.Empty("f4")
        return locate(tmp_path / "x.h5")


class TestRemote(ReadOnlyStoreTests):
    """Bytes behind fsspec."""

    @pytest.fixture
    def location(self, tmp_path: Path) -> Location:
        with fsspec.open("memory://store/x.npy", "wb") as f:
            np.save(f, np.arange(40, dtype="f4").reshape(8, 5))
        return locate("memory://store/x.npy", chunks=(3, 5))


class SparseReader:
    """A reader of chunks some of which were never written."""

    @staticmethod
    def sniff(source: Source, head: bytes) -> bool:
        return False

    @staticmethod
    def read(source: Source, *, component: str | None, chunks: Any, **options: Any) -> ManifestGroup:
        offsets = np.full((3, 2, 4), MISSING, np.uint64)
        sizes = np.zeros((3, 2, 4), np.uint64)
        for i, coords in enumerate([(0, 0, 1), (0, 1, 3), (2, 0, 0)]):
            offsets[coords], sizes[coords] = 16 * i, 16
        filters: tuple[FilterSpec, ...] = ()
        storage = chunked(source, (2, 2, 2), offsets, sizes, None, filters, np.dtype("<u2"))
        some = ManifestArray((5, 4, 8), np.dtype("<u2"), (2, 2, 2), storage, fill_value=9)
        nothing = chunked(source, (2,), np.full(4, MISSING), np.zeros(4, np.uint64), None, filters, np.dtype("S3"))
        none = ManifestArray((8,), np.dtype("S3"), (2,), nothing)
        return ManifestGroup({"some": some, "g/none": none}, {"g": {"title": "empty"}})


@pytest.fixture
def sparse_location(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Location:
    class Sparse(Reader):
        def load(self) -> Any:
            return SparseReader

    monkeypatch.setitem(READERS, "sparse", Sparse("none", sniffable=False))
    (tmp_path / "x.bin").write_bytes(np.arange(24, dtype="<u2").tobytes())
    return locate(tmp_path / "x.bin", format="sparse")


class TestSparse(ReadOnlyStoreTests):
    """Chunks that are missing are in no listing, and read as the fill value."""

    @pytest.fixture
    def location(self, sparse_location: Location) -> Location:
        return sparse_location


def collect(found: Any) -> list[str]:
    async def run() -> list[str]:
        return sorted([key async for key in found])

    return asyncio.run(run())


def test_missing_chunks_are_fill_values(sparse_location: Location) -> None:
    store = ManifestStore(sparse_location)
    assert collect(store.list()) == ["g/none/zarr.json", "g/zarr.json", *SPARSE, "some/zarr.json", "zarr.json"]
    assert collect(store.list_dir("some/c")) == ["0", "2"]
    assert collect(store.list_dir("some/c/0")) == ["0", "1"]
    assert collect(store.list_dir("some/c/1")) == []
    assert collect(store.list_dir("g/none")) == ["zarr.json"]
    expected = np.full((5, 4, 8), 9, "u2")
    expected[0:2, 0:2, 2:4] = np.arange(8).reshape(2, 2, 2)
    expected[0:2, 2:4, 6:8] = np.arange(8, 16).reshape(2, 2, 2)
    expected[4:5, 0:2, 0:2] = np.arange(16, 20).reshape(1, 2, 2)
    np.testing.assert_array_equal(zarr.open_array(store, path="some", mode="r")[...], expected)
    np.testing.assert_array_equal(packstore.LazyArray(sparse_location, "some")[...], expected)
    assert np.asarray(zarr.open_array(store, path="g/none", mode="r")[...]).tolist() == [b""] * 8
    assert packstore.LazyArray(sparse_location, "g/none")[1:3].tolist() == [b""] * 2


SPARSE = ["some/c/0/0/1", "some/c/0/1/3", "some/c/2/0/0"]


def npz(path: Path, arrays: dict[str, Any]) -> Path:
    np.savez(path, **arrays)
    return path


def test_arrays_below_arrays_are_unsupported(tmp_path: Path) -> None:
    path = npz(tmp_path / "x.npz", {"a": np.arange(4), "a/c": np.arange(3), "b": np.arange(2)})
    store = packstore.open_store(path)
    assert list(store.unsupported) == ["a/c"]
    assert "'a'" in store.unsupported["a/c"]
    assert collect(store.list()) == ["a/c/0", "a/zarr.json", "b/c/0", "b/zarr.json", "zarr.json"]
    np.testing.assert_array_equal(packstore.from_file(path, "a/c").compute(), np.arange(3))


def test_group_attributes_reach_zarr(sparse_location: Location) -> None:
    group = zarr.open_group(ManifestStore(sparse_location), mode="r")
    assert dict(group["g"].attrs) == {"title": "empty"}
    assert sorted(group) == ["g", "some"]


@pytest.mark.long
def test_listing_is_lazy(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros(3_000_000, "u1"))
    store = packstore.open_store(tmp_path / "x.npy", chunks=1)

    async def first(found: Any) -> str:
        async for key in found:
            return str(key)
        return ""

    assert asyncio.run(first(store.list())) == "zarr.json"
    assert asyncio.run(first(store.list_prefix("c/2999999"))) == "c/2999999"
    assert asyncio.run(first(store.list_dir("c"))) == "0"
    assert asyncio.run(store.exists("c/2999999"))
    assert not asyncio.run(store.exists("c/3000000"))


def test_chunks_of_a_local_file_are_views(tmp_path: Path) -> None:
    data = np.arange(1000, dtype="f8")
    np.save(tmp_path / "x.npy", data)
    store = packstore.open_store(tmp_path / "x.npy", chunks=500)
    buffer = store.get_sync("c/1")
    assert buffer is not None
    array = np.asarray(buffer.as_numpy_array())
    assert not array.flags.owndata
    assert not array.flags.writeable
    np.testing.assert_array_equal(array.view("f8"), data[500:])


@pytest.mark.parametrize("read_only", [False])
def test_cannot_be_opened_for_writing(tmp_path: Path, read_only: bool) -> None:
    np.save(tmp_path / "x.npy", np.arange(3))
    with pytest.raises(ValueError, match="packstore stores are read-only"):
        ManifestStore(locate(tmp_path / "x.npy"), read_only=read_only)


def test_zarr_refuses_to_write(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(3))
    array = zarr.open_array(packstore.open_store(tmp_path / "x.npy"), mode="r")
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 5
    with pytest.raises(ValueError, match="read-only"):
        array.attrs["x"] = 1


def test_stale_file(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.arange(3))
    store = packstore.open_store(path)
    data = pickle.dumps(store)
    assert store.get_sync("c/0") is not None
    np.save(path, np.arange(4))
    with pytest.raises(StaleFileError, match=r"reading .*x\.npy: expected the file that was opened .* open it again"):
        store.get_sync("c/0")
    with pytest.raises(StaleFileError):
        asyncio.run(store.get("c/0", default_buffer_prototype()))
    with pytest.raises(StaleFileError):
        zarr.open_array(pickle.loads(data), mode="r")[...]


def test_equality_ignores_how_the_path_was_spelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "x.npy", np.arange(3))
    (tmp_path / "link.npy").symlink_to("x.npy")
    monkeypatch.chdir(tmp_path)
    stores = [packstore.open_store(p) for p in ("x.npy", tmp_path / "x.npy", "link.npy", f"file://{tmp_path}/x.npy")]
    assert all(store == stores[0] for store in stores)
    assert stores[0] != packstore.open_store("x.npy", chunks=1)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"format": "nope"}, OptionError, "expected format to be one of .*npy.*, got 'nope'"),
        ({"dtype": "f4"}, OptionError, r"expected options of this format \(none\), got 'dtype'"),
        ({"chunks": (1, 2)}, OptionError, r"expected chunks of 1 lengths for shape \(3,\), got \(1, 2\)"),
        ({"storage_options": {"key": "hush"}}, OptionError, "expected no storage_options for a local path, got key"),
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, options: dict[str, Any], error: type, text: str) -> None:
    np.save(tmp_path / "x.npy", np.arange(3))
    with pytest.raises(error, match=text) as info:
        packstore.open_store(tmp_path / "x.npy", **options)
    assert "hush" not in str(info.value)


@pytest.mark.parametrize("path", ["absent.npy", "x.npy/y", "memory://absent/x.npy"])
def test_missing_files(tmp_path: Path, path: str) -> None:
    np.save(tmp_path / "x.npy", np.arange(3))
    with pytest.raises(MissingFileError, match=r"opening .*: expected a file, got nothing of that name"):
        packstore.open_store(path if "://" in path else tmp_path / path)


def test_secrets_are_not_shown() -> None:
    with fsspec.open("memory://secret/x.npy", "wb") as f:
        np.save(f, np.arange(3))
    store = packstore.open_store("memory://secret/x.npy", storage_options={"skip_instance_cache": True})
    assert isinstance(store, packstore.ManifestStore)
    for text in (repr(store), str(store), repr(store.location)):
        assert "skip_instance_cache" not in text


@pytest.mark.parametrize("names", [("a", "b"), ("zarr", "json", "c")])
def test_names_that_look_like_keys(tmp_path: Path, names: Sequence[str]) -> None:
    arrays = {f"{n}/c": np.arange(i + 2) for i, n in enumerate(names)}
    store = packstore.open_store(npz(tmp_path / "x.npz", arrays))
    for name, array in arrays.items():
        np.testing.assert_array_equal(zarr.open_array(store, path=name, mode="r")[...], array)
    assert collect(store.list_dir("")) == sorted([*names, "zarr.json"])
