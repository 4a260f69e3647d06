"""``.h5``: files against h5py, and stored bytes against those that libhdf5 writes."""

from __future__ import annotations

import errno
import weakref
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import ml_dtypes
import numpy as np
import pytest

import packstore
from packstore.errors import DtypeError, OptionError
from packstore.testing.readers import assert_same
from packstore.writers.hdf5 import _h5py_errors
from packstore.writers.hdf5.chunks import ChunkEncoder, shuffle_bytes


def smooth() -> np.ndarray:
    y, x = np.mgrid[:700, :900]
    return np.asarray(np.sin(x / 50) * np.cos(y / 70), "f4")


def mask() -> np.ndarray:
    y, x = np.mgrid[:700, :900]
    return np.asarray((y - 200) ** 2 + (x - 300) ** 2 < 150**2)


def walk() -> np.ndarray:
    return np.cumsum(np.random.default_rng(0).standard_normal(400_000))


def counts() -> np.ndarray:
    return np.random.default_rng(0).poisson(20, (900, 500))


def stored(path: Path, name: str = "data") -> int:
    with h5py.File(path) as file:
        return int(file[name].id.get_storage_size())


@pytest.mark.parametrize("level", [1, 4, 9])
@pytest.mark.parametrize("make", [smooth, mask, walk, counts])
def test_no_larger_than_h5py_at_the_same_level(tmp_path: Path, make: Any, level: int) -> None:
    array = make()
    packstore.save(tmp_path / "x.h5", array, level=level)
    with h5py.File(tmp_path / "x.h5") as file, h5py.File(tmp_path / "y.h5", "w") as other:
        dataset = file["data"]
        assert (dataset.compression, dataset.compression_opts, dataset.shuffle) == ("gzip", level, array.itemsize > 1)
        assert_same(dataset[()].astype(array.dtype), array)
        other.create_dataset(
            "data", data=array, chunks=dataset.chunks, compression="gzip", compression_opts=level, shuffle=True
        )
    assert stored(tmp_path / "x.h5") <= stored(tmp_path / "y.h5") * 1.001


def test_without_imagecodecs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from packstore.codecs import libraries
    from packstore.writers import deflate

    monkeypatch.setattr(libraries, "imagecodecs_function", lambda *_: None)
    deflate.encoders.cache_clear()
    try:
        packstore.save(tmp_path / "x.h5", smooth())
    finally:
        deflate.encoders.cache_clear()
    with h5py.File(tmp_path / "x.h5") as file:
        assert_same(file["data"][()], smooth())


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("compressor", ["gzip", None])
@pytest.mark.parametrize("chunks", [(64, 100), (1, -1), (10_000, 7)])
def test_edge_chunks(tmp_path: Path, chunks: Any, compressor: Any, shuffle: bool) -> None:
    array = counts()
    for source in (array, da.from_array(array, chunks=(333, 222))):
        options = {"chunks": chunks, "compressor": compressor, "shuffle": shuffle, "overwrite": True}
        packstore.save(tmp_path / "x.h5", source, **options)
        with h5py.File(tmp_path / "x.h5") as file:
            want = tuple(n if c == -1 else min(c, n) for c, n in zip(chunks, array.shape, strict=True))
            assert file["data"].chunks == want
            assert_same(file["data"][()], array)
        assert_same(packstore.from_file(tmp_path / "x.h5").compute(scheduler="synchronous"), array)


