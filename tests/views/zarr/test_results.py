"""What indexing a packstore.Array gives: the caller's own arrays, numpy's selections, fields, rows, views."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import hypothesis.strategies as st
import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings

import packstore
from packstore.core.copies import PARALLEL_NBYTES, owned
from packstore.errors import DtypeError, OptionError, PackstoreError, SelectionError
from packstore.testing.readers import assert_same, example

DATA = np.arange(60, dtype="i4").reshape(5, 4, 3)
STRUCT = np.array([(1, 2.5, (3, 4)), (5, 6.5, (7, 8)), (9, 1.5, (2, 3))], [("a", "<i2"), ("b", ">f8"), ("c", "u1", 2)])


def _npy(path: Path) -> Any:
    np.save(path / "x.npy", DATA)
    return path / "x.npy", {}


def _fortran(path: Path) -> Any:
    np.save(path / "x.npy", np.asfortranarray(DATA))
    return path / "x.npy", {}


def _big_endian(path: Path) -> Any:
    np.save(path / "x.npy", DATA.astype(">i4"))
    return path / "x.npy", {}


def _remote(path: Path) -> Any:
    with fsspec.open(f"memory://results{path}/x.npy", "wb") as file:
        np.save(file, DATA)
    return f"memory://results{path}/x.npy", {}


def _npz(path: Path) -> Any:
    np.savez(path / "x.npz", a=DATA)
    return path / "x.npz", {}


def _compressed(path: Path) -> Any:
    np.savez_compressed(path / "x.npz", a=DATA)
    return path / "x.npz", {}


def _hdf5(path: Path, **options: Any) -> Any:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path / "x.h5", "w") as file:
        file.create_dataset("a", data=DATA, **options)
    return path / "x.h5", {}


def _gzipped(path: Path) -> Any:
    return _hdf5(path, chunks=(2, 4, 3), compression="gzip", shuffle=True)


def _chunked(path: Path) -> Any:
    return _hdf5(path, chunks=(2, 4, 3))


def _zarr(path: Path) -> Any:
    zarr.create_array(path / "x.zarr", data=DATA, chunks=(2, 4, 3))
    return path / "x.zarr", {}


def _sharded(path: Path) -> Any:
    zarr.create_array(path / "x.zarr", data=DATA, chunks=(2, 4, 3), shards=(4, 4, 3), compressors=None)
    return path / "x.zarr", {}


def _packed(path: Path) -> Any:
    bits = np.unpackbits(DATA.astype(">u2").view("u1")).reshape(-1)
    bits.tofile(path / "bits")
    np.packbits(bits).tofile(path / "x.raw")
    return path / "x.raw", {"format": "raw", "dtype": "int32", "bits": 16, "bitorder": "big", "shape": DATA.shape}


def _text(path: Path) -> Any:
    np.savetxt(path / "x.csv", DATA.reshape(5, 12), fmt="%d", delimiter=",")
    return path / "x.csv", {}


def _pickle(path: Path) -> Any:
    (path / "x.pickle").write_bytes(pickle.dumps(DATA))
    return path / "x.pickle", {}


def _joined(path: Path) -> Any:
    np.save(path / "0.npy", DATA[:2])
    np.save(path / "1.npy", DATA[2:])
    return [path / "0.npy", path / "1.npy"], {}


FILES = [_npy, _fortran, _big_endian, _remote, _npz, _compressed, _hdf5, _gzipped, _chunked, _zarr, _sharded, _packed]
FILES += [_text, _pickle, _joined]


@pytest.fixture(params=FILES, ids=lambda make: make.__name__.lstrip("_"))
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., packstore.Array]:
    path, options = request.param(tmp_path)
    return lambda **more: packstore.open_array(path, **options, **more)


KEYS: tuple[Any, ...] = (
    ...,
    1,
    slice(1, 4),
    (slice(None), slice(1, 3)),
    (slice(None, None, -1), 2),
    [0, 2],
    (..., None),
)


def test_results_are_the_callers_own(opened: Callable[..., packstore.Array]) -> None:
    """As zarr's and h5py's: writing into one changes neither the file, nor the next read, nor a cache."""
    array = opened()
    want = np.array(array)
    for key in KEYS:
        for _ in range(2):
            part = array[key]
            assert_same(part, want[key])
            assert part.flags.writeable
            part[...] = 99
    for make in (np.asarray, np.array):
        whole = make(array)
        assert whole.flags.writeable
        whole[...] = 99
    for row in array:
        row[...] = 99
    assert_same(array[...], want)
    assert_same(opened()[...], want)


def test_views_where_they_are_asked_for(tmp_path: Path) -> None:
    path, _ = _npy(tmp_path)
    array = packstore.open_array(path, copy=False)
    part = array[1:3]
    assert np.shares_memory(part, array[2]) and np.shares_memory(np.asarray(array), part)
    with pytest.raises(ValueError, match="read-only"):
        part[0] = 1
    assert np.array(array).flags.writeable
    again = pickle.loads(pickle.dumps(array))
    assert np.shares_memory(again[1], again[1])
    assert not np.shares_memory(packstore.open_array(path)[1], part)
    with packstore.config.set({"array.copy": False}):
        assert np.shares_memory(packstore.open_array(path)[1:3], part)
        assert not np.shares_memory(packstore.open_array(path, copy=True)[1:3], part)
    np.savez(tmp_path / "x.npz", a=DATA)
    group = packstore.open_group(tmp_path / "x.npz", copy=False)
    assert np.shares_memory(group["a"][1], group["a"][1])
    assert not np.shares_memory(*[packstore.open(tmp_path / "x.npz")["a"][1] for _ in range(2)])
    with pytest.raises(OptionError, match="expected copy to be True or False, got 'no'"):
        packstore.open_array(path, copy="no")  # type: ignore[arg-type]


def test_lazy_arrays_and_dask_keep_views(tmp_path: Path) -> None:
    path, _ = _npy(tmp_path)
    lazy = packstore.open_array(path).lazy
    assert lazy is not None and not lazy[1].flags.writeable and np.shares_memory(lazy[1], lazy[1:])
    blocks = packstore.from_file(path, chunks=(2, 4, 3)).to_delayed().ravel()
    assert not any(block.compute(scheduler="synchronous").flags.writeable for block in blocks)


def test_what_asarray_takes(opened: Callable[..., packstore.Array]) -> None:
    array = opened()
    want = np.array(array)
    got = np.asarray(array, dtype="f8")
    assert got.dtype == np.float64 and got.flags.writeable
    assert_same(got, want.astype("f8"))
    with pytest.raises(OptionError, match="expected copy=None or copy=True, as elements have to be read"):
        np.asarray(array, dtype="f8", copy=False)
    lazy = array.lazy
    assert lazy is not None
    if lazy.array.storage.is_instant and lazy.dtype == array.dtype:
        assert np.shares_memory(np.asarray(array, copy=False), lazy[...])
    else:
        with pytest.raises(OptionError):
            np.asarray(array, copy=False)


def test_structured_scalars_are_copies(tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", STRUCT)
    array = packstore.open_array(tmp_path / "s.npy")
    one = array[1]
    one["a"] = 77
    assert array[1]["a"] == 5


@pytest.mark.parametrize("order", ["C", "F"])
def test_large_copies(order: Any) -> None:
    whole = np.zeros((9, PARALLEL_NBYTES // 32, 5), order=order)
    whole[...] = np.arange(5)
    whole.flags.writeable = False
    for part in (whole, whole[::-2], whole[:, ::2], whole[1:2]):
        got = owned(part)
        assert got.flags.writeable and not np.shares_memory(got, whole)
        assert np.array_equal(got, part)


# -- selections -----------------------------------------------------------------------------------------------------

MASK, SHORT = np.array([True, False, True, True, False]), np.array([True, False, False, True])
SELECTIONS: tuple[Any, ...] = (
    *(MASK, (MASK,), (MASK, slice(None)), (MASK, ...), (slice(None), SHORT), (..., SHORT, slice(1, 3)), MASK.tolist()),
    *((MASK, 0), (0, SHORT), (1, SHORT, 2), (MASK, slice(None, None, -1)), (slice(4, 0, -2), SHORT), np.zeros(5, bool)),
    *([2, 0], [-1, 0, 0], (slice(1, 3), [2, 0]), (..., [0, 2]), [], ([0, 2], slice(1, 3), slice(None, None, 2))),
    *(DATA > 30, DATA[..., 0] > 30, ([0, 1], [1, 2], [2, 0]), ([0, 1], 2, [2, 0]), np.array([[0, 1], [2, 3]])),
    *(([0, 1], None), (None, MASK), (MASK, [0, 1, 2]), ([0, 2], slice(None), [0, 1]), np.array([[1], [2]])),
)


def test_index_arrays_are_numpys(opened: Callable[..., packstore.Array]) -> None:
    array = opened(chunks=None)
    if array.ndim != 3:
        pytest.skip("text has two axes")
    for key in SELECTIONS:
        got = array[key]
        assert_same(got, DATA[key])
        assert got.flags.writeable


def test_one_list_with_ints_is_taken_by_itself(opened: Callable[..., packstore.Array]) -> None:
    """As zarr and h5py have it; numpy would put the axis of the list first."""
    array = opened()
    if array.ndim == 3:
        assert_same(array[0, :, [0, 2]], DATA[0][:, [0, 2]])
        assert_same(array[0, :, np.array([True, False, True])], DATA[0][:, [0, 2]])


def test_sparse_lists_read_only_their_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from packstore.views.zarr import selections

    path, _ = _gzipped(tmp_path)
    array = packstore.open_array(path)
    for small in (selections.SMALL_NBYTES, 0):
        monkeypatch.setattr(selections, "SMALL_NBYTES", small)
        monkeypatch.setattr(selections, "MAX_WASTE", small)
        for key in ([4, 0], MASK, (slice(None), SHORT, 1), (slice(None, None, -1), SHORT), []):
            assert_same(array[key], DATA[key])


@pytest.mark.parametrize(
    ("key", "match"),
    [
        (5, r"expected an index within \[-5, 5\) on axis 0, got 5|out of bounds"),
        ([0, 5], r"expected an index within \[-5, 5\) on axis 0, got 5"),
        (np.ones(4, bool), r"expected a bool index of shape \(5,\), got \(4,\)"),
        ((slice(None), MASK), r"expected a bool index of shape \(4,\), got \(5,\)"),
        ((MASK, SHORT), "index.* broadcast"),
        ([0.5], "expected ints, slices, integer or bool arrays"),
        ((0, 0, 0, 0), "at most 3 indices|too many indices"),
        ("a", "expected no field, as there are none, got 'a'"),
    ],
)
def test_refused_selections(opened: Callable[..., packstore.Array], key: Any, match: str) -> None:
    array = opened()
    if array.ndim != 3:
        pytest.skip("text has two axes")
    with pytest.raises(SelectionError, match=match) as caught:
        array[key]
    assert isinstance(caught.value, IndexError) and isinstance(caught.value, PackstoreError)


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_one_bool_index_among_slices(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(0, 6), min_size=1, max_size=3)))
    want = example("<i4", shape)
    axis = data.draw(st.integers(0, len(shape) - 1))
    picked: Any = np.array(data.draw(st.lists(st.booleans(), min_size=shape[axis], max_size=shape[axis])), bool)
    if data.draw(st.booleans()):
        picked = np.flatnonzero(picked)[::-1]
    key = tuple(picked if i == axis else data.draw(st.slices(n)) for i, n in enumerate(shape))
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/x.npy", want)
        np.savez_compressed(f"{folder}/x.npz", a=want)
        for name in ("x.npy", "x.npz"):
            assert_same(packstore.open_array(f"{folder}/{name}")[key], want[key])


# -- fields ---------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*not.*have a Zarr V3 specification")
@pytest.mark.parametrize("kind", ["npy", "npz", "hdf5"])
def test_fields(tmp_path: Path, kind: str) -> None:
    if kind == "npy":
        np.save(tmp_path / "x", STRUCT)
        path = tmp_path / "x.npy"
    elif kind == "npz":
        np.savez_compressed(tmp_path / "x", a=STRUCT)
        path = tmp_path / "x.npz"
    else:
        h5py = pytest.importorskip("h5py")
        path = tmp_path / "x.h5"
        with h5py.File(path, "w") as file:
            file.create_dataset("a", data=STRUCT, chunks=(2,))
    array = packstore.open_array(path)
    for name in ("a", "b", "c"):
        got = array[name]
        assert_same(got, STRUCT[name])
        assert got.dtype == array.dtype[name].base and got.flags.writeable
        assert_same(array[name, 1:], STRUCT[name][1:])
        assert_same(array[1:, name], STRUCT[name][1:])
        assert_same(array[name, np.array([True, False, True])], STRUCT[name][[0, 2]])
        assert_same(array[1, name], STRUCT[1][name])
    two = array[["c", "a"]]
    assert two.dtype.names == ("c", "a") and two.dtype.itemsize == 4
    assert_same(two, STRUCT[["c", "a"]])
    assert_same(array["c", "a"], STRUCT[["c", "a"]])
    assert array[1, ["a"]].tolist() == (5,)
    with pytest.raises(SelectionError, match="expected one of 'a', 'b', 'c', got 'd'"):
        array["d"]
    with pytest.raises(SelectionError, match="got 'd'"):
        array[["a", "d"]]


# -- rows, views ----------------------------------------------------------------------------------------------------


def test_len_and_rows(opened: Callable[..., packstore.Array]) -> None:
    array = opened()
    want = np.array(array)
    assert len(array) == 5
    assert_same(list(array), list(want))
    assert [row.shape for row in array] == [want.shape[1:]] * 5
    assert want[3].tolist() in [row.tolist() for row in array]


def test_rows_of_scalars_and_of_none(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.arange(4.0))
    rows = list(packstore.open_array(tmp_path / "x.npy", chunks=3))
    assert rows == [0, 1, 2, 3] and type(rows[0]) is np.float64
    np.save(tmp_path / "x.npy", np.array(4.0))
    scalar = packstore.open_array(tmp_path / "x.npy")
    with pytest.raises(TypeError, match="len\\(\\) of unsized object"):
        len(scalar)
    with pytest.raises(TypeError, match="iteration over a 0-d array"):
        list(scalar)
    np.save(tmp_path / "x.npy", np.zeros((0, 3)))
    assert len(packstore.open_array(tmp_path / "x.npy")) == 0 and list(packstore.open_array(tmp_path / "x.npy")) == []


def test_masks_as_labels(tmp_path: Path) -> None:
    """Viewers of labels take a bool array's ``view(np.uint8)``, then its shape, dtype and slices."""
    mask = np.random.default_rng(0).random((9, 8, 7)) < 0.4
    np.save(tmp_path / "m.npy", mask)
    zarr.create_array(tmp_path / "m.zarr", data=mask, chunks=(4, 8, 7), serializer=packstore.PackBitsCodec())
    for path in (tmp_path / "m.npy", tmp_path / "m.zarr"):
        labels = packstore.open_array(path).view(np.uint8)
        assert (labels.shape, labels.ndim, labels.size, labels.nbytes) == (mask.shape, 3, 504, 504)
        assert len(labels) == 9 and labels.dtype == np.uint8
        for key in (..., 3, (slice(None), 2, slice(1, 5)), (1, 2, 3), mask[:, 0, 0]):
            assert_same(labels[key], mask.view(np.uint8)[key])
        assert_same(np.asarray(labels), mask.view(np.uint8))
        assert np.asarray(labels, dtype="f4").dtype == np.float32
        assert_same(pickle.loads(pickle.dumps(labels))[2], mask[2].view(np.uint8))
        assert_same([labels[i].sum() for i in range(9)], [row.sum() for row in mask.view(np.uint8)])
        import dask.array as da

        lazy = da.from_array(labels, chunks=(4, 8, 7))
        assert lazy.name == da.from_array(labels, chunks=(4, 8, 7)).name
        assert_same(lazy.compute(scheduler="synchronous"), mask.view(np.uint8))


@pytest.mark.parametrize(("dtype", "match"), [("u2", "a dtype of 4 bytes, as int32 has"), ("O", "plain bytes")])
def test_views_of_other_sizes(tmp_path: Path, dtype: str, match: str) -> None:
    path, _ = _npy(tmp_path)
    assert_same(packstore.open_array(path).view("f4")[1], DATA[1].view("f4"))
    with pytest.raises(DtypeError, match=match):
        packstore.open_array(path).view(dtype)
