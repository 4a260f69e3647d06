"""A zarr directory as a read-only store."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype, default_buffer_prototype
from zarr.storage import LocalStore

from packstore.errors import CorruptDataError, FormatError, message
from packstore.readers.zarr.byte_requests import extent
from packstore.readers.zarr.changes import Opening
from packstore.readers.zarr.nodes import V2_ARRAY, V2_ATTRIBUTES, V2_GROUP, V3, find_node
from packstore.readers.zarr.separators import Separators
from packstore.readers.zarr.served import Served
from packstore.source.inside import Inside

if TYPE_CHECKING:
    from typing import Self

__all__ = ["DirectoryStore"]

# Zarr asks for each of them, and mostly in vain.
METADATA = frozenset({V3, V2_ARRAY, V2_GROUP, V2_ATTRIBUTES, ".zmetadata"})


class DirectoryStore(LocalStore):
    """A local directory, read-only, of which no key leads out.

    Metadata documents are served as zarr's parser takes them: short forms are spelled out, consolidated metadata say
    what is there now, and the documents of arrays and groups in `unsupported` are not there at all.

    Parameters
    ----------
    root
        The directory.
    read_only
        Must be True: it is here because every zarr store takes it.
    unsupported
        Each array that packstore does not serve, and why.
    inside
        Where symbolic links may lead; None: nowhere out of the directory.
    opening
        When the array was opened whose chunks these are; None: now.

    Raises
    ------
    ValueError
        On any write, as zarr's own read-only stores do; and for ``read_only=False``.

    Notes
    -----
    Thread safe; pickles as a path.
    """

    supports_writes: bool = False
    supports_deletes: bool = False

    def __init__(
        self,
        root: Any,
        *,
        read_only: bool = True,
        unsupported: Mapping[str, str] | None = None,
        inside: Inside | None = None,
        opening: Opening | None = None,
    ) -> None:
        if not read_only:
            raise ValueError("packstore stores are read-only: read_only=False cannot be served")
        super().__init__(os.fspath(root), read_only=True)
        self.unsupported: Mapping[str, str] = {} if unsupported is None else unsupported
        self._inside = Inside(str(self.root)) if inside is None else inside
        self._separators: dict[str, Separators] = {}
        # The prefix of the keys of the array whose chunks were asked for last: zarr asks for many in a row.
        self._prefix: str | None = None
        self._served = Served(str(self.root), self.unsupported, self._inside)
        self._opening = Opening() if opening is None else opening

    @classmethod
    async def open(cls, root: Any, *, read_only: bool = True, mode: Any = None) -> Self:
        """An open store; parameters as for the class, and `mode` must be "r" where it is given."""
        store = cls(root, read_only=read_only and mode in (None, "r"))
        await store._open()
        return store

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DirectoryStore) and self.root == other.root

    def __hash__(self) -> int:
        return hash(self.root)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_reopen, (str(self.root), self.unsupported, self._inside))

    def __repr__(self) -> str:
        return f"DirectoryStore('{self}')"

    def with_read_only(self, read_only: bool = False) -> Self:
        """A store of the same directory, not yet open; only ``read_only=True`` can be had."""
        if not read_only:
            raise NotImplementedError(f"with_read_only is not implemented for the {type(self)} store type.")
        return type(self)(self.root, unsupported=self.unsupported, inside=self._inside)

    def array_document(self, path: str) -> dict[str, Any] | None:
        """The ``zarr.json`` of the array at `path`; None where zarr has to look itself, as for zarr v2."""
        node = find_node(str(self.root), path, self._inside) if _is_inside(path, or_root=True) else None
        if node is None or node.is_v2 or os.path.exists(f"{node.path}/{V2_ARRAY}"):
            return None
        document = node.load()[0]
        return dict(document) if document.get("node_type") == "array" else None

    # -- reads: a key that could leave the directory names nothing ----------------------------------------------------

    def get_sync(
        self, key: str, *, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        # docstring inherited
        if not _is_inside(key) or self._served.hides(key):
            return None
        self._inside.check_file(f"{self.root}/{key}")
        document = self._served.document(key)
        if document is None:
            self._check_kind(key)
            try:
                found = super().get_sync(key, prototype=prototype, byte_range=byte_range)
            except FileNotFoundError:  # the directory itself
                found = None
            if found is None:
                self._check_missing(key)
            return found
        start, stop = extent(byte_range, len(document))
        return (prototype or default_buffer_prototype()).buffer.from_bytes(document[start:stop])

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        # docstring inherited
        if not _is_inside(key):
            return None
        if not self._served.is_document(key):
            self._inside.check_file(f"{self.root}/{key}")
            self._check_kind(key)
            try:
                found = await super().get(key, prototype, byte_range)
            except FileNotFoundError:  # the directory itself
                found = None
            if found is None:
                self._check_missing(key)
            return found
        await self._ensure_open()
        return await asyncio.to_thread(self.get_sync, key, prototype=prototype, byte_range=byte_range)

    def _check_kind(self, key: str) -> None:
        """Raise for a chunk that was written since, and for what is no file: a read would wait for a pipe's writer."""
        path = f"{self.root}/{key}"
        try:
            found = os.stat(path)
        except OSError:  # zarr says what it is
            return
        if not self._served.is_document(key):
            self._opening.check(path, found)
        mode = found.st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            got = "a pipe, socket or device"
            raise CorruptDataError(message("reading", path, expected="a regular file", got=got))

    def _check_missing(self, key: str) -> None:
        """Raise FormatError where a chunk is missing because all of the array lie under other keys.

        StaleFileError where it may have been there when the store was made.
        """
        if key.rpartition("/")[2] in METADATA:
            return
        if self._prefix is None or not key.startswith(self._prefix):
            self._prefix = self._prefix_above(key)
        if self._prefix is not None:
            self._separators[self._prefix].check()
        self._opening.check_missing(f"{self.root}/{key}", str(self.root))

    def _prefix_above(self, key: str) -> str | None:
        """The prefix of the keys of the array that a chunk's key belongs to; None where there is no such array."""
        path = key
        while path:
            path = path.rpartition("/")[0]
            node = find_node(str(self.root), path, self._inside)
            if node is None:
                continue
            prefix = f"{path}/" if path else ""
            if prefix not in self._separators:
                try:
                    found = Separators.of_document(node.path, node.document, node.load()[0])
                except FormatError:
                    found = None
                if found is None:
                    # What these metadata mean is for zarr to say.
                    return None
                self._separators[prefix] = found
            return prefix
        return None

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        # docstring inherited
        return list(await asyncio.gather(*(self.get(key, prototype, request) for key, request in key_ranges)))

    async def exists(self, key: str) -> bool:
        # docstring inherited
        return _is_inside(key) and not await self._hides(key) and await super().exists(key)

    async def _hides(self, key: str) -> bool:
        return self._served.is_document(key) and await asyncio.to_thread(self._served.hides, key)

    async def getsize(self, key: str) -> int:
        # docstring inherited
        if not _is_inside(key) or await self._hides(key):
            raise FileNotFoundError(key)
        document = await asyncio.to_thread(self._served.document, key)
        return await super().getsize(key) if document is None else len(document)

    async def list(self) -> AsyncIterator[str]:
        # docstring inherited
        async for key in self.list_prefix(""):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        # docstring inherited
        if _is_inside(prefix.rstrip("/"), or_root=prefix in ("", "/")):
            async for key in super().list_prefix(prefix.lstrip("/")):
                if not await self._hides(key):
                    yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        # docstring inherited
        path = prefix.strip("/")
        if _is_inside(prefix.rstrip("/"), or_root=prefix in ("", "/")):
            names = [name async for name in super().list_dir(prefix.lstrip("/"))]
            for name in await asyncio.to_thread(self._served.shown, path, names):
                yield name


def _is_inside(key: str, *, or_root: bool = False) -> bool:
    """Whether a key stays in the directory, whatever the file system makes of dots, backslashes and doubled slashes."""
    if not key:
        return or_root
    return "\0" not in key and "\\" not in key and all(part not in ("", ".", "..") for part in key.split("/"))


def _reopen(root: str, unsupported: Mapping[str, str], inside: Inside) -> DirectoryStore:
    return DirectoryStore(root, unsupported=unsupported, inside=inside)
