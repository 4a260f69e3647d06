"""What `save` makes of whole files and of other packages' objects, read back by the reference readers."""

from __future__ import annotations

import contextlib
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import packstore
from packstore.errors import DtypeError, FormatError, OptionError, TargetExistsError, UnsupportedError
from packstore.writers.chunk_shapes import frame_chunks

COUNTS = np.arange(12, dtype="i2").reshape(3, 4)
TEXTS = ["", "a", "héllo"]


def source_h5(path: Path) -> Path:
    """An HDF5 file with all that trees keep."""
    with h5py.File(path, "w") as file:
        file.attrs["title"], file.attrs["version"] = "run", np.int16(3)
        counts = file.create_dataset("entry/counts", data=COUNTS, chunks=(2, 4), maxshape=(None, 4), fillvalue=7)
        counts.attrs["unit"], counts.attrs["gain"] = "photons", np.float32(1.5)
        file["x"] = np.arange(4.0)
        file["x"].make_scale("x")
        counts.dims[1].attach_scale(file["x"])
        file.create_group("empty").attrs["why"] = [1, 2]
        file.create_dataset("names", data=TEXTS, dtype=h5py.string_dtype())
        file["fixed"] = np.array([b"a", b"bcd"])
        file["mask"] = np.eye(9, dtype=bool)
    return path


def source_zarr(path: Path, store: Any = None) -> Any:
    """The same tree in zarr."""
    group = zarr.create_group(path if store is None else store, attributes={"title": "run", "version": 3})
    entry = group.create_group("entry")
    counts = entry.create_array(
        "counts",
        shape=(3, 4),
        chunks=(2, 4),
        dtype="i2",
        fill_value=7,
        attributes={"unit": "photons", "gain": 1.5},
        dimension_names=[None, "x"],
    )
    counts[...] = COUNTS
    group.create_array("x", data=np.arange(4.0), dimension_names=["x"])
    group.create_group("empty", attributes={"why": [1, 2]})
    group.create_array("names", shape=(3,), dtype=str)[...] = np.array(TEXTS, object)
    group.create_array("fixed", data=np.array([b"a", b"bcd"]))
    group.create_array("mask", data=np.eye(9, dtype=bool))
    return group


def nested() -> dict[str, Any]:
    """The arrays of the tree in dicts."""
    return {
        "entry": {"counts": COUNTS},
        "x": np.arange(4.0),
        "empty": {},
        "names": np.array(TEXTS, object),
        "fixed": np.array([b"a", b"bcd"]),
        "mask": np.eye(9, dtype=bool),
    }


def npz_file(path: Path) -> Any:
    arrays: dict[str, Any] = {"entry/counts": COUNTS, "x": np.arange(4.0), "names": np.array(TEXTS)}
    np.savez(path, fixed=np.array([b"a", b"bcd"]), mask=np.eye(9, dtype=bool), **arrays)
    return np.load(path)


