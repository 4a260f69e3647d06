"""Variables of NetCDF-4 files; in: a dataset's array and the lengths of its dimensions, out: NetCDF's view of it.

The NetCDF libraries let a dataset be shorter than its unlimited dimension, and read the rest as its fill value.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from h5py import h5d

from packstore.readers.concatenated import Padded
from packstore.readers.hdf5.links import Target
from packstore.storage import ManifestArray, ReaderStorage, missing_value

__all__ = ["as_long_as"]

# NC_FILL_BYTE, … of netcdf.h; 8-byte integers end in 6 and 4 there.
_INTEGERS = {"i1": -127, "i2": -32767, "i4": -2147483647, "i8": -9223372036854775806}
_UNSIGNED = {"u1": 255, "u2": 65535, "u4": 4294967295, "u8": 18446744073709551614}
_FILLS: dict[str, int | float] = _INTEGERS | _UNSIGNED | {"f4": 9.9692099683868690e36, "f8": 9.9692099683868690e36}


def as_long_as(array: ManifestArray, target: Target, shape: tuple[int, ...]) -> ManifestArray:
    """The array in the `shape` of its dimensions, filled up beyond its end as the NetCDF library reads it."""
    if shape == array.shape:
        return array
    padded = Padded(array, shape, _fill(array, target))
    return replace(array, shape=shape, storage=ReaderStorage(padded))


def _fill(array: ManifestArray, target: Target) -> Any:
    """The fill value of the dataset, to which NetCDF sets its `_FillValue`; else NetCDF's own for the type."""
    dtype = array.dtype
    if dtype.kind == "O":
        item = dict(dtype.metadata or {}).get("vlen")
        return b"" if item in (str, bytes) else np.empty(0, item)
    if target.oid.get_create_plist().fill_value_defined() == h5d.FILL_VALUE_USER_DEFINED:
        return missing_value(array)
    return _FILLS.get(dtype.str[1:], np.zeros((), dtype)[()])
