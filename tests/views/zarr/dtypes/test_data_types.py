"""The data types within zarr: metadata, fill values, chunks."""

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
import h5py
import numpy as np
import pytest
import zarr
from zarr.core.metadata import ArrayV3Metadata
from zarr.dtype import data_type_registry, parse_dtype
from zarr.storage import MemoryStore

from packstore.errors import CodecConfigError, DtypeError
from packstore.views.zarr.dtypes import data_type, names, registration
from packstore.views.zarr.dtypes.codec import VlenCodec

from .test_elements import FIXED, PADDED, TEXT, VARIABLE, example, same

FUSED = "zarr.core.codec_pipeline.FusedCodecPipeline"
PIPELINES = [
    "zarr.core.codec_pipeline.BatchedCodecPipeline",
    *([FUSED] if hasattr(zarr.core.codec_pipeline, "FusedCodecPipeline") else []),
]


def create(dtype: Any, shape: tuple[int, ...], chunks: tuple[int, ...], **options: Any) -> tuple[MemoryStore, Any]:
    store = MemoryStore()
    serializer: Any = VlenCodec() if dtype.hasobject else "auto"
    array = zarr.create_array(
        store, shape=shape, chunks=chunks, dtype=data_type(dtype), serializer=serializer, compressors=None, **options
    )
    return store, array


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("dtype", [*FIXED, *VARIABLE], ids=str)
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
            same(np.asarray(missing), np.asarray(fill[()] if dtype.kind == "O" else fill))
        same(got[1:4, ::2], data[1:4, ::2].copy())
        same(got.oindex[np.array([0, 4, 2]), 1:3], data[[0, 4, 2], 1:3])
        same(got.vindex[[0, 4], [6, 1]], data[[0, 4], [6, 1]])
        # zarr gives one element as a 0-d array.
        same(np.asarray(got[3, 2]), data[3, 2, ...])
        same(np.asarray(got.oindex[3, 2]), data[3, 2, ...])
        same(da.from_zarr(got)[:5].compute(scheduler="threads"), data)


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_an_array_of_one_element(pipeline: str) -> None:
    data = np.empty((), VARIABLE[0])
    data[()] = np.array([5, 6], ">i2")
    with zarr.config.set({"codec_pipeline.path": pipeline}):
        _, array = create(VARIABLE[0], (), (), config={"write_empty_chunks": True})
        array[...] = data
        same(array[()], data[()])


@pytest.mark.parametrize("dtype", [*FIXED, *VARIABLE], ids=str)
def test_metadata_round_trip(dtype: Any) -> None:
    dtype = np.dtype(dtype)
    fill = example(dtype, 1, np.random.default_rng(5))
    fill = fill.reshape(()) if dtype.kind == "O" else fill[0]
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
    empty = data_type(h5py.vlen_dtype(np.dtype(">i2"))).default_scalar()
    assert empty.shape == () and empty[()].dtype == ">i2" and empty[()].shape == (0,)
    text = data_type(np.dtype([("s", TEXT)]))
    assert text.default_scalar()["s"] == b""
    assert text.cast_scalar(("é",))["s"] == "é"
    assert text.to_json_scalar(("é",), zarr_format=3) == text.to_json_scalar(("é".encode(),), zarr_format=3)


@pytest.mark.parametrize("bad", [1.5, "!", "AAAA", "é", [], True, 7])
def test_scalars_that_are_none(bad: Any) -> None:
    with pytest.raises(TypeError, match=r"a scalar of packstore\.struct"):
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

    registration.register()
    ours = dict(data_type_registry.contents)
    with_it = choice()
    try:
        for name in registration.CLASSES:
            data_type_registry.unregister(name)
        without = choice()
    finally:
        object.__setattr__(data_type_registry, "contents", ours)
    assert with_it == without


@pytest.mark.parametrize("cls", registration.CLASSES.values())
def test_only_names_in_v3_metadata_lead_here(cls: Any) -> None:
    attempts: list[Callable[[], Any]] = [
        lambda: cls.from_native_dtype(np.dtype("g")),
        lambda: cls.from_json("float32", zarr_format=3),
        lambda: cls.from_json({"name": "|V8", "object_codec_id": None}, zarr_format=2),
    ]
    for attempt in attempts:
        with pytest.raises(ValueError, match=r"packstore\."):
            attempt()


def test_malformed_metadata_is_loud() -> None:
    registration.register()
    with pytest.raises(DtypeError, match="a list of fields"):
        parse_dtype({"name": "packstore.struct", "configuration": {"fields": 3}}, zarr_format=3)
    with pytest.raises(DtypeError, match="expected Zarr v3"):
        data_type(np.dtype("g")).to_json(zarr_format=2)


def test_structs_that_zarr_has_stay_its_own() -> None:
    name, _ = names.metadata(np.dtype([("a", "i4"), ("b", "f8")]))
    assert name["name"] in ("struct", "structured")


def test_codec_refuses_other_types() -> None:
    with pytest.raises(DtypeError, match=r"a data type for packstore\.vlen"):
        zarr.create_array({}, shape=(2,), dtype="i4", serializer=VlenCodec())
    with pytest.raises(CodecConfigError, match="no configuration"):
        VlenCodec.from_dict({"name": "packstore.vlen", "configuration": {"level": 1}})
    with pytest.raises(NotImplementedError, match="depends on them"):
        VlenCodec().compute_encoded_size(8, None)  # type: ignore[arg-type]  # not looked at


def test_entry_points() -> None:
    project = tomllib.loads((Path(__file__).parents[4] / "pyproject.toml").read_text())["project"]
    declared = project["entry-points"]["zarr.data_type"]
    found = {name: getattr(import_module(to.split(":")[0]), to.split(":")[1]) for name, to in declared.items()}
    assert found == registration.CLASSES
    assert project["entry-points"]["zarr.codecs"]["packstore.vlen"] == "packstore.views.zarr.dtypes.codec:VlenCodec"


def test_registration_from_many_threads() -> None:
    """A registry that another thread searches may not change under it."""
    program = """
import sys, threading
import numpy as np, zarr
from concurrent.futures import ThreadPoolExecutor
from zarr.dtype import parse_dtype
from packstore.views.zarr.dtypes import data_type
sys.setswitchinterval(1e-6)
def work(i):
    if i % 50 == 25:
        return data_type(np.dtype("g")) is not None
    return parse_dtype("float32", zarr_format=3) is not None
with ThreadPoolExecutor(8) as pool:
    assert all(pool.map(work, range(400)))
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_many_threads_decode() -> None:
    dtype = h5py.vlen_dtype(PADDED)
    data = example(dtype, 40, np.random.default_rng(9))
    _, array = create(dtype, (40,), (7,), config={"write_empty_chunks": True})
    array[:] = data
    with ThreadPoolExecutor(8) as pool:
        for got in pool.map(lambda _: array[:], range(16)):
            same(got, data)
