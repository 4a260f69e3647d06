"""How ``packstore info`` prints what it found: a tree of groups, arrays, attributes and links."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rich.console import Console
from rich.text import Text

from packstore.cli.show import human, plain, shortened

__all__ = ["render"]

# What is left for text of a line, however deep the tree.
MIN_WIDTH = 24


def render(console: Console, result: dict[str, Any]) -> None:
    """The tree: wrapped where the width is known, else each entry on one line of any length."""
    size = "" if result["nbytes"] is None else f", {human(result['nbytes'])}"
    root = Text.assemble((plain(result["path"]), "bold"), f" {result['format']}{size}")
    nodes = _Nodes(root, result["groups"])
    for name in result["groups"]:
        nodes.group(name)
    links = result["links"]
    for name, found in result["arrays"].items():
        if not _linked(name, links):
            nodes.array(name, found)
    for name, target in links.items():
        parent, _, leaf = name.rpartition("/")
        if not _linked(parent, links):
            nodes.group(parent).add(Text.assemble((plain(leaf), "cyan"), f" → {plain(target) or '/'}"))
    for name, reason in result["unsupported"].items():
        if not _linked(name, links):
            nodes.unsupported(name, reason)
    if not (result["arrays"] or result["unsupported"]):
        nodes.tree.add(Text("no arrays"))
    _print(console, nodes.tree)


def _linked(name: str, links: Mapping[str, str]) -> bool:
    """Whether it is shown where a link leads to."""
    return any(name[:i] in links for i, c in enumerate(f"{name}/") if c in "/@")


@dataclass
class _Node:
    """An entry and those below it."""

    label: Text
    below: list[_Node] = field(default_factory=list)

    def add(self, label: Text) -> _Node:
        self.below.append(_Node(label))
        return self.below[-1]


def _print(console: Console, root: _Node) -> None:
    """Print a tree; unlike rich's own it drops no word where the branches alone are wider than the screen."""
    stack = [(root, "", "")]
    while stack:
        node, first, others = stack.pop()
        width = max(console.width - len(first), MIN_WIDTH)
        for index, line in enumerate(node.label.wrap(console, width)):
            line.rstrip()
            console.print(Text.assemble(others if index else first, line), soft_wrap=True)
        for index, child in enumerate(reversed(node.below)):
            branch, trunk = ("├── ", "│   ") if index else ("└── ", "    ")
            stack.append((child, others + branch, others + trunk))


class _Nodes:
    """The branches of the printed tree by path."""

    def __init__(self, root: Text, groups: Mapping[str, Mapping[str, Any]]) -> None:
        self.tree = _Node(root)
        self._groups = groups
        self._nodes = {"": self.tree}
        root.append(_counted(groups.get("", {}), " "))
        _add_attributes(self.tree, groups.get("", {}))

    def group(self, path: str) -> _Node:
        """The branch of a group, with those above it."""
        missing = []
        above = path
        while above not in self._nodes:
            missing.append(above)
            above = above.rpartition("/")[0]
        for name in reversed(missing):
            parent, _, leaf = name.rpartition("/")
            attributes = self._groups.get(name, {})
            label = Text.assemble((plain(leaf), "bold"), "/", _counted(attributes, " "))
            self._nodes[name] = self._nodes[parent].add(label)
            _add_attributes(self._nodes[name], attributes)
        return self._nodes[path]

    def array(self, path: str, found: dict[str, Any]) -> None:
        parent, _, leaf = path.rpartition("/")
        label = Text.assemble((plain(leaf) or "(the array)", "cyan"), " ", ", ".join(_parts(found)))
        label.append(_counted(found["attributes"], ", "))
        if found["zarr_reason"]:
            label.append(f", not as zarr: {plain(found['zarr_reason'])}", "yellow")
        node = self.group(parent).add(label)
        # An array without a name hangs below its file, as does what belongs to the file.
        self._nodes.setdefault(path, node)
        _add_attributes(node, found["attributes"])

    def unsupported(self, path: str, reason: str) -> None:
        # "path@name" is an attribute; names of either may have "/" and "@".
        owners = [path[:i] for i, c in enumerate(path) if c == "@" and path[:i] in self._nodes]
        if owners:
            node, leaf = self._nodes[owners[-1]], path[len(owners[-1]) :]
        else:
            parent, _, leaf = path.rpartition("/")
            node = self.group(parent)
        node.add(Text.assemble((plain(leaf) or "(the array)", "red"), f" not supported: {plain(reason)}"))


def _add_attributes(node: _Node, attributes: Mapping[str, Any]) -> None:
    for name, value in attributes.items():
        node.add(Text.assemble((f"@{plain(name)}", "green"), f" = {shortened(value)}"))


def _parts(found: dict[str, Any]) -> list[str]:
    """What is said of an array, in order."""
    parts = [f"{tuple(found['shape'])} {plain(found['dtype'])}"]
    names = found["dimension_names"]
    if names is not None and any(n is not None for n in names):
        parts.append(f"dimensions ({', '.join('-' if n is None else plain(n) for n in names)})")
    if found["chunk_count"] > 1 or found["layout"] == "chunked":
        shards = "" if found["shards"] is None else f" in shards {tuple(found['shards'])}"
        parts.append(f"chunks {tuple(found['chunks'])}{shards}")
    if found["max_shape"] is not None:
        # As h5py shows it: None for an axis without end.
        parts.append(f"grows to {tuple(found['max_shape'])}")
    if found["filters"]:
        parts.append(" + ".join(plain(f) for f in found["filters"]))
    else:
        parts.append(found["layout"])
    if found["nbytes"] is not None:
        parts.append(human(found["nbytes"]))
    if found["ratio"]:
        parts.append(f"ratio {found['ratio']:g}")
    if found["missing_chunks"]:
        parts.append(f"{found['missing_chunks']} of {found['chunk_count']} chunks never written")
    if _is_set(found["fill_value"]):
        parts.append(f"fill {shortened(found['fill_value'])}")
    return parts


def _is_set(fill: Any) -> bool:
    """Whether a fill value is another than zero, which goes without saying."""
    if fill is None:
        return False
    value = np.asarray(fill)
    return bool(value.tobytes().strip(b"\0")) if value.dtype.kind != "O" else bool(fill)


def _counted(attributes: Mapping[str, Any], before: str) -> str:
    count = len(attributes)
    return f"{before}{count} attribute{'' if count == 1 else 's'}" if count else ""
