"""Every route to a saved array gives numpy's values: direct, zarr (both pipelines), dask, whatever the file format."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import dask.array as da
import fsspec
import hypothesis.extra.numpy as npst
import hypothesis.strategies as st
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from numpy.typing import NDArray

import packstore
from packstore.core.box_selection import box_selection
from packstore.testing.strategies import PLAIN_DTYPES, basic_indices, chunk_shapes, shapes_st
from packstore.views.lazy import LazyArray, open_lazy
from packstore.views.zarr.dtypes import names

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have a Zarr V3 specification")

BATCHED = "zarr.core.codec_pipeline.BatchedCodecPipeline"
FUSED = "zarr.core.codec_pipeline.FusedCodecPipeline"
PIPELINES = [BATCHED, *([FUSED] if hasattr(zarr.core.codec_pipeline, "FusedCodecPipeline") else [])]

STRUCTS = [
    np.dtype([("a", "<i4"), ("b", ">f8")]),
    np.dtype([("flag", "?"), ("name", "S3"), ("in", [("x", ">i2"), ("y", "u1")])]),
    np.dtype([("a", "u1"), ("b", "<f8")], align=True),
]
DTYPES = [
    *map(np.dtype, PLAIN_DTYPES),
    *map(np.dtype, ["S1", "S5", "<U1", ">U4", "<M8[ns]", ">M8[D]", "<m8[s]", ">m8[25us]"]),
    *STRUCTS,
]


def values(shape: tuple[int, ...], dtype: np.dtype[Any], seed: int) -> NDArray[Any]:
    """Any bit pattern that the type may have."""
    rng = np.random.default_rng(seed)
    if dtype.names is not None:
        out = np.zeros(shape, dtype)
        for i, name in enumerate(dtype.names):
            out[name] = values(shape, dtype[name], seed + i)
        return out
    if dtype.kind == "b":
        return np.asarray(rng.random(shape) < 0.5)
    if dtype.kind == "U":
        points = rng.choice([0x41, 0xE9, 0x4E2D, 0x1F600], (math.prod(shape), dtype.itemsize // 4))
        texts = ["".join(map(chr, row)) for row in points.tolist()]
        return np.array(texts, dtype).reshape(shape)
    return np.frombuffer(rng.bytes(math.prod(shape) * dtype.itemsize), dtype).reshape(shape).copy()


@st.composite
def saved(draw: st.DrawFn) -> NDArray[Any]:
    data = values(draw(shapes_st(max_side=7)), draw(st.sampled_from(DTYPES)), draw(st.integers(0, 999)))
    return np.asfortranarray(data) if draw(st.booleans()) else data


def bits(array: Any) -> tuple[Any, ...]:
    """Shape, type and bytes, for a comparison that tells NaNs and signed zeros apart, padding apart."""
    array = np.asarray(array)
    packed = names.packed(array.dtype)
    return array.shape, packed.newbyteorder("<"), array.astype(packed).astype(packed.newbyteorder("<")).tobytes()


def same(got: Any, expected: Any, *, native: bool = False) -> None:
    """Equal to the last bit, and of the same kind (scalar or array) and dtype."""
    assert type(got) is type(expected), (type(got), type(expected))
    assert bits(got) == bits(expected)
    if not native:
        assert got.dtype == expected.dtype


class Format:
    """How to save an array, and what to open it with."""

    def __init__(self, save: Callable[[Path, NDArray[Any]], tuple[Any, dict[str, Any]]], takes: str = "") -> None:
        self.save = save
        self.takes = takes

    def fits(self, data: NDArray[Any]) -> bool:
        return not self.takes or (data.dtype.names is None and data.dtype.kind in self.takes)


def save_npy(path: Path, data: NDArray[Any]) -> tuple[Any, dict[str, Any]]:
    np.save(path / "x.npy", data)
    return path / "x.npy", {}


def save_npz(path: Path, data: NDArray[Any]) -> tuple[Any, dict[str, Any]]:
    arrays: dict[str, Any] = {"g/a": data, "other": np.arange(3)}
    np.savez(path / "x.npz", **arrays)
    return path / "x.npz", {"component": "g/a"}


def save_deflated(path: Path, data: NDArray[Any]) -> tuple[Any, dict[str, Any]]:
    np.savez_compressed(path / "z.npz", data=data)
    return path / "z.npz", {"component": "data"}


def save_raw(path: Path, data: NDArray[Any]) -> tuple[Any, dict[str, Any]]:
    order: Literal["C", "F"] = "F" if data.flags.f_contiguous and not data.flags.c_contiguous else "C"
    (path / "x.dat").write_bytes(b"abc" + data.tobytes(order))
    options = {"format": "raw", "dtype": data.dtype, "shape": data.shape, "offset": 3, "order": order}
    return path / "x.dat", options


def save_remote(path: Path, data: NDArray[Any]) -> tuple[Any, dict[str, Any]]:
    with fsspec.open("memory://public/x.npy", "wb") as f:
        np.save(f, data)
    return "memory://public/x.npy", {}


def save_remote_npz(path: Path, data: NDArray[Any]) -> tuple[Any, dict[str, Any]]:
    with fsspec.open("memory://public/x.npz", "wb") as f:
        np.savez(f, data=data)
    return "memory://public/x.npz", {"component": "data"}


def save_bits(path: Path, data: NDArray[Any]) -> tuple[Any, dict[str, Any]]:
    axis = data.nbytes % data.ndim if data.ndim else None
    bitorder: Any = "little" if data.nbytes % 2 else "big"
    np.packbits(data, axis=axis, bitorder=bitorder).tofile(path / "x.bits")
    packed_axis = "flat" if axis is None else axis
    options = {"format": "raw", "shape": data.shape, "packed_axis": packed_axis, "bitorder": bitorder}
    return path / "x.bits", options


def save_flat_bits(path: Path, data: NDArray[Any]) -> tuple[Any, dict[str, Any]]:
    np.packbits(data).tofile(path / "x.flat")
    return path / "x.flat", {"format": "raw", "shape": data.shape, "packed_axis": "flat"}


def save_hdf5(path: Path, data: NDArray[Any]) -> tuple[Any, dict[str, Any]]:
    import h5py

    with h5py.File(path / "x.h5", "w") as f:
        f.create_dataset("g/a", data=data)
    return path / "x.h5", {"component": "g/a"}


def save_hdf5_chunked(path: Path, data: NDArray[Any]) -> tuple[Any, dict[str, Any]]:
    import h5py

    chunked = {"chunks": tuple(max(n // 2, 1) for n in data.shape)} if data.ndim and data.size else {}
    filters = {"compression": "gzip", "shuffle": True, "fletcher32": True} if chunked else {}
    with h5py.File(path / "c.h5", "w") as f:
        f.create_dataset("a", data=data, **chunked, **filters)
    return path / "c.h5", {}


FORMATS = {
    "npy": Format(save_npy),
    "npz": Format(save_npz),
    "npz deflated": Format(save_deflated),
    "raw": Format(save_raw),
    "remote npy": Format(save_remote),
    "remote npz": Format(save_remote_npz),
    "packed": Format(save_bits, "b"),
    "packed flat": Format(save_flat_bits, "b"),
    "hdf5": Format(save_hdf5, "biufc"),
    "hdf5 chunked": Format(save_hdf5_chunked, "biufc"),
}
BOOL_ONLY = {"packed", "packed flat"}


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=100)
@given(data=saved(), draw=st.data())
def test_all_routes_agree(tmp_path: Path, name: str, data: NDArray[Any], draw: st.DataObject) -> None:
    form = FORMATS[name]
    if not form.fits(data):
        data = values(data.shape, np.dtype("?" if name in BOOL_ONLY else "<f4"), 1)
    path, options = form.save(tmp_path, data)
    key = draw.draw(basic_indices(data.shape))
    expected = data[key]
    # direct
    lazy = open_lazy(path, options.get("component"), **{k: v for k, v in options.items() if k != "component"})
    assert (lazy.shape, lazy.dtype) == (data.shape, data.dtype)
    same(lazy[key], expected)
    # dask, over the direct path
    from_file = packstore.from_file(path, **options)
    assert from_file.dtype == data.dtype
    same(np.asarray(from_file.compute(scheduler="sync")), np.asarray(data))
    cut = packstore.from_file(path, chunks=draw.draw(chunk_shapes(data.shape, max_chunks=16)), **options)
    # With its dtype: a scalar of numpy forgets the NULs at its end.
    same(np.asarray(cut[key].compute(scheduler="sync"), data.dtype), np.asarray(expected, data.dtype), native=True)
    # zarr
    chunks = draw.draw(chunk_shapes(data.shape, max_chunks=16)) if "hdf5" not in name else None
    array = packstore.open_array(path, chunks=chunks, **options)
    native = data.astype(array.dtype)
    same(array[key], native[key], native=True)
    same(array[...], native[...], native=True)
    box, after = box_selection(key, data.shape)
    store = packstore.open_store(path, chunks=chunks, **{k: v for k, v in options.items() if k != "component"})
    for pipeline in PIPELINES:
        with zarr.config.set({"codec_pipeline.path": pipeline}):
            opened = zarr.open_array(store, path=array.path, mode="r")
            part = np.asarray(opened[box])
            same(part if after is None else part[after], native[key], native=True)
    got = da.from_zarr(array)[key].compute(scheduler="sync")
    same(np.asarray(got, native.dtype), np.asarray(native[key], native.dtype), native=True)


@settings(max_examples=60)
@given(data=saved(), draw=st.data())
def test_advanced_indexing_is_numpys(tmp_path: Path, data: NDArray[Any], draw: st.DataObject) -> None:
    """A LazyArray takes what an ndarray takes, mapped or not."""
    np.save(tmp_path / "x.npy", data)
    with fsspec.open("memory://public/advanced.npy", "wb") as f:
        np.save(f, data)
    keys: list[Any] = [data != 0 if data.dtype.kind in "biuf" else np.ones(data.shape, bool), True, False]
    if data.ndim and min(data.shape):
        indices = st.lists(st.integers(-data.shape[0], data.shape[0] - 1), max_size=4)
        keys.append(draw.draw(indices))
        keys.append((np.array(draw.draw(indices), np.intp), ...))
        keys.append((..., np.arange(data.shape[-1])[::-1], None))
        keys.append((draw.draw(st.lists(st.booleans(), min_size=data.shape[0], max_size=data.shape[0])), ...))
        keys.append(draw.draw(npst.integer_array_indices(data.shape)))
        keys.append((np.array(0), ...))
    for path in (tmp_path / "x.npy", "memory://public/advanced.npy"):
        lazy = open_lazy(path)
        for key in keys:
            same(np.asarray(lazy[key]), np.asarray(data[key]))


@pytest.mark.parametrize(
    "key", [3, -4, (0, 0, 0), (..., ...), 1.5, "x", slice(0, 1, 0), slice(1.0), ([0, 9],), ([0, 1], [0, 1, 2])]
)
@pytest.mark.parametrize("remote", [False, True])
def test_bad_selections(tmp_path: Path, key: Any, remote: bool) -> None:
    data = np.arange(6).reshape(3, 2)
    np.save(tmp_path / "x.npy", data)
    with fsspec.open("memory://public/bad.npy", "wb") as f:
        np.save(f, data)
    lazy: LazyArray = open_lazy("memory://public/bad.npy" if remote else tmp_path / "x.npy")
    with pytest.raises(packstore.errors.SelectionError):
        lazy[key]


def test_names() -> None:
    for name in packstore.__all__:
        assert getattr(packstore, name) is not None
        assert name in dir(packstore)
    with pytest.raises(AttributeError, match="module 'packstore' has no attribute 'nothing'"):
        _ = packstore.nothing
