"""Whether two files agree in what is not elements: groups, attributes, dimension names, fill values, links."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from packstore.cli.compare import comparable, first_difference
from packstore.cli.show import jsonable
from packstore.readers.find import find_array
from packstore.readers.location import Location
from packstore.storage import ManifestArray, ManifestGroup, missing_value
from packstore.writers.holds import PARTS, holds
from packstore.writers.items import portable_attributes

__all__ = ["Side", "compare_arrays", "compare_trees", "not_held", "same_value"]

# The attribute in which xarray keeps dimension names where the format (zarr v2) has no place for them.
NAMES_ATTRIBUTE = "_ARRAY_DIMENSIONS"

Difference = dict[str, Any]


@dataclass(frozen=True)
class Side:
    """One of two files: how errors call it, what it holds, and what its format could hold."""

    location: Location
    path: str
    format: str
    manifest: ManifestGroup
    parts: frozenset[str]

    @classmethod
    def of(cls, location: Location) -> Side:
        """The file at a location."""
        manifest = location.manifest()
        known = holds(location.format)
        # Of a format that nobody described: what it is seen to hold.
        parts = frozenset(p for p in PARTS if _count(manifest, p)) if known is None else known
        return cls(location, location.path, location.format, manifest, parts)

    def array(self, name: str) -> ManifestArray:
        """The array of that name, also where no listing has it."""
        manifest = self.manifest
        found = manifest.arrays.get(name) or manifest.unlisted.get(name)
        return found or find_array(self.location, name)[1]

    def linked(self, other: Side) -> set[str]:
        """Names of arrays and groups below links that the other file has too, or cannot have."""
        theirs = other.manifest.links
        links = {n for n, t in self.manifest.links.items() if "links" not in other.parts or theirs.get(n) == t}
        return {n for n in (*self.manifest.arrays, *self.groups()) if any(p in links for p in (n, *_parents(n)))}

    def groups(self) -> dict[str, Mapping[str, Any]]:
        """Attributes of all groups but the root, those that are only seen in the names of others included."""
        manifest = self.manifest
        implied = {p for n in (*manifest.arrays, *manifest.groups) for p in _parents(n)}
        return {n: manifest.groups.get(n, {}) for n in {*implied, *manifest.groups} if n}

    def unreadable(self, name: str) -> set[str]:
        """Attributes of an array or group that are there and cannot be read."""
        return {n[len(name) + 1 :] for n in self.manifest.unsupported if n.startswith(f"{name}@")}


def _parents(name: str) -> list[str]:
    return [name[:i] for i, c in enumerate(name) if c == "/"]


def compare_trees(a: Side, b: Side) -> list[Difference]:
    """Differences in groups, their attributes, and links."""
    found: list[Difference] = []
    if "groups" in a.parts and "groups" in b.parts:
        hidden = a.linked(b) | b.linked(a)
        groups_a, groups_b = ({"": s.manifest.groups.get("", {}), **s.groups()} for s in (a, b))
        for name in sorted({*groups_a, *groups_b} - hidden):
            if name in groups_a and name in groups_b:
                found += _attributes(a, b, name, name, groups_a[name], groups_b[name])
            else:
                found.append(
                    _difference(name, "group", *("there" if name in g else None for g in (groups_a, groups_b)))
                )
    if "links" in a.parts and "links" in b.parts:
        links_a, links_b = a.manifest.links, b.manifest.links
        for name in sorted({*links_a, *links_b}):
            if links_a.get(name) != links_b.get(name):
                found.append(_difference(name, "link", links_a.get(name), links_b.get(name)))
    return found


def compare_arrays(a: Side, b: Side, name_a: str, name_b: str) -> list[Difference]:
    """Differences of two arrays in attributes, dimension names and fill values."""
    x, y = a.array(name_a), b.array(name_b)
    both = a.parts & b.parts
    plain = [portable_attributes(m.attributes, m.dtype) for m in (x, y)]
    found = _attributes(a, b, name_a, name_b, *plain)
    if "dimension names" in both and _names(x) != _names(y):
        found.append(
            _difference(name_a, "dimension names", *(None if n is None else list(n) for n in map(_names, (x, y))))
        )
    if "fill values" in both and comparable(x.dtype, y.dtype) and not _same_fill(x, y):
        found.append(_difference(name_a, "fill value", missing_value(x), missing_value(y)))
    return found


def not_held(a: Side, b: Side, arrays_a: Iterable[str], arrays_b: Iterable[str], *, groups: bool) -> list[str]:
    """What these arrays of one file (and its `groups`) have, for which the other's format has no place: for notes."""
    notes = []
    for here, there, names in ((a, b, arrays_a), (b, a, arrays_b)):
        found = replace(here.manifest, arrays={n: here.array(n) for n in names})
        if not groups:
            found = replace(found, groups={}, links={})
        for part in sorted(here.parts - there.parts):
            count = _count(found, part)
            if count:
                notes.append(f"{part} of {here.path} are not compared: {there.format} has no place for them ({count})")
    return notes


