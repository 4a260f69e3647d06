"""Names of dimensions: HDF5 dimension scales, and what NetCDF-4 adds to them.

A dimension is called like the scale attached to it; else by its label; a scale of one dimension is its own dimension.
NetCDF-4 says by number (`_Netcdf4Coordinates`) which dimensions a coordinate variable of several dimensions has.
Dimensions that the file does not name stay without a name.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from h5py import h5a, h5i, h5o, h5r, h5t

from packstore.readers.hdf5.attributes import safe_text
from packstore.readers.hdf5.files import H5_ERRORS, Session
from packstore.readers.hdf5.format.attribute_bytes import StoredAttributes
from packstore.readers.hdf5.links import Target
from packstore.readers.hdf5.virtual.block import check_virtual
from packstore.storage import ManifestArray

if TYPE_CHECKING:
    from packstore.readers.hdf5.context import Context

__all__ = ["Dimensions"]

_SCALES = (b"DIMENSION_LIST", b"REFERENCE_LIST", b"_Netcdf4Dimid", b"_Netcdf4Coordinates")

# A dimension before all names are known: a name, an object's address, a NetCDF number, or nothing.
_Axis = str | tuple[str, int] | tuple[str, str, int] | None


class Dimensions:
    """Collects who refers to which scale while a file is walked, and answers when all scales are known."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._netcdf: dict[str, bool] = {}
        # Address, or NetCDF number, of a scale to its name.
        self._names: dict[tuple[str, int] | tuple[str, str, int], str] = {}
        self._axes: dict[int, list[_Axis]] = {}
        self._keep: list[ManifestArray] = []

    def is_netcdf(self, session: Session) -> bool:
        """Whether a NetCDF-4 library wrote the file."""
        found = self._netcdf.get(session.source.name)
        if found is None:
            root = self._context.linker.root(session).oid
            found = self._netcdf[session.source.name] = h5a.exists(root, b"_NCProperties") or h5a.exists(
                root, b"_nc3_strict"
            )
        return found

    def uses_scales(self, target: Target) -> bool:
        """Whether the object has attributes that dimension scales keep for themselves."""
        try:
            if not h5a.get_num_attrs(target.oid):
                return False
            if target.is_group:
                return self.is_netcdf(target.session)
            return any(h5a.exists(target.oid, name) for name in _SCALES) or _is_scale(target)
        except H5_ERRORS:  # a damaged list of attributes: read_attributes says so
            return False

    def collect(self, array: ManifestArray, target: Target, name: str) -> None:
        """Note a dataset's scales, and under which name it is a scale itself."""
        try:
            if not h5a.get_num_attrs(target.oid):
                return
            axes = self._read(target, name, len(array.shape))
        except H5_ERRORS:  # damaged scales cost the names of dimensions, not the data
            return
        if axes is not None:
            self._axes[id(array)] = axes
            self._keep.append(array)

    def _read(self, target: Target, name: str, ndim: int) -> list[_Axis] | None:
        oid, file = target.oid, target.session.source.name
        axes: list[_Axis] = [None] * ndim
        is_scale = _is_scale(target)
        if is_scale:
            self._names[target.key] = name
            if h5a.exists(oid, b"_Netcdf4Dimid"):
                self._names[file, "dimid", int(_value(target, b"_Netcdf4Dimid").reshape(-1)[0])] = name
            if ndim == 1:
                axes[0] = target.key
        if h5a.exists(oid, b"DIMENSION_LABELS"):
            for i, label in enumerate(_value(target, b"DIMENSION_LABELS").reshape(-1)[:ndim]):
                if label:
                    axes[i] = safe_text(label) if isinstance(label, bytes) else str(label)
        if h5a.exists(oid, b"_Netcdf4Coordinates"):
            for i, number in enumerate(_value(target, b"_Netcdf4Coordinates").reshape(-1)[:ndim]):
                axes[i] = (file, "dimid", int(number))
        if h5a.exists(oid, b"DIMENSION_LIST"):
            leads_to = StoredAttributes(target.session, oid).references(b"DIMENSION_LIST")
            for i, references in enumerate(_value(target, b"DIMENSION_LIST").reshape(-1)[:ndim]):
                if isinstance(references, np.ndarray) and len(references) and references[0]:
                    address = leads_to[i] if i < len(leads_to) else None
                    if address is not None:
                        check_virtual(target.session, address, name)
                    scale = h5r.dereference(references[0], oid)
                    key = (file, int(h5o.get_info(scale).addr))
                    axes[i] = key
                    if self._context.component is not None and key not in self._names:
                        # Only this dataset is looked at: nothing else will say what the scale is called.
                        found = h5i.get_name(scale)
                        if found:
                            self._names[key] = safe_text(found.rpartition(b"/")[2])
        return axes if any(a is not None for a in axes) else None

    def named(self, array: ManifestArray) -> ManifestArray:
        """The array with the names of its dimensions, once the whole file is known."""
        axes = self._axes.get(id(array))
        if axes is None:
            return array
        names = tuple(a if a is None or isinstance(a, str) else self._names.get(a) for a in axes)
        return array if not any(names) else replace(array, dimension_names=names)


def _is_scale(target: Target) -> bool:
    if not h5a.exists(target.oid, b"CLASS"):
        return False
    attr = h5a.open(target.oid, b"CLASS")
    if attr.get_type().get_class() != h5t.STRING or attr.shape not in ((), (1,)):
        return False
    return bytes(_value(target, b"CLASS").reshape(-1)[0]).rstrip(b"\0 ") == b"DIMENSION_SCALE"


def _value(target: Target, name: bytes) -> np.ndarray[Any, np.dtype[Any]]:
    attr = StoredAttributes(target.session, target.oid).open(name)
    out = np.zeros(attr.shape, attr.dtype)
    attr.read(out, mtype=h5t.py_create(attr.dtype))
    return out
