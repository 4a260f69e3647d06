"""Types of datasets; in: numpy dtypes, out: dtypes in h5py's terms, and values as h5py takes them.

================================  =====================================================
numpy                             HDF5
================================  =====================================================
numbers, ``V``, ``S``             as they are (``V``: opaque)
bool                              h5py's enumeration of 1 byte
complex                           h5py's compound of two floats
integers with names               an enumeration (h5py's metadata, or an attribute ``enum`` that lists them)
datetime64, timedelta64           opaque, with h5py's tag
``U``, StringDType, objects       text of variable length in UTF-8, or as h5py's metadata says
objects with h5py's vlen          sequences of variable length
structs                           compounds of all of these
================================  =====================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

from packstore.core.typing import Array
from packstore.errors import DtypeError

__all__ = ["as_objects", "is_reference", "stored_dtype", "with_facts"]

DType = np.dtype[Any]


def with_facts(dtype: DType, attributes: Mapping[str, Any]) -> tuple[DType, dict[str, Any], bytes | None]:
    """The type as it was in an HDF5 file, by what our reader notes of it among the attributes.

    Returns
    -------
    dtype, attributes, tag
        The attributes without what is now part of the type; the tag of an opaque type, or None.
    """
    left = dict(attributes)
    if _is_enum(dtype, left.get("enum")):
        return _dtype(h5py.enum_dtype(left.pop("enum"), dtype)), left, None
    if dtype.kind == "V" and dtype.names is None and isinstance(left.get("opaque_tag"), str):
        return dtype, left, str(left.pop("opaque_tag")).encode()
    facts = left.get("fields")
    if dtype.names is not None and isinstance(facts, Mapping) and set(facts) <= set(dtype.names):
        members = {name: with_facts(dtype[name].base, facts[name]) for name in facts if isinstance(facts[name], dict)}
        if len(members) == len(facts) and not any(rest or tag for _, rest, tag in members.values()):
            del left["fields"]
            formats = {name: _like(dtype[name], member) for name, (member, _, _) in members.items()}
            return _struct(dtype, formats), left, None
    return dtype, left, None


def _is_enum(dtype: DType, names: Any) -> bool:
    if dtype.kind not in "iu" or dtype.metadata or not isinstance(names, Mapping) or not names:
        return False
    info = np.iinfo(dtype)
    return all(
        isinstance(name, str) and type(value) is int and info.min <= value <= info.max for name, value in names.items()
    )


def _like(member: DType, base: DType) -> DType:
    """A member of a struct with another base type."""
    return np.dtype((base, member.shape)) if member.shape else base


def _struct(dtype: DType, formats: Mapping[str, DType]) -> DType:
    """A struct with other members, at the same offsets where they have the same sizes."""
    assert dtype.names is not None
    assert dtype.fields is not None
    new = [formats.get(name, dtype[name]) for name in dtype.names]
    out: dict[str, Any] = {"names": list(dtype.names), "formats": new}
    if all(member.itemsize == dtype[name].itemsize for name, member in zip(dtype.names, new, strict=True)):
        out.update(offsets=[dtype.fields[name][1] for name in dtype.names], itemsize=dtype.itemsize)
    return _dtype(out)


def _dtype(what: Any) -> DType:
    found: DType = np.dtype(what)
    return found


def stored_dtype(dtype: DType) -> DType:
    """`dtype` in h5py's terms.

    Raises
    ------
    TypeError
        References, which point into the file that they come from; types of other packages that h5py takes for bytes.

    Examples
    --------
    >>> h5py.check_string_dtype(stored_dtype(np.dtype("U5"))).encoding
    'utf-8'
    """
    if dtype.names is not None:
        return _struct(dtype, {name: stored_dtype(dtype[name]) for name in dtype.names})
    if dtype.subdtype is not None:
        return np.dtype((stored_dtype(dtype.base), dtype.shape))
    if is_reference(dtype):
        raise TypeError("references point into the file that they come from")
    if dtype.kind == "V" and dtype.type is not np.void:
        raise TypeError("HDF5 has no such type; use astype, or view for its bits")
    if dtype.kind in "mM":
        return _dtype(h5py.opaque_dtype(dtype))
    if dtype.kind in "UT" or (dtype.kind == "O" and not dtype.metadata):
        return _dtype(h5py.string_dtype("utf-8"))
    return dtype


def is_reference(dtype: DType) -> bool:
    """Whether elements, or parts of them, are references."""
    if dtype.names is not None:
        return any(is_reference(dtype[name]) for name in dtype.names)
    if dtype.subdtype is not None:
        return is_reference(dtype.base)
    base = _sequence_base(dtype)
    return h5py.check_ref_dtype(dtype) is not None if base is None else is_reference(base)


def _sequence_base(dtype: DType) -> DType | None:
    """The type of the elements of a type of sequences; None for others."""
    found = h5py.check_vlen_dtype(dtype)
    return None if found is None or h5py.check_string_dtype(dtype) is not None else np.dtype(found)


def as_objects(values: Array, stored: DType) -> Array:
    """Values of variable length as h5py takes them: bytes for text, arrays for sequences.

    Raises
    ------
    DtypeError
        A missing value, or an element of another type.
    """
    if stored.names is not None:
        out = np.zeros(values.shape, stored)
        for name in stored.names:
            out[name] = as_objects(values[name], stored[name].base)
        return out
    if stored.kind != "O":
        return values
    base = _sequence_base(stored)
    out = np.empty(values.shape, stored)
    flat = out.reshape(-1)
    for i, value in enumerate(values.astype(object).reshape(-1)):
        flat[i] = _text(value) if base is None else _sequence(value, base)
    return out


def _text(value: Any) -> bytes:
    if isinstance(value, bytes):
        found = value
    elif isinstance(value, str):
        try:
            # Bytes that were no UTF-8 in the file that they came from, as h5py's own surrogates.
            found = value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            raise DtypeError(f"text that is no Unicode ({error})") from None
    else:
        raise DtypeError(f"{value!r}, where HDF5 holds text only")
    if b"\0" in found:
        raise DtypeError(f"text with a NUL, where HDF5's text ends: {value!r}")
    return found


def _sequence(value: Any, base: DType) -> Array:
    if value is None or isinstance(value, (str, bytes)):
        raise DtypeError(f"{value!r}, where HDF5 holds sequences of {base}")
    found = np.asarray(value, base)
    if found.ndim != 1:
        raise DtypeError(f"an element of {found.ndim} axes, where HDF5 holds sequences of {base}")
    return found
