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
from zarr.codecs import Crc32cCodec

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
    assert sorted(result.json["arrays"]) == ["entry/f", "entry/mask", "n"] and result.json["lost"] == []
    for name, want in {"entry/mask": MASK, "entry/f": FLOATS, "n": np.int64(7)}.items():
        np.testing.assert_array_equal(read_back(tmp_path / "a.zarr", name), want)
    assert dict(zarr.open_array(str(tmp_path / "a.zarr"), path="entry/f", mode="r").attrs) == {"unit": "nm"}
    assert cli("convert", tmp_path / "a.zarr", tmp_path / "b.h5").code == 0
    with h5py.File(tmp_path / "b.h5") as file:
        assert file["entry/f"].attrs["unit"] == "nm"
        np.testing.assert_array_equal(file["entry/mask"][()], MASK)
    npz = cli("convert", tmp_path / "b.h5", tmp_path / "c.npz", "--json").json
    assert "[entry/f] attributes (unit)" in npz["lost"]
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
    assert sorted(line.split("]")[0] for line in result.json["lost"]) == ["[lists", "[refs"]
    text = cli("convert", source, tmp_path / "a.zarr", "--skip-unsupported", "--overwrite").out
    assert "\nnot kept: [refs] " in text and "\nnot kept: [lists] " in text
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
    elif got.dtype.hasobject:
        got = np.array([(s.decode(), x) for s, x in got], value.dtype)
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


# --- several sources --------------------------------------------------------------------------------------------------


def three(tmp_path: Path) -> list[Path]:
    """An array, a tree, and an array in HDF5."""
    np.save(tmp_path / "a.npy", FLOATS)
    arrays: dict[str, Any] = {"g/x": np.arange(3), "y": np.arange(4)}
    np.savez(tmp_path / "b.npz", **arrays)
    zarr.create_array(tmp_path / "c.zarr", data=MASK, attributes={"unit": "nm"})
    return [tmp_path / name for name in ("a.npy", "b.npz", "c.zarr")]


