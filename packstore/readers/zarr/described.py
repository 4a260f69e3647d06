"""The documents of one node in, its array or the attributes of its group out: for hierarchies that are no directory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from packstore.core.typing import Bytes
from packstore.errors import message
from packstore.readers.zarr.documents import bad_group, spelled_out
from packstore.readers.zarr.nodes import MAX_JSON_NBYTES, V2_ARRAY, V2_ATTRIBUTES, V2_CONSOLIDATED, V2_GROUP, V3
from packstore.readers.zarr.safe_codecs import unsafe_reason
from packstore.storage import GridStorage, ManifestArray, ManifestGroup
from packstore.storage.places import Places

__all__ = ["Documents", "described_node", "gathered", "parsed"]

Json = Mapping[str, Any]
# By name of the document: its JSON object and its version, or the reason why it cannot be read.
Documents = dict[str, tuple[Json, str] | str]


def parsed(data: bytes | Bytes, nbytes: int, version: str, name: str) -> tuple[Json, str] | str:
    """A document and its version, or the reason why it cannot be read; `nbytes` is its size, `name` for the text."""
    try:
        if nbytes > MAX_JSON_NBYTES:
            raise ValueError(f"{nbytes} bytes")
        found = json.loads(bytes(data))
        if not isinstance(found, dict):
            raise TypeError(type(found).__name__)
    except (ValueError, TypeError, RecursionError) as error:
        return message("reading", name, expected="a JSON object", got=error)
    return found, version


def gathered(nodes: Iterable[tuple[str, Documents, Callable[[Any], Places]]]) -> ManifestGroup:
    """The arrays and groups of nodes: the path of each, its documents, and what gives the places of an array."""
    arrays: dict[str, ManifestArray] = {}
    groups: dict[str, Json] = {}
    unsupported: dict[str, str] = {}
    for path, found, places_of in nodes:
        described = described_node(found, places_of)
        if isinstance(described, str):
            unsupported[path] = described
        elif isinstance(described, ManifestArray):
            arrays[path] = described
        else:
            groups[path] = described
    return ManifestGroup(arrays, groups, unsupported)


def described_node(found: Documents, places_of: Callable[[Any], Places]) -> ManifestArray | Json | str:
    """An array, the attributes of a group, or the reason why neither can be had.

    Parameters
    ----------
    places_of
        Gives the places of an array's chunks; called with its layout.
    """
    bad = next((document for document in found.values() if isinstance(document, str)), None)
    if bad is not None:
        return bad
    of_node = {name: each for name, each in found.items() if isinstance(each, tuple) and name != V2_CONSOLIDATED}
    documents: dict[str, Json] = {name: each[0] for name, each in of_node.items()}
    version = tuple(each[1] for each in of_node.values())
    attributes = documents.get(V2_ATTRIBUTES, {})
    if V3 in documents:
        document = spelled_out(documents[V3])
        if document.get("node_type") == "group":
            attributes = document.get("attributes") or {}
            return bad_group(document, attributes, 3) or attributes
    elif V2_ARRAY in documents:
        document = documents[V2_ARRAY]
    elif V2_GROUP in documents:
        return bad_group(documents[V2_GROUP], attributes, 2) or attributes
    else:
        return "it has attributes, and no other metadata"
    reason = unsafe_reason(document)
    if reason is not None:
        return reason
    try:
        return _array(document, attributes, version, places_of)
    except Exception as error:  # whatever zarr raises for metadata it cannot read: the siblings are still served
        return f"the direct path does not read it ({type(error).__name__}: {error}); zarr.open may"


def _array(
    document: Json, attributes: Json, version: tuple[Any, ...], places_of: Callable[[Any], Places]
) -> ManifestArray:
    # Function-level, for import time: it imports zarr.
    from packstore.readers.zarr.metadata import parse_v2, parse_v3

    layout = parse_v3(document) if document.get("node_type") == "array" else parse_v2(document, attributes)
    sharded = layout.chunk_shape != layout.grid_chunk_shape
    return ManifestArray(
        layout.shape,
        layout.dtype,
        layout.chunk_shape,
        GridStorage(layout.grid_chunk_shape, places_of(layout), layout.chain),
        fill_value=layout.fill_value,
        attributes=layout.attributes,
        dimension_names=layout.dimension_names,
        shard_shape=layout.grid_chunk_shape if sharded else None,
        version=version,
    )
