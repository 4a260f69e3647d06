"""What the tests of HDF5 targets share: trees made by hand, and files written from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from packstore.writers.hdf5 import write
from packstore.writers.items import Item
from packstore.writers.progress import NoProgress
from packstore.writers.tree import Tree

Write = Callable[..., tuple[Path, list[str]]]


def item(name: str, data: Any, dims: tuple[str | None, ...] | None = None, **facts: Any) -> Item:
    """An array in memory with its names and facts."""
    array = np.asarray(data)
    return Item(name, array, array.shape, array.dtype, dimension_names=dims, **facts)


@pytest.fixture(name="written")
def fixture_written(tmp_path: Path) -> Write:
    """Writes items, groups and links into ``x.nc``; gives the path and what was lost."""

    def make(*items: Item, path: str = "x.nc", base: Path | None = None, **options: Any) -> tuple[Path, list[str]]:
        tree = Tree(list(items), options.pop("groups", {}), options.pop("links", {}))
        target = tmp_path / path
        write(target, tree, NoProgress(), base=base, **options)
        return target, tree.lost

    return make
