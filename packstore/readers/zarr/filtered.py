"""`Filtered`: the serializer of plain elements behind numcodecs filters of zarr v2."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from packstore.codecs.decompress.limit import Limit
from packstore.core.boxes import Box
from packstore.core.typing import Array
from packstore.errors import CorruptDataError, message
from packstore.storage.plain import wrong_size
from packstore.storage.stored import Stored

__all__ = ["Filtered"]


@dataclass(frozen=True, eq=False)
class Filtered:
    """Plain elements behind numcodecs filters of zarr v2, in the order of writing."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    filters: tuple[Any, ...]
    nested: ClassVar[bool] = False
    reads_parts: ClassVar[bool] = False
    counts_packed: ClassVar[bool] = False
    inner: ClassVar[None] = None
    names: ClassVar[tuple[str, ...]] = ()

    def cover(self, box: Box) -> None:
        """None: the filters need all bytes."""
        return None

    @cached_property
    def limit(self) -> Limit:
        # No filter in use makes more of the elements than eight bytes each and a few more.
        return Limit(math.prod(self.shape) * max(self.dtype.itemsize, 8) + 65536, False)

    def read(self, stored: Stored, box: Box, whole: bool, out: Array | None) -> Array:
        data: Any = stored.pread(0, stored.nbytes)
        try:
            for codec in reversed(self.filters):
                data = codec.decode(data)
            values = np.asarray(data).reshape(-1).view(self.dtype)
        except (RuntimeError, ValueError, TypeError) as error:
            raise CorruptDataError(
                message("undoing the filters", expected="bytes that decode", got=f"{type(error).__name__}: {error}")
            ) from error
        if values.size != math.prod(self.shape):
            raise wrong_size(math.prod(self.shape) * self.dtype.itemsize, values.nbytes, self.shape, self.dtype)
        part = values.reshape(self.shape)[box]
        if out is None:
            return part.copy()
        out[...] = part
        return out

    def count_nonzero(self, stored: Stored, box: Box, whole: bool) -> int:
        return int(np.count_nonzero(self.read(stored, box, whole, None)))
