"""A file's tree: every name of every dataset, whatever links lead to it.

Objects are visited once and then named as often as links name them: hard links to one dataset share one
ManifestArray, and a group that is reachable by several names shows its datasets under each. A link back to a group
that holds it is cut there, and a bound keeps trees of shared groups from naming more paths than anybody could list.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from h5py import h5g, h5l

from packstore.errors import ExternalFileError
from packstore.readers.hdf5.attributes import read_attributes
from packstore.readers.hdf5.context import Context, Refused
from packstore.readers.hdf5.files import H5_ERRORS
from packstore.readers.hdf5.links import LinkFailure, Target, follow, text
from packstore.readers.hdf5.netcdf import Dimensions
from packstore.storage import ManifestArray, ManifestGroup

__all__ = ["read_all", "read_one"]

# Paths that exist only because a group has several names.
MAX_ALIASES = 20_000
MAX_DEPTH = 1000
MAX_FILES_DEEP = 16

Child = ManifestArray | Refused | tuple[str, int]


@dataclass
class _Group:
    """A group: what its links lead to, by name. A pair is the key of another group."""

    path: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    children: dict[str, Child] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    damage: str | None = None


@dataclass(frozen=True)
class _Step:
    """A name of a group, and the groups above it by this path."""

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
        self.dimensions = Dimensions(context)
        self.unreadable: dict[int, dict[str, str]] = {}
        self.finished: dict[int, ManifestArray] = {}

    def visit(self, root: Target, path: str = "", files: int = 0) -> None:
        """Visit all objects below `root`, depth first without recursion: trees may be deeper than Python's stack."""
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
                child = self._child(target, name, kind)
                key = text(name)
                at = f"{path}/{key}"
                if isinstance(child, Refused):
                    group.children[key] = child
                elif child.is_group:
                    group.children[key] = child.key
                    if child.session is target.session:
                        below.append((child, at))
                    elif files < MAX_FILES_DEEP:
                        # At once, so that the other file need not stay open.
                        self.visit(child, at, files + 1)
                    else:
                        group.children[key] = Refused(f"external links through more than {MAX_FILES_DEEP} files")
                elif self.context.is_dataset(child):
                    group.children[key] = self._array(child, key)
            todo.extend(reversed(below))
        root.session.users -= 1

    def _links(self, target: Target, group: _Group) -> list[tuple[bytes, int]]:
        found: list[tuple[bytes, int]] = []
        try:
            target.oid.links.iterate(lambda name, info: found.append((name, info.type)), info=True)
        except H5_ERRORS as why:
            # A damaged index: what was listed before the damage still counts.
            group.damage = f"the list of its links is damaged: {why}"
        return found

    def _child(self, group: Target, name: bytes, kind: int) -> Target | Refused:
        if b"/" in name or not name:
            return Refused(f"the name {text(name)!r}, which no path can spell")
        try:
            if kind == h5l.TYPE_HARD:
                return follow(group, name)
            return self.context.linker.step(group, name)
        except LinkFailure as why:
            return Refused(f"dangling {self._what(group, name, kind)}: {why}")
        except ExternalFileError as why:
            return Refused(why)
        except H5_ERRORS as why:
            # Whatever is damaged behind one link, the others still lead somewhere.
            return Refused(f"{self._what(group, name, kind)} to an object that h5py does not open: {why}")

    def _what(self, group: Target, name: bytes, kind: int) -> str:
        try:
            return self.context.linker.describe(group, name, kind)
        except H5_ERRORS:  # a damaged link value
            return "link"

    def _array(self, target: Target, name: str) -> Child:
        found = self.context.describe(target)
        if isinstance(found, Refused):
            return found
        done = self.finished.get(id(found))
        if done is None:
            done, unreadable = with_attributes(found, target, self.dimensions, name)
            self.finished[id(found)] = done
            if unreadable:
                self.unreadable[id(done)] = unreadable
        return done

    def manifest(self, root: Target) -> ManifestGroup:
        """Name everything that was visited below `root`."""
        arrays: dict[str, ManifestArray] = {}
        groups: dict[str, Mapping[str, Any]] = {}
        unsupported: dict[str, str] = {}
        named: dict[int, ManifestArray] = {}
        count = number = 0
        # First one name for everything, then the further names of groups and all below them.
        seen: set[tuple[str, int]] = set()
        todo = [_Step(root.key, "")]
        # By depth, so that the bound cuts the longest paths.
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
            below = []
            for name, child in group.children.items():
                at = f"{step.path}/{name}" if step.path else name
                count += alias
                if isinstance(child, Refused):
                    unsupported[at] = str(child)
                elif isinstance(child, ManifestArray):
                    if id(child) not in named:
                        named[id(child)] = self.dimensions.named(child)
                    arrays[at] = named[id(child)]
                    for attribute, why in self.unreadable.get(id(child), {}).items():
                        unsupported[f"{at}@{attribute}"] = why
                elif step.inside(child):
                    unsupported[at] = f"a link back to the group {self.groups[child].path or '/'!r}, which holds it"
                elif step.depth >= MAX_DEPTH:
                    unsupported[at] = f"groups nested more than {MAX_DEPTH} deep"
                else:
                    below.append(_Step(child, at, step, step.depth + 1))
            if alias:
                for further in below:
                    number += 1
                    heapq.heappush(aliases, (further.depth, number, further))
            else:
                todo.extend(reversed(below))
        return ManifestGroup(arrays, groups, unsupported)


