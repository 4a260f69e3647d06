"""xarray: datasets, arrays and trees of them, encoded as xarray itself writes them (times, masks, scales, text)."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from packstore.core.boxes import Box
from packstore.core.typing import Array
from packstore.errors import DtypeError, message
from packstore.writers.items import TEXT, Item, item_of, plain_name
from packstore.writers.tree import Tree

__all__ = ["grow"]

# What xarray calls the one variable of an array without a name.
NAMELESS = "__xarray_dataarray_variable__"
# The attribute in which xarray keeps the name of an array that one of its coordinates or dimensions has, too.
NAME = "__xarray_dataarray_name__"
# What turns bool into numbers of another meaning, if it stands in an encoding.
_MASKING = {"_FillValue", "missing_value", "scale_factor", "add_offset"}


def grow(tree: Tree, path: str, value: Any, *, skip: bool) -> None:
    """Add a dataset or tree to the tree at `path` as groups, an array with its coordinates as a group of arrays.

    An array without name and coordinates, and one that the tree has no room for as a group, is one array.

    Raises
    ------
    DtypeError
        Values that xarray does not encode.
    OptionError
        Names that are no text, or no plain parts.
    """
    if isinstance(value, xr.DataTree):
        for node in value.subtree:
            below = node.path.strip("/")[len(value.path.strip("/")) :].strip("/")
            at = "/".join(part for part in (path, below) if part)
            _dataset(tree, at, node.to_dataset(inherit=False))
    elif isinstance(value, xr.Dataset):
        _dataset(tree, path, value)
    elif isinstance(value, xr.Variable):
        tree.add(_item(tree, path, path, value, ()))
    elif path or tree.wants_one or not (value.name or value.coords):
        if value.coords:
            tree.lose(path, f"coordinates are not written: {', '.join(map(str, value.coords))}")
        tree.add(_item(tree, path, value.name, value.variable, ()))
    else:
        taken = value.name is None or value.name in value.coords or value.name in value.dims
        dataset = value.to_dataset(name=NAMELESS if taken else value.name)
        if value.name is not None and taken:
            dataset.attrs[NAME] = value.name
        _dataset(tree, path, dataset)


def _dataset(tree: Tree, path: str, dataset: Any) -> None:
    from xarray.conventions import encode_dataset_coordinates

    variables, attributes = encode_dataset_coordinates(dataset)
    tree.groups[path] = dict(attributes)
    unlimited = dataset.encoding.get("unlimited_dims", ())
    for name, variable in variables.items():
        at = f"{path}/{plain_name(name, tree.path)}" if path else plain_name(name, tree.path)
        tree.add(_item(tree, at, name, variable, unlimited))


def _item(tree: Tree, path: str, name: Any, variable: Any, unlimited: Any) -> Item:
    from xarray.conventions import encode_cf_variable

    try:
        if variable.dtype == np.bool_ and not _MASKING & {*variable.encoding, *variable.attrs}:
            # Formats have bool. The attribute is xarray's word for it, by which it reads any integer as bool.
            stored = variable if tree.wants_one else variable._replace(attrs={**variable.attrs, "dtype": "bool"})
        else:
            stored = encode_cf_variable(variable, name=name)
    except (ValueError, TypeError, NotImplementedError, OverflowError) as why:
        expected = "values that xarray encodes"
        raise DtypeError(message("saving", tree.path, path or None, expected=expected, got=why)) from why
    names = tuple(map(str, stored.dims))
    fill = stored.attrs.get("_FillValue")
    grow_to = tuple(None if d in unlimited else n for d, n in zip(stored.dims, stored.shape, strict=True))
    chunks = variable.encoding.get("chunksizes")
    chunks = tuple(chunks) if chunks is not None and len(chunks) == stored.ndim else None
    rest: dict[str, Any] = {
        "attributes": dict(stored.attrs),
        "dimension_names": names,
        "fill_value": fill if fill is not None and stored.dtype.kind in "biufcmM" else None,
        "chunk_shape": chunks if chunks and all(chunks) else None,
        "max_shape": grow_to if None in grow_to else None,
    }
    if hasattr(stored.data if stored.chunks else None, "__dask_graph__"):
        plain = item_of(path, stored.data)
        return Item(path, plain.data, plain.shape, plain.dtype, **rest)
    dtype = np.dtype(stored.dtype)
    if dtype.kind in "OT":
        plain = item_of(path, np.asarray(stored.values, dtype=object))
        return Item(path, plain.data, plain.shape, TEXT, **rest)
    return Item(path, _Encoded(stored), stored.shape, dtype, **rest)


class _Encoded:
    """A variable that is read box by box."""

    def __init__(self, variable: Any) -> None:
        self.variable = variable
        self.shape, self.dtype, self.ndim = variable.shape, variable.dtype, variable.ndim

    def __getitem__(self, box: Box) -> Array:
        return np.asarray(self.variable[box].values)
