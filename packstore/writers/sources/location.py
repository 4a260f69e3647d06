"""A saved file as a tree: a location and the names that are wanted go in, its arrays, groups and links come out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from packstore.codecs.decompress.limit import FREE_NBYTES, check_ratio
from packstore.core.keys import parent_paths
from packstore.errors import ComponentNotFoundError, UnsupportedError, message
from packstore.readers.find import find_array
from packstore.readers.location import AnyLocation
from packstore.readers.zarr.xarray_v2 import DIMENSIONS, stored_fill, unfolded
from packstore.storage import ManifestArray, ManifestGroup, typed_attributes
from packstore.views.lazy import LazyArray
from packstore.writers.items import TEXT, Item, portable_attributes
from packstore.writers.tree import Tree

__all__ = ["item_of_array", "tree_of_location"]

NOT_A_COORDINATE = "_nc4_non_coord_"


def tree_of_location(location: AnyLocation, components: Sequence[str] = (), *, skip: bool = False) -> Tree:
    """The tree that is wanted of a file.

    Parameters
    ----------
    components
        Arrays or groups; none: everything.
    skip
        Leave out what cannot be read, with a line in the tree's `lost`, instead of refusing.

    Raises
    ------
    UnsupportedError
        Something that is wanted cannot be read, or nothing is left.
    ComponentNotFoundError
        Nothing of that name.
    """
    manifest = location.manifest()
    wanted = [c.strip("/") for c in components]
    names: dict[str, None] = {}
    refused: dict[str, str] = {}
    for component in wanted or [""]:
        _expand(location, manifest, component, bool(wanted), names, refused)
    tree = Tree(single="" in names)
    # A link is written as one where what it leads to is written too.
    inside = {*names, *(g for g in manifest.groups if _is_below(g, wanted))}
    tree.links = {n: t for n, t in manifest.links.items() if _is_below(n, wanted) and t in inside}
    for name in names:
        if not _is_linked(name, tree.links):
            item = item_of_array(location, name, find_array(location, name)[1])
            tree.items.append(replace(item, name=_netcdf_name(name, manifest)))
    used = {n for item in tree.items for n in item.dimension_names or ()}
    for name, reason in refused.items():
        if name in manifest.unlisted:
            # A dimension without a variable: its name and length are those of the axes that have it.
            if name.rpartition("/")[2] not in used:
                tree.lose(name, reason)
            continue
        if not skip:
            hint = "Pass skip_unsupported=True to leave it out, or name what is wanted"
            raise UnsupportedError(message("saving", location.path, name or None, got=reason, hint=hint))
        tree.lose(name, reason)
    for name, attributes in manifest.groups.items():
        if _is_below(name, wanted) and not _is_linked(name, tree.links):
            tree.groups[name] = portable_attributes(typed_attributes(attributes))
    if not tree.items and (not tree.groups or (components and refused)):
        got = "none that can be written"
        raise UnsupportedError(message("saving", location.path, expected="an array", got=got))
    return tree


def item_of_array(location: AnyLocation, name: str, array: ManifestArray) -> Item:
    """One array of a file, with all that belongs to it.

    Raises
    ------
    UnsupportedError
        It declares far more elements than the file can hold, as `check_ratio` has it: what is written would be that
        large.
    """
    if array.nbytes > FREE_NBYTES:
        stored_nbytes = array.storage.facts(array).nbytes or 0
        check_ratio(array.nbytes, max(stored_nbytes, location.fingerprint.nbytes), f"saving {location.path}[{name}]")
    chunked = array.storage.has_chunks
    attributes, names = portable_attributes(typed_attributes(array.attributes), array.dtype), array.dimension_names
    if names is None and DIMENSIONS in attributes:
        fill = stored_fill(location, name, array)
        attributes, names = unfolded(attributes, len(array.shape), array.dtype, fill)
    return Item(
        name,
        LazyArray(location, name, array),
        array.shape,
        TEXT if array.dtype.kind == "T" else array.dtype,
        attributes,
        names,
        array.fill_value,
        array.chunk_shape if chunked else None,
        array.max_shape,
        array.shard_shape if chunked else None,
    )


def _is_linked(name: str, links: Mapping[str, str]) -> bool:
    return bool(links) and (name in links or any(parent in links for parent in parent_paths(name)))


def _netcdf_name(name: str, manifest: ManifestGroup) -> str:
    """The name without the prefix by which NetCDF-4 keeps a variable apart from the dimension of that name."""
    group, slash, last = name.rpartition("/")
    plain = f"{group}{slash}{last.removeprefix(NOT_A_COORDINATE)}"
    return name if plain in manifest.arrays or not last.removeprefix(NOT_A_COORDINATE) else plain


def _is_below(name: str, wanted: Sequence[str]) -> bool:
    return not wanted or any(not c or name == c or name.startswith(f"{c}/") for c in wanted)


def _expand(
    location: AnyLocation,
    manifest: ManifestGroup,
    wanted: str,
    named: bool,
    names: dict[str, None],
    refused: dict[str, str],
) -> None:
    """Add the arrays that one component means, or all."""
    if named and wanted:
        if wanted in manifest.arrays:
            names[wanted] = None
            return
        below = f"{wanted}/"
        inside = [n for n in manifest.arrays if n.startswith(below)]
        bad = {n: r for n, r in manifest.unsupported.items() if n == wanted or n.startswith((below, f"{wanted}@"))}
        if not inside and not bad:
            if wanted not in manifest.groups:
                # Reached by a link, or an error that names what there is.
                names[find_array(location, wanted)[0]] = None
            return
    else:
        inside, bad = sorted(manifest.arrays), dict(manifest.unsupported)
    if named and not wanted and not inside:
        raise ComponentNotFoundError(message("saving", location.path, got="no arrays"))
    names.update(dict.fromkeys(inside))
    refused.update(bad)
