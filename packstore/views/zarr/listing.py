"""The keys of a store: nodes go in, the keys below a prefix come out one by one, without a list of all of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from packstore.core.keys import ZARR_JSON, chunk_key, parent_paths, parse_chunk_key
from packstore.storage import ManifestArray
from packstore.views.zarr.nodes import Nodes

__all__ = ["Listing"]


class Listing:
    """The keys of arrays and groups.

    Parameters
    ----------
    nodes
        Of the store.
    """

    def __init__(self, nodes: Nodes) -> None:
        self.arrays = nodes.arrays
        self.groups = nodes.groups
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
        for coords in _stored(array, fixed):
            key = chunk_key(path, coords)
            if key.startswith(prefix):
                yield key

    def children(self, path: str) -> Iterable[str]:
        """The names directly below `path`: nodes, metadata documents and parts of chunk keys."""
        own = (ZARR_JSON,) if path in self.arrays or path in self.groups else ()
        owner = next((p for p in (path, *parent_paths(path)) if p in self.arrays), None)
        return itertools.chain(own, self._nodes_below(path) if owner is None else self._chunk_names(path, owner))

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


def _stored(array: ManifestArray, fixed: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """The coordinates that begin with `fixed` of all stored chunks, one by one: the grid may be astronomic."""
    if len(fixed) == len(array.shape):
        if array.storage.has_chunk(fixed):
            yield fixed
    elif 0 not in array.grid_shape:
        for i in array.storage.stored_below(fixed, array.grid_shape):
            yield from _stored(array, (*fixed, i))
