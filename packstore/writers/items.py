"""What is saved: arrays in memory, lazy ones and dask arrays behind one interface, and their names."""

from __future__ import annotations

import math
import os
from array import array as machine_array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from packstore.core.boxes import Box
from packstore.core.typing import Array
from packstore.errors import DtypeError, OptionError, ShapeError, message
from packstore.views.lazy import LazyArray
from packstore.views.zarr.dtypes import names
from packstore.views.zarr.fill_values import FILL_VALUE, decode_fill_value
from packstore.views.zarr.text import as_text, decoding

__all__ = ["TEXT", "Item", "Put", "as_declared", "item_of", "plain_name", "portable_attributes"]

# Text of any length, as h5py's metadata has it.
TEXT: np.dtype[Any] = np.dtype("O", metadata={"vlen": str})

# Writes the elements of one box; what it returns is for the caller of `write_blocks`.
Put = Callable[[Box, Array], Any]


@dataclass(frozen=True, eq=False)
class Item:
    """One array to write.

    Parameters
    ----------
    name
        "" for a file that is one array.
    data
        Anything with ``shape``, ``dtype`` and basic slicing.
    attributes
        In the types in which they are to be stored, as far as the format has them.
    dimension_names
        One name (or None) an axis, or None.
    fill_value
        What elements that are never written hold; None: zero.
    chunk_shape, max_shape, shard_shape
        The source's own chunks, how far its axes may grow (None for without end), and its shards; None where it has
        none.
    path
        The target, for errors.
    stays_here
        The target lies where other machines do not see it: the workers of a distributed scheduler send their blocks to
        this process, which writes them.
    """

    name: str
    data: Any
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    dimension_names: tuple[str | None, ...] | None = None
    fill_value: Any = None
    chunk_shape: tuple[int, ...] | None = None
    max_shape: tuple[int | None, ...] | None = None
    shard_shape: tuple[int, ...] | None = None
    path: str | None = None
    stays_here: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def is_text(self) -> bool:
        """Whether elements are strings of any length."""
        return names.is_text(self.dtype)

    @property
    def is_dask(self) -> bool:
        """Whether it is computed while it is written."""
        return hasattr(self.data, "__dask_graph__")

    @property
    def fortran(self) -> bool:
        """Whether it lies in memory in Fortran order, which npy can keep."""
        flags = getattr(self.data, "flags", None)
        return isinstance(self.data, np.ndarray) and bool(flags is not None and flags.fnc)

    @staticmethod
    def _read_texts(lazy: LazyArray, values: Any) -> Any:
        """Text of a saved file: what was never written (None, 0) is empty, and bytes are what the caller says."""
        options = dict(getattr(lazy.location, "options", ()))
        chosen = "encoding" in options or "errors" in options
        decode = decoding(lazy.location, lazy.component)

        def one(value: Any) -> Any:
            return value if isinstance(value, bytes) and not chosen else as_text(value, decode)

        return np.vectorize(one, otypes=[object])(np.asarray(values, dtype=object))

    def get(self, box: Box) -> Array:
        """The elements of `box` in memory; ``()`` for a 0-d array."""
        shape = tuple(s.stop - s.start for s in box)
        values = self.data[box]
        if self.is_text and isinstance(self.data, LazyArray):
            values = self._read_texts(self.data, values)
        return as_declared(values, self.dtype, shape, self.name, self.path)


def as_declared(
    values: Any, dtype: np.dtype[Any], shape: tuple[int, ...], name: str = "", path: str | None = None
) -> Array:
    """A computed or sliced block as a plain array of the type and shape that was announced for it.

    Raises
    ------
    DtypeError
        A masked array, or elements that `dtype` cannot hold unchanged.
    ShapeError
        Another shape.
    """
    if isinstance(values, np.ma.MaskedArray):
        raise _masked(name, path)
    if names.is_text(dtype):
        return _texts(values, shape, name, path)
    array = np.asarray(values)
    if array.dtype != dtype:
        if array.dtype.hasobject or not np.can_cast(array.dtype, dtype, "safe"):
            raise DtypeError(
                message(
                    "saving",
                    path,
                    name or None,
                    expected=f"blocks of dtype {dtype}, as the array declares",
                    got=array.dtype,
                    hint="Use astype",
                )
            )
        array = array.astype(dtype)
    if array.shape != shape:
        raise ShapeError(message("saving", path, name or None, expected=f"a block of shape {shape}", got=array.shape))
    return array


