"""Arrays that only zarr itself can decode: correct, at zarr's speed."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from packstore.core.boxes import Box
from packstore.errors import CorruptDataError, PackstoreError, message
from packstore.readers.zarr.changes import Opening
from packstore.readers.zarr.nodes import Node
from packstore.readers.zarr.sizes import facts_of_node
from packstore.readers.zarr.vlen import VlenChunks
from packstore.storage import BoxReader, Facts, ManifestArray, ReaderStorage

__all__ = ["ZarrReader", "describe"]


class ZarrReader(BoxReader):
    """Reads boxes through zarr."""

    def __init__(self, node: Node, opening: Opening | None = None) -> None:
        self.node = node
        self._opening = opening
        self._array: Any = None
        self._store: Any = None
        self._vlen: VlenChunks | None = None
        self._lock = threading.Lock()

    def opened(self, ns: int | None = None) -> ZarrReader:
        # docstring inherited
        return ZarrReader(self.node, Opening(ns))

    @property
    def opened_ns(self) -> int | None:
        # docstring inherited
        return None if self._opening is None else self._opening.ns

    @property
    def array(self) -> Any:
        """The zarr array."""
        with self._lock:
            if self._array is None:
                import zarr
                from zarr.storage import StorePath

                from packstore.readers.zarr.directory import DirectoryStore

                document, attributes = self.node.load()
                if self.node.is_v2:
                    document = {**document, "attributes": attributes}
                # Not zarr.open_array, which waits for zarr's event loop: a store lists its arrays from inside of it.
                # Untyped: releases of zarr differ in the type that they declare for a document.
                make: Any = zarr.AsyncArray
                self._store = DirectoryStore(self.node.path, inside=self.node.inside, opening=self._opening)
                self._vlen = VlenChunks.of(document)
                self._array = zarr.Array(make(dict(document), StorePath(self._store)))
            return self._array

    def read(self, selection: Box) -> npt.NDArray[Any]:
        """Elements of `selection`; CorruptDataError for whatever zarr raises."""
        self.node.check()
        try:
            array = self.array
            if self._vlen is not None:
                self._vlen.check(self._store, selection, self.node.path)
            return np.asarray(array[selection])
        except PackstoreError:
            raise
        except (Exception, MemoryError) as error:
            # Zarr and the codecs that it calls raise what they like for damaged chunks.
            got = f"{type(error).__name__}: {error}"
            text = message("reading", self.node.path, expected="chunks that zarr decodes", got=got)
            raise CorruptDataError(text) from error

    def facts(self, array: ManifestArray) -> Facts:
        """The codecs that the metadata names, and the bytes of all chunks."""
        return facts_of_node(self.node)

    def token(self) -> object:
        """Never the same twice: what the codecs read is not known here."""
        import os

        return os.urandom(16).hex()


def describe(node: Node) -> ManifestArray:
    """An array as zarr sees it."""
    reader = ZarrReader(node)
    array = reader.array
    metadata: Any = array.metadata
    try:
        chunks, shards = tuple(array.chunks), array.shards
    except NotImplementedError:
        # A rectilinear grid has no chunk shape; the whole array stands for it.
        chunks, shards = tuple(max(n, 1) for n in array.shape), None
    return ManifestArray(
        tuple(array.shape),
        np.dtype(array.dtype),
        chunks,
        ReaderStorage(reader),
        fill_value=array.fill_value,
        attributes=dict(array.attrs),
        dimension_names=getattr(metadata, "dimension_names", None),
        shard_shape=None if shards is None else tuple(shards),
        version=node.stamp,
    )
