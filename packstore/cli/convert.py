"""``packstore convert``: any readable file into any writable format."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console

from packstore.cli.show import human, plain
from packstore.errors import ComponentNotFoundError, OptionError, UnsupportedError, message
from packstore.readers.find import find_array, locate
from packstore.readers.location import Location
from packstore.source.sizes import size_on_disk
from packstore.storage import ManifestGroup
from packstore.views.lazy import LazyArray
from packstore.views.zarr.metadata import array_reason
from packstore.writers import format_of, save

__all__ = ["convert", "render"]

# Formats of one array without a name, those that cut it into chunks, and those that keep attributes.
SINGLE, CHUNKED, WITH_ATTRIBUTES = ("npy", "raw"), ("zarr", "hdf5"), ("zarr", "hdf5")


def convert(
    source: str,
    target: str,
    components: Sequence[str],
    options: dict[str, Any],
    *,
    to: str | None = None,
    pack: bool | None = None,
    chunks: tuple[int, ...] | None = None,
    overwrite: bool = False,
    skip: bool = False,
    progress: bool = False,
) -> dict[str, Any]:
    """Write the arrays of `source` to `target` and say what was written.

    Parameters
    ----------
    components
        The arrays or groups that are wanted; none: all.
    to
        The target's format, where its suffix does not tell.
    pack
        Whether bool arrays take one bit an element; None: in zarr and in .bits files.
    chunks
        Chunk shape for the arrays with as many axes.
    skip
        Leave out what cannot be read or written, and say so, instead of refusing.

    Raises
    ------
    UnsupportedError
        Something that is wanted cannot be read, or not be written to this format.
    OptionError
        Options that do not fit the format or the arrays.
    """
    try:
        format = format_of(target, to)
    except OptionError as error:
        raise OptionError(str(error).replace("Pass format=", "Pass --to")) from None
    location = locate(source, **options)
    notes: list[str] = []
    arrays = _arrays(location, components, format, skip, notes)
    whole = len(arrays) == 1 and (format in SINGLE or "" in arrays or (format == "zarr" and len(components) == 1))
    if format in SINGLE and not whole:
        hint = "Name one with --component, or write an .npz, .h5 or .zarr"
        raise OptionError(message("converting", source, expected=f"one array for {format}", got=len(arrays), hint=hint))
    extra = _writer_options(target, format, arrays, pack, chunks)
    if format not in WITH_ATTRIBUTES and any(a.attrs for a in arrays.values()):
        notes.append(f"attributes are left behind: {format} has no place for them")
    if not components and any(location.manifest().groups.values()):
        notes.append("attributes of groups are left behind: only those of arrays are written")
    start = time.perf_counter()
    data = next(iter(arrays.values())) if whole else arrays
    save(target, data, format=format, progress=progress, overwrite=overwrite, **extra)
    seconds = time.perf_counter() - start
    result = {
        "source": source,
        "target": target,
        "format": format,
        "arrays": list(arrays),
        "nbytes": sum(a.nbytes for a in arrays.values()),
        "stored_nbytes": size_on_disk(target),
        "seconds": round(seconds, 3),
        "notes": notes,
    }
    if format == "raw":
        result["read_with"] = _read_with(next(iter(arrays.values())), extra)
    return result


def _arrays(
    location: Location, components: Sequence[str], format: str, skip: bool, notes: list[str]
) -> dict[str, LazyArray]:
    """The arrays that are wanted, by name."""
    manifest = location.manifest()
    names: dict[str, None] = {}
    refused: dict[str, str] = {}
    for wanted in components or [""]:
        _expand(location, manifest, wanted.strip("/"), bool(components), names, refused)
    found = {}
    for name in names:
        array = find_array(location, name)[1]
        reason = None
        if array.dtype.hasobject:
            reason = "its elements have no fixed size, and no target format holds such"
        elif format == "zarr":
            reason = array_reason(array)
        if reason is None:
            found[name] = LazyArray(location, name, array)
        else:
            refused[name] = reason
    for name, reason in refused.items():
        if not skip and name not in manifest.unlisted:
            hint = "Leave it out with --skip-unsupported, or name what is wanted with --component"
            raise UnsupportedError(message("converting", location.path, name or None, got=reason, hint=hint))
        notes.append(f"[{name}] is left out: {reason}")
    if not found:
        got = "none that can be written"
        raise UnsupportedError(message("converting", location.path, expected="an array", got=got))
    return found


def _expand(
    location: Location,
    manifest: ManifestGroup,
    wanted: str,
    named: bool,
    names: dict[str, None],
    refused: dict[str, str],
) -> None:
    """Add the arrays that one --component means, or all."""
    if named and wanted:
        if wanted in manifest.arrays:
            names[wanted] = None
            return
        below = f"{wanted}/"
        inside = [n for n in manifest.arrays if n.startswith(below)]
        bad = {n: r for n, r in manifest.unsupported.items() if n == wanted or n.startswith((below, f"{wanted}@"))}
        if not inside and not bad:
            # Reached by a link, or an error that names what there is.
            names[find_array(location, wanted)[0]] = None
            return
    else:
        inside, bad = sorted(manifest.arrays), dict(manifest.unsupported)
    if named and not wanted and not inside:
        raise ComponentNotFoundError(message("converting", location.path, got="no arrays"))
    names.update(dict.fromkeys(inside))
    refused.update(bad)


def _writer_options(
    target: str, format: str, arrays: dict[str, LazyArray], pack: bool | None, chunks: tuple[int, ...] | None
) -> dict[str, Any]:
    """What `save` is told besides the data."""
    extra: dict[str, Any] = {}
    if format == "zarr":
        extra["pack"] = pack is not False
    elif format == "hdf5":
        extra["pack"] = bool(pack)
    elif format == "raw" and (pack or (pack is None and target.lower().endswith(".bits"))):
        extra["packed_axis"] = -1
    elif pack:
        raise OptionError(message("converting to", target, expected="no --pack for this format", got="--pack"))
    if pack and not any(a.dtype == np.bool_ for a in arrays.values()):
        raise OptionError(message("converting to", target, expected="a bool array for --pack", got="none"))
    if chunks is None:
        return extra
    if format not in CHUNKED:
        raise OptionError(message("converting to", target, expected="no --chunks for this format", got=chunks))
    if any(c == 0 or c < -1 for c in chunks):
        raise OptionError(message("converting to", target, expected="--chunks above 0, or -1 for all", got=chunks))
    fitting = {name: chunks for name, a in arrays.items() if a.ndim == len(chunks)}
    if not fitting:
        ndims = sorted({a.ndim for a in arrays.values()})
        expected = f"--chunks of {' or '.join(map(str, ndims))} lengths"
        raise OptionError(message("converting to", target, expected=expected, got=chunks))
    extra["chunks"] = fitting
    return extra


def _read_with(array: LazyArray, extra: dict[str, Any]) -> dict[str, Any]:
    """The options that open a raw target: it has no header that would tell."""
    found: dict[str, Any] = {"format": "raw", "shape": list(array.shape)}
    if "packed_axis" in extra:
        return {**found, "packed_axis": array.ndim - 1}
    return {**found, "dtype": array.dtype.str if array.dtype.names is None else str(array.dtype)}


def render(console: Console, result: dict[str, Any]) -> None:
    """One line, and notes."""
    count = len(result["arrays"])
    size = "" if result["stored_nbytes"] is None else f" in {human(result['stored_nbytes'])}"
    console.print(
        f"{plain(result['target'])}: {count} array{'' if count == 1 else 's'}, {human(result['nbytes'])}{size} "
        f"({result['format']}), {result['seconds']} s",
        soft_wrap=True,
    )
    for note in result["notes"]:
        console.print(f"note: {plain(note)}", soft_wrap=True)
    if "read_with" in result:
        given = dict(result["read_with"])
        given["shape"] = ",".join(map(str, given["shape"]))
        text = " ".join(f"--{k.replace('_', '-')} {v}" for k, v in given.items())
        console.print(f"note: it has no header; read it with {plain(text)}", soft_wrap=True)
