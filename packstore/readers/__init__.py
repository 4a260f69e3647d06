"""The table of file formats: a reader's name goes in, its module comes out, loaded on first use.

A reader is one module with two functions, and one line in `READERS`:

``sniff(source, head) -> bool``
    Whether the source looks like this format; `head` is its first 4096 bytes. Never raises for foreign bytes. The line
    in the table says which bytes a file must begin with to be asked at all, and whether directories are asked.
``read(source, *, component, chunks, **options) -> ManifestGroup``
    Header and index reads only. `component` names the one array that is wanted, or is None for all: opening one array
    asks for it once, and should cost no look at the others. `chunks` is the caller's chunking for data that has none
    of its own.

Other packages add formats through the entry point group ``packstore.readers`` (name → such a module).
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any, Protocol, cast

from packstore.source import Source
from packstore.storage import ManifestGroup

__all__ = ["READERS", "Reader", "ReaderModule", "all_readers", "other_readers", "reader_of"]


class ReaderModule(Protocol):
    """The two functions of a reader module."""

    def sniff(self, source: Source, head: bytes) -> bool:
        """Whether the source looks like this format."""

    def read(self, source: Source, *, component: str | None, chunks: Any, **options: Any) -> ManifestGroup:
        """Describe the arrays and groups in the source."""


@dataclass(frozen=True)
class Reader:
    """A format: its module, loaded on first use, and the options it takes.

    Parameters
    ----------
    module
        The name of the module.
    options
        What `read` takes besides.
    sniffable
        Whether the content tells the format.
    signs
        What its files begin with, each of them; none: only the module knows.
    folders
        Whether its arrays are directories, or files; None: both.
    """

    module: str
    options: tuple[str, ...] = ()
    sniffable: bool = True
    signs: tuple[bytes, ...] = ()
    folders: bool | None = False

    def may_be(self, head: bytes, is_folder: bool) -> bool:
        """Whether the module has to be asked if it recognises a source: loading it takes time."""
        if not self.sniffable or self.folders not in (None, is_folder):
            return False
        return is_folder or not self.signs or head.startswith(self.signs)

    def load(self) -> ReaderModule:
        return cast(ReaderModule, importlib.import_module(self.module))


_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
# Sniffed in this order: the sure signs (magic bytes) before the weak ones.
READERS: dict[str, Reader] = {
    "npy": Reader("packstore.readers.npy", signs=(b"\x93NUMPY",)),
    "zarr_zip": Reader("packstore.readers.zarr.zipped", signs=_ZIP),
    "npz": Reader("packstore.readers.npz", signs=_ZIP),
    "hdf5": Reader("packstore.readers.hdf5", options=("allow_external", "missing_sources", "encoding", "errors")),
    "netcdf3": Reader("packstore.readers.netcdf3", signs=(b"CDF",)),
    "zarr": Reader("packstore.readers.zarr", options=("allow_external",), folders=True),
    "text": Reader(
        "packstore.readers.text",
        options=("delimiter", "dtype", "skiprows", "comments", "max_rows", "usecols", "ndmin", "encoding"),
    ),
    "pickle": Reader("packstore.readers.pickle"),
    "npy_stack": Reader("packstore.readers.stack", options=("allow_external",), folders=True),
    "folder": Reader("packstore.readers.folder", folders=True),
    "raw": Reader(
        "packstore.readers.raw",
        options=("dtype", "shape", "offset", "order", "packed_axis", "bitorder", "bits"),
        sniffable=False,
    ),
}


def other_readers() -> dict[str, Reader]:
    """The formats of installed packages, which are looked for once a process."""
    global _plugins
    if _plugins is None:
        # Function-level, for import time: files of the built-in formats are opened without a look at the packages.
        from importlib.metadata import entry_points

        found = entry_points(group="packstore.readers")
        _plugins = {e.name: Reader(e.value, folders=None) for e in found if e.name not in READERS}
    return _plugins


def all_readers() -> dict[str, Reader]:
    """The built-in formats and those of installed packages."""
    return {**READERS, **other_readers()}


def reader_of(name: str) -> Reader | None:
    """The format of that name; None where there is none."""
    return READERS.get(name) or other_readers().get(name)


_plugins: dict[str, Reader] | None = None
