"""Links, followed one name at a time; in: a group and a name or a path, out: the object there.

libhdf5 follows a link into another file without asking. Here each step reads the link first, and a file is opened only
where the caller's options allow it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import h5py
from h5py import h5g, h5l, h5o

from packstore.errors import ExternalFileError
from packstore.readers.hdf5.files import H5_ERRORS, Session, object_info
from packstore.readers.hdf5.guard import check_virtual
from packstore.readers.hdf5.problems import NotServed

__all__ = ["Linker", "Target", "follow", "root", "text"]

MAX_HOPS = 64


@dataclass(frozen=True)
class Target:
    """An open object.

    Parameters
    ----------
    session
        Its file.
    oid
        h5py's identifier.
    path
        A path to it from the root of its own file, by hard links only.
    key
        Its file and address, which are the same for all its names.
    """

    session: Session
    oid: h5py.h5d.DatasetID | h5py.h5g.GroupID | h5py.h5t.TypeID
    path: bytes
    key: tuple[str, int]

    @property
    def is_group(self) -> bool:
        """Whether the object is a group."""
        return isinstance(self.oid, h5g.GroupID)

    @property
    def is_dataset(self) -> bool:
        """Whether the object is a dataset (and no group or committed type)."""
        return isinstance(self.oid, h5py.h5d.DatasetID)

    @property
    def name(self) -> str:
        """The path as text, without the slash before it, for errors."""
        return text(self.path).lstrip("/")


class _Opener(Protocol):
    def open_external(self, session: Session, name: str, why: str) -> Session:
        """The session of another file; raises NotServed or ExternalFileError."""


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
    # The link holds the address. Asked about the object itself, libhdf5 would read a virtual dataset's mappings.
    address = int(group.oid.links.get_info(name).u)
    check_virtual(session, address, text(path).lstrip("/"))
    return Target(session, h5o.open(group.oid, name), path, (session.source.name, address))


def root(session: Session) -> Target:
    """The root group of a file."""
    oid = h5o.open(session.file.id, b"/")
    return Target(session, oid, b"", (session.source.name, object_info(oid)[0]))


@dataclass(frozen=True)
class Linker:
    """Resolves paths; asks `opener` for other files."""

    opener: _Opener

    def resolve(self, start: Target, path: bytes, hops: int = 0) -> Target:
        """Follow `path` from the group `start`, or from the file's root where it is absolute.

        Raises
        ------
        NotServed
            No such object; too many links; a link of a kind that only its author can follow.
        ExternalFileError
            It leads into a file that is not allowed.
        """
        at = root(start.session) if path.startswith(b"/") else start
        for part in path.split(b"/"):
            if part not in (b"", b"."):
                at = self.step(at, part, hops)
        return at

    def step(self, group: Target, name: bytes, hops: int = 0) -> Target:
        """Follow one link of a group."""
        if not group.is_group:
            raise NotServed(f"{text(group.path) or '/'} is not a group")
        if not group.oid.links.exists(name):
            raise NotServed(f"no object {text(group.path + b'/' + name)!r} in {group.session.source.name}")
        kind = group.oid.links.get_info(name).type
        if kind == h5l.TYPE_HARD:
            return follow(group, name)
        if hops >= MAX_HOPS:
            raise NotServed(f"more than {MAX_HOPS} links in a row")
        if kind == h5l.TYPE_SOFT:
            return self.resolve(group, group.oid.links.get_val(name), hops + 1)
        if kind == h5l.TYPE_EXTERNAL:
            filename, path = group.oid.links.get_val(name)
            why = f"following the external link {text(group.path + b'/' + name)!r} of {group.session.source.name}"
            session = self.opener.open_external(group.session, text(filename), why)
            return self.resolve(root(session), b"/" + path.lstrip(b"/"), hops + 1)
        raise NotServed(f"a user-defined link of class {kind}, which only the program that wrote it can follow")

    def child(self, group: Target, name: bytes, kind: int) -> Target:
        """The object behind one listed link of a group.

        Parameters
        ----------
        kind
            The link's type, as the group lists it.

        Raises
        ------
        NotServed
            The link leads to nothing that can be opened; the text says which link it is, and why.
        """
        if b"/" in name or not name:
            raise NotServed(f"the name {text(name)!r}, which no path can spell")
        try:
            return follow(group, name) if kind == h5l.TYPE_HARD else self.step(group, name)
        except NotServed as why:
            raise NotServed(f"dangling {_spelt(group, name, kind)}: {why}") from None
        except ExternalFileError as why:
            raise NotServed(str(why)) from None
        except H5_ERRORS as why:
            # Damage behind one link leaves the other links of the group as they are.
            raise NotServed(f"{_spelt(group, name, kind)} to an object that h5py does not open: {why}") from None


def _spelt(group: Target, name: bytes, kind: int) -> str:
    """A link as a text that says where it leads."""
    try:
        if kind == h5l.TYPE_SOFT:
            return f"soft link to {text(group.oid.links.get_val(name))!r}"
        if kind == h5l.TYPE_EXTERNAL:
            filename, path = group.oid.links.get_val(name)
            return f"external link to {text(path)!r} in {text(filename)!r}"
    except H5_ERRORS:  # the value of the link is damaged
        return "link"
    return "hard link" if kind == h5l.TYPE_HARD else f"user-defined link of class {kind}"
