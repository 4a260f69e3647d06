"""Attributes of datasets and groups; in: values in the types in which they are to be stored, out: HDF5 attributes.

=========================================  ============================================================
value                                      stored as
=========================================  ============================================================
numbers, bool, complex, arrays of them     as h5py stores them, type kept
enum, struct, sequences (h5py's metadata)  as they are
str, lists and arrays of str               text of variable length in UTF-8
bytes                                      text of fixed length; opaque where they hold a NUL
datetime64, timedelta64                    opaque, with h5py's tag
None, ``h5py.Empty``                       a null dataspace
lists of numbers                           an array
dicts, uneven or mixed lists, other ints   JSON text, which the report says
references                                 not at all (they point into another file), which the report says
=========================================  ============================================================
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import h5py
import numpy as np

from packstore.errors import DtypeError, message
from packstore.writers.hdf5.types import as_objects, is_reference, stored_dtype
from packstore.writers.tree import Tree

__all__ = ["put_attributes"]

# What dimension scales and NetCDF-4 keep for themselves: written anew, from the names of dimensions.
_SCALES = frozenset({"DIMENSION_LIST", "REFERENCE_LIST", "_NCProperties", "_Netcdf4Coordinates", "_Netcdf4Dimid"})
_KINDS: tuple[type | tuple[type, ...], ...] = (bool, int, (int, float), (int, float, complex), str)


def put_attributes(node: Any, attributes: Mapping[str, Any], tree: Tree, name: str, *, named: bool = False) -> None:
    """Write the attributes of one dataset or group; what cannot be kept as it is is noted in ``tree.lost``.

    Parameters
    ----------
    node
        The h5py object.
    name
        Its path in the tree.
    named
        Whether its dimensions have names, which take the place of labels.

    Raises
    ------
    DtypeError
        A value that is not even JSON.
    """
    is_scale = attributes.get("CLASS") in (b"DIMENSION_SCALE", "DIMENSION_SCALE")
    for given, value in attributes.items():
        key = str(given)
        if key in _SCALES or (is_scale and key in ("CLASS", "NAME")) or (named and key == "DIMENSION_LABELS"):
            continue
        if _refers(value):
            tree.lose(name, f"attribute {key!r} is a reference into another file and is not written")
        elif not key or "\0" in key or not _encodes(key):
            tree.lose(name, f"attribute {key!r} has no name for HDF5 and is not written")
        else:
            try:
                _put(node, key, value, tree, name)
            except (OSError, RuntimeError) as error:
                if "errno" in str(error):  # the disk, not the attribute
                    raise
                # Above 64 KB, in an object that another library made for less.
                tree.lose(name, f"attribute {key!r} is not written ({error})")


def _refers(value: Any) -> bool:
    dtype = getattr(value, "dtype", None)
    return isinstance(value, (h5py.Reference, h5py.RegionReference)) or (
        isinstance(dtype, np.dtype) and is_reference(dtype)
    )


def _encodes(key: str) -> bool:
    try:
        key.encode()
    except UnicodeEncodeError:
        return False
    return True


def _put(node: Any, key: str, value: Any, tree: Tree, name: str) -> None:
    try:
        _create(node, key, _stored(value))
        return
    except (TypeError, ValueError, OverflowError):
        pass
    try:
        text = json.dumps(value, default=_plain)
    except (TypeError, ValueError) as error:
        expected = f"an attribute {key!r} for HDF5"
        raise DtypeError(
            message("writing", None, name or None, expected=expected, got=f"{value!r} ({error})")
        ) from error
    _create(node, key, np.array(text.encode(), h5py.string_dtype()))
    tree.lose(name, f"attribute {key!r} is kept as JSON text")


def _create(node: Any, key: str, value: Any) -> None:
    if isinstance(value, h5py.Empty):
        node.attrs[key] = value
    else:
        node.attrs.create(key, value, dtype=value.dtype)


def _plain(value: Any) -> Any:
    """What JSON has for numpy's values."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, bytes):
        return value.decode("utf-8")
    raise TypeError(f"{type(value).__name__} is not JSON")


def _stored(value: Any) -> Any:
    """The value as an array in h5py's terms, or `h5py.Empty`; raises TypeError where HDF5 has no type for it."""
    if value is None:
        return h5py.Empty("f4")
    if isinstance(value, h5py.Empty):
        return value
    if isinstance(value, bytes):
        array = np.asarray(np.void(value) if b"\0" in value else np.bytes_(value))
    elif isinstance(value, (np.ndarray, np.generic)):
        array = np.asarray(value)
        if array.dtype.kind == "O" and not array.dtype.metadata:
            array = _of_lists(array.tolist())
    elif isinstance(value, (bool, int, float, complex, str, list, tuple)):
        array = _of_lists(value)
    else:
        raise TypeError(f"no HDF5 type for {type(value)}")
    if array.dtype.kind == "S" and not array.dtype.itemsize:
        array = array.astype("S1")
    stored = stored_dtype(array.dtype)
    if stored.hasobject:
        return as_objects(array, stored)
    return array.view(stored)


def _of_lists(value: Any) -> np.ndarray[Any, Any]:
    """An array of equal Python values; raises TypeError or ValueError for mixed and uneven ones."""
    leaves = list(_leaves(value))
    types = {type(leaf) for leaf in leaves}
    if leaves and ((bool in types and types != {bool}) or not any(_all(types, kind) for kind in _KINDS)):
        raise TypeError("mixed types")
    array = np.asarray(value)
    if array.dtype.kind == "O" or (types == {int} and array.dtype.kind not in "iu"):
        raise TypeError("integers of more than 64 bits")
    if array.size != len(leaves):
        raise ValueError("uneven lists")
    return array


def _all(types: set[type], kind: type | tuple[type, ...]) -> bool:
    return all(issubclass(t, kind) for t in types)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for element in value:
            yield from _leaves(element)
    else:
        yield value
