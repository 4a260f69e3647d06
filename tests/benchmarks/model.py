"""What a benchmark is made of: scenarios, the peers they are held against, and single figures with a limit."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Absolute", "Case", "Data", "Missing", "Peer", "Scenario", "equal", "ratios"]

Run = Callable[[], Any]


class Missing(Exception):
    """A peer, or a library that it needs, is not installed."""


@dataclass(frozen=True)
class Peer:
    """One library to compare with.

    Parameters
    ----------
    name
        As the table shows it.
    make
        Opens whatever is opened once, and returns what is timed. Raises ImportError or Missing where it is not there.
    floor
        The least ratio (peer's time / ours) that the project promises; None: shown only.
    """

    name: str
    make: Callable[[], Run]
    floor: float | None = None


@dataclass(frozen=True)
class Case:
    """A scenario over its data: the value that is right, our side and the peers.

    Parameters
    ----------
    expected
        What every side must return.
    ours
        Like `Peer.make`.
    peers
        The other sides.
    close
        Compare as floating point (sums in another order) instead of bit by bit.
    """

    expected: Any
    ours: Callable[[], Run]
    peers: tuple[Peer, ...]
    close: bool = False


@dataclass(frozen=True)
class Scenario:
    """A named case that is built when it is run."""

    name: str
    title: str
    build: Callable[[Data], Case]


@dataclass(frozen=True)
class Absolute:
    """One figure of ours that must stay below a limit.

    Parameters
    ----------
    measure
        Returns the figure; run in a fresh process where `fresh`.
    """

    name: str
    title: str
    unit: str
    limit: float
    measure: Callable[[Data], float]
    fresh: bool = False


@dataclass
class Data:
    """The files of a run: each made on first use, once, in `root`.

    Parameters
    ----------
    root
        A folder.
    quick
        Small files: to see that everything runs, not to measure.
    """

    root: Path
    quick: bool = False
    _kept: dict[str, Any] = field(default_factory=dict)

    def path(self, name: str, make: Callable[[Path], object]) -> Path:
        """The file `name`, written by `make` if it is not there yet."""
        target = self.root / name
        if not target.exists():
            partial = target.with_name(f"partial-{os.getpid()}-{name}")
            make(partial)
            partial.rename(target)
        return target

    def keep(self, key: str, make: Callable[[], Any]) -> Any:
        """A value made once."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]


def equal(expected: Any, got: Any, *, close: bool = False) -> bool:
    """Whether two results hold the same values (and shapes, and types of the same kind)."""
    if isinstance(expected, dict):
        return (
            isinstance(got, dict)
            and expected.keys() == got.keys()
            and all(equal(expected[k], got[k], close=close) for k in expected)
        )
    expected, got = np.asarray(expected), np.asarray(got)
    if expected.shape != got.shape or expected.dtype.kind != got.dtype.kind:
        return False
    return bool(np.allclose(expected, got, rtol=1e-4)) if close else bool(np.array_equal(expected, got))


def ratios(found: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, Any]:
    """The part of a row that says how the times of "ours" and "peer" compare, round by round."""
    each = [b / a for a, b in zip(found["ours"]["ms"], found["peer"]["ms"], strict=True)]
    row: dict[str, Any] = {"rounds": len(each), "ratio": statistics.median(each), "ratio_range": [min(each), max(each)]}
    for side, figures in found.items():
        row[f"{side}_ms"] = statistics.median(figures["ms"])
        row[f"{side}_ms_min"] = min(figures["ms"])
    return row | {"ratio_of_minima": row["peer_ms_min"] / row["ours_ms_min"]}
