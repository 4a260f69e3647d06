"""Finding files and arrays: a path goes in, its location comes out; a component's name goes in, its array comes out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from packstore.errors import (
    ComponentNotFoundError,
    FormatError,
    OptionError,
    PackstoreError,
    StaleFileError,
    UnsupportedError,
    message,
)
from packstore.readers import READERS, Reader, all_readers, other_readers, reader_of
from packstore.readers.location import AnyLocation, Location
from packstore.source import DirectorySource, HeldSource, RemoteFolder, Source, masked, open_source, path_text, refusal
from packstore.source.given import given_place
from packstore.source.refusals import options_of
from packstore.storage import ManifestArray, ManifestGroup

__all__ = ["component_name", "find_array", "find_same", "locate", "near_name", "sniff"]

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
        Local path or fsspec URL; a binary file object, or a zarr store.
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
    path, storage_options = given_place(path, storage_options)
    storage_options = options_of(path, storage_options)
    source = open_source(path, storage_options)
    held = source if isinstance(source, HeldSource) else None
    path = held.name if held else masked(path_text(path))
    _check_chunks(path, chunks)
    if format is None:
        format = sniff(source)
    reader = reader_of(format) if isinstance(format, str) else None
    if reader is None:
        known = ", ".join(sorted(all_readers()))
        raise OptionError(message(f"opening {path}", expected=f"format to be one of {known}", got=repr(format)))
    for name in options:
        if name not in reader.options and format in READERS:
            takes = ", ".join(reader.options) or "none"
            raise OptionError(
                message(f"opening {path} as {format}", expected=f"options of this format ({takes})", got=repr(name))
            )
    return Location(
        path=path,
        format=format,
        fingerprint=source.fingerprint,
        chunks=_hashable(chunks),
        storage_options=tuple(sorted((storage_options or {}).items())),
        options=tuple((k, _hashable(v)) for k, v in sorted(options.items())),
        held=held,
    )


def _check_chunks(path: str, chunks: Any) -> None:
    """Refuse chunks of no form that any array takes; whether they fit is known once the shape is."""
    lengths = chunks if isinstance(chunks, (list, tuple, np.ndarray)) else (chunks,)
    for length in lengths:
        if length is None or (isinstance(length, str) and length == "auto" and lengths is not chunks):
            continue
        if (
            isinstance(length, (bool, np.bool_))
            or not isinstance(length, (int, np.integer))
            or length < -1
            or length == 0
        ):
            raise OptionError(
                message(
                    "opening",
                    path,
                    expected="chunks= as one length, or one an axis (-1: the whole axis)",
                    got=f"{chunks!r:.200}",
                )
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
    AccessError, ReadError
        The operating system refuses a look at it.
    """
    if isinstance(source, RemoteFolder):
        return "zarr"
    is_folder = isinstance(source, DirectorySource)
    head = b"" if is_folder else bytes(source.pread(0, min(source.nbytes, HEAD_NBYTES)))
    try:
        for name, reader in _in_turn():
            if reader.may_be(head, is_folder) and reader.load().sniff(source, head):
                return name
    except OSError as error:
        if isinstance(error, PackstoreError):
            raise
        raise refusal(error, source.name) from error
    # Function-level, for import time: only this error needs it.
    from packstore.readers.known import kind_of

    kind = kind_of(source, head)
    known = ", ".join(n for n, r in all_readers().items() if r.sniffable)
    raise FormatError(message("recognising", source.name, expected=f"one of {known}", got=kind.name, hint=kind.hint))


def _in_turn() -> Iterator[tuple[str, Reader]]:
    """The formats as they are asked; those of other packages are looked for after all built-in ones."""
    yield from READERS.items()
    yield from other_readers().items()


def component_name(component: str, path: str | None = None) -> str:
    """`component` without slashes around it; `path` is for the error message."""
    if not isinstance(component, str):
        raise OptionError(message("opening", path, expected="component= to be a str", got=f"{component!r:.200}"))
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
    wanted = None if component is None else component_name(component, location.path)
    manifest = location.manifest(wanted)
    if wanted is None:
        return _only_array(location, manifest)
    for arrays in (manifest.arrays, manifest.unlisted):
        if wanted in arrays:
            return wanted, arrays[wanted]
    if wanted in manifest.unsupported:
        raise _unsupported(location, wanted, manifest.unsupported[wanted])
    raise _not_found(location, wanted)


def find_same(location: AnyLocation, component: str, version: tuple[Any, ...] | None) -> ManifestArray:
    """The array that was opened before, perhaps in another process, in the state `version`.

    Raises
    ------
    StaleFileError
        Its metadata, or another file that it is made of, is not as it was.
    """
    got: object = "changed metadata, or a change in another file that it is made of"
    try:
        array = find_array(location, component)[1]
        if array.version == version:
            return array
    except (ComponentNotFoundError, UnsupportedError) as why:
        if version is None:
            raise
        got = why
    expected = "the array that was opened"
    raise StaleFileError(message("opening", location.path, component, expected=expected, got=got, hint="Open it again"))


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
    if len(others) == 1 and not arrays:
        raise _unsupported(location, others[0], manifest.unsupported[others[0]])
    got = _listing([*arrays, *others])
    raise ComponentNotFoundError(message("opening", location.path, expected="component= to name one array", got=got))


def _unsupported(location: AnyLocation, component: str | None, reason: str) -> UnsupportedError:
    return UnsupportedError(message("opening", location.path, component, expected="a supported array", got=reason))


def _not_found(location: AnyLocation, component: str) -> ComponentNotFoundError:
    names = list(location.manifest().arrays)
    return ComponentNotFoundError(
        message(
            "opening",
            location.path,
            component,
            expected="no component, as the file is one array" if names == [""] else f"one of {_listing(names)}",
            got="no array of that name",
            hint=near_name(component, names),
        )
    )


def near_name(wanted: str, names: Iterable[str]) -> str | None:
    """A sentence that tells which of `names` is most like `wanted`; None where none is.

    Examples
    --------
    >>> near_name("frist", ["first", "second"])
    "The nearest name is 'first'"
    """
    # Function-level, for import time: only errors need it.
    import difflib

    near = difflib.get_close_matches(wanted, list(names), n=1)
    return f"The nearest name is {near[0]!r}" if near else None


def _listing(names: Sequence[str]) -> str:
    if not names:
        return "no arrays"
    shown = ", ".join(repr(n) for n in names[:8])
    return shown if len(names) <= 8 else f"{shown} and {len(names) - 8} more"
