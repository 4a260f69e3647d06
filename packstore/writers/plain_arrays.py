"""The arrays of a tree for formats of plain arrays (npy, npz, raw): elements of a fixed size."""

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


def plain_items(tree: Tree) -> list[Item]:
    """The arrays of the tree in types that need no pickle: text of any length in text of one length, which is noted.

    Raises
    ------
    DtypeError
        Text that ends with a NUL, which numpy's text of fixed length drops.
    """
    return [_plain(tree, item) if item.is_text else item for item in tree.items]


def _plain(tree: Tree, item: Item) -> Item:
    dtype = np.dtype(f"U{max(_longest(item), 1)}")
    tree.lose(item.name, f"text of any length is text of fixed length ({dtype.str})")
    return replace(item, data=_FixedText(item, dtype), dtype=dtype)


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
