"""numpy's open archives: members are read from the file, those that need pickle as `numpy.load` was allowed to."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from packstore.errors import DtypeError, UnsupportedError, message
from packstore.readers.find import locate
from packstore.writers.items import item_of, plain_name
from packstore.writers.sources.location import item_of_array
from packstore.writers.tree import Tree

__all__ = ["grow"]


def grow(tree: Tree, path: str, value: Any, *, skip: bool) -> None:
    """Add an ``NpzFile`` to the tree at `path` as a group of its arrays.

    Raises
    ------
    DtypeError
        It is closed, or holds objects other than text.
    OptionError
        A member whose name is no plain relative path.
    UnsupportedError
        A member that is no array, or that cannot be read.
    """
    if value.zip is None:
        raise DtypeError(message("saving", tree.path, path or None, expected="an open npz archive", got="a closed one"))
    name = value.zip.filename
    # An archive in memory has no name: numpy reads it.
    location = locate(name, format="npz") if name and os.path.isfile(name) else None
    manifest = None if location is None else location.manifest()
    tree.groups[path] = {}
    for member in dict.fromkeys(value.files):
        at = "/".join(part for part in (path, plain_name(member, tree.path)) if part)
        if location is not None and manifest is not None and member in manifest.arrays:
            tree.add(replace(item_of_array(location, member, manifest.arrays[member]), name=at))
            continue
        reason = None if manifest is None or value.allow_pickle else manifest.unsupported.get(member)
        found, reason = (None, reason) if reason is not None else _loaded(value, member)
        if reason is None:
            tree.add(item_of(at, found, tree.path))
        elif skip:
            tree.lose(at, reason)
        else:
            hint = "Pass skip_unsupported=True to leave it out"
            raise UnsupportedError(message("saving", str(name or tree.path), member, got=reason, hint=hint))


def _loaded(archive: Any, member: str) -> tuple[Any, str | None]:
    """What numpy reads of a member, and why it is nothing to save (None: it is)."""
    try:
        found = archive[member]
    except Exception as why:  # zlib, zipfile, pickle and numpy have many words for it
        return None, f"numpy does not read it ({type(why).__name__}: {why})"
    return found, "it is no npy file" if isinstance(found, bytes) else None
