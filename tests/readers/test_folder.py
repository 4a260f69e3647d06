"""Folders of saved arrays as one group."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pytest
import zarr

import packstore
from packstore.errors import ComponentNotFoundError, FormatError, StaleFileError, TruncatedFileError, UnsupportedError
from packstore.readers.find import locate
from packstore.source import FileSource, Fingerprint
from packstore.testing.readers import assert_same, example

X = example("<f8", (6, 5))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "folder"
    (root / "sub" / "deeper").mkdir(parents=True)
    (root / "empty").mkdir()
    np.save(root / "a.npy", X)
    arrays: dict[str, Any] = {"x": X + 1, "group/y": X + 2}
    np.savez(root / "b.npz", **arrays)
    np.savez_compressed(root / "sub" / "b.npz", x=X + 3)
    np.savetxt(root / "sub" / "deeper" / "c.csv", np.nan_to_num(X), delimiter=",")
    (root / "d.pkl").write_bytes(pickle.dumps({"p": X + 4, "n": 5}))
    with h5py.File(root / "e.h5", "w") as f:
        f["g/x"] = X + 5
    zarr.create_array(root / "f.zarr", data=X + 6)
    da.to_npy_stack(root / "stack", da.from_array(X, chunks=2))
    return root


WANT = {
    "a.npy": X, "b.npz/x": X + 1, "b.npz/group/y": X + 2, "sub/b.npz/x": X + 3, "sub/deeper/c.csv": np.nan_to_num(X),
    "d.pkl/p": X + 4, "e.h5/g/x": X + 5, "f.zarr": X + 6, "stack": X,
}  # fmt: skip


def test_all_formats(folder: Path) -> None:
    assert locate(folder).format == "folder"
    store = packstore.open_store(folder)
    assert store.unsupported == {}
    root = zarr.open_group(store, mode="r")
    found = {name for name, node in root.members(max_depth=None) if isinstance(node, zarr.Array)}
    assert found == set(WANT)
    assert "empty" in root and root["d.pkl"].attrs["n"] == 5
    for name, want in WANT.items():
        assert_same(zarr.open_array(store, path=name, mode="r")[...], want)
        assert_same(packstore.open_array(folder, name)[1:4, ::-1], want[1:4, ::-1])
        assert_same(packstore.from_file(folder, name).compute(scheduler="synchronous"), want)
        assert_same(pickle.loads(pickle.dumps(packstore.open_array(folder, name)))[...], want)


def test_a_component_opens_its_file_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    original = FileSource.__init__

    def init(self: FileSource, path: str | os.PathLike[str], fingerprint: Fingerprint | None = None) -> None:
        opened.append(os.path.basename(str(path)))
        original(self, path, fingerprint)

    monkeypatch.setattr(FileSource, "__init__", init)
    assert_same(packstore.from_file(folder, "sub/b.npz/x").compute(scheduler="synchronous"), X + 3)
    assert set(opened) == {"b.npz"}


def test_what_is_not_served_is_listed(folder: Path) -> None:
    (folder / "notes.md").write_text("hello")
    (folder / "prose.txt").write_text("It was a dark and stormy night\n")
    (folder / "cut.npy").write_bytes(b"\x93NUMPY")
    (folder / "objects.npz").write_bytes(b"")
    np.savez(folder / "objects.npz", o=np.array([{}], object), x=X)
    (folder / "evil.pkl").write_bytes(pickle.dumps(print))
    os.mkfifo(folder / "fifo")
    secret = folder.parent / "secret.npy"
    np.save(secret, X)
    os.symlink(secret, folder / "link.npy")
    os.symlink("nowhere", folder / "dangling")
    os.symlink("a.npy", folder / "inside.npy")
    os.symlink("..", folder / "up")
    store = packstore.open_store(folder)
    reasons = {
        "notes.md": "recognising", "prose.txt": "parsing line 1 of", "cut.npy": "at least 10 bytes, got 6",
        "objects.npz/o": "never unpickles", "evil.pkl": "print", "fifo": "no regular file",
        "link.npy": "a link that leads out of the folder", "dangling": "not accessible",
        "up": "a link that leads out of the folder",
    }  # fmt: skip
    assert set(store.unsupported) == set(reasons)
    for name, reason in reasons.items():
        assert reason in store.unsupported[name]
    assert_same(packstore.open_array(folder, "inside.npy")[...], X)
    assert_same(packstore.open_array(folder, "objects.npz/x")[...], X)
    with pytest.raises(UnsupportedError, match="a link that leads out of the folder"):
        packstore.from_file(folder, "link.npy")
    with pytest.raises((TruncatedFileError, UnsupportedError), match=r"cut\.npy: expected at least 10 bytes"):
        packstore.from_file(folder, "cut.npy")


def test_names_that_are_not_there(folder: Path) -> None:
    for name in ("a.npz", "../secret.npy", "sub/nothing", "b.npz/z", ".."):
        with pytest.raises(ComponentNotFoundError, match=r"no array of that name|expected one of"):
            packstore.from_file(folder, name)


def test_chunks_apply_where_they_fit(folder: Path) -> None:
    np.save(folder / "flat.npy", np.arange(10))
    store = packstore.open_store(folder, chunks=(2, 3))
    assert zarr.open_array(store, path="a.npy", mode="r").chunks == (2, 3)
    flat = zarr.open_array(store, path="flat.npy", mode="r")
    assert flat.chunks == (10,)
    assert_same(flat[...], np.arange(10))


def test_changes_are_noticed(folder: Path) -> None:
    array = packstore.open_array(folder, "a.npy")
    pickled = pickle.dumps(array)
    np.save(folder / "a.npy", np.zeros((6, 5)))
    os.utime(folder / "a.npy", ns=(0, 0))
    with pytest.raises(StaleFileError):
        array[...]
    packstore.readers.location._manifests.clear()  # as in another process
    with pytest.raises(StaleFileError):
        pickle.loads(pickled)[...]


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="recognising"):
        packstore.open_store(tmp_path)
    assert packstore.open_store(tmp_path, format="folder").unsupported == {}
