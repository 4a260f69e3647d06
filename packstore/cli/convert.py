"""``packstore convert``: any readable file into any writable format."""

from __future__ import annotations

import os
import time
from typing import Any

from rich.console import Console

from packstore.cli.info import human
from packstore.errors import OptionError, UnsupportedError, message
from packstore.lazy import LazyArray
from packstore.readers import find_array, locate
from packstore.writers import format_of, save

__all__ = ["convert", "render", "size_on_disk"]


def size_on_disk(path: str) -> int:
    """Bytes of a file, or of all files below a folder."""
    if not os.path.isdir(path):
        return os.path.getsize(path)
    return sum(os.path.getsize(os.path.join(folder, n)) for folder, _, names in os.walk(path) for n in names)


def convert(
    source: str,
    target: str,
    component: str | None,
    options: dict[str, Any],
    *,
    to: str | None,
    pack: bool,
    chunks: tuple[int, ...] | None,
    overwrite: bool,
    progress: bool,
) -> dict[str, Any]:
    """Write the arrays of `source` to `target` and say what was written.

    Raises
    ------
    UnsupportedError
        The source holds arrays that cannot be read: name the one that is wanted instead.
    """
    location = locate(source, **options)
    manifest = location.manifest()
    data: Any
    if component is not None or (len(manifest.arrays) == 1 and "" in manifest.arrays):
        name, array = find_array(location, component)
        data = LazyArray(location, name, array)
        names = [name]
    else:
        if manifest.unsupported:
            name, reason = next(iter(manifest.unsupported.items()))
            raise UnsupportedError(
                message("converting", source, name, got=reason, hint="Name one array with --component")
            )
        data = {name: LazyArray(location, name, array) for name, array in manifest.arrays.items()}
        names = list(data)
    format = format_of(target, to)
    extra: dict[str, Any] = {}
    if format in ("zarr", "hdf5"):
        extra = {"pack": pack} if format == "zarr" else {}
        if chunks is not None:
            extra["chunks"] = chunks
    elif chunks is not None:
        raise OptionError(message("converting to", target, expected="no --chunks for this format", got=chunks))
    if format == "raw" and pack and getattr(data, "dtype", None) == bool and target.endswith(".bits"):
        extra["packed_axis"] = -1
    start = time.perf_counter()
    save(target, data, format=format, progress=progress, overwrite=overwrite, **extra)
    nbytes = sum(x.nbytes for x in (data.values() if isinstance(data, dict) else [data]))
    return {
        "source": source,
        "target": target,
        "format": format,
        "arrays": names,
        "nbytes": nbytes,
        "stored_nbytes": size_on_disk(target),
        "seconds": round(time.perf_counter() - start, 3),
    }


def render(console: Console, result: dict[str, Any]) -> None:
    """One line."""
    console.print(
        f"{result['target']}: {len(result['arrays'])} array(s), {human(result['nbytes'])} in "
        f"{human(result['stored_nbytes'])} ({result['format']}), {result['seconds']} s",
        soft_wrap=True,
    )