def attributes_of(target: Target, dimensions: Dimensions) -> tuple[dict[str, Any], dict[str, str]]:
    """Attributes of a group or dataset, without what dimension scales keep for themselves."""
    found, unreadable = read_attributes(
        target.oid,
        skip_internal=dimensions.uses_scales(target),
        unwrap=dimensions.is_netcdf(target.session),
        session=target.session,
    )
    return found, unreadable


def with_attributes(
    array: ManifestArray, target: Target, dimensions: Dimensions, name: str
) -> tuple[ManifestArray, dict[str, str]]:
    """The array with its attributes, which come before facts of ours (the names of an enum) under the same name."""
    attributes, unreadable = attributes_of(target, dimensions)
    if attributes or array.attributes:
        array = replace(array, attributes={**array.attributes, **attributes})
    dimensions.collect(array, target, name)
    return array, unreadable


def read_all(context: Context) -> ManifestGroup:
    """Everything in the file."""
    walk = _Walk(context)
    root = context.linker.root(context.main)
    walk.visit(root)
    return walk.manifest(root)


def read_one(context: Context, component: str) -> ManifestGroup:
    """One array, by any path that leads to it; nothing else is described."""
    path = component.encode("utf-8", "surrogateescape")
    root = context.linker.root(context.main)
    try:
        target = context.linker.resolve(root, b"/" + path)
    except LinkFailure as why:
        linked = _link_at(context, root, path)
        return ManifestGroup({}, {}, {component: f"dangling {linked}: {why}"} if linked else {})
    except ExternalFileError as why:
        return ManifestGroup({}, {}, {component: str(why)})
    except H5_ERRORS as why:
        # Damage on the way to the object.
        return ManifestGroup({}, {}, {component: f"h5py does not open it: {why}"})
    dimensions = Dimensions(context)
    if isinstance(target.oid, h5g.GroupID):
        attributes, unreadable = attributes_of(target, dimensions)
        return ManifestGroup({}, {component: attributes}, {f"{component}@{k}": v for k, v in unreadable.items()})
    if not context.is_dataset(target):
        return ManifestGroup({})
    found = context.describe(target)
    if isinstance(found, Refused):
        return ManifestGroup({}, {}, {component: str(found)})
    array, unreadable = with_attributes(found, target, dimensions, text(target.path.rpartition(b"/")[2]))
    return ManifestGroup(
        {component: dimensions.named(array)}, {}, {f"{component}@{k}": v for k, v in unreadable.items()}
    )


def _link_at(context: Context, root: Target, path: bytes) -> str | None:
    """What the last link of `path` is, where there is one."""
    parent, _, name = path.rpartition(b"/")
    try:
        group = context.linker.resolve(root, b"/" + parent)
        if group.is_group and group.oid.links.exists(name):
            return context.linker.describe(group, name, group.oid.links.get_info(name).type)
    except (LinkFailure, ExternalFileError, *H5_ERRORS):  # the way there is broken itself
        return None
    return None
