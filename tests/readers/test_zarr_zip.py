"""Zarr hierarchies in zip archives: values against zarr's own store, requests, damage, and what is no such archive."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import zarr
from zarr.codecs import ZstdCodec
from zarr.storage import ZipStore

import packstore
from packstore.errors import (
    ChecksumError,
    ComponentNotFoundError,
    FormatError,
    PackstoreError,
    StaleFileError,
    UnsupportedError,
)
from packstore.testing.readers import ReaderTests
from packstore.views.lazy import open_lazy
from tests.servers import HttpServer

MASK = np.random.default_rng(0).random((200, 300)) < 0.2
X = np.arange(60_000, dtype="i4").reshape(200, 300)
PACKED = packstore.PackBitsCodec()

ARRAYS: dict[str, dict[str, Any]] = {
    "packed": {"data": MASK, "serializer": PACKED, "compressors": None},
    "packed zstd": {"data": MASK, "serializer": PACKED, "compressors": ZstdCodec()},
    "plain": {"data": X, "compressors": None},
    "zstd": {"data": X},
    "v2": {"data": X, "zarr_format": 2},
    "shards": {"data": MASK, "shards": (100, 120), "serializer": PACKED, "compressors": None},
    "shards zstd": {"data": X, "shards": (100, 120)},
}
KEYS = np.s_[...], np.s_[60:70, 61:90], np.s_[45:155:3, ::-7], np.s_[199, 298], np.s_[0:0]


class TestZarrZip(ReaderTests):
    format = "zarr_zip"
    suffix = ".zarr.zip"
    # Those that zarr has a data type for; byte order is no part of it.
    dtypes = ("bool", "u1", "<i2", "<u4", "<f4", "<f8", "<c8", "S3", "<U4", "<M8[s]")
    property_dtypes = ("bool", "<i2", "<u4", "<f8", "<c8")

    def write(self, path: Path, array: np.ndarray) -> None:
        with ZipStore(path, mode="w") as store:
            zarr.create_array(store, data=array)


def packed_up(folder: Path, path: Path, top: str = "", method: int = zipfile.ZIP_STORED, last: str = "") -> Path:
    """An archive of a folder, as ``zip -r`` makes it; members called `last` come at its end."""
    files = sorted((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.name == last)
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in files:
            archive.write(file, top + file.relative_to(folder).as_posix())
    return path


@pytest.fixture(params=ARRAYS)
def case(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Any]:
    with ZipStore(tmp_path / "a.zarr.zip", mode="w") as store:
        zarr.create_array(store, chunks=(50, 60), **ARRAYS[request.param])
    return tmp_path / "a.zarr.zip", ARRAYS[request.param]["data"]


def test_values(case: tuple[Path, Any]) -> None:
    path, data = case
    array = packstore.open_array(path)
    assert (array.shape, array.dtype) == (data.shape, data.dtype)
    for key in KEYS:
        np.testing.assert_array_equal(array[key], data[key])
    np.testing.assert_array_equal(packstore.from_file(path).compute(), data)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(array))[55:120], data[55:120])
    np.testing.assert_array_equal(zarr.open_array(packstore.open_store(path), mode="r")[30:160], data[30:160])
    assert array.count_nonzero() == np.count_nonzero(data)
    with ZipStore(path, mode="r") as store:
        np.testing.assert_array_equal(zarr.open_array(store, mode="r")[...], array[...])


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_members_that_the_archive_compresses(tmp_path: Path, method: int) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=MASK, chunks=(50, 60), serializer=PACKED, compressors=None)
    path = packed_up(tmp_path / "a.zarr", tmp_path / "a.zip", method=method)
    array = packstore.open_array(path)
    for key in KEYS:
        np.testing.assert_array_equal(array[key], MASK[key])


@pytest.fixture
def group(tmp_path: Path) -> Path:
    root = zarr.create_group(tmp_path / "g.zarr", attributes={"ome": {"version": "0.5"}})
    root.create_array("a", data=X, chunks=(50, 60), attributes={"unit": "m"}, dimension_names=("y", "x"))
    root.create_group("b").create_array("c", data=MASK, chunks=(50, 60))
    return tmp_path / "g.zarr"


@pytest.mark.parametrize("top", ["", "g.zarr/"])
def test_groups(group: Path, tmp_path: Path, top: str) -> None:
    found = packstore.open_group(packed_up(group, tmp_path / "g.ozx", top))
    assert sorted(found) == ["a", "b"] and found.attrs["ome"] == {"version": "0.5"}
    np.testing.assert_array_equal(found["a"][...], X)
    np.testing.assert_array_equal(found["b/c"][3:70], MASK[3:70])
    one = packstore.open_array(tmp_path / "g.ozx", "a")
    assert dict(one.attrs) == {"unit": "m"}
    assert one.metadata.dimension_names == ("y", "x")  # type: ignore[union-attr]
    with pytest.raises(ComponentNotFoundError):
        packstore.open_array(tmp_path / "g.ozx", "absent")
    report = packstore.save(tmp_path / "copy.zarr", found)
    assert report.lost == ()
    np.testing.assert_array_equal(packstore.open_array(tmp_path / "copy.zarr", "b/c")[...], MASK)


def test_few_requests_behind_a_url(case: tuple[Path, Any]) -> None:
    path, data = case
    with HttpServer() as server:
        server.put("a.zarr.zip", path.read_bytes())
        url = f"{server.url}/a.zarr.zip"
        with server.counting() as requests:
            array = packstore.open_array(url)
        assert len(requests) <= 3
        for key in KEYS:
            np.testing.assert_array_equal(array[key], data[key])
        with server.counting() as requests:
            np.testing.assert_array_equal(array[...], data)
        # Chunks and shards lie next to each other.
        assert len(requests) <= 4
        np.testing.assert_array_equal(packstore.from_file(url).compute(), data)


def test_members_are_mapped(tmp_path: Path) -> None:
    with ZipStore(tmp_path / "a.zip", mode="w") as store:
        zarr.create_array(store, data=X, chunks=X.shape, compressors=None)
    stored = open_lazy(tmp_path / "a.zip").array.storage.places.open((0, 0))  # type: ignore[attr-defined]
    assert stored.mapped and stored.nbytes == X.nbytes


def test_missing_chunks_hold_the_fill_value(tmp_path: Path) -> None:
    z = zarr.create_array(tmp_path / "a.zarr", shape=(200, 300), chunks=(50, 75), dtype="i4", fill_value=7)
    z[10:20, 10:20] = 1
    path = packed_up(tmp_path / "a.zarr", tmp_path / "a.zip")
    np.testing.assert_array_equal(packstore.open_array(path)[...], z[...])
    fsspec.filesystem("memory").put_file(str(path), "/zips/a.zip")
    np.testing.assert_array_equal(packstore.open_array("memory://zips/a.zip")[...], z[...])


def test_the_last_member_of_a_name_counts(tmp_path: Path) -> None:
    """As for zarr, which writes chunks and metadata again under the same name."""
    with ZipStore(tmp_path / "a.zip", mode="w") as store:
        z: Any = zarr.create_array(store, shape=(4, 4), chunks=(2, 2), dtype="i4")
        with pytest.warns(UserWarning, match="Duplicate name"):
            z[...] = 1
            z[:2] = 2
            z.attrs["unit"] = "m"
    found = packstore.open_array(tmp_path / "a.zip")
    assert found[:, 0].tolist() == [2, 2, 1, 1] and dict(found.attrs) == {"unit": "m"}


def _damaged(path: Path, name: str) -> None:
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(name)
    raw = bytearray(path.read_bytes())
    at = raw.index(name.encode(), info.header_offset) + len(name) + info.compress_size - 4
    raw[at] ^= 0xFF
    path.write_bytes(raw)


@pytest.mark.parametrize("remote", [False, True])
def test_damage(tmp_path: Path, remote: bool) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=X, chunks=(50, 60))
    path: Any = packed_up(tmp_path / "a.zarr", tmp_path / "a.zip")
    _damaged(path, "c/1/2")
    if remote:
        fsspec.filesystem("memory").put_file(str(path), "/zips/damaged.zip")
        path = "memory://zips/damaged.zip"
    array = packstore.open_array(path)
    np.testing.assert_array_equal(array[:50], X[:50])
    with pytest.raises(ChecksumError, match=r"\.zip\[c/1/2\]: expected CRC-32"):
        array[50:100]
    path = packed_up(tmp_path / "a.zarr", tmp_path / "b.zip")
    _damaged(path, "zarr.json")
    with pytest.raises(PackstoreError, match=r"b\.zip.*zarr\.json"):
        packstore.open_array(path)


def test_a_changed_archive_is_stale(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=X, chunks=(50, 60))
    array = packstore.open_array(packed_up(tmp_path / "a.zarr", tmp_path / "a.zip"))
    packed_up(tmp_path / "a.zarr", tmp_path / "a.zip", method=zipfile.ZIP_DEFLATED)
    with pytest.raises(StaleFileError):
        array[...]


def test_names_and_methods_that_are_refused(tmp_path: Path, group: Path) -> None:
    path = packed_up(group, tmp_path / "g.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../up/zarr.json", (group / "a" / "zarr.json").read_bytes())
        archive.writestr("bad/zarr.json", "no JSON")
    store = packstore.open_store(path)
    assert "bad" in store.unsupported and "JSON" in store.unsupported["bad"]
    assert "../up" in store.unsupported
    raw = bytearray(path.read_bytes())
    # The directory says that the first chunk is compressed by a method without a decoder.
    at = raw.rindex(b"a/c/0/0") - 46 + 10
    raw[at] = 93
    path.write_bytes(raw)
    with pytest.raises((UnsupportedError, FormatError), match=r"g\.zip"):
        packstore.open_array(path, "a")[:10, :10]
    np.testing.assert_array_equal(packstore.open_array(path, "a")[60:], X[60:])


def test_other_archives_are_what_they_were(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=X)
    assert list(packstore.open_group(tmp_path / "x.npz")) == ["a"]
    with zipfile.ZipFile(tmp_path / "y.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing")
        archive.writestr("deep/er/zarr.json", "{}")
    with pytest.raises(FormatError, match=r"y\.zip"):
        packstore.open_store(tmp_path / "y.zip")
    with pytest.raises(FormatError, match="zarr metadata at its top"):
        packstore.open_store(tmp_path / "y.zip", format="zarr_zip")


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_xarray(tmp_path: Path, zarr_format: Any) -> None:
    xr = pytest.importorskip("xarray")
    data = xr.Dataset({"n": ("y", np.arange(30, dtype="i2"))}, {"y": np.arange(30.0)}, {"title": "a title"})
    data.to_zarr(tmp_path / "x.zarr", zarr_format=zarr_format, consolidated=False, encoding={"n": {"_FillValue": 3}})
    path = packed_up(tmp_path / "x.zarr", tmp_path / "x.zarr.zip")
    with xr.open_zarr(tmp_path / "x.zarr", consolidated=False, chunks=None) as want:
        xr.testing.assert_identical(xr.open_dataset(path, engine="packstore").load(), want.load())
        fsspec.filesystem("memory").put(str(tmp_path / "x.zarr"), f"/zips/{zarr_format}/x.zarr", recursive=True)
        url = f"memory://zips/{zarr_format}/x.zarr"
        xr.testing.assert_identical(xr.open_dataset(url, engine="packstore").load(), want.load())
