"""Following links by hand, one name at a time.

libhdf5 would follow a link into another file without asking; here each step looks at the link first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import h5py
from h5py import h5g, h5l, h5o

from packstore.readers.hdf5.files import Session
from packstore.readers.hdf5.virtual.block import check_virtual

__all__ = ["LinkFailure", "Linker", "Target", "text"]

MAX_HOPS = 64
USER_DEFINED = 64


class LinkFailure(Exception):
    """A link that leads nowhere; the text says why. Never leaves this reader."""


@dataclass(frozen=True)
class Target:
    """An object, and a path to it in its own file that uses hard links only."""

    session: Session
    oid: h5py.h5d.DatasetID | h5py.h5g.GroupID | h5py.h5t.TypeID
    path: bytes
    key: tuple[str, int]

    @property
    def is_group(self) -> bool:
        return isinstance(self.oid, h5g.GroupID)


class _Opener(Protocol):
    def open_external(self, session: Session, name: str, why: str) -> Session:
        """The session of another file; raises LinkFailure or ExternalFileError."""


def text(name: bytes) -> str:
    """A name as h5py gives it: UTF-8, other bytes as surrogates."""
    return name.decode("utf-8", "surrogateescape")


def follow(group: Target, name: bytes) -> Target:
    """The object that a hard link leads to.

    Raises
    ------
    CorruptDataError
        A virtual dataset on which libhdf5 would hang or fail without an error.
    """
    session, path = group.session, group.path + b"/" + name
    # From the link: libhdf5 would look at the list of a virtual dataset to say more about the object.
    address = int(group.oid.links.get_info(name).u)
    check_virtual(session, address, text(path).lstrip("/"))
    return Target(session, h5o.open(group.oid, name), path, (session.source.name, address))


def root(session: Session) -> Target:
    """The root group of a file."""
    oid = h5o.open(session.file.id, b"/")
    return Target(session, oid, b"", (session.source.name, int(h5o.get_info(oid).addr)))


@dataclass(frozen=True)
class Linker:
    """Resolves paths; asks `opener` for other files."""

    opener: _Opener

    def root(self, session: Session) -> Target:
        """The root group of a file."""
        return root(session)

    def resolve(self, start: Target, path: bytes, hops: int = 0) -> Target:
        """Follow `path` from the group `start`, or from the file's root where it is absolute.

        Raises
        ------
        LinkFailure
            Nothing there; too many links; a link of a kind that only its author can follow.
        ExternalFileError
            It leads into a file that is not allowed.
        """
        at = self.root(start.session) if path.startswith(b"/") else start
        for part in path.split(b"/"):
            if part not in (b"", b"."):
                at = self.step(at, part, hops)
        return at

    def step(self, group: Target, name: bytes, hops: int = 0) -> Target:
        """Follow one link of a group."""
        if not group.is_group:
            raise LinkFailure(f"{text(group.path) or '/'} is not a group")
        if not group.oid.links.exists(name):
            raise LinkFailure(f"no object {text(group.path + b'/' + name)!r} in {group.session.source.name}")
        kind = group.oid.links.get_info(name).type
        if kind == h5l.TYPE_HARD:
            return follow(group, name)
        if hops >= MAX_HOPS:
            raise LinkFailure(f"more than {MAX_HOPS} links in a row")
        if kind == h5l.TYPE_SOFT:
            return self.resolve(group, group.oid.links.get_val(name), hops + 1)
        if kind == h5l.TYPE_EXTERNAL:
            filename, path = group.oid.links.get_val(name)
            why = f"following the external link {text(group.path + b'/' + name)!r} of {group.session.source.name}"
            session = self.opener.open_external(group.session, text(filename), why)
            return self.resolve(self.root(session), b"/" + path.lstrip(b"/"), hops + 1)
        raise LinkFailure(f"a user-defined link of class {kind}, which only the program that wrote it can follow")

    def describe(self, group: Target, name: bytes, kind: int) -> str:
        """What a link says it leads to, for texts."""
        if kind == h5l.TYPE_SOFT:
            return f"soft link to {text(group.oid.links.get_val(name))!r}"
        if kind == h5l.TYPE_EXTERNAL:
            filename, path = group.oid.links.get_val(name)
            return f"external link to {text(path)!r} in {text(filename)!r}"
        return "hard link" if kind == h5l.TYPE_HARD else f"user-defined link of class {kind}"
