"""LazyArray, the direct path: a location and a component go in, an array comes out that reads what is indexed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from packstore.core.box_selection import box_selection
from packstore.core.boxes import Box
from packstore.core.process import read_here
from packstore.errors import OptionError, PackstoreError, SelectionError, StaleFileError, message
from packstore.readers.find import find_array, find_same
from packstore.readers.joined import locate_all
from packstore.readers.location import AnyLocation
from packstore.storage import ManifestArray
from packstore.storage.read import read_box

__all__ = ["LazyArray", "open_lazy"]


class LazyArray:
    """An array in a file, read when it is indexed.

    Parameters
    ----------
    location
        The file, or the files that are one array, and how to read it.
    component
        The array in it ("" for a file that is one array).
    array
        Its manifest; looked up (once a process) where None.

    Notes
    -----
    It has neither ``copy`` nor ``__array_function__``: with both, ``dask.array.from_array`` would read the whole file
    to build a graph. Pickling costs the path, whatever the array's size. Unpickling opens nothing: the first read does,
    and raises ``StaleFileError`` where the file changed since; its text says which process (or dask worker) read it.
    Thread safe.

    Examples
    --------
    >>> import numpy as np, packstore, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "x.npy"
    >>> np.save(path, np.arange(12).reshape(3, 4))
    >>> open_lazy(path)[1, ::2]
    array([4, 6])
    """

    def __init__(self, location: AnyLocation, component: str, array: ManifestArray | None = None) -> None:
        self.location = location
        self.component = component
        self._travelled = False
        if array is None:
            array = find_array(location, component)[1]
        self.shape: tuple[int, ...] = array.shape
        self.dtype: np.dtype[Any] = array.dtype
        self._chunks = array.chunk_shape
        self._version = array.version
        # An array that was opened before stays so, under whatever name.
        self._opened_ns = array.storage.opened_ns
        self._open(array)

    def _open(self, array: ManifestArray) -> None:
        storage = array.storage.opened(self._opened_ns)
        self._opened_ns = storage.opened_ns
        if storage is not array.storage:
            array = replace(array, storage=storage)
        # Elements of a local file as they lie there: indexing goes straight to the mapping.
        self._view = array.storage.view(array)
        self._has_sum = array.storage.has_sum
        # Last: another thread that finds it takes the rest as it is.
        self._array: ManifestArray | None = array

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.location, self.component, self.shape, self.dtype, self._chunks, self._version, self._opened_ns = state
        self._travelled = True
        self._array = None
        self._has_sum = False
        self._view = self._first_view

    def _first_view(self) -> npt.NDArray[Any] | None:
        """The view, of a file that the first read opens."""
        self.array  # noqa: B018  # It sets `_view`.
        return None if self._view is None else self._view()

    @property
    def array(self) -> ManifestArray:
        """The manifest behind it; looked up here after unpickling.

        Raises
        ------
        StaleFileError
            The array is no longer what it was when it was pickled, or this process cannot see its file.
        """
        found = self._array
        if found is None:
            found = find_same(self.location, self.component, self._version)
            if (found.shape, found.dtype) != (self.shape, self.dtype):
                raise StaleFileError(
                    message(
                        "opening",
                        self.location.path,
                        self.component or None,
                        expected=f"shape {self.shape} and dtype {self.dtype}",
                        got=f"{found.shape} and {found.dtype}",
                        hint="Open it again",
                    )
                )
            self._open(found)
        return found

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
        return self._chunks

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
            Out of bounds, too many indices, or no index that numpy takes.
        StaleFileError, TruncatedFileError, CorruptDataError, ChecksumError
            The stored bytes and the index disagree.
        """
        try:
            view = None if self._view is None else self._view()
            if view is not None:
                try:
                    found = view[key]
                except (IndexError, TypeError, ValueError) as error:
                    raise SelectionError(message("indexing", self.location.path, got=error)) from None
                if self._has_sum and found.size == self.size:
                    self.verify(reading=True)
                return found
            if self.dtype.names is not None and _names_fields(key):
                return np.asarray(self)[key]
            box, after = box_selection(key, self.shape, self.location.path)
            array = self.array
            out = read_box(array, box)
            return out if after is None else out[after]
        except PackstoreError as error:
            if not self._travelled or isinstance(error, SelectionError):
                raise
            raise read_here(error) from error

    def compare(self, box: Box) -> None:
        """Raise StaleFileError where a stored chunk is no longer what it was; an array of a dask graph knows that."""

    def verify(self, *, reading: bool = False) -> None:
        """Compare the checksum over the whole array, where the file has one: that of a stored npz member.

        Checksums of chunks and of compressed members are compared whenever they are read, and so is this one where all
        of the array is read at once. Whoever reads it block by block, to copy or to compare it, calls this before.

        Parameters
        ----------
        reading
            The whole array is read next, which sums it up where that is cheaper.

        Raises
        ------
        ChecksumError
            The stored bytes are damaged; the text names the file and the array.

        Examples
        --------
        >>> import numpy as np, packstore, pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "x.npz"
        >>> np.savez(path, a=np.arange(3))
        >>> open_lazy(path, "a").verify()
        """
        self.array.storage.verify(reading=reading)

    def count_nonzero(self, axis: int | tuple[int, ...] | None = None, *, keepdims: bool = False) -> Any:
        """How many elements are not zero (or not empty), as `numpy.count_nonzero` has it.

        Parameters
        ----------
        axis
            Along which to count; None: the whole array.
        keepdims
            Whether the axes that are counted along stay, with length 1.

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
        Packed masks are counted as they are stored. `packstore.count_nonzero` does it with dask.
        """
        # Function-level, for import time: indexing does not need it.
        from packstore.storage.count import count_nonzero

        return count_nonzero(self.array, axis, keepdims=keepdims)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        out = np.asarray(self[...])
        if dtype is not None and out.dtype != np.dtype(dtype):
            if copy is False:
                what = f"converting {out.dtype} to {np.dtype(dtype)} needs a copy: opening"
                raise OptionError(message(what, self.location.path, expected="copy=None or copy=True", got=copy))
            return out.astype(dtype)
        return out.copy() if copy and not (out.flags.owndata and out.flags.writeable) else out

    def __dask_tokenize__(self) -> object:
        # The storage may know of more state than the location's fingerprint holds.
        state = self.array.storage.token()
        return ("packstore.LazyArray", self.location, self.component, self._version, state)

    def __reduce__(self) -> tuple[Any, ...]:
        # What was never read here counts as opened where it is read first.
        what = (self.location, self.component, self.shape, self.dtype, self._chunks, self._version)
        return (_unopened, (), (*what, self._opened_ns))

    def __repr__(self) -> str:
        name = f"[{self.component}]" if self.component else ""
        return f"<LazyArray {self.location.path}{name} shape={self.shape} dtype={self.dtype}>"


