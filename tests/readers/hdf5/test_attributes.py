"""Attributes of every type, as JSON-able values."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from h5py import h5a, h5s, h5t

from packstore.readers.hdf5.attributes import INTERNAL, read_attributes, to_json


@pytest.fixture
def file(tmp_path: Path) -> Iterator[h5py.File]:
    with h5py.File(tmp_path / "attributes.h5", "w") as f:
        yield f


def read(obj: h5py.HLObject, **options: Any) -> dict[str, Any]:
    found, unreadable = read_attributes(obj.id, **options)
    assert unreadable == {}
    json.dumps(found)
    return found


CASES = {
    "int": (np.int64(-5), -5),
    "big": (np.uint64(2**64 - 1), 2**64 - 1),
    "big_endian": (np.array([1, 2], ">i2"), [1, 2]),
    "float": (np.float32(0.5), 0.5),
    "half": (np.array([[0.5, 1]], "f2"), [[0.5, 1.0]]),
    "long_double": (np.array([0.25], np.longdouble), [0.25]),
    "infinite": (np.float64(-np.inf), -math.inf),
    "true": (np.True_, True),
    "bools": (np.array([True, False]), [True, False]),
    "complex": (np.complex64(1 - 2j), [1.0, -2.0]),
    "complexes": (np.array([1j, 2]), [[0.0, 1.0], [2.0, 0.0]]),
    "text": ("Größe ☃", "Größe ☃"),
    "ascii": (np.bytes_(b"metres"), "metres"),
    "latin1": (np.bytes_("Größe".encode("latin-1")), "Gr\\xf6\\xdfe"),
    "fixed": (np.array([b"a", b"bc"], "S4"), ["a", "bc"]),
    "texts": (np.array([["a", "ß"]], dtype=h5py.string_dtype()), [["a", "ß"]]),
    "empty": (h5py.Empty("f4"), None),
    "empty_text": ("", ""),
    "none_of_them": (np.empty((0,), "f8"), []),
    "struct": (np.array((1, 2.5, b"x"), "i4,f8,S2"), {"f0": 1, "f1": 2.5, "f2": "x"}),
    "structs": (np.array([(1, (2, 3))], [("a", "i2"), ("b", "u1", (2,))]), [{"a": 1, "b": [2, 3]}]),
    "nested": (np.array((1, (2j,)), [("a", "i2"), ("b", [("c", "c8")])]), {"a": 1, "b": {"c": [0.0, 2.0]}}),
    "opaque": (np.void(b"\x00\x01\xff"), "AAH/"),
    "opaques": (np.array([b"ab", b"cd"], "V2"), ["YWI=", "Y2Q="]),
}


@pytest.mark.parametrize("name", CASES)
def test_values(file: h5py.File, name: str) -> None:
    value, want = CASES[name]
    file.attrs[name] = value
    got = read(file)[name]
    assert got == want
    assert type(got) is type(want)


def test_nan_stays_a_float(file: h5py.File) -> None:
    file.attrs["x"] = [np.nan, 1.0]
    nan, one = read(file)["x"]
    assert math.isnan(nan)
    assert one == 1.0


def test_times(file: h5py.File) -> None:
    values = np.array(["2020-01-02T03:04:05", "NaT"], "M8[s]")
    file.attrs.create("x", values, dtype=h5py.opaque_dtype(values.dtype))
    durations = np.array([3, -4], "m8[s]")
    file.attrs.create("d", durations, dtype=h5py.opaque_dtype(durations.dtype))
    assert read(file) == {"x": ["2020-01-02T03:04:05", None], "d": [3, -4]}


def test_enum(file: h5py.File) -> None:
    file.attrs.create("x", [2, 0], dtype=h5py.enum_dtype({"A": 0, "B": 2}, "u1"))
    assert read(file) == {"x": [2, 0]}


def test_variable_sequences(file: h5py.File) -> None:
    values = np.empty(2, object)
    values[:] = [np.array([1, 2], "i4"), np.array([], "i4")]
    file.attrs.create("x", values, dtype=h5py.vlen_dtype("i4"))
    assert read(file) == {"x": [[1, 2], []]}


def test_variable_strings_that_are_not_utf8(file: h5py.File) -> None:
    file.attrs.create("x", np.array([b"a\xff"], object), dtype=h5py.string_dtype("ascii"))
    assert read(file) == {"x": ["a\\xff"]}


def test_compound_with_text(file: h5py.File) -> None:
    dtype = np.dtype([("name", h5py.string_dtype()), ("n", "i4")])
    file.attrs.create("x", np.array([("é", 1)], dtype), dtype=dtype)
    assert read(file) == {"x": [{"name": "é", "n": 1}]}


def test_array_type(file: h5py.File) -> None:
    file.attrs.create("x", np.arange(6.0).reshape(2, 3), dtype=np.dtype("(3,)f4"))
    assert read(file) == {"x": [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]}


def test_references_become_paths(file: h5py.File) -> None:
    target = file.create_dataset("group/data", data=np.arange(4))
    file.attrs["object"] = target.ref
    file.attrs["region"] = target.regionref[1:3]
    file.attrs.create("many", [target.ref, h5py.Reference()], dtype=h5py.ref_dtype)
    assert read(file) == {"object": "/group/data", "region": "/group/data", "many": ["/group/data", None]}


def test_types_that_h5py_does_not_read(file: h5py.File) -> None:
    tagged = h5t.create(h5t.OPAQUE, 2)
    tagged.set_tag(b"two bytes")
    for name, tid in ((b"tagged", tagged), (b"time", h5t.UNIX_D32LE)):
        attr = h5a.create(file.id, name, tid, h5s.create(h5s.SCALAR))
        attr.write(np.zeros((), f"V{tid.get_size()}"), mtype=tid)
    assert read(file) == {"tagged": "AAA=", "time": 0}


def test_one_unreadable_attribute_hides_no_other(file: h5py.File) -> None:
    file.attrs["before"] = 1
    tid = h5t.IEEE_F128LE
    h5a.create(file.id, b"quad", tid, h5s.create(h5s.SCALAR)).write(np.zeros((), "V16"), mtype=tid)
    file.attrs["after"] = 2
    found, unreadable = read_attributes(file.id)
    assert found == {"before": 1, "after": 2}
    assert list(unreadable) == ["quad"]
    assert "Insufficient precision" in unreadable["quad"]


def test_a_closed_object_is_reported_not_raised(file: h5py.File) -> None:
    group = file.create_group("g").id
    group._close()
    found, unreadable = read_attributes(group)
    assert found == {}
    assert list(unreadable) == ["*"]


def test_names_that_are_not_utf8(file: h5py.File) -> None:
    space = h5s.create(h5s.SCALAR)
    h5a.create(file.id, b"gr\xf6sse", h5t.STD_I32LE, space).write(np.array(3, "<i4"))
    assert read(file) == {"gr\\xf6sse": 3}


@pytest.mark.parametrize("track_order", [False, True])
@pytest.mark.parametrize("libver", ["earliest", "latest"])
def test_dense_attributes(tmp_path: Path, libver: str, track_order: bool) -> None:
    with h5py.File(tmp_path / "dense.h5", "w", libver=libver) as f:
        group = f.create_group("g", track_order=track_order)
        for i in reversed(range(50)):
            group.attrs[f"a{i}"] = i
        got = read(group)
    assert got == {f"a{i}": i for i in range(50)}
    if track_order:
        assert list(got) == [f"a{i}" for i in reversed(range(50))]


def test_large_attribute(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "large.h5", "w", libver="latest") as f:
        f.attrs["x"] = np.arange(20_000)
        assert read(f)["x"] == list(range(20_000))


def test_an_attribute_too_large_for_metadata(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "large.h5", "w", libver="latest") as f:
        f.attrs["x"] = np.zeros(17 << 20, "u1")
        found, unreadable = read_attributes(f.id)
    assert found == {}
    assert unreadable == {"x": "ValueError: 17825792 bytes, more than 16777216"}


def test_internal_attributes_can_be_left_out(file: h5py.File) -> None:
    scale = file.create_dataset("x", data=np.arange(3))
    scale.make_scale("x")
    data = file.create_dataset("y", data=np.arange(3))
    data.dims[0].attach_scale(scale)
    data.attrs["units"] = "m"
    assert set(read(data)) == {"DIMENSION_LIST", "units"}
    assert read(data)["DIMENSION_LIST"] == [["/x"]]
    assert read(scale)["REFERENCE_LIST"] == [{"dataset": "/y", "dimension": 0}]
    assert read(data, skip_internal=True) == {"units": "m"}
    assert read(scale, skip_internal=True) == {}
    assert {"CLASS", "NAME"} <= INTERNAL


def test_unwrap(file: h5py.File) -> None:
    file.attrs["one"] = np.array([0.5])
    file.attrs["word"] = np.array(["m"], dtype=h5py.string_dtype())
    file.attrs["two"] = np.array([1, 2])
    file.attrs["deep"] = np.array([[1]])
    assert read(file)["one"] == [0.5]
    assert read(file, unwrap=True) == {"one": 0.5, "word": "m", "two": [1, 2], "deep": [[1]]}


def test_committed_type_and_dataset(file: h5py.File) -> None:
    file["t"] = np.dtype("f4")
    file["t"].attrs["note"] = "x"
    assert read(file["t"]) == {"note": "x"}


def test_to_json_of_python_values() -> None:
    assert to_json(None) is None
    assert to_json("\udcff") == "\\xff"
    assert to_json(b"abc") == "abc"
