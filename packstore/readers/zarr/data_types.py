"""The data type and the fill value of an array's metadata in, those of numpy out.

Booleans and numbers that are written as the specifications say are known here; all else is put to zarr, whose import
takes a quarter of a second.
"""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

__all__ = ["data_type_v2", "data_type_v3"]

_NUMBERS = frozenset(
    ["bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)), "float16", "float32", "float64"]
)
_V2_NUMBER = re.compile(r"\|b1|\|[iu]1|[<>](?:[iu][248]|f[248])")
_WORDS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def data_type_v3(name: Any, fill_value: Any) -> tuple[np.dtype[Any], Any]:
    """Read ``data_type`` and ``fill_value`` of a ``zarr.json``.

    Raises
    ------
    ValueError, TypeError, KeyError
        zarr does not take them.

    Examples
    --------
    >>> data_type_v3("float32", "NaN")
    (dtype('float32'), nan)
    """
    known = _known(name, fill_value) if isinstance(name, str) and name in _NUMBERS else None
    if known is not None:
        return known
    from zarr.dtype import data_type_registry

    found = data_type_registry.match_json(name, zarr_format=3)
    return found.to_native_dtype(), found.from_json_scalar(fill_value, zarr_format=3)


def data_type_v2(name: Any, fill_value: Any) -> tuple[np.dtype[Any], Any]:
    """Read ``dtype`` and ``fill_value`` of a ``.zarray``; without a fill value it is the zero of the type.

    Raises
    ------
    ValueError, TypeError, KeyError
        zarr does not take them.

    Examples
    --------
    >>> data_type_v2(">i2", None)
    (dtype('>i2'), 0)
    """
    if isinstance(name, str) and _V2_NUMBER.fullmatch(name):
        known = (np.dtype(name), 0) if fill_value is None else _known(name, fill_value)
        if known is not None:
            return known
    from zarr.dtype import data_type_registry

    found = data_type_registry.match_json({"name": name, "object_codec_id": None}, zarr_format=2)
    fill = found.default_scalar() if fill_value is None else found.from_json_scalar(fill_value, zarr_format=2)
    return found.to_native_dtype(), fill


def _known(name: str, value: Any) -> tuple[np.dtype[Any], Any] | None:
    """A boolean or number type and its fill value; None where that is written otherwise, or does not fit."""
    dtype = np.dtype(name)
    if dtype.kind == "b":
        fits = type(value) is bool
    elif dtype.kind in "iu":
        fits = type(value) is int and int(np.iinfo(dtype).min) <= value <= int(np.iinfo(dtype).max)
    elif type(value) is str:
        fits = value in _WORDS
    else:
        fits = type(value) in (int, float) and (not math.isfinite(value) or abs(value) <= float(np.finfo(dtype).max))
    return (dtype, _WORDS.get(value, value)) if fits else None
