"""napari's reader: a path goes in, layers of lazily read arrays come out; bool masks as labels.

Source: https://napari.org/stable/plugins/building_a_plugin/guides.html#readers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from packstore.errors import FormatError, PackstoreError, message
from packstore.readers.find import locate
from packstore.views.dask.from_lazy import from_lazy
from packstore.views.lazy import LazyArray

__all__ = ["get_reader"]

LayerData = tuple[Any, dict[str, Any], str]


def get_reader(path: str | Sequence[str]) -> Callable[[Any], list[LayerData]] | None:
    """The function that reads a path, or None where packstore opens no such file.

    Parameters
    ----------
    path
        One path or several, as napari gives them; with several each gives its layers.
    """
    paths = [path] if isinstance(path, str) else list(path)
    try:
        for each in paths:
            locate(each)
    except PackstoreError:
        return None
    return read_layers


def read_layers(path: str | Sequence[str]) -> list[LayerData]:
    """A layer for each array of two axes and more whose elements are numbers or bools.

    Bools are labels, and so is nothing else: whether integers are labels or counts, a file does not say. Arrays are
    dask arrays, so only what is looked at is read.

    Raises
    ------
    FormatError
        A file has no such array.
    PackstoreError
        As `packstore.open_group`.
    """
    paths = [path] if isinstance(path, str) else list(path)
    layers = []
    for each in paths:
        location = locate(each)
        stem = location.path.rstrip("/").rpartition("/")[2]
        found = []
        for name, array in location.manifest().arrays.items():
            if len(array.shape) < 2 or array.dtype.kind not in "biufc" or 0 in array.shape:
                continue
            data = from_lazy(LazyArray(location, name, array))
            kind = "labels" if array.dtype == np.bool_ else "image"
            # Labels are integers to napari.
            shown = data.astype(np.uint8) if kind == "labels" else data
            found.append((shown, {"name": f"{stem}[{name}]" if name else stem}, kind))
        if not found:
            expected = "an array of numbers or bools with two axes or more"
            raise FormatError(message("opening as layers", location.path, expected=expected, got="none"))
        layers += found
    return layers
