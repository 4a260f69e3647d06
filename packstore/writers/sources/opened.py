"""What packstore opened: arrays, groups and stores, by way of the file that they were opened from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from packstore.readers.find import locate
from packstore.readers.location import AnyLocation
from packstore.readers.zarr.directory import DirectoryStore
from packstore.views.lazy import LazyArray
from packstore.views.zarr.group import Group
from packstore.views.zarr.store import ManifestStore
from packstore.writers.sources import zarr_nodes
from packstore.writers.sources.location import item_of_array, tree_of_location
from packstore.writers.tree import Tree

__all__ = ["grow"]


def grow(tree: Tree, path: str, value: Any, *, skip: bool) -> None:
    """Add `value` to the tree at `path`.

    Raises
    ------
    UnsupportedError
        It holds something that cannot be read.
    """
    lazy = value if isinstance(value, LazyArray) else getattr(value, "lazy", None)
    if isinstance(lazy, LazyArray):
        tree.add(replace(item_of_array(lazy.location, lazy.component, lazy.array), name=path))
        return
    location = _location_of(value)
    if location is None:
        zarr_nodes.grow(tree, path, value, skip=skip)
        return
    inside = value.path if isinstance(value, Group) else ""
    tree.graft(tree_of_location(location, [inside] if inside else [], skip=skip), path, inside)


def _location_of(value: Any) -> AnyLocation | None:
    """The file behind a group or store; None for a zarr store of another kind."""
    if isinstance(value, Group):
        return value.location
    if isinstance(value, ManifestStore):
        return value.location
    return locate(value.root, format="zarr") if isinstance(value, DirectoryStore) else None
