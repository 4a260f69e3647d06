"""LazyArray: the direct path. Indexes like a numpy array, reads only what it is asked for, pickles as a path."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from packstore.core.selection import basic_selection, is_basic
from packstore.errors import SelectionError, StaleFileError, message
from packstore.readers import Location, find_array, locate
from packstore.storage import ManifestArray

__all__ = ["LazyArray", "open_lazy"]


class LazyArray:
    """An array in a file, read when it is indexed.

    Parameters
    ----------
    location
        The file and how to read it.
    component
        The array in it ("" for a file that is one array).
    array
        Its manifest; looked up (once a process) where None.

    Notes
    -----
    It has neither ``copy`` nor ``__array_function__``: with both, ``dask.array.from_array`` would read the whole file
    to build a graph. Pickling costs the path, whatever the array's size; the process that unpickles opens the file
    again and raises ``StaleFileError`` where it changed. Thread safe.

    Examples
    --------
    >>> import numpy as np, packstore, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "x.npy"
    >>> np.save(path, np.arange(12).reshape(3, 4))
    >>> open_lazy(path)[1, ::2]
    array([4, 6])
    """

    def __init__(self, location: Location, component: str, array: ManifestArray | None = None) -> None:
        self.location = location
        self.component = component
        self._array = array
        if array is None:
            self._array = array = find_array(location, component)[1]
        self.shape: tuple[int, ...] = array.shape
        self.dtype: np.dtype[Any] = array.dtype
        # Elements of a local file as they lie there: indexing goes straight to the mapping.
        self._view = array.storage.view(array)

    @property
    def array(self) -> ManifestArray:
        """The manifest behind it."""
        assert self._array is not None
        return self._array

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements, decoded."""
        return self.size * self.dtype.itemsize

    @property
    def chunks(self) -> tuple[int, ...]:
        """Chunk shape, as zarr and h5py give it."""
        return self.array.chunk_shape

    @property
    def attrs(self) -> Mapping[str, Any]:
        """The array's attributes."""
        return self.array.attributes

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        """Elements at `key`, with numpy's meaning.

        Returns
        -------
        ndarray or scalar
            A read-only view of the mapped file where nothing is to decode; copy it before changing it.

        Raises
        ------
        SelectionError
            Out of bounds, or too many indices.
        StaleFileError, TruncatedFileError, CorruptDataError, ChecksumError
            The stored bytes are not what the index says.
        """
        view = None if self._view is None else self._view()
        if view is not None:
            try:
                return view[key]
            except (IndexError, TypeError, ValueError) as error:
                raise SelectionError(message("indexing", self.location.path, got=error)) from None
        if is_basic(key):
            box, after = basic_selection(key, self.shape)
            array = self.array
            out = array.storage.read(array, box)
            return out if after is None else out[after]
        return self._advanced(key)

    def count_nonzero(self, axis: int | tuple[int, ...] | None = None) -> Any:
        """How many elements are not zero (or not empty), as `numpy.count_nonzero` has it.

        Parameters
        ----------
        axis
            Along which to count; None: the whole array.

        Returns
        -------
        int or ndarray of int64
            The count, or the counts along the axes that are left.

        Raises
        ------
        OptionError
            An axis that is not there.

        Notes
        -----
        Packed masks are counted as they are stored. ``packstore.views.dask.from_file.count_nonzero`` does it with dask.
        """
        from packstore.storage.count import count_nonzero

        return count_nonzero(self, axis)

    def _advanced(self, key: Any) -> Any:
        """Numpy's advanced indexing, by reading the bounding box of what is asked for."""
        if self.dtype.names is not None and (
            isinstance(key, str) or (isinstance(key, list) and key and isinstance(key[0], str))
        ):
            # Fields of a structured dtype.
            return np.asarray(self)[key]
        keys = list(key) if isinstance(key, tuple) else [key]
        keys = [_index_array(k) for k in keys]
        if is_basic(tuple(keys)):
            return self[tuple(keys)]
        if any(isinstance(k, (bool, np.bool_)) or (isinstance(k, np.ndarray) and not _is_axis_index(k)) for k in keys):
            return np.asarray(self)[key]
        used = sum(k is not None and k is not Ellipsis for k in keys)
        if used > self.ndim:
            raise SelectionError(
                message("indexing", self.location.path, expected=f"at most {self.ndim} indices", got=used)
            )
        if Ellipsis not in [k if k is Ellipsis else None for k in keys]:
            keys.append(Ellipsis)
        box: list[slice] = []
        inner: list[Any] = []
        axis = 0
        for k in keys:
            if k is None:
                inner.append(None)
            elif k is Ellipsis:
                rest = self.shape[axis : axis + self.ndim - used]
                box += [slice(0, n, 1) for n in rest]
                inner += [slice(None)] * len(rest)
                axis += len(rest)
            else:
                n = self.shape[axis]
                if isinstance(k, np.ndarray):
                    if k.dtype == bool:
                        if k.shape != (n,):
                            raise SelectionError(
                                message("indexing", self.location.path, expected=f"a mask of {n}", got=k.shape)
                            )
                        k = np.flatnonzero(k)
                    if k.size and (k.min() < -n or k.max() >= n):
                        raise SelectionError(
                            message(
                                "indexing", self.location.path, expected=f"indices within [{-n}, {n})", got="others"
                            )
                        )
                    k = np.where(k < 0, k + n, k).astype(np.intp)
                    low, high = (int(k.min()), int(k.max()) + 1) if k.size else (0, 0)
                    box.append(slice(low, high, 1))
                    inner.append(k - low)
                else:
                    sel = basic_selection(k, (n,))
                    box.append(sel.box[0])
                    inner.append(slice(None) if sel.after is None else sel.after[0])
                axis += 1
        found = self.array.storage.read(self.array, tuple(box))
        try:
            return found[tuple(inner)]
        except IndexError as error:
            raise SelectionError(message("indexing", self.location.path, got=error)) from None

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        out = np.asarray(self[...])
        if dtype is not None and out.dtype != np.dtype(dtype):
            if copy is False:
                raise ValueError(f"converting {out.dtype} to {np.dtype(dtype)} needs a copy, and copy=False was given")
            return out.astype(dtype)
        return out.copy() if copy and not (out.flags.owndata and out.flags.writeable) else out

    def __dask_tokenize__(self) -> object:
        # The storage may know of more state than the location's fingerprint holds.
        state = self.array.storage.token()
        return ("packstore.LazyArray", self.location, self.component, self.array.version, state)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.array.version is not None:
            return (reopen_lazy, (self.location, self.component, self.array.version))
        return (LazyArray, (self.location, self.component))

    def __repr__(self) -> str:
        name = f"[{self.component}]" if self.component else ""
        return f"<LazyArray {self.location.path}{name} shape={self.shape} dtype={self.dtype}>"


