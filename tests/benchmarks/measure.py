"""Interleaved timing in this process; memory and bytes read in fresh ones."""

from __future__ import annotations

import functools
import gc
import importlib.util
import multiprocessing
import os
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.benchmarks.model import Absolute, Case, Data, Missing, Scenario, equal

__all__ = ["WrongValueError", "in_fresh_process", "measure_absolute", "measure_scenario", "probe"]

SAMPLE_SECONDS = 0.001


class WrongValueError(AssertionError):
    """packstore returned something else than numpy."""


def measure_scenario(scenario: Scenario, data: Data, rounds: int, *, memory: bool = True) -> list[dict[str, Any]]:
    """Time one scenario: a row for each peer.

    Raises
    ------
    WrongValueError
        Where packstore's value is wrong. A peer's wrong value is written in its row instead, without a ratio.
    """
    try:
        case = scenario.build(data)
    except Missing as error:
        return [_row(scenario, data, "-", None, f"not installed ({error})")]
    ours = case.ours()
    if not equal(case.expected, ours(), close=case.close):
        raise WrongValueError(f"{scenario.name}: packstore returned another value than numpy")
    rows = []
    for peer in case.peers:
        row = _row(scenario, data, peer.name, peer.floor)
        rows.append(row)
        try:
            theirs = peer.make()
            if not equal(case.expected, theirs(), close=case.close):
                row["status"] = "wrong values"
                continue
        except (ImportError, Missing) as error:
            row["status"] = f"not installed ({error})" if isinstance(error, Missing) else "not installed"
            continue
        except Exception as error:  # a peer that fails is a result, not the end of the run
            row["status"] = f"fails ({type(error).__name__}: {str(error)[:120]})"
            continue
        row |= _interleave(case, scenario.name, ours, theirs, rounds)
        del theirs
        if memory:
            for side, who in (("ours", None), ("peer", peer.name)):
                found = in_fresh_process(_probe_side, (scenario.name, who, str(data.root), data.quick))
                row |= {f"{side}_{key}": value for key, value in found.items()}
    return rows


def _row(scenario: Scenario, data: Data, peer: str, floor: float | None, status: str = "ok") -> dict[str, Any]:
    if data.quick:
        floor = None
    elif floor is not None and not _has_filters():
        # The figures are those of the `filters` extra; without it nothing is slower than the peer.
        floor = min(floor, 1)
    return {"scenario": scenario.name, "title": scenario.title, "peer": peer, "floor": floor, "status": status}


@functools.cache
def _has_filters() -> bool:
    return importlib.util.find_spec("imagecodecs") is not None


def _interleave(
    case: Case, name: str, ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int
) -> dict[str, Any]:
    """Both sides in turn, the order turned each round; every result is checked, outside the clock.

    What the modules hold is collected once, before: a collection in front of each run leaves the other cores idle, and
    the run after it waits for them to come back.
    """
    times: dict[str, list[float]] = {"ours": [], "peer": []}
    busy: dict[str, list[float]] = {"ours": [], "peer": []}
    gc.collect()
    gc.freeze()
    for number in range(rounds):
        sides = [("ours", ours), ("peer", theirs)]
        for side, run in sides if number % 2 else reversed(sides):
            start, worked = time.perf_counter(), time.process_time()
            value = run()
            times[side].append(1000 * (time.perf_counter() - start))
            busy[side].append(1000 * (time.process_time() - worked))
            if not equal(case.expected, value, close=case.close):
                raise WrongValueError(f"{name}: {side} returned another value in round {number}")
            del value
    gc.unfreeze()
    ratios = [b / a for a, b in zip(times["ours"], times["peer"], strict=True)]
    return {
        "ours_ms": statistics.median(times["ours"]),
        "peer_ms": statistics.median(times["peer"]),
        "ours_ms_min": min(times["ours"]),
        "peer_ms_min": min(times["peer"]),
        # Of all threads: what other programs on the machine do not change.
        "ours_cpu_ms": min(busy["ours"]),
        "peer_cpu_ms": min(busy["peer"]),
        "ratio": statistics.median(ratios),
        "ratio_of_minima": min(times["peer"]) / min(times["ours"]),
        "ratio_range": [min(ratios), max(ratios)],
        "rounds": rounds,
    }


