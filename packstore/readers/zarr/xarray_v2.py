"""xarray's conventions for zarr v2; in: attributes and fill value of an array, out: names of axes, and `_FillValue`.

Version 2 has no place for the names of dimensions, and its fill value is what xarray masks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from packstore.readers.location import AnyLocation
from packstore.readers.zarr.nodes import V2_ARRAY, find_node
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
    node = find_node(location.fingerprint.path, name) if location.format == "zarr" else None
    if node is None or node.document != V2_ARRAY or node.load()[0].get("fill_value") is None:
        return None
    return missing_value(array)
