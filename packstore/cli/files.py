"""The files that a command line names: quoted patterns expanded, several files one after the other, names of copies."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Callable, Iterable, Sequence

from rich.console import Console

from packstore.cli.show import Result, emit, error_line
from packstore.errors import FormatError, MissingFileError, OptionError, PackstoreError, message
from packstore.readers.find import sniff
from packstore.readers.joined import expand_paths
from packstore.readers.pipelines import parse_pipeline
from packstore.source import open_source

__all__ = ["each", "expanded", "is_folder", "is_pattern", "same_stem", "stem", "stems"]


def is_pattern(path: str) -> bool:
    """Whether `path` stands for files that match it: it has wildcards, and nothing is called so."""
    if "://" in path:
        # A question mark begins the query of a URL.
        return "*" in path
    return glob.has_magic(path) and not os.path.lexists(path)


def expanded(paths: Iterable[str]) -> list[str]:
    """The paths, with the files that match in the place of each pattern.

    Raises
    ------
    MissingFileError
        A pattern that nothing matches.

    Examples
    --------
    >>> expanded(["b.npy", "a.npy"])
    ['b.npy', 'a.npy']
    """
    return [file for path in paths for file in (expand_paths(path) if is_pattern(path) else [path])]


def each(
    files: Iterable[str],
    command: Callable[[str], Result],
    as_json: bool,
    render: Callable[[Console, Result], None],
) -> list[Result]:
    """Run `command` for each file and print what it gives; a file that fails hides no other.

    The error of a file is one line on stderr; in the JSON object, whose ``files`` are the results, its place takes
    ``path``, ``error`` and ``message``.
    """
    results = []
    for file in files:
        try:
            results.append(command(file))
        except (BrokenPipeError, MemoryError):
            raise
        except (PackstoreError, OSError) as error:
            text = error_line(error)
            print(f"packstore: {text}", file=sys.stderr)
            results.append({"path": file, "error": type(error).__name__, "message": text})
        else:
            if not as_json:
                emit(results[-1], False, render)
    if as_json:
        emit({"files": results}, True, render)
    return results


def is_folder(path: str) -> bool:
    """Whether it is a folder in which files lie, and not an array or a zarr store itself."""
    if not os.path.isdir(path):
        return False
    try:
        return sniff(open_source(path)) == "folder"
    except FormatError:  # nothing is in it
        return True


def same_stem(path: str, folder: str) -> str:
    """The file in `folder` that is called as `path` is, whatever its suffix.

    Raises
    ------
    OptionError
        `folder` is none.
    MissingFileError
        None or several are called so.
    """
    if not is_folder(folder):
        raise OptionError(message("comparing several files", expected="a folder as the last name", got=repr(folder)))
    wanted = stem(path)
    names = sorted(name for name in os.listdir(folder) if stem(name) == wanted)
    if len(names) != 1:
        got = "none" if not names else " and ".join(names)
        raise MissingFileError(message(f"finding {wanted} in", folder, expected="one file of that name", got=got))
    return os.path.join(folder, names[0])


def stem(path: str) -> str:
    """The name of a file without its folders and its suffix.

    Examples
    --------
    >>> stem("data/a.b.npy"), stem("s3://bucket/x.zarr/"), stem(".hidden"), stem("a.npz|npz:run/mask")
    ('a.b', 'x', '.hidden', 'mask')
    """
    if parse_pipeline(path) is not None:
        path = path.rpartition("|")[2].partition(":")[2] or path.partition("|")[0]
    parts = path.replace("\\", "/") if os.sep == "\\" else path
    return os.path.splitext(parts.rstrip("/").rpartition("/")[2])[0]


def stems(paths: Sequence[str]) -> dict[str, str]:
    """Path by stem.

    Raises
    ------
    OptionError
        Two of one stem, or one without.
    """
    found: dict[str, str] = {}
    for path in paths:
        name = stem(path)
        if not name.strip("."):
            raise OptionError(message("naming the copy of", path, expected="a file with a name", got=repr(name)))
        if name in found:
            expected = "names that differ before the suffix"
            raise OptionError(message("naming copies", expected=expected, got=f"{found[name]} and {path}"))
        found[name] = path
    return found
