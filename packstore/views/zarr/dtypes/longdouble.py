"""``packstore.longdouble``: the C compiler's long double, and complex numbers of two of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from packstore.views.zarr.dtypes.base import DescribedType

__all__ = ["LongDouble"]


@dataclass(frozen=True, kw_only=True)
class LongDouble(DescribedType):
    """A long double of a given format.

    Notes
    -----
    Configuration: ``format`` ("x87": 80 bits, the rest padding; "binary128"; "double_double"; "binary64"),
    ``item_size`` (bytes, padding included; both parts for complex), ``endian`` ("little" or "big") and ``complex``.
    Stored as it lies in memory, under the ``bytes`` codec. A machine whose long double is another one refuses it
    with ``DtypeError``.

    Examples
    --------
    >>> import numpy as np
    >>> from packstore.views.zarr.dtypes import data_type
    >>> data_type(np.dtype(">G")).to_native_dtype() == np.dtype(">G")
    True
    """

    _zarr_v3_name: ClassVar[str] = "packstore.longdouble"
