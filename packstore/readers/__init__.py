"""The table of file formats: a reader's name goes in, its module comes out, loaded on first use.

A reader is one module with two functions, and one line in `READERS`:

``sniff(source, head) -> bool``
    Whether the source looks like this format; `head` is its first 4096 bytes. Never raises for foreign bytes.
``read(source, *, component, chunks, **options) -> ManifestGroup``
    Header and index reads only. `component` names the one array that is wanted, or is None for all: opening one array
    asks for it once, and should cost no look at the others. `chunks` is the caller's chunking for data that has none
    of its own.

Other packages add formats through the entry point group ``packstore.readers`` (name → such a module).
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, Protocol, cast

from packstore.source import Source
from packstore.storage import ManifestGroup

__all__ = ["READERS", "Reader", "ReaderModule", "all_readers"]


class ReaderModule(Protocol):
    """The two functions of a reader module."""

    def sniff(self, source: Source, head: bytes) -> bool:
        """Whether the source looks like this format."""

    def read(self, source: Source, *, component: str | None, chunks: Any, **options: Any) -> ManifestGroup:
        """Describe the arrays and groups in the source."""


@dataclass(frozen=True)
class Reader:
    """A format: its module, loaded on first use, and the options it takes."""

    module: str
    options: tuple[str, ...] = ()
    sniffable: bool = True

    def load(self) -> ReaderModule:
        return cast(ReaderModule, importlib.import_module(self.module))


# Sniffed in this order: the sure signs (magic bytes) before the weak ones.
READERS: dict[str, Reader] = {
    "npy": Reader("packstore.readers.npy"),
    "zarr_zip": Reader("packstore.readers.zarr.zipped"),
    "npz": Reader("packstore.readers.npz"),
    "hdf5": Reader("packstore.readers.hdf5", options=("allow_external", "missing_sources", "encoding", "errors")),
    "netcdf3": Reader("packstore.readers.netcdf3"),
    "zarr": Reader("packstore.readers.zarr"),
    "text": Reader(
        "packstore.readers.text",
        options=("delimiter", "dtype", "skiprows", "comments", "max_rows", "usecols", "ndmin", "encoding"),
    ),
    "pickle": Reader("packstore.readers.pickle"),
    "npy_stack": Reader("packstore.readers.stack"),
    "folder": Reader("packstore.readers.folder"),
    "raw": Reader(
        "packstore.readers.raw",
        options=("dtype", "shape", "offset", "order", "packed_axis", "bitorder", "bits"),
        sniffable=False,
    ),
}


def all_readers() -> dict[str, Reader]:
    """The built-in formats and those of installed packages."""
    global _plugins
    if _plugins is None:
        _plugins = {e.name: Reader(e.value) for e in entry_points(group="packstore.readers") if e.name not in READERS}
    return {**READERS, **_plugins}


_plugins: dict[str, Reader] | None = None
