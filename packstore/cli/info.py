"""``packstore info``: what is in a file."""

from __future__ import annotations

import math
from typing import Any

from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from packstore.cli.show import human, plain
from packstore.readers.find import find_array, locate
from packstore.readers.location import Location
from packstore.source import DirectorySource
from packstore.source.sizes import size_on_disk
from packstore.storage import ManifestArray, ManifestGroup
from packstore.views.zarr.dtypes.names import is_text
from packstore.views.zarr.metadata import node_reason

__all__ = ["describe", "describe_array", "render"]


def describe_array(array: ManifestArray, reason: str | None) -> dict[str, Any]:
    """Shape, dtype, chunks, filters, size and ratio of one array; `reason` says why zarr cannot have it."""
    how = array.storage.facts(array)
    return {
        "shape": list(array.shape),
        "dtype": _dtype(array),
        "chunks": list(array.chunk_shape),
        "shards": None if array.shard_shape is None else list(array.shard_shape),
        "layout": how.layout,
        "filters": list(how.filters),
        "nbytes": None if array.dtype.hasobject else array.nbytes,
        "stored_nbytes": how.nbytes,
        "ratio": _ratio(array, how.nbytes),
        "chunk_count": math.prod(array.grid_shape),
        "missing_chunks": how.missing,
        "fill_value": None if array.fill_value is None else str(array.fill_value),
        "dimension_names": None if array.dimension_names is None else list(array.dimension_names),
        "attributes": dict(array.attributes),
        "zarr_reason": reason,
    }


def _dtype(array: ManifestArray) -> str:
    dtype = array.dtype
    if is_text(dtype):
        return "variable-length string"
    if dtype.kind == "O" and dtype.metadata is not None and "vlen" in dtype.metadata:
        return f"variable-length sequence of {dtype.metadata['vlen']}"
    return str(dtype)


def _ratio(array: ManifestArray, nbytes: int | None) -> float | None:
    if not nbytes or array.dtype.hasobject:
        return None
    return round(array.nbytes / nbytes, 3)


def describe(path: str, component: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """All of the file, or one array or group of it.

    Raises
    ------
    ComponentNotFoundError
        Nothing of that name.
    """
    location = locate(path, **options)
    found = _below(location, component)
    directory = isinstance(location.source(), DirectorySource)
    nbytes = size_on_disk(location.fingerprint.path) if directory else location.fingerprint.nbytes
    everywhere = location.manifest().arrays
    arrays = {
        name: describe_array(array, node_reason(name, array, everywhere))
        for name, array in sorted(found.arrays.items())
    }
    if list(arrays) == [""] and arrays[""]["stored_nbytes"] is None and component is None:
        # The file is the array.
        arrays[""].update(stored_nbytes=nbytes, ratio=_ratio(found.arrays[""], nbytes))
    return {
        "path": path,
        "format": location.format,
        "nbytes": nbytes,
        "arrays": arrays,
        "groups": {name: dict(attributes) for name, attributes in sorted(found.groups.items())},
        "unsupported": dict(sorted(found.unsupported.items())),
    }


def _below(location: Location, component: str | None) -> ManifestGroup:
    """The part of the tree that is asked for."""
    wanted = (component or "").strip("/")
    whole = location.manifest()
    if not wanted:
        return whole

    def part(found: Any) -> dict[str, Any]:
        inside = (f"{wanted}/", f"{wanted}@")
        return {name: value for name, value in found.items() if name == wanted or name.startswith(inside)}

    kept = ManifestGroup(part(whole.arrays), part(whole.groups), part(whole.unsupported))
    if kept.arrays or kept.groups or kept.unsupported:
        return kept
    # Reached by another name (a link), or not at all.
    name, array = find_array(location, wanted)
    return ManifestGroup({name: array})


def render(console: Console, result: dict[str, Any]) -> None:
    """The tree."""
    size = "" if result["nbytes"] is None else f", {human(result['nbytes'])}"
    tree = Tree(Text.assemble((plain(result["path"]), "bold"), f" {result['format']}{size}"))
    nodes = {"": tree}

    def group(path: str) -> Tree:
        missing = []
        while path not in nodes:
            missing.append(path)
            path = path.rpartition("/")[0]
        for name in reversed(missing):
            label = Text.assemble((plain(name.rpartition("/")[2]), "bold"), "/")
            count = len(result["groups"].get(name, ()))
            label.append(f" {_count(count, 'attribute')}" if count else "")
            nodes[name] = nodes[name.rpartition("/")[0]].add(label)
        return nodes[path if not missing else missing[0]]

    for name in result["groups"]:
        if name:
            group(name)
    for name, found in result["arrays"].items():
        parent, _, leaf = name.rpartition("/")
        label = Text.assemble((plain(leaf) or "(the array)", "cyan"), " ", ", ".join(_parts(found)))
        if found["zarr_reason"]:
            label.append(f", not as zarr: {plain(found['zarr_reason'])}", "yellow")
        group(parent).add(label)
    for name, reason in result["unsupported"].items():
        parent, _, leaf = name.rpartition("/")
        group(parent).add(Text.assemble((plain(leaf) or "(the array)", "red"), f" not supported: {plain(reason)}"))
    if not (result["arrays"] or result["unsupported"]):
        tree.add(Text("no arrays"))
    console.print(tree, soft_wrap=True)


def _parts(found: dict[str, Any]) -> list[str]:
    """What is said of an array, in order."""
    parts = [f"{tuple(found['shape'])} {plain(found['dtype'])}"]
    if found["chunk_count"] > 1 or found["layout"] == "chunked":
        shards = "" if found["shards"] is None else f" in shards {tuple(found['shards'])}"
        parts.append(f"chunks {tuple(found['chunks'])}{shards}")
    if found["filters"]:
        parts.append(" + ".join(plain(f) for f in found["filters"]))
    else:
        parts.append(found["layout"])
    if found["nbytes"] is not None:
        parts.append(human(found["nbytes"]))
    if found["ratio"]:
        parts.append(f"ratio {found['ratio']:g}")
    if found["missing_chunks"]:
        parts.append(f"{found['missing_chunks']} of {found['chunk_count']} chunks never written")
    if found["attributes"]:
        parts.append(_count(len(found["attributes"]), "attribute"))
    return parts


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
