"""The record of one described HDF5 data type; in: its parts, out: the decoding of stored elements."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from packstore.readers.hdf5.types.convert import Convert

__all__ = ["StoredType"]

DType = np.dtype[Any]


@dataclass(frozen=True)
class StoredType:
    """One HDF5 data type.

    Parameters
    ----------
    dtype
        The dtype that the user gets: h5py's, without the trailing dimensions of an array type. Object for
        variable-length data, with h5py's metadata (`h5py.check_string_dtype` and `h5py.check_vlen_dtype` know it).
    stored
        The layout of one element on disk, also without `extra_shape`: ``stored.itemsize * prod(extra_shape)`` is the
        size of the HDF5 type. None where bytes alone do not decode.
    convert
        From an array of `stored` to one of `dtype`, shape kept, thread safe; None where the bytes are the values.
    extra_shape
        Dimensions that an array type adds behind those of the dataset.
    attributes
        JSON-able facts that the dtype does not hold, such as the names of an enum.
    """

    dtype: DType
    stored: DType | None
    convert: Convert | None = None
    extra_shape: tuple[int, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_text(self) -> bool:
        """Whether an element is text of any length."""
        return self.stored is None and h5py.check_string_dtype(self.dtype) is not None

    @property
    def has_sequences(self) -> bool:
        """Whether an element is a sequence of any length, or a struct with variable-length members."""
        return self.stored is None and not self.is_text

    @property
    def nbytes(self) -> int | None:
        """Bytes of one element of the dataset on disk; None where `stored` is."""
        return None if self.stored is None else self.stored.itemsize * math.prod(self.extra_shape)

    def decode(self, stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Values of an array of `stored`; a view where nothing has to change."""
        return stored if self.convert is None else self.convert(stored)
