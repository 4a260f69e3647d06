"""A manifest array as Zarr v3 metadata, and its chunks as the bytes that metadata promises."""

from __future__ import annotations

import sys
from collections.abc import Container
from typing import Any

import numpy as np
import numpy.typing as npt

from packstore.core.keys import parent_paths, path_reason
from packstore.storage import ManifestArray
from packstore.views.zarr.dtypes import names
from packstore.views.zarr.fill_values import for_xarray
from packstore.views.zarr.text import Decode, as_text

__all__ = ["array_metadata", "array_reason", "element_nbytes", "encode_chunk", "node_reason", "to_zarr"]


def array_reason(array: ManifestArray) -> str | None:
    """Why zarr has no data type for the array; None where it has."""
    return names.reason(array.dtype)


def node_reason(path: str, array: ManifestArray, arrays: Container[str]) -> str | None:
    """Why zarr cannot have `array` at `path`, where `arrays` are the paths of all arrays; None where it can."""
    reason = path_reason(path) or array_reason(array)
    if reason is None:
        above = next((parent for parent in parent_paths(path) if parent in arrays), None)
        reason = None if above is None else f"{above!r} is an array, so zarr cannot have {path!r} below it"
    return reason


def element_nbytes(array: ManifestArray) -> int:
    """Bytes of an element as zarr stores it."""
    return names.packed(array.dtype).itemsize


def array_metadata(array: ManifestArray) -> dict[str, Any]:
    """The array's ``zarr.json`` as a dict (Zarr v3 core specification, "Array metadata")."""
    json_type, zdtype = names.metadata(array.dtype)
    codecs: list[dict[str, Any]] = []
    if _is_fortran(array):
        order = list(range(len(array.shape)))[::-1]
        codecs.append({"name": "transpose", "configuration": {"order": order}})
    if names.is_text(array.dtype):
        codecs.append({"name": "vlen-utf8", "configuration": {}})
    elif names.is_own(array.dtype):
        # The data type says how elements lie in memory, byte order included.
        codecs.append({"name": "bytes"})
    else:
        endian = "big" if _is_big_endian(array.dtype) else "little"
        codecs.append({"name": "bytes", "configuration": {"endian": endian}})
    fill = array.fill_value
    if names.is_text(array.dtype):
        fill = fill.decode("utf-8", "replace") if isinstance(fill, bytes) else str("" if fill is None else fill)
    elif fill is None:
        # Not zarr's default, which is NaT for datetimes: the direct path reads zeros where nothing is stored.
        fill = np.zeros((), names.packed(array.dtype))[()]
    else:
        packed = names.packed(array.dtype)
        fill = np.asarray(fill, array.dtype).astype(packed)[()] if packed != array.dtype else fill
    document: dict[str, Any] = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(array.shape),
        "data_type": json_type,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(array.chunk_shape)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": zdtype.to_json_scalar(fill, zarr_format=3),
        "codecs": codecs,
        "attributes": for_xarray(array),
        "storage_transformers": [],
    }
    if array.dimension_names is not None:
        document["dimension_names"] = list(array.dimension_names)
    return document


def _is_fortran(array: ManifestArray) -> bool:
    return array.storage.order == "F" and len(array.shape) > 1


def _is_big_endian(dtype: np.dtype[Any]) -> bool:
    if dtype.fields is not None:
        # zarr keeps the byte order of the fields of a struct out of the codec's hands; `packed` made them little.
        return False
    order = dtype.base.byteorder
    return order == ">" or (order == "=" and sys.byteorder == "big")


def encode_chunk(array: ManifestArray, chunk: npt.NDArray[Any], decode: Decode = bytes.decode) -> npt.NDArray[np.uint8]:
    """The bytes of a whole chunk under the codecs of `array_metadata`, as a uint8 array.

    Notes
    -----
    A view where the chunk is already laid out like that, else one copy.
    """
    if names.is_text(array.dtype):
        from numcodecs.vlen import VLenUTF8

        texts = np.array([as_text(v, decode) for v in chunk.ravel().tolist()], dtype=object)
        return np.frombuffer(VLenUTF8().encode(texts), np.uint8)
    packed = names.packed(array.dtype)
    if packed != chunk.dtype:
        chunk = chunk.astype(packed)
    if _is_fortran(array):
        chunk = chunk.T
    flat = np.ascontiguousarray(chunk).reshape(-1)
    return flat.view(np.uint8) if flat.dtype.itemsize else np.empty(0, np.uint8)


def to_zarr(array: ManifestArray, part: Any, dtype: Any, decode: Decode = bytes.decode) -> Any:
    """Elements read on the direct path, in the dtype that zarr gives for the array."""
    if names.is_text(array.dtype):
        values = np.asarray(part, dtype=object)
        texts = np.array([as_text(v, decode) for v in values.ravel().tolist()], dtype=dtype).reshape(values.shape)
        return texts if isinstance(part, np.ndarray) else texts[()]
    if isinstance(part, (np.ndarray, np.generic)):
        if array.dtype.fields is not None:
            out = np.asarray(part).astype(dtype)
            return out if isinstance(part, np.ndarray) else out[()]
        return part.astype(dtype, copy=False)
    return part
