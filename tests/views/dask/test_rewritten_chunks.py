"""Chunk files of a zarr directory that are written again: graphs of before notice it, those of after read them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import packstore
from packstore.errors import StaleFileError
from packstore.source.remote import by_obstore
from tests.servers import s3_server

X = np.arange(64, dtype="i4").reshape(8, 8)


@pytest.fixture(params=["plain", "zstd", "packed", "shards", "v2"])
def array(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Any]:
    cases: dict[str, dict[str, Any]] = {
        "plain": {"compressors": None},
        "zstd": {},
        "packed": {"serializer": packstore.PackBitsCodec(), "compressors": None},
        "shards": {"shards": (4, 4)},
        "v2": {"zarr_format": 2},
    }
    data = X % 3 > 0 if request.param == "packed" else X
    chunks = (2, 2) if request.param == "shards" else (4, 4)
    zarr.create_array(tmp_path / "a.zarr", data=data, chunks=chunks, **cases[request.param])
    return tmp_path / "a.zarr", data


def _write(path: Path, value: Any) -> None:
    found: Any = zarr.open_array(path, mode="r+")
    found[:4, :4] = value


@pytest.mark.parametrize("scheduler", ["sync", "pickled"])
def test_a_graph_reads_what_it_was_made_for(array: tuple[Path, Any], scheduler: str) -> None:
    path, data = array
    lazy = packstore.from_file(path, chunks=(4, 4))
    _write(path, 1 - data[:4, :4])
    if scheduler == "pickled":
        lazy = pickle.loads(pickle.dumps(lazy))
    with pytest.raises(StaleFileError, match=r"a\.zarr chunk \(0, 0\): expected the chunk that was there"):
        lazy.compute(scheduler="sync")
    # A block of other chunks is as it was.
    np.testing.assert_array_equal(lazy[4:, 4:].compute(scheduler="sync"), data[4:, 4:])
    anew = packstore.from_file(path, chunks=(4, 4))
    assert anew.name != lazy.name
    np.testing.assert_array_equal(anew[:4, :4].compute(scheduler="sync"), 1 - data[:4, :4])


@pytest.mark.parametrize("scheduler", ["sync", "pickled"])
@pytest.mark.parametrize("new_axis", [False, True])
def test_joined_arrays_read_what_they_were_made_for(
    array: tuple[Path, Any], tmp_path: Path, scheduler: str, new_axis: bool
) -> None:
    path, data = array
    zarr.create_array(tmp_path / "b.zarr", data=data, chunks=(4, 4))
    paths = [tmp_path / "b.zarr", path]

    def joined() -> Any:
        return packstore.from_files(paths, new_axis=new_axis, chunks=(1 if new_axis else 4, *(4, 4, 4)[: 1 + new_axis]))

    whole = np.stack([data, data]) if new_axis else np.concatenate([data, data])
    lazy = joined()
    assert lazy.name == joined().name
    _write(path, 1 - data[:4, :4])
    anew = joined()
    assert anew.name != lazy.name
    if scheduler == "pickled":
        lazy = pickle.loads(pickle.dumps(lazy))
    with pytest.raises(StaleFileError, match=r"a\.zarr chunk \(0, 0\): expected the chunk that was there"):
        lazy.compute(scheduler="sync")
    np.testing.assert_array_equal(lazy[..., 4:].compute(scheduler="sync"), whole[..., 4:])
    np.testing.assert_array_equal(lazy[:1].compute(scheduler="sync"), whole[:1])
    changed = whole.copy()
    (changed[1] if new_axis else changed[8:])[:4, :4] = 1 - data[:4, :4]
    np.testing.assert_array_equal(anew.compute(scheduler="sync"), changed)


def test_counts_are_of_what_they_were_made_for(array: tuple[Path, Any]) -> None:
    path, data = array
    count = packstore.count_nonzero(path, chunks=(4, 4))
    assert int(count.compute(scheduler="sync")) == np.count_nonzero(data)
    _write(path, 0)
    with pytest.raises(StaleFileError, match="when the array was opened"):
        count.compute(scheduler="sync")


def test_chunks_that_vanish_or_appear(tmp_path: Path) -> None:
    stored: Any = zarr.create_array(tmp_path / "a.zarr", shape=(8, 8), chunks=(4, 4), dtype="i4")
    lazy = packstore.from_file(tmp_path / "a.zarr", chunks=(4, 4))
    np.testing.assert_array_equal(lazy.compute(scheduler="sync"), 0)
    stored[:4, :4] = 5
    with pytest.raises(StaleFileError):
        lazy.compute(scheduler="sync")
    lazy = packstore.from_file(tmp_path / "a.zarr", chunks=(4, 4))
    (tmp_path / "a.zarr" / "c" / "0" / "0").unlink()
    with pytest.raises(StaleFileError):
        lazy[2].compute(scheduler="sync")


@pytest.mark.long
def test_graphs_stay_small(tmp_path: Path) -> None:
    zarr.create_array(
        tmp_path / "a.zarr", data=np.zeros((64, 64), "i1"), chunks=(1, 1), config={"write_empty_chunks": True}
    )
    lazy = packstore.from_file(tmp_path / "a.zarr")
    assert len(pickle.dumps(lazy)) < 4 * 64 * 64 + 3000


@pytest.mark.long
@pytest.mark.parametrize("library", ["obstore", "fsspec"])
def test_objects_that_are_written_again(array: tuple[Path, Any], library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a read is told of the state of a chunk is compared with the listing from which the graph was made."""
    pytest.importorskip("moto")
    pytest.importorskip("s3fs")
    if library == "obstore":
        pytest.importorskip("obstore")
    else:
        monkeypatch.setattr(by_obstore, "obstore_client", lambda *_: None)
    path, data = array
    # All servers of a process have one memory.
    prefix = f"{library}-{path.parent.name}"

    def upload(client: Any) -> None:
        for each in path.rglob("*"):
            if each.is_file():
                key = f"{prefix}/a.zarr/{each.relative_to(path).as_posix()}"
                client.put_object(Bucket="bucket", Key=key, Body=each.read_bytes())

    with s3_server() as (options, client):
        upload(client)

        def made() -> Any:
            return packstore.from_file(f"s3://bucket/{prefix}/a.zarr", chunks=(4, 4), storage_options=options)

        lazy = made()
        assert made().name == lazy.name
        np.testing.assert_array_equal(lazy.compute(), data)
        pickled = pickle.dumps(lazy)
        # As far as it goes, what is the same is no change.
        upload(client)
        np.testing.assert_array_equal(lazy.compute(), data)
        _write(path, 1 - data[:4, :4])
        upload(client)
        for old in lazy, pickle.loads(pickled):
            with pytest.raises(
                StaleFileError, match=r"a\.zarr/? chunk \(0, 0\): expected the chunk that was there|shard"
            ):
                old.compute()
            np.testing.assert_array_equal(old[4:, 4:].compute(), data[4:, 4:])
        anew = made()
        assert anew.name != lazy.name
        np.testing.assert_array_equal(anew[:4, :4].compute(), 1 - data[:4, :4])
        chunk = next(each for each in (path / "c/1/1", path / "1.1") if each.exists())
        client.delete_object(Bucket="bucket", Key=f"{prefix}/a.zarr/{chunk.relative_to(path).as_posix()}")
        with pytest.raises(StaleFileError):
            anew.compute()
