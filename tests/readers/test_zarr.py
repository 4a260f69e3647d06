"""Zarr directories: hierarchies, staleness, caches, damage, pickling."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import distributed
import google_crc32c
import numpy as np
import pytest
import zarr
from dask.base import tokenize
from zarr.codecs import BytesCodec, Crc32cCodec, GzipCodec, ShardingCodec, ZstdCodec

import packstore
from packstore import PackBitsCodec
from packstore.errors import (
    ChecksumError,
    ComponentNotFoundError,
    CorruptDataError,
    FormatError,
    OptionError,
    PackstoreError,
    StaleFileError,
    TruncatedFileError,
    UnsupportedError,
)
from packstore.readers.find import locate
from packstore.readers.zarr import directory_store, nodes
from packstore.source.cache import CHUNKS


@pytest.fixture
def mask() -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).random((40, 64)) < 0.3


@pytest.fixture
def path(tmp_path: Path, mask: np.ndarray[Any, Any]) -> Path:
    zarr.create_array(tmp_path / "m.zarr", data=mask, chunks=(16, 32), serializer=PackBitsCodec(), compressors=None)
    return tmp_path / "m.zarr"


def age(root: Path, seconds: float = 10) -> None:
    """Make chunk files older: those just written are not cached."""
    for file in root.rglob("*"):
        if file.is_file() and file.name not in ("zarr.json", ".zarray"):
            stat = file.stat()
            os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns - int(seconds * 1e9)))


# -- hierarchies ------------------------------------------------------------------------------------------------------


@pytest.fixture(params=[2, 3])
def tree(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    root = zarr.open_group(tmp_path / "g.zarr", mode="w", zarr_format=request.param, attributes={"title": "t"})
    root.create_array("a", data=np.arange(10), chunks=(4,), attributes={"unit": "s"})
    deep = root.create_group("deep/er", attributes={"k": [1, 2]})
    deep.create_array("b", data=np.arange(12.0).reshape(3, 4), chunks=(2, 2))
    return tmp_path / "g.zarr"


def test_groups(tree: Path) -> None:
    group = packstore.open(tree)
    assert isinstance(group, packstore.Group)
    assert dict(group.attrs) == {"title": "t"}
    assert sorted(group.array_keys()) == ["a"] and sorted(group.group_keys()) == ["deep"]
    assert type(group["a"]) is packstore.Array
    assert group["deep/er/b"][1].tolist() == [4.0, 5.0, 6.0, 7.0]
    assert dict(packstore.open_group(tree, "deep/er").attrs) == {"k": [1, 2]}
    assert dict(packstore.open_array(tree, "a").attrs) == {"unit": "s"}
    assert packstore.from_file(tree, "deep/er/b").sum().compute() == 66
    members = dict(group.members(max_depth=None))
    assert members.keys() == dict(zarr.open_group(tree, mode="r").members(max_depth=None)).keys()
    assert type(members["deep/er"]) is packstore.Group and type(members["deep/er/b"]) is packstore.Array
    assert not group.unsupported


def test_names_that_are_not_there(tree: Path) -> None:
    with pytest.raises(ComponentNotFoundError, match=r"expected one of 'a', 'deep/er/b', got no array of that name"):
        packstore.open_array(tree, "deep/er/bb")
    with pytest.raises(ComponentNotFoundError, match="component= to name one array"):
        packstore.open_array(tree)
    with pytest.raises(ComponentNotFoundError, match="no array of that name"):
        packstore.open_array(tree, "deep")


@pytest.mark.parametrize("component", ["../m.zarr", "a/../../m.zarr", "a/./b", "a\0"])
def test_no_name_leads_out(tree: Path, component: str, mask: np.ndarray[Any, Any]) -> None:
    zarr.create_array(tree.parent / "m.zarr", data=mask)
    with pytest.raises(ComponentNotFoundError):
        packstore.open_array(tree, component)


def test_links(tree: Path) -> None:
    zarr_format: Any = 3 if (tree / "zarr.json").exists() else 2
    zarr.create_array(tree.parent / "outside.zarr", data=np.arange(3), zarr_format=zarr_format)
    (tree / "out").symlink_to(tree.parent / "outside.zarr")
    (tree / "up").symlink_to(tree)
    (tree / "alias").symlink_to(tree / "deep")
    manifest = locate(tree).manifest()
    assert set(manifest.unsupported) == {"out", "up"}
    assert "symbolic link" in manifest.unsupported["out"]
    assert set(manifest.arrays) == {"a", "deep/er/b", "alias/er/b"}
    for open_it in (lambda: packstore.open_group(tree)["out"], lambda: packstore.open_array(tree, "out")):
        with pytest.raises(UnsupportedError, match="symbolic link"):
            open_it()
    assert packstore.open_array(tree, "alias/er/b")[0, 1] == 1


def test_hierarchies_too_large_to_list(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "MAX_NODES", 3)
    with pytest.raises(UnsupportedError, match=r"at most 3 arrays and groups.*Name one with component="):
        packstore.open_group(tree)
    assert packstore.open_array(tree, "a")[3] == 3


def test_members_that_come_and_go(tree: Path) -> None:
    assert set(packstore.open_group(tree).array_keys()) == {"a"}
    zarr.open_group(tree, mode="r+").create_array("c", data=np.arange(3))
    assert set(packstore.open_group(tree).array_keys()) == {"a", "c"}
    assert packstore.open_array(tree, "c")[1] == 1
    del zarr.open_group(tree, mode="r+")["c"]
    with pytest.raises(ComponentNotFoundError):
        packstore.open_array(tree, "c")


@pytest.mark.parametrize(
    "document",
    ["{", "[]", '{"zarr_format": 3, "node_type": "array"}', '{"zarr_format": 3, "node_type": "array", "shape": "x"}'],
)
def test_damaged_metadata_hides_no_sibling(tmp_path: Path, document: str) -> None:
    root = zarr.open_group(tmp_path / "g.zarr", mode="w")
    root.create_array("good", data=np.arange(3))
    root.create_array("bad", data=np.arange(3))
    (tmp_path / "g.zarr/bad/zarr.json").write_text(document)
    manifest = locate(tmp_path / "g.zarr").manifest()
    assert set(manifest.arrays) == {"good"} and set(manifest.unsupported) == {"bad"}
    with pytest.raises(PackstoreError):
        packstore.open_array(tmp_path / "g.zarr", "bad")
    assert packstore.open_array(tmp_path / "g.zarr", "good")[2] == 2


def test_chunks_are_those_of_the_file(path: Path) -> None:
    assert packstore.open_array(path, chunks=(3, 3)).chunks == (16, 32)
    with pytest.raises(OptionError, match="'dtype'"):
        packstore.open_array(path, dtype="i4")


def test_not_a_zarr_directory(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    with pytest.raises(FormatError):
        packstore.open_array(tmp_path / "d")


# -- what changes -----------------------------------------------------------------------------------------------------


def test_changed_metadata_is_noticed(path: Path, mask: np.ndarray[Any, Any]) -> None:
    array = packstore.open_array(path)
    lazily = packstore.from_file(path)
    zarr.create_array(path, data=~mask[:20], chunks=(8, 32), overwrite=True)
    with pytest.raises(StaleFileError, match=r"the zarr.json that was opened, got a changed one"):
        array[...]
    with pytest.raises(StaleFileError):
        lazily.compute(scheduler="synchronous")
    np.testing.assert_array_equal(packstore.open_array(path)[...], ~mask[:20])


def test_removed_array_is_no_fill_value(path: Path) -> None:
    array = packstore.open_array(path)
    for file in [*path.rglob("*")]:
        if file.is_file():
            file.unlink()
    with pytest.raises(StaleFileError, match="nothing of that name"):
        array[...]


def test_nested_metadata_is_watched(tree: Path) -> None:
    """The metadata of a member changes, that of the root does not."""
    array = packstore.open_array(tree, "a")
    pickled = pickle.dumps([array, array.lazy])
    lazily = packstore.from_file(tree, "a")
    zarr.open_group(tree, mode="r+").create_array("a", data=np.arange(5), chunks=(5,), overwrite=True)
    assert packstore.from_file(tree, "a").name != lazily.name
    assert packstore.open_array(tree, "a")[...].tolist() == [0, 1, 2, 3, 4]
    reads: list[Callable[[], Any]] = [
        lambda: array[...],
        lambda: pickle.loads(pickled)[0][...],
        lambda: pickle.loads(pickled)[1][...],
        lambda: lazily.compute(scheduler="synchronous"),
    ]
    for stale in reads:
        with pytest.raises(StaleFileError):
            stale()


@pytest.mark.parametrize("compressors", [None, ZstdCodec()])
def test_rewritten_chunks_are_another_array(tmp_path: Path, mask: np.ndarray[Any, Any], compressors: Any) -> None:
    path = tmp_path / "m.zarr"
    writer = zarr.create_array(path, data=mask, chunks=(40, 64), serializer=PackBitsCodec(), compressors=compressors)
    for value in (True, False, True, False):
        writer[...] = value
        array, store = packstore.open_array(path), zarr.open_array(packstore.open_store(path), mode="r")
        for _ in range(2):
            assert np.unique(array[3:9, 5:9]).tolist() == [value]
            assert np.unique(np.asarray(store[3:9, 5:9])).tolist() == [value]
        time.sleep(0.02)
        writer[...] = not value
        for opened, index in ((array, np.s_[3:9, 5:9]), (array, ...), (store, np.s_[3:9, 5:9])):
            with pytest.raises(StaleFileError, match="when the array was opened"):
                opened[index]
        assert np.unique(packstore.open_array(path)[3:9, 5:9]).tolist() == [not value]


def test_chunks_that_vanish(path: Path, mask: np.ndarray[Any, Any]) -> None:
    """A chunk that was never written is fill value; one that was there when the array was opened is missing."""
    array, by_zarr = packstore.open_array(path), zarr.open_array(packstore.open_store(path), mode="r")
    time.sleep(0.02)
    (path / "c/0/0").unlink()
    for opened, index in ((array, np.s_[:3, :3]), (array, ...), (by_zarr, np.s_[:3, :3])):
        with pytest.raises(StaleFileError, match="nothing of that name, in a folder that changed since"):
            opened[index]
    assert not packstore.open_array(path)[:3, :3].any()
    array = packstore.open_array(path)
    time.sleep(0.02)
    shutil.rmtree(path / "c")
    with pytest.raises(StaleFileError):
        array[...]
    store: Any = packstore.open_store(path)
    time.sleep(0.02)
    shutil.rmtree(path)
    with pytest.raises(StaleFileError, match="no such directory"):
        store.get_sync("c/0/0")


def flip(path: Path) -> None:
    """Change the first element of a mask."""
    array = zarr.open_array(path, mode="r+")
    array[0, 0] = not array[0, 0]


def test_names_of_dask_arrays_follow_the_chunks(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = packstore.from_file(path).name
    assert packstore.from_file(path).name == first
    assert tokenize(packstore.open_array(path)) == tokenize(packstore.open_array(path))
    flip(path)
    second = packstore.from_file(path).name
    assert second != first
    monkeypatch.setattr("packstore.readers.zarr.places.MAX_TOKEN_FILES", 3)
    by_directory = packstore.from_file(path).name
    assert packstore.from_file(path).name == by_directory
    flip(path)
    assert packstore.from_file(path).name != by_directory
    monkeypatch.setattr("packstore.readers.zarr.places.MAX_TOKEN_FILES", 0)
    assert packstore.from_file(path).name != packstore.from_file(path).name


# -- the cache --------------------------------------------------------------------------------------------------------


def test_crops_keep_packed_chunks_packed(tmp_path: Path, mask: np.ndarray[Any, Any]) -> None:
    zarr.create_array(tmp_path / "m.zarr", data=mask, chunks=(40, 64), serializer=PackBitsCodec())
    age(tmp_path)
    array = packstore.open_array(tmp_path / "m.zarr")
    CHUNKS.clear()
    np.testing.assert_array_equal(array[...], mask)
    assert CHUNKS.nbytes == 0  # a scan keeps nothing
    np.testing.assert_array_equal(array[3:9, 5:9], mask[3:9, 5:9])
    assert CHUNKS.nbytes == mask.size // 8
    np.testing.assert_array_equal(array[2:30:3, 5:64], mask[2:30:3, 5:64])
    assert CHUNKS.nbytes == mask.size // 8


def test_results_are_not_the_cache(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "m.zarr", data=np.arange(100), chunks=(100,))
    age(tmp_path)
    array = packstore.open_array(tmp_path / "m.zarr")
    for _ in range(3):
        part = array[10:90]
        assert part.tolist() == list(range(10, 90))
        if part.flags.writeable:
            part[:] = 0


# -- damage -----------------------------------------------------------------------------------------------------------


CROPS: list[Any] = [..., (slice(0, 3), slice(0, 3)), (slice(1, 20, 3), slice(0, 9, 2))]


@pytest.mark.parametrize("index", CROPS, ids=str)
@pytest.mark.parametrize(
    "change", [lambda b: b[:-1], lambda b: b + b"\0", lambda b: b""], ids=["short", "long", "empty"]
)
@pytest.mark.parametrize("serializer", [PackBitsCodec(), BytesCodec()], ids=["packed", "plain"])
def test_chunks_of_the_wrong_size(
    tmp_path: Path, mask: np.ndarray[Any, Any], serializer: Any, change: Callable[[bytes], bytes], index: Any
) -> None:
    path = tmp_path / "m.zarr"
    zarr.create_array(path, data=mask, chunks=(16, 32), serializer=serializer, compressors=None)
    chunk = path / "c/0/0"
    chunk.write_bytes(changed := change(chunk.read_bytes()))
    expected = 64 if isinstance(serializer, PackBitsCodec) else 512
    text = rf"{re.escape(str(path))} chunk \(0, 0\): .*expected {expected} bytes.*got {len(changed)}"
    with pytest.raises((CorruptDataError, TruncatedFileError), match=text):
        packstore.open_array(path)[index]


@pytest.mark.parametrize("index", CROPS, ids=str)
@pytest.mark.parametrize(
    "codec", [ZstdCodec(checksum=True), GzipCodec(), Crc32cCodec()], ids=["zstd", "gzip", "crc32c"]
)
@pytest.mark.parametrize("imagecodecs", [True, False])
def test_damaged_bytes(
    tmp_path: Path,
    mask: np.ndarray[Any, Any],
    codec: Any,
    index: Any,
    imagecodecs: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not imagecodecs:
        monkeypatch.setattr("packstore.codecs.libraries.imagecodecs_function", lambda *_: None)
    path = tmp_path / "m.zarr"
    zarr.create_array(path, data=mask, chunks=(16, 32), serializer=PackBitsCodec(), compressors=codec)
    chunk = path / "c/0/0"
    good = chunk.read_bytes()
    for at in (len(good) // 2, len(good) - 1):
        flipped = bytearray(good)
        flipped[at] ^= 0x55
        chunk.write_bytes(flipped)
        with pytest.raises(CorruptDataError, match=r"chunk \(0, 0\)") as caught:
            packstore.open_array(path)[index]
        assert isinstance(caught.value, ChecksumError) == isinstance(codec, Crc32cCodec)
    for bad in (good[: len(good) // 2], b"", good[:3]):
        chunk.write_bytes(bad)
        with pytest.raises(CorruptDataError, match=r"chunk \(0, 0\)"):
            packstore.open_array(path)[index]
    chunk.write_bytes(good)
    np.testing.assert_array_equal(packstore.open_array(path)[index], mask[index])


@pytest.mark.parametrize("codec", [ZstdCodec(), GzipCodec(), zarr.codecs.BloscCodec()], ids=["zstd", "gzip", "blosc"])
@pytest.mark.parametrize("imagecodecs", [True, False])
def test_bombs_are_not_inflated(tmp_path: Path, codec: Any, imagecodecs: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk that decodes to far more than the metadata says."""
    if not imagecodecs:
        monkeypatch.setattr("packstore.codecs.libraries.imagecodecs_function", lambda *_: None)
    zarr.create_array(
        tmp_path / "big.zarr", data=np.zeros(1 << 24, "u1"), chunks=(1 << 24,), fill_value=1, compressors=codec
    )
    zarr.create_array(tmp_path / "a.zarr", data=np.ones(16, "u1"), chunks=(16,), compressors=codec)
    bomb = (tmp_path / "big.zarr/c/0").read_bytes()
    (tmp_path / "a.zarr/c/0").write_bytes(bomb)
    with pytest.raises(CorruptDataError, match=r"chunk \(0,\)"):
        packstore.open_array(tmp_path / "a.zarr")[...]


