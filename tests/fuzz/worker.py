"""The loop of a child process: a file's path comes in on a line, what its reader says of it goes out on a line."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

__all__ = ["main"]

# What a process may take beyond what it has when it starts.
ADDRESS_NBYTES = 3 << 30


def main(role: str) -> None:
    """Answer until the parent closes the pipe.

    Parameters
    ----------
    role
        "subject" or "reference".
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    with contextlib.suppress(ImportError):
        import hdf5plugin  # noqa: F401
    from tests.fuzz import subject
    from tests.fuzz.formats import FORMATS, load

    for name in FORMATS:
        load(name)
    _limit()
    for line in sys.stdin:
        request = json.loads(line)
        path = Path(request["path"])
        module = load(request["format"])
        before = _peak()
        answer: dict[str, Any] = {"foreign": []}
        if role == "subject":
            options = getattr(module, "OPTIONS", {})
            answer["arrays"], answer["foreign"] = subject.read(path, options, request["through_zarr"])
            gc.collect(0)
        else:
            answer["arrays"] = module.reference(path, request.get("names"))
        answer["peak_nbytes"] = max(_peak(restart=False) - before, 0)
        answers.write(json.dumps(answer, default=str) + "\n")


def _limit() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (taken + ADDRESS_NBYTES, taken + ADDRESS_NBYTES))


def _peak(*, restart: bool = True) -> int:
    """The most memory that was resident since the last restart of the count; 0 where the system does not tell."""
    try:
        if restart:
            Path("/proc/self/clear_refs").write_text("5")
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


if __name__ == "__main__":
    main(sys.argv[1])
