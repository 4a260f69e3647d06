"""Attributes as JSON holds them: what a zarr target gets, by the table of `packstore.readers.hdf5.attributes`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from packstore.errors import DtypeError, message

__all__ = ["json_attributes"]

# Python has a type of its own for these, so JSON keeps them.
_KEPT = (np.dtype(np.int64), np.dtype(np.float64), np.dtype(np.bool_))


def json_attributes(attributes: Mapping[str, Any], name: str) -> tuple[dict[str, Any], int]:
    """The attributes of the node `name` as JSON values, and how many of them lose their type.

    Raises
    ------
    DtypeError
        A value that no JSON stands for.

    Examples
    --------
    >>> json_attributes({"gain": np.int16(2), "z": 1j, "names": ["a", "b"]}, "x")
    ({'gain': 2, 'z': [0.0, 1.0], 'names': ['a', 'b']}, 2)
    """
    out: dict[str, Any] = {}
    changed = 0
    for key, value in attributes.items():
        try:
            out[str(key)] = _json(value)
        except TypeError as why:
            expected = f"an attribute {str(key)!r} that JSON can hold"
            raise DtypeError(message("saving", None, name or None, expected=expected, got=why)) from None
        # A fill value is of the type of its array.
        changed += key != "_FillValue" and _changes(value)
    return out, changed


def _json(value: Any) -> Any:
    if value is None or (isinstance(value, (bool, int, float, str)) and not isinstance(value, np.generic)):
        return _text(value) if isinstance(value, str) else value
    if isinstance(value, (list, tuple)):
        return [_json(v) for v in value]
    if isinstance(value, Mapping):
        return {str(k): _json(v) for k, v in value.items()}
    if isinstance(value, complex) and not isinstance(value, np.generic):
        return [value.real, value.imag]
    if isinstance(value, (np.ndarray, np.generic, bytes)):
        # Not at the top: it imports h5py, which plain values do not need.
        from packstore.readers.hdf5.attributes import to_json

        return to_json(value)
    if type(value).__module__.partition(".")[0] == "h5py":
        # Empty: a type without a value. References point into the file that they come from.
        return None
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    raise TypeError(f"{type(value).__module__}.{type(value).__name__}")


def _text(value: str) -> str:
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") if _odd(value) else value


def _odd(value: str) -> bool:
    return any("\ud800" <= c <= "\udfff" for c in value) if not value.isascii() else False


def _changes(value: Any) -> bool:
    """Whether the type of a value cannot be told from its JSON."""
    if isinstance(value, np.ndarray):
        return value.dtype not in _KEPT and not _is_text(value)
    if isinstance(value, np.generic):
        return value.dtype not in _KEPT and value.dtype.kind != "U"
    plain = value is None or isinstance(value, (bool, int, float, str, list, tuple, Mapping))
    return not plain


def _is_text(value: np.ndarray[Any, Any]) -> bool:
    return value.dtype.kind in "UT" or (value.dtype.metadata or {}).get("vlen") is str
