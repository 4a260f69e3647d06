"""Cold runs: each opens its file anew, in a process of its own, after the file was dropped from the page cache.

The modules are imported before the clock runs, the data lie on the disk (or in whatever stands behind it: a virtual
disk may be in its host's memory).
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from packstore.cli.measure import WrongValueError, files_of, interleave
from packstore.source.local import close_files
from tests.benchmarks.memory import disk_nbytes
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
    """Time our side and a peer in turn, each run with its opening: a part of a row."""

    def timed(side: str, name: str | None) -> Callable[[], dict[str, float]]:
        def once() -> dict[str, float]:
            found = _in_fork(_run, (scenario, data, small, name))
            if isinstance(found, str):
                raise RuntimeError(f"{scenario.name}: {side}: {found}")
            return found

        return once

    runs = {"peer": timed("peer", peer.name), "ours": timed("ours", None)}
    # The first run of each may write files that only it reads.
    for run in runs.values():
        run()
    found, _ = interleave(runs, rounds)
    return ratios(found) | {f"{side}_disk_nbytes": statistics.median(f["disk_nbytes"]) for side, f in found.items()}


def _in_fork(work: Callable[..., dict[str, float]], args: tuple[Any, ...]) -> dict[str, float] | str:
    """What `work` returns in a child that shares this process's modules and data, but none of its threads."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, work, args))
    # What this process has mapped cannot be dropped from the page cache.
    close_files(os.sep)
    gc.freeze()
    process.start()
    sender.close()
    try:
        return receiver.recv()  # type: ignore[no-any-return]
    except EOFError:
        return "the process died"
    finally:
        process.join()
        gc.unfreeze()


def _send(sender: Any, work: Callable[..., dict[str, float]], args: tuple[Any, ...]) -> None:
    try:
        sender.send(work(*args))
    except Exception as error:  # the parent tells it
        sender.send(f"{type(error).__name__}: {str(error)[:120]}")


def _run(scenario: Scenario, data: Data, small: Data, peer: str | None) -> dict[str, float]:
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
