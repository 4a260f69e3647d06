"""`Parser`: npy, npz, HDF5, NetCDF and packed bits for ``virtualizarr.open_virtual_dataset``."""

from __future__ import annotations

from packstore.writers.references.virtual import Parser

__all__ = ["Parser"]
