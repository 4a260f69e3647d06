"""Saving to URLs: to fsspec's memory everywhere, to a server for S3 where one can be started."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask.array as da
import fsspec
import h5py
import numpy as np
import pytest
import zarr

import packstore
from packstore.errors import OptionError, PackstoreError, TargetExistsError, WriteError
from packstore.source.remote.uploads import Uploads
from packstore.writers.zarr_objects import UNFINISHED
from tests.servers import s3_server

MASK = np.random.default_rng(0).random((9, 1024, 1024)) < 0.1
# Two shards.
LARGE = np.broadcast_to(MASK[:1], (70, 1024, 1024))


class Bucket:
    """A place behind a URL, and how fsspec reaches it."""

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        self.url, self.options = url, options
        self.fs, self.path = fsspec.core.url_to_fs(url, **options)

    def names(self) -> set[str]:
        self.fs.invalidate_cache()
        base = self.path.rstrip("/") + "/"
        return {name[len(base) :] for name in map(str, self.fs.find(self.path))}

    def save(self, name: str, data: Any, **options: Any) -> packstore.SaveReport:
        return packstore.save(f"{self.url}/{name}", data, storage_options=self.options, **options)

    def read(self, name: str, component: str | None = None, **options: Any) -> Any:
        return packstore.open_array(f"{self.url}/{name}", component, storage_options=self.options, **options)[...]


@pytest.fixture(scope="module", params=["memory", "s3"])
def server(request: pytest.FixtureRequest) -> Iterator[tuple[str, dict[str, Any]]]:
    if request.param == "memory":
        yield "memory://", {}
        return
    for package in "moto", "boto3", "s3fs":
        pytest.importorskip(package)
    with s3_server() as (options, _):
        yield "s3://bucket/", options


@pytest.fixture
def bucket(server: tuple[str, dict[str, Any]]) -> Bucket:
    return Bucket(f"{server[0]}{uuid.uuid4().hex}", server[1])


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.h5", "a.raw", "a.bits"])
def test_a_file_becomes_one_object(bucket: Bucket, tmp_path: Path, name: str) -> None:
    report = bucket.save(name, MASK)
    assert bucket.names() == {name}
    assert report.path == f"{bucket.url}/{name}"
    copy = tmp_path / name
    bucket.fs.get_file(f"{bucket.path}/{name}", str(copy))
    if name == "a.npy":
        found = np.load(copy)
    elif name == "a.npz":
        found = np.load(copy)["arr_0"]
    elif name == "a.h5":
        with h5py.File(copy) as file:
            (found,) = [dataset[...] for dataset in file.values()]
    elif name == "a.raw":
        found = np.fromfile(copy, bool).reshape(MASK.shape)
    else:
        found = np.unpackbits(np.fromfile(copy, np.uint8)).view(bool).reshape(MASK.shape)
    np.testing.assert_array_equal(found, MASK)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_hierarchy_is_what_zarr_reads(bucket: Bucket, zarr_format: int) -> None:
    tree = {"masks/a": LARGE, "x": np.arange(12, dtype=">i4").reshape(3, 4), "t": np.array(["a", "bc"], object)}
    bucket.save("m.zarr", tree, attributes={"n": 1}, zarr_format=zarr_format)
    assert f"m.zarr/{UNFINISHED}" not in bucket.names()
    group: Any = zarr.open_group(f"{bucket.url}/m.zarr", mode="r", storage_options=bucket.options or None)
    assert group.attrs["n"] == 1
    for name, values in tree.items():
        np.testing.assert_array_equal(group[name][...], values)
    np.testing.assert_array_equal(bucket.read("m.zarr", "masks/a"), LARGE)


def test_chunks_of_dask_arrays_go_up_as_they_are_computed(bucket: Bucket) -> None:
    lazy = da.from_array(MASK, chunks=(3, 512, 1024))
    bucket.save("m.zarr", lazy)
    np.testing.assert_array_equal(bucket.read("m.zarr"), MASK)
    # fsspec's options may come with the path.
    np.testing.assert_array_equal(packstore.from_file(f"{bucket.url}/m.zarr", storage_options=bucket.options), MASK)


def test_what_exists_is_replaced_only_where_that_is_said(bucket: Bucket) -> None:
    for name in "a.npy", "a.zarr":
        bucket.save(name, MASK)
        with pytest.raises(TargetExistsError, match=r"Pass overwrite=True"):
            bucket.save(name, MASK[:2])
        np.testing.assert_array_equal(bucket.read(name), MASK)
        with pytest.raises(OptionError, match=r"expected a local target, got a URL that exists"):
            bucket.save(name, {"b": MASK}, mode="a")
        bucket.save(name, ~MASK[:2], overwrite=True)
        np.testing.assert_array_equal(bucket.read(name), ~MASK[:2])


def test_no_chunk_of_before_is_left(bucket: Bucket) -> None:
    bucket.save("m.zarr", {"a": np.ones((4, 4), bool), "b": np.arange(3)}, chunks={"a": (2, 2)})
    empty = np.zeros((4, 4), bool)
    bucket.save("m.zarr", empty, chunks=(2, 2), overwrite=True)
    # Chunks of fill values are not stored: old ones would show through.
    assert bucket.names() == {"m.zarr/zarr.json"}
    np.testing.assert_array_equal(bucket.read("m.zarr"), empty)


def test_other_objects_are_never_removed(bucket: Bucket) -> None:
    bucket.fs.pipe_file(f"{bucket.path}/m.zarr/notes.txt", b"mine")
    with pytest.raises(TargetExistsError, match=r"expected a zarr store to replace, got a folder of other objects"):
        bucket.save("m.zarr", MASK, overwrite=True)
    assert bucket.names() == {"m.zarr/notes.txt"}
    bucket.fs.pipe_file(f"{bucket.path}/f.zarr", b"mine")
    with pytest.raises(TargetExistsError, match="got a file"):
        bucket.save("f.zarr", MASK, overwrite=True)


def _fail(block: Any) -> Any:
    raise ValueError("no such luck")


def test_a_save_that_fails_leaves_nothing(bucket: Bucket) -> None:
    bucket.save("a.npy", MASK)
    bad = da.concatenate([da.from_array(LARGE, chunks=(64, -1, -1)), da.from_array(MASK).map_blocks(_fail, dtype=bool)])
    for name in "a.npy", "b.npz", "m.zarr":
        with pytest.raises(ValueError, match="no such luck"):
            bucket.save(name, bad, overwrite=True)
    assert bucket.names() == {"a.npy"}
    np.testing.assert_array_equal(bucket.read("a.npy"), MASK)


def test_the_metadata_of_the_root_come_last(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed leaves no hierarchy, and its objects are replaced by the next one."""
    put = Uploads.put
    seen: list[str] = []

    def stop(self: Uploads, name: str, data: bytes) -> None:
        seen.append(name)
        if name == "zarr.json":
            raise KeyboardInterrupt
        put(self, name, data)

    with monkeypatch.context() as patch:
        patch.setattr(Uploads, "put", stop)
        patch.setattr(Uploads, "remove", lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            bucket.save("m.zarr", {"g/a": MASK})
    assert seen[0] == UNFINISHED and seen[-1] == "zarr.json" and "g/a/zarr.json" in seen
    with pytest.raises(PackstoreError):
        packstore.open_group(f"{bucket.url}/m.zarr", storage_options=bucket.options)
    with pytest.raises(TargetExistsError):
        bucket.save("m.zarr", {"b": MASK})
    bucket.save("m.zarr", {"b": MASK}, overwrite=True)
    assert bucket.names() == {"m.zarr/zarr.json", "m.zarr/b/zarr.json", "m.zarr/b/c/0/0/0"}


def test_what_a_server_refuses_is_asked_again_and_named(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    faults: list[Exception] = [ConnectionResetError("gone marker-of-a-secret")]
    put = bucket.fs.pipe_file

    def fail(path: str, value: bytes, *args: Any, **options: Any) -> Any:
        if value and faults:
            raise faults.pop()
        return put(path, value, *args, **options)

    # fsspec has one file system for the same options.
    monkeypatch.setattr(bucket.fs, "pipe_file", fail)
    bucket.save("m.zarr", MASK)
    np.testing.assert_array_equal(bucket.read("m.zarr"), MASK)
    faults += [PermissionError("no key 'marker-of-a-secret'")]
    with pytest.raises(WriteError, match=r"writing \S+/n.zarr: expected a place that may be written, got ") as caught:
        bucket.save("n.zarr", MASK)
    if bucket.options:
        assert "marker" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "got"),
    [
        ("https://me:marker@host/x.npy", "got https"),
        ("s3://bucket/x.npy?sign=marker", "got s3"),
        ("simplecache::s3://bucket/x.npy", "got simplecache"),
        ("s3://bucket.zarr", "got a whole bucket"),
    ],
)
def test_urls_that_cannot_be_written(url: str, got: str) -> None:
    with pytest.raises(OptionError, match=got) as caught:
        packstore.save(url, np.arange(3), format="npy")
    assert "marker" not in str(caught.value)


