"""Sub-byte and brain types of ml_dtypes in zarr, which has none of its own yet: a user registers them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import ml_dtypes
import numpy as np
import pytest
import zarr.dtype
import zarr.errors
from zarr.dtype import ZDType, data_type_registry

from packstore.codecs.packbits import PackBitsCodec
from packstore.testing.codecs import assert_same_bits, pipelines, using_pipeline

# zarr 3.1 has the exception beside its data types.
_home: Any = zarr.errors if hasattr(zarr.errors, "DataTypeValidationError") else zarr.dtype
DataTypeValidationError = _home.DataTypeValidationError


def _make(name: str) -> type[ZDType[Any, Any]]:
    scalar = getattr(ml_dtypes, name)

    @dataclass(frozen=True)
    class Small(ZDType[Any, Any]):
        _zarr_v3_name: ClassVar[str] = name
        dtype_cls: ClassVar[Any] = type(np.dtype(scalar))

        @classmethod
        def from_native_dtype(cls, dtype: Any) -> Any:
            return cls()

        def to_native_dtype(self) -> Any:
            return np.dtype(scalar)

        @classmethod
        def _check_json_v3(cls, data: Any) -> bool:
            return bool(data == name)

        @classmethod
        def _from_json_v2(cls, data: Any) -> Any:
            raise DataTypeValidationError(name)

        @classmethod
        def _from_json_v3(cls, data: Any) -> Any:
            if data != name:
                raise DataTypeValidationError(name)
            return cls()

        def to_json(self, zarr_format: Any) -> Any:
            return name

        def _check_scalar(self, data: Any) -> bool:
            return True

        def cast_scalar(self, data: Any) -> Any:
            return scalar(data)

        def default_scalar(self) -> Any:
            return scalar(0)

        def from_json_scalar(self, data: Any, *, zarr_format: Any) -> Any:
            return scalar(data)

        def to_json_scalar(self, data: Any, *, zarr_format: Any) -> Any:
            return int(data)

    return Small


@pytest.fixture(params=[("int2", 2), ("uint2", 2), ("int4", 4), ("uint4", 4), ("bfloat16", 16)], ids=lambda p: p[0])
def small(request: pytest.FixtureRequest) -> Iterator[tuple[np.dtype, int]]:
    name, bits = request.param
    data_type_registry.register(name, _make(name))
    yield np.dtype(getattr(ml_dtypes, name)), bits
    data_type_registry.unregister(name)


@pytest.mark.parametrize("pipeline", pipelines())
def test_in_zarr(tmp_path: Path, small: tuple[np.dtype, int], pipeline: str) -> None:
    dtype, bits = small
    word = f"u{dtype.itemsize}"
    array = np.random.default_rng(0).integers(0, min(2**bits, 1000), (20, 30)).astype(word).view(dtype)
    with using_pipeline(pipeline):
        z = zarr.create_array(
            tmp_path, shape=array.shape, chunks=(8, 16), dtype=dtype, serializer=PackBitsCodec(), compressors=None
        )
        z[...] = array
        assert (tmp_path / "c" / "0" / "0").stat().st_size == 8 * 16 * bits // 8
        again = zarr.open_array(tmp_path, mode="r")
        assert_same_bits(again[...], array)
        assert_same_bits(again[3:17, 5:29:2], array[3:17, 5:29:2])
