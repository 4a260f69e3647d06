"""The cache bounded by bytes."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from packstore.source import Fingerprint
from packstore.source.cache import ByteLRU, FileLRU


class Owner:
    pass


def block(value: int, nbytes: int = 100) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.full(nbytes, value, np.uint8)


def test_least_recently_used_goes_first() -> None:
    cache, owner = ByteLRU(400), Owner()
    for key in range(4):
        cache.put(key, owner, block(key))
    assert cache.get(0, owner) is not None
    cache.put(4, owner, block(4))
    assert [cache.get(key, owner) is not None for key in range(5)] == [True, False, True, True, True]
    assert cache.nbytes == 400


def test_replaced_entries_count_once() -> None:
    cache, owner = ByteLRU(1000), Owner()
    for value in range(5):
        cache.put("a", owner, block(value))
    found = cache.get("a", owner)
    assert found is not None
    assert found[0] == 4
    assert cache.nbytes == 100
    cache.clear()
    assert cache.nbytes == 0
    assert cache.get("a", owner) is None


def test_large_arrays_are_not_kept() -> None:
    cache, owner = ByteLRU(400), Owner()
    cache.put("a", owner, block(1, 201))
    assert cache.get("a", owner) is None
    assert cache.nbytes == 0


def test_entries_are_read_only() -> None:
    cache, owner = ByteLRU(400), Owner()
    array = block(1)
    cache.put("a", owner, array)
    assert not array.flags.writeable


def test_an_entry_belongs_to_its_owner() -> None:
    cache, owner, other = ByteLRU(400), Owner(), Owner()
    cache.put("a", owner, block(1))
    assert cache.get("a", other) is None
    del owner
    gc.collect()
    assert cache.get("a", other) is None
    cache.put("a", other, block(2))
    assert cache.nbytes == 100


def test_threads() -> None:
    cache, owner = ByteLRU(5000), Owner()

    def work(seed: int) -> bool:
        rng = np.random.default_rng(seed)
        for key in rng.integers(0, 100, 300).tolist():
            found = cache.get(key, owner)
            if found is not None and not (found == key % 256).all():
                return False
            cache.put(key, owner, block(key % 256, 50 + key))
        return True

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(work, range(32)))
    assert cache.nbytes == sum(a.nbytes for _, a in cache._items.values()) <= 5000


def state(path: str = "/a", mtime_ns: int = 0) -> Fingerprint:
    return Fingerprint(path, 10, mtime_ns, 1)


def test_arrays_of_files_are_bounded_but_for_the_newest() -> None:
    cache = FileLRU(100)
    for i in range(5):
        cache.put(state(f"/{i}"), "x", block(i, 40))
    assert cache.nbytes == 80 and cache.get(state("/2"), "x") is None and cache.get(state("/3"), "x") is not None
    cache.put(state(), "large", block(0, 1000))
    assert cache.nbytes == 1000 and cache.get(state(), "large") is not None and cache.get(state("/4"), "x") is None
    cache.put(state(), "large", block(0, 50))
    assert cache.nbytes == 50


def test_a_changed_file_leaves_nothing_behind() -> None:
    cache = FileLRU(1000)
    for key in range(3):
        cache.put(state(), key, block(key))
    cache.put(state("/b"), 0, block(9))
    cache.put(state(mtime_ns=1), 1, block(7))
    assert cache.nbytes == 200
    found = cache.get(state(mtime_ns=1), 1)
    assert found is not None and found[0] == 7
    assert cache.get(state(mtime_ns=2), 1) is None and cache.nbytes == 100
    assert cache.get(state(), 0) is None and cache.get(state("/b"), 0) is not None
    cache.clear()
    assert cache.nbytes == 0 and cache.get(state("/b"), 0) is None
    cache.put(state(), 0, block(1))
    assert cache.get(state(), 0) is not None
