"""``packstore verify``: are two files equal, and if not, where first."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from rich.console import Console

from packstore.cli.compare import comparable, first_difference
from packstore.cli.show import plain
from packstore.errors import FormatError, UnsupportedError, message
from packstore.readers.find import find_array, locate
from packstore.readers.location import Location
from packstore.storage import ManifestGroup
from packstore.views.dask.chunks import auto_chunks
from packstore.views.lazy import LazyArray
from packstore.writers.chunk_shapes import block_boxes
from packstore.writers.progress import Progress, shown_progress

__all__ = ["compare", "render"]

# The most decoded bytes of a block that is made to suit the chunks of both files.
MAX_BLOCK_NBYTES = 256 << 20


def compare(
    path_a: str,
    path_b: str,
    component_a: str | None,
    component_b: str | None,
    options_a: dict[str, Any],
    options_b: dict[str, Any],
    *,
    progress: bool = False,
) -> dict[str, Any]:
    """Compare one array, or all arrays of two files by name.

    Parameters
    ----------
    component_a, component_b
        One array of each; where only one is given it counts for both, or for the one that holds several.
    options_a, options_b
        How to open them.

    Returns
    -------
    dict
        ``equal``, ``compared`` (arrays), ``notes``, and the first ``difference``.

    Raises
    ------
    UnsupportedError
        All that can be read is equal, but something cannot be read.
    """
    at = locate(path_a, **options_a)
    bt = _locate_b(path_a, path_b, options_a, options_b)
    result: dict[str, Any] = {"a": path_a, "b": path_b, "equal": True, "compared": 0, "notes": [], "difference": None}
    notes: list[str] = result["notes"]
    unread: list[tuple[Location, str, str]] = []
    if component_a is not None or component_b is not None or _is_one(at.manifest()) or _is_one(bt.manifest()):
        if component_b is None and _is_one(at.manifest()) and not _is_one(bt.manifest()):
            # A has no names: it is B's that is meant.
            component_a, component_b = None, component_a
        pairs = [(_name(at, component_a, component_b), _name(bt, component_b, component_a))]
    else:
        names_a, names_b = at.manifest().arrays, bt.manifest().arrays
        pairs = [(n, n) for n in sorted(names_a) if n in names_b]
        for where in (at, bt):
            unread += [(where, name, reason) for name, reason in _missing(where.manifest(), notes, where.path)]
        known = {name for _, name, _ in unread}
        for label, here, there in (("A", names_a, names_b), ("B", names_b, names_a)):
            only = sorted(n for n in here if n not in there and n not in known)
            if only:
                result["equal"] = False
                more = f" and {len(only) - 8} more" if len(only) > 8 else ""
                notes.append(f"only in {label}: {', '.join(only[:8])}{more}")
    arrays = [(name_a, LazyArray(at, name_a), LazyArray(bt, name_b)) for name_a, name_b in pairs]
    total = sum(a.nbytes for _, a, _ in arrays)
    with shown_progress(progress, f"comparing {os.path.basename(path_a)}", total) as shown:
        for name, a, b in arrays:
            difference = _difference(a, b, notes, name, shown)
            result["compared"] += 1
            if difference is not None:
                result["equal"] = False
                result["difference"] = {"component": name, **difference}
                break
    if result["equal"] and unread:
        where, name, reason = unread[0]
        raise UnsupportedError(
            message(
                f"{result['compared']} arrays are equal, but not all can be read: comparing",
                where.path,
                name,
                got=reason,
                hint="Name one array with --component",
            )
        )
    return result


def _locate_b(path_a: str, path_b: str, options_a: dict[str, Any], options_b: dict[str, Any]) -> Location:
    """B by its own options; where it has none and looks like A's raw bytes, by A's."""
    raw = options_a.get("format") == "raw" and not options_b
    if raw and os.path.splitext(path_a)[1] == os.path.splitext(path_b)[1]:
        # No use asking what raw bytes look like: they might look like text.
        return locate(path_b, **options_a)
    try:
        return locate(path_b, **options_b)
    except FormatError:
        if not raw:
            raise
        return locate(path_b, **options_a)


def _is_one(manifest: ManifestGroup) -> bool:
    return "" in manifest.arrays or "" in manifest.unsupported


def _name(where: Location, component: str | None, other: str | None) -> str:
    """The array that is meant: by the file's own option, by the other file's, or the only one."""
    if component is None and other is not None and not _is_one(where.manifest()):
        component = other
    return find_array(where, component)[0]


def _missing(manifest: ManifestGroup, notes: list[str], path: str) -> Iterator[tuple[str, str]]:
    """What cannot be compared. Attributes are not: only values are compared."""
    for name, reason in manifest.unsupported.items():
        if name in manifest.unlisted:
            continue
        owner = name.rpartition("@")[0]
        if "@" in name and (owner in manifest.arrays or owner in manifest.groups or not owner):
            continue
        notes.append(f"{path}[{name}] cannot be read: {reason}")
        yield name, reason


def _difference(a: LazyArray, b: LazyArray, notes: list[str], name: str, shown: Progress) -> dict[str, Any] | None:
    if a.shape != b.shape:
        return {"shapes": [list(a.shape), list(b.shape)]}
    if not comparable(a.dtype, b.dtype):
        return {"dtypes": [str(a.dtype), str(b.dtype)]}
    if a.dtype.newbyteorder("=") != b.dtype.newbyteorder("="):
        where = f"[{name}] " if name else ""
        notes.append(f"{where}dtypes differ: {a.dtype} and {b.dtype}; their values are compared")
    found: tuple[tuple[int, ...], str, str] | None = None
    for box in block_boxes(a.shape, _block(a, b)):
        start = tuple(s.start for s in box)
        # Only a block that starts before a difference can hold an earlier one.
        if found is not None and start >= found[0]:
            break
        x, y = np.asarray(a[box]), np.asarray(b[box])
        inner = first_difference(x, y)
        if inner is not None:
            index = tuple(i + s for i, s in zip(inner, start, strict=True))
            if found is None or index < found[0]:
                found = (index, _text(x[inner]), _text(y[inner]))
        shown.advance(x.nbytes)
    if found is None:
        return None
    chunk = [i // c for i, c in zip(found[0], a.chunks, strict=True)]
    return {"index": list(found[0]), "chunk": chunk, "values": [found[1], found[2]]}


def _text(value: Any) -> str:
    return str(value.item() if isinstance(value, np.generic) and value.dtype.kind in "biufc" else value)


def _block(a: LazyArray, b: LazyArray) -> tuple[int, ...]:
    """Some 32 MB, made of whole chunks of both files, so that none is decoded twice."""
    itemsize = max(a.dtype.itemsize, b.dtype.itemsize, 1)
    units = [x.array.shard_shape or x.chunks for x in (a, b) if x.array.storage.has_chunks]
    unit = units[0] if units else (1,) * a.ndim
    if len(units) == 2:
        both = tuple(math.lcm(m, n) if math.lcm(m, n) <= s else s for m, n, s in zip(*units, a.shape, strict=True))
        if math.prod(both) * itemsize <= MAX_BLOCK_NBYTES:
            unit = both
    return tuple(max(n, 1) for n in auto_chunks(a.shape, itemsize, unit))


def render(console: Console, result: dict[str, Any]) -> None:
    """Equal, or the first difference."""
    for note in result["notes"]:
        console.print(f"note: {plain(note)}", soft_wrap=True)
    count = f"{result['compared']} array{'' if result['compared'] == 1 else 's'}"
    if result["equal"]:
        console.print(f"equal: {count}", soft_wrap=True)
        return
    found = result["difference"] or {}
    if "shapes" in found:
        text = f"shapes {tuple(found['shapes'][0])} and {tuple(found['shapes'][1])}"
    elif "dtypes" in found:
        text = f"dtypes {found['dtypes'][0]} and {found['dtypes'][1]}"
    elif "index" in found:
        place = f"{tuple(found['index'])} (chunk {tuple(found['chunk'])} of A)"
        text = f"first at {place}: {found['values'][0]} and {found['values'][1]}"
    else:
        text = f"not the same arrays; equal where in both ({count})"
    where = f"[{found['component']}] " if found.get("component") else ""
    console.print(f"different: {plain(where + text)}", soft_wrap=True)
