"""Groups, arrays and stores of zarr-python, wherever they lie; local directories are read as packstore reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
import zarr
from zarr.abc.store import Store
from zarr.storage import LocalStore

from packstore.errors import FormatError, UnsupportedError, message
from packstore.readers.find import locate
from packstore.readers.zarr.xarray_v2 import unfolded
from packstore.writers.items import TEXT, Item, portable_attributes
from packstore.writers.sources.location import tree_of_location
from packstore.writers.tree import Tree

__all__ = ["grow"]


def grow(tree: Tree, path: str, value: Any, *, skip: bool) -> None:
    """Add a group, an array or the root of a store to the tree at `path`.

    Raises
    ------
    FormatError
        A store that holds neither.
    UnsupportedError
        Something in it that zarr does not read.
    """
    node = _root(value) if isinstance(value, Store) else value
    store = node.store_path.store
    if isinstance(store, LocalStore):
        location = locate(store.root, format="zarr")
        tree.graft(tree_of_location(location, [node.path] if node.path else [], skip=skip), path, node.path)
        return
    if isinstance(node, zarr.Array):
        tree.add(_item(path, node))
        return
    tree.groups[path] = portable_attributes(dict(node.attrs))
    try:
        members = list(node.members(max_depth=None))
    except (ValueError, TypeError, KeyError, NotImplementedError) as why:
        raise UnsupportedError(
            message("saving", str(store), node.path or None, got=f"what zarr refuses: {why}")
        ) from why
    for name, member in members:
        at = f"{path}/{name}" if path else name
        if isinstance(member, zarr.Array):
            tree.add(_item(at, member))
        else:
            tree.groups[at] = portable_attributes(dict(member.attrs))


def _root(store: Store) -> Any:
    try:
        return zarr.open(store=store, mode="r")
    except (FileNotFoundError, ValueError, TypeError, KeyError) as why:
        raise FormatError(
            message("saving", str(store), expected="a zarr array or group in the store", got=why)
        ) from why


def _item(path: str, array: Any) -> Item:
    attributes = dict(array.attrs)
    names = getattr(array.metadata, "dimension_names", None)
    dtype = np.dtype(array.dtype)
    dtype = TEXT if dtype.kind in "OT" else dtype
    if array.metadata.zarr_format == 2:
        attributes, names = unfolded(attributes, len(array.shape), dtype, array.fill_value)
    return Item(
        path,
        array,
        tuple(array.shape),
        dtype,
        portable_attributes(attributes, dtype),
        None if names is None else tuple(names),
        array.fill_value,
        tuple(array.chunks),
        None,
        None if array.shards is None else tuple(array.shards),
    )
