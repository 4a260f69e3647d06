"""What zarr has to know of this package.

The entry points ``zarr.data_type`` and ``zarr.codecs`` tell it the same, but zarr 3.1 collects those of data types and
never loads them.
"""

from __future__ import annotations

import threading

from zarr.dtype import data_type_registry
from zarr.registry import register_codec

from packstore.views.zarr.dtypes import SERIALIZER
from packstore.views.zarr.dtypes.base import DescribedType
from packstore.views.zarr.dtypes.codec import VlenCodec
from packstore.views.zarr.dtypes.longdouble import LongDouble
from packstore.views.zarr.dtypes.struct import Struct
from packstore.views.zarr.dtypes.vlen_sequence import VlenSequence

__all__ = ["CLASSES", "register"]

CLASSES: dict[str, type[DescribedType]] = {c._zarr_v3_name: c for c in (Struct, LongDouble, VlenSequence)}
_lock = threading.Lock()


def register() -> None:
    """Make the data types and the codec known to zarr; does nothing where they are."""
    if _known():
        return
    with _lock:
        if not _known():
            register_codec(SERIALIZER, VlenCodec)
            # In one step, and not by `register`: another thread may be searching the registry, which iterates over it.
            object.__setattr__(data_type_registry, "contents", {**data_type_registry.contents, **CLASSES})


def _known() -> bool:
    try:
        return all(data_type_registry.get(name) is cls for name, cls in CLASSES.items())
    except KeyError:
        return False
