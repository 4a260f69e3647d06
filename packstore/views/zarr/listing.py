"""Which keys a store over a manifest has, found without making a list of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from packstore.core.keys import ZARR_JSON, chunk_key, parent_paths, parse_chunk_key
from packstore.storage import ManifestArray

__all__ = ["Listing"]


class Listing:
    """The keys of arrays, groups and documents beside them.

    Parameters
    ----------
    arrays, groups
        By path; "" is the root.
    documents
        Further documents by key.
    """

    def __init__(
        self, arrays: Mapping[str, ManifestArray], groups: Mapping[str, Any], documents: Mapping[str, bytes]
    ) -> None:
        self.arrays = arrays
        self.groups = groups
        self.documents = documents
        # The nodes below each group, found on first use.
        self._tree: dict[str, list[str]] | None = None

    def keys(self, prefix: str) -> Iterator[str]:
        """All keys that begin with `prefix`."""
        for path in sorted(set(self.groups) | set(self.arrays)):
            base = f"{path}/" if path else ""
            if not (base.startswith(prefix) or prefix.startswith(base)):
                continue
            key = base + ZARR_JSON
            if key.startswith(prefix):
                yield key
            array = self.arrays.get(path)
            if array is not None:
                yield from self._chunk_keys(path, array, prefix)
        yield from (key for key in self.documents if key.startswith(prefix))

    @staticmethod
    def _chunk_keys(path: str, array: ManifestArray, prefix: str) -> Iterator[str]:
        base = f"{path}/c/" if path else "c/"
        # Coordinates that the prefix spells out need no search.
        known = prefix[len(base) :].split("/")[:-1] if prefix.startswith(base) else []
        fixed = parse_chunk_key("/".join(["c", *known]), "", len(known))
        if fixed is None or len(fixed) > len(array.shape):
            return
        if any(i >= n for i, n in zip(fixed, array.grid_shape, strict=False)):
            return
        for rest in itertools.product(*map(range, array.grid_shape[len(fixed) :])):
            coords = fixed + rest
            if array.storage.has_chunk(coords):
                key = chunk_key(path, coords)
                if key.startswith(prefix):
                    yield key

    def children(self, path: str) -> Iterable[str]:
        """The names directly below `path`: nodes, metadata documents and parts of chunk keys."""
        names: dict[str, None] = {}
        if path in self.arrays or path in self.groups:
            names[ZARR_JSON] = None
        owner = next((p for p in (path, *parent_paths(path)) if p in self.arrays), None)
        if owner is None:
            names.update(dict.fromkeys(self._nodes_below(path)))
        else:
            names.update(dict.fromkeys(self._chunk_names(path, owner)))
        base = f"{path}/" if path else ""
        for key in self.documents:
            if key.startswith(base):
                names[key[len(base) :].split("/")[0]] = None
        return names

    def _nodes_below(self, path: str) -> Iterable[str]:
        if self._tree is None:
            tree: dict[str, list[str]] = {}
            for node in {**self.groups, **self.arrays}:
                if node:
                    parent, _, name = node.rpartition("/")
                    tree.setdefault(parent, []).append(name)
            self._tree = tree
        return self._tree.get(path, ())

    def _chunk_names(self, path: str, owner: str) -> Iterable[str]:
        """The names directly below `path`, which is an array or a directory in its chunk keys."""
        array = self.arrays[owner]
        below = path[len(owner) :].strip("/")
        if not below:
            if not array.shape:
                return ("c",) if array.storage.has_chunk(()) else ()
            stored = array.size > 0 and any(True for _ in array.storage.stored_below((), array.grid_shape))
            return ("c",) if stored else ()
        parts = below.split("/")
        fixed = parse_chunk_key(below, "", len(parts) - 1)
        if fixed is None or len(fixed) >= len(array.shape):
            return ()
        if 0 in array.grid_shape or any(i >= n for i, n in zip(fixed, array.grid_shape, strict=False)):
            return ()
        return map(str, array.storage.stored_below(fixed, array.grid_shape))
