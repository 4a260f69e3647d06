"""HDF5 attributes; in: an open object, out: values that JSON can hold, by this table, and in their stored types.

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
reference                     path of the object, or None;
                              to an attribute: path@name
null dataspace                None
============================  ==========================================

Floats that JSON has no number for stay floats (nan, inf): zarr writes them as ``NaN`` and ``Infinity`` and reads those.
"""

from __future__ import annotations

import base64
import math
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import numpy.typing as npt
from h5py import h5, h5a, h5r, h5s, h5t

from packstore.errors import UnsupportedError
from packstore.readers.hdf5.files import H5_ERRORS
from packstore.readers.hdf5.guard import CheckedAttributes, check_library
from packstore.readers.hdf5.object_paths import ObjectPaths
from packstore.readers.hdf5.problems import Damaged, NotServed
from packstore.readers.hdf5.types import describe_type
from packstore.readers.hdf5.types.disk import disk_type
from packstore.readers.hdf5.types.tags import check_tags
from packstore.readers.hdf5.types.values import Values, as_h5py
from packstore.storage import Attributes

if TYPE_CHECKING:
    from packstore.readers.hdf5.files import Session
    from packstore.readers.hdf5.format.heaps import Heaps

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
# The types that a JSON number has.
_TOLD = frozenset({np.dtype(np.int64).str, np.dtype(np.float64).str})
_UNREADABLE = (*H5_ERRORS, IndexError)


def read_attributes(
    oid: Any, *, skip_internal: bool = False, unwrap: bool = False, session: Session | None = None
) -> tuple[Attributes, dict[str, str]]:
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
        The open file, in which references and variable-length values are followed. Without it libhdf5 follows them,
        but not references in sequences.

    Returns
    -------
    attributes, unreadable
        Name to JSON-able value, and name to the reason why there is none. In creation order where the file tracks it,
        else by name. Names that are not UTF-8 have their odd bytes spelt ``\xNN``. Where a JSON value does not tell
        the stored type, ``attributes.typed`` has what ``h5py.File(...).attrs`` gives: all but text of variable length,
        int64 and float64 scalars, and references. Enums, and sequences of variable length, are arrays also where
        they are scalars, because numpy's scalars have no room for what h5py's dtypes say of them.

    Notes
    -----
    Never raises for what is in the file. About 1 µs for an object without attributes, 20 µs for each attribute.
    """
    found = Attributes()
    unreadable: dict[str, str] = {}
    try:
        if not h5a.get_num_attrs(oid):
            return found, unreadable
        names = _names(oid)
    except _UNREADABLE as why:
        unreadable["*"] = f"the list of attributes is damaged: {why}"
        return found, unreadable
    stored = CheckedAttributes(session, oid)
    for raw in names:
        name = safe_text(raw)
        if skip_internal and name in INTERNAL:
            continue
        try:
            found[name], typed = _read(stored, raw, unwrap)
            if typed is not None:
                found.typed[name] = typed
        except (Damaged, NotServed) as why:
            unreadable[name] = str(why)
        except _UNREADABLE as why:
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


def _read(stored: CheckedAttributes, name: bytes, unwrap: bool) -> tuple[Any, Any]:
    """The JSON value of an attribute, and its value in the stored type or None."""
    attr = h5a.open(stored.oid, name)
    tid = attr.get_type()
    check_tags(tid)
    space = attr.get_space()
    if space.get_simple_extent_type() == h5s.NULL:
        dtype = _h5py_dtype(tid)
        return None, None if dtype is None else h5py.Empty(dtype)
    shape = space.get_simple_extent_dims()
    if 0 in shape:
        dtype = _h5py_dtype(tid)
        return np.zeros(shape).tolist(), None if dtype is None else np.zeros(shape, dtype)
    is_one = not shape or (unwrap and shape == (1,))
    if is_one and stored.session is not None and tid.get_class() == h5t.STRING and tid.is_variable_str():
        data = stored.data(name)
        if data is not None:
            return _text(stored.session.heaps, data)
    nbytes = math.prod(shape) * tid.get_size()
    if nbytes > MAX_NBYTES:
        raise ValueError(f"{nbytes} bytes, more than {MAX_NBYTES}")
    values = _values(stored, attr, tid, name, shape)
    if unwrap and values.shape == (1,):
        values = values.reshape(())
    value = to_json(values, stored.oid)
    return value, _typed(values, tid, value)


def _text(heaps: Heaps, data: bytes) -> tuple[str, str | None]:
    """One text, for which a dozen calls of numpy would take longer: most attributes are such."""
    if len(data) < heaps.reference.itemsize:
        raise Damaged(f"{len(data)} bytes for {heaps.reference.itemsize}")
    length, address, index = heaps.unpack(data)
    if length > MAX_NBYTES:
        raise Damaged(f"{length} bytes, more than {MAX_NBYTES}")
    raw = heaps.read(address, index, length) if address else b""
    raw = raw.partition(b"\0")[0]
    try:
        return raw.decode("utf-8"), None
    except UnicodeDecodeError:
        return safe_text(raw), raw.decode("utf-8", "surrogateescape")


def _h5py_dtype(tid: h5t.TypeID) -> np.dtype[Any] | None:
    """h5py's dtype; None for references, which mean nothing outside the file, and where it has none."""
    try:
        return None if tid.detect_class(h5t.REFERENCE) else tid.dtype
    except H5_ERRORS:
        return None


