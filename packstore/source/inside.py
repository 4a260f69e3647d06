"""The directory that symbolic links may not leave; in: the caller's option, out: an error for a path that leads out."""

from __future__ import annotations

import os
from typing import Any

from packstore.errors import ExternalFileError, OptionError, message
from packstore.source.base import is_at

__all__ = ["EXTERNAL_HINT", "NOFOLLOW", "Inside", "external_root"]

EXTERNAL_HINT = "Pass allow_external=True, or a folder that it must lie in"
# With it, opening a symbolic link is an error; 0 on Windows, where creating one is a privilege.
NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
# Folders that are remembered to lie inside.
_MAX_FOLDERS = 1 << 16


def external_root(allow_external: Any) -> str | None:
    """What ``allow_external=`` means: None for no other file, "" for any, else a resolved folder.

    Raises
    ------
    OptionError
        It is neither a bool nor a folder.
    """
    if allow_external is None or isinstance(allow_external, bool):
        return "" if allow_external else None
    try:
        root: str = os.path.realpath(os.fsdecode(allow_external))
    except TypeError:
        root = ""
    if not os.path.isdir(root):
        expected = "allow_external=False, True or a folder"
        raise OptionError(message("opening", expected=expected, got=repr(allow_external)))
    return root


class Inside:
    """A directory, and where symbolic links in it may lead.

    Parameters
    ----------
    root
        The directory.
    allow_external
        False: nowhere else; True: anywhere; a folder: into that one, too.

    Notes
    -----
    Thread safe. A folder is resolved once, about 10 µs: what is linked later is not noticed.

    Examples
    --------
    >>> Inside("/a/b").holds("/a/b/c"), Inside("/a/b").holds("/a/bc")
    (True, False)
    """

    __slots__ = ("_folders", "_real", "allowed", "root")

    def __init__(self, root: str, allow_external: Any = False) -> None:
        self.root = root
        self.allowed = external_root(allow_external)
        # Resolved when it is first asked for: most are made to look at metadata only.
        self._real: str | None = None
        self._folders: set[str] = set()

    def holds(self, path: str) -> bool:
        """Whether `path`, all links resolved, is where it may be."""
        if self.allowed == "":
            return True
        if self._real is None:
            self._real = os.path.realpath(self.root)
        real = os.path.realpath(path)
        return is_at(real, self._real) or (self.allowed is not None and is_at(real, self.allowed))

    def check(self, path: str) -> None:
        """Raise ExternalFileError for a path that leads out."""
        if not self.holds(path):
            expected = f"a file inside {self.root}"
            got = f"a symbolic link to {os.path.realpath(path)}"
            raise ExternalFileError(message("reading", path, expected=expected, got=got, hint=EXTERNAL_HINT))

    def check_folder(self, path: str) -> None:
        """`check` the folder that `path` lies in; `path` itself may still be a link."""
        folder = path.rpartition("/")[0]
        if folder not in self._folders:
            self.check(folder)
            if len(self._folders) < _MAX_FOLDERS:
                self._folders.add(folder)

    def check_file(self, path: str) -> None:
        """`check` a file, which costs a look at it and one at its folder where it is no link."""
        if self.allowed != "":
            self.check_folder(path)
            if os.path.islink(path):
                self.check(path)
