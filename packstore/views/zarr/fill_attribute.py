"""The attribute ``_FillValue`` in zarr v3, as xarray has it: for floats base64 of a little-endian double.

Source: xarray's zarr backend (`FillValueCoder`, https://github.com/pydata/xarray/blob/main/xarray/backends/zarr.py).
"""

from __future__ import annotations

import base64
import binascii
import struct
from typing import Any

import numpy as np

__all__ = ["decoded", "encoded"]

DOUBLE = struct.Struct("<d")


def encoded(value: Any, dtype: np.dtype[Any]) -> Any:
    """A fill value as the attribute of a zarr v3 array of that dtype holds it; unchanged where no coding is known.

    Examples
    --------
    >>> encoded(np.float32("nan"), np.dtype("f4")), encoded(7, np.dtype("i2"))
    ('AAAAAAAA+H8=', 7)
    """
    try:
        if dtype.kind == "f":
            return _double(float(value))
        if dtype.kind == "c":
            # A list of two is complex in JSON.
            number = complex(*value) if isinstance(value, (list, tuple)) else complex(value)
            return [_double(number.real), _double(number.imag)]
        if dtype.kind == "S":
            raw = value.encode("utf-8", "surrogateescape") if isinstance(value, str) else bytes(value)
            return base64.standard_b64encode(raw).decode("ascii")
    except (TypeError, ValueError, OverflowError):
        pass
    return value


def decoded(value: Any, dtype: np.dtype[Any]) -> Any:
    """The fill value behind such an attribute; unchanged where it is none.

    Examples
    --------
    >>> decoded("AAAAAAAA+D8=", np.dtype("f4")), decoded(-999.0, np.dtype("f4"))
    (np.float32(1.5), -999.0)
    """
    try:
        if dtype.kind == "f" and isinstance(value, str):
            return dtype.type(_number(value))
        if dtype.kind == "c" and isinstance(value, list) and all(isinstance(v, str) for v in value):
            return dtype.type(complex(*map(_number, value)))
        if dtype.kind == "S" and isinstance(value, str):
            return np.bytes_(base64.b64decode(value, validate=True))
    except (struct.error, binascii.Error, TypeError, ValueError):
        pass
    return value


def _double(value: float) -> str:
    return base64.standard_b64encode(DOUBLE.pack(value)).decode("ascii")


def _number(text: str) -> float:
    return float(DOUBLE.unpack(base64.b64decode(text, validate=True))[0])
