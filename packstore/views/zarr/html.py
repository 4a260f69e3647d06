"""What notebooks show: an array or a group goes in, HTML comes out. Nothing is read for it but by opening."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from typing import Any

from packstore.readers.location import AnyLocation, Location
from packstore.source.remote.urls import is_url
from packstore.storage import ManifestArray, ManifestGroup

__all__ = ["array_html", "file_html", "group_html"]

# The picture has at most so many blocks an axis, and a group shows so many members.
MAX_LINES, MAX_MEMBERS = 40, 200


def array_html(location: AnyLocation | None, component: str, shown: Any, array: ManifestArray | None) -> str:
    """A table of what an array is, beside a picture of its chunks.

    Parameters
    ----------
    location, component
        Where it is; None: nobody knows.
    shown
        The array as zarr has it: ``shape``, ``dtype``, ``chunks``, ``nbytes``.
    array
        Its manifest, where there is one.
    """
    rows = {"Path": _path(location, component), "Shape": _tuple(shown.shape), "Data type": str(shown.dtype)}
    chunk = shown.chunks if array is None else array.chunk_shape
    count = math.prod(-(-n // c) for n, c in zip(shown.shape, chunk, strict=True))
    rows["Chunks"] = f"{_tuple(chunk)}, {count:,} of them"
    if array is not None and array.shard_shape is not None:
        rows["Shards"] = _tuple(array.shard_shape)
    if array is not None and array.dimension_names is not None:
        rows["Dimensions"] = ", ".join(str(name) for name in array.dimension_names)
    rows |= _sizes(location, shown, array)
    return f"<div><table><tr><td>{_table(rows)}</td><td>{_picture(shown.shape, chunk)}</td></tr></table></div>"


def group_html(location: AnyLocation | None, path: str, attributes: Mapping[str, Any]) -> str:
    """The members of a group as a tree, with those that are not served, and why."""
    rows = {"Path": _path(location, path), **{name: str(value)[:200] for name, value in list(attributes.items())[:20]}}
    manifest = location.known_manifest() if isinstance(location, Location) else None
    if manifest is None:
        members = "<p>Its members were not listed yet: <code>.tree()</code> does.</p>"
    else:
        members = _members(manifest, path)
    return f"<div>{_table(rows)}{members}</div>"


def _members(manifest: ManifestGroup, path: str) -> str:
    prefix = f"{path}/" if path else ""
    lines = [
        (name, f"{_tuple(array.shape)} {array.dtype}")
        for name, array in manifest.arrays.items()
        if name.startswith(prefix)
    ]
    # Groups may be there only in the names of what is in them.
    above = {name[:i] for name in manifest.arrays for i, letter in enumerate(name) if letter == "/"}
    groups = {*manifest.groups, *above} - {"", path}
    lines += [(name, "group") for name in groups if name.startswith(prefix)]
    lines.sort()
    items = "".join(
        f'<li style="margin-left:{(name.count("/") - prefix.count("/")) * 1.5}em">'
        f"<b>{escape(name[len(prefix) :].rpartition('/')[2])}</b> {escape(what)}</li>"
        for name, what in lines[:MAX_MEMBERS]
    )
    left = f"<p>… and {len(lines) - MAX_MEMBERS:,} more</p>" if len(lines) > MAX_MEMBERS else ""
    bad = {name: why for name, why in manifest.unsupported.items() if name.startswith(prefix)}
    refused = "".join(f"<li><b>{escape(name)}</b> {escape(why)}</li>" for name, why in list(bad.items())[:MAX_MEMBERS])
    below = f"<details><summary>{len(bad):,} not served</summary><ul>{refused}</ul></details>" if bad else ""
    return f'<ul style="list-style:none;padding:0">{items}</ul>{left}{below}'


def _sizes(location: AnyLocation | None, shown: Any, array: ManifestArray | None) -> dict[str, str]:
    # Function-level, for import time: only notebooks need it.
    from dask.utils import format_bytes

    rows = {"Bytes": format_bytes(shown.nbytes)}
    # The chunks of a zarr directory would have to be listed.
    listed = isinstance(location, Location) and location.format == "zarr" and not is_url(location.fingerprint.path)
    if array is None or listed:
        return rows
    how = array.storage.facts(array)
    if how.nbytes and not array.dtype.hasobject:
        ratio = array.nbytes / how.nbytes
        rows["Stored"] = format_bytes(how.nbytes) + (f", {ratio:.1f} times smaller" if ratio >= 1.05 else "")
    rows["Layout"] = ", ".join((how.layout, *how.filters))
    return rows


def _path(location: AnyLocation | None, component: str) -> str:
    where = "" if location is None else str(location.path)
    return f"{where}[{component}]" if component else where


def _tuple(lengths: Any) -> str:
    return "(" + ", ".join(f"{n:,}" for n in lengths) + ("," if len(lengths) == 1 else "") + ")"


def _table(rows: Mapping[str, str]) -> str:
    cells = "".join(f"<tr><th>{escape(str(name))}</th><td>{escape(value)}</td></tr>" for name, value in rows.items())
    return f"<table><tbody>{cells}</tbody></table>"


def _picture(shape: tuple[int, ...], chunk: tuple[int, ...]) -> str:
    """The chunks as dask draws them; fewer where there are too many lines to see."""
    if not shape or 0 in shape:
        return ""
    # Function-level, for import time: only notebooks need it.
    from dask.array.svg import svg

    blocks = []
    for n, c in zip(shape, chunk, strict=True):
        step = c * math.ceil(math.ceil(n / c) / MAX_LINES)
        blocks.append(tuple(min(step, n - at) for at in range(0, n, step)))
    return str(svg(tuple(blocks), size=150))


def file_html(location: AnyLocation, manifest: ManifestGroup) -> str:
    """All of a file for a page: the tree of its members, then each array with its chunks and attributes.

    Examples
    --------
    >>> import numpy as np, pathlib, tempfile
    >>> from packstore.readers.find import locate
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "x.npz"
    >>> np.savez(path, mask=np.eye(3, dtype=bool))
    >>> where = locate(path)
    >>> "<h2>mask</h2>" in file_html(where, where.manifest())
    True
    """
    root = {name: str(value)[:200] for name, value in manifest.groups.get("", {}).items()}
    parts = [_table({"Path": location.path, "Format": location.format, **root})]
    if list(manifest.arrays) != [""]:
        parts.append(_members(manifest, ""))
    for name, array in list(manifest.arrays.items())[:MAX_MEMBERS]:
        attributes = {key: str(value)[:200] for key, value in array.attributes.items()}
        parts.append(f"<h2>{escape(name or 'the array')}</h2>{array_html(location, name, array, array)}")
        parts.append(_table(attributes) if attributes else "")
    return "".join(parts)