def _row(block: Any) -> Any:
    out = np.zeros_like(block)
    out[..., 0] = True
    return out


@pytest.mark.long
def test_workers_write_to_the_bucket(tmp_path: Path) -> None:
    """Each its own chunks; fsspec's local files stand for a bucket that all of them reach."""
    distributed = pytest.importorskip("distributed")
    url = f"local://{tmp_path}/m.zarr"
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        distributed.Client(cluster),
    ):
        packstore.save(url, da.zeros(LARGE.shape, dtype=bool, chunks=(35, -1, -1)).map_blocks(_row))
    found: Any = zarr.open_array(str(tmp_path / "m.zarr"), mode="r")
    assert found.shards == (35, 1024, 1024)
    assert found[..., 0].all() and not found[..., 1:].any()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("x.npy", {}),
        ("x.raw", {}),
        ("x.npz", {}),
        ("x.npz", {"compressed": False}),
        ("x.h5", {}),
        ("x.h5", {"compressor": None}),
    ],
    ids=str,
)
def test_workers_of_other_machines_send_their_blocks(
    tmp_path: Path, name: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They see no temporary file of this one: here, because they may not open it."""
    from packstore.writers import raw

    distributed = pytest.importorskip("distributed")
    here = threading.get_ident()
    write = raw.RegionSink.__call__

    def only_here(self: raw.RegionSink, box: Any, values: Any) -> None:
        assert threading.get_ident() == here
        write(self, box, values)

    monkeypatch.setattr(raw.RegionSink, "__call__", only_here)
    x = np.arange(6000.0).reshape(60, 100)
    with (
        distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=":0") as cluster,
        distributed.Client(cluster),
    ):
        packstore.save(f"memory://workers/{name}", da.from_array(x, chunks=(7, 30)), overwrite=True, **options)
    read: dict[str, Any] = {"format": "raw", "shape": x.shape, "dtype": x.dtype} if name == "x.raw" else {}
    np.testing.assert_array_equal(packstore.open_array(f"memory://workers/{name}", **read)[...], x)


def test_a_failed_save_of_workers_can_be_started_again() -> None:
    """Chunks may come after the save has failed: the mark that is left lets them be removed."""
    distributed = pytest.importorskip("distributed")
    url = f"memory://late/{uuid.uuid4().hex}/m.zarr"
    x = np.ones((40, 50))

    def fail(block: Any, block_info: Any = None) -> Any:
        if block_info[0]["chunk-location"] == (1, 0):
            raise ZeroDivisionError("in the graph")
        return block

    with (
        distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=":0") as cluster,
        distributed.Client(cluster),
    ):
        with pytest.raises(ZeroDivisionError, match="in the graph"):
            packstore.save(url, da.from_array(x, chunks=(10, 50)).map_blocks(fail, dtype=x.dtype))
        fs = fsspec.filesystem("memory")
        folder = url.removeprefix("memory:/")
        assert fs.exists(f"{folder}/{UNFINISHED}") and not fs.exists(f"{folder}/zarr.json")
        fs.pipe(f"{folder}/c/9/9", b"late")
        with pytest.raises(TargetExistsError, match=r"that did not end, or has not yet\. Pass overwrite=True"):
            packstore.save(url, x)
        packstore.save(url, da.from_array(x, chunks=(10, 50)), overwrite=True)
    assert not fs.exists(f"{folder}/{UNFINISHED}") and not fs.exists(f"{folder}/c/9/9")
    np.testing.assert_array_equal(packstore.open_array(url)[...], x)


# -- shards by default -------------------------------------------------------------------------------------------------


def test_packed_chunks_share_files(tmp_path: Path) -> None:
    packstore.save(tmp_path / "m.zarr", LARGE)
    files = [p for p in (tmp_path / "m.zarr" / "c").rglob("*") if p.is_file()]
    found: Any = zarr.open_array(tmp_path / "m.zarr", mode="r")
    assert (found.chunks, found.shards, len(files)) == ((1, 1024, 1024), (64, 1024, 1024), 2)
    np.testing.assert_array_equal(found[...], LARGE)
    lazy = packstore.open_array(tmp_path / "m.zarr")
    np.testing.assert_array_equal(lazy[3:66:9, 100:300, ::-7], LARGE[3:66:9, 100:300, ::-7])


@pytest.mark.parametrize(
    "options",
    [{"shards": None}, {"chunks": (1, 1024, 1024)}, {"zarr_format": 2}, {"pack": False}],
    ids=lambda options: next(iter(options)),
)
def test_what_is_chosen_makes_no_shards(tmp_path: Path, options: dict[str, Any]) -> None:
    packstore.save(tmp_path / "m.zarr", LARGE, **options)
    found: Any = zarr.open_array(tmp_path / "m.zarr", mode="r")
    assert (found.chunks, found.shards) == ((1, 1024, 1024), None)
    np.testing.assert_array_equal(found[...], LARGE)


@pytest.mark.parametrize(
    ("chunks", "shards"), [((35, 1024, 1024), (35, 1024, 1024)), ((10, 1024, 1024), (60, 1024, 1024))]
)
def test_shards_fit_the_chunks_of_dask(tmp_path: Path, chunks: tuple[int, ...], shards: tuple[int, ...]) -> None:
    packstore.save(tmp_path / "m.zarr", da.from_array(LARGE, chunks=chunks))
    found: Any = zarr.open_array(tmp_path / "m.zarr", mode="r")
    assert found.shards == shards
    np.testing.assert_array_equal(found[...], LARGE)
