"""The other files that a file refers to; in: the caller's options and a stored name, out: its path and state.

What was seen of those files, their absence included, is remembered: a manifest is as fresh as all of them.
"""

from __future__ import annotations

import os
import stat as stat_module
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from packstore.errors import ExternalFileError, OptionError, StaleFileError, message
from packstore.source import Fingerprint
from packstore.source.inside import EXTERNAL_HINT, external_root
from packstore.storage import ManifestArray

__all__ = ["ExternalPolicy", "version_of"]

MISSING = ("raise", "fill")


@dataclass(frozen=True)
class ExternalPolicy:
    """The files that the caller allows, and those that one reading of a file looked for.

    Parameters
    ----------
    root
        None: no other file. "": any file. Otherwise a resolved folder: files inside it, after symbolic links.
    fills_missing
        Whether missing sources of virtual datasets are the fill value; else reading them is an error.
    seen
        The state of each name that was looked for, None where no file was there. The first look counts, also for
        sources that are described later.
    sources
        The arrays of other files that virtual datasets are made of, by file and dataset.
    """

    root: str | None
    fills_missing: bool = False
    seen: dict[str, Fingerprint | None] = field(default_factory=dict, compare=False, repr=False)
    sources: dict[tuple[str, str], ManifestArray | None] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, allow_external: Any, missing_sources: Any = "raise") -> ExternalPolicy:
        """From the reader options: False, True or a folder; "raise" or "fill"."""
        if missing_sources not in MISSING:
            raise OptionError(
                message("opening", expected='missing_sources="raise" or "fill"', got=repr(missing_sources))
            )
        return cls(external_root(allow_external), missing_sources == "fill")

    def find(self, directory: str | None, name: str, why: str, own: str = "") -> Fingerprint | None:
        """The file that is referred to, as the first look found it; None where there is no such file.

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
        found = next(filter(None, map(self._state, _candidates(directory, name))), None)
        if found is None:
            return None
        path = found.path
        if path != own and (self.root is None or (self.root and os.path.commonpath([self.root, path]) != self.root)):
            within = "no other file to be opened" if self.root is None else f"a file inside {self.root}"
            raise ExternalFileError(message(why, expected=within, got=path, hint=EXTERNAL_HINT))
        return found

    def check_missing(self, directory: str | None, name: str) -> None:
        """Raise StaleFileError where a file that was missing has arrived."""
        for candidate in _candidates(directory, name):
            if _state(candidate) is not None:
                raise StaleFileError(
                    message("reading", candidate, expected="no such file, as before", got="one", hint="Open it again")
                )

    def fresh(self, component: str | None = None) -> bool:
        """Whether all files that were looked for are as they were: there, changed since, or missing."""
        # A list: sources that are described in other threads add to it.
        return all(state == _state(candidate) for candidate, state in list(self.seen.items()))

    def _state(self, candidate: str) -> Fingerprint | None:
        if candidate in self.seen:
            return self.seen[candidate]
        return self.seen.setdefault(candidate, _state(candidate))


def version_of(parts: Iterable[object]) -> tuple[str]:
    """What identifies the state of an array that other files are a part of, short however many they are."""
    text = repr(list(parts)).encode("utf-8", "backslashreplace")
    # Function-level, for import time: few files are made of others.
    import hashlib

    return (hashlib.sha256(text).hexdigest()[:32],)


def _candidates(directory: str | None, name: str) -> list[str]:
    """The places where a file may lie, in the order of the search."""
    if "\0" in name or not name:
        return []
    if directory is None:
        return [name] if os.path.isabs(name) else []
    names = [os.path.join(directory, name)]
    if os.path.isabs(name):
        names.append(os.path.join(directory, os.path.basename(name)))
    return names


def _state(candidate: str) -> Fingerprint | None:
    """The state of a file, or None."""
    try:
        found = os.stat(candidate)
    except (OSError, ValueError):
        return None
    if not stat_module.S_ISREG(found.st_mode):
        return None
    return Fingerprint.of(os.path.realpath(candidate), found)
