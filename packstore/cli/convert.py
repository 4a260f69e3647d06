"""``packstore convert``: any readable files into any writable format."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from rich.console import Console

from packstore.cli.files import stem, stems
from packstore.cli.show import human, plain
from packstore.errors import OptionError, message
from packstore.readers.find import locate
from packstore.readers.joined import piped
from packstore.source.remote.urls import is_url
from packstore.source.sizes import size_on_disk
from packstore.writers import WRITERS, format_of, save
from packstore.writers.items import Item
from packstore.writers.sources.location import tree_of_location
from packstore.writers.tree import Tree

__all__ = ["How", "convert", "copy_name", "render"]

# Formats of one array without a name, and those that cut arrays into chunks.
SINGLE, CHUNKED = ("npy", "raw"), ("zarr", "zarr_zip", "hdf5")


@dataclass(frozen=True)
class How:
    """How copies are written, as the options of the command say.

    Parameters
    ----------
    to
        The target's format, where its suffix does not tell.
    pack
        Whether bool arrays take one bit an element; None: in zarr and in .bits files.
    chunks, shards
        Chunk (shard) shape for the arrays with as many axes.
    writer
        Options of the format that are passed on as they are: ``compressor``, ``level``, ``zarr_format``.
    overwrite
        Replace an existing target, or what it has of the same names where `append` is set.
    append
        Add to an existing target.
    skip
        Leave out what cannot be read or written, and say so, instead of refusing.
    """

    to: str | None = None
    pack: bool | None = None
    chunks: tuple[int, ...] | None = None
    shards: tuple[int, ...] | None = None
    writer: Mapping[str, Any] = field(default_factory=dict)
    overwrite: bool = False
    append: bool = False
    skip: bool = False
    progress: bool = False


def convert(
    sources: Sequence[str],
    target: str,
    components: Sequence[str],
    options: dict[str, Any],
    how: How,
    *,
    by_stem: bool = False,
) -> dict[str, Any]:
    """Write the arrays of `sources` to `target` and say what was written and what was not kept.

    Parameters
    ----------
    components
        The arrays or groups of each source that are wanted; none: all.
    options
        How to open the sources.
    by_stem
        Put what each source has under the source's name without suffix: an array, or a group of arrays.

    Raises
    ------
    UnsupportedError
        Something that is wanted cannot be read, or not be written to this format.
    OptionError
        Options that do not fit the format or the arrays, or sources of one name.
    """
    try:
        format = format_of(target, how.to)
    except OptionError as error:
        raise OptionError(str(error).replace("Pass format=", "Pass --to")) from None
    start = time.perf_counter()
    trees = {}
    for name, source in (stems(sources) if by_stem else dict.fromkeys(("",), sources[0])).items():
        path, below, how_to_open = piped(source, None, options)
        wanted = ["/".join(filter(None, (below, each))) for each in components] or [each for each in (below,) if each]
        trees[name] = tree_of_location(locate(path, **how_to_open), wanted, skip=how.skip)
    tree = joined(trees) if by_stem else trees[""]
    may_be_whole = format.startswith("zarr") and len(wanted) == 1 and not by_stem
    whole = len(tree.items) == 1 and (format in SINGLE or may_be_whole)
    if format in SINGLE and not whole:
        hint = "Name one with --component, write an .npz, .h5 or .zarr, or copies into a folder: DST/"
        expected = f"one array for {format}"
        raise OptionError(message("converting", sources[0], expected=expected, got=len(tree.items), hint=hint))
    if whole:
        tree = Tree([dataclasses.replace(tree.items[0], name="")], single=True, lost=tree.lost)
    if how.append and tree.single:
        # It has no name, and everything in the target has one.
        tree = joined({stem(sources[0]): tree})
    extra = _writer_options(target, format, tree.items, how)
    report = save(
        target,
        tree,
        format=format,
        progress=how.progress,
        overwrite=how.overwrite,
        skip_unsupported=how.skip,
        **extra,
    )
    result: dict[str, Any] = {
        "source": sources[0] if len(sources) == 1 and not by_stem else list(sources),
        "target": report.path,
        "format": format,
        "arrays": list(report.arrays),
        "nbytes": tree.nbytes,
        "stored_nbytes": None if is_url(target) else size_on_disk(target),
        "seconds": round(time.perf_counter() - start, 3),
        "lost": list(report.lost),
        "notes": [],
    }
    if format == "raw":
        result["read_with"] = _read_with(tree.items[0], extra)
        given = {**result["read_with"], "shape": ",".join(map(str, tree.items[0].shape))}
        text = " ".join(f"--{k.replace('_', '-')} {v}" for k, v in given.items())
        result["notes"].append(f"it has no header; read it with {text}")
    return result


def copy_name(source: str, folder: str, to: str | None) -> str:
    """The path of the copy of `source` in `folder`, in the format `to`.

    Raises
    ------
    OptionError
        No such format, or none: a folder's name does not tell.
    """
    if to is None:
        raise OptionError(message("converting into the folder", folder, expected="--to FORMAT", got="none"))
    return os.path.join(folder, stem(source) + WRITERS[format_of(folder, to)][1][0])


def joined(trees: Mapping[str, Tree]) -> Tree:
    """Each tree under its name: one array as an array, others as a group."""
    whole = Tree()
    for name, tree in trees.items():

        def below(path: str, name: str = name) -> str:
            return f"{name}/{path}" if path else name

        whole.items += [dataclasses.replace(item, name=below(item.name)) for item in tree.items]
        whole.groups.update({below(path): attributes for path, attributes in tree.groups.items()})
        whole.links.update({below(path): below(link) for path, link in tree.links.items()})
        whole.lost += [f"[{name}] {line}" for line in tree.lost]
    return whole


def _writer_options(target: str, format: str, items: Sequence[Item], how: How) -> dict[str, Any]:
    """What `save` is told besides the data."""
    takes = inspect.signature(importlib.import_module(WRITERS[format][0]).write).parameters
    for name in how.writer:
        if name not in takes:
            option = f"--{name.replace('_', '-')}"
            raise OptionError(message("converting to", target, expected=f"no {option} for this format", got=option))
    extra = dict(how.writer)
    pack = how.pack
    if how.append:
        extra["mode"] = "a"
    if format in CHUNKED:
        if pack is not None:
            extra["pack"] = pack
    elif format == "raw" and (pack or (pack is None and target.lower().endswith(".bits"))):
        extra["packed_axis"] = -1
    elif pack:
        raise OptionError(message("converting to", target, expected="no --pack for this format", got="--pack"))
    if pack and not any(item.dtype == np.bool_ for item in items):
        raise OptionError(message("converting to", target, expected="a bool array for --pack", got="none"))
    for option in ("chunks", "shards"):
        lengths = getattr(how, option)
        if lengths is not None:
            extra[option] = _fitting(target, format, items, option, lengths)
    return extra


def _fitting(target: str, format: str, items: Sequence[Item], option: str, wanted: tuple[int, ...]) -> dict[str, Any]:
    """The lengths for each array that has as many axes."""
    if format not in CHUNKED:
        raise OptionError(message("converting to", target, expected=f"no --{option} for this format", got=wanted))
    if any(c == 0 or c < -1 for c in wanted):
        raise OptionError(message("converting to", target, expected=f"--{option} above 0, or -1 for all", got=wanted))
    fitting = {item.name: wanted for item in items if len(item.shape) == len(wanted)}
    if not fitting:
        expected = f"--{option} of {' or '.join(map(str, sorted({len(item.shape) for item in items})))} lengths"
        raise OptionError(message("converting to", target, expected=expected, got=wanted))
    return fitting


def _read_with(array: Item, extra: dict[str, Any]) -> dict[str, Any]:
    """The options that open a raw target: it has no header that would tell."""
    found: dict[str, Any] = {"format": "raw", "shape": list(array.shape)}
    if "packed_axis" in extra:
        return {**found, "packed_axis": len(array.shape) - 1}
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
    for line in result["lost"]:
        console.print(f"not kept: {plain(line)}", soft_wrap=True)
    for note in result["notes"]:
        console.print(f"note: {plain(note)}", soft_wrap=True)
