"""Stacks written by ``dask.array.to_npy_stack``."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import zarr

import packstore
from packstore.errors import DtypeError, FormatError, MissingFileError, ShapeError, StaleFileError, TruncatedFileError
from packstore.readers.find import locate
from packstore.testing.readers import ReaderTests, assert_same, example

X = example("<f8", (10, 6, 5))


class TestStack(ReaderTests):
    format = "npy_stack"
    shapes = ((7,), (5, 3), (4, 1, 6), (3, 2, 2, 2))
    orders = ("C",)
    min_side = 1
    min_dims = 1
    touch = "0.npy"

    def write(self, path: Path, array: np.ndarray) -> None:
        da.to_npy_stack(path, da.from_array(array, chunks=2), axis=0)


def written(folder: Path, axis: int = 0, chunks: Any = (3, 4, 2)) -> Path:
    da.to_npy_stack(folder / "stack", da.from_array(X, chunks=chunks), axis=axis)
    return folder / "stack"


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("chunks", [(3, 4, 2), ((1, 7, 2), (6,), (2, 3)), (20, 20, 20)])
def test_axes_and_uneven_chunks(tmp_path: Path, axis: int, chunks: Any) -> None:
    path = written(tmp_path, axis, chunks)
    assert locate(path).format == "npy_stack"
    assert_same(da.from_npy_stack(path).compute(), X)
    array = packstore.open_array(path)
    for key in np.s_[...], np.s_[::-1], np.s_[1:9:2, 2:, ::3], np.s_[4, 5, 3], np.s_[5:2, 0], np.s_[-1]:
        assert_same(array[key], X[key])
    assert_same(zarr.open_array(packstore.open_store(path), mode="r")[...], X)
    assert_same(packstore.from_file(path).compute(scheduler="synchronous"), X)
    assert_same(packstore.open_array(path, chunks=(4, 4, 4))[...], X)


def test_a_file_a_chunk(tmp_path: Path) -> None:
    assert packstore.open_array(written(tmp_path)).chunks == (3, 6, 5)


def test_info_is_never_unpickled(tmp_path: Path) -> None:
    path = written(tmp_path)
    trap = tmp_path / "trap"

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (open, (str(trap), "w"))

    (path / "info").write_bytes(pickle.dumps({"chunks": ((10,), (6,), (5,)), "dtype": Evil(), "axis": 0}))
    with pytest.raises(FormatError, match=r"stack index .*info: expected a numpy dtype, got a dtype made by \w+\.open"):
        packstore.open_array(path)
    assert not trap.exists()


@pytest.mark.parametrize(
    ("info", "match"),
    [
        ([1], "a dict of chunks, dtype and axis"),
        ({"chunks": ((10,),), "axis": 0}, "a dict of chunks, dtype and axis"),
        ({"chunks": [10], "axis": 0, "dtype": np.dtype("f8")}, "chunks as tuples of lengths"),
        ({"chunks": ((-1,),), "axis": 0, "dtype": np.dtype("f8")}, "chunks as tuples of lengths"),
        ({"chunks": ((10,),), "axis": 1, "dtype": np.dtype("f8")}, "an axis of 1"),
        ({"chunks": ((10,),), "axis": "0", "dtype": np.dtype("f8")}, "an axis of 1"),
    ],
)
def test_info_that_makes_no_sense(tmp_path: Path, info: Any, match: str) -> None:
    path = written(tmp_path)
    (path / "info").write_bytes(pickle.dumps(info))
    with pytest.raises(FormatError, match=rf"reading the npy stack index .*info: expected {match}"):
        packstore.open_array(path)


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    path = written(tmp_path)
    whole = (path / "1.npy").read_bytes()
    np.save(path / "1.npy", np.zeros((2, 6, 5)))
    with pytest.raises(ShapeError, match=r"1\.npy: expected shape \(3, 6, 5\), got \(2, 6, 5\)"):
        packstore.open_array(path)
    np.save(path / "1.npy", np.zeros((3, 6, 5), "f4"))
    with pytest.raises(DtypeError, match=r"1\.npy: expected dtype float64, got float32"):
        packstore.open_array(path)
    (path / "1.npy").write_bytes(whole[:-8])
    with pytest.raises(TruncatedFileError, match=r"1\.npy: expected 720 bytes, got 712"):
        packstore.open_array(path)
    os.unlink(path / "1.npy")
    with pytest.raises(MissingFileError, match=r"1\.npy: expected a file"):
        packstore.open_array(path)


def test_a_changed_part_is_stale(tmp_path: Path) -> None:
    path = written(tmp_path)
    array = packstore.open_array(path)
    pickled = pickle.dumps(array)
    assert_same(array[...], X)
    np.save(path / "1.npy", np.zeros((3, 6, 5)))
    os.utime(path / "1.npy", ns=(0, 0))
    with pytest.raises(StaleFileError):
        array[...]
    assert_same(array[:3], X[:3])
    packstore.readers.location._manifests.clear()  # as in another process
    with pytest.raises(StaleFileError, match="changed"):
        pickle.loads(pickled)[...]
