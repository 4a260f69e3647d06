"""Zarr in object storage: chunks go up as objects while they are made, metadata when all of them are there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from packstore.core.boxes import Box
from packstore.core.typing import Array
from packstore.errors import DtypeError, TargetExistsError, message
from packstore.source.remote.uploads import Uploads

__all__ = ["ObjectSink", "check_folder", "metadata_of", "publish"]

METADATA = ("zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata")


@dataclass(frozen=True)
class ObjectSink:
    """Writes boxes of one array of a zarr hierarchy in object storage; thread safe, picklable.

    Parameters
    ----------
    uploads
        Where the hierarchy is going to be.
    component
        The array's path in it.
    metadata
        The array's documents, by name: they are not there yet.

    Notes
    -----
    Zarr encodes a box in memory; its objects are uploaded side by side. A box is whole chunks (shards), so nothing is
    read, and a chunk that is written again is the same.
    """

    uploads: Uploads
    component: str
    metadata: Mapping[str, bytes]

    def __call__(self, box: Box, values: Array) -> None:
        import zarr
        from zarr.core.buffer import default_buffer_prototype

        buffer = default_buffer_prototype().buffer
        objects: dict[str, Any] = {name: buffer.from_bytes(data) for name, data in self.metadata.items()}
        array: Any = zarr.open_array(zarr.storage.MemoryStore(objects), mode="r+")
        try:
            array[box if box else ...] = np.asarray(values).astype(array.dtype, copy=False)
        except UnicodeEncodeError as why:
            raise DtypeError(
                message("saving", None, self.component or None, expected="text in UTF-8", got=why)
            ) from None
        prefix = f"{self.component}/" if self.component else ""
        chunks = {prefix + name: found.to_bytes() for name, found in objects.items() if name not in self.metadata}
        self.uploads.put_all(chunks)


def metadata_of(folder: Path) -> dict[str, bytes]:
    """The documents of the node that a local folder is."""
    return {name: (folder / name).read_bytes() for name in METADATA if (folder / name).exists()}


def check_folder(uploads: Uploads, *, overwrite: bool) -> list[str]:
    """The names of the objects that writing a hierarchy replaces.

    Raises
    ------
    TargetExistsError
        Objects are there and `overwrite` is false, or they are not those of a zarr hierarchy.
    WriteError
        The place cannot be listed.
    """
    names = uploads.names()
    if uploads.exists():
        raise TargetExistsError(
            message(
                "writing", uploads.name, expected="a zarr store to replace", got="a file", hint="Remove it yourself"
            )
        )
    if names and not overwrite:
        got, hint = "existing ones", "Pass overwrite=True"
        if UNFINISHED in names:
            got, hint = "those of a save that did not end, or has not yet", "Pass overwrite=True to start again"
        raise TargetExistsError(message("writing", uploads.name, expected="no objects there yet", got=got, hint=hint))
    # A save that was killed leaves chunks without the root's metadata, but with a name of its own.
    if names and not any(name in METADATA or name == UNFINISHED for name in names):
        got, hint = "a folder of other objects", "Remove it yourself"
        raise TargetExistsError(
            message("writing", uploads.name, expected="a zarr store to replace", got=got, hint=hint)
        )
    return names


# Marks a hierarchy that is being written: it has no root, and the next save with `overwrite` may remove it.
UNFINISHED = ".packstore-unfinished"


def publish(uploads: Uploads, folder: Path) -> None:
    """Upload the documents that lie in a local folder: those of the root last, so a reader sees all or nothing."""
    documents: list[tuple[int, str, bytes]] = []
    for at, _, names in os.walk(folder):
        path = os.path.relpath(at, folder).replace(os.sep, "/")
        prefix, depth = ("", 0) if path == "." else (f"{path}/", path.count("/") + 1)
        documents += [(depth, prefix + name, (Path(at) / name).read_bytes()) for name in names if name in METADATA]
    uploads.put_all({name: data for depth, name, data in documents if depth})
    # In v2 the document that makes it a node comes after the others.
    for name in sorted((name for depth, name, _ in documents if not depth), key=lambda n: n in (".zarray", ".zgroup")):
        uploads.put(name, next(data for _, each, data in documents if each == name))
    uploads.remove([UNFINISHED])
