"""What is saved: arrays in memory, lazy ones and dask arrays behind one interface, and their names."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from packstore.core.boxes import Box
from packstore.core.typing import Array
from packstore.errors import DtypeError, OptionError, ShapeError, message

__all__ = ["Item", "Put", "as_declared", "item_of", "plain_name"]

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
    chunk_shape, max_shape
        The source's own chunks, and how far its axes may grow (None for without end); None where it has none.
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

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def is_dask(self) -> bool:
        """Whether it is computed while it is written."""
        return hasattr(self.data, "__dask_graph__")

    @property
    def fortran(self) -> bool:
        """Whether it lies in memory in Fortran order, which npy can keep."""
        flags = getattr(self.data, "flags", None)
        return isinstance(self.data, np.ndarray) and bool(flags is not None and flags.fnc)

    def get(self, box: Box) -> Array:
        """The elements of `box` in memory; ``()`` for a 0-d array."""
        shape = tuple(s.stop - s.start for s in box)
        return as_declared(self.data[box], self.dtype, shape, self.name)


def as_declared(values: Any, dtype: np.dtype[Any], shape: tuple[int, ...], name: str = "") -> Array:
    """A computed or sliced block as a plain array of the type and shape that was announced for it.

    Raises
    ------
    DtypeError
        A masked array, or elements that `dtype` cannot hold unchanged.
    ShapeError
        Another shape.
    """
    if isinstance(values, np.ma.MaskedArray):
        raise _masked(name)
    # One element of text is a str, of which numpy would make text of fixed length.
    array = np.asarray(values, dtype if isinstance(values, (str, bytes)) and dtype.kind in "TO" else None)
    if array.dtype != dtype:
        if array.dtype.hasobject or not np.can_cast(array.dtype, dtype, "safe"):
            raise DtypeError(
                message(
                    "saving",
                    None,
                    name or None,
                    expected=f"blocks of dtype {dtype}, as the array declares",
                    got=array.dtype,
                    hint="Use astype",
                )
            )
        array = array.astype(dtype)
    if array.shape != shape:
        raise ShapeError(message("saving", None, name or None, expected=f"a block of shape {shape}", got=array.shape))
    return array


def plain_name(name: Any) -> str:
    """`name`, which is a relative path of plain parts; raises OptionError for any other."""
    if not isinstance(name, str):
        raise OptionError(message("saving", expected="names to be str", got=repr(name)))
    if "\\" in name or "\0" in name or any(part.strip(".") == "" for part in name.split("/")):
        raise OptionError(message("saving", expected="names of plain parts joined by /", got=repr(name)))
    try:
        name.encode()
    except UnicodeEncodeError:
        raise OptionError(message("saving", expected="names in Unicode", got=repr(name))) from None
    return name


def item_of(name: str, value: Any) -> Item:
    """One array-like as an `Item`; raises DtypeError or ShapeError for what cannot be saved."""
    attributes = getattr(value, "attrs", None)
    plain = dict(attributes) if attributes is not None and hasattr(attributes, "keys") else {}
    value = _array_like(name, value)
    dtype = np.dtype(value.dtype)
    if dtype.metadata is not None and dtype.names is None:
        # h5py's notes on enums; files have no place for them and numpy warns.
        dtype = np.dtype(dtype.str)
    if dtype.hasobject:
        raise DtypeError(
            message("saving", None, name or None, expected="elements of a fixed size", got=f"dtype {dtype}")
        )
    if any(n != n for n in value.shape):  # dask writes an unknown length as NaN
        raise ShapeError(
            message(
                "saving",
                None,
                name or None,
                expected="known chunk sizes",
                got=f"shape {value.shape}",
                hint="Call compute_chunk_sizes() on it",
            )
        )
    return Item(name, value, tuple(int(n) for n in value.shape), dtype, plain)


def _array_like(name: str, value: Any) -> Any:
    """`value`, or the array it wraps or converts to."""
    home = type(value).__module__.partition(".")[0]
    if home == "xarray" and hasattr(value, "dims"):
        value = value.data
    if hasattr(value, "__dask_graph__"):
        if not (hasattr(value, "chunks") and hasattr(value, "dtype")):
            raise _no_array(name, value)
        if isinstance(value._meta, np.ma.MaskedArray):
            raise _masked(name)
        if not isinstance(value._meta, np.ndarray):
            raise _no_array(name, value._meta)
        return value
    if isinstance(value, np.ma.MaskedArray):
        raise _masked(name)
    if hasattr(value, "todense") or hasattr(value, "toarray"):
        raise DtypeError(
            message("saving", None, name or None, expected="a dense array", got=type(value).__name__, hint="Densify it")
        )
    sliced = (
        hasattr(value, "shape") and isinstance(getattr(value, "dtype", None), np.dtype) and hasattr(value, "ndim")
    ) and hasattr(value, "__getitem__")
    # pandas slices by label, numpy's scalars not at all.
    if sliced and home != "pandas" and not isinstance(value, np.generic):
        return np.asarray(value) if isinstance(value, np.matrix) else value
    try:
        return np.asarray(value)
    except (ValueError, TypeError) as error:
        raise DtypeError(
            message("saving", None, name or None, expected="an array", got=f"{type(value).__name__}: {error}")
        ) from None


def _masked(name: str) -> DtypeError:
    return DtypeError(
        message(
            "saving",
            None,
            name or None,
            expected="an array without a mask",
            got="a masked array",
            hint="Save .filled(...), or .data and .mask as two arrays",
        )
    )


def _no_array(name: str, value: Any) -> DtypeError:
    kind = type(value)
    return DtypeError(
        message("saving", None, name or None, expected="an array", got=f"{kind.__module__}.{kind.__name__}")
    )
