"""from_files and open_store over a list: values against numpy's own concatenate and stack."""

from __future__ import annotations

import pickle
from pathlib import Path

import dask
import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import packstore
from packstore import errors
from packstore.readers.joined import expand_paths


def write(folder: Path, lengths: list[int], axis: int = 0) -> tuple[list[Path], list[np.ndarray]]:
    rng = np.random.default_rng(len(lengths))
    paths, arrays = [], []
    for i, n in enumerate(lengths):
        shape = [4, 5]
        shape[axis] = n
        arrays.append(rng.integers(0, 1000, shape).astype("i2"))
        paths.append(folder / f"f{i}.npy")
        np.save(paths[-1], arrays[-1])
    return paths, arrays


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_concatenates_ragged_files(tmp_path: Path, axis: int) -> None:
    paths, arrays = write(tmp_path, [3, 1, 0, 7], axis)
    got = packstore.from_files(paths, axis=axis)
    want = np.concatenate(arrays, axis=axis)
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got.compute(), want)
    np.testing.assert_array_equal(got[1:, ::-2].compute(), want[1:, ::-2])


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_stacks_on_a_new_axis(tmp_path: Path, axis: int) -> None:
    paths, arrays = write(tmp_path, [4, 4, 4])
    np.testing.assert_array_equal(
        packstore.from_files(paths, axis=axis, new_axis=True).compute(), np.stack(arrays, axis=axis)
    )


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=6), st.integers(1, 9), st.integers(1, 5))
def test_any_chunks_give_the_same_values(lengths: list[int], first: int, second: int) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        paths, arrays = write(Path(folder), lengths)
        want = np.concatenate(arrays)
        got = packstore.from_files(paths, chunks=(first, second))
        with dask.config.set(scheduler="synchronous"):
            np.testing.assert_array_equal(got.compute(), want)
        store = packstore.open_store(paths, axis=0)
        np.testing.assert_array_equal(zarr.open_array(store, mode="r")[...], want)
        np.testing.assert_array_equal(da.from_zarr(store).compute(scheduler="synchronous"), want)


def test_auto_chunks_join_small_files_and_cut_large_ones(tmp_path: Path) -> None:
    for i, rows in enumerate((1, 1, 200, 1)):
        np.lib.format.open_memmap(tmp_path / f"{i}.npy", mode="w+", dtype="u1", shape=(rows, 1 << 20))
    got = packstore.from_files(str(tmp_path / "*.npy"))
    sizes = list(got.chunks[0])
    assert sum(sizes) == 203
    assert sizes[0] == 2 and sizes[-1] == 1
    assert max(sizes) <= 128


def test_glob_sorts_numbers_by_value(tmp_path: Path) -> None:
    for i in (10, 9, 100):
        np.save(tmp_path / f"x{i}.npy", np.array([i]))
    assert packstore.from_files(str(tmp_path / "x*.npy")).compute().tolist() == [9, 10, 100]
    assert [Path(p).stem for p in expand_paths(str(tmp_path / "x*.npy"))] == ["x9", "x10", "x100"]


def test_components_of_npz_files(tmp_path: Path) -> None:
    for i in range(3):
        np.savez(tmp_path / f"{i}.npz", mask=np.full((2, 2), i), other=np.zeros(3))
    got = packstore.from_files(str(tmp_path / "*.npz"), "mask")
    assert got[:, 0].compute().tolist() == [0, 0, 1, 1, 2, 2]
    with pytest.raises(errors.ComponentNotFoundError, match=r"0\.npz.*component="):
        packstore.from_files(str(tmp_path / "*.npz"))


def test_files_that_do_not_fit_are_named(tmp_path: Path) -> None:
    np.save(tmp_path / "0.npy", np.zeros((2, 3)))
    np.save(tmp_path / "1.npy", np.zeros((2, 4)))
    np.save(tmp_path / "2.npy", np.zeros((2, 3), "f4"))
    with pytest.raises(errors.ShapeError, match=r"1\.npy: expected the same shape except along axis 0"):
        packstore.from_files([tmp_path / "0.npy", tmp_path / "1.npy"])
    with pytest.raises(errors.ShapeError, match=r"1\.npy: expected the same shape as"):
        packstore.from_files([tmp_path / "0.npy", tmp_path / "1.npy"], new_axis=True)
    with pytest.raises(errors.DtypeError, match=r"2\.npy: expected dtype float64"):
        packstore.from_files([tmp_path / "0.npy", tmp_path / "2.npy"])
    with pytest.raises(errors.OptionError, match="an axis within"):
        packstore.from_files([tmp_path / "0.npy"], axis=2)
    with pytest.raises(errors.MissingFileError, match="no match"):
        packstore.from_files(str(tmp_path / "nothing*.npy"))
    with pytest.raises(errors.MissingFileError, match="empty list"):
        packstore.from_files([])


def test_0d_files_stack(tmp_path: Path) -> None:
    for i in range(3):
        np.save(tmp_path / f"{i}.npy", np.float32(i))
    assert packstore.from_files(str(tmp_path / "*.npy"), new_axis=True).compute().tolist() == [0, 1, 2]
    with pytest.raises(errors.OptionError, match="new_axis=True"):
        packstore.from_files(str(tmp_path / "*.npy"))


def test_a_changed_file_is_stale(tmp_path: Path) -> None:
    paths, _ = write(tmp_path, [3, 3])
    got = packstore.from_files(paths)
    np.save(paths[1], np.zeros((9, 5), "i2"))
    with pytest.raises(errors.StaleFileError, match=r"f1\.npy"):
        got.compute()


def test_graph_is_small_and_pickles(tmp_path: Path) -> None:
    paths, arrays = write(tmp_path, [2] * 300)
    got = packstore.from_files(paths, chunks=(2, 5))
    assert got.numblocks == (300, 1)
    data = pickle.dumps(got.dask)
    assert len(data) < 20_000
    again = pickle.loads(pickle.dumps(got))
    np.testing.assert_array_equal(again.compute(), np.concatenate(arrays))
