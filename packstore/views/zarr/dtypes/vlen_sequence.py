"""``packstore.vlen_sequence``: sequences of different lengths, as ndarrays in an object array."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from packstore.views.zarr.dtypes.base import DescribedType

__all__ = ["VlenSequence"]


@dataclass(frozen=True, kw_only=True)
class VlenSequence(DescribedType):
    """A sequence of any length of items of one type.

    Notes
    -----
    Configuration: ``data_type`` of the items (as for the fields of ``packstore.struct``) and, where the items are
    arrays, their ``shape``. The dtype in memory is object, with the metadata that ``h5py.check_vlen_dtype`` reads.
    Stored under the codec ``packstore.vlen``.

    Examples
    --------
    >>> zdtype = VlenSequence._from_json_v3(
    ...     {"name": "packstore.vlen_sequence", "configuration": {"data_type": "<i4"}})
    >>> zdtype.to_native_dtype().metadata["vlen"]
    dtype('int32')
    """

    _zarr_v3_name: ClassVar[str] = "packstore.vlen_sequence"
