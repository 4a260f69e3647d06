"""``packstore info``: what is in a file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from packstore.readers.find import find_array, locate
from packstore.readers.joined import piped
from packstore.readers.location import Location
from packstore.source import DirectorySource
from packstore.source.sizes import size_on_disk
from packstore.storage import ManifestArray, ManifestGroup
from packstore.storage.attributes import Attributes
from packstore.views.zarr.dtypes.names import is_text
from packstore.views.zarr.metadata import node_reason

__all__ = ["describe", "describe_array"]


def describe_array(array: ManifestArray, reason: str | None) -> dict[str, Any]:
    """Shape, dtype, chunks, filters, size and ratio of one array; `reason` says why zarr cannot have it."""
    how = array.storage.facts(array)
    return {
        "shape": list(array.shape),
        "dtype": _dtype(array.dtype),
        "chunks": list(array.chunk_shape),
        "shards": None if array.shard_shape is None else list(array.shard_shape),
        "layout": how.layout,
        "filters": list(how.filters),
        "nbytes": None if array.dtype.hasobject else array.nbytes,
        "stored_nbytes": how.nbytes,
        "ratio": _ratio(array, how.nbytes),
        "chunk_count": math.prod(array.grid_shape),
        "missing_chunks": how.missing,
        "fill_value": array.fill_value,
        "max_shape": None if array.max_shape is None else list(array.max_shape),
        "dimension_names": None if array.dimension_names is None else list(array.dimension_names),
        "attributes": dict(array.attributes),
        "attribute_types": _types(array.attributes),
        "zarr_reason": reason,
    }


def _types(attributes: Mapping[str, Any]) -> dict[str, str]:
    """The stored types of those attributes whose JSON values do not tell them."""
    typed = attributes.typed if isinstance(attributes, Attributes) else {}
    return {name: _type(value) for name, value in typed.items()}


def _type(value: Any) -> str:
    found = getattr(value, "dtype", None)
    return type(value).__name__ if found is None else _dtype(np.dtype(found))


def _dtype(dtype: np.dtype[Any]) -> str:
    if is_text(dtype):
        return "variable-length string"
    if dtype.kind == "O" and dtype.metadata is not None and "vlen" in dtype.metadata:
        return f"variable-length sequence of {dtype.metadata['vlen']}"
    return str(dtype)


def _ratio(array: ManifestArray, nbytes: int | None) -> float | None:
    if not nbytes or array.dtype.hasobject:
        return None
    return round(array.nbytes / nbytes, 3)


def describe(path: str, component: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """All of the file, or one array or group of it.

    Raises
    ------
    ComponentNotFoundError
        Nothing of that name.
    """
    shown = path
    path, component, options = piped(path, component, options)
    location = locate(path, **options)
    found = below(location, component)
    directory = isinstance(location.source(), DirectorySource)
    nbytes = size_on_disk(location.fingerprint.path) if directory else location.fingerprint.nbytes
    everywhere = location.manifest().arrays
    arrays = {
        name: describe_array(array, node_reason(name, array, everywhere))
        for name, array in sorted(found.arrays.items())
    }
    if list(arrays) == [""] and arrays[""]["stored_nbytes"] is None and component is None:
        # The file is the array.
        arrays[""].update(stored_nbytes=nbytes, ratio=_ratio(found.arrays[""], nbytes))
    return {
        "path": shown,
        "format": location.format,
        "nbytes": nbytes,
        "arrays": arrays,
        "groups": {name: dict(attributes) for name, attributes in sorted(found.groups.items())},
        "group_attribute_types": {
            name: types for name in sorted(found.groups) if (types := _types(found.groups[name]))
        },
        "links": dict(sorted(found.links.items())),
        "unsupported": dict(sorted(found.unsupported.items())),
    }


def below(location: Location, component: str | None) -> ManifestGroup:
    """The part of the tree that is asked for."""
    wanted = (component or "").strip("/")
    whole = location.manifest()
    if not wanted:
        return whole

    def part(found: Any) -> dict[str, Any]:
        inside = (f"{wanted}/", f"{wanted}@")
        return {name: value for name, value in found.items() if name == wanted or name.startswith(inside)}

    kept = ManifestGroup(part(whole.arrays), part(whole.groups), part(whole.unsupported), part(whole.links))
    if kept.arrays or kept.groups or kept.unsupported:
        return kept
    # Reached by another name (a link), or not at all.
    name, array = find_array(location, wanted)
    return ManifestGroup({name: array})
