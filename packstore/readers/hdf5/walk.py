"""A file's tree; in: an open file, out: every dataset and group under every name, whatever links lead to it.

Objects are visited once and then named as often as links name them: hard links to one dataset share one
ManifestArray, and a group that is reachable by several names shows its datasets under each. A link back to a group
that holds it is cut there, and a bound keeps trees of shared groups from naming more paths than anybody could list.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from h5py import h5l

from packstore.readers.hdf5.attributes import read_attributes
from packstore.readers.hdf5.context import Context
from packstore.readers.hdf5.dimensions import Dimensions
from packstore.readers.hdf5.files import H5_ERRORS
from packstore.readers.hdf5.links import Target, root, text
from packstore.readers.hdf5.netcdf import as_long_as
from packstore.readers.hdf5.problems import NotServed
from packstore.readers.hdf5.scales import NO_VARIABLE, names_no_variable
from packstore.storage import Attributes, ManifestArray, ManifestGroup
from packstore.storage.attributes import without

LABELS = "DIMENSION_LABELS"

__all__ = ["attributes_of", "complete", "read_all"]

# The most paths that exist only because a group has several names.
MAX_ALIASES = 20_000
MAX_DEPTH = 1000
MAX_FILES_DEEP = 16

# A dataset, or the key of another group.
Child = ManifestArray | tuple[str, int]


@dataclass
class _Group:
    """A group: the objects and the failures behind its links, by name."""

    path: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    children: dict[str, Child] = field(default_factory=dict)
    # Soft links inside the named file, and the paths of what they lead to.
    links: dict[str, str] = field(default_factory=dict)
    not_served: dict[str, str] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    damage: str | None = None


@dataclass(frozen=True)
class _Step:
    """One name of a group, with the groups above it on this path."""

    key: tuple[str, int]
    path: str
    above: _Step | None = None
    depth: int = 0

    def inside(self, key: tuple[str, int]) -> bool:
        """Whether the group of that key is this one or one above it."""
        step: _Step | None = self
        while step is not None:
            if step.key == key:
                return True
            step = step.above
        return False


class _Walk:
    def __init__(self, context: Context) -> None:
        self.context = context
        self.groups: dict[tuple[str, int], _Group] = {}
        self.dimensions = Dimensions()
        self.unreadable: dict[int, dict[str, str]] = {}
        self.finished: dict[int, ManifestArray] = {}
        # The arrays that stand for NetCDF dimensions without a variable.
        self.bare: set[int] = set()

    def visit(self, root: Target, path: str = "", files: int = 0) -> None:
        """Visit all objects below `root`, depth first without recursion: trees may be deeper than Python's stack.

        Parameters
        ----------
        path
            The name of `root` in the manifest.
        files
            How many files lie between it and the named one.
        """
        todo = [(root, path)]
        root.session.users += 1
        while todo:
            target, path = todo.pop()
            if target.key in self.groups:
                continue
            group = self.groups[target.key] = _Group(path)
            group.attributes, group.unreadable = attributes_of(target, self.dimensions)
            below = []
            for name, kind in self._links(target, group):
                key = text(name)
                at = f"{path}/{key}"
                try:
                    child = self.context.linker.child(target, name, kind)
                    if kind == h5l.TYPE_SOFT and target.session is child.session is self.context.main:
                        group.links[key] = child.name
                    if child.is_dataset:
                        group.children[key] = self._array(child)
                    elif child.is_group and child.session is target.session:
                        group.children[key] = child.key
                        below.append((child, at))
                    elif child.is_group and files < MAX_FILES_DEEP:
                        group.children[key] = child.key
                        # At once, so that the other file need not stay open.
                        self.visit(child, at, files + 1)
                    elif child.is_group:
                        raise NotServed(f"external links through more than {MAX_FILES_DEEP} files")
                except NotServed as why:
                    group.not_served[key] = str(why)
            todo.extend(reversed(below))
        root.session.users -= 1

    def _links(self, target: Target, group: _Group) -> list[tuple[bytes, int]]:
        found: list[tuple[bytes, int]] = []
        try:
            target.oid.links.iterate(lambda name, info: found.append((name, info.type)), info=True)
        except H5_ERRORS as why:
            # Links that were listed before a damaged one still count.
            group.damage = f"the list of its links is damaged: {why}"
        return found

    def _array(self, target: Target) -> ManifestArray:
        found = self.context.describe(target)
        done = self.finished.get(id(found))
        if done is None:
            done, unreadable = complete(found, target, self.dimensions)
            self.finished[id(found)] = done
            if unreadable:
                self.unreadable[id(done)] = unreadable
            if names_no_variable(target):
                self.bare.add(id(done))
        return done

    def _children(
        self,
        step: _Step,
        prefix: str,
        arrays: dict[str, ManifestArray],
        unlisted: dict[str, ManifestArray],
        unsupported: dict[str, str],
    ) -> list[_Step]:
        """Name the arrays of one group, and give the steps into its groups."""
        below = []
        for name, child in self.groups[step.key].children.items():
            at = prefix + name
            if isinstance(child, ManifestArray) and id(child) in self.bare:
                unlisted[at] = child
                unsupported[at] = NO_VARIABLE
            elif isinstance(child, ManifestArray):
                arrays[at] = child
                for attribute, why in self.unreadable.get(id(child), {}).items():
                    unsupported[f"{at}@{attribute}"] = why
            elif step.inside(child):
                unsupported[at] = f"a link back to the group {self.groups[child].path or '/'!r}, which holds it"
            elif step.depth >= MAX_DEPTH:
                unsupported[at] = f"groups nested more than {MAX_DEPTH} deep"
            else:
                below.append(_Step(child, at, step, step.depth + 1))
        return below

    def manifest(self, root: Target) -> ManifestGroup:
        """Name everything that was visited below `root`."""
        arrays: dict[str, ManifestArray] = {}
        unlisted: dict[str, ManifestArray] = {}
        groups: dict[str, Mapping[str, Any]] = {}
        unsupported: dict[str, str] = {}
        links: dict[str, str] = {}
        count = number = 0
        # First one name for everything, then the further names of groups and all below them.
        seen: set[tuple[str, int]] = set()
        todo = [_Step(root.key, "")]
        # A heap by depth, so that the bound cuts the longest paths.
        aliases: list[tuple[int, int, _Step]] = []
        while todo or aliases:
            alias = not todo
            step = heapq.heappop(aliases)[2] if alias else todo.pop()
            group = self.groups[step.key]
            if not alias and step.key in seen:
                number += 1
                heapq.heappush(aliases, (step.depth, number, step))
                continue
            if alias and count >= MAX_ALIASES:
                unsupported[step.path] = f"another name of the group {group.path or '/'!r}: too many to list"
                continue
            seen.add(step.key)
            groups[step.path] = group.attributes
            for name, why in group.unreadable.items():
                unsupported[f"{step.path}@{name}"] = why
            if group.damage is not None:
                unsupported[f"{step.path}/*".lstrip("/")] = group.damage
            prefix = f"{step.path}/" if step.path else ""
            unsupported.update((prefix + name, why) for name, why in group.not_served.items())
            links.update((prefix + name, leads_to) for name, leads_to in group.links.items())
            count += alias * (len(group.not_served) + len(group.children))
            below = self._children(step, prefix, arrays, unlisted, unsupported)
            if alias:
                for further in below:
                    number += 1
                    heapq.heappush(aliases, (further.depth, number, further))
            else:
                todo.extend(reversed(below))
        served = arrays.keys() | groups.keys() if links else set()
        links = {path: leads_to for path, leads_to in links.items() if {path, leads_to} <= served}
        return ManifestGroup(arrays, groups, unsupported, links, unlisted=unlisted)


def attributes_of(target: Target, dimensions: Dimensions) -> tuple[Attributes, dict[str, str]]:
    """Attributes of a group or dataset, without the ones that dimension scales keep for themselves."""
    return read_attributes(
        target.oid,
        skip_internal=dimensions.uses_scales(target),
        unwrap=dimensions.is_netcdf(target.session),
        session=target.session,
    )


def complete(array: ManifestArray, target: Target, dimensions: Dimensions) -> tuple[ManifestArray, dict[str, str]]:
    """The array with its attributes and what its dimensions say of it, and the attributes that cannot be read.

    The file's attributes come before facts of ours (the names of an enum) under the same name.
    """
    attributes, unreadable = attributes_of(target, dimensions)
    if attributes or array.attributes:
        # NetCDF has the names of an enum in its type.
        unseen = array.attributes.keys() - attributes.keys() if dimensions.is_netcdf(target.session) else ()
        both = {**array.attributes, **attributes}
        array = replace(array, attributes=Attributes(both, attributes.typed, unseen))
    if not names_no_variable(target):
        array = as_long_as(array, target, dimensions.shape(target, array.shape))
    names = dimensions.names(target, len(array.shape))
    unreadable = {**array.storage.unreachable(), **unreadable}
    if names is None:
        return array, unreadable
    if LABELS in array.attributes:
        # They are the names of dimensions now.
        array = replace(array, attributes=without(array.attributes, LABELS))
    return replace(array, dimension_names=names), unreadable


def read_all(context: Context) -> ManifestGroup:
    """Everything in the file."""
    walk = _Walk(context)
    top = root(context.main)
    walk.visit(top)
    return walk.manifest(top)
