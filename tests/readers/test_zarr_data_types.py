"""Data types and fill values that are read without zarr: the same as zarr makes of them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from zarr.dtype import data_type_registry

from packstore.readers.zarr.data_types import data_type_v2, data_type_v3

FILLS = ["0", "1", "-1", "true", "false", "0.0", "-0.0", "1.5", "255", "256", "65505", "70000", "1e39", "1e400", "NaN"]
FILLS += ['"NaN"', '"Infinity"', '"-Infinity"', '"0x7fc00000"', '"nan"', '""', "null", "[0, 0]", "18446744073709551616"]
NAMES = [
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
    "complex64",
    "r16",
]
V2_NAMES = [
    "|b1",
    "|i1",
    "|u1",
    "<i2",
    ">i2",
    "<u4",
    ">u8",
    "<i8",
    "<f2",
    ">f4",
    "<f8",
    "<i3",
    "=i4",
    "|S3",
    "<U2",
    "<M8[s]",
    "<c8",
]


def outcome(make: Any) -> Any:
    """The type and the bytes of the fill value, or None where there is an error."""
    try:
        dtype, fill = make()
        return dtype, np.asarray(fill, dtype).tobytes()
    except (ValueError, TypeError, KeyError, OverflowError):
        return None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", NAMES)
def test_v3_as_zarr(name: str) -> None:
    for fill in FILLS:
        value = json.loads(fill)

        def by_zarr(value: Any = value) -> Any:
            found = data_type_registry.match_json(name, zarr_format=3)
            return found.to_native_dtype(), found.from_json_scalar(value, zarr_format=3)

        assert outcome(lambda value=value: data_type_v3(name, value)) == outcome(by_zarr), fill


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", V2_NAMES)
def test_v2_as_zarr(name: str) -> None:
    for fill in FILLS:
        value = json.loads(fill)

        def by_zarr(value: Any = value) -> Any:
            found = data_type_registry.match_json({"name": name, "object_codec_id": None}, zarr_format=2)
            scalar = found.default_scalar() if value is None else found.from_json_scalar(value, zarr_format=2)
            return found.to_native_dtype(), scalar

        assert outcome(lambda value=value: data_type_v2(name, value)) == outcome(by_zarr), fill
