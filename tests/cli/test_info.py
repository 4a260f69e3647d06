"""``packstore info``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import h5py
import numcodecs
import numpy as np
import numpy.typing as npt
import pytest
import zarr.codecs

import packstore
from packstore.readers.location import Location

if TYPE_CHECKING:
    from tests.cli.conftest import Cli, Fails


def test_npy(cli: Cli, tmp_path: Path) -> None:
    a = np.arange(24, dtype="<i2").reshape(2, 3, 4)
    np.save(tmp_path / "a.npy", a)
    found = cli("info", tmp_path / "a.npy", "--json").json
    assert found["format"] == "npy" and found["nbytes"] == (tmp_path / "a.npy").stat().st_size
    array = found["arrays"][""]
    assert (array["shape"], array["dtype"], array["nbytes"]) == ([2, 3, 4], "int16", 48)
    assert (array["stored_nbytes"], array["ratio"], array["filters"]) == (48, 1.0, [])
    text = cli("info", tmp_path / "a.npy")
    assert text.code == 0 and "(2, 3, 4) int16, contiguous, 48 B, ratio 1" in text.out


def test_hdf5_tree(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    data = np.arange(10000.0).reshape(100, 100)
    with h5py.File(path, "w") as file:
        ds = file.create_dataset("entry/g", data=data, chunks=(10, 10), compression="gzip", shuffle=True)
        ds.attrs.update(unit="px", bad=np.nan)
        stored = ds.id.get_storage_size()
        file["entry"].attrs["title"] = "t"
        file.create_dataset("sparse", (100, 100), "f4", chunks=(50, 50))[:50, :50] = 1
        file.create_group("empty")
        file["refs"] = np.array([file["entry"].ref], h5py.ref_dtype)
    result = cli("info", path, "--json")
    found = result.json
    g = found["arrays"]["entry/g"]
    assert g["chunks"] == [10, 10] and g["filters"] == ["shuffle", "deflate"]
    assert g["stored_nbytes"] == stored and g["ratio"] == round(80000 / stored, 3)
    assert g["attributes"] == {"unit": "px", "bad": "NaN"}
    sparse = found["arrays"]["sparse"]
    assert (sparse["chunk_count"], sparse["missing_chunks"], sparse["stored_nbytes"]) == (4, 3, 10000)
    assert found["groups"]["entry"] == {"title": "t"} and found["groups"]["empty"] == {}
    assert list(found["unsupported"]) == ["refs"] and "reference" in found["unsupported"]["refs"]
    text = cli("info", path)
    assert "shuffle + deflate" in text.out and "3 of 4 chunks never written" in text.out and "empty/" in text.out
    assert "refs not supported: " in text.out and "entry/ 1 attribute" in text.out


def test_component_may_be_a_group_or_refused(cli: Cli, fails: Fails, tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["g/a"], file["g/b"], file["gx"] = np.arange(3), np.arange(4), np.arange(5)
        file["refs"] = np.array([file["g"].ref], h5py.ref_dtype)
        file["link"] = h5py.SoftLink("/g/a")
    assert list(cli("info", path, "-c", "g", "--json").json["arrays"]) == ["g/a", "g/b"]
    assert list(cli("info", path, "-c", "/g/b", "--json").json["arrays"]) == ["g/b"]
    assert list(cli("info", path, "-c", "refs", "--json").json["unsupported"]) == ["refs"]
    assert cli("info", path, "-c", "link", "--json").json["arrays"]
    assert "nearest name is 'g/a'" in fails("info", path, "-c", "g/aa")


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_zarr_codecs_and_sizes(cli: Cli, tmp_path: Path, zarr_format: Literal[2, 3]) -> None:
    path = tmp_path / "a.zarr"
    a = np.tile(np.arange(64, dtype=np.int32), (64, 1))
    compressor = numcodecs.Zstd() if zarr_format == 2 else zarr.codecs.ZstdCodec()
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    group.create_array("x/y", data=a, chunks=(16, 16), compressors=compressor, attributes={"k": [1, 2]})
    array = cli("info", path, "--json").json["arrays"]["x/y"]
    folder = path / "x" / "y"
    metadata = ("zarr.json", ".zarray", ".zattrs")
    stored = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file() and f.name not in metadata)
    assert array["filters"] == (["zstd"] if zarr_format == 2 else ["bytes", "zstd"])
    assert array["stored_nbytes"] == stored and array["ratio"] == round(a.nbytes / stored, 3)
    assert array["chunks"] == [16, 16] and array["attributes"] == {"k": [1, 2]}


def test_zarr_packed_and_sharded(cli: Cli, tmp_path: Path) -> None:
    mask = np.eye(64, dtype=bool)
    packstore.save(tmp_path / "m.zarr", mask)
    packstore.save(tmp_path / "s.zarr", mask, chunks=(8, 8), shards=(32, 32))
    assert cli("info", tmp_path / "m.zarr", "--json").json["arrays"][""]["filters"] == ["packbits", "zstd"]
    sharded = cli("info", tmp_path / "s.zarr", "--json").json["arrays"][""]
    assert sharded["filters"] == ["sharding_indexed[packbits + zstd]"]
    assert (sharded["chunks"], sharded["shards"]) == ([8, 8], [32, 32])
    assert "chunks (8, 8) in shards (32, 32)" in cli("info", tmp_path / "s.zarr").out


def test_npz_members(cli: Cli, tmp_path: Path) -> None:
    a = np.zeros((100, 100))
    np.savez_compressed(tmp_path / "c.npz", x=a)
    x = cli("info", tmp_path / "c.npz", "--json").json["arrays"]["x"]
    assert (
        x["filters"] == ["deflate"] and x["stored_nbytes"] < 1000 and x["ratio"] == round(80000 / x["stored_nbytes"], 3)
    )
    np.savez(tmp_path / "o.npz", x=a, bad=np.array([None]))
    found = cli("info", tmp_path / "o.npz", "--json").json
    assert found["arrays"]["x"]["ratio"] == 1.0 and list(found["unsupported"]) == ["bad"]


def test_raw_and_packed_options(cli: Cli, fails: Fails, tmp_path: Path) -> None:
    mask = np.eye(10, 33, dtype=bool)
    np.packbits(mask, axis=-1).tofile(tmp_path / "m.bits")
    found = cli("info", tmp_path / "m.bits", "--format", "raw", "--shape", "10x33", "--packed-axis", 1, "--json").json
    array = found["arrays"][""]
    assert array["shape"] == [10, 33] and array["dtype"] == "bool" and array["stored_nbytes"] == 50
    assert array["filters"] == ["packed bits (axis 1, big)"]
    assert "--format raw" in fails("info", tmp_path / "m.bits")
    assert "ints joined by commas" in fails("info", tmp_path / "m.bits", "--format", "raw", "--shape", "10,a")
    assert "--packed-axis" in fails("info", tmp_path / "m.bits", "--format", "raw", "--packed-axis", "last")
    (tmp_path / "frames.raw").write_bytes(bytes(30))
    raw = ("info", tmp_path / "frames.raw", "--format", "raw", "--shape", "2,10", "--bits", 12, "--bitorder", "little")
    array = cli(*raw, "--dtype", "u2", "--json").json["arrays"][""]
    assert (array["shape"], array["dtype"]) == ([2, 10], "uint16")
    assert array["filters"] == ["packed elements of 12 bits (flat, little)"]
    assert "--bits of at most 8" in fails(*raw, "--dtype", "u1")
    assert "name=value" in fails("info", tmp_path / "m.bits", "-o", "nonsense")
    (tmp_path / "t.txt").write_text("# h\n1;2\n3;4\n")
    found = cli("info", tmp_path / "t.txt", "-o", "delimiter=;", "--dtype", "i4", "--json").json
    assert found["arrays"][""]["shape"] == [2, 2] and found["arrays"][""]["dtype"] == "int32"


@pytest.mark.parametrize("value", [np.float64(3), np.zeros((0, 3)), np.zeros(2, [("a", "f4"), ("b", "i2", (3,))])])
def test_corner_shapes(cli: Cli, tmp_path: Path, value: npt.NDArray[Any]) -> None:
    np.save(tmp_path / "a.npy", value)
    result = cli("info", tmp_path / "a.npy", "--json")
    assert result.code == 0 and result.json["arrays"][""]["shape"] == list(np.shape(value))
    assert cli("info", tmp_path / "a.npy").code == 0


def test_names_are_printed_as_they_are(cli: Cli, tmp_path: Path) -> None:
    names = ["[red]x", "[b]y[i]", ":smile:", "a\x1b[31mb", "line\nbreak", "é"]
    arrays: dict[str, Any] = {n: np.arange(2) for n in names}
    np.savez(tmp_path / "[bold].npz", **arrays)
    out = cli("info", tmp_path / "[bold].npz").out
    for shown in ("[red]x", "[b]y[i]", ":smile:", r"a\x1b[31mb", r"line\nbreak", "é", "[bold].npz"):
        assert shown in out
    assert "\x1b" not in out
    assert set(cli("info", tmp_path / "[bold].npz", "--json").json["arrays"]) == set(names)


def test_errors_are_one_line(fails: Fails, tmp_path: Path) -> None:
    assert "nope.npy" in fails("info", tmp_path / "nope.npy")
    (tmp_path / "x.bin").write_bytes(b"\x00\x01\x02\x03")
    assert "recognising" in fails("info", tmp_path / "x.bin")
    (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY\x01\x00\xff\xff{")
    assert "bad.npy" in fails("info", tmp_path / "bad.npy")
    assert "FILE" in fails("info")
    assert "--nonsense" in fails("info", tmp_path / "x.bin", "--nonsense")
    assert "format" in fails("info", tmp_path / "x.bin", "--format", "tiff")


def test_many_arrays(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "many.npz"
    arrays: dict[str, Any] = {f"g{i % 10}/a{i}": np.arange(i % 5) for i in range(2000)}
    np.savez(path, **arrays)
    assert len(cli("info", path, "--json").json["arrays"]) == 2000
    assert cli("info", path).out.count("int64") == 2000


def test_variable_length(cli: Cli, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file.create_dataset("s", data=["a", "bc"] * 100, chunks=(50,), compression="gzip")
    array = cli("info", tmp_path / "s.h5", "--json").json["arrays"]["s"]
    assert array["dtype"] == "variable-length string" and array["filters"] == ["deflate"] and array["nbytes"] is None
    assert array["layout"] == "chunked" and array["stored_nbytes"] is None and array["missing_chunks"] == 0


def test_through_h5py(cli: Cli, tmp_path: Path) -> None:
    kind = np.dtype([("name", h5py.string_dtype()), ("n", "i4")])
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file.create_dataset("s", data=np.array([("a", 1), ("bc", 2)] * 100, kind), chunks=(50,), compression="gzip")
    array = cli("info", tmp_path / "s.h5", "--json").json["arrays"]["s"]
    assert array["layout"] == "through h5py" and array["filters"] == ["deflate"] and array["nbytes"] is None


def annotated(path: Path) -> None:
    """An HDF5 file with all that may be said of groups and arrays."""
    with h5py.File(path, "w") as file:
        file.attrs.update(title="root of all", gain=np.float32(0.5), empty=[])
        file["g"] = np.arange(6, dtype="i2").reshape(2, 3)
        file["g"].attrs.update(unit="nm", long="x" * 500, numbers=np.arange(3000), nan=np.nan)
        f = file.create_dataset("e/f", (3, 4), "f4", chunks=(1, 4), maxshape=(None, 4), fillvalue=-9999)
        f.dims[0].label = "time"
        file.create_dataset("e/zero", (3,), "f4", chunks=(1,), fillvalue=0)
        file.create_dataset("e/nan", (3,), "f4", chunks=(1,), fillvalue=np.nan)
        file["e"].attrs["note"] = "a\x1b[31mb"


def test_attributes_and_fill_values_are_shown(cli: Cli, tmp_path: Path) -> None:
    annotated(tmp_path / "a.h5")
    out = cli("info", tmp_path / "a.h5").out
    lines = {line.lstrip("│├└─ ") for line in out.splitlines()}
    shown = {"root of all": "title", "nm": "unit", r"a\u001b[31mb": "note"}
    assert {f'@{name} = "{value}"' for value, name in shown.items()} <= lines
    assert {"@gain = 0.5", "@empty = []", "@nan = NaN"} <= lines
    assert any(line.startswith('@long = "xxxx') and line.endswith('xx"… (500 characters)') for line in lines)
    assert any(line.startswith("@numbers = [0, 1, ") and line.endswith(", … (3000 values)") for line in lines)
    (f,) = (line for line in lines if line.startswith("f (3, 4) float32"))
    assert "fill -9999" in f and "chunks (1, 4)" in f
    assert any(line.startswith("nan (3,)") and "fill NaN" in line for line in lines)
    assert not any("fill" in line for line in lines if line.startswith(("g ", "zero ")))
    # Attributes hang below what they belong to.
    assert out.index("@title") < out.index("e/ ") < out.index("@note") < out.index("f (3, 4)")


def test_json_keeps_all_with_types(cli: Cli, tmp_path: Path) -> None:
    annotated(tmp_path / "a.h5")
    found = cli("info", tmp_path / "a.h5", "--json").json
    g, f = found["arrays"]["g"], found["arrays"]["e/f"]
    assert g["attributes"]["long"] == "x" * 500 and g["attributes"]["numbers"] == list(range(3000))
    assert found["groups"][""] == {"title": "root of all", "gain": 0.5, "empty": []}
    assert f["fill_value"] == -9999.0 and found["arrays"]["e/nan"]["fill_value"] == "NaN"
    assert f["chunks"] == [1, 4] and "max_shape" in f and "dimension_names" in f


def test_dimension_names_and_growth(cli: Cli, tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    group.create_array("t", shape=(3, 4), chunks=(3, 4), dtype="f4", dimension_names=["time", None], fill_value=7)
    out = cli("info", tmp_path / "a.zarr").out
    assert "dimensions (time, -)" in out and "fill 7.0" in out
    found = cli("info", tmp_path / "a.zarr", "--json").json["arrays"]["t"]
    assert found["dimension_names"] == ["time", None] and found["fill_value"] == 7.0


def test_links_are_shown_as_links(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["e/f"] = np.arange(3)
        file["to_group"], file["to_array"] = h5py.SoftLink("/e"), h5py.SoftLink("/e/f")
    read = Location.manifest
    links = {"to_group": "e", "to_array": "e/f"}
    monkeypatch.setattr(
        Location, "manifest", lambda self, component=None: dataclasses.replace(read(self, component), links=links)
    )
    out = cli("info", path).out
    assert "to_group → e\n" in out and "to_array → e/f\n" in out and out.count("int64") == 1
    found = cli("info", path, "--json").json
    assert found["links"] == links and "to_group/f" in found["arrays"]


@pytest.mark.parametrize("columns", [None, 40])
def test_reasons_are_never_cut(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int | None) -> None:
    path = tmp_path / "a.h5"
    name = "deep/" * 12 + "references-with-a-long-name"
    with h5py.File(path, "w") as file:
        file[name] = np.array([file.ref], h5py.ref_dtype)
        file["x"] = np.zeros(3)
    reason = cli("info", path, "--json").json["unsupported"][name]
    if columns is not None:
        monkeypatch.setenv("COLUMNS", str(columns))
    out = cli("info", path).out
    squeezed = "".join(out.replace("│", "").split())
    assert "".join(reason.split()) in squeezed
    if columns is None:
        assert sum(reason in line for line in out.splitlines()) == 1
    else:
        # Where the branches leave less, the terminal breaks the lines.
        assert max(len(line.strip("│├└─ ")) for line in out.splitlines()) <= columns


def test_several_files_and_patterns(cli: Cli, fails: Fails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for n in (3, 1, 2):
        np.save(f"a{n}.npy", np.arange(n))
    np.save("[x].npy", np.arange(9))
    out = cli("info", "a*.npy", "[x].npy").out
    assert [out.index(f"{name}.npy npy") for name in ("a1", "a2", "a3", "[x]")] == sorted(
        out.index(f"{name}.npy npy") for name in ("a1", "a2", "a3", "[x]")
    )
    found = cli("info", "a*.npy", "[x].npy", "--json").json["files"]
    assert [f["path"] for f in found] == ["a1.npy", "a2.npy", "a3.npy", "[x].npy"]
    # What the object looks like depends on how it was asked for, not on what is there.
    assert cli("info", "[x].npy", "--json").json["path"] == "[x].npy"
    assert len(cli("info", "a1*.npy", "--json").json["files"]) == 1
    assert "no match" in fails("info", "b*.npy")
    # In the order that people count in, and also where a URL says it.
    np.save("a10.npy", np.arange(10))
    assert [f["path"] for f in cli("info", "a*.npy", "--json").json["files"]][-1] == "a10.npy"
    urls = cli("info", f"file://{tmp_path}/a1*.npy", "--json").json["files"]
    assert [len(f["arrays"][""]["shape"]) for f in urls] == [1, 1]


def test_a_bad_file_hides_no_good_one(cli: Cli, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(3))
    np.save(tmp_path / "c.npy", np.arange(3))
    (tmp_path / "b.npy").write_bytes(b"\x93NUMPY\x01\x00\xff\xff{")
    result = cli("info", tmp_path / "*.npy")
    assert result.code == 2 and "a.npy npy" in result.out and "c.npy npy" in result.out
    assert result.err.count("\n") == 1 and "b.npy" in result.err
    result = cli("info", tmp_path / "*.npy", "--json")
    a, b, c = result.json["files"]
    assert result.code == 2 and a["arrays"] and c["arrays"]
    assert set(b) == {"path", "error", "message"} and result.err == f"packstore: {b['message']}\n"


def test_path_is_shown_relative_as_given(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", np.arange(3))
    assert cli("info", "a.npy").out.startswith("a.npy npy, ")
    assert Path("a.npy").exists()
