"""Attributes of HDF5 targets, against h5py: types kept, and what HDF5 has no type for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import packstore
from packstore.errors import DtypeError
from tests.writers.hdf5.conftest import Write, item

ENUM = h5py.enum_dtype({"RED": 1, "BLUE": 2}, "i1")
STRUCT = np.dtype([("n", "i2"), ("name", h5py.string_dtype()), ("at", "f4", (2,))])


def sequences() -> np.ndarray:
    out = np.empty(2, h5py.vlen_dtype(np.int32))
    out[0], out[1] = np.arange(3, dtype="i4"), np.arange(1, dtype="i4")
    return out


def struct() -> np.ndarray:
    out = np.zeros(2, STRUCT)
    out["name"], out["n"] = ["a", "ü"], [1, 2]
    return out


@pytest.mark.parametrize(
    "value",
    [
        np.int16(-3),
        np.uint64(2**64 - 1),
        np.float32(0.1),
        np.float16(2),
        np.longdouble("1.1"),
        np.complex64(1 + 2j),
        np.True_,
        np.array([1, 2], ">i4"),
        np.zeros((2, 0), "f8"),
        np.array([True, False]),
        np.bytes_(b"abc"),
        np.array([b"ab", b"c"]),
        np.void(b"a\0b"),
        np.array(["2020-01-01", "NaT"], "M8[ns]"),
        np.timedelta64(3, "s"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("where", ["array", "group", "root"])
def test_numpy_values_keep_their_type(written: Write, value: Any, where: str) -> None:
    attributes = {"a": value}
    groups = {"root": {"": attributes}, "group": {"g": attributes}}.get(where, {})
    path, lost = written(item("x", [1], attributes=attributes if where == "array" else {}), groups=groups)
    with h5py.File(path) as file:
        got = file[{"array": "x", "group": "g", "root": "/"}[where]].attrs["a"]
    want = np.asarray(value)
    assert np.asarray(got).dtype == want.dtype
    assert np.array_equal(np.asarray(got), want, equal_nan=want.dtype.kind in "mM")
    assert lost == []


@pytest.mark.parametrize(
    ("value", "want"),
    [
        ("text ü", "text ü"),
        ("", ""),
        (b"raw", np.bytes_(b"raw")),
        (5, np.int64(5)),
        (2**63, np.uint64(2**63)),
        (1.5, np.float64(1.5)),
        (True, np.True_),
        (1 - 1j, np.complex128(1 - 1j)),
        ([1, 2], np.array([1, 2])),
        ([1, 2.5], np.array([1, 2.5])),
        ([[1, 2], [3, 4]], np.array([[1, 2], [3, 4]])),
        (["a", "ü"], np.array(["a", "ü"], object)),
        (np.array(["a", "ü"]), np.array(["a", "ü"], object)),
        (np.array(["a", "ü"], np.dtypes.StringDType()), np.array(["a", "ü"], object)),
        ([True, False], np.array([True, False])),
        ([], np.array([])),
        (None, h5py.Empty("f4")),
        (h5py.Empty("S3"), h5py.Empty("S3")),
    ],
    ids=repr,
)
def test_python_values(written: Write, value: Any, want: Any) -> None:
    path, lost = written(item("x", [1], attributes={"a": value}))
    with h5py.File(path) as file:
        got = file["x"].attrs["a"]
    if isinstance(want, h5py.Empty):
        assert got == want
    else:
        assert np.asarray(got).dtype.kind == np.asarray(want).dtype.kind
        assert np.array_equal(got, want)
    assert lost == []


def test_enums_structs_and_sequences(written: Write) -> None:
    attributes = {
        "enum": np.array(2, ENUM),
        "enums": np.array([1, 2], ENUM),
        "struct": struct(),
        "sequences": sequences(),
    }
    path, lost = written(item("x", [1], attributes=attributes))
    with h5py.File(path) as file:
        attrs = file["x"].attrs
        assert h5py.check_enum_dtype(attrs.get_id("enum").dtype) == {"RED": 1, "BLUE": 2}
        assert (attrs["enum"], attrs["enums"].tolist()) == (2, [1, 2])
        assert [part.tolist() for part in attrs["sequences"]] == [[0, 1, 2], [0]]
        assert attrs["sequences"][0].dtype == np.int32
        assert [(int(s["n"]), s["name"].decode()) for s in attrs["struct"]] == [(1, "a"), (2, "ü")]
    assert lost == []
    assert packstore.open_group(path)["x"].attrs["enums"] == [1, 2]


@pytest.mark.parametrize(
    "value",
    [
        {"a": [1, None]},
        [1, "a"],
        [1, [2, 3]],
        [None],
        [True, 1],
        2**70,
        [2**63, -1],
        "a\0b",
        "\ud800",
        {"n": np.int8(1)},
    ],
    ids=repr,
)
def test_what_hdf5_has_no_type_for_is_json_text(written: Write, value: Any) -> None:
    path, lost = written(item("g/x", [1], attributes={"a": value}))
    with h5py.File(path) as file:
        assert json.loads(file["g/x"].attrs["a"]) == value
    assert lost == ["[g/x] attribute 'a' is kept as JSON text"]


def test_larger_than_an_object_header(written: Write) -> None:
    """libhdf5 stores attributes of more than 64 KB outside the header, where that is allowed."""
    big = np.arange(30_000.0)
    attributes = {"big": big, "text": "x" * 100_000}
    path, lost = written(item("x", [1], attributes=attributes), groups={"": {"big": big}, "g": {"big": big}})
    with h5py.File(path) as file:
        for name in ("x", "g", "/"):
            assert np.array_equal(file[name].attrs["big"], big)
        assert file["x"].attrs["text"] == "x" * 100_000
    assert packstore.open_group(path)["x"].attrs["big"] == big.tolist()
    assert lost == []


def test_order_is_kept(written: Write) -> None:
    names = [f"a{(i * 7) % 20}" for i in range(20)]
    path, _ = written(
        *[item(n, [1], attributes=dict.fromkeys(names, 1)) for n in names], groups={"": dict.fromkeys(names, 2)}
    )
    with h5py.File(path) as file:
        assert list(file) == list(file.attrs) == list(file["a7"].attrs) == names


def test_references_are_not_written(written: Write, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        attributes = {"to": file.create_dataset("t", data=1).ref, "unit": "m"}
        path, lost = written(item("x", [1], attributes=attributes))
    with h5py.File(path) as file:
        assert dict(file["x"].attrs) == {"unit": "m"}
    assert lost == ["[x] attribute 'to' is a reference into another file and is not written"]


def test_attributes_of_scales_are_written_anew(written: Write) -> None:
    attributes = {"CLASS": b"DIMENSION_SCALE", "NAME": b"old", "_Netcdf4Dimid": 7, "unit": "m"}
    path, lost = written(item("x", [1, 2], ("x",), attributes=attributes), item("y", [3], attributes={"NAME": "kept"}))
    with h5py.File(path) as file:
        assert file["x"].attrs["NAME"] == b"x"
        assert file["x"].attrs["_Netcdf4Dimid"] == 0
        assert file["y"].attrs["NAME"] == "kept"
    assert lost == []


def test_names_that_hdf5_has_not(written: Write) -> None:
    path, lost = written(item("x", [1], attributes={"": 1, "a\0b": 2, "\ud800": 3, 5: 4}))
    with h5py.File(path) as file:
        assert dict(file["x"].attrs) == {"5": 4}
    assert len(lost) == 3
    assert lost[0] == "[x] attribute '' has no name for HDF5 and is not written"


def test_no_json_either(written: Write) -> None:
    with pytest.raises(DtypeError, match=r"writing\[x\]: expected an attribute 'a' for HDF5, got <object"):
        written(item("x", [1], attributes={"a": object()}))
