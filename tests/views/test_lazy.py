"""LazyArray: what numpy and dask see of it, pickling, conversion."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from packstore.errors import ComponentNotFoundError, StaleFileError, UnsupportedError
from packstore.views.lazy import LazyArray, open_lazy

DATA = np.arange(24, dtype="<f4").reshape(4, 6)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    np.save(tmp_path / "x.npy", DATA)
    return tmp_path / "x.npy"


@pytest.fixture(params=["local", "remote"])
def lazy(request: pytest.FixtureRequest, path: Path) -> LazyArray:
    if request.param == "local":
        return open_lazy(path)
    with fsspec.open("memory://lazy/x.npy", "wb") as f:
        np.save(f, DATA)
    return open_lazy("memory://lazy/x.npy")


def test_attributes(lazy: LazyArray) -> None:
    assert (lazy.shape, lazy.dtype, lazy.ndim, lazy.size, lazy.nbytes, len(lazy)) == (
        DATA.shape,
        DATA.dtype,
        DATA.ndim,
        DATA.size,
        DATA.nbytes,
        len(DATA),
    )
    assert lazy.chunks == (4, 6)
    assert dict(lazy.attrs) == {}
    assert "shape=(4, 6) dtype=float32" in repr(lazy)


def test_dask_does_not_take_it_for_a_numpy_array(lazy: LazyArray) -> None:
    assert not hasattr(lazy, "copy")
    assert not hasattr(lazy, "__array_function__")


def test_conversion(lazy: LazyArray) -> None:
    np.testing.assert_array_equal(np.asarray(lazy), DATA)
    assert np.asarray(lazy, dtype="f8").dtype == np.float64
    writable = np.array(lazy)
    assert writable.flags.writeable
    writable[:] = 0
    np.testing.assert_array_equal(lazy[...], DATA)
    assert np.array(lazy, copy=True).flags.writeable
    with pytest.raises(ValueError, match="converting float32 to float64 needs a copy"):
        np.asarray(lazy, dtype="f8", copy=False)
    assert float(np.sum(lazy)) == DATA.sum()


def test_mapped_results_are_read_only_views(path: Path) -> None:
    part = open_lazy(path)[1:3]
    assert not part.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        part[0, 0] = 1
    assert np.shares_memory(part, np.asarray(open_lazy(path)))


def test_iteration(lazy: LazyArray) -> None:
    assert [row.tolist() for row in iter(lazy)] == DATA.tolist()


def test_scalars_are_numpys(lazy: LazyArray) -> None:
    assert type(lazy[1, 2]) is np.float32
    assert type(lazy[1, 2, ...]) is np.ndarray
    assert lazy[np.int8(-1), np.uint16(5)] == 23


def test_len_of_0d(tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", np.array(3))
    lazy = open_lazy(tmp_path / "s.npy")
    with pytest.raises(TypeError, match="unsized"):
        len(lazy)
    assert lazy[()] == 3
    assert np.asarray(lazy).shape == ()


def test_fields(tmp_path: Path) -> None:
    data = np.array([(1, 2.5), (3, 4.5)], [("a", "i2"), ("b", ">f8")])
    np.save(tmp_path / "s.npy", data)
    with fsspec.open("memory://lazy/s.npy", "wb") as f:
        np.save(f, data)
    for lazy in (open_lazy(tmp_path / "s.npy"), open_lazy("memory://lazy/s.npy")):
        assert lazy["b"].tolist() == [2.5, 4.5]
        assert lazy[["a"]].dtype.names == ("a",)
        assert lazy[1].tolist() == (3, 4.5)


def test_objects_with_an_index(lazy: LazyArray) -> None:
    class Two:
        def __index__(self) -> int:
            return 2

    np.testing.assert_array_equal(lazy[Two()], DATA[2])
    np.testing.assert_array_equal(lazy[:, Two()], DATA[:, 2])


def test_pickles_as_a_path(lazy: LazyArray) -> None:
    data = pickle.dumps(lazy)
    assert len(data) < 500
    again = pickle.loads(data)
    np.testing.assert_array_equal(again[2], DATA[2])
    assert again.__dask_tokenize__() == lazy.__dask_tokenize__()


READ = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb'))[2, 3])"


def run(path: Path) -> Any:
    return subprocess.run([sys.executable, "-c", READ, path], capture_output=True, text=True, check=False)


def test_another_process_reads_it_and_notices_a_change(path: Path, tmp_path: Path) -> None:
    (tmp_path / "lazy.pickle").write_bytes(pickle.dumps(open_lazy(path)))
    done = run(tmp_path / "lazy.pickle")
    assert done.stdout.strip() == "15.0", done.stderr
    np.save(path, -DATA)
    done = run(tmp_path / "lazy.pickle")
    assert done.returncode != 0
    assert "StaleFileError" in done.stderr


def test_change_under_a_reader(path: Path) -> None:
    lazy = open_lazy(path)
    assert lazy[0, 1] == 1
    np.save(path, np.arange(5))
    for key in (0, ..., [0, 1], (0, 0)):
        with pytest.raises(StaleFileError, match=r"x\.npy"):
            lazy[key]


def test_components(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", first=DATA, second=DATA, bad=np.array([{}]))
    assert open_lazy(tmp_path / "x.npz", "first")[0, 1] == 1
    with pytest.raises(ComponentNotFoundError, match=r"x\.npz\[frist\].*The nearest name is 'first'\."):
        open_lazy(tmp_path / "x.npz", "frist")
    with pytest.raises(ComponentNotFoundError, match="expected component= to name one array, got 'first', 'second'"):
        open_lazy(tmp_path / "x.npz")
    with pytest.raises(UnsupportedError, match=r"x\.npz\[bad\].*pickled"):
        open_lazy(tmp_path / "x.npz", "bad")
    np.save(tmp_path / "x.npy", DATA)
    with pytest.raises(ComponentNotFoundError, match="expected no component, as the file is one array"):
        open_lazy(tmp_path / "x.npy", "a")