# What is saved, made in a folder; whether it has attributes and the like.
SOURCES: dict[str, tuple[Callable[[Path], Any], bool]] = {
    "packstore.Group of h5": (lambda p: packstore.open(source_h5(p / "s.h5")), True),
    "packstore store of h5": (lambda p: packstore.open_store(source_h5(p / "s.h5")), True),
    "h5py.File": (lambda p: h5py.File(source_h5(p / "s.h5")), True),
    "h5py.File being written": (lambda p: h5py.File(source_h5(p / "s.h5"), "r+"), True),
    "packstore.Group of zarr": (lambda p: (source_zarr(p / "s.zarr"), packstore.open(p / "s.zarr"))[1], True),
    "packstore store of zarr": (lambda p: (source_zarr(p / "s.zarr"), packstore.open_store(p / "s.zarr"))[1], True),
    "zarr.Group": (lambda p: source_zarr(p / "s.zarr"), True),
    "zarr.Group in memory": (lambda p: source_zarr(p, zarr.storage.MemoryStore()), True),
    "zarr store": (lambda p: source_zarr(p, zarr.storage.MemoryStore()).store, True),
    "dicts": (lambda _: nested(), False),
    "NpzFile": (lambda p: npz_file(p / "s.npz"), False),
    "packstore.Group of npz": (lambda p: (npz_file(p / "s.npz"), packstore.open(p / "s.npz"))[1], False),
}


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("suffix", ["zarr", "h5", "npz"])
def test_each_source_as_the_tree_that_it_is(tmp_path: Path, kind: str, suffix: str) -> None:
    make, has_all = SOURCES[kind]
    path = tmp_path / f"out.{suffix}"
    with contextlib.closing(source) if hasattr(source := make(tmp_path), "close") else contextlib.nullcontext():
        report = packstore.save(path, source)
    assert set(report.arrays) == {"entry/counts", "x", "names", "fixed", "mask"}
    {"zarr": check_zarr, "h5": check_h5, "npz": check_npz}[suffix](path, has_all)
    if suffix == "npz" and has_all:
        assert "[entry/counts] attributes (unit, gain)" in report.lost
        assert "[empty] group without arrays" in report.lost and "attributes (title, version)" in report.lost
    # Saved again from what was written, to another format.
    other = tmp_path / ("again.h5" if suffix == "zarr" else "again.zarr")
    packstore.save(other, packstore.open(path))
    {".zarr": check_zarr, ".h5": check_h5}[other.suffix](other, has_all and suffix != "npz", empty=suffix != "npz")


def check_zarr(path: Path, has_all: bool, empty: bool = True) -> None:
    group: Any = zarr.open_group(path, mode="r")
    assert {n for n, _ in group.members(max_depth=None)} - {"empty"} == {
        "entry",
        "entry/counts",
        "x",
        "names",
        "fixed",
        "mask",
    }
    counts = group["entry/counts"]
    assert counts.dtype == "i2" and group["names"][...].tolist() == TEXTS
    np.testing.assert_array_equal(counts[...], COUNTS)
    np.testing.assert_array_equal(group["fixed"][...], np.array([b"a", b"bcd"]))
    np.testing.assert_array_equal(group["mask"][...], np.eye(9, dtype=bool))
    assert "packbits" in (path / "mask/zarr.json").read_text()
    if not has_all:
        return
    assert dict(group.attrs) == {"title": "run", "version": 3} and dict(group["empty"].attrs) == {"why": [1, 2]}
    assert dict(counts.attrs) == {"unit": "photons", "gain": 1.5}
    assert counts.fill_value == 7 and counts.chunks == (2, 4)
    assert counts.metadata.dimension_names == (None, "x")
    assert group["x"].metadata.dimension_names == ("x",)


def check_h5(path: Path, has_all: bool, empty: bool = True) -> None:
    with h5py.File(path) as file:
        counts = file["entry/counts"]
        assert counts.dtype == "i2" and file["names"].asstr()[...].tolist() == TEXTS
        np.testing.assert_array_equal(counts, COUNTS)
        np.testing.assert_array_equal(file["fixed"], np.array([b"a", b"bcd"]))
        np.testing.assert_array_equal(file["mask"], np.eye(9, dtype=bool))
        assert not (has_all and empty) or isinstance(file["empty"], h5py.Group)
        if not has_all:
            return
        assert file.attrs["title"] == "run" and file.attrs["version"] == 3
        assert file["empty"].attrs["why"].tolist() == [1, 2]
        assert counts.attrs["unit"] == "photons" and counts.attrs["gain"] == 1.5
        assert counts.fillvalue == 7 and counts.chunks == (2, 4)
    array: Any = packstore.open_array(path, "entry/counts")
    assert array.metadata.dimension_names == (None, "x")


def check_npz(path: Path, has_all: bool) -> None:
    with np.load(path) as archive:
        assert set(archive.files) == {"entry/counts", "x", "names", "fixed", "mask"}
        np.testing.assert_array_equal(archive["entry/counts"], COUNTS)
        assert archive["names"].tolist() == TEXTS
        np.testing.assert_array_equal(archive["mask"], np.eye(9, dtype=bool))


