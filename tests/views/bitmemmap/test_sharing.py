"""Several writers of one file, and dask over it."""

from __future__ import annotations

import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest

from packstore.errors import StaleFileError, UnsupportedError
from packstore.views.bitmemmap import open_memmap

from .helpers import bools, check_same, mapped

WRITER = """
import sys
import numpy as np
from packstore.views.bitmemmap import open_memmap
path, me, side = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
mine = np.random.default_rng(me).random((side, side)) < 0.5
rows = np.arange(me, side, 2)
with open_memmap(path, "r+", (side, side)) as m:
    sys.stdout.write("ready\\n"); sys.stdout.flush(); sys.stdin.readline()
    for round in range(30):
        m[rows] = round % 2 == 0
        m[me::2, 3:] ^= True
        m[rows[:, None], np.arange(side)] = ~mine[rows]
        chosen = np.zeros((side, side), bool); chosen[rows] = True
        m[chosen] = False
        m[me::2, 1::3] = mine[rows, 1::3]
        m[me::2] = mine[rows]
"""


def test_two_processes_write_disjoint_rows(tmp_path: Path) -> None:
    side = 256
    path = tmp_path / "m"
    open_memmap(path, "w+", (side, side)).close()
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, path, str(me), str(side)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for me in range(2)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        _, errors = writer.communicate(timeout=120)
        assert writer.returncode == 0, errors
    want = np.empty((side, side), bool)
    for me in range(2):
        want[me::2] = np.random.default_rng(me).random((side, side))[me::2] < 0.5
    np.testing.assert_array_equal(open_memmap(path, shape=(side, side))[...], want)


@pytest.mark.parametrize("axis", [0, 1, None])
def test_threads_of_one_map_may_share_bytes(axis: int | None) -> None:
    """Eight threads, each with every eighth column, then row: all in the same bytes."""
    want = bools((67, 61))
    with mapped(np.zeros_like(want), axis, "little") as m, ThreadPoolExecutor(8) as pool:

        def write(i: int) -> None:
            for _ in range(50):
                m[:, i::8] = ~want[:, i::8]
                m[:, i::8] = want[:, i::8]

        list(pool.map(write, range(8)))
        check_same(m, want)

        def write_rows(i: int) -> None:
            for _ in range(50):
                m[np.arange(i, 67, 8)] = False
                m[i::8, 3:] = want[i::8, 3:]
                m[i::8, [2, 1, 0]] = want[i::8, 2::-1]

        list(pool.map(write_rows, range(8)))
        check_same(m, want)


@pytest.mark.parametrize("axis", [0, 1, None])
@pytest.mark.parametrize("chunks", ["auto", (7, 50), (-1, 13), 20])
def test_to_dask(axis: int | None, chunks: Any) -> None:
    model = bools((40, 300))
    with mapped(model, axis, "big", 3, "r") as m:
        array = m.to_dask(chunks)
        assert (array.shape, array.dtype, type(array._meta)) == (model.shape, bool, np.ndarray)
        assert array.name == m.to_dask(chunks).name
        np.testing.assert_array_equal(array.compute(scheduler="threads"), model)
        np.testing.assert_array_equal(array[3:20:2, ::-7].compute(), model[3:20:2, ::-7])
        np.testing.assert_array_equal(array[[5, 1]].sum(axis=1).compute(), model[[5, 1]].sum(axis=1))
        np.testing.assert_array_equal(da.from_array(m, chunks=20).compute(), model)
        graph = pickle.dumps(array.__dask_graph__())
        assert len(graph) < 1500 * array.npartitions + 3000
        m.close()
        assert array.sum().compute() == model.sum()


def test_auto_chunks_are_whole_bytes(tmp_path: Path) -> None:
    path = tmp_path / "m"
    with open(path, "wb") as f:
        f.truncate(30001 * (30001 // 8 + 1))
    for axis in (0, 1):
        with open_memmap(path, shape=(30001, 30001), axis=axis) as m:
            chunks = m.to_dask().chunks
            assert m.to_dask().npartitions > 1
            assert all(n % 8 == 0 for n in chunks[axis][:-1])


def test_zero_dimensional_and_empty_to_dask() -> None:
    for model in (np.ones((), bool), np.zeros((0, 5), bool), np.zeros((5, 0), bool)):
        with mapped(model, -1, "little", 0, "r") as m:
            got = m.to_dask().compute()
            assert np.shape(got) == model.shape
            np.testing.assert_array_equal(got, model)


def test_a_changed_file_is_never_read_under_the_old_name(tmp_path: Path) -> None:
    path = tmp_path / "m"
    m = open_memmap(path, "w+", (20, 20))
    m[3] = True
    first = m.to_dask()
    assert first.sum().compute() == 20
    m[4] = True
    second = m.to_dask()
    assert second.name != first.name
    assert second.sum().compute() == 40
    with pytest.raises(StaleFileError, match="changed"):
        first.compute()
    tokens = {dask.base.tokenize(m)}
    m[5] = True
    tokens.add(dask.base.tokenize(m))
    with open_memmap(path, "c", (20, 20)) as c:
        tokens.add(dask.base.tokenize(c))
        with pytest.raises(UnsupportedError, match=r"expected a mode that shares, got 'c'\. Open it with"):
            c.to_dask()
    assert len(tokens) == 3
    third = m.to_dask()
    path.unlink()
    with pytest.raises(StaleFileError, match="got nothing of that name"):
        third.compute()


FORK = """
import os, sys
from packstore.views.bitmemmap import open_memmap
m = open_memmap(sys.argv[1], "w+", (4, 9))
with m._mapping.lock:
    child = os.fork()
    if not child:
        m[2, 3:5] = True
        os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert m.count_nonzero() == 2
"""


def test_a_forked_child_does_not_wait_for_a_lock_of_its_parent(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FORK, tmp_path / "m"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_store_a_dask_array_in_a_map(tmp_path: Path) -> None:
    model = bools((50, 70))
    with open_memmap(tmp_path / "m", "w+", (50, 70)) as m:
        da.store(da.from_array(model, chunks=(11, 13)), m, lock=False)
        check_same(m, model)


@pytest.mark.long
def test_distributed_processes(tmp_path: Path) -> None:
    from distributed import Client, LocalCluster

    model = bools((200, 333))
    with open_memmap(tmp_path / "m", "w+", (200, 333), axis=0) as m:
        m[...] = model
        with (
            LocalCluster(
                n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0", local_directory=str(tmp_path)
            ) as cluster,
            Client(cluster) as client,
        ):
            array = m.to_dask((64, 100))
            np.testing.assert_array_equal(array.compute(), model)
            assert client.submit(lambda x: x.count_nonzero(), m).result() == model.sum()


def test_graph_pickles_as_a_path() -> None:
    model = bools((300, 300))
    with mapped(model, -1, "little", 0, "r") as m:
        pickled = pickle.dumps(m.to_dask())
        assert len(pickled) < 5000
        np.testing.assert_array_equal(pickle.loads(pickled)[2:4].compute(), model[2:4])
