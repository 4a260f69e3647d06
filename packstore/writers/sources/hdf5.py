"""Files, groups and datasets of h5py, by way of the file that they are in."""

from __future__ import annotations

import os
from typing import Any

from packstore.errors import DtypeError, message
from packstore.readers.find import locate
from packstore.writers.sources.location import tree_of_location
from packstore.writers.tree import Tree

__all__ = ["grow"]


def grow(tree: Tree, path: str, value: Any, *, skip: bool) -> None:
    """Add an open file, a group or a dataset to the tree at `path`.

    Raises
    ------
    DtypeError
        It is closed, has no name, or lies in no file on a local disk.
    UnsupportedError
        Something in it that packstore does not read.

    Notes
    -----
    What h5py has not written yet is flushed to the file first.
    """
    hint = "Open the file with packstore.open, or pass arrays"
    if not value:
        raise DtypeError(message("saving", tree.path, path or None, expected="an open h5py object", got="a closed one"))
    name, file = value.name, value.file
    if file.driver in ("core", "fileobj", "family", "split", "ros3") or not os.path.isfile(file.filename) or not name:
        got = f"{value!r} of the driver {file.driver!r}"
        raise DtypeError(
            message("saving", tree.path, path or None, expected="an object in a local file", got=got, hint=hint)
        )
    if file.mode != "r":
        file.flush()
    inside = str(name).strip("/")
    found = locate(file.filename, format="hdf5")
    tree.graft(tree_of_location(found, [inside] if inside else [], skip=skip), path, inside)
