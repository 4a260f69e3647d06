"""A numpy dtype in zarr's terms: whether zarr v3 can hold it, under which name, and in which bytes.

Importing this module does not import zarr; the first call that needs zarr does.
"""

from __future__ import annotations

import functools
import json
import threading
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from packstore.errors import DtypeError, message

if TYPE_CHECKING:
    from zarr.dtype import ZDType

__all__ = ["is_own", "is_text", "metadata", "packed", "portable_reason", "reason"]

DType = np.dtype[Any]
# Types of the zarr v3 core, which need no asking.
CORE = frozenset("?bBhHiIlLqQefdFD")
# `warnings.catch_warnings` swaps process-wide state, so two probes must not overlap.
_probing = threading.Lock()


def reason(dtype: DType) -> str | None:
    """Why zarr v3 has no data type for `dtype`, or None where zarr or `packstore.views.zarr.dtypes.own` has one.

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
    if not is_own(dtype):
        return portable_reason(dtype)
    # Not imported above: it imports zarr.
    from packstore.views.zarr.dtypes.own import data_type

    try:
        data_type(dtype)
    except DtypeError as why:
        return str(why).rstrip(".")
    return None


def portable_reason(dtype: DType) -> str | None:
    """Why zarr without packstore has no data type for `dtype`, so that an array of it would not open everywhere.

    Examples
    --------
    >>> portable_reason(np.dtype([("a", "f4", (3,))]))
    "zarr structs have no array members ('a' has shape (3,))"
    """
    if dtype.char in CORE and dtype.isbuiltin != 2:
        return None
    if dtype.kind == "T" or is_text(dtype):
        return None
    # Equal object dtypes may differ in what they hold, so they stay out of the cache.
    return _static_reason(dtype) or _probe(_shortened(packed(dtype)))


def metadata(dtype: DType) -> tuple[Any, ZDType[Any, Any]]:
    """The ``data_type`` of zarr v3 metadata for `dtype`, as JSON and as zarr's object.

    Raises
    ------
    DtypeError
        zarr has none; the text holds that of `reason`.

    Notes
    -----
    The bytes that belong to it are those of an array of ``packed(dtype)``. zarr may warn that a data type is not in the
    v3 specification (fixed strings, structs).
    """
    from zarr.dtype import VariableLengthUTF8, parse_dtype

    if dtype.kind == "T" or is_text(dtype):
        zdtype: ZDType[Any, Any] = VariableLengthUTF8()
        return "string", zdtype
    if is_own(dtype):
        from packstore.views.zarr.dtypes.own import data_type

        zdtype = data_type(dtype)
        return zdtype.to_json(zarr_format=3), zdtype
    why = portable_reason(dtype)
    if why is not None:
        raise DtypeError(message("naming a zarr data type", expected="a dtype that zarr has", got=f"{dtype}: {why}"))
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
    return dtype if dtype.names is None or is_own(dtype) else _packed_struct(dtype)


def is_own(dtype: DType) -> bool:
    """Whether `dtype` is one for `packstore.views.zarr.dtypes.own`: a long double, or a struct that zarr cannot say.

    Examples
    --------
    >>> is_own(np.dtype([("a", "f4", (3,))])), is_own(np.dtype([("a", "f4")]))
    (True, False)
    """
    if dtype.hasobject:
        return False
    if dtype.names is None:
        return dtype.char in "gG"
    members: list[DType] = [dtype[name] for name in dtype.names]
    return any(member.subdtype is not None or is_own(member) for member in members)


def is_text(dtype: DType) -> bool:
    """Whether elements are strings of any length: objects whose h5py metadata says so.

    Examples
    --------
    >>> import h5py
    >>> is_text(h5py.string_dtype()), is_text(np.dtype(object))
    (True, False)
    """
    return dtype.kind == "O" and (_item(dtype) is str or _item(dtype) is bytes)


def _item(dtype: DType) -> Any:
    """The type of one element of an object dtype, as h5py's metadata has it: str, bytes, or a sequence's dtype."""
    return None if dtype.metadata is None else dict(dtype.metadata).get("vlen")


def _has_known_objects(dtype: DType) -> bool:
    """Whether all objects in `dtype` are strings and sequences of known types."""
    if dtype.names is not None:
        return all(_has_known_objects(dtype[name].base) for name in dtype.names)
    if dtype.kind != "O" or is_text(dtype):
        return True
    item = _item(dtype)
    return item is not None and _has_known_objects(np.dtype(item).base)


def _packed_struct(dtype: DType) -> DType:
    if dtype.names is None:
        return dtype.newbyteorder("<") if dtype.kind not in "VO" else dtype
    # zarr writes no field offsets and no byte order per field.
    return np.dtype([(name, _packed_struct(dtype[name])) for name in dtype.names])


def _static_reason(dtype: DType) -> str | None:
    if dtype.hasobject:
        if not _has_known_objects(dtype):
            return "zarr has no data type for Python objects"
        kind = "variable-length sequences" if dtype.names is None else "structs with variable-length members"
        return f"zarr has no data type for {kind}; packstore.from_file reads them"
    if dtype.names is not None:
        if not dtype.names:
            return "zarr structs have at least one field"
        for name in dtype.names:
            member: DType = dtype[name]
            if member.subdtype is not None:
                return f"zarr structs have no array members ({name!r} has shape {member.shape})"
            why = _static_reason(member)
            if why is not None:
                return why
        return None
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