def _count(manifest: ManifestGroup, part: str) -> int:
    """How many of a part there are."""
    arrays = list(manifest.arrays.values())
    if part == "attributes":
        return sum(len(x) for x in (*(x.attributes for x in arrays), *manifest.groups.values()))
    if part == "dimension names":
        return sum(_names(x) is not None for x in arrays)
    if part == "fill values":
        return sum(not _is_zero(x) for x in arrays)
    if part == "groups":
        full = {p for n in (*manifest.arrays, *manifest.groups) for p in _parents(n)}
        return sum(1 for n in manifest.groups if n and n not in full)
    return len(manifest.links)


def _difference(component: str, what: str, a: Any, b: Any) -> Difference:
    return {"component": component, "what": what, "a": a, "b": b}


def _attributes(
    a: Side, b: Side, name_a: str, name_b: str, x: Mapping[str, Any], y: Mapping[str, Any]
) -> list[Difference]:
    if not ("attributes" in a.parts and "attributes" in b.parts):
        return []
    skipped = a.unreadable(name_a) | b.unreadable(name_b) | _internal(a, b) | {NAMES_ATTRIBUTE}
    found = []
    for key in (*x, *(k for k in y if k not in x)):
        if key in skipped or (key in x and key in y and same_value(x[key], y[key])):
            continue
        # A list, so that an attribute that is null differs from one that is not there.
        values = (None if key not in m else [m[key]] for m in (x, y))
        found.append(_difference(name_a, f"attribute {key!r}", *values))
    return found


def _internal(a: Side, b: Side) -> frozenset[str]:
    """Attributes in which HDF5's libraries keep what is compared by itself."""
    if "hdf5" not in (a.format, b.format):
        return frozenset()
    from packstore.readers.hdf5.attributes import INTERNAL

    return INTERNAL


def same_value(a: Any, b: Any) -> bool:
    """Whether two JSON-able values are equal: numbers whatever their types, NaN with NaN, objects with their JSON text.

    Examples
    --------
    >>> same_value([1, float("nan")], (1.0, float("nan"))), same_value({"a": 1}, '{"a": 1}'), same_value("1", 1)
    (True, True, False)
    """
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same_value(v, b[k]) for k, v in a.items())
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(map(same_value, a, b))
    if isinstance(a, float) and isinstance(b, float) and math.isnan(a):
        return math.isnan(b)
    if isinstance(a, str) != isinstance(b, str):
        # HDF5 has no type for objects, lists of several types and null: they are kept as JSON text.
        text, value = (a, b) if isinstance(a, str) else (b, a)
        return isinstance(value, (Mapping, list, tuple, type(None))) and _is_json_of(text, value)
    return bool(a == b)


def _is_json_of(text: str, value: Any) -> bool:
    try:
        return bool(jsonable(json.loads(text)) == jsonable(value))
    except ValueError:
        return False


def _names(array: ManifestArray) -> tuple[str | None, ...] | None:
    names = array.dimension_names or array.attributes.get(NAMES_ATTRIBUTE)
    if not isinstance(names, (list, tuple)) or all(n is None for n in names):
        return None
    return tuple(names)


def _fill(array: ManifestArray) -> Any:
    value = missing_value(array)
    # Text of variable length that was never written is empty, whether the file says so with zero, None or "".
    return (
        "" if value is None or (isinstance(value, (int, str, bytes)) and array.dtype.hasobject and not value) else value
    )


def _is_zero(array: ManifestArray) -> bool:
    fill = _fill(array)
    if isinstance(fill, (str, bytes)):
        return not fill
    return not any(np.asarray(fill).tobytes())


def _same_fill(x: ManifestArray, y: ManifestArray) -> bool:
    if _is_zero(x) and _is_zero(y):
        return True
    a, b = (np.asarray(_fill(array), "O" if array.dtype.hasobject else array.dtype) for array in (x, y))
    return first_difference(a, b) is None
