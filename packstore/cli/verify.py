"""``packstore verify``: are two files equal, and if not, where first."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from packstore.errors import FormatError
from packstore.lazy import LazyArray
from packstore.manifests import regroup
from packstore.readers import find_array, locate
from packstore.writers._blocks import block_boxes

__all__ = ["compare", "first_difference", "render"]


def first_difference(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> tuple[int, ...] | None:
    """Index of the first unequal element (NaN equals NaN); None where all are equal.

    Examples
    --------
    >>> import numpy as np
    >>> first_difference(np.array([1.0, np.nan]), np.array([1.0, np.nan])), first_difference(np.eye(2), np.ones((2, 2)))
    (None, (0, 1))
    """
    if a.dtype.names and b.dtype.names:
        found = [first_difference(a[x], b[y]) for x, y in zip(a.dtype.names, b.dtype.names, strict=True)]
        where = [f[: a.ndim] for f in found if f is not None]
        return min(where) if where else None
    unequal = np.asarray(a != b)
    if a.dtype.kind in "fcmM" and b.dtype.kind in "fcmM":
        unequal &= ~((a != a) & (b != b))
    if unequal.shape != a.shape:
        unequal = np.full(a.shape, bool(unequal))
    return tuple(int(i) for i in np.argwhere(unequal)[0]) if unequal.any() else None


def compare(
    path_a: str, path_b: str, component: str | None, component_b: str | None, options: dict[str, Any]
) -> dict[str, Any]:
    """Compare one array, or all arrays of two files by name."""
    at = locate(path_a, **options)
    try:
        bt = locate(path_b)
    except FormatError:
        # Raw bytes again: they are taken to be laid out as A is.
        bt = locate(path_b, **options)
    result: dict[str, Any] = {"a": path_a, "b": path_b, "equal": True, "compared": 0, "notes": []}
    names_a, names_b = sorted(at.manifest().arrays), sorted(bt.manifest().arrays)
    if component is not None or component_b is not None or "" in names_a or "" in names_b:
        name_a, name_b = component or None, component_b or component
        if component is not None and bt.manifest().arrays.keys() == {""} and component_b is None:
            name_b = None
        pairs = [(find_array(at, name_a)[0], find_array(bt, name_b)[0])]
    else:
        for label, here, there in (("only in A", names_a, names_b), ("only in B", names_b, names_a)):
            missing = [n for n in here if n not in there]
            if missing:
                result["equal"] = False
                result["notes"].append(f"{label}: {', '.join(missing[:8])}")
        pairs = [(n, n) for n in names_a if n in names_b]
    for label, where in (("A", at), ("B", bt)):
        for name, reason in where.manifest().unsupported.items():
            result["notes"].append(f"{label} [{name}] was not compared: {reason}")
    for name_a, name_b in pairs:
        difference = _difference(LazyArray(at, name_a), LazyArray(bt, name_b), result["notes"], name_a)
        result["compared"] += 1
        if difference is not None:
            result["equal"] = False
            result["difference"] = {"component": name_a, **difference}
            break
    return result


def _difference(a: LazyArray, b: LazyArray, notes: list[str], name: str) -> dict[str, Any] | None:
    if a.shape != b.shape:
        return {"shape": [list(a.shape), list(b.shape)]}
    if a.dtype.newbyteorder("=") != b.dtype.newbyteorder("="):
        notes.append(f"[{name}] dtypes differ: {a.dtype} and {b.dtype}; values were compared")
    block = regroup(a.shape, max(a.dtype.itemsize, 1), nbytes=32 << 20)
    for box in block_boxes(a.shape, block):
        x, y = np.asarray(a[box]), np.asarray(b[box])
        found = first_difference(x, y)
        if found is not None:
            index = [i + s.start for i, s in zip(found, box, strict=True)]
            chunk = [i // c for i, c in zip(index, a.chunks, strict=True)]
            return {"index": index, "chunk": chunk, "values": [str(x[found]), str(y[found])]}
    return None


def render(console: Console, result: dict[str, Any]) -> None:
    """Equal, or the first difference."""
    for note in result["notes"]:
        console.print(f"note: {note}", soft_wrap=True, markup=False)
    if result["equal"]:
        console.print(f"equal: {result['compared']} array(s)")
        return
    difference = result.get("difference", {})
    if "shape" in difference:
        text = f"shapes {tuple(difference['shape'][0])} and {tuple(difference['shape'][1])}"
    elif "index" in difference:
        text = f"first at {tuple(difference['index'])}: {difference['values'][0]} and {difference['values'][1]}"
    else:
        text = "not the same arrays"
    where = f"[{difference['component']}] " if difference.get("component") else ""
    console.print(f"different: {where}{text}", soft_wrap=True, markup=False)
