"""Opaque types whose tags name numpy's dtypes: those that numpy dies on are refused, all others are only tags."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from h5py import h5a, h5d, h5s, h5t

import packstore
from packstore.errors import UnsupportedError
from packstore.views.lazy import open_lazy

# A divisor of 0 kills the process that asks numpy for it.
BAD = [b"<M8[s/0]", b"<M8[D/0]", b"<M8[s/2]"]
ONLY_TAGS = [b"<m8[0s]", b"f4,f8", b"\xff\xfe", b"(2,)i4", b"O[s]"]


def opaque(tag: bytes) -> h5t.TypeID:
    made = h5t.create(h5t.OPAQUE, 8)
    made.set_tag(b"NUMPY:" + tag)
    return made


def inside(kind: str, tag: bytes) -> h5t.TypeID:
    if kind == "struct":
        made = h5t.create(h5t.COMPOUND, 12)
        made.insert(b"n", 0, h5t.STD_I32LE)
        made.insert(b"when", 4, opaque(tag))
        return made
    if kind == "array":
        return h5t.array_create(opaque(tag), (2,))
    return h5t.vlen_create(opaque(tag)) if kind == "sequence" else opaque(tag)


def write(path: Path, kind: str, tag: bytes) -> None:
    space = h5s.create_simple((2,))
    with h5py.File(path, "w") as f:
        f["fine"] = np.arange(3)
        h5d.create(f.id, b"x", inside(kind, tag), space)
        h5a.create(f["fine"].id, b"a", inside(kind, tag), space)
        h5a.create(f.id, b"none", inside(kind, tag), h5s.create(h5s.NULL))


@pytest.mark.parametrize("kind", ["plain", "struct", "array", "sequence"])
@pytest.mark.parametrize("tag", BAD)
def test_tags_that_are_no_dtype(tmp_path: Path, kind: str, tag: bytes) -> None:
    path = tmp_path / "x.h5"
    write(path, kind, tag)
    store = packstore.open_store(path)
    words = "opaque data that are said to be of numpy's type"
    assert words in store.unsupported["x"]
    assert words in store.unsupported["fine@a"] and words in store.unsupported["@none"]
    with pytest.raises(UnsupportedError, match=words):
        open_lazy(path, "x")
    assert packstore.open_array(path, "fine")[...].tolist() == [0, 1, 2]


@pytest.mark.parametrize("kind", ["plain", "struct", "array"])
@pytest.mark.parametrize("tag", ONLY_TAGS)
def test_tags_that_are_only_tags(tmp_path: Path, kind: str, tag: bytes) -> None:
    path = tmp_path / "x.h5"
    write(path, kind, tag)
    assert not any(name == "x" for name in packstore.open_store(path).unsupported)
    found = open_lazy(path, "x")
    assert not found[...].tobytes().strip(b"\0")
    part = found.dtype["when"] if kind == "struct" else found.dtype
    assert part == np.dtype("V8")


@pytest.mark.parametrize(("tag", "dtype"), [(b"<M8[s]", "<M8[s]"), (b"<m8[10ms]", "<m8[10ms]"), (b">M8[D]", ">M8[D]")])
def test_tags_of_dtypes(tmp_path: Path, tag: bytes, dtype: Any) -> None:
    values = np.arange(2).astype(dtype)
    with h5py.File(tmp_path / "x.h5", "w") as f:
        h5d.create(f.id, b"x", opaque(tag), h5s.create_simple((2,))).write(
            h5s.ALL, h5s.ALL, values.view("V8"), mtype=opaque(tag)
        )
    found = open_lazy(tmp_path / "x.h5", "x")
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found[...], values)


def test_no_process_dies(tmp_path: Path) -> None:
    write(tmp_path / "x.h5", "plain", b"<M8[s/0]")
    for command in "info", "verify", "convert":
        more = {"verify": [str(tmp_path / "x.h5")], "convert": [str(tmp_path / "x.zarr"), "--skip-unsupported"]}
        arguments = [sys.executable, "-m", "packstore", command, str(tmp_path / "x.h5"), *more.get(command, [])]
        done = subprocess.run(arguments, capture_output=True, text=True)
        assert done.returncode in (0, 2), (command, done.returncode, done.stderr)
