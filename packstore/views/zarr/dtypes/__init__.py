"""Zarr v3 data types for what zarr itself has no name for.

``packstore.struct`` (structs with array members, long doubles or variable-length members), ``packstore.longdouble`` and
``packstore.vlen_sequence`` describe a numpy dtype exactly: byte order, offsets and padding included. They are found by
their names in array metadata alone and never claim a numpy dtype, so what ``zarr.create_array(dtype=...)`` does is
not changed. Elements of fixed size are stored by zarr's ``bytes`` codec, the others by
`packstore.views.zarr.dtypes.codec`.

zarr is imported by `data_type`, not with this module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from packstore.codecs import elements
from packstore.errors import DtypeError

if TYPE_CHECKING:
    from packstore.views.zarr.dtypes.base import DescribedType

__all__ = ["SERIALIZER", "data_type", "is_described", "reason"]

# The name of `packstore.views.zarr.dtypes.codec.VlenCodec` in metadata.
SERIALIZER = "packstore.vlen"


def is_described(dtype: np.dtype[Any]) -> bool:
    """Whether `dtype` is one for the data types of this package (if for any): zarr cannot have it.

    Examples
    --------
    >>> is_described(np.dtype([("a", "f4", (3,))])), is_described(np.dtype([("a", "f4")]))
    (True, False)
    """
    if dtype.names is not None:
        members: list[np.dtype[Any]] = [dtype[name] for name in dtype.names]
        return any(m.subdtype is not None or m.hasobject or is_described(m) for m in members)
    if dtype.subdtype is not None:
        return False
    return dtype.char in "gG" or elements.item_dtype(dtype) is not None


def reason(dtype: np.dtype[Any]) -> str | None:
    """Why this package has no data type for `dtype`, or None where it has."""
    try:
        described = elements.to_json(dtype)
        kept = elements.to_json(elements.from_json(described)) == described
    except DtypeError as why:
        return str(why).rstrip(".")
    return None if kept else f"zarr has no data type for {dtype}"


def data_type(dtype: np.dtype[Any]) -> DescribedType:
    """zarr's data type object for `dtype`, of which `is_described` is true and `reason` None.

    Notes
    -----
    Sees to it that zarr knows the data types and the codec in this process, with or without the entry points.
    """
    from packstore.views.zarr.dtypes.registration import CLASSES, register

    register()
    described = elements.to_json(dtype)
    assert isinstance(described, dict)
    return CLASSES[described["name"]]._from_json_v3(described)
