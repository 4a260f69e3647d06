"""Open, slice, pickle, close, replace and write again in any order: what numpy says, or an error of ours."""

from __future__ import annotations

import os
import pickle
import shutil
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from packstore.errors import PackstoreError, StaleFileError
from packstore.source.local import close_files
from packstore.views.dask.from_lazy import from_lazy
from packstore.views.lazy import LazyArray, open_lazy
from tests.faults.files import FILES, SHAPE, Kind, values

slices = st.tuples(*(st.builds(slice, st.integers(0, n), st.integers(0, n), st.integers(1, 7)) for n in SHAPE))


class Machine(RuleBasedStateMachine):
    """One file, and arrays that were opened in the states that it had."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.count = 0
        self.open: list[tuple[LazyArray, int]] = []

    @initialize(name=st.sampled_from(sorted(FILES)))
    def write(self, name: str) -> None:
        self.kind: Kind = FILES[name]
        self.path = self.folder / f"x{self.kind.suffix}"
        self.kind.write(self.path, self.want(0))

    def want(self, state: int) -> np.ndarray[Any, Any]:
        return values(state, self.kind.dtype)

    @rule()
    def open_it(self) -> None:
        self.open.append((open_lazy(self.path, self.kind.component, **self.kind.options), self.count))

    @precondition(lambda self: self.open)
    @rule(i=st.integers(0, 100), key=slices, how=st.sampled_from(["here", "pickled", "dask"]))
    def read(self, i: int, key: tuple[slice, ...], how: str) -> None:
        array, state = self.open[i % len(self.open)]
        try:
            if how == "pickled":
                array = pickle.loads(pickle.dumps(array))
            found = np.asarray(from_lazy(array)[key].compute(scheduler="sync") if how == "dask" else array[key])
        except StaleFileError:
            assert state != self.count, "an array of the file as it is was called stale"
            return
        except PackstoreError:
            # A file that is another one may look damaged to whoever knew the old one.
            assert state != self.count
            return
        np.testing.assert_array_equal(found, self.want(state)[key])
        # Values of an earlier state can only be what was kept of it; of a file that is mapped they are not.
        assert state == self.count or found.size == 0

    @rule(replace=st.booleans())
    def write_again(self, replace: bool) -> None:
        # The clock of files ticks every few ms; within a tick nobody can tell.
        time.sleep(0.015)
        self.count += 1
        if replace:
            other = self.folder / f"other{self.kind.suffix}"
            self.kind.write(other, self.want(self.count))
            if self.path.is_dir():
                shutil.rmtree(self.path)
            os.replace(other, self.path)
        else:
            if self.path.is_dir():
                shutil.rmtree(self.path)
            self.kind.write(self.path, self.want(self.count))
        time.sleep(0.015)

    @rule()
    def let_go(self) -> None:
        close_files(str(self.folder))
        for array, _ in self.open[:3]:
            array.location.close()

    def teardown(self) -> None:
        shutil.rmtree(self.folder)


Machine.TestCase.settings = settings(max_examples=25, stateful_step_count=12, deadline=None)
TestStates = Machine.TestCase


@pytest.mark.long
@pytest.mark.parametrize("name", FILES)
def test_many_threads(tmp_path: Path, name: str) -> None:
    """32 threads read boxes of one array for a while; each has numpy's values, bit by bit."""
    kind = FILES[name]
    path = tmp_path / f"x{kind.suffix}"
    want = values(3, kind.dtype)
    kind.write(path, want)
    array = open_lazy(path, kind.component, **kind.options)
    wrong: list[str] = []
    end = time.monotonic() + 1.5

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        while time.monotonic() < end and not wrong:
            ends = [sorted(rng.integers(0, n + 1, 2).tolist()) for n in SHAPE]
            key = tuple(slice(start, stop, int(rng.integers(1, 4))) for start, stop in ends)
            try:
                found = np.asarray(array[key])
            except BaseException as error:
                wrong.append(repr(error))
                return
            if found.astype(want.dtype).tobytes() != want[key].tobytes():
                wrong.append(f"{key}")

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
