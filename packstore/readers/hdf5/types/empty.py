"""The element of a variable-length type that was never written: empty text, empty sequences, numbers that are zero."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

__all__ = ["empty_element"]


def empty_element(dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """A 0-d array of `dtype` that holds the element.

    Parameters
    ----------
    dtype
        Of a dataset or an attribute, as h5py gives it: the metadata of its objects say what they are.

    Examples
    --------
    >>> empty_element(np.dtype([("name", h5py.string_dtype()), ("n", "i4")])).item()
    (b'', 0)
    """
    out = np.zeros((), dtype)
    if dtype.names is not None:
        for name in dtype.names:
            member: np.dtype[Any] = dtype[name]
            out[name] = empty_element(member.base)
    elif dtype.hasobject:
        item = h5py.check_vlen_dtype(dtype)
        if item is str or item is bytes:
            out[()] = b""
        else:
            base = np.dtype(item)
            out[()] = np.empty((0, *base.shape), base.base)
    return out
