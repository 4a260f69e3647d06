"""Names of objects that were reached through references; in: an object's address, out: the name of a link to it.

An object with one hard link has that link's name, which is looked for in the groups around the referring object, then
in all groups of the file. An object with several hard links has the name of the first one, groups near the root before
those below.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator
from typing import Any

from h5py import h5l

from packstore.errors import PackstoreError
from packstore.readers.hdf5.files import H5_ERRORS, Session, object_info
from packstore.readers.hdf5.format.header import is_group
from packstore.readers.hdf5.links import Target, follow, root, text

__all__ = ["ObjectNames", "groups_above", "leads_to_group"]

# The names behind the hard links of one group, or of a whole file, by address.
Links = dict[int, str]


class ObjectNames:
    """Names of the objects of one reading; keeps the links of the groups that it has listed."""

    def __init__(self) -> None:
        self._linked: dict[tuple[str, int], Links] = {}
        self._everywhere: dict[str, Links] = {}

    def of(self, target: Target) -> str | None:
        """The name of an object that was reached by links."""
        if object_info(target.oid)[1] == 1:
            return text(target.path.rpartition(b"/")[2])
        return self._all_links(target.session).get(target.key[1])

    def referred(self, target: Target, oid: Any, guess: bytes | None = None) -> str | None:
        """The name of an object that `target` refers to.

        Parameters
        ----------
        oid
            The object, in the same file.
        guess
            Its likely name, with which no group need be listed.
        """
        address, links = object_info(oid)
        found = self._nearby(target, address, guess) if links == 1 else None
        return found or self._all_links(target.session).get(address)

    def _nearby(self, target: Target, address: int, guess: bytes | None) -> str | None:
        groups = list(groups_above(target))
        if guess and guess != b"." and not {*b"/\0"} & {*guess}:
            for group in groups:
                if group.oid.links.exists(guess):
                    info = group.oid.links.get_info(guess)
                    if info.type == h5l.TYPE_HARD and info.u == address:
                        return text(guess)
        return next((name for group in groups if (name := self.links(group).get(address))), None)

    def links(self, group: Target) -> Links:
        """The hard links of a group, as far as its list can be read."""
        if group.key not in self._linked:
            found: Links = {}

            def note(name: bytes, info: Any) -> None:
                if info.type == h5l.TYPE_HARD:
                    found.setdefault(int(info.u), text(name))

            with contextlib.suppress(*H5_ERRORS):
                group.oid.links.iterate(note, info=True)
            self._linked[group.key] = found
        return self._linked[group.key]

    def _all_links(self, session: Session) -> Links:
        """The hard links of all groups of a file."""
        file = session.source.name
        if file not in self._everywhere:
            found: Links = {}
            todo: deque[tuple[Target, str | None]] = deque([(root(session), None)])
            while todo:
                group, below = todo.popleft()
                # Damage costs the names below it.
                with contextlib.suppress(*H5_ERRORS):
                    group = group if below is None else follow(group, below.encode("utf-8", "surrogateescape"))
                    for address, name in self.links(group).items():
                        if address not in found:
                            found[address] = name
                            if leads_to_group(session, address):
                                todo.append((group, name))
            self._everywhere[file] = found
        return self._everywhere[file]


def leads_to_group(session: Session, address: int) -> bool:
    """Whether a group is at the address: its header says so without opening it."""
    try:
        return is_group(session.place(address))
    except (PackstoreError, IndexError):  # a damaged header
        return False


def groups_above(target: Target) -> Iterator[Target]:
    """The group that holds the object and the groups around it, the nearest first."""
    groups = [root(target.session)]
    for name in target.path.split(b"/")[1:-1]:
        groups.append(follow(groups[-1], name))
    yield from reversed(groups)
