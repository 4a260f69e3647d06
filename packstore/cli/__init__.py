"""The console script: ``packstore info | convert | verify | bench``, also as ``python -m packstore``.

Exit codes
----------
0
    Done; `verify`: equal.
1
    `verify` found a difference.
2
    Bad input or usage, or the system refused (disk full, no permission).
3
    A fault of packstore's own; the environment variable ``PACKSTORE_TRACEBACK=1`` shows where.
130, 143, 129
    Interrupted (Ctrl-C), terminated, hung up. Nothing is left half-written.
141
    Whoever read the output went away (``| head``).

Errors are one line on stderr; with ``--json`` also an object with ``error`` and ``message`` on stdout. Of several files
each that fails has its line (and its object in ``files``), the others are done, and 2 outweighs 1.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from typing import Any, TextIO

__all__ = ["main"]


def main() -> None:
    """Run the console script and exit with its code."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # A hang-up that the caller ignores (nohup) stays ignored.
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _stop)
    warnings.showwarning = _warn
    try:
        from packstore.cli.app import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        code = 130
    except SystemExit as stop:
        code = int(stop.code or 0)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    if code in (129, 130, 143):
        # All is cleaned up. What zarr's event loop has not finished must not be reported by a dying interpreter.
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A warning of a library (zarr's of types without a specification) on one line, without its source code."""
    print(f"packstore: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _stop(number: int, frame: Any) -> None:
    """End as an exception does, so that temporary files go."""
    raise SystemExit(128 + number)
