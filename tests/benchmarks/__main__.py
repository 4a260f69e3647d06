"""The command: run scenarios, print the table, write the JSON and the chart."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.benchmarks.measure import measure_absolute, measure_cold, measure_scenario
from tests.benchmarks.model import Data
from tests.benchmarks.report import about_run, chart, missed, print_table, write_json


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks.

    Returns
    -------
    int
        0; 1 where `--strict` was given and a floor or a limit does not hold.
    """
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description="packstore side by side with its peers, in interleaved rounds"
    )
    parser.add_argument("--quick", action="store_true", help="small data, few rounds: shows that everything runs")
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="scenarios whose name contains NAME (repeatable)"
    )
    parser.add_argument("--rounds", type=int, help="rounds per scenario (9; quick: 3)")
    parser.add_argument("--out", type=Path, default=Path("benchmark-results"), help="folder of the results")
    parser.add_argument("--data", type=Path, help="keep the data here, and use what is there (about 3 GB)")
    parser.add_argument("--scaling", action="store_true", help="cost as work grows, instead of the scenarios")
    parser.add_argument("--first", action="store_true", help="whole processes that open one array, instead")
    parser.add_argument("--threads", action="store_true", help="one thread and all cores, and a model beyond, instead")
    parser.add_argument("--many", action="store_true", help="a million chunks, ten thousand files, instead")
    parser.add_argument("--prototype", action="store_true", help="steps of ours beside the same in C, instead")
    parser.add_argument("--cold", action="store_true", help="drop the files from the page cache before each run")
    parser.add_argument("--remote", action="store_true", help="object storage (a server on loopback), instead")
    parser.add_argument("--latency", type=float, default=0.05, help="remote: seconds that each request takes besides")
    parser.add_argument("--bandwidth", type=float, help="remote: MB/s of each request's answer (as fast as it comes)")
    parser.add_argument("--no-memory", action="store_true", help="leave out bytes read and memory (fresh processes)")
    parser.add_argument("--strict", action="store_true", help="exit with 1 where a floor or a limit does not hold")
    parser.add_argument("--list", action="store_true", help="the names of the scenarios")
    options = parser.parse_args(arguments)
    if options.list:
        from tests.benchmarks.scenarios import ABSOLUTES, SCENARIOS

        for name, title in [(s.name, s.title) for s in SCENARIOS] + [(a.name, a.title) for a in ABSOLUTES]:
            print(f"{name:34} {title}")
        return 0
    rounds = options.rounds or (3 if options.quick else 9)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.remote:
        from tests.benchmarks.remote.run import main_options, run_remote

        found = run_remote(options.out, options.rounds or (1 if options.quick else 3), **main_options(options))
        return 1 if any(row.side == "packstore" and row.status != "ok" for row in found) else 0
    with tempfile.TemporaryDirectory(prefix="packstore-benchmarks-") as folder:
        root = Path(folder)
        if options.data is not None:
            root = options.data / ("quick" if options.quick else "full")
            root.mkdir(parents=True, exist_ok=True)
        data = Data(root.resolve(), options.quick)
        return 0 if _run_other(data, options, rounds) else _run(data, options, rounds)


def _run_other(data: Data, options: argparse.Namespace, rounds: int) -> bool:
    """Run what was asked for instead of the scenarios; False: nothing was."""
    # Each is imported where it is asked for: some need libraries that others do not.
    if options.scaling:
        from tests.benchmarks.scaling import run_scaling

        run_scaling(data, options.out, rounds)
    elif options.first:
        from tests.benchmarks.first import run_first

        run_first(data, options.out, rounds, options.only)
    elif options.threads:
        from tests.benchmarks.threads import run_threads

        run_threads(data, options.out, rounds)
    elif options.many:
        from tests.benchmarks.many import run_many

        run_many(data, options.out)
    elif options.prototype:
        from tests.benchmarks.prototype import run_prototype

        run_prototype(data, options.out, rounds)
    else:
        return False
    return True


def _run(data: Data, options: argparse.Namespace, rounds: int) -> int:
    from tests.benchmarks.scenarios import ABSOLUTES, SCENARIOS

    def wanted(name: str) -> bool:
        return not options.only or any(part in name for part in options.only)

    name, about = ("cold", about_run("cold")) if options.cold else ("ratios", about_run())
    rows = []
    for scenario in SCENARIOS:
        if wanted(scenario.name):
            print(f"{scenario.name} …", file=sys.stderr, flush=True)
            if options.cold:
                rows += measure_cold(scenario, data, rounds)
            else:
                rows += measure_scenario(scenario, data, rounds, memory=not options.no_memory)
            # A run that is stopped leaves what it has.
            write_json(options.out / f"{name}.json", rows, [], about)
    figures = [measure_absolute(item, data) for item in ABSOLUTES if wanted(item.name) and not options.cold]
    if not rows and not figures:
        print(f"no scenario has {' or '.join(options.only)} in its name; --list shows them", file=sys.stderr)
        return 2
    print_table(rows, figures, about)
    write_json(options.out / f"{name}.json", rows, figures, about)
    print(f"written: {options.out / f'{name}.json'}")
    try:
        chart(options.out / f"{name}.svg", rows, about)
        print(f"written: {options.out / f'{name}.svg'}")
    except ImportError as error:
        print(f"no chart: {error}")
    broken = [row for row in (*rows, *figures) if missed(row)]
    return 1 if broken and options.strict else 0


if __name__ == "__main__":
    sys.exit(main())
