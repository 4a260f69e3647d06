"""The fuzzer in small: each format for some seconds in every run, for longer among the long tests."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.fuzz.formats import FORMATS, load
from tests.fuzz.judge import compare
from tests.fuzz.run import make_case, run
from tests.fuzz.summary import of_array, of_error


@pytest.mark.parametrize("format", FORMATS)
def test_seeds_read_alike(tmp_path: Path, format: str) -> None:
    """Without damage, both readers say the same, and most arrays are read."""
    from tests.fuzz import subject
    from tests.fuzz.run import _seed_files

    module = load(format)
    for i, files in enumerate(_seed_files(format).values()):
        path = tmp_path / f"{i}{FORMATS[format]}"
        if set(files) == {""}:
            path.write_bytes(files[""])
        else:
            for part, data in files.items():
                (path / part).parent.mkdir(parents=True, exist_ok=True)
                (path / part).write_bytes(data)
        ours, foreign = subject.read(path, getattr(module, "OPTIONS", {}), through_zarr=True)
        theirs = module.reference(path)
        faults, _ = compare(module, ours, theirs)
        assert faults == [] and foreign == []
        assert any(row[0] == "ok" for row in ours.values()) and any(row[0] == "ok" for row in theirs.values())


@pytest.mark.parametrize("format", FORMATS)
def test_a_case_is_a_number(tmp_path: Path, format: str) -> None:
    """The same number makes the same file; some numbers make others."""

    def made(case: int, name: str) -> list[bytes]:
        path = tmp_path / f"{name}{case}"
        make_case(format, 7, case, path)
        return (
            [path.read_bytes()] if path.is_file() else [p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()]
        )

    assert [made(case, "a") for case in range(5)] == [made(case, "b") for case in range(5)]
    assert len({str(made(case, "c")) for case in range(5)}) > 1


def test_what_is_a_fault() -> None:
    module = load("npy")
    right, wrong = of_array(np.arange(3), (3,)), of_array(np.arange(1, 4), (3,))
    error = of_error(ValueError("no"))
    assert compare(module, {"": right}, {"": right}) == ([], [])
    assert [f.kind for f in compare(module, {"": right}, {"": wrong})[0]] == ["differs"]
    assert [f.kind for f in compare(module, {"": right}, {"": error})[0]] == ["served"]
    assert [f.kind for f in compare(module, {"": right}, {"*": error})[0]] == ["served"]
    assert [f.kind for f in compare(module, {}, {"": right})[0]] == ["missing"]
    assert compare(module, {"*": error}, {"": right}) == ([], [])
    assert compare(module, {"g/*": error}, {"g/x": right}) == ([], [])
    assert compare(module, {"x": right}, {}) == ([], ["x"])
    assert json.loads(json.dumps(right)) == right


def _faults(executions: int, seed: int) -> list[str]:
    lines: list[str] = []
    report = run(executions=executions, seed=seed, say=lines.append)
    assert report.executions.total() == executions
    # Damage leaves something to compare.
    assert all(report.read.values())
    return lines


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's accounts of memory")
class TestFuzz:
    def test_some_hundred_files(self) -> None:
        assert _faults(560, 1000) == []

    @pytest.mark.long
    def test_some_thousand_files(self) -> None:
        assert _faults(3500, 2000) == []
