"""Dimension scales; in: an open dataset, out: whether it is one, whether it is a variable too, and its length."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5r, h5t

from packstore.readers.hdf5.files import H5_ERRORS
from packstore.readers.hdf5.guard import CheckedAttributes, check_virtual
from packstore.readers.hdf5.links import Target

__all__ = ["NO_VARIABLE", "attribute_value", "is_scale", "names_no_variable", "scale_length"]

# Why a dimension that NetCDF keeps as a scale without data is not listed.
NO_VARIABLE = "a NetCDF dimension without a variable, so its elements mean nothing; it is read where it is named"


def is_scale(target: Target) -> bool:
    """Whether the dataset is a dimension scale."""
    return _text(target, b"CLASS") == b"DIMENSION_SCALE"


def names_no_variable(target: Target) -> bool:
    """Whether the dataset is there only because a NetCDF dimension must be some object."""
    try:
        name = _text(target, b"NAME")
        return name.startswith(b"This is a netCDF dimension but not a netCDF variable") and is_scale(target)
    except H5_ERRORS:  # damage: it is a dataset like any other
        return False


def scale_length(target: Target) -> int:
    """The length of the NetCDF dimension that a scale is: of an unlimited one, that of the longest variable along it.

    NetCDF lets each variable be shorter than its unlimited dimension.
    """
    space = target.oid.get_space()
    length = int(space.get_simple_extent_dims()[0])
    if space.get_simple_extent_dims(True)[0] != h5py.h5s.UNLIMITED or not h5a.exists(target.oid, b"REFERENCE_LIST"):
        return length
    attr = h5a.open(target.oid, b"REFERENCE_LIST")
    tid = attr.get_type()
    raw = np.zeros(attr.shape, f"V{tid.get_size()}")
    attr.read(raw, mtype=tid)
    # A reference is an address, and h5py has no other way to look at it before libhdf5 follows it.
    width = target.session.origin.offset_nbytes
    at = tid.get_member_offset(0)
    addresses = [int.from_bytes(row.tobytes()[at : at + width], "little") for row in raw.reshape(-1)]
    for address, row in zip(addresses, attribute_value(target, b"REFERENCE_LIST").reshape(-1), strict=True):
        check_virtual(target.session, address, target.name)
        found = h5r.dereference(row[0], target.oid)
        if isinstance(found, h5py.h5d.DatasetID):
            dims = found.get_space().get_simple_extent_dims()
            length = max(length, int(dims[int(row[1])]))
    return length


def attribute_value(target: Target, name: bytes) -> np.ndarray[Any, np.dtype[Any]]:
    """An attribute as h5py reads it."""
    attr = CheckedAttributes(target.session, target.oid).open(name)
    out = np.zeros(attr.shape, attr.dtype)
    attr.read(out, mtype=h5t.py_create(attr.dtype))
    return out


def _text(target: Target, name: bytes) -> bytes:
    """An attribute that is one text of fixed length; empty where it is not."""
    if not h5a.exists(target.oid, name):
        return b""
    attr = h5a.open(target.oid, name)
    if attr.get_type().get_class() != h5t.STRING or attr.shape not in ((), (1,)):
        return b""
    return bytes(attribute_value(target, name).reshape(-1)[0]).rstrip(b"\0 ")
