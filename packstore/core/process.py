"""Which process runs this code, in words."""

from __future__ import annotations

import os
import sys

from packstore.errors import PackstoreError

__all__ = ["read_here", "this_process"]


def this_process() -> str:
    """The dask worker that runs this code, else the process and its host.

    Examples
    --------
    >>> this_process().startswith("process ")
    True
    """
    distributed = sys.modules.get("distributed.worker")
    if distributed is not None:
        try:
            worker = distributed.get_worker()
            return f"worker {worker.name!r} at {worker.address}"
        except (ValueError, AttributeError):  # no worker runs this
            pass
    # Function-level, for import time: errors need it.
    import socket

    return f"process {os.getpid()} on {socket.gethostname()}"


def read_here(error: PackstoreError) -> PackstoreError:
    """The error with the process that read the file at the end of its text, once.

    Examples
    --------
    >>> "Read by process" in str(read_here(PackstoreError("reading a.npy: expected it.")))
    True
    """
    text, where = str(error), f"Read by {this_process()}."
    return error if text.endswith(where) else type(error)(f"{text} {where}")
