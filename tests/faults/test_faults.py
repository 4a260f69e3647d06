"""The table of faults: for each format, way of reading and fault, what must come of it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.faults.cells import CHANGES, REFUSALS, RIGHT, WAYS
from tests.faults.files import FILES

# Part of a directory that is one array may be found damaged before it is found changed.
DAMAGE = {"StaleFileError", "CorruptDataError"}
MUST: dict[str, set[str]] = {
    "truncated": {"StaleFileError"},
    "rewritten": {"StaleFileError"},
    "replaced": {"StaleFileError"},
    "deleted": {"StaleFileError"},
    "part deleted": {"StaleFileError"},
    "part replaced": {"StaleFileError"},
    "reads fail": {"ReadError"},
    "opening fails": {"ReadError"},
    "too many files": {"ReadError"},
    "not allowed": {"AccessError"},
    "short reads": {RIGHT},
}


def test_each_fault_has_a_rule() -> None:
    assert {*CHANGES, *REFUSALS} == {*MUST}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("way", [pytest.param(w, marks=() if w == "here" else pytest.mark.long) for w in WAYS])
def test_each_cell(name: str, way: str) -> None:
    """In a process of its own: forks of one that has threads may hang, and what is patched stays patched."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.cells", name, way],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    wrong = {}
    for fault, got in found.items():
        opening = fault.endswith(" (while opening)")
        must = set(MUST[fault.removesuffix(" (while opening)")])
        if FILES[name].chunk is not None:
            if fault == "truncated":
                must |= DAMAGE
            if way in ("fork", "spawn") and FILES[name].suffix == ".zarr" and RIGHT not in must:
                # Its metadata are read again there.
                must |= {"StaleFileError"}
            if opening and FILES[name].suffix == ".zarr" and RIGHT not in must:
                # One node that cannot be read hides no others: it is the array that is not served.
                must |= {"UnsupportedError"}
        if got not in must:
            wrong[fault] = f"{got} instead of {sorted(must)}"
    assert wrong == {}
