"""pandas: a frame is its columns, and its index where it is more than a count of rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from packstore.errors import DtypeError, OptionError, message
from packstore.writers.items import item_of, plain_name
from packstore.writers.tree import Tree

__all__ = ["grow"]


def grow(tree: Tree, path: str, value: Any, *, skip: bool) -> None:
    """Add a frame to the tree at `path` as a group of its columns; a series as one array, or with its index as two.

    Columns that are called by numbers or by tuples get text for names: ``"0"``, ``"a/b"``.

    Raises
    ------
    DtypeError
        A column that numpy holds as objects other than text, or one with missing values that its type cannot hold.
    OptionError
        Columns of other names, or of equal ones.
    """
    import pandas as pd

    if isinstance(value, pd.Series):
        if path or tree.wants_one or _is_count(value.index):
            tree.add(item_of(path, _values(tree, value, path), tree.path))
            if not _is_count(value.index):
                tree.lose(path, "the index of the series is not written")
            return
        value = value.to_frame("values" if value.name is None else value.name)
    columns = [(name, value.iloc[:, i]) for i, name in enumerate(value.columns)]
    if not _is_count(value.index):
        columns = [*_levels(value.index), *columns]
    tree.groups[path] = dict(value.attrs)
    seen = set()
    for name, column in columns:
        text = plain_name(_text(name), tree.path)
        at = f"{path}/{text}" if path else text
        if at in seen:
            expected = "columns of different names"
            raise OptionError(message("saving", tree.path, path or None, expected=expected, got=f"{text!r} twice"))
        seen.add(at)
        tree.add(item_of(at, _values(tree, column, at), tree.path))
    if any(not isinstance(name, str) for name, _ in columns):
        tree.lose(path, "the names of columns are text, which were numbers or tuples")


def _is_count(index: Any) -> bool:
    import pandas as pd

    return isinstance(index, pd.RangeIndex) and index.start == 0 and index.step == 1 and index.name is None


def _levels(index: Any) -> list[tuple[Any, Any]]:
    """The columns that an index is."""
    unnamed = ["index"] if index.nlevels == 1 else [f"level_{i}" for i in range(index.nlevels)]
    names = [plain if name is None else name for name, plain in zip(index.names, unnamed, strict=True)]
    return [(name, index.get_level_values(i).to_series()) for i, name in enumerate(names)]


def _text(name: Any) -> Any:
    """The name of a column in a tree; what is neither text, a number nor a tuple of such stays what it is."""
    if isinstance(name, tuple):
        parts = [_text(part) for part in name]
        return "/".join(parts) if all(isinstance(part, str) for part in parts) else name
    return str(name) if isinstance(name, (int, np.integer)) and not isinstance(name, bool) else name


def _values(tree: Tree, column: Any, name: str) -> Any:
    """A column as numpy has it."""
    import pandas as pd

    kind = column.dtype
    if isinstance(kind, np.dtype):
        return column.to_numpy()
    is_text = isinstance(kind, pd.StringDtype)
    if (is_text or getattr(kind, "kind", "") in tuple("iub")) and column.isna().any():
        expected, hint = f"{'text' if is_text else 'a value'} in every row", "Use fillna or dropna"
        raise DtypeError(message("saving", tree.path, name, expected=expected, got="missing values", hint=hint))
    if is_text:
        return column.to_numpy(dtype=object)
    if isinstance(kind, pd.DatetimeTZDtype):
        tree.lose(name, f"the time zone {kind.tz}: times are in UTC")
        return column.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()
    found = column.to_numpy()
    if found.dtype.kind == "O" and not all(isinstance(v, str) for v in found):
        hint = "Convert it with astype first"
        expected = "a column that numpy has a type for"
        raise DtypeError(message("saving", tree.path, name, expected=expected, got=f"dtype {kind}", hint=hint))
    if isinstance(kind, pd.CategoricalDtype):
        tree.lose(name, "categories: each element is a value of its own")
    return found
