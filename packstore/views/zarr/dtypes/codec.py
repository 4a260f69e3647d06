"""`VlenCodec`: the serializer ``packstore.vlen`` for sequences, and for structs with variable-length members.

Format (of packstore's own): `packstore.codecs.elements.encode`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from zarr.abc.codec import ArrayBytesCodec

from packstore.codecs import elements
from packstore.errors import CodecConfigError, DtypeError, message

if TYPE_CHECKING:
    from typing import Self

    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer, NDBuffer
    from zarr.core.common import JSON

__all__ = ["VlenCodec"]

_NAME = "packstore.vlen"


class _Elements(np.ndarray[Any, np.dtype[Any]]):
    """A decoded chunk, of which one element is the element and not a 0-d array around it.

    zarr assigns what it selects from a chunk to its output, and numpy puts a 0-d array into an object array as it is:
    ``z[3]`` would be an array in an array.
    """

    def __getitem__(self, key: Any) -> Any:
        return _bare(super().__getitem__(key))

    def reshape(self, *args: Any, **options: Any) -> Any:
        return _bare(super().reshape(*args, **options))


def _bare(part: Any) -> Any:
    return part.view(np.ndarray)[()] if isinstance(part, _Elements) and part.shape == () else part


@dataclass(frozen=True)
class VlenCodec(ArrayBytesCodec):
    """Chunks of variable-length elements, column by column: lengths first, then the items in one run.

    Notes
    -----
    Works for ``packstore.vlen_sequence`` and ``packstore.struct``; any other data type is refused when the array is
    opened. Takes no configuration. Thread safe. Holds Python's lock: the elements are Python objects.

    Examples
    --------
    >>> VlenCodec().to_dict()
    {'name': 'packstore.vlen', 'configuration': {}}
    """

    is_fixed_size = False

    @classmethod
    def from_dict(cls, data: dict[str, JSON]) -> Self:
        """Build the codec from its metadata."""
        if not isinstance(data, Mapping) or data.get("name") != _NAME or data.get("configuration", {}) != {}:
            raise CodecConfigError(
                message("reading the codec packstore.vlen", expected="no configuration", got=repr(data))
            )
        return cls()

    def to_dict(self) -> dict[str, JSON]:
        """Give the metadata."""
        return {"name": _NAME, "configuration": {}}

    def evolve_from_array_spec(self, array_spec: ArraySpec) -> Self:
        """Refuse data types of other packages: what is in their objects is not known."""
        from packstore.views.zarr.dtypes.base import DescribedType

        if not isinstance(array_spec.dtype, DescribedType):
            raise DtypeError(
                message("opening an array", expected="a data type for packstore.vlen", got=str(array_spec.dtype))
            )
        return self

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:
        """Not known before it is encoded."""
        raise NotImplementedError("the encoded size of variable-length elements depends on them")

    def _decode_sync(self, chunk_bytes: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        dtype = chunk_spec.dtype.to_native_dtype()
        array = elements.decode(chunk_bytes.as_numpy_array(), math.prod(chunk_spec.shape), dtype)
        array = array.reshape(chunk_spec.shape)
        return chunk_spec.prototype.nd_buffer.from_numpy_array(array.view(_Elements) if dtype.kind == "O" else array)

    def _encode_sync(self, chunk_array: NDBuffer, chunk_spec: ArraySpec) -> Buffer | None:
        encoded = elements.encode(chunk_array.as_numpy_array(), chunk_spec.dtype.to_native_dtype())
        return chunk_spec.prototype.buffer.from_array_like(encoded)

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        return self._decode_sync(chunk_data, chunk_spec)

    async def _encode_single(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> Buffer | None:
        return self._encode_sync(chunk_data, chunk_spec)
