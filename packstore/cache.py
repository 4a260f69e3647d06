"""A small cache bounded by bytes."""

from __future__ import annotations

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

import numpy.typing as npt

__all__ = ["ByteLRU"]


class ByteLRU:
    """Least recently used arrays, at most `max_nbytes` of them together.

    Parameters
    ----------
    max_nbytes
        An array larger than half of it is not kept at all.

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

    def __init__(self, max_nbytes: int) -> None:
        self.max_nbytes = max_nbytes
        self.nbytes = 0
        self._items: OrderedDict[Hashable, tuple[Any, npt.NDArray[Any]]] = OrderedDict()
        self._lock = threading.Lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew_lock)

    def _renew_lock(self) -> None:
        self._lock = threading.Lock()

    def get(self, key: Hashable, owner: object) -> npt.NDArray[Any] | None:
        """The array under `key` if it was put by this `owner`."""
        with self._lock:
            item = self._items.get(key)
            if item is None or item[0]() is not owner:
                return None
            self._items.move_to_end(key)
            return item[1]

    def put(self, key: Hashable, owner: object, array: npt.NDArray[Any]) -> None:
        """Keep `array`, dropping the least recently used ones beyond the bound."""
        if array.nbytes > self.max_nbytes // 2:
            return
        array.flags.writeable = False
        with self._lock:
            old = self._items.pop(key, None)
            if old is not None:
                self.nbytes -= old[1].nbytes
            self._items[key] = (weakref.ref(owner), array)
            self.nbytes += array.nbytes
            while self.nbytes > self.max_nbytes:
                _, (_, gone) = self._items.popitem(last=False)
                self.nbytes -= gone.nbytes

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            self._items.clear()
            self.nbytes = 0
