"""File formats: each reader turns a source into a :class:`~packstore.storage.ManifestGroup`.

A reader is one module with two functions, and one line in `READERS`:

``sniff(source, head) -> bool``
    Whether the source looks like this format; `head` is its first 4096 bytes. Never raises for foreign bytes.
``read(source, *, component, chunks, **options) -> ManifestGroup``
    Header and index reads only. `component` names the one array that is wanted (a reader may then skip the work for
    the others) or is None for all; `chunks` is the caller's chunking for data that has none of its own.

Other packages add formats through the entry point group ``packstore.readers`` (name → such a module).
"""

from __future__ import annotations

import difflib
import importlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, Protocol, cast

import numpy as np

from packstore.core.threads import ForkSafeLock
from packstore.errors import ComponentNotFoundError, FormatError, OptionError, UnsupportedError, message
from packstore.source import DirectorySource, Fingerprint, Source, open_source, reopen_source
from packstore.storage import ManifestArray, ManifestGroup

__all__ = ["READERS", "Location", "Reader", "find_array", "locate", "open_manifest"]

HEAD_NBYTES = 4096
MAX_CACHED_MANIFESTS = 64


class ReaderModule(Protocol):
    """What a reader module offers."""

    def sniff(self, source: Source, head: bytes) -> bool:
        """Whether the source looks like this format."""

    def read(self, source: Source, *, component: str | None, chunks: Any, **options: Any) -> ManifestGroup:
        """Describe what is in the source."""


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
    "npz": Reader("packstore.readers.npz"),
    "hdf5": Reader("packstore.readers.hdf5", options=("allow_external",)),
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
        options=("dtype", "shape", "offset", "order", "packed_axis", "bitorder"),
        sniffable=False,
    ),
}


@dataclass(frozen=True)
class Location:
    """A file and how to read it; pickles as a path, options and a fingerprint.

    Parameters
    ----------
    path
        As given by the caller.
    format
        A name in `READERS`.
    fingerprint
        The state of the file that was opened.
    """

    # The fingerprint holds the resolved path: one file is one location, however it was spelled.
    path: str = field(compare=False)
    format: str
    fingerprint: Fingerprint
    chunks: Any = None
    # Not shown: they may hold secrets.
    storage_options: tuple[tuple[str, Any], ...] = field(default=(), repr=False)
    options: tuple[tuple[str, Any], ...] = ()

    def __hash__(self) -> int:
        # Options may be unhashable (nested storage options); equality still compares them.
        return hash((self.fingerprint, self.format))

    def __dask_tokenize__(self) -> object:
        return (type(self).__name__, self.fingerprint, self.format, self.options)

    def source(self) -> Source:
        """The source in the state it had: anything else raises StaleFileError, here or on the first read."""
        return reopen_source(self.fingerprint, dict(self.storage_options))

    def manifest(self, component: str | None = None) -> ManifestGroup:
        """The file's manifest; kept for the last 64 files of a process."""
        key = (self, component)
        with _lock:
            if key not in _manifests:
                key = (self, None)
            found = _manifests.get(key)
            if found is not None:
                _manifests.move_to_end(key)
        if found is not None and (found.fresh is None or found.fresh(component)):
            return found
        key = (self, component)
        manifest = self._read(component)
        with _lock:
            _manifests[key] = manifest
            while len(_manifests) > MAX_CACHED_MANIFESTS:
                _manifests.popitem(last=False)
        return manifest

    def _read(self, component: str | None) -> ManifestGroup:
        source = self.source()
        source.check()
        module = _readers()[self.format].load()
        return module.read(source, component=component, chunks=self.chunks, **dict(self.options))


_manifests: OrderedDict[tuple[Location, str | None], ManifestGroup] = OrderedDict()
_lock = ForkSafeLock()


def _readers() -> dict[str, Reader]:
    """The built-in formats and those of installed packages."""
    global _plugins
    if _plugins is None:
        _plugins = {e.name: Reader(e.value) for e in entry_points(group="packstore.readers") if e.name not in READERS}
    return {**READERS, **_plugins}


_plugins: dict[str, Reader] | None = None


