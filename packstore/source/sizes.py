"""How many bytes a file, or all files below a folder, take on disk."""

from __future__ import annotations

import os

__all__ = ["size_on_disk"]

# Files looked at below one array before its size is left open.
MAX_FILES = 500_000


def size_on_disk(path: str, skip: tuple[str, ...] = ()) -> int | None:
    """Bytes of a file, or of all files below a folder but those called as in `skip`; None beyond `MAX_FILES`."""
    if not os.path.isdir(path):
        return os.path.getsize(path)
    total = count = 0
    stack = [path]
    while stack:
        with os.scandir(stack.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    stack.append(entry.path)
                elif entry.name not in skip:
                    total += entry.stat(follow_symlinks=False).st_size
                    count += 1
                    if count > MAX_FILES:
                        return None
    return total