def measure_absolute(item: Absolute, data: Data) -> dict[str, Any]:
    """One figure against its limit."""
    if item.fresh:
        found = in_fresh_process(_measure_fresh, (item.name, str(data.root), data.quick))
        value = found.get("value")
    else:
        value = item.measure(data)
    row = {"scenario": item.name, "title": item.title, "unit": item.unit, "limit": item.limit, "value": value}
    return row | {"status": "ok" if value is not None else "no measurement on this system"}


# -- fresh processes --------------------------------------------------------------------------------------------------


def in_fresh_process(work: Callable[..., dict[str, Any]], args: tuple[Any, ...]) -> dict[str, Any]:
    """Run `work` in a process forked from a clean server: no caches, no memory of earlier scenarios."""
    if not os.path.exists("/proc/self/status"):
        return {}
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.benchmarks.preload"])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, work, args))
    process.start()
    sender.close()
    try:
        return dict(receiver.recv())
    except EOFError:
        return {}
    finally:
        process.join()


def _send(sender: Any, work: Callable[..., dict[str, Any]], args: tuple[Any, ...]) -> None:
    sender.send(work(*args))


def _probe_side(name: str, peer: str | None, root: str, quick: bool) -> dict[str, Any]:
    from tests.benchmarks.scenarios import SCENARIOS

    case = next(s for s in SCENARIOS if s.name == name).build(Data(Path(root), quick))
    make = case.ours if peer is None else next(p.make for p in case.peers if p.name == peer)
    return probe(make())


def _measure_fresh(name: str, root: str, quick: bool) -> dict[str, Any]:
    from tests.benchmarks.scenarios import ABSOLUTES

    return {"value": next(a for a in ABSOLUTES if a.name == name).measure(Data(Path(root), quick))}


def probe(run: Callable[[], Any]) -> dict[str, Any]:
    """Bytes read and peak anonymous memory of one run.

    Returns
    -------
    dict
        ``nbytes_read``: what ``read`` calls gave plus the file pages that came into the process's mappings;
        ``peak_anon_nbytes``: the largest growth of RssAnon, sampled each millisecond. Mapped file pages are no
        process's own memory, so they are not in it. Empty where there is no ``/proc``.
    """
    if not os.path.exists("/proc/self/status"):
        return {}
    gc.collect()
    stop = threading.Event()
    status = os.open("/proc/self/status", os.O_RDONLY)
    base_anon, base_file = _rss(status)
    peak = [base_anon, base_file]
    own = 0

    def sample() -> None:
        nonlocal own
        while True:
            last = stop.is_set()
            anon, file = _rss(status)
            own += 1
            peak[0], peak[1] = max(peak[0], anon), max(peak[1], file)
            if last:
                return
            time.sleep(SAMPLE_SECONDS)

    own_nbytes = len(os.pread(status, 1 << 16, 0))
    start = _read_calls()
    thread = threading.Thread(target=sample)
    thread.start()
    try:
        value = run()
        # While the result lives, so that it counts.
        read = _read_calls() - start
    finally:
        stop.set()
        thread.join()
        os.close(status)
    del value
    return {
        "nbytes_read": max(read - own * own_nbytes, 0) + peak[1] - base_file,
        "peak_anon_nbytes": peak[0] - base_anon,
    }


def _rss(fd: int) -> tuple[int, int]:
    """RssAnon and RssFile in bytes."""
    text = os.pread(fd, 1 << 16, 0)
    found = dict(line.split(b":", 1) for line in text.splitlines() if line.startswith(b"Rss"))
    return int(found[b"RssAnon"].split()[0]) << 10, int(found[b"RssFile"].split()[0]) << 10


def _read_calls() -> int:
    """Bytes that read calls gave to this process."""
    try:
        with open("/proc/self/io", "rb") as file:
            return int(file.readline().split()[1])
    except OSError:
        return 0
