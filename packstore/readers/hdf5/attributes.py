"""HDF5 attributes; in: an open object, out: values that JSON can hold, by this table.

============================  ==========================================
stored                        value
============================  ==========================================
number, boolean enum          int, float, bool
other enum                    int
complex                       [real, imaginary]
string, any encoding          str
array of any of these         list (of lists)
compound                      dict of its members
opaque                        base64 text; datetime64 as ISO 8601
variable-length sequence      list
object, region reference      path of the object, or None
null dataspace                None
============================  ==========================================

Floats that JSON has no number for stay floats (nan, inf): zarr writes them as ``NaN`` and ``Infinity`` and reads those.
"""

from __future__ import annotations

import base64
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from h5py import h5, h5a, h5r, h5s, h5t

from packstore.errors import UnsupportedError
from packstore.readers.hdf5.guard import CheckedAttributes
from packstore.readers.hdf5.types import describe_type

if TYPE_CHECKING:
    from packstore.readers.hdf5.files import Session

__all__ = ["INTERNAL", "read_attributes", "safe_text", "to_json"]

# The attributes that the libraries of dimension scales and NetCDF-4 keep for themselves.
INTERNAL = frozenset(
    {
        "CLASS",
        "DIMENSION_LABELS",
        "DIMENSION_LIST",
        "NAME",
        "REFERENCE_LIST",
        "_NCProperties",
        "_Netcdf4Coordinates",
        "_Netcdf4Dimid",
        "_nc3_strict",
    }
)
# Attributes above this size are listed as unreadable instead of filling the metadata of a store.
MAX_NBYTES = 16 << 20


def read_attributes(
    oid: Any, *, skip_internal: bool = False, unwrap: bool = False, session: Session | None = None
) -> tuple[dict[str, Any], dict[str, str]]:
    r"""Read all attributes of a group, dataset or committed type.

    Parameters
    ----------
    oid
        Its low-level identifier (``h5py.Dataset(...).id``).
    skip_internal
        Leave out the attributes that NetCDF-4 and dimension scales keep for themselves (`INTERNAL`).
    unwrap
        Arrays of one element become that element, as in NetCDF, whose libraries store every number so.
    session
        The open file, in which variable-length values are checked before libhdf5 reads them.

    Returns
    -------
    attributes, unreadable
        Name to JSON-able value, and name to the reason why there is none. In creation order where the file tracks it,
        else by name. Names that are not UTF-8 have their odd bytes spelt ``\xNN``.

    Notes
    -----
    Never raises for what is in the file. About 1 µs for an object without attributes, 20 µs for each attribute.
    """
    found: dict[str, Any] = {}
    unreadable: dict[str, str] = {}
    try:
        if not h5a.get_num_attrs(oid):
            return found, unreadable
        names = _names(oid)
    except (RuntimeError, OSError, ValueError) as why:
        unreadable["*"] = f"the list of attributes is damaged: {why}"
        return found, unreadable
    stored = CheckedAttributes(session, oid)
    for raw in names:
        name = safe_text(raw)
        if skip_internal and name in INTERNAL:
            continue
        try:
            found[name] = _read(oid, stored.open(raw), unwrap)
        except (RuntimeError, OSError, ValueError, TypeError, KeyError, OverflowError, MemoryError) as why:
            # h5py raises these for damaged attributes and for types it does not know.
            unreadable[name] = f"{type(why).__name__}: {why}"
    return found, unreadable


def safe_text(raw: bytes) -> str:
    r"""Text of bytes that ought to be UTF-8; others become ``\xNN``, so that any JSON writer takes the text."""
    return raw.decode("utf-8", "backslashreplace")


def _names(oid: Any) -> list[bytes]:
    names: list[bytes] = []
    try:
        h5a.iterate(oid, names.append, index_type=h5.INDEX_CRT_ORDER)
    except (RuntimeError, OSError, ValueError):
        # No creation order in this object's index.
        names.clear()
        h5a.iterate(oid, names.append, index_type=h5.INDEX_NAME)
    return names


def _read(oid: Any, attr: h5a.AttrID, unwrap: bool) -> Any:
    space = attr.get_space()
    if space.get_simple_extent_type() == h5s.NULL:
        return None
    shape = space.get_simple_extent_dims()
    if 0 in shape:
        return np.zeros(shape).tolist()
    nbytes = math.prod(shape) * attr.get_type().get_size()
    if nbytes > MAX_NBYTES:
        raise ValueError(f"{nbytes} bytes, more than {MAX_NBYTES}")
    value = to_json(_values(attr, shape), oid)
    return value[0] if unwrap and shape == (1,) else value


def _values(attr: h5a.AttrID, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    tid = attr.get_type()
    try:
        stored = describe_type(tid)
    except UnsupportedError:
        stored = None
    if stored is not None and stored.stored is not None:
        # Read as it is stored: libhdf5 has no conversion for some types whose bytes say everything.
        raw = np.zeros(shape, f"V{tid.get_size()}")
        attr.read(raw, mtype=tid)
        return stored.decode(raw.reshape(-1).view(stored.stored).reshape(shape + stored.extra_shape))
    dtype = attr.dtype
    memory = h5t.py_create(dtype)
    if dtype.subdtype is not None:
        dtype, inner = dtype.subdtype
        shape += inner
    values = np.zeros(shape, dtype)
    attr.read(values, mtype=memory)
    return values


def to_json(value: Any, oid: Any = None) -> Any:
    """One value as JSON-able Python objects, by the table at the top of this module.

    Parameters
    ----------
    value
        A numpy array or scalar, bytes, str, an h5py reference, or None.
    oid
        Any open object of the file, to find the names behind references.

    Examples
    --------
    >>> to_json(np.array([(1, 2j)], dtype=[("n", "i4"), ("z", "c8")]))
    [{'n': 1, 'z': [0.0, 2.0]}]
    """
    if isinstance(value, (np.ndarray, np.generic)):
        return _array_to_json(np.asarray(value), oid)
    if isinstance(value, bytes):
        return safe_text(value)
    if isinstance(value, str):
        return safe_text(value.encode("utf-8", "surrogateescape"))
    if isinstance(value, h5r.Reference):
        return _reference_name(value, oid)
    # h5py gives zero or None for an element that was never written.
    return value if isinstance(value, (int, float)) else None


def _array_to_json(array: npt.NDArray[Any], oid: Any) -> Any:
    dtype = array.dtype
    if dtype.names is not None:
        if array.ndim:
            return [_array_to_json(element, oid) for element in array]
        return {name: _array_to_json(np.asarray(array[name]), oid) for name in dtype.names}
    if dtype.kind == "c":
        return _array_to_json(np.stack([array.real, array.imag], axis=-1), oid)
    if dtype.kind == "f" and dtype.itemsize > 8:
        return array.astype(np.float64).tolist()
    if dtype.kind in "biuf":
        return array.tolist()
    if dtype.kind == "m":
        return array.astype(np.int64).tolist()
    if array.ndim:
        return [to_json(element, oid) for element in array]
    if dtype.kind == "V":
        return base64.standard_b64encode(array.tobytes()).decode("ascii")
    if dtype.kind == "M":
        return None if np.isnat(array) else str(array)
    return to_json(array.item() if dtype.kind != "O" else array[()], oid)


def _reference_name(reference: h5r.Reference, oid: Any) -> str | None:
    if not reference:
        return None
    name = h5r.get_name(reference, oid)
    return None if name is None else safe_text(name)
