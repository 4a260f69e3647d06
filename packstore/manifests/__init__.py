"""Where an array's bytes are and how they become elements: frozen descriptions, no I/O."""

from packstore.manifests.array import ManifestArray, Storage
from packstore.manifests.chunked import MISSING, ChunkedManifest
from packstore.manifests.contiguous import ContiguousManifest, regroup
from packstore.manifests.delegated import DelegatedManifest, SelectionReader
from packstore.manifests.group import ManifestGroup
from packstore.manifests.packed import PackedManifest

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
