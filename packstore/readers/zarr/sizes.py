"""How a zarr array is stored, by its metadata and the sizes of its files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from packstore.readers.zarr.nodes import V2_ARRAY, V2_ATTRIBUTES, V3, Node
from packstore.source.sizes import size_on_disk
from packstore.storage import Facts

__all__ = ["facts_of_node"]


def facts_of_node(node: Node) -> Facts:
    """The codecs that the metadata of `node` names, and the bytes of all chunks."""
    document, _ = node.load()
    return Facts("chunked", _codecs(document), size_on_disk(node.path, (V3, V2_ARRAY, V2_ATTRIBUTES)))


def _codecs(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the codecs in an array's metadata, those of shards in brackets."""
    if "codecs" in document:
        return tuple(_name(c) for c in document["codecs"])
    found = [*(document.get("filters") or []), document.get("compressor")]
    return tuple(_name(c) for c in found if c is not None)


def _name(codec: Any) -> str:
    if not isinstance(codec, Mapping):
        return str(codec)
    name = str(codec.get("name", codec.get("id")))
    inner = (codec.get("configuration") or {}).get("codecs")
    return f"{name}[{' + '.join(_name(c) for c in inner)}]" if inner else name
