"""Other processes: forked while threads read, spawned, and as loaders of training data make them."""

from __future__ import annotations

import gc
import io
import json
import multiprocessing
import os
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import packstore
from tests.servers import HttpServer

pytest.importorskip("aiohttp")

X = np.arange(60_000.0).reshape(60, 1000)
MASK = X % 3 == 0


def write(folder: Path) -> None:
    np.save(folder / "a.npy", X)
    np.savez_compressed(folder / "a.npz", x=X)
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("x", data=X, chunks=(10, 100), compression="gzip")
    packstore.save(folder / "m.zarr", MASK, chunks=(20, 100))


FILES: list[tuple[str, str | None, Any]] = [
    ("a.npy", None, X),
    ("a.npz", "x", X),
    ("a.h5", "x", X),
    ("m.zarr", None, MASK),
]


@pytest.fixture
def places(tmp_path: Path) -> Iterator[list[str]]:
    """A folder, and the same behind a URL."""
    write(tmp_path)
    with HttpServer() as server:
        for each in tmp_path.rglob("*"):
            if each.is_file():
                server.put(each.relative_to(tmp_path).as_posix(), each.read_bytes())
        yield [str(tmp_path), server.url]


def opened(places: list[str]) -> list[tuple[Any, Any]]:
    return [(packstore.open_array(f"{place}/{name}", part), want) for place in places for name, part, want in FILES]


def check(places: list[str], arrays: list[tuple[Any, Any]], answers: Any) -> None:
    try:
        for array, want in [*arrays, *opened(places)]:
            np.testing.assert_array_equal(array[...], want)
            np.testing.assert_array_equal(array[7:9, 33:77], want[7:9, 33:77])
        answers.put("right")
    except BaseException:
        answers.put(traceback.format_exc())


@pytest.mark.long
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_read(places: list[str], method: str) -> None:
    """In a process of its own: threads and event loops that other tests have left are not forked along."""
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip("not on this system")
    code = "import json, sys; from tests.source.test_processes import children_read as f; f(*json.loads(sys.argv[1]))"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", code, json.dumps([places, method])]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=200)
    assert done.returncode == 0, done.stderr


def children_read(places: list[str], method: str) -> None:
    """Start processes that read what this one has opened, while its threads read."""
    context: Any = multiprocessing.get_context(method)
    answers = context.Queue()
    arrays = opened(places)
    for array, _ in arrays:
        # A module that another thread is importing stays half imported in a child.
        array[3:5]
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            for array, _ in arrays:
                array[3:5]

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    count = 6 if method == "fork" else 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        children = [context.Process(target=check, args=(places, arrays, answers)) for _ in range(count)]
        for child in children:
            child.start()
    try:
        assert [answers.get(timeout=90) for _ in children] == ["right"] * count
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        for child in children:
            child.join(10)
            child.kill()
    for array, want in arrays:
        np.testing.assert_array_equal(array[...], want)


class Rows:
    """What a loader of training data is given: items by index."""

    def __init__(self, arrays: list[Any]) -> None:
        self.arrays = arrays

    def __len__(self) -> int:
        return len(self.arrays[0])

    def __getitem__(self, i: int) -> Any:
        return np.stack([np.asarray(array[i], np.float64) for array in self.arrays])


def load(rows: Rows, wanted: Any, answers: Any) -> None:
    while (i := wanted.get()) is not None:
        try:
            answers.put((i, rows[i]))
        except Exception as error:
            answers.put((i, repr(error)))


@pytest.mark.long
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_of_a_loader(places: list[str], method: str) -> None:
    """The dataset goes to the workers once, then they are asked for items."""
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip("not on this system")
    context: Any = multiprocessing.get_context(method)
    rows = Rows([array for array, _ in opened(places)])
    want = rows[5]
    wanted, answers = context.Queue(), context.Queue()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        workers = [context.Process(target=load, args=(rows, wanted, answers)) for _ in range(2)]
        for worker in workers:
            worker.start()
    for i in [5] * 4 + list(range(20)):
        wanted.put(i)
    found = [answers.get(timeout=90) for _ in range(24)]
    for _ in workers:
        wanted.put(None)
    for worker in workers:
        worker.join(20)
        assert worker.exitcode == 0
    for i, item in found:
        assert not isinstance(item, str), item
        if i == 5:
            np.testing.assert_array_equal(item, want)


def test_torch(places: list[str]) -> None:
    data = pytest.importorskip("torch.utils.data")
    rows = Rows([array for array, _ in opened(places)])
    for method in "fork", "spawn":
        loader = data.DataLoader(rows, batch_size=10, num_workers=2, multiprocessing_context=method)
        np.testing.assert_array_equal(np.concatenate([batch.numpy() for batch in loader])[7], rows[7])


def test_many_threads(places: list[str]) -> None:
    arrays = opened(places)
    failed: list[str] = []

    def work(k: int) -> None:
        try:
            for i in range(k, k + 8):
                array, want = arrays[i % len(arrays)]
                np.testing.assert_array_equal(array[i : i + 20], want[i : i + 20])
        except Exception:
            failed.append(traceback.format_exc())

    threads = [threading.Thread(target=work, args=(k,)) for k in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_a_child_of_a_child(tmp_path: Path) -> None:
    """What a process takes for its own after a fork is its own: a buffer in memory stands for what is remote."""
    if not hasattr(os, "fork"):
        pytest.skip("not on this system")
    import fsspec

    buffer = io.BytesIO()
    np.save(buffer, X)
    fsspec.filesystem("memory").pipe("/forks/x.npy", buffer.getvalue())
    array = packstore.open_array("memory://forks/x.npy")
    first = os.fork()
    if first == 0:
        second = os.fork()
        ok = bool(np.array_equal(array[...], X))
        if second:
            ok = ok and os.waitstatus_to_exitcode(os.waitpid(second, 0)[1]) == 0
        os._exit(0 if ok else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(first, 0)[1]) == 0


def test_nothing_of_h5py_is_left_to_the_garbage_collector(tmp_path: Path) -> None:
    """It runs in any thread, and takes h5py's lock there: a fork at that moment never ends."""
    import h5py

    for name in "a.h5", "b.h5":
        with h5py.File(tmp_path / name, "w") as file:
            file.create_dataset("g/x", data=np.arange(100), chunks=(10,), compression="gzip")
    np.testing.assert_array_equal(packstore.open_array(tmp_path / "a.h5", "g/x")[...], np.arange(100))
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        np.testing.assert_array_equal(packstore.open_array(tmp_path / "b.h5", "g/x")[...], np.arange(100))
        packstore.open_group(tmp_path / "b.h5")
        gc.collect()
        left = [type(each).__name__ for each in gc.garbage if type(each).__module__.startswith("h5py")]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert not left
