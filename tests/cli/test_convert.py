"""``packstore convert``: values by the reference readers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest
import zarr

import packstore

if TYPE_CHECKING:
    from tests.cli.conftest import Cli, Fails

RNG = np.random.default_rng(0)
MASK = RNG.random((20, 30, 41)) < 0.2
FLOATS = RNG.normal(size=(50, 60)).astype(np.float32)


def read_back(path: Path, name: str | None = None) -> npt.NDArray[Any]:
    """What the format's own library reads."""
    suffix = path.suffix
    if suffix == ".npy":
        return np.asarray(np.load(path))
    if suffix == ".npz":
        with np.load(path) as archive:
            return np.asarray(archive[name or archive.files[0]])
    if suffix == ".h5":
        with h5py.File(path, "r") as file:
            return np.asarray(file[name or next(iter(file))][()])
    opened = zarr.open(str(path), mode="r")
    if isinstance(opened, zarr.Group):
        opened = zarr.open_array(str(path), path=name or next(opened.array_keys()), mode="r")
    return np.asarray(opened[...])


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5", ".zarr"])
@pytest.mark.parametrize("source", ["npy", "npz", "zarr2", "zarr3", "hdf5", "text"])
def test_any_to_any(cli: Cli, tmp_path: Path, source: str, suffix: str) -> None:
    path = tmp_path / ("a.txt" if source == "text" else f"a.{source}")
    if source == "npy":
        np.save(tmp_path / "a.npy", FLOATS)
    elif source == "npz":
        with path.open("wb") as file:
            np.savez_compressed(file, x=FLOATS)
    elif source.startswith("zarr"):
        zarr.create_array(str(path), data=FLOATS, chunks=(7, 60), zarr_format=2 if source == "zarr2" else 3)
    elif source == "hdf5":
        with h5py.File(path, "w") as file:
            file.create_dataset("x", data=FLOATS, chunks=(7, 9), compression="gzip")
    else:
        np.savetxt(path, FLOATS)
    target = tmp_path / f"target{suffix}"
    result = cli("convert", path, target, "--json")
    assert result.code == 0, result
    got = read_back(target)
    np.testing.assert_array_equal(got.astype(np.float32), FLOATS)
    assert got.dtype == (np.float64 if source == "text" else np.float32)
    assert result.json["stored_nbytes"] == sum(
        f.stat().st_size for f in ([target] if target.is_file() else target.rglob("*")) if f.is_file()
    )
    assert cli("verify", path, target).code == 0


def test_all_arrays_keep_names_shapes_and_attributes(cli: Cli, tmp_path: Path) -> None:
    source = tmp_path / "a.h5"
    with h5py.File(source, "w") as file:
        file["entry/mask"], file["entry/f"], file["n"] = MASK, FLOATS, np.int64(7)
        file["entry/f"].attrs["unit"] = "nm"
    result = cli("convert", source, tmp_path / "a.zarr", "--json")
    assert sorted(result.json["arrays"]) == ["entry/f", "entry/mask", "n"] and result.json["notes"] == []
    for name, want in {"entry/mask": MASK, "entry/f": FLOATS, "n": np.int64(7)}.items():
        np.testing.assert_array_equal(read_back(tmp_path / "a.zarr", name), want)
    assert dict(zarr.open_array(str(tmp_path / "a.zarr"), path="entry/f", mode="r").attrs) == {"unit": "nm"}
    assert cli("convert", tmp_path / "a.zarr", tmp_path / "b.h5").code == 0
    with h5py.File(tmp_path / "b.h5") as file:
        assert file["entry/f"].attrs["unit"] == "nm"
        np.testing.assert_array_equal(file["entry/mask"][()], MASK)
    npz = cli("convert", tmp_path / "b.h5", tmp_path / "c.npz", "--json").json
    assert "attributes are left behind" in npz["notes"][0]
    np.testing.assert_array_equal(read_back(tmp_path / "c.npz", "entry/f"), FLOATS)
    assert cli("verify", source, tmp_path / "c.npz").code == 0


