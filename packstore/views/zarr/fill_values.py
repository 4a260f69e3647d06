"""xarray's spelling of `_FillValue` in zarr v3 attributes: a value and a dtype go in, JSON comes out, and back.

JSON has no word for most floats, so xarray stores the base64 text of the eight little-endian bytes (`FillValueCoder` in
``xarray/backends/zarr.py``), and refuses a plain number.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from packstore.storage import Attributes, ManifestArray

__all__ = ["FILL_VALUE", "decode_fill_value", "encode_fill_value", "for_xarray", "left_out"]

# The attribute.
FILL_VALUE = "_FillValue"


def left_out(path: str, array: ManifestArray) -> dict[str, str]:
    """What `for_xarray` leaves out of an array's attributes: ``path@name``, and the reason."""
    attributes = array.attributes
    found = {f"{path}@{n}": f"{attributes[n]}: NetCDF does not count it as an attribute" for n in _unseen(attributes)}
    if FILL_VALUE in attributes and encode_fill_value(attributes[FILL_VALUE], array.dtype) is None:
        why = f"{attributes[FILL_VALUE]!r:.80}: xarray cannot read a {FILL_VALUE} of {array.dtype} from zarr attributes"
        found[f"{path}@{FILL_VALUE}"] = why
    return found


def for_xarray(array: ManifestArray) -> dict[str, Any]:
    """The attributes of an array as zarr's metadata has them; those of a zarr array stay as they are.

    A `_FillValue` for which xarray has no spelling is left out: with it, xarray would open nothing of the group.
    """
    unseen = _unseen(array.attributes)
    out = {name: value for name, value in array.attributes.items() if name not in unseen}
    if FILL_VALUE in out:
        encoded = encode_fill_value(out.pop(FILL_VALUE), array.dtype)
        if encoded is not None:
            out[FILL_VALUE] = encoded
    return out


def _unseen(attributes: Mapping[str, Any]) -> frozenset[str]:
    return attributes.unseen if isinstance(attributes, Attributes) else frozenset()


def encode_fill_value(value: Any, dtype: np.dtype[Any]) -> Any:
    """A `_FillValue` as xarray writes it for an array of `dtype`; None where xarray has no spelling for it.

    Examples
    --------
    >>> encode_fill_value(-9999.0, np.dtype("f4")), encode_fill_value([7], np.dtype("i2"))
    ('AAAAAICHw8A=', 7)
    """
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    if dtype.kind == "c" and isinstance(value, list) and len(value) == 2:
        parts = [encode_fill_value(part, np.dtype("f8")) for part in value]
        return None if None in parts else parts
    if dtype.kind == "f":
        if isinstance(value, str):
            # The spelling itself, where a zarr array is served.
            return value if decode_fill_value(value, dtype) is not value else None
        return _base64(value) if isinstance(value, (int, float)) else None
    if dtype.kind in "iu":
        # A fraction, or a value outside the dtype, equals no element, whatever it is spelt.
        return int(value) if isinstance(value, (int, float)) and np.isfinite(value) else None
    return bool(value) if dtype.kind == "b" and isinstance(value, (bool, int)) else None


def decode_fill_value(value: Any, dtype: np.dtype[Any]) -> Any:
    """The number behind xarray's spelling of a `_FillValue`; anything else as it is.

    Examples
    --------
    >>> decode_fill_value("AAAAAICHw8A=", np.dtype("f4")), decode_fill_value(7, np.dtype("i2"))
    (-9999.0, 7)
    """
    if dtype.kind == "c" and isinstance(value, list) and len(value) == 2:
        return [decode_fill_value(part, np.dtype("f8")) for part in value]
    if dtype.kind == "f" and isinstance(value, str):
        try:
            return struct.unpack("<d", base64.b64decode(value, validate=True))[0]
        except (binascii.Error, struct.error):
            return value
    return value


def _base64(value: float) -> str:
    return base64.standard_b64encode(struct.pack("<d", float(value))).decode("ascii")
