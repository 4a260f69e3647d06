"""Imported once by the server from which measuring processes are forked: libraries only, no threads, no files."""

from __future__ import annotations

import contextlib
import importlib

for _name in (
    "dask.array",
    "zarr",
    "h5py",
    "hdf5plugin",
    "imagecodecs",
    "numcodecs",
    "packstore.views.zarr.open",
    "packstore.views.dask.from_file",
):
    with contextlib.suppress(ImportError):
        importlib.import_module(_name)