def plain_name(name: Any, path: str | None = None) -> str:
    """`name`, which is a relative path of plain parts; raises OptionError for any other."""
    if not isinstance(name, str):
        raise OptionError(message("saving", path, expected="names to be str", got=repr(name)))
    if "\\" in name or "\0" in name or any(part.strip(".") == "" for part in name.split("/")):
        raise OptionError(message("saving", path, expected="names of plain parts joined by /", got=repr(name)))
    try:
        name.encode()
    except UnicodeEncodeError:
        raise OptionError(message("saving", path, expected="names in Unicode", got=repr(name))) from None
    return name


def item_of(name: str, value: Any, path: str | None = None) -> Item:
    """One array-like as an `Item`.

    Raises
    ------
    DtypeError
        Objects other than text, a mask, a sparse array, or something that is no array.
    ShapeError
        A dask array whose chunk sizes are not known.
    """
    attributes = getattr(value, "attrs", None)
    plain = dict(attributes) if attributes is not None and hasattr(attributes, "keys") else {}
    value = _array_like(name, value, path)
    dtype = np.dtype(value.dtype)
    if dtype.kind == "T" or (dtype.kind == "O" and dtype.names is None and _item_type(dtype) is None):
        value, dtype = _text_like(name, value, path), TEXT
    elif dtype.metadata is not None and dtype.names is None and not dtype.hasobject:
        # h5py's notes on enums; files have no place for them and numpy warns.
        dtype = np.dtype(dtype.str)
    if any(n != n for n in value.shape):  # dask writes an unknown length as NaN
        raise ShapeError(
            message(
                "saving",
                path,
                name or None,
                expected="known chunk sizes",
                got=f"shape {value.shape}",
                hint="Call compute_chunk_sizes() on it",
            )
        )
    return Item(name, value, tuple(int(n) for n in value.shape), dtype, plain)


def portable_attributes(attributes: Mapping[str, Any], dtype: np.dtype[Any] | None = None) -> dict[str, Any]:
    """The attributes of a saved array, without what one format writes in its own way.

    Examples
    --------
    >>> portable_attributes({"_FillValue": "AAAAAAAA+H8="}, np.dtype("f8"))
    {'_FillValue': np.float64(nan)}
    """
    plain = dict(attributes)
    value = plain.get(FILL_VALUE)
    if dtype is not None and isinstance(value, (str, list)):
        found = decode_fill_value(value, dtype)
        if dtype.kind == "f" and found is not value:
            plain[FILL_VALUE] = dtype.type(found)
        elif dtype.kind == "c" and found != value:
            plain[FILL_VALUE] = dtype.type(complex(*found))
    return plain


def _item_type(dtype: np.dtype[Any]) -> Any:
    """What h5py's metadata says of the objects; None without any."""
    return dict(dtype.metadata or {}).get("vlen")


def _text_like(name: str, value: Any, path: str | None) -> Any:
    """An array of objects that are all text; of a lazy one the blocks are checked as they come."""
    if isinstance(value, np.ndarray):
        _texts(value, value.shape, name, path)
    return value


def _texts(values: Any, shape: tuple[int, ...], name: str, path: str | None) -> Array:
    """Objects that are all text, bytes decoded as UTF-8."""
    # One element is a str, of which numpy would make text of fixed length.
    given = np.asarray(values, object if isinstance(values, (str, bytes)) else None)
    array = np.empty(given.shape, object)
    flat = array.reshape(-1)
    for i, value in enumerate(given.astype(object).reshape(-1)):
        if isinstance(value, bytes):
            value = value.decode("utf-8", "surrogateescape")
        elif not isinstance(value, str):
            hint = "Fill missing text first" if value is None or value != value else "Convert it with astype"
            expected, got = "text, or elements of a fixed size", f"dtype object ({type(value).__name__} {value!r})"
            raise DtypeError(message("saving", path, name or None, expected=expected, got=got, hint=hint))
        flat[i] = value
    if array.shape != shape:
        raise ShapeError(message("saving", path, name or None, expected=f"a block of shape {shape}", got=array.shape))
    return array


