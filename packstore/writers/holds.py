"""What each format has a place for besides names, shapes, types and elements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from packstore.writers.tree import Tree

__all__ = ["HOLDS", "PARTS", "holds", "lost_parts"]

# Attributes of arrays and groups; a name for each axis; the value of what was never written; groups without arrays;
# names that lead to other names.
PARTS = frozenset({"attributes", "dimension names", "fill values", "groups", "links"})

HOLDS: Mapping[str, frozenset[str]] = {
    "hdf5": PARTS,
    "zarr": PARTS - {"links"},
    "zarr_zip": PARTS - {"links"},
    "netcdf3": frozenset({"attributes", "dimension names"}),
    "npz": frozenset(),
    "npy": frozenset(),
    "raw": frozenset(),
    "text": frozenset(),
    "pickle": frozenset(),
    "npy_stack": frozenset(),
}


def holds(format: str) -> frozenset[str] | None:
    """The parts that a format can hold; None for formats that this table does not know.

    Examples
    --------
    >>> sorted(holds("zarr")), sorted(holds("npz"))
    (['attributes', 'dimension names', 'fill values', 'groups'], [])
    """
    return HOLDS.get(format)


def lost_parts(tree: Tree, format: str) -> Iterator[tuple[str, str]]:
    """What a tree has that a format has no place for, as path and words.

    Examples
    --------
    >>> list(lost_parts(Tree(groups={"": {"title": "t"}, "empty": {}}), "npz"))
    [('', 'attributes (title)'), ('empty', 'group without arrays')]
    """
    lacks = PARTS - HOLDS[format]
    nodes = [(item.name, item.attributes) for item in tree.items] + list(tree.groups.items())
    if "attributes" in lacks:
        yield from ((name, f"attributes ({', '.join(map(str, found))})") for name, found in nodes if found)
    for item in tree.items:
        if "dimension names" in lacks and item.dimension_names is not None:
            yield item.name, f"dimension names ({', '.join(map(str, item.dimension_names))})"
        if "fill values" in lacks and item.fill_value is not None and any(np.asarray(item.fill_value).tobytes()):
            yield item.name, f"fill value {item.fill_value}"
    if "groups" in lacks:
        paths = [name for name, _ in nodes]
        empty = (path for path in tree.groups if path and not any(p.startswith(f"{path}/") for p in paths))
        yield from ((path, "group without arrays") for path in empty)
    if "links" in lacks:
        yield from ((path, f"link to {target or 'the root'}") for path, target in tree.links.items())
