"""A trial in a process of its own; in: a file and the caller's options, out: nothing, or an error where it died.

The setting ``isolate`` asks for it: the checks of `packstore.readers.hdf5.guard` keep libhdf5 from what is known to end
a process; a trial also keeps it from what is not. What survived it once is read here from the same bytes.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
from typing import Any

from packstore import config
from packstore.errors import CorruptDataError, message
from packstore.source import FileSource, Source

__all__ = ["main", "try_out"]

_MAIN = "from packstore.readers.hdf5.trial import main; main()"


def try_out(source: Source, component: str | None, options: dict[str, Any]) -> None:
    """Read the index in a child process.

    Parameters
    ----------
    source
        The file; of one that is not local nothing is tried.
    component, options
        What `packstore.readers.hdf5.read` is called with.

    Raises
    ------
    CorruptDataError
        The child was ended by a signal, or did not end within the time, or within the memory, that the settings
        ``limits.isolate_seconds`` and ``limits.isolate_nbytes`` allow.

    Notes
    -----
    Takes as long as a start of Python and of h5py, some 0.3 s, and the index is read twice.
    """
    if not isinstance(source, FileSource):
        return
    seconds, nbytes = config.isolate_limits()
    request = pickle.dumps((source.path, component, options, nbytes))
    try:
        done = subprocess.run(
            [sys.executable, "-c", _MAIN],
            input=request,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=seconds,
            check=False,
            # The modules of this process, also where they are not installed.
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )
        got = "" if done.returncode == 0 else _how(done.returncode)
    except subprocess.TimeoutExpired:
        got = f"no end within {seconds:g} s"
    if got:
        hint = "Do not open it without isolate=True; it is damaged, or was made to do harm"
        expected = "an index that libhdf5 reads in a process of its own"
        raise CorruptDataError(message("opening", source.name, component, expected=expected, got=got, hint=hint))


def _how(code: int) -> str:
    import signal

    if code >= 0:
        return f"its end with status {code}"
    with contextlib.suppress(ValueError):
        return f"its death by {signal.Signals(-code).name}"
    return f"its death by signal {-code}"


def main() -> None:
    """Read the index of the file that standard input names; what packstore refuses is no failure of the trial."""
    path, component, options, nbytes = pickle.loads(sys.stdin.buffer.read())
    # Function-level: h5py is imported here, and not by whoever only starts a trial.
    from packstore.errors import PackstoreError
    from packstore.readers import READERS

    with contextlib.suppress(ImportError):  # Windows has no such limits
        import resource

        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        limit = nbytes if hard < 0 else min(nbytes, hard)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    config.set({"isolate": False})
    with contextlib.suppress(PackstoreError):
        READERS["hdf5"].load().read(FileSource(path), component=component, **options)