def as_graph(array: Any) -> Any:
    """An array that is an expression ("array.query-planning", dask-array) as one of dask's that is a graph.

    Only those have blocks that can be taken one by one.
    """
    # Function-level, for import time.
    from dask.array.core import Array
    from dask.highlevelgraph import HighLevelGraph

    found = array.optimize() if hasattr(array, "optimize") else array
    keys = found.__dask_keys__()
    while isinstance(keys[0], list):
        keys = keys[0]
    name = keys[0][0]
    graph = HighLevelGraph.from_collections(name, dict(found.__dask_graph__()))
    return Array(graph, name, array.chunks, meta=array._meta)


def _array_like(name: str, value: Any, path: str | None) -> Any:
    """`value`, or the array it wraps or converts to."""
    if hasattr(value, "__dask_graph__"):
        if not (hasattr(value, "chunks") and hasattr(value, "dtype")):
            raise _no_array(name, value, path)
        if isinstance(value._meta, np.ma.MaskedArray):
            raise _masked(name, path)
        if not isinstance(value._meta, np.ndarray):
            raise _no_array(name, value._meta, path)
        return as_graph(value) if hasattr(value, "expr") else value
    if isinstance(value, np.ma.MaskedArray):
        raise _masked(name, path)
    if hasattr(value, "todense") or hasattr(value, "toarray"):
        raise DtypeError(
            message("saving", path, name or None, expected="a dense array", got=type(value).__name__, hint="Densify it")
        )
    sliced = (
        hasattr(value, "shape") and isinstance(getattr(value, "dtype", None), np.dtype) and hasattr(value, "ndim")
    ) and hasattr(value, "__getitem__")
    # numpy's scalars do not slice.
    if sliced and not isinstance(value, np.generic):
        return np.asarray(value) if isinstance(value, np.matrix) else value
    if isinstance(value, (str, os.PathLike)) and os.path.lexists(value):
        hint = "Open it first, with packstore.open"
        raise DtypeError(
            message("saving", path, name or None, expected="an array", got=f"the path {value!r}", hint=hint)
        )
    if not _converts(value):
        raise _no_array(name, value, path)
    try:
        return np.asarray(value)
    except (ValueError, TypeError) as error:
        raise DtypeError(
            message("saving", path, name or None, expected="an array", got=f"{type(value).__name__}: {error}")
        ) from None


# What tells numpy how a value lies in memory; Python 3.11 shows buffers by their types only.
_PROTOCOLS = ("__array__", "__array_interface__", "__array_struct__", "__dlpack__", "__buffer__")
_VALUES = (bool, int, float, complex, str, bytes, bytearray, memoryview, machine_array, np.generic, range)


def _converts(value: Any) -> bool:
    """Whether numpy has a value for it: an array of another package, a number, text, or nested lists of such."""
    if isinstance(value, (list, tuple)):
        # One of each type: lists of numbers are long.
        return all(_converts(v) for v in {type(v): v for v in value}.values())
    return (
        isinstance(value, _VALUES)
        or any(hasattr(type(value), name) for name in _PROTOCOLS)
        or not hasattr(value, "__iter__")
    )


def _masked(name: str, path: str | None) -> DtypeError:
    return DtypeError(
        message(
            "saving",
            path,
            name or None,
            expected="an array without a mask",
            got="a masked array",
            hint="Save .filled(...), or .data and .mask as two arrays",
        )
    )


def _no_array(name: str, value: Any, path: str | None) -> DtypeError:
    kind = type(value)
    return DtypeError(
        message("saving", path, name or None, expected="an array", got=f"{kind.__module__}.{kind.__name__}")
    )