def test_a_chunk_in_the_middle_is_padded_as_libhdf5_does(tmp_path: Path) -> None:
    """A dataset that grows later shows what lies behind its edge."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        dataset = file.create_dataset("a", (5,), "i4", chunks=(4,), maxshape=(None,))
        for coordinates, data in ChunkEncoder((4,), np.dtype("i4"), False, None, False)(
            (slice(0, 5, 1),), np.arange(1, 6, dtype="i4")
        ):
            dataset.id.write_direct_chunk(coordinates, data)
        dataset.resize((8,))
        assert dataset[()].tolist() == [1, 2, 3, 4, 5, 0, 0, 0]


def test_shuffled_bytes_are_those_of_libhdf5(tmp_path: Path) -> None:
    for dtype in ("i2", "f4", "f8", "c16", "S3", "V5"):
        raw = np.random.default_rng(0).integers(1, 256, 60 * np.dtype(dtype).itemsize, dtype=np.uint8)
        array = raw.view(dtype)
        with h5py.File(tmp_path / "x.h5", "w") as file:
            dataset = file.create_dataset("a", data=array, chunks=(60,), shuffle=True)
            want = dataset.id.read_direct_chunk((0,))[1]
        assert shuffle_bytes(raw, array.itemsize).tobytes() == want


# --- bool -----------------------------------------------------------------------------------------------------------


def test_bool_is_h5pys_enumeration(tmp_path: Path) -> None:
    packstore.save(tmp_path / "x.h5", mask())
    with h5py.File(tmp_path / "x.h5") as file:
        assert file["data"].dtype == bool
        assert np.array_equal(file["data"][()], mask())
    assert packstore.from_file(tmp_path / "x.h5").dtype == bool


@pytest.mark.parametrize("shape", [(16,), (13,), (5, 7), (700, 900), (1,)])
def test_packed_bytes_are_those_of_libhdf5(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array = np.random.default_rng(0).random(shape) < 0.5
    packstore.save(tmp_path / "x.h5", array, pack=True, compressor=None, chunks=shape)
    with h5py.File(tmp_path / "x.h5") as file, h5py.File(tmp_path / "y.h5", "w") as other:
        ours = file["data"]
        theirs = h5py.Dataset(
            h5py.h5d.create(
                other.id, b"data", ours.id.get_type(), h5py.h5s.create_simple(shape), ours.id.get_create_plist()
            )
        )
        theirs[...] = array
        start = (0,) * len(shape)
        assert ours.id.read_direct_chunk(start) == theirs.id.read_direct_chunk(start)
        assert ours.id.get_type().get_precision() == 1
        assert np.array_equal(ours[()], array)


@pytest.mark.parametrize("compressor", ["gzip", None])
@pytest.mark.parametrize("lazy", [True, False])
def test_packed(tmp_path: Path, compressor: Any, lazy: bool) -> None:
    array = mask()
    source = da.from_array(array, chunks=(300, 300)) if lazy else array
    packstore.save(tmp_path / "x.h5", source, pack=True, compressor=compressor)
    with h5py.File(tmp_path / "x.h5") as file:
        want = file["data"][()]
    assert want.dtype == np.uint8
    assert np.array_equal(want, array)
    assert_same(packstore.from_file(tmp_path / "x.h5").compute(scheduler="synchronous"), want)
    assert stored(tmp_path / "x.h5") < array.nbytes / 6


def test_pack_leaves_other_types_alone(tmp_path: Path) -> None:
    packstore.save(tmp_path / "x.h5", {"a": counts(), "m": mask(), "z": np.array(True), "e": mask()[:0]}, pack=True)
    with h5py.File(tmp_path / "x.h5") as file:
        assert_same(file["a"][()], counts())
        assert file["z"][()]
        assert file["e"].shape == (0, 900)


# --- layouts and types ----------------------------------------------------------------------------------------------


def test_one_run_can_be_mapped(tmp_path: Path) -> None:
    packstore.save(tmp_path / "x.h5", {"a": counts(), "b": da.from_array(smooth(), chunks=200)}, compressor=None)
    with h5py.File(tmp_path / "x.h5") as file:
        for name, array in (("a", counts()), ("b", smooth())):
            assert file[name].chunks is None
            at = file[name].id.get_offset()
            assert_same(np.asarray(np.memmap(tmp_path / "x.h5", array.dtype, "r", at, array.shape)), array)
            assert_same(file[name][()], array)


def test_times(tmp_path: Path) -> None:
    for array in (np.array(["2020-01-01", "NaT"] * 50, "M8[ns]"), np.arange(100).astype("m8[s]"), np.array(3, "m8[D]")):
        packstore.save(tmp_path / "x.h5", array, overwrite=True)
        with h5py.File(tmp_path / "x.h5") as file:
            got = file["data"][()]
            assert file["data"].dtype == array.dtype
            assert np.array_equal(np.asarray(got), array, equal_nan=True)


@pytest.mark.parametrize("lazy", [False, True])
def test_strings(tmp_path: Path, lazy: bool) -> None:
    array = np.array([["a", "ünï"], ["", "x" * 50], ["1", "2"]])
    packstore.save(tmp_path / "x.h5", da.from_array(array, chunks=2) if lazy else array)
    packstore.save(tmp_path / "y.h5", np.array("one"))
    with h5py.File(tmp_path / "x.h5") as file:
        assert file["data"].asstr()[()].tolist() == array.tolist()
    with h5py.File(tmp_path / "y.h5") as file:
        assert file["data"].asstr()[()] == "one"


def test_structs_with_times_and_text(tmp_path: Path) -> None:
    array = np.zeros(3, [("t", "M8[s]"), ("ok", "?"), ("name", "U3"), ("at", "f4", (2,))])
    array["t"], array["name"] = ["2020-01-01", "NaT", "2021-01-01"], ["a", "ü", ""]
    packstore.save(tmp_path / "x.h5", {"a": array, "plain": array[["t", "ok", "at"]]})
    with h5py.File(tmp_path / "x.h5") as file:
        got = file["a"][()]
        assert np.array_equal(got["t"], array["t"], equal_nan=True)
        assert [name.decode() for name in got["name"]] == ["a", "ü", ""]
        assert file["plain"].dtype["t"] == "M8[s]"
    assert packstore.open_array(tmp_path / "x.h5", "plain").dtype == array[["t", "ok", "at"]].dtype


def test_a_type_that_hdf5_has_not(tmp_path: Path) -> None:
    with pytest.raises(DtypeError, match=r"writing .*x\.h5\[a\]: expected a dtype for HDF5"):
        packstore.save(tmp_path / "x.h5", {"a": np.zeros(3, ml_dtypes.bfloat16)})
    assert list(tmp_path.iterdir()) == []


def test_chunks_by_name(tmp_path: Path) -> None:
    packstore.save(tmp_path / "x.h5", {"a": counts(), "b": counts()}, chunks={"a": (100, 50)})
    with h5py.File(tmp_path / "x.h5") as file:
        assert file["a"].chunks == (100, 50)
        assert file["b"].chunks != (100, 50)
        assert_same(file["b"][()], counts())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"compressor": "zip"}, "compressor one of gzip, lzf, szip, blosc, .*, got 'zip'"),
        ({"level": 0}, "expected level 1 to 9, got 0"),
        ({"chunks": (5,)}, r"2 positive lengths, got \(5,\)"),
        ({"chunks": (5, 0)}, r"2 positive lengths, got \(5, 0\)"),
        ({"chunks": "big"}, "2 positive lengths, got 'big'"),
    ],
)
def test_options(tmp_path: Path, options: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        packstore.save(tmp_path / "x.h5", counts(), **options)
    assert list(tmp_path.iterdir()) == []


def test_a_chunk_too_large(tmp_path: Path) -> None:
    source = da.zeros((1 << 16, 1 << 16), dtype="u1", chunks=4096)
    with pytest.raises(OptionError, match="HDF5 chunks below 4 GiB"):
        packstore.save(tmp_path / "x.h5", source, chunks=(-1, -1))


def test_errors_of_libhdf5_keep_their_number(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as caught, _h5py_errors(tmp_path):
        raise RuntimeError("Can't decrement id ref count (file write failed: errno = 28, error message = 'x')")
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(RuntimeError, match="other"), _h5py_errors(tmp_path):
        raise RuntimeError("other")


def test_memory_of_a_large_dask_array(tmp_path: Path) -> None:
    """256 MB in one chunk row of columns: no slab of it is ever whole in memory."""
    alive = [0, 0]

    def forget(nbytes: int) -> None:
        alive[0] -= nbytes

    def make(block_info: Any = None) -> np.ndarray:
        values = np.zeros(tuple(b - a for a, b in block_info[None]["array-location"]), np.uint8)
        weakref.finalize(values, forget, values.nbytes)
        alive[0] += values.nbytes
        alive[1] = max(alive)
        return values

    source = da.map_blocks(make, chunks=((1 << 14,), (256,) * 64), dtype=np.uint8, meta=np.empty((0, 0), np.uint8))
    packstore.save(tmp_path / "x.h5", source)
    assert alive[1] <= 64 << 20
