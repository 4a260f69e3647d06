"""Zarr hierarchies behind URLs: values, requests, missing chunks, changes, errors."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from zarr.codecs import ZstdCodec

import packstore
from packstore.errors import AccessError, ComponentNotFoundError, MissingFileError, PackstoreError, StaleFileError
from packstore.readers.zarr import object_places
from tests.servers import HttpServer, s3_server

pytest.importorskip("aiohttp")
MASK = np.random.default_rng(0).random((200, 300)) < 0.2
X = np.arange(60_000, dtype="i4").reshape(200, 300)

ARRAYS: dict[str, dict[str, Any]] = {
    "packed": {"data": MASK, "serializer": packstore.PackBitsCodec(), "compressors": None},
    "packed zstd": {"data": MASK, "serializer": packstore.PackBitsCodec(), "compressors": ZstdCodec()},
    "plain": {"data": X, "compressors": None},
    "zstd": {"data": X},
    "v2": {"data": X, "zarr_format": 2},
    "shards": {"data": MASK, "shards": (100, 120), "serializer": packstore.PackBitsCodec(), "compressors": None},
    "shards zstd": {"data": X, "shards": (100, 120)},
    "ragged": {"data": X[:, :299], "compressors": None},
}


def upload(server: HttpServer, path: Path) -> str:
    for each in path.rglob("*"):
        if each.is_file():
            server.put(f"{path.name}/{each.relative_to(path).as_posix()}", each.read_bytes())
    return f"{server.url}/{path.name}"


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with HttpServer() as found:
        yield found


@pytest.fixture(params=ARRAYS)
def case(request: pytest.FixtureRequest, tmp_path: Path, server: HttpServer) -> tuple[str, Any, str]:
    kwargs = ARRAYS[request.param]
    zarr.create_array(tmp_path / "a.zarr", chunks=(50, 60), **kwargs)
    return upload(server, tmp_path / "a.zarr"), kwargs["data"], request.param


def test_values(case: tuple[str, Any, str]) -> None:
    url, data, _ = case
    array = packstore.open_array(url)
    assert (array.shape, array.dtype) == (data.shape, data.dtype)
    for key in np.s_[...], np.s_[60:70, 61:90], np.s_[45:155:3, ::-7], np.s_[199, 298], np.s_[0:0]:
        np.testing.assert_array_equal(array[key], data[key])
    np.testing.assert_array_equal(packstore.from_file(url).compute(), data)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(array))[55:120], data[55:120])
    np.testing.assert_array_equal(zarr.open_array(packstore.open_store(url), mode="r")[30:160], data[30:160])
    assert array.count_nonzero() == np.count_nonzero(data)
    np.testing.assert_array_equal(array.count_nonzero(axis=0), np.count_nonzero(data, axis=0))


def test_requests(case: tuple[str, Any, str], server: HttpServer) -> None:
    url, _, name = case
    with server.counting() as requests:
        array = packstore.open_array(url)
    # Of v2: what v3 calls its document, and the four of v2 side by side.
    assert len(requests) == (5 if name == "v2" else 1)
    is_sharded = name.startswith("shards")
    with server.counting() as requests:
        array[60:70, 70:90]
    assert len(requests) <= 2 if is_sharded else len(requests) == 1
    if name == "packed":
        # 50 rows of 60 bits: 375 bytes a chunk, of which the rows of the box are read.
        assert requests[0].range is not None and requests[0].range != "bytes=0-374"
    with server.counting() as requests:
        array[...]
    # A shard that is wanted whole is one request.
    assert len(requests) <= (6 if is_sharded else 20)


def test_a_scan_asks_side_by_side(tmp_path: Path, server: HttpServer) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=X, chunks=(50, 60))
    array = packstore.open_array(upload(server, tmp_path / "a.zarr"))
    server.latency_s, server.peak = 0.02, 0
    array[...]
    assert server.peak > 4


def test_missing_chunks_hold_the_fill_value(tmp_path: Path, server: HttpServer) -> None:
    for name, shards in ("plain", None), ("shards", (100, 150)):
        z = zarr.create_array(
            tmp_path / f"{name}.zarr", shape=(200, 300), chunks=(50, 75), dtype="i4", fill_value=7, shards=shards
        )
        z[10:20, 10:20] = 1
        array = packstore.open_array(upload(server, tmp_path / f"{name}.zarr"))
        np.testing.assert_array_equal(array[...], z[...])
        assert array[150, 200] == 7


@pytest.fixture
def group(tmp_path: Path, zarr_format: Any) -> Path:
    root = zarr.create_group(tmp_path / "g.zarr", attributes={"who": "me"}, zarr_format=zarr_format)
    names = ("y", "x") if zarr_format == 3 else None
    root.create_array("a", data=X, chunks=(50, 60), attributes={"unit": "m"}, dimension_names=names)
    root.create_group("b").create_array("c", data=MASK, chunks=(50, 60))
    return tmp_path / "g.zarr"


@pytest.fixture
def zarr_format() -> int:
    return 3


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part")
def test_groups_by_consolidated_metadata(group: Path, server: HttpServer, zarr_format: int) -> None:
    """A web server lists nothing: consolidated metadata say what is there."""
    zarr.consolidate_metadata(group)
    url = upload(server, group)
    with server.counting() as requests:
        found = packstore.open_group(url)
        assert sorted(found) == ["a", "b"] and dict(found.attrs) == {"who": "me"}
    assert len(requests) == (1 if zarr_format == 3 else 5)
    np.testing.assert_array_equal(found["a"][...], X)
    np.testing.assert_array_equal(found["b/c"][3:70], MASK[3:70])
    one = packstore.open_array(url, "a")
    assert dict(one.attrs) == {"unit": "m"}
    assert one.metadata.dimension_names == (("y", "x") if zarr_format == 3 else None)  # type: ignore[union-attr]
    with pytest.raises(ComponentNotFoundError):
        packstore.open_array(url, "absent")


def test_groups_by_listing(group: Path, tmp_path: Path) -> None:
    pytest.importorskip("moto")
    pytest.importorskip("s3fs")
    old = zarr.create_group(tmp_path / "old.zarr", zarr_format=2)
    old.create_array("x", data=X, chunks=(50, 60), attributes={"unit": "m"})
    with s3_server() as (options, client):
        for path in group, tmp_path / "old.zarr":
            for each in path.rglob("*"):
                if each.is_file():
                    key = f"below/{path.name}/{each.relative_to(path).as_posix()}"
                    client.put_object(Bucket="bucket", Key=key, Body=each.read_bytes())
        found = packstore.open_group("s3://bucket/below/g.zarr", storage_options=options)
        assert sorted(found) == ["a", "b"]
        np.testing.assert_array_equal(found["b"]["c"][...], MASK)
        other = packstore.open_group("s3://bucket/below/old.zarr/", storage_options=options)
        np.testing.assert_array_equal(other["x"][...], X)
        assert dict(other["x"].attrs) == {"unit": "m"}
        first, same = (packstore.from_file("s3://bucket/below/g.zarr", "a", storage_options=options) for _ in range(2))
        assert first.name == same.name
        client.put_object(Bucket="bucket", Key="below/g.zarr/a/c/0/0", Body=b"another")
        again = packstore.from_file("s3://bucket/below/g.zarr", "a", storage_options=options)
        assert again.name != first.name


def test_changed_metadata_are_stale(tmp_path: Path, server: HttpServer) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=X, chunks=(50, 60))
    url = upload(server, tmp_path / "a.zarr")
    data = pickle.dumps(packstore.open_array(url))
    zarr.create_array(tmp_path / "a.zarr", data=X.T, chunks=(50, 60), overwrite=True)
    upload(server, tmp_path / "a.zarr")
    packstore.open_array(url).lazy.location.close()  # type: ignore[union-attr]
    again = pickle.loads(data)
    again.lazy.location.close()
    with pytest.raises(StaleFileError, match=r"a\.zarr"):
        again[...]


def test_the_index_of_a_shard_is_asked_for_once(
    tmp_path: Path, server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=X, chunks=(50, 60), shards=(200, 300), compressors=None)
    url = upload(server, tmp_path / "a.zarr")
    monkeypatch.setattr(object_places, "TAIL_NBYTES", 1000)
    array = packstore.open_array(url)
    for expected in 2, 1, 1:
        with server.counting() as requests:
            np.testing.assert_array_equal(array[10:20, 30:50], X[10:20, 30:50])
        assert len(requests) == expected
    # The index is of one state of the shard; its chunks are asked for in that state.
    server.put("a.zarr/c/0/0", server.files["/a.zarr/c/0/0"][0], mtime=1.0)
    with pytest.raises(StaleFileError):
        array[10:20, 30:50]
    # The next read asks for the index of the new one.
    np.testing.assert_array_equal(packstore.open_array(url)[10:20, 30:50], X[10:20, 30:50])


def test_a_shard_that_is_replaced_between_its_requests(
    tmp_path: Path, server: HttpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=X, chunks=(50, 60), shards=(200, 300), compressors=None)
    url = upload(server, tmp_path / "a.zarr")
    monkeypatch.setattr(object_places, "TAIL_NBYTES", 1000)
    array = packstore.open_array(url)
    np.testing.assert_array_equal(array[:100], X[:100])
    real = object_places.ObjectBytes.read_ranges

    def late(self: Any, ranges: Any) -> Any:
        server.put("a.zarr/c/0/0", server.files["/a.zarr/c/0/0"][0], mtime=1.0)
        return real(self, ranges)

    monkeypatch.setattr(object_places.ObjectBytes, "read_ranges", late)
    with pytest.raises(StaleFileError):
        array[:100]


def test_chunks_that_no_listing_shows_have_no_lasting_name(tmp_path: Path, server: HttpServer) -> None:
    zarr.create_array(tmp_path / "a.zarr", data=X, chunks=(50, 60))
    url = upload(server, tmp_path / "a.zarr")
    first, second = packstore.from_file(url), packstore.from_file(url)
    assert first.name != second.name
    np.testing.assert_array_equal(second.compute(), X)


def test_errors(tmp_path: Path, server: HttpServer) -> None:
    with pytest.raises(MissingFileError, match=r"absent\.zarr"):
        packstore.open_array(f"{server.url}/absent.zarr")
    zarr.create_array(tmp_path / "a.zarr", data=X, chunks=(50, 60), compressors=None)
    url = upload(server, tmp_path / "a.zarr")
    array = packstore.open_array(url)
    server.faults["/a.zarr/c/0/0"] = [403]
    with pytest.raises(AccessError):
        array[0]
    server.put("a.zarr/c/0/0", b"short")
    with pytest.raises(PackstoreError, match=r"a\.zarr/? chunk \(0, 0\)"):
        array[0]
    server.put("bad.zarr/zarr.json", b"{")
    with pytest.raises(PackstoreError, match="expected a JSON object"):
        packstore.open_array(f"{server.url}/bad.zarr")