def _names_fields(key: Any) -> bool:
    """Whether it selects fields of a structured dtype."""
    return isinstance(key, str) or (isinstance(key, list) and bool(key) and isinstance(key[0], str))


def _unopened() -> LazyArray:
    return LazyArray.__new__(LazyArray)


def open_lazy(path: Any, component: str | None = None, **kwargs: Any) -> LazyArray:
    """Open one saved array without zarr and dask: numpy alone is imported, and what the format needs.

    Parameters
    ----------
    path : path-like, str or list of them
        A local file, a zarr directory (v2 or v3), a URL or URL pipeline, a binary file object, or a zarr store. A list
        of files is one array: it takes `axis` and `new_axis` as `from_files` does.
    component : str, optional
        The array in the file; may be left out where there is only one.
    **kwargs
        `format`, `chunks`, `storage_options` and the options of the format, as `packstore.open_array` takes them.

    Returns
    -------
    LazyArray
        Of the array's shape and dtype, for every dtype that numpy can hold. Indexing reads what is indexed; where
        nothing is to decode, the result is a read-only view of the mapped file.

    Raises
    ------
    MissingFileError
        No such file.
    AccessError, ReadError
        The operating system or the server refuses to read it.
    FormatError
        No format recognises the content, or the file is damaged.
    OptionError
        An unknown format, or an option that the format does not take.
    ComponentNotFoundError
        No such array, or several and none named.
    UnsupportedError
        The array cannot be read; the text says why.

    Notes
    -----
    Costs the headers and the index of that array. Thread safe.

    Examples
    --------
    >>> import numpy as np, packstore, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "x.npz"
    >>> np.savez(path, a=np.arange(6).reshape(2, 3))
    >>> packstore.open_lazy(path, "a")[:, 1]
    array([1, 4])
    """
    location, component = locate_all(path, component, **kwargs)
    name, array = find_array(location, component)
    return LazyArray(location, name, array)
