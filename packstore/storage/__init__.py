"""Where an array's bytes are and how they become elements: frozen descriptions, no I/O."""

from packstore.storage.array import ManifestArray, Storage
from packstore.storage.chunked import MISSING, ChunkedManifest
from packstore.storage.contiguous import ContiguousManifest, regroup
from packstore.storage.delegated import DelegatedManifest, SelectionReader
from packstore.storage.group import ManifestGroup
from packstore.storage.packed import PackedManifest

__all__ = [
    "MISSING",
    "ChunkedManifest",
    "ContiguousManifest",
    "DelegatedManifest",
    "ManifestArray",
    "ManifestGroup",
    "PackedManifest",
    "SelectionReader",
    "Storage",
    "regroup",
]
