"""Finding files and arrays: a path goes in, its location comes out; a component's name goes in, its array comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from packstore.errors import ComponentNotFoundError, FormatError, OptionError, UnsupportedError, message
from packstore.readers import READERS, all_readers
from packstore.readers.location import AnyLocation, Location
from packstore.source import DirectorySource, Source, open_source
from packstore.storage import ManifestArray, ManifestGroup

__all__ = ["component_name", "find_array", "locate", "sniff"]

HEAD_NBYTES = 4096


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
    readers = all_readers()
    if format is None:
        format = sniff(source)
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


def sniff(source: Source) -> str:
    """The name of the first format that recognises the source.

    Raises
    ------
    FormatError
        None does.
    """
    readers = all_readers()
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


def component_name(component: str) -> str:
    """`component` without slashes around it."""
    if not isinstance(component, str):
        raise OptionError(message("opening", expected="component= to be a str", got=repr(component)))
    return component.strip("/")


def find_array(location: AnyLocation, component: str | None) -> tuple[str, ManifestArray]:
    """The name and the manifest of the named array, or of the only one where `component` is None.

    Reads the index of that array only, where it is named and the format has one for each.

    Raises
    ------
    ComponentNotFoundError
        No such array; the text lists near names.
    UnsupportedError
        It exists and is not served; the text says why.
    """
    wanted = None if component is None else component_name(component)
    manifest = location.manifest(wanted)
    if wanted is None:
        return _only_array(location, manifest)
    for arrays in (manifest.arrays, manifest.unlisted):
        if wanted in arrays:
            return wanted, arrays[wanted]
    if wanted in manifest.unsupported:
        raise _unsupported(location, wanted, manifest.unsupported[wanted])
    raise _not_found(location, wanted)


def _only_array(location: AnyLocation, manifest: ManifestGroup) -> tuple[str, ManifestArray]:
    """The array of a file that is one, or that holds one and nothing else."""
    arrays = manifest.arrays
    # "path@name" tells of an attribute that cannot be read, not of another array.
    known = {*arrays, *manifest.groups, *manifest.unlisted}
    others = [k for k in manifest.unsupported if "@" not in k or k.rpartition("@")[0] not in known]
    others = [k for k in others if k not in manifest.unlisted]
    if len(arrays) == 1 and not others:
        return next(iter(arrays.items()))
    if "" in arrays:
        return "", arrays[""]
    if "" in manifest.unsupported:
        raise _unsupported(location, None, manifest.unsupported[""])
    got = _listing([*arrays, *others])
    raise ComponentNotFoundError(message("opening", location.path, expected="component= to name one array", got=got))


def _unsupported(location: AnyLocation, component: str | None, reason: str) -> UnsupportedError:
    return UnsupportedError(message("opening", location.path, component, expected="a supported array", got=reason))


def _not_found(location: AnyLocation, component: str) -> ComponentNotFoundError:
    # Function-level, for import time: only this error needs it.
    import difflib

    names = list(location.manifest().arrays)
    near = difflib.get_close_matches(component, names, n=3)
    return ComponentNotFoundError(
        message(
            "opening",
            location.path,
            component,
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
