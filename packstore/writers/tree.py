"""What is saved: a tree of groups, arrays and links. In: whatever a user has, out: a `Tree` of what belongs to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from packstore.core.keys import parent_paths
from packstore.errors import OptionError, message
from packstore.writers.items import Item, item_of, plain_name
from packstore.writers.sources import source_of

__all__ = ["SaveReport", "Tree", "tree_of"]


@dataclass(eq=False)
class Tree:
    """Everything that one `save` writes.

    Parameters
    ----------
    items
        The arrays; their names are paths in the tree ("" for a tree that is one array).
    groups
        Path to attributes, "" for the root. Groups that only hold arrays need not be listed.
    links
        Path of a soft link to the path of the array or group that it leads to, which is part of the tree.
    single
        Whether this is one array without a name.
    lost
        What the source has and cannot be written, a line each; a writer adds what its format cannot hold.
    wants_one
        Whether the target holds one array.
    path
        The target, for errors: while it is written it has another name.
    """

    items: list[Item] = field(default_factory=list)
    groups: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    single: bool = False
    lost: list[str] = field(default_factory=list)
    wants_one: bool = False
    path: str = ""

    def add(self, item: Item) -> None:
        """Add an array; one without a name makes this a tree of one array."""
        self.items.append(replace(item, path=self.path or None))
        self.single = not item.name

    def graft(self, part: Tree, path: str, inside: str = "") -> None:
        """Add another tree at `path`, of which only what lies at `inside` is wanted."""

        def moved(name: str) -> str:
            rest = name[len(inside) :].strip("/") if inside else name
            return "/".join(p for p in (path, rest) if p)

        for item in part.items:
            self.add(replace(item, name=moved(item.name)))
        self.groups.update({moved(name): attributes for name, attributes in part.groups.items()})
        self.links.update({moved(name): moved(target) for name, target in part.links.items()})
        self.lost += part.lost

    def describe(self, attributes: Mapping[str, Any]) -> None:
        """Add attributes of the one array, or of the root.

        Raises
        ------
        OptionError
            No mapping of names.
        """
        if not isinstance(attributes, Mapping):
            raise OptionError(
                message("saving", self.path or None, expected="attributes= to be a dict", got=repr(attributes))
            )
        if self.single:
            (item,) = self.items
            self.items = [replace(item, attributes={**item.attributes, **attributes})]
        else:
            self.groups[""] = {**self.groups.get("", {}), **attributes}

    def name_axes(self, names: Any) -> None:
        """Name the axes of the one array, or of those in a dict by their names.

        Raises
        ------
        OptionError
            Other arrays than those of the tree, or not one name (or None) an axis.
        """
        given = {"": names} if self.single else names
        if not isinstance(given, Mapping):
            expected = "dimension_names= to be a dict by the names of the arrays"
            raise OptionError(message("saving", self.path or None, expected=expected, got=repr(names)))
        items = {item.name: item for item in self.items}
        for name, axes in given.items():
            item = items.get(str(name).strip("/"))
            if item is None:
                raise OptionError(
                    message("naming axes of", self.path or None, expected=f"one of {', '.join(items)}", got=repr(name))
                )
            good = isinstance(axes, (list, tuple)) and all(a is None or (isinstance(a, str) and a) for a in axes)
            if not good or len(axes) != len(item.shape):
                expected = f"{len(item.shape)} names"
                raise OptionError(
                    message("naming axes of", self.path or None, item.name or None, expected=expected, got=repr(axes))
                )
            items[item.name] = replace(item, dimension_names=tuple(axes))
        self.items = list(items.values())

    def check(self) -> None:
        """Hold names against each other.

        Raises
        ------
        OptionError
            Two arrays of one name, or something below an array.
        """
        names = {item.name for item in self.items}
        if len(names) < len(self.items):
            twice = sorted(n for n in names if sum(item.name == n for item in self.items) > 1)
            raise OptionError(
                message("saving", self.path or None, expected="a name for each array", got=f"{twice[0]!r} twice")
            )
        for name in (*names, *self.groups, *self.links):
            for parent in parent_paths(name):
                if parent in names and name:
                    raise OptionError(
                        message(
                            "saving",
                            self.path or None,
                            expected="names that do not nest",
                            got=f"{parent!r} and {name!r}",
                        )
                    )
        if self.single:
            self.groups.pop("", None)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return sum(item.nbytes for item in self.items)

    def lose(self, name: str, what: str) -> None:
        """Note that something of the node `name` is not written."""
        self.lost.append(f"[{name}] {what}" if name else what)


@dataclass(frozen=True)
class SaveReport:
    """What `save` wrote.

    Attributes
    ----------
    path, format
        The target.
    arrays
        Paths of the arrays that were written ("" for a target that is one array).
    lost
        What the target cannot hold and so was not written, a line each; empty where nothing was lost.
    """

    path: str
    format: str
    arrays: tuple[str, ...]
    lost: tuple[str, ...]


def tree_of(
    data: Any,
    *,
    attributes: Mapping[str, Any] | None = None,
    dimension_names: Any = None,
    skip_unsupported: bool = False,
    wants_one: bool = False,
    path: str = "",
) -> Tree:
    """The tree that `data` is.

    Parameters
    ----------
    attributes
        Further attributes of the array, or of the root group.
    dimension_names
        Names for the axes of the array; for several arrays a dict by their names.
    skip_unsupported
        Leave out what cannot be read, with a line in `Tree.lost`.
    wants_one
        The target holds one array: what may be one or several is one.
    path
        The target, for errors.

    Raises
    ------
    DtypeError
        Objects that are no text (they would need pickle), or something that is no array.
    OptionError
        Names that are no strings, no plain relative paths, or that clash.
    ShapeError
        A dask array whose chunk sizes are not known.
    UnsupportedError
        Something in a file or store that cannot be read.
    """
    if isinstance(data, Tree):
        tree = data
        tree.path = path
    else:
        tree = Tree(wants_one=wants_one, path=path)
        _grow(tree, "", data, skip_unsupported)
    if attributes is not None:
        tree.describe(attributes)
    if dimension_names is not None:
        tree.name_axes(dimension_names)
    tree.check()
    return tree


def _grow(tree: Tree, path: str, value: Any, skip: bool) -> None:
    source = source_of(value)
    if source is not None:
        source.grow(tree, path, value, skip=skip)
    elif isinstance(value, Mapping):
        tree.groups[path] = {}
        for name, child in value.items():
            _grow(
                tree,
                f"{path}/{plain_name(name, tree.path or None)}" if path else plain_name(name, tree.path or None),
                child,
                skip,
            )
    elif isinstance(value, (list, tuple)) and any(_is_array(x) for x in value):
        # np.savez's names for arrays without one.
        _grow(tree, path, {f"arr_{i}": child for i, child in enumerate(value)}, skip)
    else:
        tree.add(item_of(path, value, tree.path or None))


def _is_array(value: Any) -> bool:
    return source_of(value) is not None or (hasattr(value, "dtype") and bool(getattr(value, "ndim", 0)))
