"""What `convert` writes: a file and the names that are wanted go in, the tree of arrays, groups and links comes out."""

from __future__ import annotations

from collections.abc import Sequence

from packstore.errors import ComponentNotFoundError, UnsupportedError, message
from packstore.readers.find import find_array
from packstore.readers.location import Location
from packstore.storage import ManifestGroup, typed_attributes
from packstore.views.lazy import LazyArray
from packstore.views.zarr.metadata import array_reason
from packstore.writers.items import Item
from packstore.writers.tree import Tree

__all__ = ["tree_of_location"]


def tree_of_location(location: Location, components: Sequence[str], format: str, skip: bool) -> Tree:
    """The tree that is wanted of a file.

    Parameters
    ----------
    components
        Arrays or groups; none: everything.
    format
        The target's.
    skip
        Leave out what cannot be read or written, with a line in the tree's `lost`, instead of refusing.

    Raises
    ------
    UnsupportedError
        Something that is wanted cannot be read, or not be written to this format; or nothing is left.
    ComponentNotFoundError
        Nothing of that name.
    """
    manifest = location.manifest()
    names: dict[str, None] = {}
    refused: dict[str, str] = {}
    for wanted in components or [""]:
        _expand(location, manifest, wanted.strip("/"), bool(components), names, refused)
    tree = Tree(single="" in names)
    tree.links = {n: t for n, t in manifest.links.items() if not components}
    for name in names:
        if any(name == link or name.startswith(f"{link}/") for link in tree.links):
            continue
        item, reason = _item(location, name, format)
        if reason is None:
            tree.items.append(item)
        else:
            refused[name] = reason
    for name, reason in refused.items():
        if not skip:
            hint = "Leave it out with --skip-unsupported, or name what is wanted with --component"
            raise UnsupportedError(message("converting", location.path, name or None, got=reason, hint=hint))
        tree.lose(name, reason)
    kept = [c.strip("/") for c in components]
    for name, attributes in manifest.groups.items():
        if not components or any(name == c or name.startswith(f"{c}/") or not c for c in kept):
            tree.groups[name] = typed_attributes(attributes)
    if not tree.items and (components or not tree.groups):
        got = "none that can be written"
        raise UnsupportedError(message("converting", location.path, expected="an array", got=got))
    return tree


def _item(location: Location, name: str, format: str) -> tuple[Item, str | None]:
    """An array to write, and why it cannot be written to `format` (None: it can)."""
    array = find_array(location, name)[1]
    item = Item(
        name,
        LazyArray(location, name, array),
        array.shape,
        array.dtype,
        typed_attributes(array.attributes),
        array.dimension_names,
        array.fill_value,
        array.chunk_shape if array.storage.has_chunks else None,
        array.max_shape,
    )
    if format == "zarr":
        return item, array_reason(array)
    if array.dtype.hasobject and format != "hdf5":
        return item, f"its elements have no fixed size, and {format} holds no such; .zarr (text) and .h5 do"
    return item, None


def _expand(
    location: Location,
    manifest: ManifestGroup,
    wanted: str,
    named: bool,
    names: dict[str, None],
    refused: dict[str, str],
) -> None:
    """Add the arrays that one --component means, or all."""
    if named and wanted:
        if wanted in manifest.arrays:
            names[wanted] = None
            return
        below = f"{wanted}/"
        inside = [n for n in manifest.arrays if n.startswith(below)]
        bad = {n: r for n, r in manifest.unsupported.items() if n == wanted or n.startswith((below, f"{wanted}@"))}
        if not inside and not bad:
            # Reached by a link, or an error that names what there is.
            names[find_array(location, wanted)[0]] = None
            return
    else:
        inside, bad = sorted(manifest.arrays), dict(manifest.unsupported)
    if named and not wanted and not inside:
        raise ComponentNotFoundError(message("converting", location.path, got="no arrays"))
    names.update(dict.fromkeys(inside))
    refused.update(bad)
