"""numpy dtypes in zarr's terms: which of them zarr can hold, and under which name.

zarr is imported on the first call, not with this module.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

__all__ = ["metadata", "packed", "reason"]

DType = np.dtype[Any]


@functools.lru_cache(maxsize=512)
def reason(dtype: DType) -> str | None:
    """Why zarr has no data type for `dtype`; None where it has.

    Examples
    --------
    >>> reason(np.dtype("f4")) is None
    True
    """
    from zarr.dtype import parse_dtype

    if dtype.kind == "O":
        return "zarr has no data type for Python objects"
    if dtype.itemsize == 0:
        return f"zarr has no data type for zero-width elements ({dtype})"
    target = packed(dtype)
    try:
        zdtype = parse_dtype(target, zarr_format=3)
        again = type(zdtype).from_json(zdtype.to_json(zarr_format=3), zarr_format=3).to_native_dtype()
    except (ValueError, TypeError, KeyError, NotImplementedError) as error:
        text = str(error).split("\n")[0][:200]
        return f"zarr has no data type for {dtype} ({text})"
    if again != target.newbyteorder("="):
        return f"zarr has no data type for {dtype} (it would read as {again})"
    return None


@functools.lru_cache(maxsize=512)
def metadata(dtype: DType) -> tuple[Any, Any]:
    """The JSON form and the zarr data type of `dtype` (as `packed`)."""
    from zarr.dtype import parse_dtype

    zdtype = parse_dtype(packed(dtype), zarr_format=3)
    return zdtype.to_json(zarr_format=3), zdtype


@functools.lru_cache(maxsize=512)
def packed(dtype: DType) -> DType:
    """`dtype` as zarr stores it: a struct without padding, its fields little-endian; any other as it is.

    Examples
    --------
    >>> packed(np.dtype([("a", "u1"), ("b", ">i4")], align=True))
    dtype([('a', 'u1'), ('b', '<i4')])
    """
    if dtype.fields is None or dtype.names is None:
        return dtype
    fields: list[tuple[str, Any] | tuple[str, Any, tuple[int, ...]]] = []
    for name in dtype.names:
        member = dtype.fields[name][0]
        base = packed(member.base)
        if base.fields is None:
            base = base.newbyteorder("<")
        fields.append((name, base, member.shape) if member.shape else (name, base))
    return np.dtype(fields)
