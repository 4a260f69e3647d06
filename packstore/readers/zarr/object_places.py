"""The places of a zarr array's chunks behind a URL: each is an object below the array's folder."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from packstore.core.typing import Array, Bytes
from packstore.errors import PackstoreError, StaleFileError, message
from packstore.readers.zarr.nodes import DOCUMENTS, V2_ARRAY, V3
from packstore.source.cache import SHARDS
from packstore.source.remote.by_fsspec import is_strong
from packstore.source.remote.client import Client, State
from packstore.source.remote.folder import RemoteFolder
from packstore.source.remote.ranges import read_joined, side_by_side
from packstore.storage.places import INDEX, Places, Wanted
from packstore.storage.stored import MemoryBytes, Stored

__all__ = ["ObjectPlaces"]

# What the first request for a shard asks for: its index lies within, unless it is a very large one.
TAIL_NBYTES = 64 << 10
# More chunks than that are not listed to tell one state of an array from another; of fewer each one's state is known.
MAX_TOKEN_OBJECTS, MAX_STAMPS = 20_000, 4096


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
        self._grid = tuple(-(-n // c) for n, c in zip(layout.shape, layout.grid_chunk_shape, strict=True))
        # The digest of the state in which each chunk was read last.
        self._seen: dict[tuple[int, ...], int] = {}

    def _key(self, coords: tuple[int, ...]) -> str:
        key: str = self.folder.client()[1] + self.prefix + self.layout.chunk_key(coords)
        return key

    def open(self, coords: tuple[int, ...]) -> Stored | None:
        # docstring inherited
        return self._get((coords, INDEX if self._nested else None))

    def fetch(self, wanted: Sequence[Wanted]) -> list[Stored | None]:
        # docstring inherited
        return side_by_side(self._get, wanted)

    def _note(self, coords: tuple[int, ...], state: State | None) -> None:
        if len(self._seen) < MAX_STAMPS or coords in self._seen:
            self._seen[coords] = _stamp(state)

    def _get(self, wanted: Wanted) -> Stored | None:
        coords, part = wanted
        client, key = self.folder.client()[0], self._key(coords)
        start, stop = part if part is not None and self._nbytes is not None else (None, None)
        if self._nested and part is not None:
            kept = SHARDS.get((id(self), coords), self)
            if kept is not None:
                shard = _with_index(client, key, kept, lambda: SHARDS.forget([self]))
                self._note(coords, State(shard.nbytes, shard.etag))
                return shard
            start = -TAIL_NBYTES
        try:
            data, state = client.get(key, start, stop)
        except FileNotFoundError:
            self._note(coords, None)
            return None
        self._note(coords, state)
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
        found = self._listed(MAX_TOKEN_OBJECTS)
        # Never the same twice where they are not known.
        return np.random.default_rng().bytes(16).hex() if found is None else sorted(found.items(), key=repr)

    def _listed(self, most: int) -> dict[str, State | None] | None:
        """The states of the objects by their names; None where they are more than `most`, or cannot be listed."""
        found: dict[str, State | None] = {}
        try:
            for entry in self.folder.list(self.prefix, deep=True):
                found[entry.name] = entry.state
                if len(found) > most:
                    return None
        except PackstoreError:  # a web server that lists nothing
            return None
        # Or lists something else: the array's own document is always there.
        return found if V3 in found or V2_ARRAY in found else None

    def stamps(self) -> npt.NDArray[np.uint32] | None:
        # docstring inherited
        if not 0 < math.prod(self._grid) <= MAX_STAMPS:
            return None
        # With the metadata, which lie beside the chunks.
        found = self._listed(MAX_STAMPS + len(DOCUMENTS))
        if found is None or not all(state is None or is_strong(state.etag) for state in found.values()):
            return None
        states = (found.get(self.layout.chunk_key(c)) for c in np.ndindex(*self._grid))
        return np.fromiter(map(_stamp, states), np.uint32).reshape(self._grid)

    def stamp(self, coords: tuple[int, ...]) -> int:
        """The digest of the state in which a chunk was read last; where it was not, of the state that it is in."""
        seen = self._seen.get(coords)
        if seen is None:
            client, key = self.folder.client()[0], self._key(coords)
            try:
                seen = _stamp(client.head(key))
            except FileNotFoundError:
                seen = _stamp(None)
        return seen


def _stamp(state: State | None) -> int:
    return zlib.crc32(repr(None if state is None else tuple(state)).encode())


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
