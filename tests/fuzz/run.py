"""The parent: makes the files of the cases, has both processes read them, and keeps those that show a fault."""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.fuzz.formats import FORMATS, load
from tests.fuzz.judge import REFERENCE_SECONDS, ROOM_NBYTES, SECONDS, Fault, compare

__all__ = ["Report", "make_case", "run"]

# A process is replaced after so many files: what libraries leak in them must not add up.
MOST_FILES = 3000


class Report:
    """What a run found."""

    def __init__(self) -> None:
        self.executions: Counter[str] = Counter()
        self.read: Counter[str] = Counter()
        self.faults: list[tuple[str, int, Fault]] = []
        self.reference_deaths = 0


class Child:
    """One reader in a process of its own, which is started again when it dies or does not answer."""

    def __init__(self, role: str) -> None:
        self.role = role
        self.process: subprocess.Popen[str] | None = None
        self.files = 0

    def send(self, request: dict[str, Any]) -> None:
        """Ask; `answer` waits."""
        if self.process is None or self.files >= MOST_FILES:
            self.stop()
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.fuzz.worker", self.role],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2", "PACKSTORE_THREADS": "2"},
            )
            self.files = 0
        self.files += 1
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()

    def answer(self, seconds: float) -> dict[str, Any] | Fault:
        """What it says, or the fault."""
        assert self.process is not None and self.process.stdout is not None
        # The first answer waits for imports, too.
        limit = seconds + (60 if self.files == 1 else 0)
        ready, _, _ = select.select([self.process.stdout], [], [], limit)
        line = self.process.stdout.readline() if ready else ""
        if line.endswith("\n"):
            found: dict[str, Any] = json.loads(line)
            return found
        if not ready:
            self.stop()
            return Fault("hang", f"no answer in {seconds:g} s")
        code = self.process.wait()
        self.stop()
        return Fault("crash", f"the process ended with {code}")

    def stop(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for pipe in (self.process.stdin, self.process.stdout):
                with contextlib.suppress(OSError):
                    pipe.close()  # type: ignore[union-attr]
            self.process = None


_seeds: dict[str, dict[str, dict[str, bytes]]] = {}


def _seed_files(format: str) -> dict[str, dict[str, bytes]]:
    if format not in _seeds:
        found = load(format).seeds()
        _seeds[format] = {name: data if isinstance(data, dict) else {"": data} for name, data in found.items()}
    return _seeds[format]


def make_case(format: str, seed: int, case: int, path: Path) -> str:
    """Write the file of a case to `path`; the name of the sound file that it comes from."""
    rng = random.Random(f"{format} {seed} {case}")
    files = _seed_files(format)
    name = rng.choice(sorted(files))
    changed = load(format).mutate(rng, files[name])
    if set(changed) == {""}:
        path.write_bytes(changed[""])
    else:
        for part, data in changed.items():
            (path / part).parent.mkdir(parents=True, exist_ok=True)
            (path / part).write_bytes(data)
    return name


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())


def _cases(formats: Sequence[str], first: int) -> Iterator[tuple[str, int]]:
    case = first
    while True:
        for format in formats:
            yield format, case
        case += 1


def run(
    formats: Sequence[str] = tuple(FORMATS),
    *,
    seconds: float | None = None,
    executions: int | None = None,
    seed: int = 0,
    first: int = 0,
    keep: Path | None = None,
    say: Any = print,
) -> Report:
    """Run cases until the time is over, or their number is reached.

    Parameters
    ----------
    formats
        Names in `FORMATS`.
    seconds, executions
        When to stop; one of them is given.
    seed, first
        Which cases.
    keep
        Folder for the files that show faults.
    say
        Called with a line for each fault.
    """
    report = Report()
    subject, reference = Child("subject"), Child("reference")
    end = None if seconds is None else time.monotonic() + seconds
    folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    try:
        for format, case in _cases(formats, first):
            done = report.executions.total()
            if (end is not None and time.monotonic() >= end) or (executions is not None and done >= executions):
                break
            path = folder / f"case{done}{FORMATS[format]}"
            name = make_case(format, seed, case, path)
            faults = _judge(subject, reference, format, path, done, report)
            report.executions[format] += 1
            for fault in faults:
                report.faults.append((format, case, fault))
                say(f"{format} seed {seed} case {case} ({name}): {fault.kind}: {fault.text}")
            if faults and keep is not None:
                keep.mkdir(parents=True, exist_ok=True)
                target = keep / f"{format}-{seed}-{case}{FORMATS[format]}"
                if path.is_dir():
                    shutil.copytree(path, target, dirs_exist_ok=True)
                else:
                    shutil.copyfile(path, target)
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    finally:
        subject.stop()
        reference.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return report


def _judge(subject: Child, reference: Child, format: str, path: Path, number: int, report: Report) -> list[Fault]:
    module = load(format)
    request = {"format": format, "path": str(path), "through_zarr": number % 8 == 0}
    reference.send(request)
    subject.send(request)
    ours = subject.answer(SECONDS)
    theirs = reference.answer(REFERENCE_SECONDS)
    if isinstance(ours, Fault):
        return [ours]
    faults = [Fault("foreign", text) for text in ours["foreign"]]
    room = 4 * _size(path) + ROOM_NBYTES
    if ours["peak_nbytes"] > room:
        faults.append(Fault("memory", f"{ours['peak_nbytes'] >> 20} MB for a file of {_size(path)} bytes"))
    report.read[format] += any(row[0] == "ok" for row in ours["arrays"].values())
    if isinstance(theirs, Fault):
        # The reference itself died: nothing to compare with.
        report.reference_deaths += 1
        return faults
    found, asked = compare(module, ours["arrays"], theirs["arrays"])
    if asked:
        reference.send({**request, "names": asked})
        more = reference.answer(REFERENCE_SECONDS)
        if not isinstance(more, Fault):
            rest = {name: more["arrays"].get(name, ["error", "the reference has no such array"]) for name in asked}
            found += compare(module, ours["arrays"], rest, asked)[0]
    return faults + found
