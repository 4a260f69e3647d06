"""``packstore verify``: what is equal, and where the first difference is."""

from __future__ import annotations

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

from packstore.cli import verify as command
from packstore.cli.compare import comparable, first_difference

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
