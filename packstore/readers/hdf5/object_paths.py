"""Paths of the objects that references point to; in: an address in an open file, out: the path of a link to it.

An object of several hard links has the path that libhdf5 gives it: the first one of a walk that lists each group by
name and goes down into a group before it goes on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from weakref import WeakKeyDictionary

from packstore.readers.hdf5.files import H5_ERRORS, Session
from packstore.readers.hdf5.links import Target, follow, root
from packstore.readers.hdf5.object_names import ObjectNames, leads_to_group

__all__ = ["ObjectPaths"]

_known: WeakKeyDictionary[Session, ObjectPaths] = WeakKeyDictionary()


class ObjectPaths:
    """The paths of one file's objects, looked for as far as they are asked for and then kept."""

    def __init__(self, session: Session) -> None:
        self._found: dict[int, str] = {}
        self._rest = _walk(root(session))

    @staticmethod
    def of(session: Session) -> ObjectPaths:
        """The paths of an open file."""
        found = _known.get(session)
        if found is None:
            found = _known[session] = ObjectPaths(session)
        return found

    def path(self, address: int) -> str | None:
        """The path of the object at `address`; None where no link leads to it."""
        while address not in self._found:
            try:
                at, path = next(self._rest)
            except StopIteration:
                return None
            self._found.setdefault(at, path)
        return self._found[address]


def _walk(top: Target) -> Iterator[tuple[int, str]]:
    """Address and path behind each hard link below a group, without recursion: trees may be deeper than the stack."""
    yield top.key[1], "/"
    names = ObjectNames()
    seen = {top.key[1]}
    todo = [(top, "", iter(names.links(top).items()))]
    while todo:
        group, above, links = todo[-1]
        address, name = next(links, (0, None))
        if name is None:
            todo.pop()
            continue
        path = f"{above}/{name}"
        yield address, path
        if address not in seen and leads_to_group(group.session, address):
            seen.add(address)
            # Damage costs the paths below it.
            with contextlib.suppress(*H5_ERRORS):
                below = follow(group, name.encode("utf-8", "surrogateescape"))
                todo.append((below, path, iter(names.links(below).items())))