def test_several_gzip_members(tmp_path: Path) -> None:
    import gzip

    zarr.create_array(tmp_path / "a.zarr", data=np.arange(16, dtype="u1"), chunks=(16,), compressors=GzipCodec())
    data = bytes(range(100, 116))
    (tmp_path / "a.zarr/c/0").write_bytes(gzip.compress(data[:5]) + gzip.compress(data[5:]))
    assert packstore.open_array(tmp_path / "a.zarr")[...].tobytes() == data
    assert np.asarray(zarr.open_array(tmp_path / "a.zarr", mode="r")[...]).tobytes() == data


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    array = zarr.create_array(
        tmp_path / "s.zarr",
        shape=(64,),
        dtype="u1",
        chunks=(32,),
        serializer=ShardingCodec(chunk_shape=(8,), codecs=[BytesCodec()]),
        compressors=None,
    )
    array[...] = np.arange(1, 65)
    return tmp_path / "s.zarr"


def with_index(shard: bytes, entry: int, offset: int, nbytes: int) -> bytes:
    """A shard with another index entry, its checksum made right."""
    body, index = shard[:-68], np.frombuffer(shard[-68:-4], "<u8").copy()
    index[2 * entry : 2 * entry + 2] = (offset, nbytes)
    stored = index.tobytes()
    return body + stored + int(google_crc32c.value(stored)).to_bytes(4, "little")


