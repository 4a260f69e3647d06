"""pandas: a frame is its columns, and its index where it is more than a count of rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from packstore.errors import DtypeError, OptionError, message
from packstore.writers.items import item_of, plain_name
from packstore.writers.tree import Tree

__all__ = ["grow"]


def grow(tree: Tree, path: str, value: Any, *, skip: bool) -> None:
    """Add a frame to the tree at `path` as a group of its columns, or a series as one array.

    Raises
    ------
    DtypeError
        A column that numpy holds as objects other than text, or text with missing values.
    OptionError
        Columns whose names are no text, or equal.
    """
    import pandas as pd

    if isinstance(value, pd.Series):
        tree.add(item_of(path, _values(tree, value, path)))
        if not _is_count(value.index):
            tree.lose(path, "the index of the series is not written")
        return
    if not _is_count(value.index):
        names = [n if n is not None else "index" for n in value.index.names]
        if len(names) > 1:
            names = [f"level_{i}" if n == "index" else n for i, n in enumerate(names)]
        value = value.reset_index(names=names)
    if not value.columns.is_unique:
        raise OptionError(
            message("saving", tree.path, path or None, expected="columns of different names", got="equal ones")
        )
    tree.groups[path] = dict(value.attrs)
    for name in value.columns:
        at = f"{path}/{plain_name(name, tree.path)}" if path else plain_name(name, tree.path)
        tree.add(item_of(at, _values(tree, value[name], at)))


def _is_count(index: Any) -> bool:
    import pandas as pd

    return isinstance(index, pd.RangeIndex) and index.start == 0 and index.step == 1 and index.name is None


def _values(tree: Tree, column: Any, name: str) -> Any:
    """A column as numpy has it."""
    import pandas as pd

    if isinstance(column.dtype, pd.StringDtype):
        if column.isna().any():
            hint = "Use fillna or dropna"
            raise DtypeError(
                message("saving", tree.path, name, expected="text in every row", got="missing values", hint=hint)
            )
        return column.to_numpy(dtype=object)
    if isinstance(column.dtype, np.dtype):
        return column.to_numpy()
    found = column.to_numpy()
    if found.dtype.kind == "O" and not all(isinstance(v, str) for v in found):
        hint = "Convert it with astype first"
        expected = "a column that numpy has a type for"
        raise DtypeError(message("saving", tree.path, name, expected=expected, got=f"dtype {column.dtype}", hint=hint))
    return found
