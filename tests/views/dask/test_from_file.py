"""from_file: graphs that read nothing, stay small, change with the file, and run in other processes."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import fsspec
import h5py
import hypothesis.strategies as st
import numpy as np
import pytest
from dask.base import tokenize
from hypothesis import given
from numpy.lib import format as npy_format

import packstore
from packstore import PackBitsCodec
from packstore.errors import CorruptDataError, StaleFileError
from packstore.source import FileSource
from packstore.views.dask.chunks import MAX_BLOCKS, MAX_CHUNK_NBYTES, MIN_CHUNK_NBYTES, auto_chunks, split_chunks
from packstore.views.dask.from_lazy import from_lazy
from packstore.views.lazy import open_lazy

DATA = np.arange(600, dtype=">i4").reshape(30, 20)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    np.save(tmp_path / "x.npy", DATA)
    return tmp_path / "x.npy"


def sparse_npy(path: Path, shape: tuple[int, ...], dtype: str) -> Path:
    """A file of any size that takes no room on disk."""
    with path.open("wb") as f:
        npy_format.write_array_header_2_0(f, {"descr": dtype, "fortran_order": False, "shape": shape})
        f.truncate(f.tell() + math.prod(shape) * np.dtype(dtype).itemsize)
    return path


@pytest.fixture
def no_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever touches the data fails."""

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("data was read")

    monkeypatch.setattr(FileSource, "view", refuse)


def test_values_and_meta(path: Path) -> None:
    x = packstore.from_file(path, chunks=(7, 20))
    assert (x.shape, x.dtype, x.chunks) == (DATA.shape, DATA.dtype, ((7, 7, 7, 7, 2), (20,)))
    assert x._meta.dtype == DATA.dtype
    assert type(x._meta) is np.ndarray
    da.assert_eq(x, DATA)
    da.assert_eq(x[3:20:2, ::-1].sum(axis=0), DATA[3:20:2, ::-1].sum(axis=0))
    da.assert_eq(packstore.from_file(path, inline_array=False), DATA)


@pytest.mark.usefixtures("no_reads")
def test_graphs_are_built_without_a_read(path: Path) -> None:
    """Also by dask's own functions, given the objects as they are."""
    for x in (
        packstore.from_file(path),
        packstore.from_file(path)[2:5].sum(),
        da.from_array(open_lazy(path), chunks=(10, 20)),
        da.from_zarr(packstore.open_array(path)),
        da.from_array(packstore.open_array(path), chunks="auto"),
        da.from_zarr(packstore.open_store(path)),
    ):
        assert x.dtype.kind == "i"
        pickle.dumps(x.dask)
        with pytest.raises(AssertionError, match="data was read"):
            x.compute(scheduler="sync")


def test_dask_keeps_our_objects(path: Path) -> None:
    for x, kind in (
        (da.from_array(open_lazy(path), chunks=(10, 20)), packstore.LazyArray),
        (da.from_zarr(packstore.open_array(path)), packstore.Array),
    ):
        assert kind in {type(v) for v in walk(dict(x.dask))}
        da.assert_eq(x, DATA.astype(x.dtype))


def walk(value: Any) -> Any:
    """Everything inside a materialised graph."""
    from dask._task_spec import DataNode, Task

    if isinstance(value, dict):
        for v in value.values():
            yield from walk(v)
    elif isinstance(value, (list, tuple)):
        for v in value:
            yield from walk(v)
    elif isinstance(value, Task):
        yield from walk(value.args)
    elif isinstance(value, DataNode):
        yield from walk([value.value])
    else:
        yield value


@pytest.mark.parametrize("gigabytes", [1, 1000])
def test_graph_stays_small(tmp_path: Path, gigabytes: int) -> None:
    x = packstore.from_file(sparse_npy(tmp_path / "big.npy", (gigabytes * 1000, 1000, 1000), "|u1"))
    assert len(pickle.dumps(x.dask)) < 20_000
    assert len(pickle.dumps(open_lazy(tmp_path / "big.npy"))) < 500
    again = pickle.loads(pickle.dumps(x))
    assert again.chunks == x.chunks
    assert again[-1, -1, -5:].compute(scheduler="sync").tolist() == [0] * 5


def test_tokens_follow_the_file(path: Path) -> None:
    def names() -> list[str]:
        return [
            packstore.from_file(path).name,
            tokenize(open_lazy(path)),
            tokenize(packstore.open_array(path)),
            tokenize(packstore.open_store(path)),
            da.from_zarr(packstore.open_array(path)).name,
        ]

    before = names()
    assert names() == before
    assert len(set(before)) == 5
    assert packstore.from_file(path, chunks=7).name != before[0]
    np.save(path, DATA + 1)
    assert not set(names()) & set(before)


def test_tokens_tell_options_apart(tmp_path: Path) -> None:
    (tmp_path / "x.dat").write_bytes(bytes(range(64)))
    names = {
        packstore.from_file(tmp_path / "x.dat", format="raw", dtype=dtype, shape=(8,), offset=offset).name
        for dtype, offset in [("<f8", 0), ("<i8", 0), (">i8", 0)]
    }
    names.add(packstore.from_file(tmp_path / "x.dat", format="raw", dtype="u1", offset=1).name)
    names.add(packstore.from_file(tmp_path / "x.dat", format="raw", dtype="u1", offset=2).name)
    assert len(names) == 5


