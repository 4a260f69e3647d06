"""Measure scenarios: takes one and its data, gives a row of figures for each peer."""

from __future__ import annotations

import functools
import gc
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from packstore.cli.measure import Figures, WrongValueError, clocked, interleave
from tests.benchmarks.cold import interleave_cold
from tests.benchmarks.memory import in_fresh_process, probe
from tests.benchmarks.model import Absolute, Case, Data, Missing, Scenario, equal, ratios

__all__ = ["measure_absolute", "measure_cold", "measure_scenario"]


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


def measure_cold(scenario: Scenario, data: Data, rounds: int) -> list[dict[str, Any]]:
    """Time one scenario with its files dropped from the page cache before each run: a row for each peer."""
    small = Data(data.root.with_name(f"{data.root.name}-small"), quick=True)
    small.root.mkdir(exist_ok=True)
    try:
        peers = [scenario.build(each).peers for each in (small, data)][1]
    except Missing as error:
        return [_row(scenario, data, "-", None, f"not installed ({error})")]
    rows = []
    for peer in peers:
        row = _row(scenario, data, peer.name, 1)
        rows.append(row)
        try:
            row |= interleave_cold(scenario, data, peer, small, rounds)
        except RuntimeError as error:
            row["status"] = str(error)
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
    """Time both sides in turn; check every result, outside the clock.

    What the modules hold is collected once, before: a collection in front of each run leaves the other cores idle, and
    the run after it waits for them to come back.
    """

    def timed(side: str, run: Callable[[], Any]) -> Callable[[], Figures]:
        def once() -> Figures:
            took = clocked(run)
            if not equal(case.expected, took.value, close=case.close):
                raise WrongValueError(f"{name}: {side} returned another value")
            return {"ms": 1000 * took.seconds, "cpu_ms": 1000 * took.cpu_seconds}

        return once

    gc.collect()
    gc.freeze()
    found, _ = interleave({"peer": timed("peer", theirs), "ours": timed("ours", ours)}, rounds)
    gc.unfreeze()
    # Processor time of all threads: what other programs on the machine do not change.
    return ratios(found) | {f"{side}_cpu_ms": min(figures["cpu_ms"]) for side, figures in found.items()}


def measure_absolute(item: Absolute, data: Data) -> dict[str, Any]:
    """One figure against its limit."""
    if item.fresh:
        found = in_fresh_process(_measure_fresh, (item.name, str(data.root), data.quick))
        value = found.get("value")
    else:
        value = item.measure(data)
    row = {"scenario": item.name, "title": item.title, "unit": item.unit, "limit": item.limit, "value": value}
    return row | {"status": "ok" if value is not None else "no measurement on this system"}


def _probe_side(name: str, peer: str | None, root: str, quick: bool) -> dict[str, Any]:
    from tests.benchmarks.scenarios import SCENARIOS

    case = next(s for s in SCENARIOS if s.name == name).build(Data(Path(root), quick))
    make = case.ours if peer is None else next(p.make for p in case.peers if p.name == peer)
    return probe(make())


def _measure_fresh(name: str, root: str, quick: bool) -> dict[str, Any]:
    from tests.benchmarks.scenarios import ABSOLUTES

    return {"value": next(a for a in ABSOLUTES if a.name == name).measure(Data(Path(root), quick))}
