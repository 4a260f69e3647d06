"""packstore's own data types: dtypes as JSON, and within zarr metadata, fill values and chunks."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import zarr
from zarr.core.metadata import ArrayV3Metadata
from zarr.dtype import data_type_registry, parse_dtype
from zarr.storage import MemoryStore

from packstore.errors import DtypeError
from packstore.testing.codecs import pipelines
from packstore.views.zarr.dtypes import names
from packstore.views.zarr.dtypes.own import OwnType, data_type, from_json, significant, to_json

from .helpers import FIXED, PADDED, VARIABLE, example, same

NAMES = ("packstore.struct", "packstore.longdouble")


@pytest.mark.parametrize("dtype", FIXED, ids=str)
def test_json_says_all(dtype: Any) -> None:
    dtype = np.dtype(dtype)
    assert names.is_own(dtype) and names.reason(dtype) is None
    described = json.loads(json.dumps(to_json(dtype)))
    again = from_json(described)
    assert again == dtype
    assert to_json(again) == described
    assert again.itemsize == dtype.itemsize


def test_json_stays_as_it_is() -> None:
    """Arrays with this metadata exist."""
    dtype = np.dtype({"names": ["xyz", "in"], "formats": [(">f4", (3,)), [("n", "<i2")]], "offsets": [4, 0]})
    inner = {"name": "packstore.struct", "configuration": {"fields": [INNER], "item_size": 2}}
    assert to_json(dtype) == {
        "name": "packstore.struct",
        "configuration": {
            "item_size": 16,
            "fields": [
                {"name": "xyz", "data_type": ">f4", "offset": 4, "shape": [3]},
                {"name": "in", "data_type": inner, "offset": 0},
            ],
        },
    }
    stored = data_type(dtype).to_json_scalar(([1, 2, 3], (7,)), zarr_format=3)
    assert stored == "BwAAAD+AAABAAAAAQEAAAA=="
    assert to_json(np.dtype(">G")) == {
        "name": "packstore.longdouble",
        "configuration": {
            "complex": True,
            "endian": "big",
            "format": FORMAT,
            "item_size": np.dtype("G").itemsize,
        },
    }


INNER = {"name": "n", "data_type": "<i2", "offset": 0}
FORMAT = {63: "x87", 112: "binary128", 52: "binary64"}.get(np.finfo(np.longdouble).nmant, "double_double")
LONG: dict[str, Any] = {
    "name": "packstore.longdouble",
    "configuration": {"format": "x87", "item_size": 16, "endian": "little"},
}


def in_struct(**field: Any) -> Any:
    return {"name": "packstore.struct", "configuration": {"item_size": 8, "fields": [field]}}


def deep(levels: int) -> Any:
    data: Any = "<i8"
    for _ in range(levels):
        data = in_struct(name="a", data_type=data, offset=0)
    return data


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("O", "a type string"),
        ("|O8", "a type string"),
        ("<f16", "a type string"),
        ("<i4,<i4", "a type string"),
        ("<U99999999999", "a type string"),
        ("<M8[s]]", "a type string"),
        ("string", "a type string"),
        ("|S9999999999", "numpy can hold"),
        ("<M8[x]", "numpy can hold"),
        (None, "a type string or an object"),
        ({"name": "packstore.struct"}, "name and configuration"),
        ({"name": "other", "configuration": {}}, "got 'other'"),
        ({"name": "packstore.vlen_sequence", "configuration": {"data_type": "<i4"}}, "got 'packstore.vlen_sequence'"),
        ({"name": "packstore.struct", "configuration": {"item_size": 4, "fields": []}}, "a list of fields"),
        (in_struct(name=1, data_type="<i4", offset=0), "names that are text"),
        (in_struct(name="a", data_type="<i4", offset=-1), "0 or more"),
        (in_struct(name="a", data_type="<i4", offset=True), "0 or more"),
        (in_struct(name="a", data_type="<i4", offset=5), "numpy can hold"),
        (in_struct(name="a", data_type="<i4", offset=0, shape=[3]), "numpy can hold"),
        (in_struct(name="a", data_type="<i4", offset=0, shape=[2**40, 2**40]), "numpy can hold"),
        (in_struct(name="a", data_type="<i4", offset=0, shape="3"), "0 or more"),
        (
            {"name": "packstore.struct", "configuration": {"item_size": 0, "fields": [{**INNER, "shape": [0]}]}},
            "above 0",
        ),
        ({**LONG, "configuration": {**LONG["configuration"], "format": "posit"}}, "this machine's"),
        ({**LONG, "configuration": {**LONG["configuration"], "item_size": 10}}, "this machine's"),
        ({**LONG, "configuration": {**LONG["configuration"], "endian": "middle"}}, 'endian "little" or "big"'),
        (deep(40), "at most 32 levels"),
    ],
    ids=str,
)
def test_descriptions_that_are_none(data: Any, why: str) -> None:
    with pytest.raises(DtypeError, match=why):
        from_json(data)


def test_too_deep_to_describe() -> None:
    dtype = np.dtype([("a", "i4", (2,))])
    for _ in range(40):
        dtype = np.dtype([("a", dtype)])
    assert "at most 32 levels" in (names.reason(dtype) or "")


def test_padding_is_not_part_of_a_value() -> None:
    used = significant(PADDED)
    assert np.flatnonzero(used).tolist() == [*range(2, 18), 20, 21]
    if np.finfo(np.longdouble).nmant == 63:
        assert np.flatnonzero(significant(np.dtype("<G"))).tolist() == [*range(10), *range(16, 26)]
        assert np.flatnonzero(significant(np.dtype(">g"))).tolist() == list(range(6, 16))


def create(dtype: Any, shape: tuple[int, ...], chunks: tuple[int, ...], **options: Any) -> tuple[MemoryStore, Any]:
    store = MemoryStore()
    array = zarr.create_array(store, shape=shape, chunks=chunks, dtype=data_type(dtype), compressors=None, **options)
    return store, array


@pytest.mark.parametrize("pipeline", pipelines())
@pytest.mark.parametrize("dtype", FIXED, ids=str)
def test_arrays(dtype: Any, pipeline: str) -> None:
    """Partial and missing chunks, selections of each kind, dask."""
    dtype = np.dtype(dtype)
    data = example(dtype, 35, np.random.default_rng(0)).reshape(5, 7)
    with zarr.config.set({"codec_pipeline.path": pipeline}):
        store, array = create(dtype, (9, 7), (2, 3), config={"write_empty_chunks": True})
        array[:5] = data
        got = zarr.open_array(store, mode="r")
        assert got.dtype == dtype
        whole = np.asarray(got[...])
        same(whole[:5], data)
        fill = array.fill_value
        for missing in whole[6:].ravel():
            same(np.asarray(missing), np.asarray(fill))
        same(got[1:4, ::2], data[1:4, ::2].copy())
        same(got.oindex[np.array([0, 4, 2]), 1:3], data[[0, 4, 2], 1:3])
        same(got.vindex[[0, 4], [6, 1]], data[[0, 4], [6, 1]])
        # zarr gives one element as a 0-d array.
        same(np.asarray(got[3, 2]), data[3, 2, ...])
        same(np.asarray(got.oindex[3, 2]), data[3, 2, ...])
        same(da.from_zarr(got)[:5].compute(scheduler="threads"), data)


@pytest.mark.parametrize("pipeline", pipelines())
def test_an_array_of_one_element(pipeline: str) -> None:
    data = example(PADDED, 1, np.random.default_rng(1)).reshape(())
    with zarr.config.set({"codec_pipeline.path": pipeline}):
        _, array = create(PADDED, (), (), config={"write_empty_chunks": True})
        array[...] = data
        same(np.asarray(array[()]), data)


@pytest.mark.parametrize("dtype", FIXED, ids=str)
def test_metadata_round_trip(dtype: Any) -> None:
    dtype = np.dtype(dtype)
    fill = example(dtype, 1, np.random.default_rng(5))[0]
    _, array = create(dtype, (2,), (2,), fill_value=fill)
    document = json.loads(json.dumps(array.metadata.to_dict(), allow_nan=False))
    again = ArrayV3Metadata.from_dict(document)
    assert again.data_type == array.metadata.data_type == data_type(dtype)
    assert again.to_dict() == array.metadata.to_dict()
    same(np.asarray(again.fill_value), np.asarray(fill))
    assert hash(again.data_type) == hash(data_type(dtype))
    assert again.data_type.item_size == dtype.itemsize


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.0, 0.0, 1.5])
@pytest.mark.parametrize("code", ["g", ">g", "G"])
def test_fill_values_of_long_doubles(value: float, code: str) -> None:
    zdtype = data_type(np.dtype(code))
    fill = np.dtype(code).type(value)
    stored = zdtype.to_json_scalar(fill, zarr_format=3)
    assert (stored == 0) == (value == 0 and not np.signbit(value))
    back = zdtype.from_json_scalar(json.loads(json.dumps(stored)), zarr_format=3)
    np.testing.assert_array_equal(back, fill)
    assert np.signbit(back.real) == np.signbit(fill.real)
    # Padding has no say in the metadata.
    assert stored == zdtype.to_json_scalar(np.array(fill).astype(np.dtype(code).newbyteorder()), zarr_format=3)


def test_precision_of_long_doubles() -> None:
    third = np.longdouble(1) / 3
    zdtype = data_type(np.dtype("g"))
    assert zdtype.from_json_scalar(zdtype.to_json_scalar(third, zarr_format=3), zarr_format=3) == third != 1 / 3


def test_nan_payloads_in_structs() -> None:
    dtype = np.dtype([("a", "<f4", (2,))])
    fill = np.frombuffer(b"\1\2\xc0\x7f\0\0\0\0", dtype)[0]
    zdtype = data_type(dtype)
    back = zdtype.from_json_scalar(zdtype.to_json_scalar(fill, zarr_format=3), zarr_format=3)
    assert back.tobytes() == fill.tobytes()


def test_default_scalars() -> None:
    assert data_type(np.dtype("g")).default_scalar() == 0
    assert data_type(np.dtype([("a", "i4", (2,))])).default_scalar()["a"].tolist() == [0, 0]


@pytest.mark.parametrize("bad", [1.5, "!", "AAAA", "é", [], True, 7])
def test_scalars_that_are_none(bad: Any) -> None:
    with pytest.raises(TypeError, match="a scalar of packstore's"):
        data_type(np.dtype([("a", "i4", (2,))])).from_json_scalar(bad, zarr_format=3)


@pytest.mark.parametrize("dtype", [*FIXED, *VARIABLE, "f4", "S3", [("a", "i4")], "M8[s]", "?"], ids=str)
def test_zarr_chooses_as_it_did(dtype: Any) -> None:
    """What zarr makes of a numpy dtype does not depend on packstore."""
    dtype = np.dtype(dtype)

    def choice() -> Any:
        try:
            return repr(parse_dtype(dtype, zarr_format=3))
        except (ValueError, TypeError) as why:
            return type(why), str(why)

    with_it = choice()
    try:
        for name in NAMES:
            data_type_registry.unregister(name)
        without = choice()
    finally:
        for name in NAMES:
            data_type_registry.register(name, OwnType)
    assert with_it == without


def test_only_names_in_v3_metadata_lead_here() -> None:
    attempts: list[Callable[[], Any]] = [
        lambda: OwnType.from_native_dtype(np.dtype("g")),
        lambda: OwnType.from_json("float32", zarr_format=3),
        lambda: OwnType.from_json({"name": "|V8", "object_codec_id": None}, zarr_format=2),
    ]
    for attempt in attempts:
        with pytest.raises(ValueError, match=r"packstore\."):
            attempt()


def test_malformed_metadata_is_loud() -> None:
    with pytest.raises(DtypeError, match="a list of fields"):
        parse_dtype({"name": "packstore.struct", "configuration": {"fields": 3}}, zarr_format=3)
    with pytest.raises(DtypeError, match="expected Zarr v3"):
        data_type(np.dtype("g")).to_json(zarr_format=2)


def test_structs_that_zarr_has_stay_its_own() -> None:
    name, _ = names.metadata(np.dtype([("a", "i4"), ("b", "f8")]))
    assert name["name"] in ("struct", "structured")


def test_entry_points() -> None:
    project = tomllib.loads((Path(__file__).parents[4] / "pyproject.toml").read_text())["project"]
    declared = project["entry-points"]["zarr.data_type"]
    found = {name: getattr(import_module(to.split(":")[0]), to.split(":")[1]) for name, to in declared.items()}
    assert found == dict.fromkeys(NAMES, OwnType)


def test_registration_from_many_threads() -> None:
    """A registry that another thread searches may not change under it."""
    program = """
import sys, threading
import numpy as np, zarr
from concurrent.futures import ThreadPoolExecutor
from zarr.dtype import parse_dtype
import packstore
sys.setswitchinterval(1e-6)
def work(i):
    if i % 50 == 25:
        from packstore.views.zarr.dtypes.own import data_type
        return data_type(np.dtype("g")) is not None
    return parse_dtype("float32", zarr_format=3) is not None
with ThreadPoolExecutor(8) as pool:
    assert all(pool.map(work, range(400)))
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_many_threads_decode() -> None:
    data = example(PADDED, 40, np.random.default_rng(9))
    _, array = create(PADDED, (40,), (7,), config={"write_empty_chunks": True})
    array[:] = data
    with ThreadPoolExecutor(8) as pool:
        for got in pool.map(lambda _: array[:], range(16)):
            same(got, data)