def test_h5_to_h5_keeps_the_types_of_attributes_and_the_room_to_grow(tmp_path: Path) -> None:
    source = source_h5(tmp_path / "a.h5")
    assert packstore.save(tmp_path / "b.h5", packstore.open(source)).lost == ()
    with h5py.File(source) as one, h5py.File(tmp_path / "b.h5") as other:
        assert other.attrs["version"].dtype == one.attrs["version"].dtype
        assert other["entry/counts"].attrs["gain"].dtype == np.float32
        assert other["entry/counts"].maxshape == (None, 4)


def test_soft_links(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["g/x"] = COUNTS
        file["link"], file["other"] = h5py.SoftLink("/g/x"), h5py.SoftLink("/g")
    assert packstore.save(tmp_path / "b.h5", packstore.open(tmp_path / "a.h5")).lost == ()
    with h5py.File(tmp_path / "b.h5") as file:
        assert file.get("link", getlink=True).path == "/g/x" and file.get("other", getlink=True).path == "/g"
        np.testing.assert_array_equal(file["other/x"], COUNTS)
    for suffix in ("zarr", "npz"):
        report = packstore.save(tmp_path / f"b.{suffix}", packstore.open(tmp_path / "a.h5"))
        assert report.arrays == ("g/x",)
        assert {line for line in report.lost if "link" in line} == {"[link] link to g/x", "[other] link to g"}


def test_part_of_a_file(tmp_path: Path) -> None:
    group = packstore.open(source_h5(tmp_path / "a.h5"))
    packstore.save(tmp_path / "entry.zarr", group["entry"])
    assert list(zarr.open_group(tmp_path / "entry.zarr", mode="r").array_keys()) == ["counts"]
    packstore.save(tmp_path / "one.zarr", group["entry/counts"])
    one: Any = zarr.open_array(tmp_path / "one.zarr", mode="r")
    np.testing.assert_array_equal(one[...], COUNTS)
    assert dict(one.attrs) == {"unit": "photons", "gain": 1.5} and one.metadata.dimension_names == (None, "x")
    packstore.save(tmp_path / "two.npz", {"a": group["entry"], "b": group["x"]})
    with np.load(tmp_path / "two.npz") as archive:
        assert set(archive.files) == {"a/counts", "b"}


def test_what_cannot_be_read_is_refused_or_left_out(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["good"] = COUNTS
        file["refs"] = np.array([file["good"].ref], h5py.ref_dtype)
    group = packstore.open(tmp_path / "a.h5")
    with pytest.raises(UnsupportedError, match=r"a\.h5\[refs\].*skip_unsupported=True"):
        packstore.save(tmp_path / "b.zarr", group)
    assert not (tmp_path / "b.zarr").exists()
    report = packstore.save(tmp_path / "b.zarr", group, skip_unsupported=True)
    assert report.arrays == ("good",) and [line.split("]")[0] for line in report.lost] == ["[refs"]
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "b.zarr", path="good", mode="r")[...], COUNTS)


# --- other packages' objects ----------------------------------------------------------------------------------------


