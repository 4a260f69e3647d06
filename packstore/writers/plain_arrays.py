"""What formats of plain arrays (npy, npz, raw) keep of a tree: elements, and text of a fixed length."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from packstore.core.boxes import Box
from packstore.core.typing import Array
from packstore.errors import DtypeError, message
from packstore.storage import regroup
from packstore.writers.chunk_shapes import BLOCK_NBYTES, block_boxes
from packstore.writers.items import Item
from packstore.writers.tree import Tree

__all__ = ["plain_items", "refusal"]


def refusal(item: Item) -> str | None:
    """Why a format of plain arrays cannot hold an array; None where it can."""
    return None if item.is_text or not item.dtype.hasobject else f"dtype {item.dtype}: its elements have no fixed size"


def plain_items(tree: Tree, format: str) -> list[Item]:
    """The arrays of the tree in types that need no pickle; all else is noted in its `lost`.

    Raises
    ------
    DtypeError
        Text that ends with a NUL, which numpy's text of fixed length drops.
    """
    for name, attributes in tree.groups.items():
        if attributes:
            tree.lose(name, f"{_count(attributes, 'attribute')} of the group: {format} has no place for them")
        if name and not any(_has(name, item.name) for item in tree.items):
            tree.lose(name, f"the empty group: {format} holds arrays only")
    for link, target in tree.links.items():
        tree.lose(link, f"a link to {target!r}: {format} has no links")
    return [_plain(tree, item, format) for item in tree.items]


def _has(group: str, name: str) -> bool:
    return name.startswith(f"{group}/")


def _count(things: Any, word: str) -> str:
    return f"{len(things)} {word}{'' if len(things) == 1 else 's'}"


def _plain(tree: Tree, item: Item, format: str) -> Item:
    gone = [_count(item.attributes, "attribute")] if item.attributes else []
    if item.dimension_names is not None and any(item.dimension_names):
        gone.append("the names of dimensions")
    if item.fill_value is not None and _is_something(item.fill_value):
        gone.append("the fill value")
    if item.max_shape is not None:
        gone.append("the room to grow")
    if gone:
        tree.lose(item.name, f"{', '.join(gone)}: {format} has no place for them")
    if not item.is_text:
        return item
    dtype = np.dtype(f"U{max(_longest(item), 1)}")
    tree.lose(item.name, f"text of any length became {dtype.str}")
    return replace(item, data=_FixedText(item, dtype), dtype=dtype)


def _is_something(fill: Any) -> bool:
    return any(np.asarray(fill).tobytes()) if not isinstance(fill, (str, bytes)) else bool(fill)


def _longest(item: Item) -> int:
    """Characters of the longest text."""
    if item.is_dask:
        item = replace(item, data=np.asarray(item.data.compute()))
    longest = 0
    for box in block_boxes(item.shape, regroup(item.shape, item.dtype.itemsize, nbytes=BLOCK_NBYTES)):
        for text in item.get(box).reshape(-1):
            if text.endswith("\0"):
                hint = "Save it as .zarr"
                got = f"{text[-20:]!r}"
                raise DtypeError(
                    message(
                        "saving", None, item.name or None, expected="text without a NUL at its end", got=got, hint=hint
                    )
                )
            longest = max(longest, len(text))
    return longest


class _FixedText:
    """Text of any length as text of one length, block by block."""

    def __init__(self, item: Item, dtype: np.dtype[Any]) -> None:
        self.item = item
        self.shape, self.dtype, self.ndim = item.shape, dtype, len(item.shape)

    def __getitem__(self, box: Box) -> Array:
        return self.item.get(box).astype(self.dtype)
