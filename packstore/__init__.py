"""packstore: any saved array as a read-only Zarr v3 store and a lazy dask array; bool masks at one bit an element.

``packstore.open*`` is ``zarr.open*`` for npy, npz, raw and packed bits, HDF5 and zarr itself; ``from_file`` gives a
dask array. Names load on first use: ``import packstore`` itself costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from packstore import config, errors

if TYPE_CHECKING:
    from packstore.codecs.bitpack import BitPack
    from packstore.codecs.packbits import PackBitsCodec
    from packstore.views.bitmemmap import BitMemmap, open_memmap
    from packstore.views.dask.from_file import count_nonzero, from_file
    from packstore.views.dask.from_files import from_files
    from packstore.views.lazy import LazyArray, open_lazy
    from packstore.views.zarr.array import Array
    from packstore.views.zarr.group import Group
    from packstore.views.zarr.open import open, open_array, open_group, open_store
    from packstore.views.zarr.store import ManifestStore
    from packstore.writers import save
    from packstore.writers.references import to_references

__version__ = "0.1.0"

__all__ = [
    "Array",
    "BitMemmap",
    "BitPack",
    "Group",
    "LazyArray",
    "ManifestStore",
    "PackBitsCodec",
    "config",
    "count_nonzero",
    "errors",
    "from_file",
    "from_files",
    "open",
    "open_array",
    "open_group",
    "open_lazy",
    "open_memmap",
    "open_store",
    "save",
    "to_references",
]

_HOMES = {
    "Array": "views.zarr.array",
    "BitMemmap": "views.bitmemmap",
    "BitPack": "codecs.bitpack",
    "Group": "views.zarr.group",
    "LazyArray": "views.lazy",
    "ManifestStore": "views.zarr.store",
    "PackBitsCodec": "codecs.packbits",
    "count_nonzero": "views.dask.from_file",
    "from_file": "views.dask.from_file",
    "from_files": "views.dask.from_files",
    "open": "views.zarr.open",
    "open_array": "views.zarr.open",
    "open_group": "views.zarr.open",
    "open_lazy": "views.lazy",
    "open_memmap": "views.bitmemmap",
    "open_store": "views.zarr.open",
    "save": "writers",
    "to_references": "writers.references",
}


def __getattr__(name: str) -> Any:
    if name == "virtualizarr":
        return importlib.import_module(f"{__name__}.virtualizarr")
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