def test_components_have_tokens_of_their_own(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.zeros(3), b=np.ones(3))
    a, b = (packstore.from_file(tmp_path / "x.npz", name) for name in "ab")
    assert a.name != b.name
    da.assert_eq(a + b, np.ones(3))


def test_stale_file_is_an_error_on_computing(path: Path) -> None:
    x = packstore.from_file(path)
    data = pickle.dumps(x)
    np.save(path, DATA[::-1])
    with pytest.raises(StaleFileError):
        x.compute(scheduler="sync")
    with pytest.raises(StaleFileError):
        pickle.loads(data).compute(scheduler="sync")


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1,), (2, 3, 4, 5)])
@pytest.mark.parametrize("dtype", ["?", ">i2", "M8[ns]", "S3", "U2", "i4,f8"])
def test_shapes_and_dtypes(tmp_path: Path, shape: tuple[int, ...], dtype: str) -> None:
    data = np.zeros(shape, dtype)
    np.save(tmp_path / "x.npy", data)
    x = packstore.from_file(tmp_path / "x.npy")
    assert (x.shape, x.dtype) == (data.shape, data.dtype)
    got = x.compute(scheduler="sync")
    assert (np.shape(got), np.asarray(got).dtype) == (data.shape, data.dtype)
    np.testing.assert_array_equal(got, data)


def test_fortran_order_is_cut_along_the_last_axis(tmp_path: Path) -> None:
    data = np.asfortranarray(np.zeros((1000, 100, 1000), "u1"))
    np.save(tmp_path / "x.npy", data)
    x = packstore.from_file(tmp_path / "x.npy")
    assert x.chunksize[:2] == (1000, 100)
    assert 1 < x.numblocks[2] < 10


# Arrays of fewer bytes never reach the bound of the number of blocks.
HUGE = 1 << 40

sides = st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 5000)), min_size=1, max_size=4)


