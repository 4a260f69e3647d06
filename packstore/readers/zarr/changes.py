"""The moment when a zarr array was opened; in: what the system says of a file, out: an error if it changed since.

Zarr's metadata do not change when chunks do. The time of a file's last change does (its ctime, which a rename sets,
too); where a chunk is missing, that of the folder which it is missing from.
"""

from __future__ import annotations

import os
import time
from typing import NoReturn

from packstore.errors import StaleFileError, message

__all__ = ["Opening"]


_CLOCK = getattr(time, "CLOCK_REALTIME_COARSE", None)


class Opening:
    """When an array or store was opened.

    Parameters
    ----------
    ns
        When that was, by `time.time_ns`; None: now.

    Notes
    -----
    Clocks of this machine and of a file server may differ: a time in the future says nothing. A change within one tick
    of the system's clock (some ms) after the opening may go unnoticed.
    """

    __slots__ = ("ns",)

    def __init__(self, ns: int | None = None) -> None:
        if ns is not None:
            self.ns = ns
            return
        # The clock that time stamps of files are taken from, which lies some ms behind the finer one.
        self.ns = time.clock_gettime_ns(_CLOCK) if _CLOCK is not None else time.time_ns()

    def check(self, path: str, stat: os.stat_result) -> None:
        """Raise StaleFileError where the file at `path` is another one than at the opening."""
        if stat.st_ctime_ns > self.ns and stat.st_ctime_ns <= time.time_ns():
            _stale(path, "one that was written since")

    def check_missing(self, path: str, root: str) -> None:
        """Raise StaleFileError where the file at `path`, which is not there, may have been there at the opening.

        Parameters
        ----------
        root
            The array's directory, or the store's.
        """
        folder = os.path.dirname(path)
        while True:
            try:
                stat = os.stat(folder)
            except OSError:
                if len(folder) <= len(root):
                    _stale(path, "no such directory")
                folder = os.path.dirname(folder)
                continue
            if stat.st_mtime_ns > self.ns and stat.st_mtime_ns <= time.time_ns():
                _stale(path, "nothing of that name, in a folder that changed since")
            return


def _stale(path: str, got: str) -> NoReturn:
    raise StaleFileError(
        message("reading", path, expected="what was there when the array was opened", got=got, hint="Open it again")
    )