def _values(
    stored: CheckedAttributes, attr: h5a.AttrID, tid: h5t.TypeID, name: bytes, shape: tuple[int, ...]
) -> npt.NDArray[Any]:
    try:
        described = describe_type(tid)
    except UnsupportedError:
        described = None
    if described is not None and described.stored is not None:
        # Read as it is stored: libhdf5 has no conversion for some types whose bytes say everything.
        raw = np.zeros(shape, f"V{tid.get_size()}")
        attr.read(raw, mtype=tid)
        return described.decode(raw.reshape(-1).view(described.stored).reshape(shape + described.extra_shape))
    kind = disk_type(tid, stored.offset_nbytes)
    if stored.session is not None and (kind.slots or tid.detect_class(h5t.REFERENCE)):
        rows = stored.elements(attr, name, kind)
        if rows is not None:
            values = Values(stored.session.heaps, ObjectPaths.of(stored.session).path, MAX_NBYTES).decode(tid, rows)
            return values.reshape(shape + values.shape[1:])
    check_library(kind)
    dtype = attr.dtype
    memory = h5t.py_create(dtype)
    if dtype.subdtype is not None:
        dtype, inner = dtype.subdtype
        shape += inner
    values = np.zeros(shape, dtype)
    attr.read(values, mtype=memory)
    return values


def _typed(values: npt.NDArray[Any], tid: h5t.TypeID, value: Any) -> Any:
    """The value in its stored type; None where the JSON value tells it, and for references."""
    dtype = values.dtype
    kind = tid.get_class()
    if not values.ndim and dtype.str in _TOLD and kind != h5t.ENUM:
        return None
    if dtype.kind in "OVS" or kind == h5t.ENUM:
        if tid.detect_class(h5t.REFERENCE):
            return None
        if values.ndim or dtype.kind != "S":
            values = as_h5py(values, tid)
        if h5py.check_string_dtype(dtype) is not None and dtype.kind == "O":
            values = _texts(values)
            return values if values.ndim else None if values[()] == value else values[()]
        if kind == h5t.VLEN or (kind == h5t.ENUM and dtype.kind != "b"):
            return values
    return values if values.ndim else values[()]


def _texts(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Text as ``h5py.File(...).attrs`` gives it: other bytes than UTF-8 are surrogates."""
    out = np.empty(values.shape, values.dtype)
    out.reshape(-1)[:] = [value.decode("utf-8", "surrogateescape") for value in values.reshape(-1).tolist()]
    return out


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
