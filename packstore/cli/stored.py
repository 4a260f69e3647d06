"""What an array costs in its file: bytes, codecs and filters, whatever the format."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from packstore.codecs.hdf5.registry import FILTERS
from packstore.storage import MISSING, ChunkedManifest, ContiguousManifest, ManifestArray, PackedManifest

__all__ = ["Stored", "size_on_disk", "stored"]

# What zip calls them by number.
ZIP = {8: "deflate", 12: "bzip2", 14: "lzma"}
# Files looked at below one array before its size is left open.
MAX_FILES = 500_000


class Stored(NamedTuple):
    """How an array is stored.

    Parameters
    ----------
    layout
        In a word.
    filters
        Names of codecs and filters, in the order of writing.
    nbytes
        What its elements take; None where only reading would tell.
    missing
        Chunks that were never written; None where that is not known.
    """

    layout: str
    filters: tuple[str, ...] = ()
    nbytes: int | None = None
    missing: int | None = None


def size_on_disk(path: str, skip: tuple[str, ...] = ()) -> int | None:
    """Bytes of a file, or of all files below a folder but those called as in `skip`; None beyond `MAX_FILES`."""
    if not os.path.isdir(path):
        return os.path.getsize(path)
    total = count = 0
    stack = [path]
    while stack:
        with os.scandir(stack.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    stack.append(entry.path)
                elif entry.name not in skip:
                    total += entry.stat(follow_symlinks=False).st_size
                    count += 1
                    if count > MAX_FILES:
                        return None
    return total


def stored(array: ManifestArray) -> Stored:
    """How the array lies in its file."""
    storage = array.storage
    if isinstance(storage, PackedManifest):
        axis = "flat" if storage.axis is None else f"axis {storage.axis}"
        bits = f"packed bits ({axis}, {storage.bitorder})"
        return Stored("packed bits", (bits,), math.prod(storage.byte_shape(array.shape)))
    if isinstance(storage, ChunkedManifest):
        names = tuple(FILTERS[f.id].name if f.id in FILTERS else f.name or f"filter {f.id}" for f in storage.filters)
        there = storage.offsets != MISSING
        return Stored("chunked", names, int(storage.nbytes[there].sum()), int(there.size - there.sum()))
    if isinstance(storage, ContiguousManifest):
        return _contiguous(array, storage)
    return _delegated(storage.reader)


def _contiguous(array: ManifestArray, storage: ContiguousManifest) -> Stored:
    member = getattr(storage.space, "member", None)
    if member is not None:
        # Its header is compressed with it.
        return Stored(
            "compressed member", (ZIP.get(member.method, f"zip method {member.method}"),), member.stored_nbytes
        )
    order = " F" if storage.order == "F" and len(array.shape) > 1 else ""
    return Stored(f"contiguous{order}", (), array.size * storage.stored.itemsize)


def _delegated(reader: Any) -> Stored:
    from packstore.readers.text import TextReader
    from packstore.readers.zarr.nodes import V2_ARRAY, V2_ATTRIBUTES, V3, Node

    node = getattr(reader, "node", None)
    if isinstance(node, Node):
        document, _ = node.load()
        return Stored("chunked", _codecs(document), size_on_disk(node.path, (V3, V2_ARRAY, V2_ATTRIBUTES)))
    if isinstance(reader, TextReader):
        return Stored("text")
    if type(reader).__module__.startswith("packstore.readers.hdf5"):
        return _by_library(reader)
    return Stored("several files" if type(reader).__name__ == "JoinedReader" else "other")


def _by_library(reader: Any) -> Stored:
    from packstore.readers.hdf5.fallback import H5Fallback
    from packstore.readers.hdf5.vlen import VlenReader

    if isinstance(reader, VlenReader):
        # The dataset itself holds only where the elements are: their size nobody counts.
        return stored(reader.references)._replace(nbytes=None)
    if not isinstance(reader, H5Fallback):
        return Stored("virtual")
    from h5py import h5d, h5o

    from packstore.readers.hdf5.files import H5_ERRORS, Session

    with Session(reader.source) as session:
        try:
            dataset = h5o.open(session.file.id, reader.path)
            plist = dataset.get_create_plist()
            codes = [int(plist.get_filter(i)[0]) for i in range(plist.get_nfilters())]
            names = tuple(FILTERS[code].name if code in FILTERS else f"filter {code}" for code in codes)
            chunked = plist.get_layout() == h5d.CHUNKED
            # Variable-length elements lie elsewhere: the dataset itself holds only where.
            whole = not reader.described.dtype.hasobject
            return Stored("through h5py", names, int(dataset.get_storage_size()) if whole or not chunked else None)
        except H5_ERRORS:
            # Only a description: the array itself says what is wrong when it is read.
            return Stored("through h5py")


def _codecs(document: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the codecs in an array's metadata, those of shards in brackets."""
    if "codecs" in document:
        return tuple(_name(c) for c in document["codecs"])
    found = [*(document.get("filters") or []), document.get("compressor")]
    return tuple(_name(c) for c in found if c is not None)


def _name(codec: Any) -> str:
    if not isinstance(codec, Mapping):
        return str(codec)
    name = str(codec.get("name", codec.get("id")))
    inner = (codec.get("configuration") or {}).get("codecs")
    return f"{name}[{' + '.join(_name(c) for c in inner)}]" if inner else name
