"""Names of dimensions, from dimension scales and NetCDF-4's numbers; in: an open dataset, out: a name for each axis.

A dimension is called like the scale attached to it; else by its label; a scale of one dimension is its own dimension.
NetCDF-4 says by number (`_Netcdf4Coordinates`) which dimensions a coordinate variable of several dimensions has.
Dimensions that the file does not name stay without a name.

A scale is called like the hard link that leads to it, whatever its own attribute `NAME` says.
"""

from __future__ import annotations

import numpy as np
from h5py import h5a, h5r, h5s, h5t

from packstore.readers.hdf5.attributes import safe_text
from packstore.readers.hdf5.files import H5_ERRORS, Session, object_info
from packstore.readers.hdf5.guard import CheckedAttributes, check_virtual
from packstore.readers.hdf5.links import Target, follow, root
from packstore.readers.hdf5.object_names import ObjectNames, groups_above
from packstore.readers.hdf5.scales import attribute_value, is_scale, scale_length

__all__ = ["Dimensions"]

_SCALES = (b"DIMENSION_LIST", b"REFERENCE_LIST", b"_Netcdf4Dimid", b"_Netcdf4Coordinates")

Names = tuple[str | None, ...]


class Dimensions:
    """Names the dimensions of one reading's datasets; keeps the names of their scales."""

    def __init__(self) -> None:
        self._netcdf: dict[str, bool] = {}
        self._scales: dict[tuple[str, int], str | None] = {}
        self._lengths: dict[tuple[str, int], int] = {}
        self._names = ObjectNames()
        # By group: the names of its NetCDF dimensions, by number.
        self._numbered: dict[tuple[str, int], dict[int, str]] = {}

    def is_netcdf(self, session: Session) -> bool:
        """Whether a NetCDF-4 library wrote the file."""
        found = self._netcdf.get(session.source.name)
        if found is None:
            oid = root(session).oid
            try:
                found = h5a.exists(oid, b"_NCProperties") or h5a.exists(oid, b"_nc3_strict")
            except H5_ERRORS:
                # libhdf5 stops at any damaged attribute of the root group.
                stored = CheckedAttributes(session, oid)
                found = any(stored.data(name) is not None for name in (b"_NCProperties", b"_nc3_strict"))
            self._netcdf[session.source.name] = found
        return found

    def uses_scales(self, target: Target) -> bool:
        """Whether the object has attributes that dimension scales keep for themselves."""
        try:
            if not h5a.get_num_attrs(target.oid):
                return False
            if target.is_group:
                return self.is_netcdf(target.session)
            return any(h5a.exists(target.oid, name) for name in _SCALES) or is_scale(target)
        except H5_ERRORS:  # a damaged list of attributes: read_attributes says so
            return False

    def names(self, target: Target, ndim: int) -> Names | None:
        """The names of a dataset's dimensions; None where the file names none of them."""
        try:
            names = self._read(target, ndim) if h5a.get_num_attrs(target.oid) else ()
        except H5_ERRORS:
            # Damaged scales cost the names of dimensions, not the data.
            return None
        return names if any(names) else None

    def shape(self, target: Target, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape that NetCDF gives a dataset of `shape`: its unlimited dimensions may be longer than it is."""
        if not self.is_netcdf(target.session):
            return shape
        found = list(shape)
        try:
            limits = target.oid.get_space().get_simple_extent_dims(True)
            unlimited = {i for i, limit in enumerate(limits) if limit == h5s.UNLIMITED}
            for i, scale in self._scales_of(target, unlimited).items():
                if scale.key not in self._lengths:
                    self._lengths[scale.key] = scale_length(scale)
                found[i] = max(found[i], self._lengths[scale.key])
        except (IndexError, *H5_ERRORS):
            # Damaged scales cost what lies beyond the end, not the data.
            return shape
        return tuple(found)

    def _scales_of(self, target: Target, axes: set[int]) -> dict[int, Target]:
        """The scales of the given axes, by axis."""
        if not axes:
            return {}
        found: dict[int, Target] = {}
        own = is_scale(target)
        if h5a.exists(target.oid, b"DIMENSION_LIST"):
            found = {i: scale for i, scale in self._attached(target, max(axes) + 1).items() if i in axes}
        elif own and 0 in axes:
            found[0] = target
        if own and h5a.exists(target.oid, b"_Netcdf4Coordinates"):
            numbers = attribute_value(target, b"_Netcdf4Coordinates").reshape(-1).tolist()
            for i in axes - found.keys():
                group_and_name = self._by_number(target, numbers[i])
                if group_and_name is not None:
                    group, name = group_and_name
                    found[i] = follow(group, name.encode("utf-8", "surrogateescape"))
        return found

    def _read(self, target: Target, ndim: int) -> Names:
        oid = target.oid
        names: list[str | None] = [None] * ndim
        is_its_own = ndim == 1 and is_scale(target)
        if is_its_own:
            names[0] = self._names.of(target)
        if h5a.exists(oid, b"DIMENSION_LABELS"):
            for i, label in enumerate(attribute_value(target, b"DIMENSION_LABELS").reshape(-1)[:ndim]):
                if label:
                    names[i] = safe_text(label) if isinstance(label, bytes) else str(label)
        attached = self._attached(target, ndim) if h5a.exists(oid, b"DIMENSION_LIST") else {}
        scales = {i: self._scale_name(target, scale) for i, scale in attached.items()}
        if h5a.exists(oid, b"_Netcdf4Coordinates") and not is_its_own:
            for i, number in enumerate(attribute_value(target, b"_Netcdf4Coordinates").reshape(-1)[:ndim]):
                found = self._by_number(target, int(number)) if i not in attached else None
                if found is not None:
                    names[i] = found[1]
        for i, name in scales.items():
            names[i] = name
        return tuple(names)

    def _attached(self, target: Target, ndim: int) -> dict[int, Target]:
        """The scales that are attached to axes, by axis."""
        found: dict[int, Target] = {}
        leads_to = CheckedAttributes(target.session, target.oid).references(b"DIMENSION_LIST")
        for i, references in enumerate(attribute_value(target, b"DIMENSION_LIST").reshape(-1)[:ndim]):
            if isinstance(references, np.ndarray) and len(references) and references[0]:
                address = leads_to[i] if i < len(leads_to) else None
                if address is not None:
                    check_virtual(target.session, address, target.name)
                scale = h5r.dereference(references[0], target.oid)
                key = (target.session.source.name, object_info(scale)[0])
                found[i] = Target(target.session, scale, b"", key)
        return found

    def _scale_name(self, target: Target, scale: Target) -> str | None:
        """The name of a scale that `target` refers to."""
        if scale.key not in self._scales:
            self._scales[scale.key] = self._names.referred(target, scale.oid, _own_claim(scale))
        return self._scales[scale.key]

    def _by_number(self, target: Target, number: int) -> tuple[Target, str] | None:
        """The group, from the dataset's own upwards, that has the NetCDF dimension of that number, and its name."""
        for group in groups_above(target):
            if group.key not in self._numbered:
                self._numbered[group.key] = self._numbers(group)
            if number in self._numbered[group.key]:
                return group, self._numbered[group.key][number]
        return None

    def _numbers(self, group: Target) -> dict[int, str]:
        """The NetCDF dimensions in a group."""
        found: dict[int, str] = {}
        for name in self._names.links(group).values():
            try:
                scale = follow(group, name.encode("utf-8", "surrogateescape"))
                if scale.is_dataset and h5a.exists(scale.oid, b"_Netcdf4Dimid") and is_scale(scale):
                    found[int(attribute_value(scale, b"_Netcdf4Dimid").reshape(-1)[0])] = name
            except (IndexError, *H5_ERRORS):  # one damaged sibling is not this dataset's dimension
                continue
        return found


def _own_claim(scale: Target) -> bytes | None:
    """The name in a scale's own attribute, which may be another one than its link's."""
    try:
        if h5a.exists(scale.oid, b"NAME") and h5a.open(scale.oid, b"NAME").get_type().get_class() == h5t.STRING:
            found = attribute_value(scale, b"NAME").reshape(-1)[:1].tolist()
            return found[0] if found and isinstance(found[0], bytes) else None
    except H5_ERRORS:  # damage: the name is found without it
        return None
    return None
