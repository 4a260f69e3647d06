"""``packstore verify``: what is equal, and where the first difference is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from packstore.cli import parts
from packstore.cli import verify as command
from packstore.cli.compare import comparable, first_difference
from packstore.storage import ManifestArray, ManifestGroup, Storage
from packstore.writers.holds import HOLDS, PARTS

if TYPE_CHECKING:
    from tests.cli.conftest import Cli, Fails


def save(path: Path, array: npt.NDArray[Any]) -> str:
    np.save(path, array)
    return str(path)


@pytest.mark.parametrize(
    "array",
    [
        np.array([1.0, np.nan, np.inf, -0.0]),
        np.array([complex(np.nan, 1), 2]),
        np.array(["2020-01-01", "NaT"], "M8[s]"),
        np.array([(1.0, np.nan)], [("a", "f4"), ("b", "f8")]),
        np.array([(1, [np.nan, 2])], [("a", "i4"), ("b", "f8", (2,))]),
        np.array(["a", "é"]),
        np.array([b"a", b"bc"]),
        np.float64(3),
        np.zeros((0, 4)),
        np.array([b"ab"], "V2"),
        np.arange(6, dtype=">i4").reshape(2, 3),
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
    ],
    ids=lambda a: f"{a.dtype}{np.shape(a)}",
)
def test_equal_to_itself(cli: Cli, tmp_path: Path, array: npt.NDArray[Any]) -> None:
    a, b = save(tmp_path / "a.npy", array), save(tmp_path / "b.npy", np.array(array))
    result = cli("verify", a, b, "--json")
    assert result.code == 0 and result.json["equal"] is True and result.json["compared"] == 1, result
    assert cli("verify", a, b).out == "equal: 1 array\n"


@pytest.mark.parametrize(
    ("a", "b", "index", "values"),
    [
        (np.array([1.0, np.nan, 3]), np.array([1.0, np.nan, 4]), [2], ["3.0", "4.0"]),
        (np.array([1.0, np.nan]), np.array([1.0, 2.0]), [1], ["nan", "2.0"]),
        (np.array([2**53 + 1]), np.array([2.0**53]), [0], ["9007199254740993", "9007199254740992.0"]),
        (np.array([2**64 - 1], "u8"), np.array([-1], "i8"), [0], ["18446744073709551615", "-1"]),
        (np.array([2**63 - 1], "i8"), np.array([2.0**63]), [0], ["9223372036854775807", "9.223372036854776e+18"]),
        (np.array([0, 1]), np.array([0.0, 1.5]), [1], ["1", "1.5"]),
        (np.array(["a", "b"]), np.array(["a", "c"]), [1], ["b", "c"]),
        (np.eye(3, dtype=bool), np.zeros((3, 3), bool), [0, 0], ["True", "False"]),
        (np.float32(1), np.float32(2), [], ["1.0", "2.0"]),
    ],
)
def test_first_difference_is_located(
    cli: Cli, tmp_path: Path, a: npt.NDArray[Any], b: npt.NDArray[Any], index: list[int], values: list[object]
) -> None:
    result = cli("verify", save(tmp_path / "a.npy", a), save(tmp_path / "b.npy", b), "--json")
    assert result.code == 1
    found = result.json["difference"]
    assert (found["index"], found["values"]) == (index, values)
    text = cli("verify", tmp_path / "a.npy", tmp_path / "b.npy")
    assert text.code == 1 and f"first at {tuple(index)}" in text.out


def test_structs(cli: Cli, tmp_path: Path) -> None:
    a = np.zeros(5, [("a", "f4"), ("b", "i2", (3,))])
    b = a.copy()
    b["b"][3, 1] = 7
    assert cli("verify", save(tmp_path / "a.npy", a), save(tmp_path / "b.npy", b), "--json").json["difference"][
        "index"
    ] == [3]
    other = np.zeros(5, [("a", "f4"), ("c", "i2", (3,))])
    result = cli("verify", tmp_path / "a.npy", save(tmp_path / "c.npy", other), "--json")
    assert result.code == 1 and len(result.json["difference"]["dtypes"]) == 2


def test_shapes_and_kinds_that_differ(cli: Cli, tmp_path: Path) -> None:
    a, b = save(tmp_path / "a.npy", np.zeros((2, 3))), save(tmp_path / "b.npy", np.zeros((3, 2)))
    result = cli("verify", a, b, "--json")
    assert result.code == 1 and result.json["difference"]["shapes"] == [[2, 3], [3, 2]]
    assert cli("verify", a, b).out == "different: shapes (2, 3) and (3, 2)\n"
    c = save(tmp_path / "c.npy", np.full((2, 3), "x"))
    result = cli("verify", a, c, "--json")
    assert result.code == 1 and result.json["difference"]["dtypes"] == ["float64", "<U1"]


def test_other_dtypes_with_equal_values_are_equal_and_noted(cli: Cli, tmp_path: Path) -> None:
    a = save(tmp_path / "a.npy", np.arange(5, dtype="<i2"))
    for dtype in (">i2", "f4", "c16", "u8"):
        b = save(tmp_path / "b.npy", np.arange(5).astype(dtype))
        result = cli("verify", a, b, "--json")
        assert result.code == 0, result
        assert bool(result.json["notes"]) == (dtype != ">i2")


def test_the_first_difference_in_c_order_whatever_the_blocks(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_block", lambda a, b: (4, 3))
    rng = np.random.default_rng(0)
    a = rng.integers(0, 9, (9, 10))
    for _ in range(20):
        b = a.copy()
        where = rng.integers(0, (9, 10), (3, 2))
        b[tuple(where.T)] += 1
        want = np.argwhere(a != b)[0].tolist()
        result = cli("verify", save(tmp_path / "a.npy", a), save(tmp_path / "b.npy", b), "--json")
        assert result.json["difference"]["index"] == want


def test_blocks_suit_the_chunks_of_both(tmp_path: Path, cli: Cli) -> None:
    a = np.random.default_rng(0).random((60, 70))
    zarr.create_array(str(tmp_path / "a.zarr"), data=a, chunks=(6, 70))
    b = a.copy()
    b[59, 69] += 1
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_dataset("x", data=b, chunks=(60, 7), compression="gzip")
    result = cli("verify", tmp_path / "a.zarr", tmp_path / "b.h5", "-c", "x", "--json")
    assert result.code == 1
    assert result.json["difference"] == {
        "component": "",
        "index": [59, 69],
        "chunk": [9, 0],
        "values": [str(a[59, 69]), str(b[59, 69])],
    }


def test_files_of_several_arrays(cli: Cli, fails: Fails, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(3), y=np.arange(4))
    np.savez(tmp_path / "b.npz", x=np.arange(3), z=np.arange(4))
    np.savez(tmp_path / "c.npz", x=np.arange(3), y=np.arange(4) + 1)
    assert cli("verify", tmp_path / "a.npz", tmp_path / "a.npz").out == "equal: 2 arrays\n"
    result = cli("verify", tmp_path / "a.npz", tmp_path / "b.npz", "--json")
    assert result.code == 1 and result.json["notes"] == ["only in A: y", "only in B: z"]
    assert "not the same arrays" in cli("verify", tmp_path / "a.npz", tmp_path / "b.npz").out
    result = cli("verify", tmp_path / "a.npz", tmp_path / "c.npz", "--json")
    assert result.json["difference"]["component"] == "y" and result.json["difference"]["index"] == [0]
    assert cli("verify", tmp_path / "a.npz", tmp_path / "c.npz", "-c", "x").code == 0
    assert cli("verify", tmp_path / "a.npz", tmp_path / "b.npz", "-c", "y", "--component-b", "z").code == 0
    np.save(tmp_path / "y.npy", np.arange(4))
    assert cli("verify", tmp_path / "a.npz", tmp_path / "y.npy", "-c", "y").code == 0
    assert cli("verify", tmp_path / "y.npy", tmp_path / "a.npz", "--component-b", "y").code == 0
    assert "--component" in fails("verify", tmp_path / "y.npy", tmp_path / "a.npz")
    assert "no array of that name" in fails("verify", tmp_path / "a.npz", tmp_path / "b.npz", "-c", "y")


def test_raw_options_for_each_side(cli: Cli, fails: Fails, tmp_path: Path) -> None:
    mask = np.random.default_rng(0).random((10, 33)) < 0.5
    mask.tofile(tmp_path / "a.raw")
    mask.tofile(tmp_path / "b.raw")
    np.packbits(mask, axis=1).tofile(tmp_path / "c.bits")
    np.save(tmp_path / "d.npy", mask)
    raw = ("--format", "raw", "--dtype", "bool", "--shape", "10,33")
    assert cli("verify", tmp_path / "a.raw", tmp_path / "b.raw", *raw).code == 0
    assert cli("verify", tmp_path / "a.raw", tmp_path / "d.npy", *raw).code == 0
    raw_b = ("--format-b", "raw", "--shape-b", "10,33", "--packed-axis-b", "1")
    assert cli("verify", tmp_path / "a.raw", tmp_path / "c.bits", *raw, *raw_b).code == 0
    assert cli("verify", tmp_path / "d.npy", tmp_path / "c.bits", *raw_b).code == 0
    mask[9, 3] ^= True
    mask.tofile(tmp_path / "b.raw")
    assert cli("verify", tmp_path / "a.raw", tmp_path / "b.raw", *raw, "--json").json["difference"]["index"] == [9, 3]
    assert "--format raw" in fails("verify", tmp_path / "d.npy", tmp_path / "c.bits")


def test_raw_bytes_that_look_like_text(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(b"1111111111")
    (tmp_path / "b.raw").write_bytes(b"1111111112")
    result = cli("verify", tmp_path / "a.raw", tmp_path / "b.raw", "--format", "raw", "--dtype", "u1", "--json")
    assert result.json["difference"]["index"] == [9]


def test_what_cannot_be_read_is_never_called_equal(cli: Cli, fails: Fails, tmp_path: Path) -> None:
    for name in "ab":
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["x"] = np.arange(3)
            file["refs"] = np.array([file["x"].ref], h5py.ref_dtype)
    assert "not all can be read" in fails("verify", tmp_path / "a.h5", tmp_path / "b.h5")
    assert cli("verify", tmp_path / "a.h5", tmp_path / "b.h5", "-c", "x").code == 0
    with h5py.File(tmp_path / "b.h5", "r+") as file:
        file["x"][1] = 9
    assert cli("verify", tmp_path / "a.h5", tmp_path / "b.h5").code == 1


def test_strings_of_any_length(cli: Cli, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["s"] = ["a", "bc"]
        file.create_dataset("v", (2,), h5py.vlen_dtype("f8"))[1] = [1.5, np.nan]
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["s"] = ["a", "bd"]
        file.create_dataset("v", (2,), h5py.vlen_dtype("f8"))[1] = [1.5, 2]
    np.savez(tmp_path / "s.npz", s=np.array(["a", "bc"]), v=np.array([b"a", b"bc"]))
    assert cli("verify", tmp_path / "a.h5", tmp_path / "s.npz", "-c", "s").code == 0
    assert cli("verify", tmp_path / "a.h5", tmp_path / "s.npz", "-c", "s", "--component-b", "v").code == 0
    assert cli("verify", tmp_path / "b.h5", tmp_path / "s.npz", "-c", "s").code == 1
    assert cli("verify", tmp_path / "a.h5", tmp_path / "a.h5").code == 0
    for name in "sv":
        result = cli("verify", tmp_path / "a.h5", tmp_path / "b.h5", "-c", name, "--json")
        assert result.code == 1 and result.json["difference"]["index"] == [1]


def test_damaged_data_is_bad_input(fails: Fails, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        ds = file.create_dataset("x", data=np.arange(10000), chunks=(10000,), compression="gzip", fletcher32=True)
        at = ds.id.get_chunk_info(0).byte_offset
    np.save(tmp_path / "b.npy", np.arange(10000))
    with (tmp_path / "a.h5").open("r+b") as file:
        file.seek(at + 100)
        file.write(b"\x00\xff\x00\xff")
    assert "chunk" in fails("verify", tmp_path / "a.h5", tmp_path / "b.npy")


# --- what is not elements -------------------------------------------------------------------------------------------


def annotated(path: Path, change: str = "") -> str:
    """An HDF5 or zarr file with groups, attributes, dimension names and fill values, one of them changed."""
    unit = {"attribute": "px", "attribute of a group": "nm"}.get(change, "nm")
    if path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            x = file.create_dataset("g/x", data=np.arange(4.0), chunks=(2,), fillvalue=3 if change == "fill" else 7)
            file["y"] = np.arange(3)
            x.attrs.update(unit=unit, gain=np.float32(0.5), flags=np.arange(2, dtype="u1"), nan=np.nan)
            x.dims[0].label = "t" if change == "names" else "time"
            file.attrs["title"] = "root"
            file["g"].attrs["n"] = 2 if change == "attribute of a group" else 1
            if change != "group":
                file.create_group("empty")
        return str(path)
    group = zarr.open_group(path, mode="w")
    names = ["t" if change == "names" else "time"]
    x = group.create_array(
        "g/x", shape=(4,), dtype="f8", chunks=(2,), fill_value=3 if change == "fill" else 7, dimension_names=names
    )
    x[:] = np.arange(4)
    group.create_array("y", data=np.arange(3))
    x.attrs.update(unit=unit, gain=0.5, flags=[0, 1], nan=np.nan)
    group.attrs["title"] = "root"
    group["g"].attrs["n"] = 2 if change == "attribute of a group" else 1
    if change != "group":
        group.create_group("empty")
    return str(path)


CHANGES = {
    "attribute": ("g/x", "attribute 'unit'", ["nm"], ["px"]),
    "attribute of a group": ("g", "attribute 'n'", [1], [2]),
    "names": ("g/x", "dimension names", ["time"], ["t"]),
    "fill": ("g/x", "fill value", 7.0, 3.0),
    "group": ("empty", "group", "there", None),
}


@pytest.mark.parametrize("suffix_b", [".h5", ".zarr"])
@pytest.mark.parametrize("suffix_a", [".h5", ".zarr"])
def test_all_that_belongs_to_arrays_and_groups_is_compared(
    cli: Cli, tmp_path: Path, suffix_a: str, suffix_b: str
) -> None:
    a = annotated(tmp_path / f"a{suffix_a}")
    result = cli("verify", a, annotated(tmp_path / f"b{suffix_b}"), "--json")
    assert result.code == 0 and result.json["differences"] == [] and result.json["notes"] == [], result
    for change, (component, what, x, y) in CHANGES.items():
        b = annotated(tmp_path / f"{change}{suffix_b}", change)
        result = cli("verify", a, b, "--json")
        assert result.code == 1 and result.json["equal"] is False and result.json["difference"] is None
        assert result.json["differences"] == [{"component": component, "what": what, "a": x, "b": y}]
        assert cli("verify", a, b, "--values-only").code == 0
        text = cli("verify", a, b)
        assert text.code == 1 and text.out.startswith(f"different: [{component}] {what}: ")
    assert '\'unit\': "nm" in A, "px" in B' in cli("verify", a, tmp_path / f"attribute{suffix_b}").out


def test_what_a_format_cannot_hold_is_a_note(cli: Cli, tmp_path: Path) -> None:
    a = annotated(tmp_path / "a.h5")
    arrays: dict[str, Any] = {"g/x": np.arange(4.0), "y": np.arange(3)}
    np.savez(tmp_path / "b.npz", **arrays)
    for files in ((a, tmp_path / "b.npz"), (tmp_path / "b.npz", a)):
        result = cli("verify", *files, "--json")
        assert result.code == 0
        said = {note.split(" of ")[0]: note for note in result.json["notes"]}
        assert set(said) == {"attributes", "dimension names", "fill values", "groups"}
        assert all("npz has no place for them" in note for note in said.values())
        assert cli("verify", *files, "--values-only", "--json").json["notes"] == []
    # One array: nothing is said of others, nor of groups.
    result = cli("verify", a, tmp_path / "b.npz", "-c", "y", "--json")
    assert result.code == 0 and result.json["notes"] == []


def test_one_array_without_a_name_is_compared_too(cli: Cli, tmp_path: Path) -> None:
    a = annotated(tmp_path / "a.h5")
    array = zarr.create_array(tmp_path / "x.zarr", data=np.arange(4.0), chunks=(2,), fill_value=7)
    result = cli("verify", a, tmp_path / "x.zarr", "-c", "g/x", "--json")
    assert result.code == 1 and {d["what"] for d in result.json["differences"]} >= {"attribute 'unit'"}
    array.attrs.update(unit="nm", gain=0.5, flags=[0, 1], nan=np.nan)
    result = cli("verify", a, tmp_path / "x.zarr", "-c", "g/x", "--json")
    assert [d["what"] for d in result.json["differences"]] == ["dimension names"]


def test_null_is_not_absent(cli: Cli, tmp_path: Path) -> None:
    kept: dict[str, dict[str, Any]] = {"a": {"k": None}, "b": {}, "c": {"k": None}}
    for name, attributes in kept.items():
        zarr.create_array(tmp_path / f"{name}.zarr", data=np.arange(3), attributes=attributes)
    assert cli("verify", tmp_path / "a.zarr", tmp_path / "c.zarr").code == 0
    result = cli("verify", tmp_path / "a.zarr", tmp_path / "b.zarr")
    assert result.code == 1 and result.out == "different: attribute 'k': null in A, none in B\n"


def test_many_differences_are_counted(cli: Cli, tmp_path: Path) -> None:
    for name in "ab":
        attributes: dict[str, Any] = {f"k{i}": name for i in range(30)}
        zarr.create_array(tmp_path / f"{name}.zarr", data=np.arange(3), attributes=attributes)
    out = cli("verify", tmp_path / "a.zarr", tmp_path / "b.zarr").out
    assert out.count("\n") == 11 and "20 more, which --json lists" in out
    assert len(cli("verify", tmp_path / "a.zarr", tmp_path / "b.zarr", "--json").json["differences"]) == 30


# Nothing is looked up where everything is listed.
NOWHERE: Any = None


def tree(names: list[str], **found: Any) -> ManifestGroup:
    """Arrays of these names, whose elements nobody reads."""
    return ManifestGroup({n: ManifestArray((3,), np.dtype("f4"), (3,), Storage()) for n in names}, **found)


def test_links() -> None:
    both = ["e/f", "g/f", "l"]
    links = {"g": "e", "l": "e/f"}
    a = parts.Side(NOWHERE, "a", "hdf5", tree(both, links=links), HOLDS["hdf5"])
    assert a.linked(a) == {"g/f", "g", "l"} and parts.compare_trees(a, a) == []
    # A format without links has what they lead to once.
    once = parts.Side(NOWHERE, "b", "zarr", tree(["e/f"]), HOLDS["zarr"])
    assert a.linked(once) == {"g/f", "g", "l"} and parts.compare_trees(a, once) == []
    assert any(n.startswith("links of a") for n in parts.not_held(a, once, [], [], groups=True))
    other = parts.Side(NOWHERE, "c", "hdf5", tree(both, links={"g": "e"}), HOLDS["hdf5"])
    assert parts.compare_trees(a, other) == [{"component": "l", "what": "link", "a": "e/f", "b": None}]
    assert a.linked(other) == {"g", "g/f"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(width=16) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=2),
    max_leaves=6,
)


@given(json_values, json_values)
def test_attributes_compare_as_json(a: Any, b: Any) -> None:
    # Strict JSON, numbers as floats: what is equal there is equal here.
    def text(value: Any) -> str:
        return json.dumps(json.loads(json.dumps(value), parse_int=float), sort_keys=True)

    assert parts.same_value(a, a)
    if text(a) == text(b):
        assert parts.same_value(a, b)
    if parts.same_value(a, b) and not isinstance(a, str) and not isinstance(b, str):
        assert type(a) is type(b) or {type(a), type(b)} <= {bool, int, float}


def test_unreadable_attributes_are_named_and_not_compared(cli: Cli, tmp_path: Path) -> None:
    side = parts.Side(NOWHERE, "a", "hdf5", ManifestGroup({}, {"": {"k": 1}}, {"@bad": "why"}), PARTS)
    other = parts.Side(NOWHERE, "b", "hdf5", ManifestGroup({}, {"": {"k": 1, "bad": 2}}), PARTS)
    assert parts.compare_trees(side, other) == []


# --- several files --------------------------------------------------------------------------------------------------


def test_pairs_by_stem(cli: Cli, fails: Fails, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    for n, name in enumerate(("a", "b.x", "c")):
        np.save(tmp_path / f"{name}.npy", np.arange(5) + n)
        zarr.create_array(folder / f"{name}.zarr", data=np.arange(5) + n)
    result = cli("verify", tmp_path / "*.npy", folder)
    assert result.code == 0 and result.out.count(": equal: 1 array\n") == 3
    assert cli("verify", tmp_path / "a.npy", f"{folder}/").code == 0 == cli("verify", tmp_path / "a.npy", folder).code
    # Two folders are two trees.
    assert cli("verify", folder, folder).out == "equal: 3 arrays\n"
    zarr.open_array(folder / "c.zarr", mode="r+")[2] = 9
    result = cli("verify", tmp_path / "a.npy", tmp_path / "b.x.npy", tmp_path / "c.npy", folder, "--json")
    assert result.code == 1 and [f["equal"] for f in result.json["files"]] == [True, True, False]
    # An error outweighs a difference, and hides neither that nor what is equal.
    np.save(folder / "a.npy", np.arange(5))
    result = cli("verify", tmp_path / "*.npy", folder, "--json")
    assert result.code == 2 and [f.get("equal") for f in result.json["files"]] == [None, True, False]
    assert "got a.npy and a.zarr" in result.err
    assert "a folder as the last name" in cli("verify", tmp_path / "a.npy", tmp_path / "c.npy", folder / "c.zarr").err
    assert "Missing argument 'B'" in fails("verify", tmp_path / "a.npy")
    (tmp_path / "a.txt").write_text("1")
    assert "names that differ" in fails("verify", tmp_path / "a.npy", tmp_path / "a.txt", folder)


numbers = st.one_of(
    st.integers(-(2**63), 2**63 - 1).map(lambda i: np.array([i], "i8")),
    st.integers(0, 2**64 - 1).map(lambda i: np.array([i], "u8")),
    st.floats(width=64).map(lambda x: np.array([x], "f8")),
    st.floats(width=32).map(lambda x: np.array([x], "f4")),
    st.booleans().map(lambda x: np.array([x])),
    st.sampled_from([2.0**53, 2.0**63, -(2.0**63), 2.0**64, 1e300]).map(lambda x: np.array([x])),
)


@given(numbers, numbers)
def test_numbers_compare_as_python_compares_them(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> None:
    assert comparable(a.dtype, b.dtype)
    x, y = a.item(), b.item()
    # Python holds ints against floats exactly.
    assert (first_difference(a, b) is None) == (x == y or (x != x and y != y))


def test_ml_dtypes_with_nan() -> None:
    a = np.array([1.5, np.nan, 2], ml_dtypes.bfloat16)
    assert comparable(a.dtype, np.dtype("f4")) and not comparable(a.dtype, np.dtype("V2"))
    assert first_difference(a, a.copy()) is None
    assert first_difference(a, a.astype("f4")) is None
    b = a.copy()
    b[2] = 3
    assert first_difference(a, b) == (2,)
