"""Zarr hierarchies behind URLs: a folder of objects goes in, its arrays and groups come out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from packstore.errors import UnsupportedError, message
from packstore.readers.zarr.described import Documents, gathered, parsed
from packstore.readers.zarr.nodes import (
    MAX_NODES,
    V2_ARRAY,
    V2_ATTRIBUTES,
    V2_CONSOLIDATED,
    V2_GROUP,
    V3,
)
from packstore.readers.zarr.object_places import ObjectPlaces
from packstore.source.remote.folder import RemoteFolder
from packstore.source.remote.ranges import side_by_side
from packstore.storage import ManifestGroup

__all__ = ["read_objects"]

Json = Mapping[str, Any]
V2 = (V2_ARRAY, V2_GROUP, V2_ATTRIBUTES)


def read_objects(folder: RemoteFolder, component: str | None) -> ManifestGroup:
    """The arrays and groups of a hierarchy; of one array where `component` names it.

    Raises
    ------
    UnsupportedError
        More nodes than can be listed.

    Notes
    -----
    One request for a v3 array, three side by side for one of v2. A hierarchy takes one request and one listing for each
    group, or one request in all where its metadata are consolidated.
    """
    return gathered((path, found, partial(ObjectPlaces, folder, path)) for path, found in _walk(folder, component))


def _walk(folder: RemoteFolder, component: str | None) -> Iterator[tuple[str, Documents]]:
    """The path of each node with its documents."""
    if component:
        found = _documents(folder, component)
        if found:
            yield component, found
        return
    root = _documents(folder, "")
    yield "", root
    if component is not None or not _is_group(root):
        return
    consolidated = _consolidated(root)
    if consolidated is not None:
        yield from consolidated
        return
    level, count = [""], 0
    while level:
        names: list[str] = []
        for above, entries in zip(level, side_by_side(lambda p: list(folder.list(p)), level), strict=True):
            prefix = f"{above}/" if above else ""
            names += sorted(prefix + e.name for e in entries if e.state is None and e.name)
        count += len(names)
        if count > MAX_NODES:
            raise UnsupportedError(
                message(
                    "listing",
                    folder.name,
                    expected=f"at most {MAX_NODES} arrays and groups",
                    got="more",
                    hint="Name one with component=",
                )
            )
        found_here = list(zip(names, side_by_side(lambda p: _documents(folder, p), names), strict=True))
        level = [path for path, found in found_here if found and _is_group(found)]
        yield from ((path, found) for path, found in found_here if found)


def _is_group(found: Documents) -> bool:
    v3 = found.get(V3)
    if isinstance(v3, tuple):
        return v3[0].get("node_type") == "group"
    return V2_GROUP in found and V2_ARRAY not in found


def _consolidated(root: Documents) -> list[tuple[str, Documents]] | None:
    """The nodes below a root whose document holds those of all others."""
    is_v3 = V3 in root
    whole = root.get(V3 if is_v3 else V2_CONSOLIDATED)
    if not isinstance(whole, tuple):
        return None
    inline = whole[0].get("consolidated_metadata") if is_v3 else whole[0]
    metadata = inline.get("metadata") if isinstance(inline, dict) else None
    if not isinstance(metadata, dict):
        return None
    nodes: dict[str, Documents] = {}
    for key, document in metadata.items():
        # Of v3, the path of a node; of v2, that of a document.
        path, _, name = (key, "", V3) if is_v3 else key.rpartition("/")
        if path and isinstance(document, dict) and (is_v3 or name in V2):
            nodes.setdefault(path, {})[name] = (document, whole[1])
    return list(nodes.items())


def _documents(folder: RemoteFolder, path: str) -> Documents:
    """The metadata documents of a node; empty where there is none."""
    prefix = f"{path}/" if path else ""
    old = V2 if path else (*V2, V2_CONSOLIDATED)
    found = folder.read_all([prefix + V3]) or folder.read_all([prefix + name for name in old])
    if not path and found:
        first = next((name for name in RemoteFolder.MARKERS if name in found), None)
        if first is not None:
            folder.check_root(found[first])
    return {
        name.rpartition("/")[2]: parsed(answer.data, answer.state.nbytes, answer.state.etag, folder.name + name)
        for name, answer in found.items()
    }
