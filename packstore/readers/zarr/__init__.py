"""Zarr directories, v2 and v3: packed masks and the usual codecs on the direct path, anything else through zarr."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from packstore.core.keys import path_reason
from packstore.errors import ExternalFileError, FormatError, UnsupportedError, message
from packstore.readers.zarr.documents import bad_group
from packstore.readers.zarr.nodes import LINK_REASON, V2_ARRAY, V2_GROUP, Node, find_node, leads_out, walk
from packstore.readers.zarr.safe_codecs import unsafe_reason
from packstore.source import DirectorySource, RemoteFolder, Source
from packstore.source.inside import Inside
from packstore.storage import GridStorage, ManifestArray, ManifestGroup

if TYPE_CHECKING:
    from packstore.readers.location import Location
    from packstore.readers.zarr.directory import DirectoryStore

Json = Mapping[str, Any]

__all__ = ["directory_store", "read", "sniff"]


def sniff(source: Source, head: bytes) -> bool:
    """Whether the source is a directory with the metadata of a zarr array or group."""
    if isinstance(source, RemoteFolder):
        return True
    return isinstance(source, DirectorySource) and find_node(source.path, "") is not None


def read(source: Source, *, component: str | None, chunks: Any, allow_external: Any = False) -> ManifestGroup:
    """Describe the arrays of a zarr directory.

    Parameters
    ----------
    source
        The directory.
    component
        The one array that is wanted; None for all.
    chunks
        Not used: the arrays have chunks of their own.
    allow_external
        Where symbolic links in a local directory may lead: False for nowhere else, True for anywhere, or a folder.

    Returns
    -------
    ManifestGroup
        Arrays that neither the direct path nor zarr can read are in `unsupported`, each with its reason.

    Raises
    ------
    UnsupportedError
        The source is no local directory, or holds more nodes than can be listed.

    Notes
    -----
    Reads metadata files only: one for a named component, else those of the whole hierarchy.
    """
    if isinstance(source, RemoteFolder):
        # Function-level, for import time: local directories do not need it.
        from packstore.readers.zarr.objects import read_objects

        return read_objects(source, component)
    if not isinstance(source, DirectorySource):
        raise UnsupportedError(
            message(
                "opening",
                source.name,
                expected="a zarr directory",
                got="a file",
            )
        )
    arrays: dict[str, ManifestArray] = {}
    groups: dict[str, Mapping[str, Any]] = {}
    unsupported: dict[str, str] = {}
    nodes: dict[str, Node] = {}
    inside = Inside(source.path, allow_external)
    if component is None:
        found: Iterable[tuple[Node, Json, Json]] = walk(source.path, unsupported, inside)
    else:
        found = _one(source.path, component, unsupported, inside)
    for node, document, attributes in found:
        nodes[node.component] = node
        described = _describe(node, document, attributes)
        if isinstance(described, str):
            unsupported[node.component] = described
        elif isinstance(described, ManifestArray):
            arrays[node.component] = described
        else:
            groups[node.component] = described
    return ManifestGroup(arrays, groups, unsupported, fresh=_Freshness(source.path, nodes, component is None))


def _one(root: str, component: str, unsupported: dict[str, str], inside: Inside) -> Iterator[tuple[Node, Json, Json]]:
    """The node at `component` with its documents, or the reason in `unsupported`; nothing where nothing is there."""
    node = find_node(root, component, inside) if path_reason(component) is None else None
    if node is None:
        return
    if leads_out(root, component, inside):
        unsupported[component] = LINK_REASON
        return
    try:
        document, attributes = node.load()
        node.folders(document)
    except (FormatError, ExternalFileError) as error:
        unsupported[component] = str(error)
    else:
        yield node, document, attributes


class _Freshness:
    """Whether metadata files are still those that were read."""

    def __init__(self, root: str, nodes: Mapping[str, Node], complete: bool) -> None:
        self.root = root
        self.nodes = nodes
        self.complete = complete
        # A group that gains or loses a member shows it in the time of its directory, not of its document.
        self.members = {node.path: _mtime_ns(node.path) for node in nodes.values()} if complete else {}

    def __call__(self, component: str | None) -> bool:
        if component is None:
            return (
                self.complete
                and all(node.fresh() for node in self.nodes.values())
                and all(_mtime_ns(path) == mtime_ns for path, mtime_ns in self.members.items())
            )
        node = self.nodes.get(component)
        return node.fresh() if node is not None else find_node(self.root, component) is None


def _mtime_ns(path: str) -> int | None:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return None


def _describe(node: Node, document: Json, attributes: Json) -> ManifestArray | Json | str:
    """An array, the attributes of a group, or the reason why zarr refuses the node."""
    if node.document == V2_GROUP:
        return bad_group(document, attributes, 2) or attributes
    if not node.is_v2 and document.get("node_type") == "group":
        attributes = document.get("attributes") or {}
        return bad_group(document, attributes, 3) or attributes
    reason = unsafe_reason(document)
    if reason is not None:
        return reason
    try:
        return _describe_array(node, document, attributes)
    except Exception as error:  # whatever zarr raises for metadata it cannot read: the siblings are still served
        return f"zarr cannot open it ({type(error).__name__}: {error})"


def _describe_array(node: Node, document: Json, attributes: Json) -> ManifestArray:
    from packstore.readers.zarr.metadata import NotDirectError, parse_v2, parse_v3
    from packstore.readers.zarr.places import FilePlaces

    try:
        layout = parse_v2(document, attributes) if node.document == V2_ARRAY else parse_v3(document)
    except NotDirectError:
        from packstore.readers.zarr.general import describe

        return describe(node)
    sharded = layout.chunk_shape != layout.grid_chunk_shape
    return ManifestArray(
        layout.shape,
        layout.dtype,
        layout.chunk_shape,
        GridStorage(
            layout.grid_chunk_shape,
            FilePlaces(node, layout),
            layout.chain,
        ),
        fill_value=layout.fill_value,
        attributes=layout.attributes,
        dimension_names=layout.dimension_names,
        shard_shape=layout.grid_chunk_shape if sharded else None,
        version=node.stamp,
    )


def directory_store(location: Location) -> DirectoryStore:
    """The read-only store of a zarr directory."""
    from packstore.readers.zarr.directory import DirectoryStore

    unsupported = Unsupported(location)
    return DirectoryStore(location.fingerprint.path, unsupported=unsupported, inside=unsupported.inside)


class Unsupported(Mapping[str, str]):
    """The reasons of a directory's manifest, looked up when asked for: one array is found without listing the others.

    Notes
    -----
    A look-up never raises, whatever the name and the state of the directory; iteration does where listing does.

    Examples
    --------
    >>> import packstore, pathlib, tempfile, zarr
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "g.zarr"
    >>> _ = zarr.create_group(path).create_array("a", shape=(2,), dtype="i4")
    >>> dict(packstore.open_store(path).unsupported)
    {}
    """

    def __init__(self, location: Location) -> None:
        self.location = location
        self.inside = Inside(location.fingerprint.path, dict(location.options).get("allow_external"))
        # Per node the state of its metadata, and the reason. Listing a group asks for each member.
        self._seen: dict[str, tuple[object, str | None]] = {}

    def _reason(self, component: str) -> str | None:
        root = self.location.fingerprint.path
        node = find_node(root, component) if path_reason(component) is None else None
        if node is None:
            return None
        stamp, reason = self._seen.get(component, (None, None))
        if stamp != node.stamp:
            reasons: dict[str, str] = {}
            for found in _one(root, component, reasons, self.inside):
                described = _describe(*found)
                if isinstance(described, str):
                    reasons[component] = described
            reason = reasons.get(component)
            self._seen[component] = (node.stamp, reason)
        return reason

    def __getitem__(self, component: str) -> str:
        reason = self._reason(component) if isinstance(component, str) else None
        if reason is None:
            raise KeyError(component)
        return reason

    def __iter__(self) -> Iterator[str]:
        return iter(self.location.manifest().unsupported)

    def __len__(self) -> int:
        return len(self.location.manifest().unsupported)

    def __repr__(self) -> str:
        return repr(dict(self))

    def __reduce__(self) -> tuple[Any, ...]:
        return (Unsupported, (self.location,))
