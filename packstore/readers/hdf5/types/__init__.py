"""HDF5 data types in numpy's terms; in: an h5py type, out: its dtype, its layout on disk, and the way between them.

The values are those that h5py returns for ``dataset[...]``. Where raw bytes are enough, they decode with numpy alone,
outside the library's lock; where they are not (data in the global heap), `StoredType.stored` is None and the
references are resolved by `packstore.readers.hdf5.vlen`, or the dataset is read through h5py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from h5py import h5d, h5p, h5s, h5t

from packstore.errors import UnsupportedError, message
from packstore.readers.hdf5.problems import NotServed
from packstore.readers.hdf5.types.kinds import describe
from packstore.readers.hdf5.types.stored import StoredType
from packstore.readers.hdf5.types.tags import check_tags

__all__ = ["StoredType", "describe_type", "fill_value"]

MAX_CACHED = 2048

# Files repeat few types over many datasets. Keyed by the type's own serialised form.
_known: dict[bytes, StoredType] = {}


def describe_type(tid: h5t.TypeID, path: str = "", name: str | None = None) -> StoredType:
    """Describe an HDF5 type.

    Parameters
    ----------
    tid
        The type, as ``dataset.id.get_type()`` gives it.
    path, name
        File and dataset, for the error's text.

    Returns
    -------
    StoredType
        Shared between equal types: do not change it.

    Raises
    ------
    UnsupportedError
        No numpy dtype holds it; the text says why.

    Notes
    -----
    About 3 µs for a type seen before, up to 0.2 ms for a new one. Reads nothing from the file.

    Examples
    --------
    >>> from h5py import h5t
    >>> describe_type(h5t.STD_I16BE).dtype
    dtype('>i2')
    """
    try:
        key = tid.encode()
        found = _known.get(key)
        if found is None:
            check_tags(tid)
            found = describe(tid, 0)
            if len(_known) >= MAX_CACHED:
                _known.clear()
            _known[key] = found
        return found
    except NotServed as why:
        text: object = why
    except (ValueError, TypeError, KeyError, RuntimeError, OverflowError, OSError) as why:
        # What h5py and numpy raise for types they cannot name: odd sizes, byte orders, precisions, member names.
        text = f"{type(why).__name__}: {why}"
    raise UnsupportedError(
        message("reading the data type of", path or None, name, expected="one that numpy can hold", got=text)
    ) from None


def fill_value(dcpl: h5p.PropDCID, tid: h5t.TypeID, stored: StoredType) -> Any:
    """The value of elements that were never written.

    Parameters
    ----------
    dcpl
        The dataset's creation properties.
    tid, stored
        Its type and the description of it.

    Returns
    -------
    A scalar of ``stored.dtype``; None where the file defines none, so that it is zero (or empty). For array types the
    one value that fills all of `extra_shape`.

    Raises
    ------
    UnsupportedError
        No one scalar says it: the elements of an array type have different fill values. Read it through
        h5py.

    Notes
    -----
    A few µs; about 0.3 ms for array types.
    """
    if dcpl.fill_value_defined() != h5d.FILL_VALUE_USER_DEFINED:
        # Spelt out where "nothing" might be taken for something else than zero bytes, such as a time that is not one.
        return np.zeros((), stored.dtype)[()] if stored.dtype.kind in "mMV" else None
    if stored.dtype.kind in "iuf" and stored.convert is None and not stored.extra_shape:
        value = np.zeros((1,), stored.dtype)
        dcpl.get_fill_value(value)
        return value[0]
    if stored.extra_shape:
        return _array_fill(dcpl, tid, stored)
    try:
        # libhdf5 converts the fill value to the memory type of h5py's dtype, metadata included; where that has no name,
        # to that of ours.
        dtype = tid.dtype
    except (TypeError, ValueError, KeyError):
        dtype = stored.dtype
    value = np.zeros((1,), dtype)
    try:
        dcpl.get_fill_value(value)
    except (TypeError, ValueError, OSError, RuntimeError) as why:
        raise UnsupportedError(message("reading a fill value", expected=f"one of {stored.dtype}", got=why)) from None
    return value.astype(stored.dtype, copy=False)[0]


def _array_fill(dcpl: h5p.PropDCID, tid: h5t.TypeID, stored: StoredType) -> Any:
    # There is no memory type that an array's fill value can be asked for in, so a dataset in memory shows it.
    import h5py

    try:
        plist = dcpl.copy()
        while plist.get_nfilters():
            plist.remove_filter(plist.get_filter(0)[0])
        plist.set_layout(h5d.CONTIGUOUS)
        with h5py.File("fill", "w", driver="core", backing_store=False) as scratch:
            dataset = h5py.Dataset(h5d.create(scratch.id, None, tid, h5s.create(h5s.SCALAR), plist))
            flat = np.asarray(dataset[()]).reshape(-1)
    except (TypeError, ValueError, OSError, RuntimeError) as why:
        raise UnsupportedError(message("reading a fill value", expected=f"one of {stored.dtype}", got=why)) from None
    flat = flat.astype(stored.dtype, copy=False)
    if not flat.dtype.hasobject and flat.tobytes() == flat[:1].tobytes() * flat.size:
        return flat[0]
    raise UnsupportedError(
        message("reading a fill value", expected="the same for all elements of the array type", got=flat.tolist())
    )