def test_damaged_shards(sharded: Path) -> None:
    chunk = sharded / "c/0"
    good = chunk.read_bytes()
    assert packstore.open_array(sharded)[9:11].tolist() == [10, 11]
    bad = bytearray(good)
    bad[-20] ^= 1
    chunk.write_bytes(bad)
    with pytest.raises(ChecksumError, match=r"chunk \(0,\): reading the index of the shard"):
        packstore.open_array(sharded)[9:11]
    chunk.write_bytes(good[:40])
    with pytest.raises(CorruptDataError, match=r"chunk \(0,\): .*expected at least 68 bytes, got 40"):
        packstore.open_array(sharded)[9:11]
    for offset, nbytes in ((len(good) - 4, 8), (2**63, 2**63), (2**64 - 1, 8), (0, 2**64 - 1)):
        chunk.write_bytes(with_index(good, 1, offset, nbytes))
        with pytest.raises(CorruptDataError, match=r"inner chunk \(1,\) of.*a range within its 100 bytes"):
            packstore.open_array(sharded)[9:11]
    chunk.write_bytes(with_index(good, 1, 0, 7))
    with pytest.raises(CorruptDataError, match=r"inner chunk \(1,\): .*expected 8 bytes.*got 7"):
        packstore.open_array(sharded)[9:11]
    chunk.write_bytes(with_index(good, 1, 2**64 - 1, 2**64 - 1))
    assert packstore.open_array(sharded)[7:17].tolist() == [8, *[0] * 8, 17]