@given(sides, st.sampled_from([1, 2, 8, 16]))
def test_merged_chunks(axes: list[tuple[int, int]], itemsize: int) -> None:
    shape = tuple(n for n, _ in axes)
    unit = tuple(max(min(c, n), 1) for n, c in axes)
    merged = auto_chunks(shape, itemsize, unit)
    size = math.prod(merged) * itemsize
    for n, c, m in zip(shape, unit, merged, strict=True):
        assert m % c == 0 or m == n
        assert m <= max(n, 1)
    blocks = math.prod(-(-n // m) for n, m in zip(shape, merged, strict=True))
    assert blocks <= MAX_BLOCKS or 0 in shape
    # Never beyond the bound, unless a storage chunk is, or there would be too many; never half the lower one while
    # there is more to merge.
    if 0 in shape or math.prod(shape) * itemsize > HUGE:
        return
    assert size <= max(MAX_CHUNK_NBYTES, math.prod(unit) * itemsize)
    if merged != tuple(max(n, 1) for n in shape):
        assert size > MIN_CHUNK_NBYTES // 4


@given(sides, st.sampled_from([1, 2, 8, 16]))
def test_cut_chunks(axes: list[tuple[int, int]], itemsize: int) -> None:
    # Some tens of parts an axis: what counts is how they lie in a chunk.
    shape = tuple(min(n, 20 * c) for n, c in axes)
    unit = tuple(max(min(c, n), 1) for n, (_, c) in zip(shape, axes, strict=True))
    parts = split_chunks(shape, itemsize, unit)
    if parts is None:
        small = math.prod(unit) * itemsize < 2 * MAX_CHUNK_NBYTES
        assert 0 in shape or small or math.prod(shape) * itemsize > HUGE
        return
    (axis,) = [i for i, (part, c) in enumerate(zip(parts, unit, strict=True)) if part != c]
    assert unit[:axis] == (1,) * axis, "a part that is no run of bytes"
    assert 1 <= parts[axis] < unit[axis]
    target = min(max(MIN_CHUNK_NBYTES, math.prod(shape) * itemsize // 256), MAX_CHUNK_NBYTES)
    assert 1 < unit[axis] / parts[axis] <= 2 * round(math.prod(unit) * itemsize / target)


@pytest.mark.parametrize("codec", [PackBitsCodec(), packstore.PackBitsCodec(padding_encoding="first_byte"), "bytes"])
def test_large_chunks_are_cut_where_parts_can_be_read(tmp_path: Path, codec: Any) -> None:
    import zarr.codecs

    shape = (5003, 8001)
    mask = np.zeros(shape, bool)
    mask[::7, 1::5] = True
    serializer = zarr.codecs.BytesCodec() if codec == "bytes" else codec
    zarr.create_array(tmp_path / "x.zarr", data=mask, chunks=(4501, 8001), serializer=serializer, compressors=None)
    x = packstore.from_file(tmp_path / "x.zarr")
    # The count of padding bits is checked with whole chunks only, so those are not cut.
    checked = getattr(codec, "padding_encoding", "none") != "none"
    assert x.chunks == ((4501, 502) if checked else (2256, 2256, 491), (8001,))
    np.testing.assert_array_equal(x.compute(), mask)
    # The last part but one lies in two chunks, and dask still calls it regular.
    x.to_zarr(tmp_path / "copy.zarr")
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "copy.zarr")[...], mask)
    assert packstore.views.dask.from_file.count_nonzero(tmp_path / "x.zarr", axis=0).sum().compute() == mask.sum()
    zarr.create_array(tmp_path / "z.zarr", data=mask, chunks=(4501, 8001), serializer=serializer)
    assert packstore.from_file(tmp_path / "z.zarr").chunks == ((4501, 502), (8001,))


@pytest.mark.parametrize(("shape", "chunks"), [((2,), (1,)), ((), ())])
@pytest.mark.filterwarnings("ignore:.*not.*have a Zarr V3 specification")
def test_one_large_element_is_not_cut(tmp_path: Path, shape: tuple[int, ...], chunks: tuple[int, ...]) -> None:
    import zarr.codecs

    zarr.create_array(tmp_path / "x.zarr", shape=shape, chunks=chunks, dtype="S40000000", compressors=None)
    x = packstore.from_file(tmp_path / "x.zarr")
    assert x.chunks == tuple((1,) * n for n in shape)
    assert split_chunks((1, 1), 1 << 30, (1, 1)) is None


def test_damage_in_a_cut_chunk_is_found(tmp_path: Path) -> None:
    import zarr.codecs

    shape = (4501, 8001)
    array = zarr.create_array(
        tmp_path / "x.zarr",
        data=np.ones(shape, bool),
        chunks=shape,
        serializer=PackBitsCodec(),
        compressors=None,
    )
    chunk = tmp_path / "x.zarr" / "c" / "0" / "0"
    x = packstore.from_file(tmp_path / "x.zarr")
    assert x.all().compute()
    stored = chunk.read_bytes()
    assert math.prod(array.shape) % 8
    chunk.write_bytes(stored[:-1] + bytes([stored[-1] | 0x80]))
    # The graph of before is for another file.
    with pytest.raises(StaleFileError, match=r"chunk \(0, 0\)"):
        x.all().compute(scheduler="sync")
    x = packstore.from_file(tmp_path / "x.zarr")
    with pytest.raises(CorruptDataError, match="padding bits"):
        x.all().compute()
    chunk.write_bytes(stored[:-1])
    x = packstore.from_file(tmp_path / "x.zarr")
    for part in x.blocks[0], x.blocks[1]:
        with pytest.raises(CorruptDataError, match="bytes"):
            part.compute()


def test_named_array(path: Path) -> None:
    assert from_lazy(open_lazy(path), name="mine").name == "mine"


def test_optimised_graphs_agree(path: Path) -> None:
    x = packstore.from_file(path, chunks=(10, 10))[5:25, 3:17][::2]
    (opt,) = dask.optimize(x)
    da.assert_eq(opt, DATA[5:25, 3:17][::2])


@pytest.mark.long
def test_worker_processes(tmp_path: Path) -> None:
    from distributed import Client, LocalCluster

    np.save(tmp_path / "x.npy", DATA)
    np.savez_compressed(tmp_path / "x.npz", a=DATA)
    with (
        LocalCluster(n_workers=2, threads_per_worker=2, processes=True, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        arrays = [
            packstore.from_file(tmp_path / "x.npy", chunks=(4, 20)),
            packstore.from_file(tmp_path / "x.npz", "a", chunks=(4, 20)),
            da.from_zarr(packstore.open_array(tmp_path / "x.npy", chunks=(4, 20))),
            da.from_zarr(packstore.open_store(tmp_path / "x.npy", chunks=(4, 20))),
        ]
        for got in client.gather(client.compute(arrays)):
            np.testing.assert_array_equal(got, DATA)
        stale = packstore.from_file(tmp_path / "x.npy", chunks=(5, 20))
        np.save(tmp_path / "x.npy", -DATA)
        with pytest.raises(StaleFileError, match=r"x\.npy"):
            client.compute(stale).result()


def test_chunks_behind_a_url_are_larger(tmp_path: Path) -> None:
    """A task of one request waits as long as one of many."""
    with h5py.File(tmp_path / "x.h5", "w") as f:
        # No element is written, so the file is small.
        f.create_dataset("x", (8192, 16384), "u1", chunks=(256, 16384), compression="gzip")
    fsspec.filesystem("memory").put_file(str(tmp_path / "x.h5"), "/far/x.h5")
    assert packstore.from_file(tmp_path / "x.h5").chunksize == (1024, 16384)
    assert packstore.from_file("memory://far/x.h5").chunksize == (4096, 16384)
    assert packstore.from_files([tmp_path / "x.h5"] * 2).chunksize == (1024, 16384)
    assert packstore.from_files(["memory://far/x.h5"] * 2).chunksize == (8192, 16384)
