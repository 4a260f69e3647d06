"""``packstore verify``: are two files equal, and if not, where first."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from rich.console import Console

from packstore.cli.compare import comparable, first_difference
from packstore.cli.parts import Difference, Side, compare_arrays, compare_trees, not_held
from packstore.cli.show import plain, shortened
from packstore.errors import FormatError, UnsupportedError, message
from packstore.readers.find import find_array, locate
from packstore.readers.joined import piped
from packstore.readers.location import Location
from packstore.storage import ManifestGroup
from packstore.views.dask.chunks import auto_chunks
from packstore.views.lazy import LazyArray
from packstore.writers.chunk_shapes import block_boxes
from packstore.writers.progress import Progress, shown_progress

__all__ = ["compare", "render"]

# The most decoded bytes of a block that is made to suit the chunks of both files.
MAX_BLOCK_NBYTES = 256 << 20
# Differences that are printed.
MAX_LINES = 10


def compare(
    path_a: str,
    path_b: str,
    options_a: dict[str, Any],
    options_b: dict[str, Any],
    *,
    components: tuple[str | None, str | None] = (None, None),
    values_only: bool = False,
    progress: bool = False,
) -> dict[str, Any]:
    """Compare one array, or all of two files by name.

    Parameters
    ----------
    options_a, options_b
        How to open them.
    components
        One array of each; where only one is given it counts for both, or for the one that holds several.
    values_only
        Compare the elements of arrays and nothing else.

    Returns
    -------
    dict
        ``equal``, ``compared`` (arrays), ``notes``, the first ``difference`` of elements, and all ``differences`` in
        groups, attributes, dimension names, fill values and links.

    Raises
    ------
    UnsupportedError
        All that can be read is equal, but something cannot be read.
    """
    result: dict[str, Any] = {"a": path_a, "b": path_b, "equal": True, "compared": 0, "notes": [], "difference": None}
    path_a, component_a, options_a = piped(path_a, components[0], options_a)
    path_b, component_b, options_b = piped(path_b, components[1], options_b)
    components = component_a, component_b
    at = locate(path_a, **options_a)
    bt = _locate_b(path_a, path_b, options_a, options_b)
    a, b = Side.of(at), Side.of(bt)
    whole = components == (None, None) and not (_is_one(a.manifest) or _is_one(b.manifest))
    unread: list[tuple[str, str, str]] = []
    pairs = _common(a, b, result, unread) if whole else [_named(at, bt, *components)]
    if not values_only:
        found = compare_trees(a, b) if whole else []
        for name_a, name_b in pairs:
            found += compare_arrays(a, b, name_a, name_b)
        result["differences"] = found
        result["equal"] = result["equal"] and not found
        result["notes"] += not_held(a, b, [n for n, _ in pairs], [n for _, n in pairs], groups=whole)
    arrays = [(name_a, LazyArray(at, name_a), LazyArray(bt, name_b)) for name_a, name_b in pairs]
    total = sum(x.nbytes for _, x, _ in arrays)
    with shown_progress(progress, f"comparing {os.path.basename(path_a)}", total) as shown:
        for name, x, y in arrays:
            difference = _difference(x, y, result["notes"], name, shown)
            result["compared"] += 1
            if difference is not None:
                result.update(equal=False, difference={"component": name, **difference})
                break
    if result["equal"] and unread:
        path, name, reason = unread[0]
        what = f"{result['compared']} arrays are equal, but not all can be read: comparing"
        raise UnsupportedError(message(what, path, name, got=reason, hint="Name one array with --component"))
    return result


def _named(at: Location, bt: Location, component_a: str | None, component_b: str | None) -> tuple[str, str]:
    """The names of the one array of each file that is meant."""
    if component_b is None and _is_one(at.manifest()) and not _is_one(bt.manifest()):
        # A has no names: it is B's that is meant.
        component_a, component_b = None, component_a
    return _name(at, component_a, component_b), _name(bt, component_b, component_a)


def _common(a: Side, b: Side, result: dict[str, Any], unread: list[tuple[str, str, str]]) -> list[tuple[str, str]]:
    """The arrays that both have; notes say what one lacks, and `unread` gets what cannot be read."""
    hidden = a.linked(b) | b.linked(a)
    names_a, names_b = ({n for n in side.manifest.arrays if n not in hidden} for side in (a, b))
    for side in (a, b):
        unread += [(side.path, *found) for found in _missing(side.manifest, result["notes"], side.path)]
    known = {name for _, name, _ in unread}
    for label, only in (("A", names_a - names_b - known), ("B", names_b - names_a - known)):
        if only:
            result["equal"] = False
            more = f" and {len(only) - 8} more" if len(only) > 8 else ""
            result["notes"].append(f"only in {label}: {', '.join(sorted(only)[:8])}{more}")
    return [(n, n) for n in sorted(names_a & names_b)]


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
    """Note what cannot be read; give those that are no attributes."""
    for name, reason in manifest.unsupported.items():
        if name in manifest.unlisted:
            continue
        notes.append(f"{path}[{name}] cannot be read: {reason}")
        owner = name.rpartition("@")[0]
        if not ("@" in name and (owner in manifest.arrays or owner in manifest.groups or not owner)):
            yield name, reason


def _difference(a: LazyArray, b: LazyArray, notes: list[str], name: str, shown: Progress) -> dict[str, Any] | None:
    a.verify()
    b.verify()
    if a.shape != b.shape:
        return {"shapes": [list(a.shape), list(b.shape)]}
    if not comparable(a.dtype, b.dtype):
        return {"dtypes": [str(a.dtype), str(b.dtype)]}
    if not _alike(a.dtype, b.dtype):
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


def _alike(a: np.dtype[Any], b: np.dtype[Any]) -> bool:
    """Whether types are the same but for the order of bytes; StringDType has none, and objects are text here too."""
    if "T" in (a.kind, b.kind):
        return a.kind in "TO" and b.kind in "TO"
    return a.newbyteorder("=") == b.newbyteorder("=")


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


def render(console: Console, result: dict[str, Any], *, named: bool = False) -> None:
    """Equal, or the first differences; `named`: of which files."""
    files = f"{plain(result['a'])} and {plain(result['b'])}: " if named else ""
    for note in result["notes"]:
        console.print(f"{files}note: {plain(note)}", soft_wrap=True)
    count = f"{result['compared']} array{'' if result['compared'] == 1 else 's'}"
    if result["equal"]:
        console.print(f"{files}equal: {count}", soft_wrap=True)
        return
    lines = [] if result["difference"] is None else [_value_line(result["difference"])]
    lines += map(_line, result.get("differences", ()))
    for line in lines[:MAX_LINES] or [f"not the same arrays; equal where in both ({count})"]:
        console.print(f"{files}different: {plain(line)}", soft_wrap=True)
    if len(lines) > MAX_LINES:
        console.print(f"{files}different: {len(lines) - MAX_LINES} more, which --json lists", soft_wrap=True)


def _value_line(found: dict[str, Any]) -> str:
    if "shapes" in found:
        text = f"shapes {tuple(found['shapes'][0])} and {tuple(found['shapes'][1])}"
    elif "dtypes" in found:
        text = f"dtypes {found['dtypes'][0]} and {found['dtypes'][1]}"
    else:
        place = f"{tuple(found['index'])} (chunk {tuple(found['chunk'])} of A)"
        text = f"first at {place}: {found['values'][0]} and {found['values'][1]}"
    return f"[{found['component']}] {text}" if found["component"] else text


def _line(found: Difference) -> str:
    where = f"[{found['component']}] " if found["component"] else ""
    return f"{where}{found['what']}: {_side(found, 'a')} in A, {_side(found, 'b')} in B"


def _side(found: Difference, side: str) -> str:
    value = found[side]
    if value is None:
        return "none"
    # The value of an attribute is in a list, as null is a value too.
    return shortened(value[0] if found["what"].startswith("attribute ") else value)
