"""What the data types of this package have in common."""

from __future__ import annotations

import base64
import binascii
import functools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from zarr.dtype import ZDType

from packstore.codecs import elements
from packstore.errors import CorruptDataError, DtypeError, message

try:
    from zarr.errors import DataTypeValidationError  # type: ignore[attr-defined, unused-ignore]  # where newer releases have it
except ImportError:
    from zarr.dtype import DataTypeValidationError  # type: ignore[no-redef, attr-defined, unused-ignore]  # where zarr 3.1 has it

if TYPE_CHECKING:
    from typing import Self

__all__ = ["DescribedType"]


@dataclass(frozen=True, kw_only=True)
class DescribedType(ZDType[np.dtype[Any], Any]):
    """A numpy dtype, described in full by the ``configuration`` of its metadata.

    Parameters
    ----------
    configuration
        As canonical JSON: equal texts are equal data types, which numpy's own comparison does not say of dtypes
        with variable-length parts.

    Notes
    -----
    Scalars (fill values) are, in JSON, the element's stored bytes in base64, so that every bit of a NaN survives; 0 is
    the element whose bytes are all zero (an empty sequence, an empty string). The scalar of a sequence is a 0-d object
    array that holds it, because zarr would broadcast a bare ndarray over a chunk.
    """

    dtype_cls: ClassVar[Any] = np.dtype
    configuration: str

    @classmethod
    def from_native_dtype(cls, dtype: np.dtype[Any]) -> Self:
        """Never: only names in metadata lead to this type, zarr's own choice for a numpy dtype stays what it is."""
        raise DataTypeValidationError(f"{cls._zarr_v3_name} is not chosen by a numpy dtype")

    def to_native_dtype(self) -> np.dtype[Any]:
        """The dtype described: byte order, offsets and padding included."""
        return _native(self._zarr_v3_name, self.configuration)

    @classmethod
    def _from_json_v2(cls, data: Any) -> Self:
        raise DataTypeValidationError(f"{cls._zarr_v3_name} is a data type of Zarr v3")

    @classmethod
    def _from_json_v3(cls, data: Any) -> Self:
        if not isinstance(data, dict) or data.get("name") != cls._zarr_v3_name:
            raise DataTypeValidationError(f"expected {cls._zarr_v3_name}, got {data!r}")
        # Raises DtypeError, which zarr's registry passes on: it is this data type, and it is malformed.
        described = elements.to_json(elements.from_json(data))
        assert isinstance(described, dict)
        return cls(configuration=json.dumps(described["configuration"], sort_keys=True))

    def to_json(self, zarr_format: Any) -> Any:
        """The ``data_type`` of zarr v3 metadata."""
        if zarr_format != 3:
            raise DtypeError(
                message(f"writing {self._zarr_v3_name}", expected="Zarr v3", got=f"zarr_format {zarr_format}")
            )
        return {"name": self._zarr_v3_name, "configuration": json.loads(self.configuration)}

    @property
    def item_size(self) -> int:
        """Bytes of an element in memory; for sequences those of the reference to it."""
        return self.to_native_dtype().itemsize

    def _check_scalar(self, data: object) -> bool:
        try:
            self.cast_scalar(data)
        except (TypeError, ValueError):
            return False
        return True

    def cast_scalar(self, data: object) -> Any:
        """`data` as an element; 0 and None are the default."""
        if data is None or (isinstance(data, int) and data == 0):
            return self.default_scalar()
        dtype = self.to_native_dtype()
        if dtype.kind != "O":
            return np.asarray(tuple(data) if isinstance(data, list) else data, dtype)[()]
        out = np.empty((), dtype)
        out[()] = elements.sequence(data, dtype)
        return out

    def default_scalar(self) -> Any:
        """The element whose stored bytes are all zero."""
        return _scalar(elements.zeros((), self.to_native_dtype()))

    def from_json_scalar(self, data: Any, *, zarr_format: Any) -> Any:
        """A fill value in metadata as an element."""
        if data == 0 and isinstance(data, int):
            return self.default_scalar()
        if not isinstance(data, str):
            raise TypeError(f"expected base64 text or 0 as a scalar of {self._zarr_v3_name}, got {data!r}")
        try:
            raw = base64.b64decode(data.encode("ascii"), validate=True)
            return _scalar(elements.decode(raw, 1, self.to_native_dtype()).copy().reshape(()))
        except (binascii.Error, UnicodeEncodeError, CorruptDataError) as why:
            raise TypeError(f"expected the bytes of a scalar of {self._zarr_v3_name} in base64: {why}") from why

    def to_json_scalar(self, data: object, *, zarr_format: Any) -> str | int:
        """An element as a fill value in metadata."""
        dtype = self.to_native_dtype()
        one = np.empty((1,), dtype)
        one[...] = self.cast_scalar(data)
        raw = elements.encode(one, dtype)
        if not dtype.hasobject:
            # Padding holds anything.
            raw = np.where(elements.significant(dtype), raw, np.uint8(0))
        return base64.b64encode(raw.tobytes()).decode("ascii") if raw.any() else 0


def _scalar(element: np.ndarray[Any, Any]) -> Any:
    return element if element.dtype.kind == "O" else element[()]


@functools.lru_cache(maxsize=1024)
def _native(name: str, configuration: str) -> np.dtype[Any]:
    return elements.from_json({"name": name, "configuration": json.loads(configuration)})