def test_components(cli: Cli, fails: Fails, tmp_path: Path) -> None:
    source = tmp_path / "a.npz"
    arrays: dict[str, Any] = {"g/a": FLOATS, "g/b": MASK, "c": np.arange(3)}
    np.savez(source, **arrays)
    assert cli("convert", source, tmp_path / "one.zarr", "-c", "g/b").code == 0
    np.testing.assert_array_equal(read_back(tmp_path / "one.zarr"), MASK)
    assert cli("convert", source, tmp_path / "one.h5", "-c", "g/b").code == 0
    np.testing.assert_array_equal(read_back(tmp_path / "one.h5", "g/b"), MASK)
    assert cli("convert", source, tmp_path / "g.npz", "-c", "g").code == 0
    with np.load(tmp_path / "g.npz") as archive:
        assert sorted(archive.files) == ["g/a", "g/b"]
    assert cli("convert", source, tmp_path / "two.npz", "-c", "c", "-c", "g/a").code == 0
    with np.load(tmp_path / "two.npz") as archive:
        assert sorted(archive.files) == ["c", "g/a"]
    assert "no array of that name" in fails("convert", source, tmp_path / "x.npz", "-c", "nope")
    assert "--component" in fails("convert", source, tmp_path / "x.npy")
    assert sorted(os.listdir(tmp_path)) == ["a.npz", "g.npz", "one.h5", "one.zarr", "two.npz"]


def test_pack(cli: Cli, fails: Fails, tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", MASK)
    np.save(tmp_path / "f.npy", FLOATS)
    result = cli("convert", tmp_path / "m.npy", tmp_path / "m.bits", "--json")
    np.testing.assert_array_equal(np.fromfile(tmp_path / "m.bits", np.uint8), np.packbits(MASK, axis=-1).reshape(-1))
    assert result.json["read_with"] == {"format": "raw", "shape": [20, 30, 41], "packed_axis": 2}
    assert (
        "--format raw --shape 20,30,41 --packed-axis 2"
        in cli("convert", tmp_path / "m.npy", tmp_path / "m.bits", "--overwrite").out
    )
    assert cli("convert", tmp_path / "m.npy", tmp_path / "m.raw").code == 0
    np.testing.assert_array_equal(np.fromfile(tmp_path / "m.raw", bool).reshape(MASK.shape), MASK)

    assert cli("convert", tmp_path / "m.npy", tmp_path / "p.zarr").code == 0
    assert cli("convert", tmp_path / "m.npy", tmp_path / "u.zarr", "--no-pack").code == 0
    codecs = [cli("info", tmp_path / f"{n}.zarr", "--json").json["arrays"][""]["filters"][0] for n in "pu"]
    assert codecs == ["packbits", "bytes"]
    for name in ("p.zarr", "u.zarr"):
        np.testing.assert_array_equal(read_back(tmp_path / name), MASK)

    assert cli("convert", tmp_path / "m.npy", tmp_path / "plain.h5").code == 0
    assert cli("convert", tmp_path / "m.npy", tmp_path / "packed.h5", "--pack").code == 0
    assert read_back(tmp_path / "plain.h5").dtype == bool
    np.testing.assert_array_equal(read_back(tmp_path / "packed.h5").astype(bool), MASK)
    assert "nbit" in cli("info", tmp_path / "packed.h5", "--json").json["arrays"]["data"]["filters"]

    assert "bool array" in fails("convert", tmp_path / "f.npy", tmp_path / "f.zarr", "--pack")
    assert "bool array" in fails("convert", tmp_path / "f.npy", tmp_path / "f.bits")
    assert "--pack" in fails("convert", tmp_path / "m.npy", tmp_path / "m.npz", "--pack")


@pytest.mark.parametrize("suffix", [".zarr", ".h5"])
def test_chunks(cli: Cli, fails: Fails, tmp_path: Path, suffix: str) -> None:
    np.savez(tmp_path / "a.npz", f=FLOATS, m=MASK)
    target = tmp_path / f"a{suffix}"
    assert cli("convert", tmp_path / "a.npz", target, "--chunks", "7,-1").code == 0
    chunks = {n: a["chunks"] for n, a in cli("info", target, "--json").json["arrays"].items()}
    assert chunks["f"] == [7, 60] and len(chunks["m"]) == 3
    np.testing.assert_array_equal(read_back(target, "f"), FLOATS)
    for bad in ("7", "7,0", "7,-2", "a,b", "7,,7"):
        fails("convert", tmp_path / "a.npz", tmp_path / f"b{suffix}", "--chunks", bad)
    assert "no --chunks" in fails("convert", tmp_path / "a.npz", tmp_path / "b.npz", "--chunks", "7,7")
    assert sorted(os.listdir(tmp_path)) == sorted(["a.npz", target.name])


def test_existing_targets_stay(cli: Cli, fails: Fails, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", FLOATS)
    np.save(tmp_path / "b.npy", MASK)
    before = (tmp_path / "b.npy").read_bytes()
    assert "Pass --overwrite" in fails("convert", tmp_path / "a.npy", tmp_path / "b.npy")
    assert (tmp_path / "b.npy").read_bytes() == before
    assert cli("convert", tmp_path / "a.npy", tmp_path / "b.npy", "--overwrite").code == 0
    assert (tmp_path / "b.npy").read_bytes() == (tmp_path / "a.npy").read_bytes()
    # Onto itself: read whole before it is replaced.
    assert cli("convert", tmp_path / "a.npy", tmp_path / "a.npy", "--overwrite").code == 0
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), FLOATS)