def dataset() -> xr.Dataset:
    """With what xarray encodes: times, missing values, text, coordinates of several dimensions, scaled integers."""
    rng = np.random.default_rng(0)
    temperature = rng.random((4, 3)).astype("f4")
    temperature[1, 1] = np.nan
    ds = xr.Dataset(
        {
            "t": (("time", "x"), temperature, {"units": "K", "levels": np.arange(3)}),
            "flag": (("x",), np.array([True, False, True])),
            "name": (("x",), np.array(["a", "b", "ü"])),
            "packed": (("time",), np.array([1.5, 2.5, np.nan, 3.5])),
            "one": ((), 5),
        },
        coords={
            "time": pd.date_range("2020-01-01", periods=4),
            "lat": (("x",), np.arange(3.0)),
            "grid": (("time", "x"), rng.random((4, 3))),
        },
        attrs={"title": "a dataset", "n": 3},
    )
    ds.packed.encoding = {"dtype": "i2", "scale_factor": 0.5, "_FillValue": np.int16(-1)}
    return ds


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("suffix", ["zarr", "nc", "h5"])
def test_xarray_dataset(tmp_path: Path, suffix: str, chunked: bool) -> None:
    want = dataset()
    path = tmp_path / f"x.{suffix}"
    packstore.save(path, want.chunk({"time": 2}) if chunked else want)
    if suffix == "zarr":
        xr.testing.assert_identical(xr.open_zarr(path, consolidated=False).load(), want)
    else:
        for engine in ("h5netcdf", "netcdf4"):
            with xr.open_dataset(path, engine=engine) as got:
                xr.testing.assert_identical(got.load(), want)
    again = tmp_path / f"again.{'nc' if suffix == 'zarr' else 'zarr'}"
    packstore.save(again, packstore.open(path))
    with xr.open_dataset(again, **({"engine": "zarr", "consolidated": False} if suffix != "zarr" else {})) as got:
        xr.testing.assert_identical(got.load(), want)


@pytest.mark.parametrize("suffix", ["zarr", "nc"])
def test_xarray_tree_and_arrays(tmp_path: Path, suffix: str) -> None:
    options: dict[str, Any] = {"engine": "zarr", "consolidated": False} if suffix == "zarr" else {"engine": "h5netcdf"}
    want = xr.DataTree.from_dict({"/": dataset(), "/sub/deep": xr.Dataset({"v": ("y", [1, 2])}, attrs={"a": 1})})
    packstore.save(tmp_path / f"tree.{suffix}", want)
    with xr.open_datatree(tmp_path / f"tree.{suffix}", **options) as got:
        xr.testing.assert_identical(got.load(), want)
    array = dataset()["t"]
    packstore.save(tmp_path / f"array.{suffix}", array)
    with xr.open_dataarray(tmp_path / f"array.{suffix}", **options) as one:
        xr.testing.assert_identical(one.load(), array)


def test_xarray_array_where_one_array_is_wanted(tmp_path: Path) -> None:
    array = dataset()["t"]
    report = packstore.save(tmp_path / "t.npy", array)
    np.testing.assert_array_equal(np.load(tmp_path / "t.npy"), array.values)
    assert any("coordinates" in line for line in report.lost)
    packstore.save(tmp_path / "plain.zarr", xr.DataArray(COUNTS, dims=("y", "x")))
    plain: Any = zarr.open_array(tmp_path / "plain.zarr", mode="r")
    assert plain.metadata.dimension_names == ("y", "x")


@pytest.mark.parametrize("suffix", ["zarr", "h5", "npz"])
def test_pandas_frame(tmp_path: Path, suffix: str) -> None:
    frame = pd.DataFrame(
        {"n": [1, 2], "x": np.array([0.5, 1.5], "f4"), "s": ["a", "bc"], "when": pd.date_range("2020", periods=2)},
        index=pd.Index(["r", "q"], name="key"),
    )
    packstore.save(tmp_path / f"x.{suffix}", frame)
    group = packstore.open_group(tmp_path / f"x.{suffix}")
    assert set(group.array_keys()) == {"key", "n", "x", "s", "when"}
    assert group["s"][...].tolist() == ["a", "bc"] and group["key"][...].tolist() == ["r", "q"]
    np.testing.assert_array_equal(group["x"][...], frame["x"].to_numpy())
    np.testing.assert_array_equal(group["when"][...], frame["when"].to_numpy())
    counted = packstore.save(tmp_path / f"y.{suffix}", pd.DataFrame({"a": [1, 2]}))
    assert counted.arrays == ("a",)


def test_pandas_refuses_what_has_no_type(tmp_path: Path) -> None:
    for frame, text in {
        "missing": (pd.DataFrame({"s": pd.array(["a", None], dtype="string")}), "missing values"),
        "twice": (pd.DataFrame([[1, 2]], columns=["a", "a"]), "columns of different names"),
        "number": (pd.DataFrame({5.5: [1]}), "names to be str, got 5.5"),
        "category": (pd.DataFrame({"c": pd.Categorical([("a",), ("b",)])}), "astype"),
    }.values():
        with pytest.raises((DtypeError, OptionError), match=text):
            packstore.save(tmp_path / "x.zarr", frame)


