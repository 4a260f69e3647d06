"""packstore.Array: a LazyArray goes in, a zarr.Array whose plain slicing takes the direct path comes out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.storage import StorePath

from packstore.core.box_selection import is_basic
from packstore.readers.location import AnyLocation, Location
from packstore.views.lazy import LazyArray
from packstore.views.zarr.metadata import to_zarr
from packstore.views.zarr.store import ManifestStore

if TYPE_CHECKING:
    from typing import Self

    from packstore.readers.zarr.directory import DirectoryStore

__all__ = ["Array", "array_of", "store_of"]


class Array(zarr.Array[Any]):
    """A read-only zarr array over a saved file.

    Everything a :class:`zarr.Array` does works (``attrs``, ``info``, ``oindex``, ``blocks``, ``dask.array.from_zarr``).
    Basic indexing (ints, slices with any step, Ellipsis, newaxis, as numpy does it) is answered without zarr's event
    loop by a :class:`~packstore.views.lazy.LazyArray`; any other selection goes through zarr.

    Notes
    -----
    Pickles as a path. Results of basic indexing may be read-only views of the mapped file.

    Examples
    --------
    >>> import numpy as np, packstore, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "x.npy"
    >>> np.save(path, np.arange(12).reshape(3, 4))
    >>> packstore.open_array(path)[::-1, 0]
    array([8, 4, 0])
    """

    _lazy: LazyArray | None

    def __init__(self, async_array: Any, lazy: LazyArray | None = None) -> None:
        super().__init__(async_array)
        self._lazy = lazy
        self._same_dtype = lazy is not None and lazy.dtype == self.dtype

    @property
    def lazy(self) -> LazyArray | None:
        """The direct path of this array; None where only zarr can read it."""
        return self._lazy

    def __getitem__(self, selection: Any) -> Any:
        """Elements at `selection`: numpy's meaning for basic indexing, zarr's for the rest."""
        lazy = self._lazy
        if lazy is None or not is_basic(selection):
            return super().__getitem__(selection)
        if self._same_dtype:
            return lazy[selection]
        return to_zarr(lazy.array, lazy[selection], self.dtype)

    # zarr 3.1 declares a narrower result than ndarray.
    def __array__(  # type: ignore[override, unused-ignore]
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> npt.NDArray[Any]:
        # As a LazyArray does it: without a copy where the file is mapped, and with one where it is asked for.
        if self._same_dtype and self._lazy is not None:
            return self._lazy.__array__(dtype, copy)
        return np.asarray(super().__array__(dtype, copy))

    def with_config(self, config: Any) -> Self:
        """As `zarr.Array.with_config`; in F order all is read through zarr, which lays out its results like that."""
        new = super().with_config(config)
        lazy = self._lazy if new.order == "C" else None
        return type(self)(new.async_array, lazy)

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
        if self._lazy is None:
            return np.count_nonzero(self[...], axis=axis, keepdims=keepdims)
        return self._lazy.count_nonzero(axis, keepdims=keepdims)

    def __dask_tokenize__(self) -> object:
        if self._lazy is None:
            return ("packstore.Array", str(self.store_path), self.metadata.to_dict())
        return ("packstore.Array", self._lazy.__dask_tokenize__())

    def __reduce__(self) -> Any:
        if self._lazy is None:
            return super().__reduce__()
        return (array_of, (self._lazy,))


def store_of(location: AnyLocation, component: str | None = None) -> ManifestStore | DirectoryStore:
    """The zarr store of a location; `component` names the array that is wanted first."""
    if isinstance(location, Location) and location.format == "zarr":
        # Function-level, for import time: other formats do not need it.
        from packstore.readers.zarr import directory_store

        return directory_store(location)
    return ManifestStore(location, component)


def array_of(lazy: LazyArray) -> Array:
    """The zarr array over a `LazyArray`.

    Raises
    ------
    UnsupportedError
        Zarr cannot have it.
    """
    return Array(_async_array(store_of(lazy.location, lazy.component), lazy.component), lazy)


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
