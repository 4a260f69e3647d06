"""What a zarr directory's store serves in the place of its metadata files: documents that zarr's parser takes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from packstore.errors import PackstoreError
from packstore.readers.zarr.documents import spelled_out
from packstore.readers.zarr.nodes import (
    DOCUMENTS,
    V2_ATTRIBUTES,
    V2_CONSOLIDATED,
    V3,
    Node,
    load_json,
    walk,
)
from packstore.source.inside import Inside

__all__ = ["Served"]


class Served:
    """The documents of one directory.

    Parameters
    ----------
    root
        The directory.
    unsupported
        The arrays and groups whose documents are not served.
    inside
        Where symbolic links may lead.
    """

    def __init__(self, root: str, unsupported: Mapping[str, str], inside: Inside) -> None:
        self.root = root
        self.inside = inside
        self.unsupported = unsupported

    def is_document(self, key: str) -> bool:
        """Whether `key` is that of a metadata document."""
        return key.rpartition("/")[2] in DOCUMENTS

    def hides(self, key: str) -> bool:
        """Whether `key` is a document of an array or group that is not served."""
        path, _, name = key.rpartition("/")
        return name in DOCUMENTS and path in self.unsupported

    def shown(self, path: str, names: list[str]) -> list[str]:
        """Those of the `names` below `path` that are not of an array or group that is not served."""
        keys = {name: f"{path}/{name}" if path else name for name in names}
        return [name for name, key in keys.items() if key not in self.unsupported and not self.hides(key)]

    def document(self, key: str) -> bytes | None:
        """What is served in the place of the file at `key`; None: the file itself."""
        path, _, name = key.rpartition("/")
        if name not in (V3, V2_CONSOLIDATED):
            return None
        folder = f"{self.root}/{path}" if path else self.root
        try:
            if name == V2_CONSOLIDATED:
                load_json(f"{folder}/{name}")
                return json.dumps({"zarr_consolidated_format": 1, "metadata": dict(self._v2(folder, path))}).encode()
            stored = load_json(f"{folder}/{name}")
            document = dict(spelled_out(stored))
            if stored.get("consolidated_metadata"):
                members = {"kind": "inline", "must_understand": False, "metadata": dict(self._v3(folder, path))}
                document["consolidated_metadata"] = members
        except (PackstoreError, OSError):
            # zarr says what is wrong with it; a hierarchy that is too large to list has none that is consolidated.
            return None
        return None if document == stored else json.dumps(document).encode()

    def _members(self, folder: str, path: str) -> Iterator[tuple[str, Node, Mapping[str, Any], Mapping[str, Any]]]:
        """Each array and group at or below `path` that is served, by its path from there, with its documents."""
        seen = set()
        for node, document, attributes in walk(folder, {}, self.inside):
            full = f"{path}/{node.component}".strip("/")
            if full not in self.unsupported and (not node.component or node.component.rpartition("/")[0] in seen):
                seen.add(node.component)
                yield node.component, node, document, attributes

    def _v3(self, folder: str, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for name, node, document, _ in self._members(folder, path):
            if name and not node.is_v2:
                yield name, document

    def _v2(self, folder: str, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for name, node, document, attributes in self._members(folder, path):
            base = f"{name}/" if name else ""
            if node.is_v2:
                yield base + node.document, document
                if os.path.exists(f"{node.path}/{V2_ATTRIBUTES}"):
                    yield base + V2_ATTRIBUTES, attributes
