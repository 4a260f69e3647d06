"""Symbolic links in directories that are arrays: none leads out, unless the caller says where it may lead."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import zarr

import packstore
from packstore.errors import ExternalFileError, PackstoreError

DATA = np.arange(24).reshape(4, 6)


@pytest.fixture(autouse=True)
def links(tmp_path: Path) -> None:
    try:
        (tmp_path / "probe").symlink_to(tmp_path)
    except OSError:
        pytest.skip("no symbolic links here")
    (tmp_path / "probe").unlink()


def moved_out(path: Path) -> None:
    """Put a file or folder elsewhere, and a link to it in its place."""
    place = Path(*path.parts[: path.parts.index("data")]) / "elsewhere"
    place.mkdir(exist_ok=True)
    shutil.move(path, place / path.name)
    path.symlink_to(place / path.name)


def zarr_3(path: Path) -> None:
    zarr.create_array(path, data=DATA, chunks=(2, 3), compressors=None, attributes={"a": 1})


def zarr_2(path: Path) -> None:
    zarr.create_array(path, data=DATA, chunks=(2, 3), compressors=None, attributes={"a": 1}, zarr_format=2)


def stack(path: Path) -> None:
    da.to_npy_stack(str(path), da.from_array(DATA, chunks=(2, -1)))


@pytest.mark.parametrize(
    ("write", "linked"),
    [
        (zarr_3, "c/1/1"), (zarr_3, "c/0"), (zarr_3, "c"), (zarr_3, "zarr.json"),
        (zarr_2, "1.1"), (zarr_2, ".zarray"), (zarr_2, ".zattrs"), (stack, "1.npy"), (stack, "info"), (stack, "0.npy"),
    ],
)  # fmt: skip
def test_no_link_leads_out(tmp_path: Path, write: Callable[[Path], None], linked: str) -> None:
    path = tmp_path / "data"
    write(path)
    moved_out(path / linked)
    with pytest.raises(PackstoreError, match=r"a symbolic link to .*elsewhere"):
        packstore.open_array(path)[...]
    with pytest.raises(PackstoreError, match=r"a symbolic link to .*elsewhere"):
        packstore.from_file(path).compute()
    if write is not stack:
        with pytest.raises((PackstoreError, FileNotFoundError)):
            zarr.open_array(packstore.open_store(path), mode="r")[...]
        store: Any = packstore.open_store(path)
        if linked.startswith((".", "zarr")):
            # Documents of what is not served are hidden.
            with contextlib.suppress(ExternalFileError):
                assert store.get_sync(linked) is None
        else:
            with pytest.raises(ExternalFileError, match=r"a symbolic link to .*elsewhere"):
                store.get_sync({"c": "c/0/0", "c/0": "c/0/0"}.get(linked, linked))
    for allowed in (True, tmp_path, tmp_path / "elsewhere"):
        np.testing.assert_array_equal(packstore.open_array(path, allow_external=allowed)[...], DATA)
        np.testing.assert_array_equal(packstore.from_file(path, allow_external=allowed).compute(), DATA)
        store = packstore.open_store(path, allow_external=allowed)
        np.testing.assert_array_equal(zarr.open_array(store, mode="r")[...], DATA)
    (tmp_path / "other").mkdir()
    with pytest.raises(PackstoreError):
        packstore.open_array(path, allow_external=tmp_path / "other")[...]


@pytest.mark.parametrize(("write", "inner"), [(zarr_3, "c/1/1"), (zarr_2, "1.1"), (stack, "1.npy")])
def test_links_inside_are_followed(tmp_path: Path, write: Callable[[Path], None], inner: str) -> None:
    """As `git annex` keeps files: links to where they lie, in the same directory."""
    path = tmp_path / "data"
    write(path)
    (path / "objects").mkdir()
    shutil.move(path / inner, path / "objects/key")
    (path / inner).symlink_to(os.path.relpath(path / "objects/key", (path / inner).parent))
    np.testing.assert_array_equal(packstore.open_array(path)[...], DATA)
    # The directory itself may be reached by a link.
    (tmp_path / "link").symlink_to(path)
    np.testing.assert_array_equal(packstore.open_array(tmp_path / "link")[...], DATA)


@pytest.mark.parametrize("version", [2, 3])
def test_a_group_that_holds_itself(tmp_path: Path, version: Any) -> None:
    path = tmp_path / "data"
    zarr.create_group(path, zarr_format=version).create_array("x", data=DATA)
    (path / "loop").symlink_to(path)
    store = packstore.open_store(path)
    assert "a directory that holds it" in store.unsupported["loop"]
    group = packstore.open_group(path)
    assert list(group.array_keys()) == ["x"] and list(group.group_keys()) == []
    assert [name for name, _ in group.members(max_depth=None)] == ["x"]
    assert [name for name, _ in zarr.open_group(store, mode="r").members(max_depth=None)] == ["x"]
