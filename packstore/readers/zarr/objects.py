"""Zarr hierarchies behind URLs: a folder of objects goes in, its arrays and groups come out."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from packstore.core.typing import Array, Bytes
from packstore.errors import PackstoreError, StaleFileError, UnsupportedError, message
from packstore.readers.zarr.documents import bad_group, spelled_out
from packstore.readers.zarr.nodes import (
    MAX_JSON_NBYTES,
    MAX_NODES,
    V2_ARRAY,
    V2_ATTRIBUTES,
    V2_CONSOLIDATED,
    V2_GROUP,
    V3,
)
from packstore.source.cache import SHARDS
from packstore.source.remote.by_fsspec import is_strong
from packstore.source.remote.client import Answer, Client, State
from packstore.source.remote.folder import RemoteFolder
from packstore.source.remote.ranges import read_joined, side_by_side
from packstore.storage import GridStorage, ManifestArray, ManifestGroup
from packstore.storage.places import INDEX, Places, Wanted
from packstore.storage.stored import MemoryBytes, Stored

__all__ = ["ObjectPlaces", "read_objects"]

Json = Mapping[str, Any]
V2 = (V2_ARRAY, V2_GROUP, V2_ATTRIBUTES)
# What the first request for a shard asks for: its index lies within, unless it is a very large one.
TAIL_NBYTES = 64 << 10
# More chunks than that are not listed to tell one state of an array from another.
MAX_TOKEN_OBJECTS = 20_000


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
    arrays: dict[str, ManifestArray] = {}
    groups: dict[str, Json] = {}
    unsupported: dict[str, str] = {}
    for path, found in _walk(folder, component):
        described = _describe(folder, path, found)
        if isinstance(described, str):
            unsupported[path] = described
        elif isinstance(described, ManifestArray):
            arrays[path] = described
        else:
            groups[path] = described
    return ManifestGroup(arrays, groups, unsupported)


# By name of the document: its JSON object and its version, or the reason why it cannot be read.
Documents = dict[str, tuple[Json, str] | str]


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
    return {name.rpartition("/")[2]: _parsed(folder, name, answer) for name, answer in found.items()}


def _parsed(folder: RemoteFolder, name: str, answer: Answer) -> tuple[Json, str] | str:
    try:
        if answer.state.nbytes > MAX_JSON_NBYTES:
            raise ValueError(f"{answer.state.nbytes} bytes")
        found = json.loads(bytes(answer.data))
        if not isinstance(found, dict):
            raise TypeError(type(found).__name__)
    except (ValueError, TypeError, RecursionError) as error:
        return message("reading", folder.name + name, expected="a JSON object", got=error)
    return found, answer.state.etag


def _describe(folder: RemoteFolder, path: str, found: Documents) -> ManifestArray | Json | str:
    """An array, the attributes of a group, or the reason why neither can be had."""
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
    try:
        return _array(folder, path, document, attributes, version)
    except Exception as error:  # whatever zarr raises for metadata it cannot read: the siblings are still served
        return f"the direct path does not read it ({type(error).__name__}: {error}); zarr.open may"


def _array(
    folder: RemoteFolder, path: str, document: Json, attributes: Json, version: tuple[Any, ...]
) -> ManifestArray:
    # Function-level, for import time: it imports zarr.
    from packstore.readers.zarr.metadata import parse_v2, parse_v3

    layout = parse_v3(document) if document.get("node_type") == "array" else parse_v2(document, attributes)
    sharded = layout.chunk_shape != layout.grid_chunk_shape
    return ManifestArray(
        layout.shape,
        layout.dtype,
        layout.chunk_shape,
        GridStorage(layout.grid_chunk_shape, ObjectPlaces(folder, path, layout), layout.chain),
        fill_value=layout.fill_value,
        attributes=layout.attributes,
        dimension_names=layout.dimension_names,
        shard_shape=layout.grid_chunk_shape if sharded else None,
        version=version,
    )


class ObjectPlaces(Places):
    """One object a chunk, behind a URL.

    Parameters
    ----------
    folder
        The hierarchy.
    path
        The array's path in it.
    layout
        The array's metadata.

    Notes
    -----
    Thread safe; keeps the indexes of shards. A chunk costs one request, of the bytes that are wanted of it where its
    codecs read parts; a shard one for its index and the end of it, the first time, and one for the inner chunks that
    lie near each other, or one of all of it where most of it is wanted.
    """

    verb = "reading"
    is_far = True

    def __init__(self, folder: RemoteFolder, path: str, layout: Any) -> None:
        self.folder = folder
        self.prefix = f"{path}/" if path else ""
        self.layout = layout
        self.name = folder.name + path
        serializer = layout.chain.serializer
        self._nested = serializer.nested
        # What a chunk without codecs behind the serializer has: the size is known before it is read.
        self._nbytes = None if layout.chain.decoder is not None or self._nested else serializer.limit.nbytes

    def _key(self, coords: tuple[int, ...]) -> str:
        key: str = self.folder.client()[1] + self.prefix + self.layout.chunk_key(coords)
        return key

    def open(self, coords: tuple[int, ...]) -> Stored | None:
        # docstring inherited
        return self._get((coords, INDEX if self._nested else None))

    def fetch(self, wanted: Sequence[Wanted]) -> list[Stored | None]:
        # docstring inherited
        return side_by_side(self._get, wanted)

    def _get(self, wanted: Wanted) -> Stored | None:
        coords, part = wanted
        client, key = self.folder.client()[0], self._key(coords)
        start, stop = part if part is not None and self._nbytes is not None else (None, None)
        if self._nested and part is not None:
            kept = SHARDS.get((id(self), coords), self)
            if kept is not None:
                return _with_index(client, key, kept, lambda: SHARDS.forget([self]))
            start = -TAIL_NBYTES
        try:
            data, state = client.get(key, start, stop)
        except FileNotFoundError:
            return None
        found = np.frombuffer(data, np.uint8)
        if self._nested:
            self._keep_index(coords, found, state)
            return ObjectBytes(client, key, found, state.nbytes, state.etag)
        return MemoryBytes(found, None, fresh=True, base=start or 0, nbytes=state.nbytes)

    def _keep_index(self, coords: tuple[int, ...], tail: Bytes, state: State) -> None:
        """Keep the index at the end of a shard, with the state that it is of: the next requests name that."""
        nbytes = self.layout.chain.serializer.index_nbytes
        if is_strong(state.etag) and nbytes <= tail.size and not self.layout.chain.serializer.index_at_start:
            etag = state.etag.encode()
            head = np.frombuffer(_HEAD.pack(state.nbytes, len(etag)) + etag, np.uint8)
            SHARDS.put((id(self), coords), self, np.concatenate([head, tail[tail.size - nbytes :]]))

    def token(self) -> object:
        """The states of all objects of the array, as a listing tells them."""
        found = []
        try:
            for entry in self.folder.list(self.prefix, deep=True):
                found.append((entry.name, entry.state))
                if len(found) > MAX_TOKEN_OBJECTS:
                    break
            else:
                return sorted(found, key=repr)
        except PackstoreError:  # a web server that lists nothing
            pass
        # Never the same twice.
        return np.random.default_rng().bytes(16).hex()


# Before an index that is kept: the size of the shard, and the length of its ETag, which follows.
_HEAD = struct.Struct("<QH")


def _with_index(client: Client, key: str, kept: Array, forget: Callable[[], None]) -> ObjectBytes:
    """A shard whose index was kept by `ObjectPlaces`."""
    nbytes, length = _HEAD.unpack(kept[: _HEAD.size].tobytes())
    etag = kept[_HEAD.size : _HEAD.size + length].tobytes().decode()
    return ObjectBytes(client, key, kept[_HEAD.size + length :], nbytes, etag, forget)


class ObjectBytes(Stored):
    """The bytes of a shard, of which the end was read first.

    Parameters
    ----------
    client, key, etag
        The object, in that state.
    tail
        Its last bytes.
    nbytes
        Of all of it.
    forget
        Called where the object is in another state: what was kept of it is of no use any more.
    """

    __slots__ = ("client", "etag", "forget", "object_key", "tail")
    fresh = True
    is_far = True

    def __init__(
        self,
        client: Any,
        key: str,
        tail: Bytes,
        nbytes: int,
        etag: str,
        forget: Callable[[], None] = lambda: None,
    ) -> None:
        self.client = client
        self.object_key = key
        self.tail = tail
        self.nbytes = nbytes
        self.etag = etag
        self.forget = forget
        self.key = None
        self.mask = 0

    def pread(self, offset: int, nbytes: int, out: Bytes | None = None) -> Bytes:
        # docstring inherited
        at = offset - (self.nbytes - self.tail.size)
        if at >= 0:
            return self.tail[at : at + nbytes]
        try:
            data, state = self.client.get(self.object_key, offset, offset + nbytes, etag=self.etag)
        except StaleFileError:
            self.forget()
            raise
        if (state.nbytes, state.etag) != (self.nbytes, self.etag) or len(data) != nbytes:
            expected = "the object whose index was read"
            raise StaleFileError(message("reading a shard", expected=expected, got="another version of it"))
        return np.frombuffer(data, np.uint8)

    def read_ranges(self, ranges: Sequence[tuple[int, int]]) -> list[Any]:
        # docstring inherited
        return read_joined(self.pread, ranges)

    def part(self, offset: int, nbytes: int) -> Stored:
        # docstring inherited
        return MemoryBytes(self.pread(offset, nbytes), None, fresh=True)

    def covers(self, need_nbytes: int, span_nbytes: int, rows: int) -> bool:
        # docstring inherited
        return span_nbytes <= 2 * need_nbytes + TAIL_NBYTES
