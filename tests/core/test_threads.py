"""Work that is spread over threads, and locks across forks."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings

import pytest

from packstore import config
from packstore.core import threads
from packstore.core.threads import ForkSafeLock, run_all
from packstore.errors import OptionError


@pytest.fixture(autouse=True)
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "cpu_count", lambda: 4)


@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize("parallel", [False, True])
def test_each_item_once(parallel: bool, small: bool) -> None:
    done: list[int] = []
    run_all(done.append, iter(range(500)), parallel=parallel, small=small)
    assert sorted(done) == list(range(500))


def test_small_items_stay_in_the_calling_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    # However long this machine takes.
    monkeypatch.setattr(threads, "SLOW_S", 1e9)
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


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_lock_is_free_in_a_forked_child() -> None:
    lock = ForkSafeLock()
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(60)
    with warnings.catch_warnings():
        # Python warns of a fork among threads, of which this test is.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        signal.alarm(20)
        with lock:
            os._exit(0)
    done.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0


def test_threads_are_those_of_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    with config.set({"threads": 1}):
        done: list[threading.Thread] = []
        run_all(lambda _: done.append(threading.current_thread()), range(20), parallel=True)
        assert done == [threading.main_thread()] * 20
        assert threads.thread_count() == 1
    assert threads.thread_count() == 4
    for wrong in (0, -1, 1.5, True, "two"):
        with config.set({"threads": wrong}), pytest.raises(OptionError, match="threads to be 1 or more"):
            threads.thread_count()
