"""What `save` makes of empty groups, numpy's archives, pandas' frames and xarray's conventions."""

from __future__ import annotations

import io
import os
import re
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr
from hypothesis import example, given
from hypothesis import strategies as st

import packstore
from packstore.errors import DtypeError, OptionError, TargetExistsError, UnsupportedError, WriteError
from packstore.views.lazy import LazyArray
from packstore.writers.chunk_shapes import frame_chunks
from packstore.writers.tree import tree_of

MASK = np.arange(27).reshape(3, 9) % 2 == 0


def opened(path: Path) -> Any:
    return zarr.open_group(path, mode="r")


def open_zarr(path: Path) -> Any:
    xr = pytest.importorskip("xarray")
    return xr.open_zarr(path, consolidated=False)


# --- groups ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["zarr", "h5"])
@pytest.mark.parametrize("kind", ["packstore", "h5py", "zarr"])
def test_a_group_without_arrays(tmp_path: Path, kind: str, suffix: str) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = [1, 2]
        file.create_group("empty/inner").attrs["why"] = "later"
        file["empty"].attrs["n"] = 3
        packstore.save(tmp_path / "a.zarr", file)
        source: Any = file["empty"]
        if kind == "packstore":
            source = packstore.open(tmp_path / "a.h5", "empty")
        elif kind == "zarr":
            source = opened(tmp_path / "a.zarr")["empty"]
        report = packstore.save(tmp_path / f"out.{suffix}", source)
    assert report.arrays == ()
    if suffix == "zarr":
        group = opened(tmp_path / "out.zarr")
        assert dict(group.attrs) == {"n": 3} and dict(group["inner"].attrs) == {"why": "later"}
    else:
        with h5py.File(tmp_path / "out.h5") as out:
            assert dict(out.attrs) == {"n": 3} and dict(out["inner"].attrs) == {"why": "later"}


# --- numpy's archives -----------------------------------------------------------------------------------------------


