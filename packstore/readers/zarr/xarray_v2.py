"""xarray's conventions for zarr v2; in: attributes and fill value of an array, out: names of axes, and `_FillValue`.

Version 2 has no place for the names of dimensions, and its fill value is what xarray masks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from packstore.readers.location import AnyLocation, Location
from packstore.readers.zarr.described import parsed
from packstore.readers.zarr.nodes import V2_ARRAY, find_node
from packstore.source import RemoteFolder
from packstore.source.remote.urls import is_url
from packstore.storage import ManifestArray, missing_value

__all__ = ["DIMENSIONS", "stored_fill", "unfolded"]

DIMENSIONS = "_ARRAY_DIMENSIONS"


def unfolded(
    attributes: Mapping[str, Any], ndim: int, dtype: np.dtype[Any], fill: Any
) -> tuple[dict[str, Any], tuple[str, ...] | None]:
    """The attributes without the names of axes, and those names; both as they are where they name no axes.

    Parameters
    ----------
    fill
        The fill value that the metadata state; None: none.

    Examples
    --------
    >>> unfolded({"_ARRAY_DIMENSIONS": ["x"], "unit": "m"}, 1, np.dtype("i2"), np.int16(-9))
    ({'unit': 'm', '_FillValue': np.int16(-9)}, ('x',))
    """
    rest = dict(attributes)
    names = rest.get(DIMENSIONS)
    if not isinstance(names, (list, tuple)) or len(names) != ndim or not all(isinstance(n, str) and n for n in names):
        return rest, None
    del rest[DIMENSIONS]
    if fill is not None and dtype.kind in "biufc":
        rest.setdefault("_FillValue", dtype.type(fill))
    return rest, tuple(names)


def stored_fill(location: AnyLocation, name: str, array: ManifestArray) -> Any:
    """The fill value that a zarr v2 array of a file states; None where it states none, and for any other array."""
    if location.format == "zarr" and not is_url(location.fingerprint.path):
        node = find_node(location.fingerprint.path, name)
        document = node.load()[0] if node is not None and node.document == V2_ARRAY else None
    else:
        document = _document(location, name)
    return None if document is None or document.get("fill_value") is None else missing_value(array)


def _document(location: AnyLocation, name: str) -> Mapping[str, Any] | None:
    """The v2 document of an array in an archive or behind a URL, where that is a hierarchy of zarr."""
    if not isinstance(location, Location) or location.format not in ("zarr", "zarr_zip"):
        return None
    source = location.source()
    if isinstance(source, RemoteFolder):
        answer = source.read(f"{name}/{V2_ARRAY}" if name else V2_ARRAY)
        found = None if answer is None else parsed(answer.data, answer.state.nbytes, "", name)
        return found[0] if isinstance(found, tuple) else None
    # Function-level, for import time: archives are rare.
    from packstore.readers.zarr.zipped import document_of

    document: Mapping[str, Any] | None = document_of(source, name, V2_ARRAY)
    return document
