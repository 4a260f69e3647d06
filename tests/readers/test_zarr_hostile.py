"""Zarr directories that are meant to do harm: codecs that run code, pipes in the place of files."""

from __future__ import annotations

import base64
import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numcodecs.vlen import VLenUTF8

import packstore
from packstore.errors import CorruptDataError, PackstoreError, UnsupportedError
from packstore.views.lazy import open_lazy


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


def documents(codec: str, place: str, v3: bool) -> dict[str, Any]:
    if v3:
        return {
            "zarr_format": 3, "node_type": "array", "shape": [3], "data_type": "string", "fill_value": "",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [3]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "codecs": [{"name": "vlen-utf8", "configuration": {}}, {"name": codec, "configuration": {}}],
            "attributes": {},
        }  # fmt: skip
    unpickle: dict[str, Any] = {"id": codec}
    text = {"id": "vlen-utf8"}
    return {
        "zarr_format": 2, "shape": [3], "chunks": [3], "dtype": "|O", "order": "C", "fill_value": "",
        "filters": [text, unpickle] if place == "filters" else [text],
        "compressor": unpickle if place == "compressor" else None,
    }  # fmt: skip


def write(folder: Path, codec: str, place: str, v3: bool, evil: Path) -> None:
    (folder / "x").mkdir(parents=True)
    data = pickle.dumps(Evil(evil))
    if v3:
        (folder / "zarr.json").write_text(json.dumps({"zarr_format": 3, "node_type": "group", "attributes": {}}))
        (folder / "x/zarr.json").write_text(json.dumps(documents(codec, place, v3)))
        (folder / "x/c").mkdir()
        (folder / "x/c/0").write_bytes(data)
    else:
        (folder / ".zgroup").write_text(json.dumps({"zarr_format": 2}))
        (folder / "x/.zarray").write_text(json.dumps(documents(codec, place, v3)))
        (folder / "x/0").write_bytes(data)
    np.save(folder / "beside.npy", np.arange(2))


CASES = [("pickle", "filters", False), ("pickle", "compressor", False), ("Pickle", "filters", False)]
CASES += [("numcodecs.pickle", "codecs", True), ("pickle", "codecs", True)]


@pytest.mark.parametrize(("codec", "place", "v3"), CASES)
def test_no_code_of_a_codec_runs(tmp_path: Path, codec: str, place: str, v3: bool) -> None:
    evil, folder = tmp_path / "evil", tmp_path / "x.zarr"
    write(folder, codec, place, v3, evil)
    words = f"the codec '{codec}', which runs code that the file brings"
    store = packstore.open_store(folder)
    assert words in store.unsupported["x"]
    calls: list[Any] = [
        lambda: open_lazy(folder, "x")[...],
        lambda: packstore.open_array(folder, "x")[...],
        lambda: packstore.open_array(folder / "x")[...],
        lambda: packstore.from_file(folder, "x").compute(),
    ]
    for call in calls:
        with pytest.raises(UnsupportedError, match=words):
            call()
    # The plain way through zarr: it does not even see the array.
    for path in "x", "":
        where = folder if path else folder / "x"
        with pytest.raises((KeyError, FileNotFoundError, PackstoreError)):
            zarr.open_array(packstore.open_store(where), path=path, mode="r")[...]
    with zipfile.ZipFile(tmp_path / "x.zarr.zip", "w") as archive:
        for file in folder.rglob("*"):
            if file.is_file():
                archive.write(file, file.relative_to(folder))
    with pytest.raises(UnsupportedError):
        packstore.open_array(tmp_path / "x.zarr.zip", "x")
    assert not evil.exists()


def test_harmless_codecs_of_the_same_route_are_read(tmp_path: Path) -> None:
    (tmp_path / "x.zarr").mkdir()
    document = documents("base64", "compressor", False)
    (tmp_path / "x.zarr/.zarray").write_text(json.dumps(document))
    texts = np.array(["a", "bé", ""], object)
    (tmp_path / "x.zarr/0").write_bytes(base64.standard_b64encode(VLenUTF8().encode(texts)))
    assert packstore.open_array(tmp_path / "x.zarr")[...].tolist() == texts.tolist()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "x.zarr"
    packstore.save(path, np.arange(3), shards=None, compressor=None)
    os.unlink(path / "c/0")
    os.mkfifo(path / "c/0")
    for read in (
        lambda: packstore.open_array(path)[...],
        lambda: packstore.from_file(path).compute(),
        lambda: zarr.open_array(packstore.open_store(path), mode="r")[...],
    ):
        with pytest.raises(CorruptDataError, match="expected a regular file"):
            read()
    stack = tmp_path / "stack"
    stack.mkdir()
    os.mkfifo(stack / "0.npy")
    os.mkfifo(stack / "info")
    for file in "zarr.json", ".zarray", ".zgroup":
        (tmp_path / "other.zarr").mkdir(exist_ok=True)
        os.mkfifo(tmp_path / "other.zarr" / file)
    for folder in stack, tmp_path / "other.zarr":
        reasons = dict(packstore.open_store(folder).unsupported).values()
        assert reasons and all("regular file" in why for why in reasons)
