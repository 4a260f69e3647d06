"""A manifest array as Zarr v3 metadata, and its chunks as the bytes that metadata promises."""

from __future__ import annotations

import sys
from collections.abc import Container
from typing import Any

import numpy as np
import numpy.typing as npt

from packstore.codecs import elements
from packstore.core.keys import parent_paths, path_reason
from packstore.storage import ManifestArray
from packstore.views.zarr import dtypes
from packstore.views.zarr.dtypes import names

__all__ = ["array_metadata", "array_reason", "element_nbytes", "encode_chunk", "node_reason", "to_zarr"]


def array_reason(array: ManifestArray) -> str | None:
    """Why zarr has no data type for the array; None where it has."""
    if array.zarr_kind in ("string", "bytes"):
        return None
    return names.reason(array.dtype)


def node_reason(path: str, array: ManifestArray, arrays: Container[str]) -> str | None:
    """Why zarr cannot have `array` at `path`, where `arrays` are the paths of all arrays; None where it can."""
    reason = path_reason(path) or array.zarr_reason or array_reason(array)
    if reason is None:
        above = next((parent for parent in parent_paths(path) if parent in arrays), None)
        reason = None if above is None else f"zarr has no node below the array {above!r}"
    return reason


def element_nbytes(array: ManifestArray) -> int:
    """Bytes of an element as zarr stores it."""
    return names.packed(array.dtype).itemsize


def _zdtype(array: ManifestArray) -> tuple[Any, Any, str]:
    """JSON data type, zarr data type and serializer name."""
    if array.zarr_kind == "string":
        from zarr.dtype import VariableLengthUTF8

        # Its constructor is untyped in some releases of zarr.
        make: Any = VariableLengthUTF8
        string = make()
        return string.to_json(zarr_format=3), string, "vlen-utf8"
    if array.zarr_kind == "bytes":
        from zarr.dtype import VariableLengthBytes

        data = VariableLengthBytes()
        return data.to_json(zarr_format=3), data, "vlen-bytes"
    json_type, zdtype = names.metadata(array.dtype)
    return json_type, zdtype, dtypes.SERIALIZER if array.zarr_kind == "vlen" else "bytes"


def array_metadata(array: ManifestArray) -> dict[str, Any]:
    """The array's ``zarr.json`` as a dict (Zarr v3 core specification, "Array metadata")."""
    json_type, zdtype, serializer = _zdtype(array)
    codecs: list[dict[str, Any]] = []
    if _is_fortran(array):
        order = list(range(len(array.shape)))[::-1]
        codecs.append({"name": "transpose", "configuration": {"order": order}})
    if serializer == "bytes" and dtypes.is_described(array.dtype):
        # The data type says how elements lie in memory, byte order included.
        codecs.append({"name": "bytes"})
    elif serializer == "bytes":
        endian = "big" if _is_big_endian(array.dtype) else "little"
        codecs.append({"name": "bytes", "configuration": {"endian": endian}})
    else:
        codecs.append({"name": serializer, "configuration": {}})
    fill = array.fill_value
    if dtypes.is_described(array.dtype) and array.zarr_kind != "string":
        fill = 0 if fill is None else fill
    elif fill is None and array.zarr_kind is None:
        # Not zarr's default, which is NaT for datetimes: the direct path reads zeros where nothing is stored.
        fill = np.zeros((), names.packed(array.dtype))[()]
    elif fill is None:
        fill = zdtype.default_scalar()
    elif array.zarr_kind == "string":
        fill = fill.decode("utf-8", "replace") if isinstance(fill, bytes) else str(fill)
    elif array.zarr_kind is None:
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
        "attributes": dict(array.attributes),
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


def encode_chunk(array: ManifestArray, chunk: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """The bytes of a whole chunk under the codecs of `array_metadata`, as a uint8 array.

    Notes
    -----
    A view where the chunk is already laid out like that, else one copy.
    """
    if array.zarr_kind == "string":
        from numcodecs.vlen import VLenUTF8

        texts = np.array([_text(v) for v in chunk.ravel().tolist()], dtype=object)
        return np.frombuffer(VLenUTF8().encode(texts), np.uint8)
    if array.zarr_kind == "bytes":
        from numcodecs.vlen import VLenBytes

        blobs = np.empty(chunk.size, dtype=object)
        blobs[:] = [b"" if v is None or isinstance(v, int) else bytes(v) for v in chunk.ravel().tolist()]
        return np.frombuffer(VLenBytes().encode(blobs), np.uint8)
    if array.zarr_kind == "vlen":
        return elements.encode(chunk, array.dtype)
    packed = names.packed(array.dtype)
    if packed != chunk.dtype:
        chunk = chunk.astype(packed)
    if _is_fortran(array):
        chunk = chunk.T
    flat = np.ascontiguousarray(chunk).reshape(-1)
    return flat.view(np.uint8) if flat.dtype.itemsize else np.empty(0, np.uint8)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8")
    return "" if value is None or isinstance(value, int) else str(value)


def to_zarr(array: ManifestArray, part: Any, dtype: Any) -> Any:
    """Elements read on the direct path, in the dtype that zarr gives for the array."""
    if array.zarr_kind == "string":
        values = np.asarray(part, dtype=object)
        texts = np.array([_text(v) for v in values.ravel().tolist()], dtype=dtype).reshape(values.shape)
        return texts if isinstance(part, np.ndarray) else texts[()]
    if array.zarr_kind == "vlen":
        # One element of an object array is itself an ndarray, of another dtype.
        return part
    if isinstance(part, (np.ndarray, np.generic)):
        if array.dtype.fields is not None:
            out = np.asarray(part).astype(dtype)
            return out if isinstance(part, np.ndarray) else out[()]
        return part.astype(dtype, copy=False)
    return part
