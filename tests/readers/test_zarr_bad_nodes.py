"""Zarr directories of which one node is bad: it is in `unsupported`, its siblings are as they were, by every route."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import packstore
from packstore.errors import PackstoreError, UnsupportedError

V3: dict[str, Any] = {
    "zarr_format": 3,
    "node_type": "array",
    "shape": [4],
    "data_type": "int32",
    "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2]}},
    "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
    "fill_value": 0,
    "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
    "attributes": {},
}
V2: dict[str, Any] = {
    "zarr_format": 2,
    "shape": [4],
    "chunks": [2],
    "dtype": "<i4",
    "compressor": None,
    "filters": None,
    "fill_value": 0,
    "order": "C",
}
FOLDER = None


def changed(base: dict[str, Any], *, without: str | None = None, **fields: Any) -> bytes:
    return json.dumps({k: v for k, v in {**base, **fields}.items() if k != without}).encode()


RECTILINEAR = {"name": "rectilinear", "configuration": {"kind": "inline", "chunk_shapes": [[1, 3]]}}
GROUP = {"zarr_format": 3, "node_type": "group", "attributes": {}}
BAD: dict[int, dict[str, bytes | None]] = {
    3: {
        "an unknown codec": changed(V3, codecs=[{"name": "nope"}]),
        "no codecs": changed(V3, codecs=None),
        "an unknown type": changed(V3, data_type="nope"),
        "int4": changed(V3, data_type="int4"),
        "an irregular grid": changed(V3, chunk_grid=RECTILINEAR),
        "broken JSON": b"{broken",
        "no UTF-8": b"\xff\xfe",
        "a list": b"[]",
        "an empty file": b"",
        "a folder": FOLDER,
        "a bad fill value": changed(V3, fill_value="x"),
        "no shape": changed(V3, without="shape"),
        "another format": changed(V3, zarr_format=4),
        "another kind of node": changed(V3, node_type="thing"),
        "a field to be understood": changed(V3, foo={"must_understand": True}),
        "chunks of another rank": changed(V3, shape=[4, 4]),
        "names of another rank": changed(V3, dimension_names=["a", "b"]),
        "a group of another format": changed(GROUP, zarr_format=7),
        "a group with bad attributes": changed(GROUP, attributes=[1]),
        "a group with a field to be understood": changed(GROUP, foo=1),
    },
    2: {
        "an unknown filter": changed(V2, filters=[{"id": "nope"}]),
        "an unknown compressor": changed(V2, compressor={"id": "nope"}),
        "an unknown type": changed(V2, dtype="<q9"),
        "objects without a codec": changed(V2, dtype="|O", fill_value=None),
        "broken JSON": b"{broken",
        "an empty file": b"",
        "a folder": FOLDER,
        "a bad fill value": changed(V2, fill_value="x"),
        "no shape": changed(V2, without="shape"),
        "no chunks": changed(V2, without="chunks"),
        "no dtype": changed(V2, without="dtype"),
        "another format": changed(V2, zarr_format=5),
    },
}
CASES = [(version, what) for version in (3, 2) for what in BAD[version]]


def write_tree(path: Path, version: Any) -> None:
    root = zarr.create_group(path, zarr_format=version)
    root.create_array("good", data=np.arange(6).reshape(2, 3))
    root.create_group("sub").create_array("fine", data=np.ones(3))


def add_node(folder: Path, version: int, document: bytes | None) -> None:
    name = folder / ("zarr.json" if version == 3 else ".zarray")
    if document is None:
        name.mkdir(parents=True)
    else:
        folder.mkdir(parents=True)
        name.write_bytes(document)


@pytest.fixture(params=CASES, ids=lambda case: f"v{case[0]}: {case[1]}")
def tree(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    version, what = request.param
    path = tmp_path / "g.zarr"
    write_tree(path, version)
    for place in ("bad", "sub/bad"):
        add_node(path / place, version, BAD[version][what])
    return path


def test_it_is_in_unsupported_and_nowhere_else(tree: Path) -> None:
    store = packstore.open_store(tree)
    assert sorted(store.unsupported) == ["bad", "sub/bad"]
    assert all(store.unsupported.values()) and dict(store.unsupported) == dict(packstore.open_group(tree).unsupported)
    group: Any
    for group in (packstore.open_group(tree), zarr.open_group(store, mode="r"), zarr.open(store, mode="r")):
        assert sorted(group.keys()) == ["good", "sub"] and sorted(group.array_keys()) == ["good"]
        assert sorted(group.group_keys()) == ["sub"] and len(group) == 2 and group.nmembers(max_depth=None) == 3
        assert sorted(dict(group.members(max_depth=None))) == ["good", "sub", "sub/fine"]
        assert "bad" not in str(group.tree()) and "bad" not in group and "good" in group
        assert [array[...].tolist() for _, array in group.arrays()] == [[[0, 1, 2], [3, 4, 5]]]


def test_its_siblings_are_read(tree: Path) -> None:
    for read in (packstore.open_array, lambda *a: packstore.from_file(*a).compute()):
        np.testing.assert_array_equal(read(tree, "good")[...], np.arange(6).reshape(2, 3))
        np.testing.assert_array_equal(read(tree, "sub/fine")[...], np.ones(3))


@pytest.mark.parametrize("component", ["bad", "sub/bad"])
def test_opening_it_says_why(tree: Path, component: str) -> None:
    reason = packstore.open_store(tree).unsupported[component]
    for opening in (
        lambda: packstore.open_array(tree, component),
        lambda: packstore.open(tree, component),
        lambda: packstore.from_file(tree, component),
        lambda: packstore.open_group(tree)[component],
    ):
        with pytest.raises(UnsupportedError) as raised:
            opening()
        assert reason.rstrip(".") in str(raised.value) and f"{tree}[{component}]" in str(raised.value)
        assert "from_file" not in str(raised.value)
    with pytest.raises(PackstoreError):
        packstore.open(tree / component)


def test_the_store_has_no_key_of_it(tree: Path) -> None:
    import asyncio

    async def keys() -> list[str]:
        return [key async for key in packstore.open_store(tree).list()]

    assert not [key for key in asyncio.run(keys()) if "bad" in key]


@pytest.mark.parametrize(
    "name", ["", "good", "nope", "../g", "a\\b", "a\0b", "x" * 5000, "good/c/0", None, 5, b"bad", ("bad",)]
)
def test_unsupported_never_raises(tmp_path: Path, name: Any) -> None:
    path = tmp_path / "g.zarr"
    write_tree(path, 3)
    add_node(path / "bad", 3, b"{")
    unsupported = packstore.open_store(path).unsupported
    assert name not in unsupported and unsupported.get(name) is None
    assert "bad" in unsupported and "bad" in pickle.loads(pickle.dumps(unsupported))
    shutil.rmtree(path)
    assert name not in unsupported and "bad" not in unsupported


@pytest.mark.parametrize("version", [2, 3])
def test_a_bad_document_of_a_group_hides_no_member(tmp_path: Path, version: Any) -> None:
    write_tree(tmp_path / "g.zarr", version)
    (tmp_path / "g.zarr/sub" / ("zarr.json" if version == 3 else ".zgroup")).write_text("{")
    group = packstore.open_group(tmp_path / "g.zarr")
    assert list(group.unsupported) == ["sub"] and list(group.keys()) == ["good"]
    assert packstore.open_array(tmp_path / "g.zarr", "sub/fine")[...].tolist() == [1, 1, 1]


PLAIN = {
    "bytes": (changed(V3, data_type="uint8", codecs=["bytes"]), "u1"),
    "bytes and a checksum": (changed(V3, codecs=[*V3["codecs"], "crc32c"]), "<i4"),
    "a key encoding": (changed(V3, chunk_key_encoding="default"), "<i4"),
    "a type as an object": (changed(V3, data_type={"name": "int32"}), "<i4"),
    "a type with an empty configuration": (changed(V3, data_type={"name": "int32", "configuration": {}}), "<i4"),
    "in shards": (
        changed(
            V3,
            data_type="uint8",
            codecs=[
                {
                    "name": "sharding_indexed",
                    "configuration": {
                        "chunk_shape": [1],
                        "codecs": ["bytes"],
                        "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, "crc32c"],
                    },
                }
            ],
        ),
        "u1",
    ),
    "of packbits": (changed(V3, data_type="bool", fill_value=False, codecs=["packbits"]), "?"),
    "on zarr's own path": (
        changed(V3, codecs=[*V3["codecs"], {"name": "zstd", "configuration": {"level": 1, "checksum": True}}]),
        "<i4",
    ),
}


@pytest.mark.parametrize("what", PLAIN)
def test_plain_names_are_spelled_out(tmp_path: Path, what: str) -> None:
    """What they stand for, written by zarr, is read back under them."""
    document, dtype = PLAIN[what]
    path = tmp_path / "g.zarr"
    zarr.create_group(path)
    add_node(path / "a", 3, document)
    want = np.array([1, 0, 1, 1], dtype)
    served = packstore.open_store(path).array_document("a")
    (path / "a/zarr.json").write_text(json.dumps(served))
    zarr.open_array(path / "a", mode="r+")[...] = want
    (path / "a/zarr.json").write_bytes(document)
    assert packstore.open_array(path, "a")[...].tolist() == want.tolist()
    assert packstore.from_file(path, "a").compute().tolist() == want.tolist()
    assert packstore.open_group(path)["a"].oindex[[0, 3]].tolist() == want[[0, 3]].tolist()
    group: Any
    for group in (packstore.open_group(path), zarr.open_group(packstore.open_store(path), mode="r")):
        assert [(name, array[...].tolist()) for name, array in group.arrays()] == [("a", want.tolist())]
        assert not packstore.open_store(path).unsupported


@pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part")
@pytest.mark.parametrize("version", [2, 3])
def test_consolidated_metadata_say_what_is_there(tmp_path: Path, version: Any) -> None:
    path = tmp_path / "g.zarr"
    write_tree(path, version)
    zarr.open_group(path, mode="r+")["sub"].attrs["unit"] = "m"
    zarr.consolidate_metadata(path)
    # One array more, one gone, one that is another, and one that zarr refuses.
    group = zarr.open_group(path, mode="r+", use_consolidated=False)
    group.create_array("new", data=np.arange(2))
    shutil.rmtree(path / "sub/fine")
    group.create_array("good", data=np.arange(5), overwrite=True)
    add_node(path / "bad", version, b"{")
    store = packstore.open_store(path)
    found: Any
    for found in (
        packstore.open_group(path),
        zarr.open_group(store, mode="r"),
        zarr.open_consolidated(store, mode="r"),
    ):
        assert sorted(dict(found.members(max_depth=None))) == ["good", "new", "sub"]
        assert found["good"].shape == (5,) and found["new"][...].tolist() == [0, 1]
        assert dict(found["sub"].attrs) == {"unit": "m"}
    assert list(store.unsupported) == ["bad"]


def test_a_store_that_is_not_consolidated_stays_so(tmp_path: Path) -> None:
    write_tree(tmp_path / "g.zarr", 3)
    with pytest.raises(ValueError, match=r"[Cc]onsolidated"):
        zarr.open_consolidated(packstore.open_store(tmp_path / "g.zarr"), mode="r")


@pytest.mark.skipif(os.name != "posix", reason="folders without permissions")
def test_a_folder_that_cannot_be_listed_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "g.zarr"
    write_tree(path, 3)
    scandir = os.scandir

    def refused(folder: Any) -> Any:
        if str(folder).endswith("sub"):
            raise PermissionError(13, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refused)
    assert "Permission denied" in dict(packstore.open_store(path).unsupported)["sub"]
    assert packstore.open_array(path, "good")[0, 1] == 1
