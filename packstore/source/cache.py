"""Caches of arrays, each bounded by a budget of `packstore.config`."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Collection, Hashable
from typing import Any

from packstore import config
from packstore.core.threads import ForkSafeLock
from packstore.core.typing import Array
from packstore.source.base import Fingerprint, is_at

__all__ = ["CHUNKS", "GZIP", "HEAPS", "INDEXES", "MEMBERS", "PICKLES", "SHARDS", "TEXT", "ByteLRU", "FileLRU", "forget"]


class _Arrays:
    """Arrays in the order of their use, each with a tag; the lock is the subclass's to take."""

    def __init__(self, budget: str | int) -> None:
        self.budget = budget
        self.nbytes = 0
        self._items: OrderedDict[Hashable, tuple[Any, Array]] = OrderedDict()
        self._lock = ForkSafeLock()

    @property
    def max_nbytes(self) -> int:
        """Bytes that may be kept now."""
        return self.budget if isinstance(self.budget, int) else config.cache_nbytes(self.budget)

    def _add(self, key: Hashable, tag: object, array: Array, at_least: int = 0) -> None:
        """Keep `array`; the least recently used ones go while all are beyond the bound, but for `at_least` arrays."""
        array.flags.writeable = False
        if key in self._items:
            self._drop(key)
        self._items[key] = (tag, array)
        self.nbytes += array.nbytes
        most = self.max_nbytes
        while self.nbytes > most and len(self._items) > at_least:
            self._drop(next(iter(self._items)))

    def _drop(self, key: Hashable) -> Any:
        """Forget one array; returns its tag."""
        tag, array = self._items.pop(key)
        self.nbytes -= array.nbytes
        return tag

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            while self._items:
                self._drop(next(iter(self._items)))


class ByteLRU(_Arrays):
    """Least recently used arrays; an array of more than half of the budget is not kept at all.

    Parameters
    ----------
    budget
        A number of bytes, or the name of a setting: "chunks" is ``cache.chunks_nbytes`` of `packstore.config`.

    Notes
    -----
    Thread safe and fork safe. Each entry belongs to an owner object and is not found once that object is gone, so an
    ``id`` may serve as part of a key.

    Examples
    --------
    >>> import numpy as np
    >>> class Owner: ...
    >>> cache, owner = ByteLRU(1000), Owner()
    >>> cache.put("a", owner, np.zeros(10, np.uint8))
    >>> cache.get("a", owner).shape
    (10,)
    """

    def get(self, key: Hashable, owner: object) -> Array | None:
        """The array under `key` if it was put by this `owner`."""
        with self._lock:
            item = self._items.get(key)
            if item is None or item[0]() is not owner:
                return None
            self._items.move_to_end(key)
            return item[1]

    def put(self, key: Hashable, owner: object, array: Array) -> None:
        """Keep `array`, dropping the least recently used ones beyond the bound."""
        if array.nbytes > self.max_nbytes // 2:
            return
        with self._lock:
            self._add(key, weakref.ref(owner), array)

    def forget(self, owners: Collection[object]) -> None:
        """Drop what belongs to `owners`, which are compared by identity, and what belongs to nobody any more."""
        wanted = {id(owner) for owner in owners} | {id(None)}
        with self._lock:
            for key in [key for key, (owner, _) in self._items.items() if id(owner()) in wanted]:
                self._drop(key)


class FileLRU(_Arrays):
    """Arrays decoded from files, the least recently used ones dropped beyond the budget; the newest is always kept.

    Parameters
    ----------
    budget
        A number of bytes, or the name of a setting: "members" is ``cache.members_nbytes`` of `packstore.config`.

    Notes
    -----
    Thread safe and fork safe. Of each path only the newest state is kept: what another fingerprint led to goes.

    Examples
    --------
    >>> import numpy as np
    >>> from packstore.source import Fingerprint
    >>> cache, first, second = FileLRU(1000), Fingerprint("/a", 9, 1, 1), Fingerprint("/a", 9, 2, 1)
    >>> cache.put(first, "x", np.zeros(10, np.uint8))
    >>> cache.put(second, "y", np.zeros(10, np.uint8))
    >>> cache.get(second, "y").shape, cache.nbytes
    ((10,), 10)
    """

    def __init__(self, budget: str | int) -> None:
        super().__init__(budget)
        self._states: dict[str, tuple[Fingerprint, set[Hashable]]] = {}

    def get(self, fingerprint: Fingerprint, key: Hashable) -> Array | None:
        """The array under `key` of the file in that state."""
        with self._lock:
            # Here already, so that what is decoded next may take the memory.
            self._drop_other_states(fingerprint)
            item = self._items.get((fingerprint, key))
            if item is None:
                return None
            self._items.move_to_end((fingerprint, key))
            return item[1]

    def put(self, fingerprint: Fingerprint, key: Hashable, array: Array) -> None:
        """Keep `array`; what is of another state of the file goes, and what is beyond the bound."""
        path = fingerprint.path
        with self._lock:
            self._drop_other_states(fingerprint)
            self._add((fingerprint, key), path, array, at_least=1)
            self._states.setdefault(path, (fingerprint, set()))[1].add((fingerprint, key))

    def forget(self, path: str) -> None:
        """Drop what was decoded from the file at `path`, or from files below it."""
        with self._lock:
            for key in [key for key, (owner, _) in self._items.items() if is_at(owner, path)]:
                self._drop(key)

    def _drop_other_states(self, fingerprint: Fingerprint) -> None:
        state = self._states.get(fingerprint.path)
        if state is not None and state[0] != fingerprint:
            for key in tuple(state[1]):
                self._drop(key)

    def _drop(self, key: Hashable) -> Any:
        path = super()._drop(key)
        keys = self._states[path][1]
        keys.discard(key)
        if not keys:
            del self._states[path]
        return path


# All memory that packstore keeps; the budgets are those of `packstore.config`.
CHUNKS = ByteLRU("chunks")  # decoded chunks of which a crop used a part, so that neighbouring crops do not decode them
SHARDS = ByteLRU("shards")  # indexes of zarr shards
HEAPS = ByteLRU("heaps")  # where the objects of collections of HDF5's global heap lie
MEMBERS = FileLRU("members")  # inflated npz members, or blocks of them
TEXT = FileLRU("text")  # parsed blocks of text files
GZIP = FileLRU("gzip")  # inflated stretches of gzipped text
INDEXES = FileLRU("indexes")  # blocks of headers and indexes of remote objects
PICKLES = FileLRU("pickle")  # arrays that pickles hold as text


def forget(path: str, owners: Collection[object]) -> None:
    """Drop all that is kept of the file at `path`, and in the name of `owners`; it is decoded again when it is read."""
    for by_owner in (CHUNKS, SHARDS, HEAPS):
        by_owner.forget(owners)
    for by_file in (MEMBERS, TEXT, GZIP, PICKLES, INDEXES):
        by_file.forget(path)
