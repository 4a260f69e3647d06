"""What is saved: a tree of groups, arrays and links. In: whatever a user has, out: a `Tree` of all that belongs to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from packstore.errors import OptionError, message
from packstore.writers.items import Item, item_of, plain_name

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
    """

    items: list[Item] = field(default_factory=list)
    groups: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    single: bool = False
    lost: list[str] = field(default_factory=list)

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


def tree_of(data: Any) -> Tree:
    """The tree that `data` is.

    Raises
    ------
    DtypeError
        Objects that are no text (they would need pickle), or something that is no array.
    OptionError
        Names that are no strings, no plain relative paths, or that clash.
    ShapeError
        A dask array whose chunk sizes are not known.
    """
    if isinstance(data, Tree):
        return data
    if isinstance(data, Mapping):
        items = [item_of(plain_name(name), value) for name, value in data.items()]
    elif isinstance(data, (list, tuple)) and any(hasattr(x, "dtype") and getattr(x, "ndim", 0) for x in data):
        # np.savez's names for arrays without one.
        items = [item_of(f"arr_{i}", value) for i, value in enumerate(data)]
    else:
        return Tree([item_of("", data)], single=True)
    names = {i.name for i in items}
    for name in names:
        parts = name.split("/")
        for i in range(1, len(parts)):
            parent = "/".join(parts[:i])
            if parent in names:
                raise OptionError(message("saving", expected="names that do not nest", got=f"{parent!r} and {name!r}"))
    return Tree(items)
