"""The nodes that zarr sees of a file: a manifest goes in, its arrays and groups by path come out, and reasons."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from packstore.core.keys import parent_paths, path_reason
from packstore.errors import PackstoreError, UnsupportedError, message
from packstore.readers.location import AnyLocation
from packstore.storage import ManifestArray, ManifestGroup
from packstore.views.zarr.fill_values import left_out
from packstore.views.zarr.metadata import node_reason

__all__ = ["Nodes", "all_nodes", "one_array", "unsupported_error"]


@dataclass(frozen=True)
class Nodes:
    """The nodes of a zarr hierarchy.

    Parameters
    ----------
    arrays, groups
        By path; "" is the root. Groups map to their attributes.
    unsupported
        Path to the reason, for each array that zarr cannot have.
    unlisted
        By path: arrays that zarr is given where it asks for them by name, and that no listing has.
    """

    arrays: Mapping[str, ManifestArray] = field(default_factory=dict)
    groups: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    unsupported: Mapping[str, str] = field(default_factory=dict)
    unlisted: Mapping[str, ManifestArray] = field(default_factory=dict)

    def array(self, path: str) -> ManifestArray | None:
        """The array at `path`, listed or not."""
        found = self.arrays.get(path)
        return self.unlisted.get(path) if found is None else found


def one_array(path: str, array: ManifestArray, location: AnyLocation) -> Nodes:
    """The node of an array that was opened by its name; its neighbours in the file do not matter.

    Raises
    ------
    UnsupportedError
        Zarr cannot have it.
    """
    reason = node_reason(path, array, ())
    if reason is not None:
        raise unsupported_error(location, path, reason)
    return Nodes({path: array})


def all_nodes(manifest: ManifestGroup, opened: Mapping[str, ManifestArray]) -> Nodes:
    """All nodes of a file; the arrays in `opened` are among them, also where no listing names them (through links)."""
    arrays: dict[str, ManifestArray] = {}
    unsupported = dict(manifest.unsupported)
    for path, array in manifest.arrays.items():
        reason = node_reason(path, array, manifest.arrays)
        if reason is None:
            arrays[path] = array
            unsupported.update(left_out(path, array))
        else:
            unsupported[path] = reason
    unlisted = {p: a for p, a in manifest.unlisted.items() if node_reason(p, a, manifest.arrays) is None}
    for path, array in opened.items():
        if path not in unlisted:
            arrays[path] = array
            unsupported.pop(path, None)
    groups: dict[str, Mapping[str, Any]] = {
        path: attributes
        for path, attributes in manifest.groups.items()
        if path_reason(path) is None and path not in manifest.arrays
    }
    for path in arrays:
        for parent in parent_paths(path):
            if parent not in arrays:
                groups.setdefault(parent, {})
    if not arrays and "" not in manifest.arrays:
        groups.setdefault("", {})
    return Nodes(arrays, groups, unsupported, unlisted)


def unsupported_error(location: AnyLocation, path: str, reason: str) -> UnsupportedError:
    """The error for an array that zarr cannot have; its hint names `from_file` where that reads the array."""
    hint = None
    if "packstore.from_file" not in reason and _is_read(location, path):
        hint = "packstore.from_file reads it all the same"
    return UnsupportedError(
        message("opening", location.path, path, expected="an array that zarr can hold", got=reason, hint=hint)
    )


def _is_read(location: AnyLocation, path: str) -> bool:
    try:
        return path in location.manifest(path).arrays
    except PackstoreError:
        return False
