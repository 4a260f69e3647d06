"""packstore.Array: a zarr.Array whose plain slicing takes the direct path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.abc.store import Store
from zarr.storage import StorePath

from packstore.core.selection import is_basic
from packstore.errors import ComponentNotFoundError, UnsupportedError, message
from packstore.readers import Location, find_array, locate
from packstore.views.lazy import LazyArray
from packstore.views.zarr.metadata import to_zarr
from packstore.views.zarr.store import ManifestStore

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Array", "array_at", "open_array", "store_of"]


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
        axis, keepdims
            As there.

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
        from packstore.storage.count import count_nonzero

        if self._lazy is None:
            return np.count_nonzero(self[...], axis=axis, keepdims=keepdims)
        return count_nonzero(self._lazy, axis, keepdims=keepdims)

    def __dask_tokenize__(self) -> object:
        if self._lazy is None:
            return ("packstore.Array", str(self.store_path), self.metadata.to_dict())
        return ("packstore.Array", self._lazy.__dask_tokenize__())

    def __reduce__(self) -> Any:
        if self._lazy is None:
            return super().__reduce__()
        return (_reopen, (self._lazy,))


def _reopen(lazy: LazyArray) -> Array:
    return array_at(lazy.location, lazy.component)


def store_of(location: Location) -> Store:
    """The zarr store of a location."""
    if location.format == "zarr":
        from packstore.readers.zarr import directory_store

        return directory_store(location)
    return ManifestStore(location)


def array_at(location: Location, component: str, store: Store | None = None) -> Array:
    """The array `component` of an opened file."""
    _, manifest_array = find_array(location, component)
    if store is None:
        store = store_of(location)
    unsupported: Mapping[str, str] = getattr(store, "unsupported", {})
    if component in unsupported:
        raise unsupported_error(location, component, unsupported[component])
    return Array(_async_array(store, component), LazyArray(location, component, manifest_array))


def _async_array(store: Store, component: str) -> Any:
    """As ``zarr.open_array`` finds it, without its three turns through zarr's event loop where the metadata is at hand.

    Those take longer than opening the file does, and as long as some twenty crops.
    """
    at_hand: Callable[[str], dict[str, Any] | None] | None = getattr(store, "array_document", None)
    document = None if at_hand is None else at_hand(component)
    if document is None:
        return zarr.open_array(store=store, path=component, mode="r").async_array
    # Not its type: releases of zarr differ in what they take a document for.
    make: Any = zarr.AsyncArray
    return make(document, StorePath(store, component))


def open_array(
    path: Any,
    component: str | None = None,
    *,
    format: str | None = None,
    chunks: Any = None,
    storage_options: Mapping[str, Any] | None = None,
    **reader_options: Any,
) -> Array:
    """Open one saved array like ``zarr.open_array``.

    Parameters
    ----------
    path : path-like or str
        A local file, a zarr directory, or an fsspec URL.
    component : str, optional
        The array in the file; may be left out where there is only one.
    format, chunks, storage_options, **reader_options
        As for `open_store`.

    Returns
    -------
    packstore.Array
        Read-only; shape and dtype of the saved array (in native byte order, as zarr has it).

    Raises
    ------
    MissingFileError, FormatError, OptionError
        No such file; not a known format; an option the format does not take.
    ComponentNotFoundError
        No such array, or several and none named.
    UnsupportedError
        The array cannot be a zarr array; the text says why.

    Notes
    -----
    Reads headers and indexes only.

    Examples
    --------
    >>> import numpy as np, packstore, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "mask.bits"
    >>> mask = np.eye(16, dtype=bool)
    >>> np.packbits(mask, axis=0).tofile(path)
    >>> packed = packstore.open_array(path, format="raw", shape=(16, 16), packed_axis=0)
    >>> packed[3, 2:5]
    array([False,  True, False])
    """
    location = locate(path, format=format, chunks=chunks, storage_options=storage_options, **reader_options)
    name, _ = find_array(location, component)
    return array_at(location, name)


def unsupported_error(location: Location, component: str, reason: str) -> UnsupportedError:
    """An array that zarr cannot be served."""
    return UnsupportedError(
        message(
            "opening",
            location.path,
            component,
            expected="an array that zarr can hold",
            got=reason,
            hint=None if "packstore.from_file" in reason else "packstore.from_file may read it all the same",
        )
    )


def component_error(location: Location, component: str) -> ComponentNotFoundError:
    """No such node."""
    return ComponentNotFoundError(
        message("opening", location.path, component, expected="an array or group", got="nothing of that name")
    )
