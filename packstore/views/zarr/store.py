"""ManifestStore: any readable file as a read-only Zarr v3 store.

Source: the Zarr v3 core specification (https://zarr-specs.readthedocs.io/en/latest/v3/core/index.html) for keys and
metadata, :class:`zarr.abc.store.Store` for the contract. The store serves *decoded* chunks under the plain ``bytes``
codec (after ``transpose`` for Fortran order): what a file's own filters need, its filter masks included, has no
equivalent in zarr metadata, and so both paths decode with the same functions.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype

from packstore.core.keys import ZARR_JSON, parent_paths, parse_chunk_key, path_reason
from packstore.readers import Location, locate
from packstore.readers.joined import MultiLocation, join_files
from packstore.storage import ManifestArray
from packstore.storage.read import read_chunk
from packstore.views.zarr import metadata
from packstore.views.zarr.listing import Listing

if TYPE_CHECKING:
    from typing import Self

    from packstore.readers.zarr.directory import DirectoryStore

__all__ = ["ManifestStore", "open_store"]


class ManifestStore(Store):
    """A file as a read-only store.

    Parameters
    ----------
    location
        The file and how to read it.
    read_only
        Must be True: it is here because every zarr store takes it.

    Attributes
    ----------
    unsupported : dict of str to str
        Each array that zarr cannot be served, and why. Some of them `packstore.from_file` still reads.

    Raises
    ------
    ValueError
        On any write, as zarr's own read-only stores do; and for ``read_only=False``.

    Notes
    -----
    Thread safe; pickles as a path and raises ``StaleFileError`` where the file changed. Chunks without filters are
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

    def __init__(self, location: Location | MultiLocation, *, read_only: bool = True) -> None:
        if not read_only:
            raise ValueError("packstore stores are read-only: read_only=False cannot be served")
        super().__init__(read_only=True)
        self.location = location
        manifest = location.manifest()
        self.unsupported: dict[str, str] = dict(manifest.unsupported)
        self._arrays: dict[str, ManifestArray] = {}
        for path, array in manifest.arrays.items():
            reason = path_reason(path) or array.zarr_reason or metadata.array_reason(array)
            if reason is None:
                above = next((p for p in parent_paths(path) if p in manifest.arrays), None)
                if above is not None:
                    reason = f"zarr has no node below the array {above!r}"
            if reason is None:
                self._arrays[path] = array
            else:
                self.unsupported[path] = reason
        self._groups: dict[str, Mapping[str, Any]] = {
            path: attributes
            for path, attributes in manifest.groups.items()
            if path_reason(path) is None and path not in manifest.arrays
        }
        for path in list(self._arrays):
            for parent in parent_paths(path):
                self._groups.setdefault(parent, {})
        if not self._arrays and "" not in manifest.arrays:
            self._groups.setdefault("", {})
        # Documents beside those of the nodes, by key.
        self._documents: dict[str, bytes] = {}
        # Metadata, rendered on first use.
        self._metadata: dict[str, bytes] = {}
        self._listing = Listing(self._arrays, self._groups, self._documents)
        self._chunk_path: tuple[str, str] = ("", "")

    # -- identity -----------------------------------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ManifestStore) and self.location == other.location

    def __hash__(self) -> int:
        return hash(self.location)

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.location,))

    def __str__(self) -> str:
        return f"packstore://{self.location.fingerprint.path}"

    def __repr__(self) -> str:
        return f"ManifestStore('{self}', format={self.location.format!r})"

    def __dask_tokenize__(self) -> object:
        return ("packstore.ManifestStore", self.location)

    def with_read_only(self, read_only: bool = False) -> Self:
        """A store of the same file, not yet open; only ``read_only=True`` can be had (else NotImplementedError)."""
        if not read_only:
            raise NotImplementedError(f"with_read_only is not implemented for the {type(self)} store type.")
        return type(self)(self.location)

    # -- lookup -------------------------------------------------------------------------------------------------------

    def _document(self, key: str) -> bytes | None:
        """The metadata document at `key`, or None."""
        found = self._documents.get(key)
        if found is None:
            found = self._metadata.get(key)
        if found is None and (key == ZARR_JSON or key.endswith("/" + ZARR_JSON)):
            path = key[: -len(ZARR_JSON) - 1]
            if not path and key != ZARR_JSON:
                return None
            array = self._arrays.get(path)
            if array is not None:
                document = metadata.array_metadata(array)
            elif path in self._groups:
                document = {
                    "zarr_format": 3,
                    "node_type": "group",
                    "attributes": dict(self._groups[path]),
                }
            else:
                return None
            found = self._metadata[key] = json.dumps(document).encode()
        return found

    def array_document(self, path: str) -> dict[str, Any] | None:
        """The ``zarr.json`` of the array at `path`; None where there is none."""
        if path not in self._arrays:
            return None
        # Through its bytes: lists in the attributes are the manifest's own, and the caller may change what it gets.
        document: dict[str, Any] = json.loads(self._document(f"{path}/{ZARR_JSON}" if path else ZARR_JSON) or b"null")
        return document

    def _chunk(self, key: str) -> tuple[ManifestArray, tuple[int, ...]] | None:
        """The array and coordinates of a chunk that is stored, or None."""
        prefix, found = self._chunk_path
        if not (prefix and key.startswith(prefix)):
            parts = key.split("/")
            for i in range(len(parts) - 1, -1, -1):
                if parts[i] == "c" and "/".join(parts[:i]) in self._arrays:
                    found = "/".join(parts[:i])
                    # zarr asks for the chunks of one array in a row.
                    self._chunk_path = (f"{found}/c/" if found else "c/", found)
                    break
            else:
                return None
        array = self._arrays[found]
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
        return None if chunk is None else metadata.encode_chunk(array, chunk)

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
                _check_request(byte_range)
                return None
        start, stop = _extent(byte_range, len(data))
        prototype = prototype or default_buffer_prototype()
        if isinstance(data, bytes):
            return prototype.buffer.from_bytes(data[start:stop])
        part = data[start:stop]
        return prototype.buffer.from_array_like(cast(Any, part))

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        # docstring inherited
        if not self._is_open:
            await self._open()
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
        return self._document(key) is not None or self._chunk(key) is not None

    async def getsize(self, key: str) -> int:
        # docstring inherited
        document = self._document(key)
        if document is not None:
            return len(document)
        found = self._chunk(key)
        if found is None:
            raise FileNotFoundError(key)
        array, coords = found
        if array.zarr_kind is not None:
            data = await asyncio.to_thread(self._chunk_bytes, array, coords)
            return 0 if data is None else len(data)
        return math.prod(array.chunk_shape) * metadata.element_nbytes(array)

    # -- listing ------------------------------------------------------------------------------------------------------

    async def list(self) -> AsyncIterator[str]:
        # docstring inherited
        for key in self._listing.keys(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        # docstring inherited
        for key in self._listing.keys(prefix):
            yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        # docstring inherited
        for name in self._listing.children(prefix.rstrip("/")):
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


def _check_request(request: ByteRequest | None) -> None:
    if isinstance(request, RangeByteRequest):
        fine = request.start >= 0 and request.end >= 0
    elif isinstance(request, OffsetByteRequest):
        fine = request.offset >= 0
    elif isinstance(request, SuffixByteRequest):
        fine = request.suffix >= 0
    else:
        fine = request is None
    if not fine:
        # The wording of zarr's own stores.
        raise ValueError(f"Unexpected byte_range, got {request}.")


def _extent(request: ByteRequest | None, nbytes: int) -> tuple[int, int]:
    """Start and stop of a byte request within `nbytes`."""
    if request is None:
        return 0, nbytes
    _check_request(request)
    if isinstance(request, RangeByteRequest):
        return min(request.start, nbytes), min(request.end, nbytes)
    if isinstance(request, OffsetByteRequest):
        return min(request.offset, nbytes), nbytes
    return max(nbytes - request.suffix, 0), nbytes


def open_store(
    path: Any,
    *,
    format: str | None = None,
    chunks: Any = None,
    storage_options: Mapping[str, Any] | None = None,
    **reader_options: Any,
) -> ManifestStore | DirectoryStore:
    """Open a saved array, or a file of many, as a read-only Zarr v3 store.

    Parameters
    ----------
    path : path-like or str
        A local file, a zarr directory (v2 or v3), or an fsspec URL. A list of files is one array: it takes
        `component`, `axis` and `new_axis` as `from_files` does.
    format : str, optional
        "npy", "npz", "hdf5", "zarr", "raw", …; recognised by content where None. Raw bytes have no signs: name them.
    chunks : int or tuple of int, optional
        Chunk shape for data that has no chunks of its own; default: pieces of about 8 MB along the slowest axis.
    storage_options : mapping, optional
        For the fsspec file system of a URL.
    **reader_options
        What the format takes, for instance ``dtype=``, ``shape=``, ``offset=``, ``order=``, ``packed_axis=``,
        ``bitorder=`` for "raw", ``allow_external=`` for "hdf5".

    Returns
    -------
    zarr.abc.store.Store
        With the attribute ``unsupported``: each array that is not served, and the reason.

    Raises
    ------
    MissingFileError, FormatError, OptionError
        No such file; not a known format; an option the format does not take.

    Notes
    -----
    Reads headers and indexes only. Nothing in a file is executed, and no other file is opened unless allowed.

    Examples
    --------
    >>> import numpy as np, packstore, pathlib, tempfile, zarr
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "x.npz"
    >>> np.savez(path, a=np.arange(6).reshape(2, 3))
    >>> zarr.open_group(packstore.open_store(path), mode="r")["a"][1].tolist()
    [3, 4, 5]
    """
    if isinstance(path, (list, tuple)):
        joined = join_files(path, format=format, chunks=chunks, storage_options=storage_options, **reader_options)
        return ManifestStore(joined)
    location = locate(path, format=format, chunks=chunks, storage_options=storage_options, **reader_options)
    if location.format == "zarr":
        from packstore.readers.zarr import directory_store

        return directory_store(location)
    return ManifestStore(location)
