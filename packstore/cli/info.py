"""``packstore info``: what is in a file."""

from __future__ import annotations

import math
from typing import Any

from rich.console import Console
from rich.tree import Tree

from packstore.manifests import MISSING, ChunkedManifest, ContiguousManifest, ManifestArray, PackedManifest
from packstore.readers import find_array, locate
from packstore.zarr_metadata import array_reason

__all__ = ["describe", "describe_array", "human", "render"]


def human(nbytes: float) -> str:
    """Bytes for people.

    Examples
    --------
    >>> human(1234567), human(12)
    ('1.23 MB', '12 B')
    """
    if nbytes < 1000:
        return f"{nbytes:.0f} B"
    for unit in ("kB", "MB", "GB", "TB"):
        nbytes /= 1000
        if nbytes < 1000 or unit == "TB":
            return f"{nbytes:.3g} {unit}"
    return ""


def stored_nbytes(array: ManifestArray) -> int | None:
    """Bytes the elements take in the file; None where only reading would tell."""
    storage = array.storage
    if isinstance(storage, ContiguousManifest):
        return array.size * storage.stored.itemsize
    if isinstance(storage, PackedManifest):
        return math.prod(storage.byte_shape(array.shape))
    if isinstance(storage, ChunkedManifest):
        return int(storage.nbytes[storage.offsets != MISSING].sum())
    return None


def describe_array(array: ManifestArray) -> dict[str, Any]:
    """Shape, dtype, chunks, filters, size and ratio of one array."""
    storage = array.storage
    filters = [f.name or f"filter {f.id}" for f in storage.filters] if isinstance(storage, ChunkedManifest) else []
    if isinstance(storage, PackedManifest):
        filters = [f"packed bits ({storage.bitorder}, axis {storage.axis})"]
    stored = stored_nbytes(array)
    return {
        "shape": list(array.shape),
        "dtype": str(array.dtype),
        "chunks": list(array.chunk_shape),
        "filters": filters,
        "nbytes": array.nbytes,
        "stored_nbytes": stored,
        "ratio": round(array.nbytes / stored, 3) if stored else None,
        "zarr": array_reason(array) if array.zarr_reason is None else array.zarr_reason,
        "attributes": len(array.attributes),
    }


def describe(path: str, component: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """All of the file, or one array of it."""
    location = locate(path, **options)
    manifest = location.manifest()
    arrays = manifest.arrays
    unsupported = dict(manifest.unsupported)
    if component is not None:
        name, array = find_array(location, component)
        arrays, unsupported = {name: array}, {}
    return {
        "path": path,
        "format": location.format,
        "nbytes": location.fingerprint.nbytes,
        "arrays": {name: describe_array(array) for name, array in sorted(arrays.items())},
        "unsupported": unsupported,
    }


def render(console: Console, result: dict[str, Any]) -> None:
    """The tree."""
    tree = Tree(f"[bold]{result['path']}[/] {result['format']}, {human(result['nbytes'])}")
    nodes = {"": tree}

    def node(path: str) -> Tree:
        if path not in nodes:
            parent, _, name = path.rpartition("/")
            nodes[path] = node(parent).add(f"[bold]{name}[/]/")
        return nodes[path]

    for name, a in result["arrays"].items():
        parts = [f"{tuple(a['shape'])} {a['dtype']}", f"chunks {tuple(a['chunks'])}"]
        parts += [" + ".join(a["filters"])] if a["filters"] else []
        parts.append(human(a["nbytes"]) + (f", ratio {a['ratio']}" if a["ratio"] else ""))
        parts += [f"[yellow]not as zarr: {a['zarr']}[/]"] if a["zarr"] else []
        parent, _, leaf = name.rpartition("/")
        node(parent).add(f"[cyan]{leaf or '(the array)'}[/] " + ", ".join(parts))
    for name, reason in sorted(result["unsupported"].items()):
        parent, _, leaf = name.rpartition("/")
        node(parent).add(f"[red]{leaf}[/] not supported: {reason}")
    console.print(tree, soft_wrap=True)
