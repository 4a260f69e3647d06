"""ManifestStore, a read-only Zarr v3 store: a location goes in, metadata and decoded chunks come out by their keys.

Source: the Zarr v3 core specification (https://zarr-specs.readthedocs.io/en/latest/v3/core/index.html) for keys and
metadata, :class:`zarr.abc.store.Store` for the contract. The store serves *decoded* chunks under the plain ``bytes``
codec (after ``transpose`` for Fortran order): zarr metadata has no words for a file's own filters and filter masks,
and so both paths decode with the same functions.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
from zarr.abc.store import ByteRequest, Store
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype

from packstore.core.keys import ZARR_JSON, parse_chunk_key
from packstore.core.process import this_process
from packstore.errors import StaleFileError, message
from packstore.readers.find import find_array
from packstore.readers.location import AnyLocation
from packstore.readers.zarr.byte_requests import check_request, extent
from packstore.source import masked
from packstore.source.held import HELD
from packstore.storage import ManifestArray
from packstore.storage.read import read_chunk
from packstore.views.zarr import metadata
from packstore.views.zarr.dtypes import own  # noqa: F401  # It registers data types, which zarr 3.1 would not look for.
from packstore.views.zarr.listing import Listing
from packstore.views.zarr.nodes import Nodes, all_nodes, one_array, unsupported_error
from packstore.views.zarr.text import decoding

if TYPE_CHECKING:
    from typing import Self

__all__ = ["ManifestStore"]


class ManifestStore(Store):
    """A file as a read-only store.

    Parameters
    ----------
    location
        The file, or the files that are one array, and how to read it.
    component
        The path of an array: keys of this array are answered from its own index, and the index of the whole file is
        read when another key is asked for. None: at once.
    read_only
        Must be True: it is here because every zarr store takes it.

    Raises
    ------
    ValueError
        On any write, as zarr's own read-only stores do; and for ``read_only=False``.
    ComponentNotFoundError, UnsupportedError
        The file has no array `component`, or zarr cannot have it.

    Notes
    -----
    Thread safe; pickles as a path, opens nothing before its first read in another process, and raises
    ``StaleFileError`` there where the file changed. Chunks without filters are
    views of the mapped file: no copy. Listing is lazy, also for millions of chunks.

    Examples
    --------
    >>> import numpy as np, packstore, pathlib, tempfile, zarr
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "x.npz"
    >>> np.savez(path, a=np.arange(3))
    >>> store = packstore.open_store(path)
    >>> zarr.open_array(store, path="a", mode="r")[1:], store.unsupported
    (array([1, 2]), {})
    """

    supports_writes: bool = False
    supports_deletes: bool = False
    supports_listing: bool = True
    # Of a store that was unpickled: what `version` was.
    _version: str | None = None

    def __init__(self, location: AnyLocation, component: str | None = None, *, read_only: bool = True) -> None:
        if not read_only:
            raise ValueError("packstore stores are read-only: read_only=False cannot be served")
        self._set(location, component)
        self._see(self._open_nodes())

    def _set(self, location: AnyLocation, component: str | None) -> None:
        super().__init__(read_only=True)
        self.location = location
        self.component = component
        self._complete = component is None
        # Metadata, rendered on first use.
        self._metadata: dict[str, bytes] = {}
        self._chunk_path: tuple[str, str] = ("", "")

    def _open_nodes(self) -> Nodes:
        """Look for the arrays and groups: at once, but on the first read in a process that unpickled the store."""
        if self.component is None:
            return all_nodes(self.location.manifest(), {})
        return one_array(self.component, find_array(self.location, self.component)[1], self.location)

    def __getattr__(self, name: str) -> Any:
        if name not in ("_nodes", "_listing") or "location" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        # Only after unpickling are they not there.
        nodes = self._open_nodes()
        if _version_of(nodes, self.component) != self._version:
            raise StaleFileError(
                message(
                    "reading",
                    self.location.path,
                    self.component,
                    expected="the files that were opened",
                    got="a change in one that its arrays are made of",
                    hint=f"Open it again. Read by {this_process()}",
                )
            )
        self._see(nodes)
        return self.__dict__[name]

    def _see(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._listing = Listing(nodes)

    def _all_nodes(self) -> Nodes:
        """The nodes of the whole file, whose index is read here if it was not."""
        if not self._complete:
            self._see(all_nodes(self.location.manifest(), self._nodes.arrays))
            self._complete = True
        return self._nodes

    def _knows(self, key: str) -> bool:
        """Whether the index that is at hand answers for `key`: it is that of the whole file, or of this array."""
        return self._complete or not self.component or key.startswith(f"{self.component}/")

    def _nodes_for(self, key: str) -> Nodes:
        return self._nodes if self._knows(key) else self._all_nodes()

    async def _learn(self, key: str) -> None:
        """Read the index of the whole file, in a thread, where `key` needs it."""
        if not self._knows(key):
            await asyncio.to_thread(self._all_nodes)
        elif "_nodes" not in self.__dict__:
            await asyncio.to_thread(getattr, self, "_nodes")

    @property
    def unsupported(self) -> Mapping[str, str]:
        """Each array that zarr cannot be served, and why. Some of them `packstore.from_file` still reads."""
        return self._all_nodes().unsupported

    # -- identity -----------------------------------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ManifestStore) and self.location == other.location

    def __hash__(self) -> int:
        return hash(self.location)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_reopen, (type(self), self.location, self.component, self.version))

    @property
    def version(self) -> str | None:
        """What identifies the arrays' state besides the file's fingerprint: that of other files they are made of."""
        if "_nodes" not in self.__dict__:
            return self._version
        return _version_of(self._nodes, self.component)

    def __str__(self) -> str:
        held = self.location.fingerprint.path.startswith(HELD)
        return f"packstore://{self.location.path if held else masked(self.location.fingerprint.path)}"

    def __repr__(self) -> str:
        return f"ManifestStore('{self}', format={self.location.format!r})"

    def __dask_tokenize__(self) -> object:
        return ("packstore.ManifestStore", self.location, self.version)

    def with_read_only(self, read_only: bool = False) -> Self:
        """A store of the same file, not yet open; only ``read_only=True`` can be had (else NotImplementedError)."""
        if not read_only:
            raise NotImplementedError(f"with_read_only is not implemented for the {type(self)} store type.")
        return type(self)(self.location, self.component)

    def close(self) -> None:
        """Let go of the open file, and of what caches keep of it; as zarr's stores, it opens again on the next read."""
        super().close()
        self.location.close()

    # -- lookup -------------------------------------------------------------------------------------------------------

    def _document(self, key: str) -> bytes | None:
        """The metadata document at `key`, or None."""
        found = self._metadata.get(key)
        if found is None and (key == ZARR_JSON or key.endswith("/" + ZARR_JSON)):
            path = key[: -len(ZARR_JSON) - 1]
            if not path and key != ZARR_JSON:
                return None
            nodes = self._nodes_for(key)
            array = nodes.array(path)
            if array is not None:
                document = metadata.array_metadata(array)
            elif path in nodes.groups:
                document = {"zarr_format": 3, "node_type": "group", "attributes": dict(nodes.groups[path])}
            else:
                return None
            found = self._metadata[key] = json.dumps(document).encode()
        return found

    def array_document(self, path: str) -> dict[str, Any] | None:
        """The ``zarr.json`` of the array at `path`; None where there is none.

        Raises
        ------
        UnsupportedError
            There is an array, and zarr cannot have it.
        """
        key = f"{path}/{ZARR_JSON}" if path else ZARR_JSON
        nodes = self._nodes_for(key)
        if nodes.array(path) is None:
            if path in nodes.unsupported:
                raise unsupported_error(self.location, path, nodes.unsupported[path])
            return None
        # Through its bytes: lists in the attributes are the manifest's own, and the caller may change the document.
        document: dict[str, Any] = json.loads(self._document(key) or b"null")
        return document

    def array_at(self, path: str) -> ManifestArray | None:
        """The array at `path`, as it was when the store was opened; None where there is none."""
        return self._nodes_for(f"{path}/{ZARR_JSON}" if path else ZARR_JSON).array(path)

    def _chunk(self, key: str) -> tuple[ManifestArray, tuple[int, ...]] | None:
        """The array and coordinates of a chunk that is stored, or None."""
        nodes = self._nodes_for(key)
        prefix, found = self._chunk_path
        if not (prefix and key.startswith(prefix)):
            parts = key.split("/")
            for i in range(len(parts) - 1, -1, -1):
                found = "/".join(parts[:i])
                if parts[i] == "c" and nodes.array(found) is not None:
                    # zarr asks for the chunks of one array in a row.
                    self._chunk_path = (f"{found}/c/" if found else "c/", found)
                    break
            else:
                return None
        array = nodes.array(found)
        assert array is not None
        coords = parse_chunk_key(key, found, len(array.shape))
        if coords is None or any(i >= n for i, n in zip(coords, array.grid_shape, strict=True)):
            return None
        return (array, coords) if array.storage.has_chunk(coords) else None

    @staticmethod
    def _is_view(array: ManifestArray) -> bool:
        """Whether its chunks are runs of mapped bytes: nothing to decode, copy or wait for."""
        if not array.storage.is_instant or array.dtype.names is not None:
            return False
        fast = slice(0, -1) if array.storage.order == "F" else slice(1, None)
        return array.chunk_shape[fast] == array.shape[fast]

    def _chunk_bytes(self, array: ManifestArray, coords: tuple[int, ...]) -> npt.NDArray[np.uint8] | None:
        chunk = read_chunk(array, coords)
        if chunk is None or not array.dtype.hasobject:
            return None if chunk is None else metadata.encode_chunk(array, chunk)
        path = next((p for p, a in self._nodes.arrays.items() if a is array), None)
        return metadata.encode_chunk(array, chunk, decoding(self.location, path))

    # -- reads --------------------------------------------------------------------------------------------------------

    def get_sync(
        self,
        key: str,
        *,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Bytes under `key` (all of them, or `byte_range`), or None; no event loop involved."""
        data: Any = self._document(key)
        if data is None:
            found = self._chunk(key)
            data = None if found is None else self._chunk_bytes(*found)
            if data is None:
                check_request(byte_range)
                return None
        start, stop = extent(byte_range, len(data))
        prototype = prototype or default_buffer_prototype()
        if isinstance(data, bytes):
            return prototype.buffer.from_bytes(data[start:stop])
        part = data[start:stop]
        return prototype.buffer.from_array_like(cast(Any, part))

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        # docstring inherited
        if not self._is_open:
            await self._open()
        await self._learn(key)
        if key in self._metadata or (found := self._chunk(key)) is None or self._is_view(found[0]):
            return self.get_sync(key, prototype=prototype, byte_range=byte_range)
        return await asyncio.to_thread(self.get_sync, key, prototype=prototype, byte_range=byte_range)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        # docstring inherited
        return list(await asyncio.gather(*(self.get(key, prototype, request) for key, request in key_ranges)))

    async def exists(self, key: str) -> bool:
        # docstring inherited
        await self._learn(key)
        return self._document(key) is not None or self._chunk(key) is not None

    async def getsize(self, key: str) -> int:
        # docstring inherited
        await self._learn(key)
        document = self._document(key)
        if document is not None:
            return len(document)
        found = self._chunk(key)
        if found is None:
            raise FileNotFoundError(key)
        array, coords = found
        if array.dtype.hasobject:
            data = await asyncio.to_thread(self._chunk_bytes, array, coords)
            return 0 if data is None else len(data)
        return math.prod(array.chunk_shape) * metadata.element_nbytes(array)

    # -- listing ------------------------------------------------------------------------------------------------------

    async def list(self) -> AsyncIterator[str]:
        # docstring inherited
        await self._learn("")
        for key in self._listing.keys(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        # docstring inherited
        await self._learn(prefix)
        for key in self._listing.keys(prefix):
            yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        # docstring inherited
        path = prefix.rstrip("/")
        await self._learn(f"{path}/")
        for name in self._listing.children(path):
            yield name

    # -- writes: refused ----------------------------------------------------------------------------------------------

    async def set(self, key: str, value: Buffer) -> None:
        # docstring inherited
        self._check_writable()

    async def delete(self, key: str) -> None:
        # docstring inherited
        self._check_writable()

    def set_sync(self, key: str, value: Buffer) -> None:
        """Refused with ValueError: the store is read-only."""
        self._check_writable()

    def delete_sync(self, key: str) -> None:
        """Refused with ValueError: the store is read-only."""
        self._check_writable()

    async def clear(self) -> None:
        # docstring inherited
        self._check_writable()

    async def delete_dir(self, prefix: str) -> None:
        # docstring inherited
        self._check_writable()

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        # docstring inherited
        self._check_writable()


def _version_of(nodes: Nodes, component: str | None) -> str | None:
    arrays = nodes.arrays
    names = sorted(arrays) if component is None else [component]
    found = [(name, arrays[name].version) for name in names if arrays[name].version is not None]
    return hashlib.sha256(repr(found).encode("utf-8", "backslashreplace")).hexdigest()[:32] if found else None


def _reopen(
    kind: type[ManifestStore], location: AnyLocation, component: str | None, version: str | None
) -> ManifestStore:
    """The store that was pickled; nothing is opened before the first read."""
    found = kind.__new__(kind)
    found._set(location, component)
    found._version = version
    return found
