"""The other files that may be opened; in: the caller's option and a stored name, out: a path, or an error."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from packstore.errors import ExternalFileError, OptionError, message

__all__ = ["ExternalPolicy"]

HINT = "Pass allow_external=True, or a folder that it must lie in"


@dataclass(frozen=True)
class ExternalPolicy:
    """The files that the caller allows.

    Parameters
    ----------
    root
        None: no other file. "": any file. Otherwise a resolved folder: files inside it, after symbolic links.
    """

    root: str | None

    @classmethod
    def of(cls, allow_external: Any) -> ExternalPolicy:
        """From the reader option: False, True or a folder."""
        if allow_external is None or isinstance(allow_external, bool):
            return cls("" if allow_external else None)
        try:
            root = os.path.realpath(os.fspath(allow_external))
        except TypeError:
            root = ""
        if isinstance(root, bytes):
            root = os.fsdecode(root)
        if not os.path.isdir(root):
            raise OptionError(
                message("opening", expected="allow_external=False, True or a folder", got=repr(allow_external))
            )
        return cls(root)

    def find(self, directory: str | None, name: str, why: str, own: str = "") -> str | None:
        """The real path of a file that is referred to, or None where there is no such file.

        Parameters
        ----------
        directory
            Where the referring file lies; None where it is remote.
        name
            As stored. Relative names start at `directory`; an absolute name that does not exist is looked for there
            by its last part, as libhdf5 does. The working directory and environment variables play no part.
        why
            The action that needs the file, for the error's text.
        own
            The named file, which needs no permission.

        Raises
        ------
        ExternalFileError
            The file exists and is not allowed. Nothing of it was read.
        """
        if "\0" in name or not name:
            return None
        path = self._candidate(directory, name)
        if path is None:
            return None
        if path != own and (self.root is None or (self.root and os.path.commonpath([self.root, path]) != self.root)):
            within = "no other file to be opened" if self.root is None else f"a file inside {self.root}"
            raise ExternalFileError(message(why, expected=within, got=path, hint=HINT))
        return path

    @staticmethod
    def _candidate(directory: str | None, name: str) -> str | None:
        # "a\\b" on the systems where it separates; posix names may hold it.
        names = [name]
        if directory is not None:
            names = [os.path.join(directory, name)]
            if os.path.isabs(name):
                names.append(os.path.join(directory, os.path.basename(name)))
        elif not os.path.isabs(name):
            return None
        for candidate in names:
            if os.path.isfile(candidate):
                return os.path.realpath(candidate)
        return None
