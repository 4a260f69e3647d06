"""The formats that are fuzzed, one module each: `seeds` makes files, `mutate` damages one, `reference` reads it.

``seeds()``
    Gives the bytes of small sound files: ``{name: bytes}``, or ``{name: {path: bytes}}`` for a directory.
``mutate(rng, files)``
    Takes one of them as ``{path: bytes}`` (one file has the path "") and gives it damaged.
``reference(path, names)``
    The summary of the file by the format's own reader; of `names` only, where those are given.
``explained(name, subject, reference)``
    Why what packstore says of the array `name` (and of the others) may differ from what the reference says of it; None
    where it may not.
"""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["FORMATS", "load"]

# Names and suffixes.
FORMATS = {
    "npy": ".npy",
    "npz": ".npz",
    "hdf5": ".h5",
    "zarr": ".zarr",
    "pickle": ".pkl",
    "text": ".txt",
    "netcdf3": ".nc",
}


def load(name: str) -> Any:
    """The module of a format."""
    return importlib.import_module(f"tests.fuzz.formats.{name}")