def test_an_archive_is_read_block_by_block(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **{"a/b": np.arange(6).reshape(2, 3), "mask": MASK})
    with np.load(tmp_path / "a.npz") as archive:
        assert all(isinstance(item.data, LazyArray) for item in tree_of(archive).items)
        packstore.save(tmp_path / "out.zarr", {"run": archive})
    group = opened(tmp_path / "out.zarr")
    np.testing.assert_array_equal(group["run/a/b"], np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(group["run/mask"], MASK)


def test_an_archive_in_memory(tmp_path: Path) -> None:
    held = io.BytesIO()
    np.savez(held, x=np.arange(3), m=MASK)
    held.seek(0)
    with np.load(held) as archive:
        packstore.save(tmp_path / "out.h5", archive)
    with h5py.File(tmp_path / "out.h5") as file:
        np.testing.assert_array_equal(file["x"], np.arange(3))
        np.testing.assert_array_equal(file["m"], MASK)


def test_what_an_archive_pickles_is_refused_or_left_out(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", good=np.arange(3), texts=np.array(["a", "bc"], object), odd=np.array([{}], object))
    with np.load(tmp_path / "a.npz") as archive:
        with pytest.raises(UnsupportedError, match=r"a\.npz\[texts\].*skip_unsupported=True"):
            packstore.save(tmp_path / "out.zarr", archive)
        report = packstore.save(tmp_path / "out.zarr", archive, skip_unsupported=True)
    assert report.arrays == ("good",)
    assert len(report.lost) == 2 and report.lost[0].startswith("[texts] ")
    # Who let numpy unpickle gets what it gives.
    with np.load(tmp_path / "a.npz", allow_pickle=True) as archive:
        with pytest.raises(DtypeError, match=r"\[odd\].*dict"):
            packstore.save(tmp_path / "two.zarr", archive)
        packstore.save(tmp_path / "two.zarr", {"texts": archive["texts"]})
    assert opened(tmp_path / "two.zarr")["texts"][...].tolist() == ["a", "bc"]


def test_members_that_are_no_arrays_and_closed_archives(tmp_path: Path) -> None:
    import zipfile

    np.savez(tmp_path / "a.npz", x=np.arange(3))
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as file:
        file.writestr("notes.txt", "seen at noon\0")
    with np.load(tmp_path / "a.npz") as archive:
        with pytest.raises(UnsupportedError, match=r"notes\.txt"):
            packstore.save(tmp_path / "out.npz", archive)
        report = packstore.save(tmp_path / "out.npz", archive, skip_unsupported=True)
        assert report.arrays == ("x",)
    with pytest.raises(DtypeError, match="expected an open npz archive, got a closed one"):
        packstore.save(tmp_path / "again.npz", archive)


# --- pandas ---------------------------------------------------------------------------------------------------------


def test_frames_whose_columns_have_numbers_or_tuples_for_names(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    report = packstore.save(tmp_path / "a.npz", pd.DataFrame(np.arange(6.0).reshape(3, 2)))
    assert report.arrays == ("0", "1") and report.lost == (
        "the names of columns are text, which were numbers or tuples",
    )
    with np.load(tmp_path / "a.npz") as archive:
        np.testing.assert_array_equal(archive["1"], [1, 3, 5])
    columns = pd.MultiIndex.from_tuples([("a", "x"), ("a", 2)])
    packstore.save(tmp_path / "b.zarr", pd.DataFrame([[1, 2]], columns=columns))
    assert opened(tmp_path / "b.zarr")["a/2"][...].tolist() == [2]
    for columns in ([1, "1"], [("a", "b"), "a/b"]):
        with pytest.raises(OptionError, match="columns of different names"):
            packstore.save(tmp_path / "c.zarr", pd.DataFrame([[1, 2]], columns=pd.Index(columns, tupleize_cols=False)))


def test_an_index_is_columns(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    index = pd.MultiIndex.from_product([["a", "b"], [1, 2]], names=["k", None])
    packstore.save(tmp_path / "a.zarr", pd.DataFrame({"x": range(4)}, index=index))
    group = opened(tmp_path / "a.zarr")
    assert group["k"][...].tolist() == ["a", "a", "b", "b"] and group["level_1"][...].tolist() == [1, 2, 1, 2]
    with pytest.raises(OptionError, match="'x' twice"):
        packstore.save(tmp_path / "b.zarr", pd.DataFrame({"x": [1]}, index=pd.Index([5], name="x")))
    series = pd.Series([1.5, 2.5], index=pd.Index(["u", "v"]))
    assert packstore.save(tmp_path / "s.h5", series).arrays == ("index", "values")
    with h5py.File(tmp_path / "s.h5") as file:
        assert file["index"].asstr()[...].tolist() == ["u", "v"] and file["values"][...].tolist() == [1.5, 2.5]
    # One array is all that fits.
    assert packstore.save(tmp_path / "s.npy", series).lost == ("the index of the series is not written",)
    assert packstore.save(tmp_path / "t.h5", pd.Series([1, 2], name="n")).arrays == ("",)


def test_pandas_own_types(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    when = pd.to_datetime(["2020-01-01 12:00", "2020-07-01 12:00"]).tz_localize("Europe/Berlin")
    frame = pd.DataFrame(
        {
            "n": pd.array([1, 2**60 + 1], "Int64"),
            "b": pd.array([True, False], "boolean"),
            "c": pd.Categorical(["u", "v"]),
            "t": when,
        }
    )
    report = packstore.save(tmp_path / "a.zarr", frame)
    group = opened(tmp_path / "a.zarr")
    assert group["n"].dtype == np.int64 and group["n"][...].tolist() == [1, 2**60 + 1]
    assert group["b"].dtype == np.bool_ and group["c"][...].tolist() == ["u", "v"]
    want = np.array(["2020-01-01T11:00", "2020-07-01T10:00"], "M8[s]")
    np.testing.assert_array_equal(group["t"][...].astype("M8[s]"), want)
    assert report.lost == (
        "[c] categories: each element is a value of its own",
        "[t] the time zone Europe/Berlin: times are in UTC",
    )


@pytest.mark.parametrize("dtype", ["Int64", "UInt8", "boolean", "string"])
def test_missing_values_that_a_type_cannot_hold(tmp_path: Path, dtype: str) -> None:
    pd = pytest.importorskip("pandas")
    column = pd.array([None, "a"] if dtype == "string" else [None, 1], dtype=dtype)
    with pytest.raises(DtypeError, match=r"\[x\]: expected .* in every row, got missing values\. Use fillna or dropna"):
        packstore.save(tmp_path / "a.zarr", pd.DataFrame({"x": column}))
    assert not (tmp_path / "a.zarr").exists()


# --- xarray ---------------------------------------------------------------------------------------------------------


def dataset() -> Any:
    xr, pd = pytest.importorskip("xarray"), pytest.importorskip("pandas")
    ds = xr.Dataset(
        {
            "t": (("time", "x"), np.arange(8, dtype="f4").reshape(4, 2), {"units": "K"}),
            "counts": ("x", np.array([0, 7])),
            "packed": ("x", [0.5, np.nan], {}, {"dtype": "i2", "scale_factor": 0.5, "_FillValue": np.int16(-9)}),
            "mask": (("time", "x"), np.arange(8).reshape(4, 2) % 3 == 0),
            "name": ("x", np.array(["a", "bé"], object)),
            "one": ((), 0),
        },
        coords={"time": pd.date_range("2020", periods=4), "x": [0, 1], "place": ("x", [5.5, 6.5])},
        attrs={"title": "a run"},
    )
    ds.encoding["unlimited_dims"] = {"time"}
    return ds


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_dataset_in_each_zarr_format(tmp_path: Path, zarr_format: int) -> None:
    """Zeros stay zeros where version 2 says by its fill value what is masked."""
    want = dataset()
    report = packstore.save(tmp_path / "x.zarr", want, zarr_format=zarr_format)
    pytest.importorskip("xarray").testing.assert_identical(open_zarr(tmp_path / "x.zarr").load(), want)
    assert report.lost == ()
    mask: Any = zarr.open_array(tmp_path / "x.zarr", path="mask", mode="r")
    assert mask.dtype == np.bool_ and "pack" in str(mask.metadata.to_dict()).lower()


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("suffix", ["nc", "zarr"])
def test_a_store_that_xarray_wrote(tmp_path: Path, zarr_format: Any, suffix: str) -> None:
    xr = pytest.importorskip("xarray")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr: text is not in the specification
        dataset().to_zarr(tmp_path / "own.zarr", zarr_format=zarr_format, consolidated=False)
    own = open_zarr(tmp_path / "own.zarr").load()
    memory = zarr.storage.MemoryStore()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset().to_zarr(memory, zarr_format=zarr_format, consolidated=False)
    for i, source in enumerate((packstore.open(tmp_path / "own.zarr"), memory)):
        path = tmp_path / f"out{i}.{suffix}"
        packstore.save(path, source)
        with open_zarr(path) if suffix == "zarr" else xr.open_dataset(path, engine="h5netcdf") as got:
            xr.testing.assert_identical(got.load(), own)


@pytest.mark.parametrize("engine", ["h5netcdf", "netcdf4"])
def test_masks_are_bool_for_every_reader(tmp_path: Path, engine: str) -> None:
    xr = pytest.importorskip("xarray")
    pytest.importorskip(engine.replace("netcdf4", "netCDF4"))
    want = dataset()[["mask"]]
    packstore.save(tmp_path / "x.nc", want)
    with xr.open_dataset(tmp_path / "x.nc", engine=engine) as got:
        xr.testing.assert_identical(got.load(), want)
    plain = xr.DataArray(MASK)
    packstore.save(tmp_path / "x.npy", plain)
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), MASK)
    packstore.save(tmp_path / "x.bits", plain)
    assert (tmp_path / "x.bits").read_bytes() == np.packbits(MASK, axis=-1).tobytes()


def test_an_array_that_is_called_like_its_axis(tmp_path: Path) -> None:
    xr = pytest.importorskip("xarray")
    for want in (dataset()["x"], xr.DataArray([1.0, 2.0], dims="x", name="x"), dataset()["t"].rename(None)):
        packstore.save(tmp_path / "a.zarr", want, overwrite=True)
        got = xr.open_dataarray(tmp_path / "a.zarr", engine="zarr", consolidated=False).load()
        xr.testing.assert_identical(got, want)


# --- chunks and additions -------------------------------------------------------------------------------------------


@given(n=st.integers(1, 10**7), elements=st.integers(100, 1 << 20))
@example(n=9601, elements=66)
@example(n=129, elements=128)
def test_the_last_chunk_of_an_axis_is_half_of_one_at_least(n: int, elements: int) -> None:
    (chunk,) = frame_chunks((n,), elements, elements)
    last = n % chunk or chunk
    assert 1 <= chunk <= min(n, max(-(-elements // 8) * 8, 64))
    assert 2 * last >= chunk


def test_an_array_that_cannot_be_replaced_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packstore.save(tmp_path / "a.zarr", {"x": np.arange(3)})
    rename = os.rename

    def fail(source: Any, target: Any) -> None:
        # The new array's turn; that the old one goes back is let through.
        if Path(target) == tmp_path / "a.zarr" / "x" and not str(source).endswith(".old"):
            raise OSError(28, "No space left on device", str(source))
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(WriteError, match=r"a\.zarr"):
        packstore.save(tmp_path / "a.zarr", {"x": np.arange(5)}, mode="a", overwrite=True)
    monkeypatch.undo()
    assert opened(tmp_path / "a.zarr")["x"][...].tolist() == [0, 1, 2]
    assert os.listdir(tmp_path) == ["a.zarr"]


def test_arrays_below_arrays_are_not_added(tmp_path: Path) -> None:
    for suffix in ("npz", "zarr", "h5"):
        path = tmp_path / f"a.{suffix}"
        packstore.save(path, {"x": np.arange(3), "g/y": np.arange(4)})
        for name in ("x/below", "g"):
            for overwrite in (False, True):
                with pytest.raises(TargetExistsError, match=rf"a\.{suffix}\[.*expected a name that is free"):
                    packstore.save(path, {name: np.arange(2)}, mode="a", overwrite=overwrite)
        assert packstore.open_group(path).unsupported == {}


# --- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["zarr", "h5", "npz"])
def test_errors_of_blocks_name_the_target_and_the_array(tmp_path: Path, suffix: str) -> None:
    da = pytest.importorskip("dask.array")
    path = tmp_path / f"a.{suffix}"
    texts = da.from_array(np.array(["a", None], object), chunks=1)
    with pytest.raises(DtypeError, match=rf"^saving {re.escape(str(path))}\[s\]: expected text.*NoneType"):
        packstore.save(path, {"s": texts})
    numbers = da.map_blocks(lambda _: np.zeros(2), da.zeros(4, "i4", chunks=2), dtype="i4", meta=np.empty(0, "i4"))
    with pytest.raises(DtypeError, match=rf"^saving {re.escape(str(path))}\[n\]: expected blocks of dtype int32"):
        packstore.save(path, {"n": numbers})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("suffix", ["zarr", "h5"])
def test_errors_of_attributes_name_the_target_and_the_node(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    with pytest.raises(DtypeError, match=rf"^(saving|writing) {re.escape(str(path))}: expected an attribute 'bad'"):
        packstore.save(path, {"x": np.arange(3)}, attributes={"bad": object()})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("compressor", [5, object(), "lz77", {"id": "nothing", "name": "nothing"}, [3], 1.5])
def test_what_is_no_compressor(tmp_path: Path, compressor: Any, zarr_format: int) -> None:
    path = tmp_path / "a.zarr"
    with pytest.raises(OptionError, match=rf"^writing {re.escape(str(path))}"):
        packstore.save(path, np.arange(3), compressor=compressor, zarr_format=zarr_format)
    assert not path.exists()


def test_codecs_of_the_other_zarr_format(tmp_path: Path) -> None:
    import numcodecs
    from zarr.codecs import ZstdCodec

    for codec, other in ((ZstdCodec(), 2), (numcodecs.Zstd(), 3)):
        good = 5 - other
        packstore.save(tmp_path / f"v{good}.zarr", np.arange(3), compressor=codec, zarr_format=good)
        with pytest.raises(OptionError, match=r"or a codec, got .*Zstd.*those of (zarr|numcodecs)\."):
            packstore.save(tmp_path / "a.zarr", np.arange(3), compressor=codec, zarr_format=other)
