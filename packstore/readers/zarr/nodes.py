"""Arrays and groups of a zarr directory: where each lies, and whether it is still what it was."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from packstore.errors import ExternalFileError, FormatError, StaleFileError, UnsupportedError, message
from packstore.readers.zarr.documents import spelled_out
from packstore.source.inside import Inside

__all__ = ["DOCUMENTS", "LINK_REASON", "Node", "find_node", "leads_out", "load_json", "walk"]

V3, V2_ARRAY, V2_GROUP, V2_ATTRIBUTES, V2_CONSOLIDATED = "zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata"
DOCUMENTS = frozenset({V3, V2_ARRAY, V2_GROUP, V2_ATTRIBUTES, V2_CONSOLIDATED})
# A hierarchy may be huge, deep or a loop; one array of it can always be named.
MAX_NODES = 20_000
MAX_DEPTH = 64
MAX_JSON_NBYTES = 64 << 20
LINK_REASON = "it is a symbolic link to a place outside, or to a directory that holds it"


@dataclass(frozen=True)
class Node:
    """An array or group.

    Parameters
    ----------
    path
        Its directory.
    component
        Its path in the hierarchy.
    document
        The name of the metadata file that makes it a node.
    stamp
        Modification time and size of that file, and of the file of its attributes.
    inside
        The directory of the hierarchy, which links may not leave.
    """

    path: str
    component: str
    document: str
    stamp: tuple[Any, ...]
    inside: Inside = field(compare=False, repr=False)

    @property
    def is_v2(self) -> bool:
        return self.document != V3

    def fresh(self) -> bool:
        """Whether the metadata is the same as when the node was found."""
        return self.stamp == _stamps(self.path, self.document)

    def check(self) -> None:
        """Raise StaleFileError where the metadata changed; its chunks may then mean something else."""
        found: tuple[int, ...] | None = None
        try:
            now = os.stat(f"{self.path}/{self.document}")
        except OSError:
            pass
        else:
            found = _stamp(now)
        if found != self.stamp[0]:
            raise StaleFileError(
                message(
                    "reading",
                    self.path,
                    expected=f"the {self.document} that was opened",
                    got="nothing of that name" if found is None else "a changed one",
                    hint="Open it again",
                )
            )

    def load(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """The metadata document, without short forms, and the attributes document of zarr v2.

        Raises
        ------
        FormatError
            It is no JSON object.
        ExternalFileError
            It is a link that leads out of the hierarchy.
        """
        for name in (self.document, V2_ATTRIBUTES):
            self.inside.check_file(f"{self.path}/{name}")
        document = load_json(f"{self.path}/{self.document}")
        if not self.is_v2:
            return spelled_out(document), {}
        attributes = f"{self.path}/{V2_ATTRIBUTES}"
        return document, load_json(attributes) if os.path.exists(attributes) else {}

    def folders(self, document: Mapping[str, Any]) -> list[os.DirEntry[str]]:
        """The folders in which members may be, the last name first; none for an array.

        Raises
        ------
        FormatError
            The operating system does not list them.
        """
        if self.document == V2_ARRAY or document.get("node_type") == "array":
            return []
        try:
            with os.scandir(self.path) as entries:
                return sorted((e for e in entries if e.is_dir()), key=lambda e: e.name, reverse=True)
        except OSError as error:
            expected = "a folder that can be listed"
            raise FormatError(message("reading", self.path, expected=expected, got=error.strerror)) from None


def find_node(root: str, component: str, inside: Inside | None = None) -> Node | None:
    """The array or group at `component`, or None; with `inside` given, links may lead where that allows."""
    path = f"{root}/{component}" if component else root
    for name in (V3, V2_ARRAY, V2_GROUP):
        stamp = _stamps(path, name)
        if stamp[0] is not None:
            return Node(path, component, name, stamp, inside or Inside(root))
    return None


def walk(
    root: str, unsupported: dict[str, str], inside: Inside | None = None
) -> Iterator[tuple[Node, Mapping[str, Any], Mapping[str, Any]]]:
    """Each node of the hierarchy with its documents, parents first.

    Parameters
    ----------
    root
        The directory.
    unsupported
        Takes the reason for what is a node, and is not given.
    inside
        Where links may lead; None: nowhere out of the directory.

    Raises
    ------
    UnsupportedError
        The hierarchy has more nodes than can be listed.
    """
    stack = [""]
    count = 0
    inside = inside or Inside(root)
    while stack:
        component = stack.pop()
        node = find_node(root, component, inside)
        if node is None:
            continue
        count += 1
        if count > MAX_NODES or component.count("/") >= MAX_DEPTH:
            raise UnsupportedError(
                message(
                    "listing",
                    root,
                    expected=f"at most {MAX_NODES} arrays and groups, {MAX_DEPTH} deep",
                    got="more",
                    hint="Name one with component=",
                )
            )
        found: list[os.DirEntry[str]] = []
        try:
            document, attributes = node.load()
            found = node.folders(document)
        except (FormatError, ExternalFileError) as error:
            unsupported[component] = str(error)
            # What cannot be read may be a group: its members are there all the same.
            with contextlib.suppress(FormatError):
                found = [e for e in node.folders({}) if e.name != "c" and not e.name.isdigit()]
        else:
            yield node, document, attributes
        for entry in found:
            child = f"{component}/{entry.name}" if component else entry.name
            if entry.is_symlink() and (_leads_up(entry.path) or not inside.holds(entry.path)):
                if find_node(root, child, inside) is not None:
                    unsupported[child] = LINK_REASON
                continue
            stack.append(child)


def leads_out(root: str, component: str, inside: Inside) -> bool:
    """Whether a symbolic link on the way to `component` leads where it may not, or back up."""
    path = f"{root}/{component}"
    return not inside.holds(path) or (bool(component) and os.path.islink(path) and _leads_up(path))


def _leads_up(link: str) -> bool:
    """Whether a link leads to a directory that holds it."""
    real, place = os.path.realpath(link), os.path.realpath(os.path.dirname(link))
    return (place + os.sep).startswith(real + os.sep)


def _stamps(path: str, document: str) -> tuple[Any, ...]:
    names = (document,) if document == V3 else (document, V2_ATTRIBUTES)
    out: list[tuple[int, ...] | None] = []
    for name in names:
        try:
            out.append(_stamp(os.stat(f"{path}/{name}")))
        except (OSError, ValueError):
            out.append(None)
    return tuple(out)


def _stamp(found: os.stat_result) -> tuple[int, ...]:
    return (found.st_mtime_ns, found.st_size)


def load_json(path: str) -> Mapping[str, Any]:
    """The JSON object in the file at `path`.

    Raises
    ------
    FormatError
        There is none.
    """
    try:
        if not os.path.isfile(path):
            got = "a folder" if os.path.isdir(path) else "none"
            raise FormatError(message("reading", path, expected="a regular file", got=got))
        if (nbytes := os.path.getsize(path)) > MAX_JSON_NBYTES:
            raise FormatError(message("reading", path, expected=f"at most {MAX_JSON_NBYTES} bytes", got=nbytes))
        with open(path, "rb") as file:
            text = file.read()
        if not text:
            raise FormatError(message("reading", path, expected="JSON", got="an empty file"))
        found = json.loads(text)
    except OSError as error:
        raise FormatError(message("reading", path, expected="a file that can be read", got=error.strerror)) from None
    except (ValueError, RecursionError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(message("reading", path, expected="JSON", got=error)) from None
    if not isinstance(found, dict):
        raise FormatError(message("reading", path, expected="a JSON object", got=type(found).__name__))
    return found
