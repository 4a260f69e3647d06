"""``packstore.struct``: structs that zarr's own ``struct`` cannot say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from packstore.views.zarr.dtypes.base import DescribedType

__all__ = ["Struct"]


@dataclass(frozen=True, kw_only=True)
class Struct(DescribedType):
    """A struct with array members, long doubles or variable-length members.

    Notes
    -----
    Configuration: ``item_size``, the bytes of an element in memory, and ``fields``, a list of objects with ``name``,
    ``data_type`` (a type string of the Zarr v2 specification such as ``"<f8"``, ``"string"``, ``"bytes"`` or one of
    this package's data types), ``offset`` (in memory) and, for array members, ``shape``. Without variable-length
    members elements are stored as they lie in memory, padding included, under the ``bytes`` codec; with them under
    ``packstore.vlen``.

    Examples
    --------
    >>> zdtype = Struct._from_json_v3({"name": "packstore.struct", "configuration": {"item_size": 12, "fields": [
    ...     {"name": "xyz", "data_type": ">f4", "offset": 0, "shape": [3]}]}})
    >>> zdtype.to_native_dtype()
    dtype([('xyz', '>f4', (3,))])
    """

    _zarr_v3_name: ClassVar[str] = "packstore.struct"
