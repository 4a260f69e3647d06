"""The console script: ``packstore info | convert | verify | bench``.

Exit codes: 0 done (verify: equal), 1 verify found a difference, 2 bad input or usage, 130 interrupted. Errors are one
line on stderr; with ``--json`` also an object on stdout.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the console script and exit with its code."""
    from packstore.cli.app import run

    sys.exit(run(sys.argv[1:]))