def test_a_directory_or_pipe_in_the_place_of_a_chunk(path: Path) -> None:
    (path / "c/0/0").unlink()
    (path / "c/0/0").mkdir()
    array = packstore.open_array(path)
    assert not array[:3, :3].any()
    assert not array[:16, :32].any()
    os.mkfifo(path / "c/1/9")
    (path / "c/1/0").unlink()
    os.rename(path / "c/1/9", path / "c/1/0")
    array = packstore.open_array(path)
    for index in (..., (slice(16, 18), slice(0, 2))):
        with pytest.raises(CorruptDataError, match="a regular file"):
            array[index]


def test_no_descriptor_is_left(path: Path, mask: np.ndarray[Any, Any]) -> None:
    array = packstore.open_array(path)
    before = len(os.listdir("/proc/self/fd"))
    for index in CROPS:
        np.testing.assert_array_equal(array[index], mask[index])
    (path / "c/0/0").write_bytes(b"")
    for index in CROPS:
        with pytest.raises(CorruptDataError):
            packstore.open_array(path)[index]
        with pytest.raises((StaleFileError, CorruptDataError)):
            array[index]
    assert len(os.listdir("/proc/self/fd")) == before


def test_permission_is_no_missing_chunk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = packstore.open_array(path)
    real = os.open

    def refuse(name: Any, *args: Any, **kwargs: Any) -> int:
        if str(name).endswith("c/0/0"):
            raise PermissionError(13, "Permission denied", name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    for index in CROPS:
        with pytest.raises(PermissionError):
            array[index]


# -- other processes --------------------------------------------------------------------------------------------------


def test_pickles(path: Path, tree: Path, mask: np.ndarray[Any, Any]) -> None:
    array = pickle.loads(pickle.dumps(packstore.open_array(path)))
    np.testing.assert_array_equal(array[3:7], mask[3:7])
    assert pickle.loads(pickle.dumps(packstore.open_array(tree, "deep/er/b")))[0, 1] == 1
    assert pickle.loads(pickle.dumps(packstore.open_group(tree)))["a"][1] == 1
    store = directory_store(locate(path))
    assert pickle.loads(pickle.dumps(store)) == store
    assert len(pickle.dumps(packstore.from_file(path, chunks=(1, 1)))) < 20_000


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning")
def test_distributed(path: Path, tree: Path, mask: np.ndarray[Any, Any]) -> None:
    with (
        dask.config.set({"distributed.worker.daemon": False}),
        distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=True, dashboard_address=":0") as cluster,
        distributed.Client(cluster),
    ):
        np.testing.assert_array_equal(packstore.from_file(path, chunks=(20, 40)).compute(), mask)
        np.testing.assert_array_equal(dask.array.from_zarr(packstore.open_array(path)).compute(), mask)
        assert packstore.from_file(tree, "a", chunks=3).sum().compute() == 45
        assert packstore.views.dask.from_file.count_nonzero(path).compute() == mask.sum()


def test_document_of_another_zarr_is_left_to_it(path: Path) -> None:
    """Extensions that may be ignored are; others are refused as zarr refuses them."""
    document = json.loads((path / "zarr.json").read_text())
    document["extra"] = {"name": "x", "must_understand": False}
    (path / "zarr.json").write_text(json.dumps(document))
    packstore.open_array(path)
    document["extra"] = {"name": "x", "must_understand": True}
    (path / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(UnsupportedError, match="zarr cannot open it"):
        packstore.open_array(path)