class Iterable:
    """Iterates, and is no array."""

    def __iter__(self) -> Any:
        return iter([1, 2])


@pytest.mark.parametrize(
    "data",
    [
        {1, 2},
        (i for i in range(3)),
        {"a": 1}.values(),
        zip([1], [2], strict=True),
        Iterable(),
        [Iterable()],
        {"a": {1}},
    ],
    ids=lambda d: type(d).__name__,
)
@pytest.mark.parametrize("suffix", ["zarr", "npy", "npz", "h5"])
def test_what_iterates_is_no_array(tmp_path: Path, data: Any, suffix: str) -> None:
    with pytest.raises((DtypeError, OptionError), match=rf"x\.{suffix}(\[a\])?: expected (an|one) array"):
        packstore.save(tmp_path / f"x.{suffix}", data)
    assert list(tmp_path.iterdir()) == []


def test_a_path_is_to_be_opened_first(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", COUNTS)
    for path in (tmp_path / "a.npy", str(tmp_path / "a.npy")):
        with pytest.raises(DtypeError, match=r"Open it first, with packstore\.open"):
            packstore.save(tmp_path / "b.zarr", path)


def test_closed_h5py_file_and_one_without_a_path(tmp_path: Path) -> None:
    file = h5py.File(source_h5(tmp_path / "a.h5"))
    file.close()
    with pytest.raises(DtypeError, match="an open h5py object"):
        packstore.save(tmp_path / "b.zarr", file)
    with h5py.File.in_memory() as memory, pytest.raises(DtypeError, match="an object in a local file"):
        packstore.save(tmp_path / "b.zarr", memory)


def test_a_variable_of_several_axes_that_is_named_like_one_of_them(tmp_path: Path) -> None:
    """NetCDF-4 stores it under another name, which nobody should see."""
    packstore.save(tmp_path / "a.zarr", {"x": np.ones((2, 3))}, dimension_names={"x": ("y", "x")})
    packstore.save(tmp_path / "b.nc", packstore.open(tmp_path / "a.zarr"))
    assert packstore.save(tmp_path / "c.zarr", packstore.open(tmp_path / "b.nc")).arrays == ("x",)
    again: Any = zarr.open_array(tmp_path / "c.zarr", path="x", mode="r")
    assert again.metadata.dimension_names == ("y", "x")
    np.testing.assert_array_equal(again[...], np.ones((2, 3)))


# --- options --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["zarr", "h5"])
def test_attributes_and_dimension_names(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    packstore.save(path, {"a": COUNTS}, attributes={"title": "t"}, dimension_names={"a": ("y", "x")})
    group = packstore.open(path)
    assert group.attrs["title"] == "t" and group["a"].metadata.dimension_names == ("y", "x")
    one = tmp_path / f"one.{suffix}"
    packstore.save(one, COUNTS, attributes={"unit": "m"}, dimension_names=("y", None))
    array = packstore.open_array(one, "data" if suffix == "h5" else None)
    assert dict(array.attrs) == {"unit": "m"}
    for names, text in ((("y",), "2 names"), ((1, 2), "2 names"), ({"b": ("y", "x")}, "2 names")):
        with pytest.raises(OptionError, match=text):
            packstore.save(tmp_path / f"bad.{suffix}", COUNTS, dimension_names=names)
    with pytest.raises(OptionError, match="one of a, got 'b'"):
        packstore.save(tmp_path / f"bad.{suffix}", {"a": COUNTS}, dimension_names={"b": ("y", "x")})


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("compressor", ["zstd", "blosc", "gzip", None])
def test_compressors_of_zarr_by_name(tmp_path: Path, zarr_format: int, compressor: str | None) -> None:
    level: dict[str, Any] = {} if compressor is None else {"level": 1}
    packstore.save(tmp_path / "x.zarr", COUNTS, compressor=compressor, zarr_format=zarr_format, **level)
    array: Any = zarr.open_array(tmp_path / "x.zarr", mode="r")
    np.testing.assert_array_equal(array[...], COUNTS)
    if compressor is None:
        # What is left is a checksum.
        assert "crc32c" in str(array.compressors).lower() if zarr_format == 3 else array.compressors == ()
    else:
        assert len(array.compressors) == 1 and compressor in str(array.compressors).lower()


def test_unknown_compressors_and_packing_of_what_is_not_bool(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="compressor 'zstd', 'blosc', 'gzip', None or a codec, got 'nope'"):
        packstore.save(tmp_path / "x.zarr", COUNTS, compressor="nope")
    with pytest.raises(OptionError, match="a level that gzip has, got 10"):
        packstore.save(tmp_path / "x.zarr", COUNTS, compressor="gzip", level=10)
    for suffix in ("zarr", "h5"):
        with pytest.raises(DtypeError, match=rf"x\.{suffix}: expected a bool array for pack=True, got int16"):
            packstore.save(tmp_path / f"x.{suffix}", COUNTS, pack=True)
    with pytest.raises(DtypeError, match=r"x\.bits: expected a bool array for \.bits, got dtype int16"):
        packstore.save(tmp_path / "x.bits", COUNTS)
    assert list(tmp_path.iterdir()) == []


def test_bits_are_packed_along_the_last_axis(tmp_path: Path) -> None:
    mask = np.random.default_rng(0).random((5, 13)) < 0.5
    packstore.save(tmp_path / "m.bits", mask)
    assert (tmp_path / "m.bits").read_bytes() == np.packbits(mask, axis=-1).tobytes()
    packstore.save(tmp_path / "first.bits", mask, packed_axis=0)
    assert (tmp_path / "first.bits").read_bytes() == np.packbits(mask, axis=0).tobytes()


# --- adding ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["zarr", "h5", "npz"])
def test_adding_to_what_is_there(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    old = {"g": {"a": COUNTS}, "b": np.arange(5)}
    packstore.save(path, old, mode="a")  # a new one
    before = {p: p.read_bytes() for p in [path, *path.rglob("*")] if p.is_file()}
    with pytest.raises(TargetExistsError, match=r"\[b\]: expected a name that is free, got an array"):
        packstore.save(path, {"b": np.arange(6), "c": np.arange(2)}, mode="a")
    with pytest.raises(OptionError, match="a name for the array"):
        packstore.save(path, np.arange(6), mode="a")
    assert {p: p.read_bytes() for p in [path, *path.rglob("*")] if p.is_file()} == before
    packstore.save(path, {"g": {"c": np.eye(3)}, "d": np.array(["x", "yz"])}, mode="a", attributes={"n": 1})
    packstore.save(path, {"b": np.arange(6)}, mode="a", overwrite=True)
    want = {"g/a": COUNTS, "g/c": np.eye(3), "b": np.arange(6), "d": np.array(["x", "yz"])}
    group = packstore.open_group(path)
    assert set(group.unsupported) == set()
    for name, values in want.items():
        np.testing.assert_array_equal(np.asarray(group[name][...], values.dtype), values)
    assert suffix == "npz" or group.attrs["n"] == 1
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    if suffix == "npz":
        with np.load(path) as archive:
            assert sorted(archive.files) == sorted(want)
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None


@pytest.mark.parametrize("compressed", [True, False])
def test_adding_to_an_archive_of_numpys(tmp_path: Path, compressed: bool) -> None:
    np.savez_compressed(tmp_path / "x.npz", a=COUNTS, b=np.arange(3))
    packstore.save(tmp_path / "x.npz", {"c": np.arange(100_000)}, mode="a", compressed=compressed)
    with np.load(tmp_path / "x.npz") as archive:
        assert archive.files == ["a", "b", "c"]
        np.testing.assert_array_equal(archive["a"], COUNTS)
        np.testing.assert_array_equal(archive["c"], np.arange(100_000))
    np.testing.assert_array_equal(packstore.open_array(tmp_path / "x.npz", "c")[-5:], np.arange(99_995, 100_000))


def test_adding_to_what_cannot_be_added_to(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", COUNTS)
    (tmp_path / "x.npz").write_bytes(b"no archive")
    (tmp_path / "x.h5").write_bytes(b"no file of HDF5")
    zarr.create_array(tmp_path / "x.zarr", data=COUNTS)
    for suffix, error in {"npy": OptionError, "npz": FormatError, "h5": FormatError, "zarr": FormatError}.items():
        path = tmp_path / f"x.{suffix}"
        before = path.stat()
        with pytest.raises(error, match=rf"x\.{suffix}"):
            packstore.save(path, {"a": COUNTS}, mode="a")
        after = path.stat()
        # A failed attempt has read the file, which the file system may note in its access time.
        assert (after.st_ino, after.st_size, after.st_mtime_ns) == (before.st_ino, before.st_size, before.st_mtime_ns)
    with pytest.raises(OptionError, match='mode "w-", "w" or "a", got \'r\\+\''):
        packstore.save(tmp_path / "y.zarr", COUNTS, mode="r+")  # type: ignore[arg-type]


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_adding_to_a_consolidated_store(tmp_path: Path, zarr_format: Any) -> None:
    path = tmp_path / "x.zarr"
    packstore.save(path, {"a": COUNTS}, zarr_format=zarr_format)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(path)
    packstore.save(path, {"g": {"b": np.arange(3)}}, mode="a")
    group: Any = zarr.open_group(path, mode="r", use_consolidated=True)
    assert sorted(n for n, _ in group.members(max_depth=None)) == ["a", "g", "g/b"]
    with pytest.raises(OptionError, match=f"zarr_format {zarr_format}, the store's"):
        packstore.save(path, {"c": COUNTS}, mode="a", zarr_format=5 - zarr_format)


def test_a_failed_addition_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        shape, ndim, dtype = (4,), 1, np.dtype("i4")

        def __getitem__(self, box: Any) -> np.ndarray:
            raise RuntimeError("the source broke")

    for suffix in ("zarr", "h5", "npz"):
        path = tmp_path / f"x.{suffix}"
        packstore.save(path, {"a": COUNTS})
        before = {p: p.read_bytes() for p in [path, *path.rglob("*")] if p.is_file()}
        with pytest.raises(RuntimeError, match="the source broke"):
            packstore.save(path, {"b": Broken(), "a": COUNTS + 1}, mode="a", overwrite=True)
        assert {p: p.read_bytes() for p in [path, *path.rglob("*")] if p.is_file()} == before
    assert {p.name for p in tmp_path.iterdir()} == {"x.zarr", "x.h5", "x.npz"}


# --- chunks ---------------------------------------------------------------------------------------------------------


def test_frames_stay_whole(tmp_path: Path) -> None:
    packstore.save(tmp_path / "x.zarr", np.zeros((3, 1065, 1030), "u2"))
    assert zarr.open_array(tmp_path / "x.zarr", mode="r").chunks == (1, 1065, 1030)
    packstore.save(tmp_path / "x.h5", np.zeros((3, 1065, 1030), "u2"))
    with h5py.File(tmp_path / "x.h5") as file:
        assert file["data"].chunks == (1, 1065, 1030)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_no_chunk_is_a_sliver(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 20_000), min_size=1, max_size=4)))
    elements = data.draw(st.sampled_from([1 << 10, 1 << 17, 1 << 20]))
    frame = elements * data.draw(st.sampled_from([1, 4, 8]))
    chunk = frame_chunks(shape, elements, frame)
    assert all(1 <= c <= n for c, n in zip(chunk, shape, strict=True))
    assert np.prod(chunk, dtype=float) <= max(frame, 2 * elements)
    for c, n in zip(chunk, shape, strict=True):
        last = n % c or c
        # Equal parts, but for what rounding to multiples of 8 and whole lengths takes.
        assert last >= c - 8 * -(-n // c) or last >= c / 2 or c < 64
    if len(shape) > 1 and np.prod(shape[-2:], dtype=float) <= frame:
        assert chunk[-2:] == shape[-2:]


def test_small_chunks_of_the_source_become_fewer_files(tmp_path: Path) -> None:
    data = np.arange(1_000_000, dtype="i4").reshape(1000, 1000)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=data, chunks=(10, 10))
    packstore.save(tmp_path / "b.zarr", packstore.open(tmp_path / "a.h5"))
    array: Any = zarr.open_array(tmp_path / "b.zarr", path="x", mode="r")
    assert all(c % 10 == 0 for c in array.chunks) and array.nchunks <= 8
    np.testing.assert_array_equal(array[...], data)


# --- any tree -------------------------------------------------------------------------------------------------------

NAMES = st.text("abcé_0", min_size=1, max_size=4)
VALUES = st.one_of(st.integers(-(2**40), 2**40), st.floats(allow_nan=False), st.text("aé ", max_size=5), st.booleans())
ATTRIBUTES = st.dictionaries(NAMES, st.one_of(VALUES, st.lists(st.integers(0, 9), min_size=1, max_size=3)), max_size=2)


@st.composite
def arrays(draw: st.DrawFn) -> np.ndarray:
    shape = tuple(draw(st.lists(st.integers(0, 4), max_size=3)))
    dtype = draw(st.sampled_from(["?", "i1", "u2", "i4", "f4", "f8", "c8", "S3", "text"]))
    values = np.random.default_rng(draw(st.integers(0, 9))).integers(0, 100, shape)
    return values.astype(str).astype(object) if dtype == "text" else values.astype(dtype)


TREES = st.recursive(
    st.dictionaries(NAMES, arrays(), max_size=3),
    lambda inner: st.dictionaries(NAMES, st.one_of(inner, arrays()), max_size=3),
    max_leaves=6,
)


def flat(tree: dict[str, Any], path: str = "") -> dict[str, Any]:
    """Arrays and (as None) groups by path."""
    out: dict[str, Any] = {}
    for name, value in tree.items():
        out |= (
            {f"{path}{name}": None} | flat(value, f"{path}{name}/")
            if isinstance(value, dict)
            else {f"{path}{name}": value}
        )
    return out


@pytest.mark.long
@given(TREES, ATTRIBUTES)
@settings(max_examples=40, deadline=None)
def test_any_tree_through_every_format(tree: dict[str, Any], attributes: dict[str, Any]) -> None:
    want = flat(tree)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        packstore.save(folder / "1.zarr", tree, attributes=attributes)
        for one, other in (("1.zarr", "2.h5"), ("2.h5", "3.zarr"), ("3.zarr", "4.npz")):
            packstore.save(folder / other, packstore.open(folder / one))
        read: dict[str, Any] = {n: zarr.open_group(folder / n, mode="r") for n in ("1.zarr", "3.zarr")}
        for group in read.values():
            assert {n for n, _ in group.members(max_depth=None)} == set(want)
            assert dict(group.attrs) == attributes
            for path, values in want.items():
                if values is not None:
                    same(group[path][...], values)
        with h5py.File(folder / "2.h5") as file:
            for path, values in want.items():
                assert isinstance(file[path], h5py.Group) if values is None else file[path].shape == values.shape
        with np.load(folder / "4.npz") as archive:
            assert set(archive.files) == {n for n, v in want.items() if v is not None}
            for path in archive.files:
                same(archive[path], want[path])


def same(got: Any, want: np.ndarray) -> None:
    if want.dtype == object:
        assert np.asarray(got).ravel().tolist() == want.ravel().tolist()
        return
    np.testing.assert_array_equal(np.asarray(got), want)
    # A text of no axes is a scalar of its own length.
    assert np.asarray(got).dtype == want.dtype or (not want.shape and want.dtype.kind == "S")
