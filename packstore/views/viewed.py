"""`ViewedArray`: an array that reads what is indexed goes in, the same with another type of elements comes out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from packstore.errors import DtypeError, message

__all__ = ["ViewedArray"]


class ViewedArray:
    """An array whose elements' bytes are taken for another type of the same size; made by `packstore.Array.view`.

    Parameters
    ----------
    array
        The array: anything with a shape, a dtype and numpy's indexing.
    dtype
        The other type.

    Raises
    ------
    DtypeError
        Elements of the two types differ in size, or hold references.

    Examples
    --------
    >>> ViewedArray(np.array([True, False]), np.uint8)[0]
    np.uint8(1)
    """

    def __init__(self, array: Any, dtype: npt.DTypeLike) -> None:
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        was: np.dtype[Any] = array.dtype
        if self.dtype.hasobject or was.hasobject or was.kind == "T" or self.dtype.kind == "T":
            expected = "types whose elements are plain bytes"
            raise DtypeError(message("viewing an array", expected=expected, got=f"{was} and {self.dtype}"))
        if self.dtype.itemsize != was.itemsize:
            expected = f"a dtype of {was.itemsize} bytes, as {was} has"
            raise DtypeError(message("viewing an array", expected=expected, got=f"{self.dtype}"))
        self.array = array
        self.shape: tuple[int, ...] = tuple(array.shape)

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
        """Bytes of all elements."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, key: Any) -> Any:
        return self.array[key].view(self.dtype)

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        part = np.array(self.array, copy=copy).view(self.dtype)
        return part if dtype is None else part.astype(dtype, copy=False)

    def __dask_tokenize__(self) -> object:
        # Function-level, for import time: indexing does not need it.
        from dask.base import normalize_token

        return ("packstore.ViewedArray", normalize_token(self.array), str(self.dtype))

    def __repr__(self) -> str:
        return f"<ViewedArray of {self.array!r} as {self.dtype}>"
