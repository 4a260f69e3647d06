"""Cold runs: each opens its file anew, in a process of its own, after the file was dropped from the page cache.

The modules are imported before the clock runs, the data lie on the disk (or in whatever stands behind it: a virtual
disk may be in its host's memory).
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from packstore.cli.measure import WrongValueError, files_of, interleave
from packstore.source.local import close_files
from tests.benchmarks.memory import disk_nbytes, in_fresh_process
from tests.benchmarks.model import Case, Data, Peer, Run, Scenario, equal, ratios

__all__ = ["drop", "interleave_cold"]


def drop(root: Path) -> None:
    """Take all files below `root` out of the page cache, as far as no process maps them."""
    for path in files_of(str(root)):
        fd = os.open(path, os.O_RDONLY)
        try:
            # What was written a moment ago is dropped only once it is on the disk.
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)


def interleave_cold(scenario: Scenario, data: Data, peer: Peer, small: Data, rounds: int) -> dict[str, Any]:
    """Time our side and a peer in turn, each run with its opening: a part of a row.

    Raises
    ------
    RuntimeError
        A run failed, or gave another value; the text says which.
    """

    def timed(side: str, name: str | None) -> Callable[[], dict[str, float]]:
        def once() -> dict[str, float]:
            # What this process has mapped cannot be dropped from the page cache.
            close_files(os.sep)
            found = in_fresh_process(_run, (scenario.name, str(data.root), str(small.root), data.quick, name))
            if "ms" not in found:
                raise RuntimeError(f"{scenario.name}: {side}: {found.get('error', 'the process died')}")
            return found

        return once

    runs = {"peer": timed("peer", peer.name), "ours": timed("ours", None)}
    # The first run of each may write files that only it reads.
    for run in runs.values():
        run()
    found, _ = interleave(runs, rounds)
    return ratios(found) | {f"{side}_disk_nbytes": statistics.median(f["disk_nbytes"]) for side, f in found.items()}


def _run(name: str, root: str, small_root: str, quick: bool, peer: str | None) -> dict[str, Any]:
    from tests.benchmarks.scenarios import SCENARIOS

    scenario = next(s for s in SCENARIOS if s.name == name)
    data, small = Data(Path(root), quick), Data(Path(small_root), quick=True)
    try:
        return _measure(scenario, data, small, peer)
    except Exception as error:  # the parent tells it
        return {"error": f"{type(error).__name__}: {str(error)[:120]}"}


def _measure(scenario: Scenario, data: Data, small: Data, peer: str | None) -> dict[str, Any]:
    def made(where: Data) -> tuple[Case, Callable[[], Run]]:
        case = scenario.build(where)
        return case, case.ours if peer is None else next(p.make for p in case.peers if p.name == peer)

    # A small file of the same kind: what is imported and started on first use is there.
    made(small)[1]()()
    case, make = made(data)
    close_files(os.sep)
    drop(data.root)
    before = disk_nbytes()
    start = time.perf_counter()
    value = make()()
    seconds = time.perf_counter() - start
    if not equal(case.expected, value, close=case.close):
        raise WrongValueError("another value")
    return {"ms": 1000 * seconds, "disk_nbytes": disk_nbytes() - before}
