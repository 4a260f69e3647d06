"""What packstore reads of one file and writes into HDF5 is what it reads there again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr

import packstore
from packstore.storage.array import missing_value
from packstore.storage.attributes import typed_attributes
from packstore.views.lazy import open_lazy
from packstore.writers.hdf5 import write
from packstore.writers.items import Item
from packstore.writers.progress import NoProgress
from packstore.writers.tree import Tree


def tree_of(path: Path) -> Tree:
    """Everything that packstore serves of a file."""
    group = packstore.open_group(path)
    tree = Tree(groups={"": group.attrs.asdict()})
    for name, node in group.members(max_depth=None):
        if not isinstance(node, zarr.Array):
            tree.groups[name] = node.attrs.asdict()
            continue
        lazy = open_lazy(path, name)
        found = lazy.array
        tree.items.append(
            Item(
                name,
                lazy,
                lazy.shape,
                lazy.dtype,
                typed_attributes(found.attributes),
                found.dimension_names,
                found.fill_value,
                found.chunk_shape if found.storage.has_chunks else None,
                found.max_shape,
            )
        )
    return tree


def numbers(path: Path) -> None:
    with h5py.File(path, "w") as file:
        for dtype in ("i1", ">u2", "i8", "f2", "f4", ">f8", "c8", "c16", "?", "S5", "V3", "M8[s]"):
            data = np.arange(12).astype("i8").astype(dtype if dtype != "V3" else "S3").astype(dtype).reshape(3, 4)
            kind = h5py.opaque_dtype(data.dtype) if dtype == "M8[s]" else data.dtype
            file.create_dataset(f"all/{dtype.replace('>', 'big ')}", data=data.astype(kind))


def filtered(path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 9, (40, 30))
    with h5py.File(path, "w") as file:
        choices: list[dict[str, Any]] = [
            {"compression": "gzip"},
            {"compression": "lzf", "shuffle": True},
            {"fletcher32": True},
            {"chunks": (7, 30)},
        ]
        for i, options in enumerate(choices):
            file.create_dataset(f"f{i}", data=data, fillvalue=i, **options)
        file.create_dataset("never", (5, 5), "f4", chunks=(2, 2), fillvalue=np.nan)
        file.create_dataset("nothing", (0, 5), "f4", chunks=(2, 2), maxshape=(None, 5))


def types(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["enum"] = np.array([1, 2, 1], h5py.enum_dtype({"A": 1, "B": 2}, "i2"))
        file["struct"] = np.array([(1, 2.5, True), (3, 4.5, False)], [("n", "i4"), ("v", ">f8"), ("ok", "?")])
        file["members"] = np.zeros(3, [("k", h5py.enum_dtype({"A": 1}, "i1")), ("x", "f4", (2, 2))])
        file["text"] = ["a", "ü", ""]
        file["sequences"] = np.array([np.arange(2.0), np.arange(3.0)], object).astype(h5py.vlen_dtype("f8"))
        file["one"], file["word"] = 3.5, "word"
        mixed = np.zeros(2, [("n", "i4"), ("name", h5py.string_dtype())])
        mixed["name"] = ["x", "y"]
        file["mixed"] = mixed


def named(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["y"], file["g/x"] = np.arange(3), np.arange(2)
        file["g/v"] = np.ones((3, 2))
        file["g/label"] = np.ones((3, 2))
        for name in ("y", "g/x"):
            file[name].make_scale(name[-1])
        file["g/v"].dims[0].attach_scale(file["y"])
        file["g/v"].dims[1].attach_scale(file["g/x"])
        file["g/label"].dims[1].label = "other"


def attributes(path: Path) -> None:
    with h5py.File(path, "w") as file:
        for node in (file, file.create_group("g"), file.create_dataset("x", data=1)):
            node.attrs.update(
                {"n": 1, "f": 1.5, "s": "ü", "list": [1, 2], "texts": ["a", "b"], "none": h5py.Empty("f4")}
            )
            node.attrs.update(
                {"flag": True, "nan": np.nan, "empty": "", "matrix": np.eye(2), "bytes": np.bytes_(b"ab")}
            )


def zarr_tree(path: Path) -> None:
    group = zarr.open_group(path, mode="w", attributes={"title": "T", "levels": [1, 2]})
    array = group.create_array(
        "a/v", shape=(20, 30), chunks=(10, 30), dtype="f4", fill_value=7, dimension_names=("y", "x")
    )
    array[:10] = 1
    array.attrs["unit"] = "m"
    group.create_array("a/y", shape=(20,), dtype="i2", dimension_names=("y",))[...] = np.arange(20)
    group.create_array("a/x", shape=(30,), dtype="f8", dimension_names=("x",))[...] = np.arange(30)
    group.create_array("mask", shape=(9,), dtype="bool", fill_value=True)
    group.create_group("empty")


def npz(path: Path) -> None:
    np.savez(path, a=np.arange(6).reshape(2, 3), b=np.array([b"x", b"yz"]), c=np.array(True))


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("a.h5", numbers),
        ("a.h5", filtered),
        ("a.h5", types),
        ("a.h5", named),
        ("a.h5", attributes),
        ("a.zarr", zarr_tree),
        ("a.npz", npz),
    ],
)
@pytest.mark.parametrize("compressor", ["gzip", None, "lzf"])
def test_the_same_is_read_again(tmp_path: Path, name: str, make: Callable[[Path], None], compressor: Any) -> None:
    make(tmp_path / name)
    tree = tree_of(tmp_path / name)
    write(tmp_path / "b.h5", tree, NoProgress(), compressor=compressor)
    assert tree.lost == []
    want, got = packstore.open_group(tmp_path / name), packstore.open_group(tmp_path / "b.h5")
    assert got.attrs.asdict() == want.attrs.asdict()
    assert dict(packstore.open_store(tmp_path / "b.h5").unsupported) == {}
    nodes = dict(want.members(max_depth=None))
    assert set(dict(got.members(max_depth=None))) == set(nodes)
    for path, node in nodes.items():
        np.testing.assert_equal(got[path].attrs.asdict(), node.attrs.asdict())
        if isinstance(node, zarr.Array):
            a, b = (open_lazy(tmp_path / file, path) for file in (name, "b.h5"))
            assert (b.shape, b.dtype, b.array.dimension_names) == (a.shape, a.dtype, a.array.dimension_names)
            np.testing.assert_equal(missing_value(b.array), missing_value(a.array))
            np.testing.assert_equal(b[...].tolist(), a[...].tolist())
            if a.size and a.array.storage.has_chunks and compressor and a.array.chunk_shape != (1,):
                assert b.chunks == tuple(min(c, n or c) for c, n in zip(a.chunks, a.shape, strict=True))