def test_unsupported_is_refused_or_left_out(cli: Cli, fails: Fails, tmp_path: Path) -> None:
    source = tmp_path / "a.h5"
    with h5py.File(source, "w") as file:
        file["f"] = FLOATS
        file["refs"] = np.array([file["f"].ref], h5py.ref_dtype)
        file["lists"] = np.array([np.arange(2), np.arange(3)], h5py.vlen_dtype("i4"))
    text = fails("convert", source, tmp_path / "a.zarr")
    assert "--skip-unsupported" in text and ("refs" in text or "lists" in text)
    assert not (tmp_path / "a.zarr").exists()
    result = cli("convert", source, tmp_path / "a.zarr", "--skip-unsupported", "--json")
    assert result.code == 0 and result.json["arrays"] == ["f"]
    notes = " ".join(result.json["notes"])
    assert "[refs] is left out" in notes and "[lists] is left out" in notes
    assert cli("convert", source, tmp_path / "f.npy", "-c", "f").code == 0
    assert "none that can be written" in fails(
        "convert", source, tmp_path / "r.npz", "-c", "refs", "--skip-unsupported"
    )


@pytest.mark.parametrize(
    "value",
    [
        np.float64(3.5),
        np.zeros((0, 3), "i2"),
        np.array([("a", 1.0)], [("s", "U3"), ("x", ">f8")]),
        np.array(["é", "b"]),
    ],
    ids=["0-d", "empty", "struct", "text"],
)
@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5", ".zarr"])
def test_corner_arrays(cli: Cli, tmp_path: Path, value: npt.NDArray[Any], suffix: str) -> None:
    np.save(tmp_path / "a.npy", value)
    result = cli("convert", tmp_path / "a.npy", tmp_path / f"b{suffix}")
    if result.code:
        # Loud is as good, in one line, and without debris.
        assert result.code == 2 and result.err.count("\n") == 1
        assert os.listdir(tmp_path) == ["a.npy"]
        return
    assert cli("verify", tmp_path / "a.npy", tmp_path / f"b{suffix}").code == 0
    got = packstore.from_file(tmp_path / f"b{suffix}").compute()
    if got.dtype == object:
        # HDF5 holds text as UTF-8 of any length; h5py gives bytes.
        got = np.array([x.decode() for x in got])
    np.testing.assert_array_equal(got, value)


def test_bad_targets(fails: Fails, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", FLOATS)
    assert "Pass --to" in fails("convert", tmp_path / "a.npy", tmp_path / "a.xyz")
    assert "existing folder" in fails("convert", tmp_path / "a.npy", tmp_path / "no" / "a.npz")
    assert "DST" in fails("convert", tmp_path / "a.npy")


def test_to_names_the_format(cli: Cli, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", FLOATS)
    assert cli("convert", tmp_path / "a.npy", tmp_path / "a.data", "--to", "npy").code == 0
    np.testing.assert_array_equal(np.load(tmp_path / "a.data"), FLOATS)


def test_progress_twice_in_one_process(tmp_path: Path) -> None:
    for name in "ab":
        packstore.save(tmp_path / f"{name}.npy", FLOATS, progress=True)
        np.testing.assert_array_equal(np.load(tmp_path / f"{name}.npy"), FLOATS)


def test_a_dimension_without_a_variable_needs_no_option(cli: Cli, tmp_path: Path) -> None:
    source = tmp_path / "a.nc"
    with h5py.File(source, "w") as file:
        file["x"] = np.zeros(len(FLOATS), ">f4")
        file["x"].make_scale("This is a netCDF dimension but not a netCDF variable.         3")
        file["f"] = FLOATS
        file["f"].dims[0].attach_scale(file["x"])
    result = cli("convert", source, tmp_path / "a.zarr", "--json")
    assert result.code == 0 and result.json["arrays"] == ["f"]
    assert "[x] is left out: a NetCDF dimension without a variable" in " ".join(result.json["notes"])
    assert cli("verify", source, tmp_path / "a.zarr").code == 0
