"""What each format has a place for besides names, shapes, types and elements."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["HOLDS", "PARTS", "holds"]

# Attributes of arrays and groups; a name for each axis; the value of what was never written; groups without arrays;
# names that lead to other names.
PARTS = frozenset({"attributes", "dimension names", "fill values", "groups", "links"})

HOLDS: Mapping[str, frozenset[str]] = {
    "hdf5": PARTS,
    "zarr": PARTS - {"links"},
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