@pytest.mark.parametrize("suffix", [".zarr", ".h5", ".npz"])
def test_several_into_one(cli: Cli, tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"all{suffix}"
    result = cli("convert", *three(tmp_path), target, "--json")
    assert result.code == 0 and sorted(result.json["arrays"]) == ["a", "b/g/x", "b/y", "c"], result
    for name, want in {"a": FLOATS, "b/g/x": np.arange(3), "b/y": np.arange(4), "c": MASK}.items():
        np.testing.assert_array_equal(read_back(target, name), want)
    assert result.json["source"] == [str(tmp_path / name) for name in ("a.npy", "b.npz", "c.zarr")]


def test_a_pattern_that_matches_one_file_names_it_too(cli: Cli, fails: Fails, tmp_path: Path) -> None:
    three(tmp_path)
    assert cli("convert", tmp_path / "*.npy", tmp_path / "all.npz", "--json").json["arrays"] == ["a"]
    assert "no match" in fails("convert", tmp_path / "*.txt", tmp_path / "t.npz")
    np.save(tmp_path / "c.npy", FLOATS)
    assert "names that differ" in fails("convert", tmp_path / "c.npy", tmp_path / "c.zarr", tmp_path / "d.npz")
    assert "into a folder" in fails("convert", tmp_path / "a.npy", tmp_path / "c.npy", tmp_path / "d.npy")
    assert sorted(os.listdir(tmp_path)) == ["a.npy", "all.npz", "b.npz", "c.npy", "c.zarr"]


@pytest.mark.parametrize(("to", "suffix"), [("zarr", ".zarr"), ("hdf5", ".h5"), ("npz", ".npz")])
@pytest.mark.parametrize("exists", [False, True])
def test_several_into_a_folder(cli: Cli, tmp_path: Path, to: str, suffix: str, exists: bool) -> None:
    folder = tmp_path / "new" / "out"
    if exists:
        folder.mkdir(parents=True)
    target = folder if exists else f"{folder}/"
    sources = three(tmp_path)
    result = cli("convert", *sources, target, "--to", to, "--json")
    assert result.code == 0, result
    assert sorted(os.listdir(folder)) == sorted(f"{n}{suffix}" for n in "abc")
    assert [f["arrays"] for f in result.json["files"]][1] == ["g/x", "y"]
    np.testing.assert_array_equal(read_back(folder / f"a{suffix}"), FLOATS)
    np.testing.assert_array_equal(read_back(folder / f"b{suffix}", "g/x"), np.arange(3))
    np.testing.assert_array_equal(read_back(folder / f"c{suffix}"), MASK)
    assert cli("verify", *sources, folder, "--values-only").code == 0


def test_one_into_a_folder(cli: Cli, fails: Fails, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    np.save(tmp_path / "a.b.npy", FLOATS)
    assert "--to FORMAT" in fails("convert", tmp_path / "a.b.npy", tmp_path / "out")
    assert cli("convert", tmp_path / "a.b.npy", tmp_path / "out", "--to", "npz").code == 0
    assert os.listdir(tmp_path / "out") == ["a.b.npz"]
    # A zarr store is a file as any other, with a slash or without.
    assert cli("convert", tmp_path / "a.b.npy", f"{tmp_path}/x.zarr/").code == 0
    np.testing.assert_array_equal(read_back(tmp_path / "x.zarr"), FLOATS)
    assert "--overwrite" in fails("convert", tmp_path / "a.b.npy", tmp_path / "x.zarr")


def test_a_bad_source_of_a_folder_hides_no_good_one(cli: Cli, tmp_path: Path) -> None:
    (a, _, c), out = three(tmp_path), tmp_path / "out"
    (tmp_path / "b.npz").write_bytes(b"PK\x03\x04 and no more")
    result = cli("convert", a, tmp_path / "b.npz", c, f"{out}/", "--to", "npz", "--json")
    assert result.code == 2 and result.err.count("\n") == 1 and "b.npz" in result.err
    assert [set(f) == {"path", "error", "message"} for f in result.json["files"]] == [False, True, False]
    assert sorted(os.listdir(out)) == ["a.npz", "c.npz"]


# --- options of formats -----------------------------------------------------------------------------------------------


def test_zarr_options(cli: Cli, fails: Fails, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", f=FLOATS, m=MASK)
    target = tmp_path / "s.zarr"
    assert cli("convert", tmp_path / "a.npz", target, "--chunks", "10,20", "--shards", "20,60").code == 0
    array = zarr.open_array(target, path="f", mode="r")
    assert array.chunks == (10, 20) and array.shards == (20, 60)
    np.testing.assert_array_equal(read_back(target, "f"), FLOATS)
    assert cli("convert", tmp_path / "a.npz", tmp_path / "v2.zarr", "--zarr-format", 2).code == 0
    group = zarr.open_group(tmp_path / "v2.zarr", mode="r")
    assert group.metadata.zarr_format == 2
    np.testing.assert_array_equal(read_back(tmp_path / "v2.zarr", "m"), MASK)
    assert cli("convert", tmp_path / "a.npz", tmp_path / "n.zarr", "--compressor", "none").code == 0
    assert zarr.open_array(tmp_path / "n.zarr", path="f", mode="r").compressors == (Crc32cCodec(),)
    assert "2 or 3" in fails("convert", tmp_path / "a.npz", tmp_path / "x.zarr", "--zarr-format", 4)
    assert "no --zarr-format for" in fails("convert", tmp_path / "a.npz", tmp_path / "x.npz", "--zarr-format", 2)
    assert "no --shards" in fails("convert", tmp_path / "a.npz", tmp_path / "x.npz", "--shards", "20,60")
    assert not (tmp_path / "x.zarr").exists() and not (tmp_path / "x.npz").exists()


@pytest.mark.parametrize("suffix", ["h5", "npz", "zarr"])
def test_append(cli: Cli, fails: Fails, tmp_path: Path, suffix: str) -> None:
    a, b, c = three(tmp_path)
    target = tmp_path / f"all.{suffix}"
    for source in (a, b, c):
        assert cli("convert", source, target, "--append").code == 0
    for name, want in {"a": FLOATS, "g/x": np.arange(3), "y": np.arange(4), "c": MASK}.items():
        np.testing.assert_array_equal(read_back(target, name), want)
    before = {p: p.read_bytes() for p in [target, *target.rglob("*")] if p.is_file()}
    assert "--overwrite" in fails("convert", a, target, "--append")
    assert {p: p.read_bytes() for p in [target, *target.rglob("*")] if p.is_file()} == before
    np.save(a, FLOATS + 1)
    assert cli("convert", a, target, "--append", "--overwrite").code == 0
    np.testing.assert_array_equal(read_back(target, "a"), FLOATS + 1)
    np.testing.assert_array_equal(read_back(target, "c"), MASK)
    np.save(tmp_path / "old.npy", FLOATS)
    text = fails("convert", a, tmp_path / "old.npy", "--append")
    assert "can be added to" in text
    np.testing.assert_array_equal(np.load(tmp_path / "old.npy"), FLOATS)


def tree(path: Path) -> Path:
    """A zarr group with all that convert keeps."""
    root = zarr.open_group(path, mode="w", attributes={"title": "root", "nested": {"a": [1]}})
    x = root.create_array(
        "g/temperature",
        shape=(4, 5),
        chunks=(2, 5),
        dtype="f4",
        fill_value=-9999,
        dimension_names=["time", "y"],
        attributes={"unit": "K", "nan": np.nan},
    )
    x[:2] = np.arange(10).reshape(2, 5)
    root.create_array("g/time", data=np.arange(4), dimension_names=["time"], fill_value=0)
    root.create_array("g/y", data=np.arange(5.0), dimension_names=["y"], fill_value=0)
    root["g"].attrs["n"] = 3
    root.create_group("empty")
    return path


@pytest.mark.parametrize("suffix", [".zarr", ".h5"])
def test_everything_that_the_target_holds_is_kept(cli: Cli, tmp_path: Path, suffix: str) -> None:
    source, target = tree(tmp_path / "a.zarr"), tmp_path / f"b{suffix}"
    result = cli("convert", source, target, "--json")
    assert result.code == 0 and all("JSON text" in line for line in result.json["lost"])
    checked = cli("verify", source, target, "--json")
    assert checked.code == 0 and checked.json["notes"] == [], checked
    # And back: what was kept as JSON text is text there.
    assert cli("convert", target, tmp_path / "c.zarr").code == 0
    assert cli("verify", source, tmp_path / "c.zarr").code == 0
    group = zarr.open_group(tmp_path / "c.zarr", mode="r")
    x = group["g/temperature"]
    assert isinstance(x, zarr.Array)
    assert x.metadata.dimension_names == ("time", "y") and x.fill_value == -9999  # type: ignore[union-attr]
    assert x.attrs["unit"] == "K" and group["g"].attrs["n"] == 3 and "empty" in group
    np.testing.assert_array_equal(x[:2], np.arange(10).reshape(2, 5))
    assert (np.asarray(x[2:]) == -9999).all()


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_text_of_any_length(cli: Cli, fails: Fails, tmp_path: Path, zarr_format: int) -> None:
    texts = ["", "a", "h\u00e9llo w\u00f6rld", "x" * 300] * 5
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("s", data=np.array(texts, object).reshape(4, 5), chunks=(3, 2), compression="gzip")
        file["one"] = "scalar"
    target = tmp_path / "b.zarr"
    assert cli("convert", tmp_path / "a.h5", target, "--zarr-format", zarr_format).code == 0
    assert read_back(target, "s").ravel().tolist() == texts and read_back(target, "one")[()] == "scalar"
    assert cli("verify", tmp_path / "a.h5", target).code == 0
    assert cli("convert", target, tmp_path / "c.h5").code == 0
    with h5py.File(tmp_path / "c.h5") as file:
        assert file["s"].asstr()[()].ravel().tolist() == texts
    assert cli("convert", target, tmp_path / "d.zarr").code == 0
    assert read_back(tmp_path / "d.zarr", "s").ravel().tolist() == texts
    npz = cli("convert", tmp_path / "a.h5", tmp_path / "a.npz")
    assert "\nnot kept: [one] text of any length is text of fixed length (<U6)\n" in npz.out
    with np.load(tmp_path / "a.npz") as archive:
        assert archive["s"].ravel().tolist() == texts and archive["one"] == "scalar"
    with h5py.File(tmp_path / "bad.h5", "w") as file:
        file.create_dataset("s", data=[b"a", b"caf\xe9"], dtype=h5py.string_dtype())
    assert "[s]: expected text in UTF-8" in fails("convert", tmp_path / "bad.h5", tmp_path / "bad.zarr")
    assert not (tmp_path / "bad.zarr").exists()


def test_what_npz_cannot_hold_is_listed(cli: Cli, tmp_path: Path) -> None:
    source = tree(tmp_path / "a.zarr")
    lost = cli("convert", source, tmp_path / "a.npz", "--json").json["lost"]
    assert set(lost) == {
        "attributes (title, nested)",
        "[g] attributes (n)",
        "[g/temperature] attributes (unit, nan)",
        "[g/temperature] dimension names (time, y)",
        "[g/temperature] fill value -9999.0",
        "[g/time] dimension names (time)",
        "[g/y] dimension names (y)",
        "[empty] group without arrays",
    }
    text = cli("convert", source, tmp_path / "a.npz", "--overwrite").out
    assert text.count("\nnot kept: ") == len(lost) and "\nnot kept: [g] attributes (n)\n" in text
    assert cli("verify", source, tmp_path / "a.npz").code == 0


def test_zarr_2_keeps_dimension_names_for_xarray(cli: Cli, tmp_path: Path) -> None:
    source = tree(tmp_path / "a.zarr")
    assert cli("convert", source, tmp_path / "b.zarr", "--zarr-format", 2).code == 0
    x = zarr.open_array(tmp_path / "b.zarr", path="g/temperature", mode="r")
    assert x.attrs["_ARRAY_DIMENSIONS"] == ["time", "y"] and x.fill_value == -9999
    assert cli("verify", source, tmp_path / "b.zarr").code == 0


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
    # Its name is that of the axis, so nothing is lost.
    assert result.json["lost"] == []
    kept: Any = zarr.open_array(tmp_path / "a.zarr", path="f", mode="r")
    assert kept.metadata.dimension_names[0] == "x"
    assert cli("verify", source, tmp_path / "a.zarr").code == 0


@pytest.mark.parametrize("name", ["m.zarr", "m.npz"])
def test_a_target_behind_a_url(cli: Cli, fails: Fails, tmp_path: Path, name: str) -> None:
    np.save(tmp_path / "a.npy", MASK)
    url = f"memory://{tmp_path.name}/{name}"
    done = cli("convert", tmp_path / "a.npy", url, "--json")
    assert (done.code, done.json["target"], done.json["stored_nbytes"]) == (0, url, None)
    (found,) = packstore.open_group(url).values() if name == "m.npz" else [packstore.open_array(url)]
    np.testing.assert_array_equal(found[...], MASK)
    assert "existing" in fails("convert", tmp_path / "a.npy", url)
    assert cli("convert", tmp_path / "a.npy", url, "--overwrite").code == 0
