"""packstore.Array: a LazyArray goes in, a zarr.Array whose plain slicing takes the direct path comes out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.storage import StorePath

from packstore.config import copies_arrays
from packstore.core.box_selection import is_basic
from packstore.core.copies import owned
from packstore.core.selection import resolve
from packstore.errors import OptionError, SelectionError, message
from packstore.readers.location import AnyLocation, Location
from packstore.source.remote.urls import is_url
from packstore.views.lazy import LazyArray
from packstore.views.viewed import ViewedArray
from packstore.views.zarr.metadata import to_zarr
from packstore.views.zarr.opened import Closing, Opened
from packstore.views.zarr.selections import along_axis, coordinates, split_fields, take_fields
from packstore.views.zarr.store import ManifestStore
from packstore.views.zarr.text import decoding

if TYPE_CHECKING:
    from typing import Self

    from packstore.readers.zarr.directory import DirectoryStore

__all__ = ["Array", "array_of", "store_of"]

# Bytes that iterating reads at once, but for chunks that are larger.
BLOCK_NBYTES = 64 << 20


class Array(Closing, zarr.Array[Any]):
    """A read-only zarr array over a saved file.

    Everything a :class:`zarr.Array` does works (``attrs``, ``info``, ``oindex``, ``blocks``, ``dask.array.from_zarr``).
    Basic indexing (ints, slices with any step, Ellipsis, newaxis, as numpy does it) is answered without zarr's event
    loop by a :class:`~packstore.views.lazy.LazyArray`. Index arrays and bools are numpy's, too; only where one list
    of indices (or of bools, one for each index of an axis) comes with ints and slices is each axis taken by itself, as
    zarr and h5py do it. Names select fields of structured elements.

    Notes
    -----
    Pickles as a path. What indexing gives is the caller's own, to change at will, as with zarr and h5py. An array that
    was opened with ``copy=False`` gives read-only views of mapped files where nothing is to decode; so do
    ``packstore.from_file`` and the `lazy` array.

    Examples
    --------
    >>> import numpy as np, packstore, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "x.npy"
    >>> np.save(path, np.arange(12).reshape(3, 4))
    >>> array = packstore.open_array(path)
    >>> array[::-1, 0]
    array([8, 4, 0])
    >>> array[[True, False, True], 1:3]
    array([[ 1,  2],
           [ 9, 10]])
    """

    _lazy: LazyArray | None

    def __init__(
        self, async_array: Any, lazy: LazyArray | None = None, copy: bool | None = None, above: Opened | None = None
    ) -> None:
        super().__init__(async_array)
        self._lazy = lazy
        self._copy = copies_arrays(copy)
        self._opened = Opened(above)
        self._same_dtype = lazy is not None and lazy.dtype == self.dtype

    @property
    def lazy(self) -> LazyArray | None:
        """The direct path of this array; None where only zarr can read it."""
        return self._lazy

    @property
    def async_array(self) -> Any:
        """The array as zarr's event loop sees it."""
        # All that zarr does with an array takes this way.
        self._check_open()
        return self._async_array

    @property
    def _where(self) -> tuple[AnyLocation | None, str]:
        return (None, "") if self._lazy is None else (self._lazy.location, self._lazy.component)

    def __getitem__(self, selection: Any) -> Any:
        """Elements at `selection`, with numpy's meaning; see the class for lists of indices.

        Returns
        -------
        ndarray or scalar
            The caller's own; with ``copy=False`` perhaps a read-only view of the mapped file.

        Raises
        ------
        SelectionError
            Out of bounds, too many indices, no such field, or no index that numpy takes.
        ClosedError
            The array, or its group, was closed.
        StaleFileError, TruncatedFileError, CorruptDataError, ChecksumError
            The stored bytes and the index disagree.
        """
        if self._opened.is_closed:
            self._check_open()
        lazy = self._lazy
        if lazy is not None and self._same_dtype and is_basic(selection):
            part = lazy[selection]
        else:
            part = self._select(selection)
        return owned(part) if self._copy else part

    def _select(self, selection: Any) -> Any:
        """As `__getitem__`; where nothing is to decode a view."""
        if self._lazy is not None and is_basic(selection):
            return self._direct(self._lazy, selection)
        fields, rest = split_fields(selection)
        if fields is not None:
            path = None if self._lazy is None else self._lazy.location.path
            return take_fields(self._select(rest), fields, path)
        if self._lazy is None:
            try:
                return super().__getitem__(selection)
            except IndexError as error:
                raise SelectionError(message("indexing", self.store_path, got=error)) from None
        return self._pick(self._lazy, selection)

    def _direct(self, lazy: LazyArray, selection: Any) -> Any:
        part = lazy[selection]
        return (
            part if self._same_dtype else to_zarr(lazy.array, part, self.dtype, decoding(lazy.location, lazy.component))
        )

    def _pick(self, lazy: LazyArray, selection: Any) -> Any:
        """Elements at a selection with index arrays."""
        keys = selection if isinstance(selection, tuple) else (selection,)
        resolved, _, _ = resolve(keys, lazy.shape, lazy.location.path)
        found = along_axis(resolved)
        if found is None:
            at = None if lazy.array.storage.is_view else coordinates(resolved)
            return self._direct(lazy, selection) if at is None else self.get_coordinate_selection(at)
        # zarr reads only the chunks that hold some of the indices, the direct path all that lies between them.
        direct = lazy.array.storage.is_view or found.is_dense(lazy.dtype.itemsize) or found.is_reversed
        part: Any = self._direct(lazy, found.key) if direct else self.get_orthogonal_selection(found.key)
        return part[(*found.after, ...)]

    # zarr 3.1 declares a narrower result than ndarray.
    def __array__(  # type: ignore[override, unused-ignore]
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> npt.NDArray[Any]:
        wanted = self.dtype if dtype is None else np.dtype(dtype)
        if copy is False:
            lazy = self._lazy
            if lazy is None or not (self._same_dtype and wanted == self.dtype and lazy.array.storage.is_instant):
                expected = "copy=None or copy=True, as elements have to be read and decoded"
                path = None if lazy is None else lazy.location.path
                raise OptionError(message("making an array of", path, self.path or None, expected=expected, got=copy))
            self._check_open()
            return np.asarray(lazy[...])
        self._check_open()
        part = np.asarray(self._select(...))
        if part.dtype != wanted:
            return part.astype(wanted)
        return np.asarray(owned(part) if self._copy or copy else part)

    def __len__(self) -> int:
        """Length of the first axis, as numpy has it; TypeError where there is none."""
        if not self.shape:
            raise TypeError("len() of unsized object")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        """Index after index of the first axis, read in blocks of whole chunks."""
        if not self.shape:
            raise TypeError("iteration over a 0-d array")
        row_nbytes = max(math.prod(self.shape[1:]) * self.dtype.itemsize, 1)
        rows = max(min(self.chunks[0], BLOCK_NBYTES // row_nbytes), 1)
        for start in range(0, self.shape[0], rows):
            yield from self[start : start + rows]

    def view(self, dtype: npt.DTypeLike) -> ViewedArray:
        """The array with its elements' bytes taken for another type of the same size, as ``ndarray.view``.

        Viewers ask bool masks for it: napari takes ``mask.view(np.uint8)`` as labels.

        Parameters
        ----------
        dtype
            The other type.

        Returns
        -------
        ViewedArray
            An array that reads what is indexed, as this one.

        Raises
        ------
        DtypeError
            Elements of the two types differ in size, or hold references.

        Examples
        --------
        >>> import numpy as np, packstore, pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "x.npy"
        >>> np.save(path, np.eye(3, dtype=bool))
        >>> packstore.open_array(path).view(np.uint8)[1]
        array([0, 1, 0], dtype=uint8)
        """
        return ViewedArray(self, dtype)

    def __repr__(self) -> str:
        return "<Array, closed>" if self.closed else super().__repr__()

    def _repr_html_(self) -> str:
        """What a notebook shows: shape, chunks, sizes. Nothing is read for it."""
        # Function-level, for import time: only notebooks need it.
        from packstore.views.zarr.html import array_html

        if self.closed:
            return "<p>Array, closed</p>"
        location, component = self._where
        return array_html(location, component or self.path, self, None if self._lazy is None else self._lazy.array)

    def with_config(self, config: Any) -> Self:
        """As `zarr.Array.with_config`; in F order all is read through zarr, which lays out its results like that."""
        new = super().with_config(config)
        lazy = self._lazy if new.order == "C" else None
        return type(self)(new.async_array, lazy, self._copy, self._opened)

    def count_nonzero(self, axis: int | tuple[int, ...] | None = None, *, keepdims: bool = False) -> Any:
        """Count the elements that are not zero, as ``numpy.count_nonzero``; packed masks without unpacking them.

        Parameters
        ----------
        axis
            Along which to count; None: the whole array.
        keepdims
            Whether the axes that are counted along stay, with length 1.

        Returns
        -------
        int or ndarray of int64

        Raises
        ------
        OptionError
            No such axis.

        Notes
        -----
        Reads the array in blocks; large ones in several threads, if called from the main thread.

        Examples
        --------
        >>> import numpy as np, packstore, pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "x.npy"
        >>> np.save(path, np.eye(3))
        >>> packstore.open_array(path).count_nonzero()
        3
        """
        self._check_open()
        if self._lazy is None:
            return np.count_nonzero(self[...], axis=axis, keepdims=keepdims)
        return self._lazy.count_nonzero(axis, keepdims=keepdims)

    def __dask_tokenize__(self) -> object:
        if self._lazy is None:
            return ("packstore.Array", str(self.store_path), self.metadata.to_dict())
        return ("packstore.Array", self._lazy.__dask_tokenize__())

    def __reduce__(self) -> Any:
        self._check_open()
        if self._lazy is None:
            return super().__reduce__()
        return (_unopened, (self._lazy, self._copy, self._same_dtype))

    def __getattr__(self, name: str) -> Any:
        # What zarr knows is looked up in another process when it is asked for: reads do not need it.
        lazy = self.__dict__.get("_lazy")
        if name != "_async_array" or lazy is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        self._async_array = found = _async_array(store_of(lazy.location, lazy.component), lazy.component)
        return found


def _unopened(lazy: LazyArray, copy: bool, same_dtype: bool) -> Array:
    """The array that was pickled; nothing is opened before the first read."""
    found = Array.__new__(Array)
    found._lazy, found._copy, found._same_dtype, found._opened = lazy, copy, same_dtype, Opened()
    return found


def store_of(location: AnyLocation, component: str | None = None) -> ManifestStore | DirectoryStore:
    """The zarr store of a location; `component` names the array that is wanted first."""
    if isinstance(location, Location) and location.format == "zarr" and not is_url(location.fingerprint.path):
        # Function-level, for import time: other formats do not need it.
        from packstore.readers.zarr import directory_store

        return directory_store(location)
    return ManifestStore(location, component)


def array_of(lazy: LazyArray, copy: bool | None = None) -> Array:
    """The zarr array over a `LazyArray`; `copy` as for `packstore.open_array`.

    Raises
    ------
    UnsupportedError
        Zarr cannot have it.
    """
    return Array(_async_array(store_of(lazy.location, lazy.component), lazy.component), lazy, copy)


def _async_array(store: ManifestStore | DirectoryStore, component: str) -> Any:
    """As ``zarr.open_array`` finds it, without its three turns through zarr's event loop where the metadata is at hand.

    Those take longer than opening the file does, and as long as some twenty crops.
    """
    document = store.array_document(component)
    if document is None:
        return zarr.open_array(store=store, path=component, mode="r").async_array
    # Untyped: releases of zarr differ in the type that they declare for a document.
    make: Any = zarr.AsyncArray
    return make(document, StorePath(store, component))
