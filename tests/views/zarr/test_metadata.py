"""What zarr is told of an array, and the bytes it is then given."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from packstore.source import InlineBytes
from packstore.storage import MISSING, ManifestArray, chunked, contiguous
from packstore.views.zarr.metadata import array_metadata, element_nbytes, encode_chunk, to_zarr

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have a Zarr V3 specification")


def described(data: Any, order: Any = "C", **options: Any) -> ManifestArray:
    space = InlineBytes(data.tobytes(order), "x")
    return ManifestArray(
        data.shape, data.dtype, data.shape, contiguous(data.shape, space, 0, data.dtype, order), **options
    )


def test_document() -> None:
    array = described(
        np.zeros((2, 3), ">f4"), fill_value=np.float32(1.5), attributes={"units": "K"}, dimension_names=("y", None)
    )
    assert array_metadata(array) == {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [2, 3],
        "data_type": "float32",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2, 3]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 1.5,
        "codecs": [{"name": "bytes", "configuration": {"endian": "big"}}],
        "attributes": {"units": "K"},
        "storage_transformers": [],
        "dimension_names": ["y", None],
    }


def test_fortran_order_is_a_transpose() -> None:
    document = array_metadata(described(np.zeros((2, 3, 4), order="F"), "F"))
    assert document["codecs"][0] == {"name": "transpose", "configuration": {"order": [2, 1, 0]}}
    assert len(array_metadata(described(np.zeros(3), "F"))["codecs"]) == 1


@pytest.mark.parametrize("dtype", ["?", "i1", ">i2", "u8", "f2", ">f8", "c8", ">c16", "S4", ">U3", "M8[ns]", ">m8[s]"])
def test_document_is_json_and_zarr_reads_it_back(dtype: str) -> None:
    from zarr.core.metadata import ArrayV3Metadata

    array = described(np.zeros((3, 2), dtype))
    document = json.loads(json.dumps(array_metadata(array)))
    metadata = ArrayV3Metadata.from_dict(document)
    assert metadata.data_type.to_native_dtype() == np.dtype(dtype).newbyteorder("=")
    assert metadata.shape == (3, 2)
    # zero, and not zarr's own default: NaT would differ from what the direct path reads
    assert np.asarray(metadata.fill_value).astype(dtype).tobytes() == np.zeros((), dtype).tobytes()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.0])
def test_fill_values_that_json_has_not(value: float) -> None:
    from zarr.core.metadata import ArrayV3Metadata

    array = described(np.zeros(2), fill_value=np.float64(value))
    metadata = ArrayV3Metadata.from_dict(json.loads(json.dumps(array_metadata(array), allow_nan=False)))
    assert np.float64(metadata.fill_value).tobytes() == np.float64(value).tobytes()


def test_bytes_of_a_chunk() -> None:
    data = np.arange(6, dtype=">u2").reshape(2, 3)
    array = described(data)
    assert encode_chunk(array, data).tobytes() == data.tobytes()
    assert np.shares_memory(encode_chunk(array, data), data)
    fortran = np.asfortranarray(data)
    assert encode_chunk(described(fortran, "F"), fortran).tobytes() == data.tobytes("F")
    assert np.shares_memory(encode_chunk(described(fortran, "F"), fortran), fortran)
    assert encode_chunk(array, data[:, ::-1]).tobytes() == data[:, ::-1].tobytes()


def test_padded_struct_is_packed() -> None:
    data = np.array([(1, 2.5), (3, -1)], np.dtype([("a", ">u2"), ("b", "f8")], align=True))
    array = described(data)
    assert element_nbytes(array) == 10
    expected = np.array([(1, 2.5), (3, -1)], [("a", "<u2"), ("b", "<f8")])
    assert encode_chunk(array, data).tobytes() == expected.tobytes()


@pytest.mark.parametrize("kind", ["utf-8", "ascii"])
def test_text(kind: str) -> None:
    import h5py
    from numcodecs.vlen import VLenUTF8

    values: list[Any] = ["a", "\u00e9\u00e9", ""] if kind == "utf-8" else ["a", "\0\1", ""]
    dtype = h5py.string_dtype(kind)
    data = np.array([value.encode() for value in values], dtype=object)
    storage = chunked(
        InlineBytes(b"", "x"), (3,), np.full(1, MISSING), np.zeros(1, np.uint64), None, (), np.dtype("u1")
    )
    array = ManifestArray((3,), dtype, (3,), storage)
    document = array_metadata(array)
    assert document["codecs"][0]["name"] == "vlen-utf8"
    assert (document["data_type"], document["fill_value"]) == ("string", "")
    encoded = encode_chunk(array, data).tobytes()
    assert VLenUTF8().decode(encoded).tolist() == values


@pytest.mark.parametrize("fill", [b"ab", "ab"])
def test_fill_value_of_text(fill: Any) -> None:
    import h5py

    storage = contiguous((3,), InlineBytes(b"", "x"), 0, np.dtype("u1"))
    array = ManifestArray((3,), h5py.string_dtype(), (3,), storage, fill_value=fill)
    assert array_metadata(array)["fill_value"] == "ab"


def test_to_zarr_keeps_the_kind() -> None:
    array = described(np.zeros(2, ">i4"))
    assert type(to_zarr(array, np.int32(3), np.dtype("i4"))) is np.int32
    assert type(to_zarr(array, np.array(3, ">i4"), np.dtype("i4"))) is np.ndarray
    struct = np.zeros(2, [("a", ">i2")])
    native = np.dtype([("a", "<i2")])
    assert isinstance(to_zarr(described(struct), struct[0], native), np.void)
    assert to_zarr(described(struct), struct[0, ...], native).shape == ()
