"""Datasets of HDF5 targets, against h5py: types, fill values, chunks, growth, groups and links."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import numpy as np
import pytest
from numpy.lib.recfunctions import repack_fields

import packstore
from packstore.errors import DtypeError
from packstore.writers.items import Item
from tests.writers.hdf5.conftest import Write, item

TEXT = h5py.string_dtype()


def objects(values: list[Any], dtype: Any) -> np.ndarray:
    out = np.empty(len(values), dtype)
    for i, value in enumerate(values):
        out[i] = value
    return out


# --- types ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunks", [None, (2,)])
@pytest.mark.parametrize(
    "array",
    [
        np.array(["a", "ünï", ""]),
        np.array(["a", "ünï", ""], np.dtypes.StringDType()),
        np.array(["a", "ünï", ""], object),
        objects(["a", "ünï", ""], TEXT),
        objects([b"a", "ünï".encode(), b""], TEXT),
    ],
    ids=["U", "StringDType", "object", "h5py", "bytes"],
)
def test_text(written: Write, array: np.ndarray, chunks: Any) -> None:
    path, lost = written(item("x", array), chunks=chunks)
    with h5py.File(path) as file:
        assert file["x"].asstr()[()].tolist() == ["a", "ünï", ""]
        assert file["x"].chunks == chunks
        assert h5py.check_string_dtype(file["x"].dtype) == h5py.h5t.string_info("utf-8", None)
    assert lost == []
    assert packstore.from_file(path, "x").compute(scheduler="synchronous").tolist() == [b"a", "ünï".encode(), b""]


def test_text_from_dask_and_of_no_axes(written: Write) -> None:
    array = np.array([["a", "b", "ü"]] * 4, object)
    lazy = Item("x", da.from_array(array, chunks=(3, 2)), (4, 3), np.dtype(TEXT), chunk_shape=(2, 2))
    path, _ = written(lazy, item("y", "one"), item("z", np.array("two", object)))
    with h5py.File(path) as file:
        assert file["x"].asstr()[()].tolist() == array.tolist()
        assert file["x"].chunks == (2, 2)
        assert [file[n].asstr()[()] for n in "yz"] == ["one", "two"]


def test_ascii_text_stays_ascii(written: Write) -> None:
    path, _ = written(item("x", objects(["a"], h5py.string_dtype("ascii"))))
    with h5py.File(path) as file:
        assert h5py.check_string_dtype(file["x"].dtype).encoding == "ascii"


def test_text_that_is_no_utf8(written: Write) -> None:
    path, _ = written(item("x", objects([b"\xff\xfe", "\udcff"], TEXT)))
    with h5py.File(path) as file:
        assert file["x"][()].tolist() == [b"\xff\xfe", b"\xff"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None, where HDF5 holds text only"),
        (1.5, "1.5, where"),
        ("a\0b", "text with a NUL"),
        ("\ud800", "no Unicode"),
    ],
)
@pytest.mark.parametrize("where", [(1,), ()])
def test_text_that_hdf5_has_not(written: Write, value: Any, text: str, where: Any) -> None:
    array = np.full(where, "a", object)
    array[...] = value
    with pytest.raises(DtypeError, match=rf"writing\[x\]: expected values for HDF5, got .*{text}"):
        written(item("x", array))


def test_sequences(written: Write) -> None:
    values = [np.arange(n, dtype="f4") for n in (3, 0, 2, 1)]
    path, _ = written(item("x", objects(values, h5py.vlen_dtype("f4")), chunk_shape=(3,)))
    with h5py.File(path) as file:
        assert [v.tolist() for v in file["x"][()]] == [v.tolist() for v in values]
        assert file["x"].chunks == (3,)
        assert h5py.check_vlen_dtype(file["x"].dtype) == np.float32
    with pytest.raises(DtypeError, match="None, where HDF5 holds sequences of float32"):
        written(item("x", objects([None], h5py.vlen_dtype("f4"))), path="y.h5")


def test_structs_with_text_and_enums(written: Write) -> None:
    enum = h5py.enum_dtype({"NO": 0, "YES": 1}, "u1")
    dtype = np.dtype([("n", "i4"), ("name", TEXT), ("ok", enum), ("flag", "?"), ("z", "c8")])
    array = np.zeros(3, dtype)
    array["n"], array["name"], array["ok"], array["z"] = [1, 2, 3], ["a", "ü", ""], [1, 0, 1], 1j
    path, _ = written(item("x", array), item("plain", repack_fields(array[["n", "ok", "flag", "z"]])))
    with h5py.File(path) as file:
        got = file["x"][()]
        assert h5py.check_enum_dtype(file["x"].dtype["ok"]) == {"NO": 0, "YES": 1}
        assert got["name"].tolist() == [b"a", "ü".encode(), b""]
        for name in ("n", "ok", "flag", "z"):
            assert np.array_equal(got[name], array[name])
            assert np.array_equal(file["plain"][name], array[name])


def test_facts_of_hdf5s_types_become_the_types(written: Write) -> None:
    """What our reader notes among the attributes is not written as one."""
    facts = {"fields": {"k": {"enum": {"A": 1}}}}
    path, lost = written(
        item("enum", np.array([1, 2], "i1"), attributes={"enum": {"A": 1, "B": 2}, "unit": "m"}),
        item("opaque", np.zeros(2, "V4"), attributes={"opaque_tag": "camera"}),
        item("struct", np.zeros(2, [("k", "i2"), ("v", "f4")]), attributes=facts),
        item("other", np.zeros(2), attributes={"enum": {"A": 1}}),
    )
    with h5py.File(path) as file:
        assert h5py.check_enum_dtype(file["enum"].dtype) == {"A": 1, "B": 2}
        assert file["opaque"].id.get_type().get_tag() == b"camera"
        assert h5py.check_enum_dtype(file["struct"].dtype["k"]) == {"A": 1}
        assert dict(file["enum"].attrs) == {"unit": "m"}
        assert file["enum"][()].tolist() == [1, 2]
    assert lost == ["[other] attribute 'enum' is kept as JSON text"]
    group = packstore.open_group(path)
    assert group["enum"].attrs.asdict() == {"enum": {"A": 1, "B": 2}, "unit": "m"}
    assert group["struct"].attrs.asdict() == facts


@pytest.mark.parametrize("dtype", [h5py.ref_dtype, h5py.regionref_dtype, h5py.vlen_dtype(h5py.ref_dtype)])
def test_references(written: Write, dtype: Any) -> None:
    with pytest.raises(DtypeError, match=r"writing\[x\]: expected a dtype for HDF5, .*references point into the file"):
        written(item("x", np.zeros(2, dtype)))


# --- fill values ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compressor", ["gzip", None, "lzf"])
@pytest.mark.parametrize(
    ("fill", "dtype"),
    [
        (7, "i4"),
        (-1, ">i2"),
        (np.nan, "f4"),
        (2.5, "f8"),
        (1 + 2j, "c16"),
        (True, "?"),
        (b"ab", "S3"),
        ("NaT", "M8[s]"),
        ((1, 2.5), "i4,f8"),
    ],
    ids=repr,
)
def test_fill_values(written: Write, fill: Any, dtype: Any, compressor: Any) -> None:
    array = np.zeros((5, 3), dtype)
    path, lost = written(item("x", array, fill_value=np.array(fill, dtype)[()]), compressor=compressor)
    want = np.array(fill, dtype)
    with h5py.File(path, "r+") as file:
        assert file["x"][()].tobytes() == array.tobytes()
        assert np.array(file["x"].fillvalue, dtype).tobytes() == want.tobytes()
    assert lost == []
    found = packstore.open_group(path)["x"].metadata.fill_value
    assert np.array(found, dtype).tobytes() == want.tobytes()


@pytest.mark.parametrize("compressor", ["gzip", "lzf"])
def test_a_dataset_that_grows_shows_its_fill_value(written: Write, compressor: Any) -> None:
    path, _ = written(
        item("x", np.arange(5), fill_value=7, chunk_shape=(4,), max_shape=(None,)), compressor=compressor, chunks=(4,)
    )
    with h5py.File(path, "r+") as file:
        file["x"].resize((10,))
        assert file["x"][()].tolist() == [0, 1, 2, 3, 4, 7, 7, 7, 7, 7]


def test_fill_value_of_text(written: Write) -> None:
    path, _ = written(item("x", np.array(["a"], object), fill_value="none", max_shape=(None,)))
    with h5py.File(path, "r+") as file:
        file["x"].resize((2,))
        assert file["x"][()].tolist() == [b"a", b"none"]


# --- shapes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "limits", "source", "want"),
    [
        ((100, 50), None, (10, 50), (10, 50)),
        ((100, 50), None, (1000, 1000), (100, 50)),
        ((30, 50), (None, 50), (64, 50), (64, 50)),
        ((30, 50), (40, 50), (64, 50), (40, 50)),
        ((0, 50), (None, 50), None, (1024, 50)),
        ((0,), (None,), (7,), (7,)),
        ((0, 0), (None, None), None, None),
        ((5,), (5,), None, (5,)),
    ],
)
def test_chunks_and_growth(written: Write, shape: Any, limits: Any, source: Any, want: Any) -> None:
    array = np.arange(np.prod(shape), dtype="i4").reshape(shape)
    path, _ = written(item("x", array, chunk_shape=source, max_shape=limits))
    with h5py.File(path) as file:
        assert np.array_equal(file["x"][()], array)
        assert want is None or file["x"].chunks == want
        assert file["x"].maxshape == (limits or shape)


def test_chunks_too_small_to_keep(written: Write) -> None:
    path, _ = written(item("x", np.zeros(100_000), chunk_shape=(1,)), item("y", np.zeros(100), chunk_shape=(1,)))
    with h5py.File(path) as file:
        assert file["x"].chunks == (100_000,)
        assert file["y"].chunks == (1,)


def test_growing_without_a_compressor_and_from_dask(written: Write) -> None:
    array = np.arange(60).reshape(20, 3)
    lazy = Item(
        "y", da.from_array(array, chunks=(6, 2)), array.shape, array.dtype, max_shape=(None, 3), chunk_shape=(64, 3)
    )
    path, _ = written(item("x", array, max_shape=(None, 3)), lazy, compressor=None)
    with h5py.File(path) as file:
        for name in "xy":
            assert file[name].maxshape == (None, 3)
            assert np.array_equal(file[name][()], array)
        assert file["y"].chunks == (64, 3)


# --- groups and links -----------------------------------------------------------------------------------------------


def test_groups_and_links(written: Write) -> None:
    groups = {"": {"title": "T"}, "empty": {}, "a/b": {"n": 1}}
    links = {"again": "a/x", "deep/er/link": "a", "a/to": "a/b"}
    path, lost = written(item("a/x", [1, 2]), groups=groups, links=links)
    with h5py.File(path) as file:
        assert sorted(file) == ["a", "again", "deep", "empty"]
        assert (file.attrs["title"], file["a/b"].attrs["n"]) == ("T", 1)
        assert {n: file.get(n, getlink=True).path for n in links} == {n: f"/{to}" for n, to in links.items()}
        assert file["deep/er/link/x"][()].tolist() == [1, 2]
        assert len(file["empty"]) == 0
    assert lost == []
    assert packstore.open_group(path)["again"][:].tolist() == [1, 2]


def test_a_plain_file_stays_plain(written: Write) -> None:
    path, _ = written(item("x", [1, 2]), path="x.h5")
    with h5py.File(path) as file:
        assert list(file) == ["x"]
        assert dict(file["x"].attrs) == {}


def test_from_another_hdf5_file(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", data=np.arange(50.0), chunks=(10,), maxshape=(None,), fillvalue=3)
    with h5py.File(tmp_path / "a.h5") as file:
        packstore.save(tmp_path / "b.h5", {"x": file["x"]})
    with h5py.File(tmp_path / "b.h5") as file:
        assert file["x"][()].tolist() == list(range(50))