def locate(
    path: Any,
    *,
    format: str | None = None,
    chunks: Any = None,
    storage_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> Location:
    """Find the file and its format.

    Parameters
    ----------
    path
        Local path or fsspec URL.
    format
        A name in `READERS`; None: recognised by content.
    chunks
        Chunking for data that has none of its own.
    **options
        Reader options, checked against what the format takes.

    Raises
    ------
    MissingFileError
        No such file.
    FormatError
        No format recognises the content.
    OptionError
        An unknown format, or an option the format does not take.
    """
    source = open_source(path, storage_options)
    readers = _readers()
    if format is None:
        format = _sniff(source, readers)
    elif format not in readers:
        raise OptionError(
            message(f"opening {path}", expected=f"format to be one of {', '.join(sorted(readers))}", got=repr(format))
        )
    reader = readers[format]
    for name in options:
        if name not in reader.options and format in READERS:
            takes = ", ".join(reader.options) or "none"
            raise OptionError(
                message(f"opening {path} as {format}", expected=f"options of this format ({takes})", got=repr(name))
            )
    return Location(
        path=str(path),
        format=format,
        fingerprint=source.fingerprint,
        chunks=_hashable(chunks),
        storage_options=tuple(sorted((storage_options or {}).items())),
        options=tuple((k, _hashable(v)) for k, v in sorted(options.items())),
    )


def _hashable(value: Any) -> Any:
    # Also numpy's scalars: one that is compared with a tuple gives an array, not True or False.
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    return tuple(_hashable(v) for v in value) if isinstance(value, (list, tuple)) else value


def _sniff(source: Source, readers: Mapping[str, Reader]) -> str:
    head = b"" if isinstance(source, DirectorySource) else bytes(source.pread(0, min(source.nbytes, HEAD_NBYTES)))
    for name, reader in readers.items():
        if reader.sniffable and reader.load().sniff(source, head):
            return name
    shown = head[:8].hex(" ") if head else "no bytes"
    raise FormatError(
        message(
            "recognising",
            source.name,
            expected=f"one of {', '.join(n for n, r in readers.items() if r.sniffable)}",
            got=shown,
            hint='For raw bytes pass format="raw", dtype= and shape=',
        )
    )


def open_manifest(path: Any, component: str | None = None, **kwargs: Any) -> tuple[Location, ManifestGroup]:
    """`locate` and read in one step; parameters as there."""
    location = locate(path, **kwargs)
    return location, location.manifest(component)


def component_name(component: str) -> str:
    """`component` without slashes around it."""
    if not isinstance(component, str):
        raise OptionError(message("opening", expected="component= to be a str", got=repr(component)))
    return component.strip("/")


def find_array(location: Location, component: str | None) -> tuple[str, ManifestArray]:
    """The named array, or the only one where `component` is None.

    Raises
    ------
    ComponentNotFoundError
        No such array; the text lists near names.
    UnsupportedError
        It exists and is not served; the text says why.
    """
    wanted = None if component is None else component_name(component)
    manifest = location.manifest(wanted)
    arrays = manifest.arrays
    if wanted is None:
        # "path@name" tells of an attribute that cannot be read, not of another array.
        known = {*arrays, *manifest.groups}
        others = [k for k in manifest.unsupported if "@" not in k or k.rpartition("@")[0] not in known]
        if len(arrays) == 1 and not others:
            return next(iter(arrays.items()))
        if "" in arrays:
            return "", arrays[""]
        if "" in manifest.unsupported:
            raise UnsupportedError(
                message("opening", location.path, expected="a supported array", got=manifest.unsupported[""])
            )
        raise ComponentNotFoundError(
            message(
                "opening",
                location.path,
                expected="component= to name one array",
                got=_listing([*arrays, *others]),
            )
        )
    if wanted in arrays:
        return wanted, arrays[wanted]
    if wanted in manifest.unsupported:
        raise UnsupportedError(
            message("opening", location.path, wanted, expected="a supported array", got=manifest.unsupported[wanted])
        )
    names = list(location.manifest().arrays)
    near = difflib.get_close_matches(wanted, names, n=3)
    raise ComponentNotFoundError(
        message(
            "opening",
            location.path,
            wanted,
            expected="no component, as the file is one array" if names == [""] else f"one of {_listing(names)}",
            got="no array of that name",
            hint=f"The nearest name is {near[0]!r}" if near else None,
        )
    )


def _listing(names: Sequence[str]) -> str:
    if not names:
        return "no arrays"
    shown = ", ".join(repr(n) for n in names[:8])
    return shown if len(names) <= 8 else f"{shown} and {len(names) - 8} more"
