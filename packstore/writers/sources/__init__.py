"""Kinds of things that are saved, one file a kind; in: an object, out: the module that knows how it becomes a tree.

A kind is recognised by the package that its class, or a class above it, comes from: no package is imported for that.
"""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["SOURCES", "source_of"]

# Package and class → module with ``grow(tree, path, value, *, skip)``, which adds `value` to the tree at `path`.
SOURCES: dict[tuple[str, str], str] = {
    ("packstore", "Group"): "packstore.writers.sources.opened",
    ("packstore", "Array"): "packstore.writers.sources.opened",
    ("packstore", "LazyArray"): "packstore.writers.sources.opened",
    ("zarr", "Store"): "packstore.writers.sources.opened",
    ("zarr", "Group"): "packstore.writers.sources.zarr_nodes",
    ("zarr", "Array"): "packstore.writers.sources.zarr_nodes",
    ("numpy", "NpzFile"): "packstore.writers.sources.npz",
    ("h5py", "Group"): "packstore.writers.sources.hdf5",
    ("h5py", "Dataset"): "packstore.writers.sources.hdf5",
    ("xarray", "Dataset"): "packstore.writers.sources.xarray_objects",
    ("xarray", "DataArray"): "packstore.writers.sources.xarray_objects",
    ("xarray", "Variable"): "packstore.writers.sources.xarray_objects",
    ("xarray", "DataTree"): "packstore.writers.sources.xarray_objects",
    ("pandas", "DataFrame"): "packstore.writers.sources.frames",
    ("pandas", "Series"): "packstore.writers.sources.frames",
}


def source_of(value: Any) -> Any:
    """The module that turns `value` into a tree; None for plain arrays, mappings and lists.

    Examples
    --------
    >>> import numpy as np
    >>> source_of(np.arange(3)) is None
    True
    """
    for base in type(value).__mro__:
        home = SOURCES.get((base.__module__.partition(".")[0], base.__name__))
        if home is not None:
            return importlib.import_module(home)
    return None
