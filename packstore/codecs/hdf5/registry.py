"""The table of HDF5 filters: a filter's number in, its module out, or the pip package that lets h5py decode it."""

from __future__ import annotations

import contextlib
import functools
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from packstore.codecs.hdf5.base import FilterModule, FilterSpec

__all__ = ["FILTERS", "Filter", "h5py_can_decode", "load_plugins", "unavailable"]


@dataclass(frozen=True)
class Filter:
    """One filter number: its name, its module, and the package that helps without one.

    Parameters
    ----------
    id, name
        The registered number and the usual name.
    module
        The file of this package that decodes it; empty where only h5py does.
    package
        The pip package that lets h5py decode it; empty where h5py does by itself, or where no package exists.
    """

    id: int
    name: str
    module: str = ""
    package: str = ""

    @property
    def via_h5py(self) -> bool:
        """Whether only h5py (under libhdf5's lock) can decode it."""
        return not self.module

    def load(self) -> FilterModule:
        """Import the decoder."""
        return _load(self.module)


@functools.cache
def _load(module: str) -> FilterModule:
    return cast(FilterModule, importlib.import_module(f"packstore.codecs.hdf5.{module}"))


FILTERS: dict[int, Filter] = {
    entry.id: entry
    for entry in (
        Filter(1, "deflate", "deflate"),
        Filter(2, "shuffle", "shuffle"),
        Filter(3, "fletcher32", "fletcher32"),
        Filter(4, "szip", "szip"),
        Filter(5, "nbit", "nbit"),
        Filter(6, "scaleoffset", "scaleoffset"),
        Filter(305, "lzo"),
        Filter(307, "bzip2", "bzip2", "hdf5plugin"),
        Filter(32000, "lzf", "lzf"),
        Filter(32001, "blosc", "blosc", "hdf5plugin"),
        Filter(32004, "lz4", "lz4", "hdf5plugin"),
        Filter(32008, "bitshuffle", "bitshuffle", "hdf5plugin"),
        Filter(32013, "zfp", package="hdf5plugin"),
        Filter(32015, "zstd", "zstd", "hdf5plugin"),
        Filter(32017, "sz", package="hdf5plugin"),
        Filter(32018, "fcidecomp", package="hdf5plugin"),
        Filter(32020, "vbz", package="vbz-h5py-plugin"),
        Filter(32022, "bitgroom", "unchanged", "hdf5plugin"),
        Filter(32023, "granular bitround", "unchanged", "hdf5plugin"),
        Filter(32024, "sz3", package="hdf5plugin"),
        Filter(32026, "blosc2", "blosc2", "hdf5plugin"),
        Filter(32028, "sperr", package="hdf5plugin"),
        Filter(32033, "htj2k", package="hdf5plugin"),
    )
}


def unavailable(filters: Sequence[FilterSpec]) -> str | None:
    """Say why this process cannot decode a pipeline outside h5py's lock.

    Parameters
    ----------
    filters
        The dataset's pipeline.

    Returns
    -------
    str or None
        None when `decode_chunk` takes the pipeline; else the reason, with the filter's number and the pip package
        that would help. h5py may still read the dataset: see `h5py_can_decode`.

    Examples
    --------
    >>> unavailable([FilterSpec(2, (4,), "shuffle"), FilterSpec(32013, (), "zfp")])
    'HDF5 filter 32013 (zfp) is decoded by h5py only, which needs the pip package hdf5plugin'
    """
    for spec in filters:
        known = FILTERS.get(spec.id)
        if known is None:
            name = f" ({spec.name})" if spec.name else ""
            return (
                f"HDF5 filter {spec.id}{name} is not known to packstore; h5py needs its plugin, "
                "and no pip package is known to bring it (hdf5plugin does not)"
            )
        if known.via_h5py:
            text = f"HDF5 filter {spec.id} ({known.name}) is decoded by"
            if not known.package:
                return f"{text} PyTables only (pip package tables); no plugin for h5py is known"
            return f"{text} h5py only, which needs the pip package {known.package}"
        package = known.load().unavailable()
        if package is not None:
            return f"HDF5 filter {spec.id} ({known.name}) needs the pip package {package}; h5py decodes it without" + (
                f", given {known.package}" if known.package else ""
            )
    return None


def h5py_can_decode(filters: Sequence[FilterSpec]) -> bool:
    """Say whether h5py, with the plugins of pip packages where these are installed, reads a pipeline.

    Importing a package registers its plugins with libhdf5 for the whole process, so this is only for the fallback.
    """
    import h5py

    if not all(h5py.h5z.filter_avail(spec.id) for spec in filters):
        load_plugins(filters)
    return all(h5py.h5z.filter_avail(spec.id) for spec in filters)


def load_plugins(filters: Sequence[FilterSpec]) -> None:
    """Import the pip packages that bring h5py's plugins for these filters, as far as they are installed."""
    packages = {FILTERS[spec.id].package for spec in filters if spec.id in FILTERS} | {"hdf5plugin"}
    for package in packages - {""}:
        with contextlib.suppress(ImportError):
            importlib.import_module(package.replace("-", "_"))
