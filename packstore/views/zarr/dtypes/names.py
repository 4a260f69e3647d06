"""numpy dtypes in zarr's terms: which of them zarr v3 can hold, under which name, and in which bytes.

zarr is imported by the first call that needs it, not with this module.
"""

from __future__ import annotations

import functools
import json
import threading
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from packstore.errors import DtypeError, message
from packstore.views.zarr import dtypes

if TYPE_CHECKING:
    from zarr.dtype import ZDType

__all__ = ["metadata", "own_reason", "packed", "reason"]

DType = np.dtype[Any]
# Types of the zarr v3 core, which need no asking.
CORE = frozenset("?bBhHiIlLqQefdFD")
# `warnings.catch_warnings` swaps process-wide state, so two probes must not overlap.
_probing = threading.Lock()


def reason(dtype: DType) -> str | None:
    """Why zarr v3 has no data type for `dtype`, or None where zarr or `packstore.views.zarr.dtypes` has one.

    Notes
    -----
    The core numbers are answered at once; anything else is put to the installed zarr, once per dtype: its data type
    must survive JSON and come back as the same dtype, and so must a zero. Variable-length strings
    (`numpy.dtypes.StringDType`, and object with h5py's string metadata) are zarr's ``string``.

    Examples
    --------
    >>> reason(np.dtype(">f4")) is None, reason(np.dtype([("a", "f4", (3,))])) is None
    (True, True)
    >>> reason(np.dtype(object))
    'zarr has no data type for Python objects'
    """
    if _is_described(dtype):
        return dtypes.reason(dtype)
    return own_reason(dtype)


def own_reason(dtype: DType) -> str | None:
    """Why zarr on its own has no data type for `dtype`: readers without packstore could not open the array.

    Examples
    --------
    >>> own_reason(np.dtype([("a", "f4", (3,))]))
    "zarr structs have no array members ('a' has shape (3,))"
    """
    if dtype.char in CORE and dtype.isbuiltin != 2:
        return None
    if dtype.kind == "T" or _is_string_object(dtype):
        return None
    # Equal object dtypes may differ in what they hold, so they stay out of the cache.
    return _static_reason(dtype) or _probe(_shortened(packed(dtype)))


def metadata(dtype: DType) -> tuple[Any, ZDType[Any, Any]]:
    """The ``data_type`` of zarr v3 metadata for `dtype`, as JSON and as zarr's object.

    Raises
    ------
    DtypeError
        zarr has none; the text is that of `reason`.

    Notes
    -----
    The bytes that belong to it are those of an array of ``packed(dtype)``. zarr may warn that a data type is not in the
    v3 specification (fixed strings, structs).
    """
    from zarr.dtype import VariableLengthUTF8, parse_dtype

    if dtype.kind == "T" or _is_string_object(dtype):
        zdtype: ZDType[Any, Any] = VariableLengthUTF8()
        return "string", zdtype
    why = reason(dtype)
    if why is not None:
        raise DtypeError(message("naming a zarr data type", expected="a dtype that zarr has", got=f"{dtype}: {why}"))
    if _is_described(dtype):
        zdtype = dtypes.data_type(dtype)
        return zdtype.to_json(zarr_format=3), zdtype
    if dtype.char in CORE and dtype.isbuiltin != 2:
        return _core_metadata(dtype)
    zdtype = parse_dtype(packed(dtype), zarr_format=3)
    return zdtype.to_json(zarr_format=3), zdtype


@functools.lru_cache(maxsize=64)
def _core_metadata(dtype: DType) -> tuple[Any, ZDType[Any, Any]]:
    """A core number's name and zarr data type; zarr tries all its types one by one."""
    from zarr.dtype import parse_dtype

    zdtype: ZDType[Any, Any] = parse_dtype(dtype, zarr_format=3)
    return zdtype.to_json(zarr_format=3), zdtype


def packed(dtype: DType) -> DType:
    """`dtype` as zarr's ``bytes`` codec lays it out: zarr's structs packed and little-endian, all else as it is.

    Examples
    --------
    >>> packed(np.dtype({"names": ["a", "b"], "formats": [">i2", "f8"], "offsets": [8, 0], "itemsize": 16}))
    dtype([('a', '<i2'), ('b', '<f8')])
    """
    return dtype if dtype.names is None or _is_described(dtype) else _packed_struct(dtype)


def _is_described(dtype: DType) -> bool:
    return not _is_string_object(dtype) and dtypes.is_described(dtype)


def _packed_struct(dtype: DType) -> DType:
    if dtype.names is None:
        return dtype.newbyteorder("<") if dtype.kind not in "VO" else dtype
    # zarr writes no field offsets and no byte order per field.
    return np.dtype([(name, _packed_struct(dtype[name])) for name in dtype.names])


def _is_string_object(dtype: DType) -> bool:
    return dtype.kind == "O" and dtype.metadata is not None and dict(dtype.metadata).get("vlen") in (str, bytes)


def _static_reason(dtype: DType) -> str | None:
    if dtype.names is not None:
        if not dtype.names:
            return "zarr structs have at least one field"
        for name in dtype.names:
            member: DType = dtype[name]
            if member.subdtype is not None:
                return f"zarr structs have no array members ({name!r} has shape {member.shape})"
            why = "zarr structs have no variable-length members" if member.hasobject else _static_reason(member)
            if why is not None:
                return why
        return None
    if dtype.hasobject:
        return "zarr has no data type for Python objects"
    if dtype.itemsize == 0:
        return "zarr has no data types of zero bytes"
    if dtype.char in "gG":
        return f"zarr has no {dtype.name}"
    if dtype.kind in "mM" and np.datetime_data(dtype)[0] == "generic":
        return f"zarr stores no {dtype.name} without a unit"
    return None


def _shortened(dtype: DType) -> DType:
    """`dtype` with its long strings cut: a declared length of gigabytes must not be tried out."""
    if dtype.names is not None:
        return np.dtype([(name, _shortened(dtype[name])) for name in dtype.names])
    if dtype.kind in "SUV" and dtype.isbuiltin != 2 and dtype.itemsize > 64:
        return np.dtype(f"{dtype.str[:2]}16")
    return dtype


@functools.lru_cache(maxsize=1024)
def _probe(dtype: DType) -> str | None:
    from zarr.dtype import parse_dtype
    from zarr.errors import UnstableSpecificationWarning

    zero = np.zeros((), dtype)[()]
    # A probe is not a use of the data type: the warning comes when an array is opened through zarr.
    with _probing, warnings.catch_warnings():
        warnings.simplefilter("ignore", UnstableSpecificationWarning)
        try:
            name = json.loads(json.dumps(parse_dtype(dtype, zarr_format=3).to_json(zarr_format=3)))
            zdtype = parse_dtype(name, zarr_format=3)
            fill = json.loads(json.dumps(zdtype.to_json_scalar(zero, zarr_format=3)))
            back = zdtype.from_json_scalar(fill, zarr_format=3)
        except (ValueError, TypeError, KeyError, NotImplementedError) as why:
            # The ways in which zarr says no; its own text names the dtype.
            return f"zarr has no data type for {dtype}: {why}"
    native = zdtype.to_native_dtype()
    if native != dtype.newbyteorder("<"):
        return f"zarr reads {dtype} back as {native}"
    if np.asarray(back, native).tobytes() != np.asarray(zero, native).tobytes():
        return f"zarr does not keep a value of {dtype}"
    return None
