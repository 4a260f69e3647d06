"""Boxes: work that is spread over threads."""

from __future__ import annotations

import threading
import time

import pytest

from packstore.core import boxes
from packstore.core.boxes import run_all


@pytest.fixture(autouse=True)
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boxes, "cpu_count", lambda: 4)


@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize("parallel", [False, True])
def test_each_item_once(parallel: bool, small: bool) -> None:
    done: list[int] = []
    run_all(done.append, iter(range(500)), parallel=parallel, small=small)
    assert sorted(done) == list(range(500))


def test_small_items_stay_in_the_calling_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    # However long this machine takes.
    monkeypatch.setattr(boxes, "SLOW_S", 1e9)
    done: list[threading.Thread] = []
    run_all(lambda _: done.append(threading.current_thread()), range(300), parallel=True, small=True)
    assert done == [threading.main_thread()] * 300


def test_small_items_that_are_slow_are_spread() -> None:
    meeting = threading.Barrier(4, timeout=60)
    done: list[int] = []

    def work(i: int) -> None:
        if i < 3:
            time.sleep(0.002)
        elif i < 7:
            meeting.wait()  # which ends where four threads are there
        done.append(i)

    run_all(work, range(40), parallel=True, small=True)
    assert sorted(done) == list(range(40))


@pytest.mark.parametrize("at", [0, 5, 39])
@pytest.mark.parametrize("small", [False, True])
def test_the_first_error_ends_it(small: bool, at: int) -> None:
    done: list[int] = []

    def work(i: int) -> None:
        if i == at:
            raise OSError("read")
        done.append(i)

    with pytest.raises(OSError, match="read"):
        run_all(work, range(100_000), parallel=True, small=small)
    assert len(done) < 100_000 - 1
