"""Add a zarr store that was just written to one that exists: new nodes are renamed into place, groups are merged."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from packstore.errors import FormatError, OptionError, TargetExistsError, message
from packstore.writers.tree import Tree

__all__ = ["check_addition", "merge_stores"]

_ARRAY, _GROUP = "array", "group"


def check_addition(existing: Path, tree: Tree, *, replace: bool, zarr_format: int | None) -> int:
    """The zarr format of a store to which a tree is going to be added.

    Raises
    ------
    FormatError
        No zarr group.
    OptionError
        Another format than the store's.
    TargetExistsError
        A name that the store has already.
    """
    found = _kind(existing)
    if found != _GROUP:
        got = "an array" if found else "no zarr store"
        raise FormatError(message("adding to", existing, expected="a zarr group", got=got))
    own = 3 if (existing / "zarr.json").exists() else 2
    if zarr_format not in (None, own):
        raise OptionError(message("adding to", existing, expected=f"zarr_format {own}, the store's", got=zarr_format))
    arrays = {item.name for item in tree.items}
    for name in arrays:
        kind = _kind(existing / name)
        if kind == _GROUP or (kind == _ARRAY and not replace):
            hint = "Choose another name" + ("" if kind == _GROUP else ", or pass overwrite=True")
            raise _taken(existing, name, f"an {kind}" if kind == _ARRAY else "a group", hint)
    for name in {"/".join(n.split("/")[:i]) for n in (*arrays, *tree.groups) for i in range(1, n.count("/") + 1)} | {
        *tree.groups
    }:
        if name and _kind(existing / name) == _ARRAY:
            raise _taken(existing, name, "an array", "Choose another name")
    return own


def merge_stores(new: Path, existing: Path) -> None:
    """Rename the nodes of `new` into `existing`; groups that are in both get the attributes of both.

    Notes
    -----
    Each array appears whole, by one rename. Metadata that the store keeps in one document is written again.
    """
    _merge(new, existing)
    _consolidate(existing)


def _merge(new: Path, existing: Path) -> None:
    _merge_attributes(new, existing)
    for child in sorted(p for p in new.iterdir() if p.is_dir()):
        place = existing / child.name
        if _kind(child) == _GROUP and _kind(place) == _GROUP:
            _merge(child, place)
        elif os.path.lexists(place):
            # Out of the way, into the folder that is removed in the end.
            aside = new / f"{child.name}.old"
            os.rename(place, aside)
            try:
                os.rename(child, place)
            except OSError:
                os.rename(aside, place)
                raise
        else:
            os.rename(child, place)


def _merge_attributes(new: Path, existing: Path) -> None:
    name = "zarr.json" if (new / "zarr.json").exists() else ".zattrs"
    if not (new / name).exists():
        return
    ours = _read(new / name)
    attributes = ours.get("attributes", {}) if name == "zarr.json" else ours
    if not attributes:
        return
    theirs = _read(existing / name) if (existing / name).exists() else {}
    if name == "zarr.json":
        theirs["attributes"] = {**theirs.get("attributes", {}), **attributes}
    else:
        theirs = {**theirs, **attributes}
    temporary = new / f"{name}.new"
    temporary.write_text(json.dumps(theirs, indent=2))
    os.replace(temporary, existing / name)


def _consolidate(existing: Path) -> None:
    import warnings

    import zarr

    v3 = existing / "zarr.json"
    if _read(v3).get("consolidated_metadata") is not None if v3.exists() else (existing / ".zmetadata").exists():
        with warnings.catch_warnings():
            # zarr says of every such document that it is not in the specification of v3.
            warnings.simplefilter("ignore")
            zarr.consolidate_metadata(os.fspath(existing))


def _kind(folder: Path) -> str | None:
    if (folder / "zarr.json").exists():
        return str(_read(folder / "zarr.json").get("node_type"))
    if (folder / ".zarray").exists():
        return _ARRAY
    return _GROUP if (folder / ".zgroup").exists() else None


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except ValueError as why:
        raise FormatError(message("adding to", path, expected="JSON", got=why)) from None
    return found if isinstance(found, dict) else {}


def _taken(existing: Path, name: str, what: str, hint: str) -> TargetExistsError:
    return TargetExistsError(message("adding to", existing, name, expected="a name that is free", got=what, hint=hint))
