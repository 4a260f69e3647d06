"""Store keys: from ``group/array/c/0/1`` to an array and chunk coordinates, and which names zarr can hold.

Keys are hostile input. They are only ever looked up in the manifest; none becomes a file name.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["chunk_key", "parent_paths", "parse_chunk_key", "path_reason"]

ZARR_JSON = "zarr.json"


def chunk_key(path: str, coords: tuple[int, ...]) -> str:
    """The v3 default chunk key.

    Examples
    --------
    >>> chunk_key("a/b", (0, 1)), chunk_key("", ())
    ('a/b/c/0/1', 'c')
    """
    key = "/".join(["c", *map(str, coords)])
    return f"{path}/{key}" if path else key


def parse_chunk_key(key: str, path: str, ndim: int) -> tuple[int, ...] | None:
    """Coordinates in `key` below the array at `path`; None where it is no chunk key in canonical form.

    Examples
    --------
    >>> parse_chunk_key("a/c/0/12", "a", 2), parse_chunk_key("a/c/0/012", "a", 2)
    ((0, 12), None)
    """
    rest = key[len(path) + 1 :] if path else key
    parts = rest.split("/")
    if parts[0] != "c" or len(parts) != ndim + 1:
        return None
    coords = []
    for part in parts[1:]:
        if not (part.isascii() and part.isdigit()) or (part[0] == "0" and len(part) > 1) or len(part) > 18:
            return None
        coords.append(int(part))
    return tuple(coords)


def parent_paths(path: str) -> Iterator[str]:
    """Paths of the groups above `path`, the root "" last.

    Examples
    --------
    >>> list(parent_paths("a/b/c"))
    ['a/b', 'a', '']
    """
    while path:
        path = path.rpartition("/")[0]
        yield path


def path_reason(path: str) -> str | None:
    """Why zarr cannot have a node at `path`; None where it can.

    Examples
    --------
    >>> path_reason("a/b") is None, path_reason("a/../b")
    (True, "zarr has no node named '..'")
    """
    if path == "":
        return None
    for part in path.split("/"):
        if part == "":
            return "zarr has no node with an empty name"
        if part.strip(".") == "":
            return f"zarr has no node named {part!r}"
        if "\\" in part:
            return "zarr reads a backslash in a name as a separator"
        if "\0" in part:
            return "zarr has no node with a NUL in its name"
        if part == ZARR_JSON:
            return f"zarr keeps the name {ZARR_JSON} for metadata"
    return None
