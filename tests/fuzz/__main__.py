"""``python -m tests.fuzz``: see the package's docstring."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from pathlib import Path

from tests.fuzz.formats import FORMATS
from tests.fuzz.run import make_case, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Damage files, and compare readers.")
    parser.add_argument("--minutes", type=float, help="how long")
    parser.add_argument("--executions", type=int, help="how many files")
    parser.add_argument("--format", choices=list(FORMATS), action="append", help="only these formats; may be repeated")
    parser.add_argument("--seed", type=int, default=0, help="which files are made")
    parser.add_argument("--first", type=int, default=0, help="the first case")
    parser.add_argument("--keep", type=Path, help="folder for the files that show faults")
    parser.add_argument("--make", type=Path, help="only write the file of case --first here")
    options = parser.parse_args()
    formats = options.format or list(FORMATS)
    if options.make is not None:
        print(make_case(formats[0], options.seed, options.first, options.make))
        return 0
    minutes = 2.0 if options.minutes is None and options.executions is None else options.minutes
    start = time.monotonic()
    report = run(
        formats,
        seconds=None if minutes is None else 60 * minutes,
        executions=options.executions,
        seed=options.seed,
        first=options.first,
        keep=options.keep,
        say=lambda line: print(line, flush=True),
    )
    seconds = time.monotonic() - start
    total = report.executions.total()
    print(
        f"{total} files in {seconds:.0f} s, {total / seconds:.0f} a second;",
        f"the reference died on {report.reference_deaths}",
    )
    for format, count in report.executions.items():
        kinds = Counter(fault.kind for name, _, fault in report.faults if name == format)
        told = ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items())) or "no fault"
        print(f"  {format:8} {count:7} files, {report.read[format] / count:.0%} with an array that reads: {told}")
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
