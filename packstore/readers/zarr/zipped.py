"""A zarr hierarchy in a zip archive (``.zarr.zip``, OME-Zarr's ``.ozx``) in, its arrays and groups out.

Zarr's `ZipStore` and OME-Zarr's RFC-9 (https://ngff.openmicroscopy.org/rfc/9/) put the hierarchy at the top of the
archive, mostly stored without compression. An archive of one folder that holds a hierarchy is taken for that, too.
"""

from __future__ import annotations

import struct
from functools import partial
from typing import Any

from packstore.core.keys import path_reason
from packstore.errors import FormatError, PackstoreError, message
from packstore.readers.npz.directory import ZipMember, read_directory
from packstore.readers.zarr.described import Documents, gathered, parsed
from packstore.readers.zarr.nodes import DOCUMENTS, MAX_JSON_NBYTES, V2_ARRAY, V2_GROUP, V3
from packstore.readers.zarr.zip_places import MemberPlaces, Members
from packstore.source import Source
from packstore.storage import ManifestGroup

__all__ = ["document_of", "read", "sniff"]

_LOCAL = struct.Struct("<4s22xHH")
# What makes a folder a node; its attributes alone do not.
_NODES = (V3, V2_ARRAY, V2_GROUP)


def sniff(source: Source, head: bytes) -> bool:
    """Whether it is a zip archive with metadata of zarr at its top, or at the top of its only folder.

    Archives of numpy, which begin with an array, are told by their first bytes; of others the directory is read.
    """
    if not head.startswith(b"PK\x03\x04") or len(head) < _LOCAL.size:
        return False
    name = head[_LOCAL.size : _LOCAL.size + _LOCAL.unpack_from(head)[1]]
    if name.endswith(b".npy"):
        return False
    try:
        return _top({member.name for member in read_directory(source, source.name)}) is not None
    except FormatError:
        return False


def read(source: Source, *, component: str | None, chunks: Any) -> ManifestGroup:
    """Describe the arrays and groups of a hierarchy in a zip archive.

    Parameters
    ----------
    source
        The archive.
    component
        The one array that is wanted; None for all.
    chunks
        Not used: the arrays have chunks of their own.

    Returns
    -------
    ManifestGroup
        Arrays that the direct path does not read are in `unsupported`, each with its reason.

    Raises
    ------
    FormatError
        No zip archive, a damaged directory, or no zarr metadata in it.

    Notes
    -----
    Reads the directory and the metadata documents. Of two members of one name the last one counts, as for `zipfile`.
    Chunks are read where they lie: mapped where the archive is a local file, by ranges behind a URL. The CRC-32 of a
    chunk is checked where all of it is read, once; parts of chunks without compression are not checked.
    """
    members, top = _opened(source)
    wanted: dict[str, list[str]] = {}
    for name in members:
        folder, _, document = name.rpartition("/")
        if document in DOCUMENTS and f"{folder}/".startswith(top):
            path = f"{folder}/"[len(top) :].strip("/")
            if component is None or path == component:
                wanted.setdefault(path, []).append(document)
    documents = [members[_join(top, path, name)] for path, names in wanted.items() for name in names]
    source.prefetch([(m.header_offset, min(m.end - m.header_offset, MAX_JSON_NBYTES)) for m in documents])
    shared = Members(source, members)
    nodes = {
        path: {name: _document(shared, _join(top, path, name)) for name in names} for path, names in wanted.items()
    }
    return gathered(
        (path, _of_one_format(path, nodes[path]), partial(MemberPlaces, shared, _join(top, path, "")))
        for path in sorted(nodes)
        if any(name in nodes[path] for name in _NODES)
    )


def _of_one_format(path: str, found: Documents) -> Documents:
    """The documents that count: of both formats those of the newer one, as for zarr; none of a path that is no path."""
    reason = path_reason(path) if path else None
    if reason is not None:
        return {V3: reason}
    return {V3: found[V3]} if V3 in found else found


def document_of(source: Source, component: str, name: str) -> Any:
    """The document `name` of a node, as JSON; None where it is not there or no JSON object."""
    members, top = _opened(source)
    key = _join(top, component, name)
    found = _document(Members(source, members), key) if key in members else ""
    return found[0] if isinstance(found, tuple) else None


def _opened(source: Source) -> tuple[dict[str, ZipMember], str]:
    members = {member.name: member for member in read_directory(source, source.name)}
    top = _top(set(members))
    if top is None:
        expected = "an archive with zarr metadata at its top"
        raise FormatError(message("opening", source.name, expected=expected, got="none"))
    return members, top


def _top(names: set[str]) -> str | None:
    """Where the hierarchy begins: "" or the archive's only folder and a slash; None where there is none."""
    if any(name in names for name in _NODES):
        return ""
    folders = {name.partition("/")[0] for name in names}
    top = f"{folders.pop()}/" if len(folders) == 1 else ""
    return top if top and any(top + name in names for name in _NODES) else None


def _join(top: str, path: str, name: str) -> str:
    return f"{top}{path}/{name}" if path else top + name


def _document(members: Members, name: str) -> Any:
    """A parsed document and its checksum, or the reason why it cannot be read: a part of `Documents`."""
    member = members[name]
    if member.nbytes > MAX_JSON_NBYTES:
        return parsed(b"", member.nbytes, "", name)
    try:
        data = members.content(name)
    except PackstoreError as error:
        return str(error)
    return parsed(data, member.nbytes, f"{member.crc:08x}", f"{members.source.name}/{name}")