def _is_axis_index(k: npt.NDArray[Any]) -> bool:
    """Whether it selects along one axis: integers, or a mask of one axis."""
    return k.dtype.kind in "iu" or (k.dtype.kind == "b" and k.ndim == 1)


def _index_array(k: Any) -> Any:
    """Lists as arrays, what has ``__index__`` as an int; all else as it is."""
    if isinstance(k, (list, tuple, np.ndarray)):
        index = np.asarray(k)
        if index.ndim == 0 and index.dtype.kind in "iu":
            return int(index)
        return index.astype(np.intp) if index.size == 0 and not isinstance(k, np.ndarray) else index
    if isinstance(k, (bool, np.bool_)) or not hasattr(type(k), "__index__"):
        return k
    return operator.index(k)


def reopen_lazy(location: Location, component: str, version: tuple[Any, ...] | None) -> LazyArray:
    """The array that was pickled, or StaleFileError where its metadata changed since."""
    found = LazyArray(location, component)
    if found.array.version != version:
        raise StaleFileError(
            message(
                "opening",
                location.path,
                component,
                expected="the array that was opened",
                got="changed metadata",
                hint="Open it again",
            )
        )
    return found


def open_lazy(path: Any, component: str | None = None, **kwargs: Any) -> LazyArray:
    """Open one array of a file for the direct path; parameters as `packstore.open_array`."""
    location = locate(path, **kwargs)
    name, array = find_array(location, component)
    return LazyArray(location, name, array)
