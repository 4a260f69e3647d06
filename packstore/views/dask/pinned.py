"""Arrays of graphs: a lazy array goes in, one comes out that knows in which state its chunks are now."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from packstore.core.box_selection import box_selection
from packstore.core.boxes import Box
from packstore.core.process import read_here
from packstore.errors import PackstoreError, StaleFileError
from packstore.views.lazy import LazyArray

__all__ = ["PinnedArray", "pinned"]


def pinned(lazy: LazyArray) -> LazyArray:
    """`lazy`, or where its chunks may change by themselves (files of a zarr directory) one that compares them.

    Notes
    -----
    Looks at each chunk file once: some 2 µs. Behind a URL it lists them: a request for each thousand. More than 4,096
    of them are left as they are, and so are those that a server does not list with their ETags.
    """
    if isinstance(lazy, PinnedArray):
        return lazy
    stamps = lazy.array.storage.stamps()
    return lazy if stamps is None else PinnedArray(lazy, stamps)


class PinnedArray(LazyArray):
    """A lazy array whose reads raise StaleFileError where a chunk file that they touched was written again.

    Parameters
    ----------
    lazy
        The array.
    stamps
        The states of its chunks; pickled with it, in 4 bytes each.
    """

    def __init__(self, lazy: LazyArray, stamps: npt.NDArray[np.uint32]) -> None:
        super().__init__(lazy.location, lazy.component, lazy.array)
        self._stamps = stamps

    def __getitem__(self, key: Any) -> Any:
        # docstring inherited
        # Names of fields are no selection: they are of all elements.
        whole = self.dtype.names is not None and isinstance(key, (str, list))
        box, _ = box_selection(... if whole else key, self.shape, self.location.path)
        try:
            found = super().__getitem__(key)
        except PackstoreError:
            # A chunk that was written again is not damaged.
            self.compare(box)
            raise
        # Compared behind the read, so that a chunk that is written again meanwhile shows, too.
        self.compare(box)
        return found

    def compare(self, box: Box) -> None:
        # docstring inherited
        try:
            self.array.storage.compare(self._stamps, box)
        except StaleFileError as error:
            if not self._travelled:
                raise
            raise read_here(error) from error

    def __dask_tokenize__(self) -> object:
        return ("packstore.PinnedArray", self.location, self.component, self._version, self._stamps.tobytes())

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        super().__setstate__(state[:-1])
        self._stamps = state[-1]

    def __reduce__(self) -> tuple[Any, ...]:
        return (_unopened, (), (*super().__reduce__()[2], self._stamps))


def _unopened() -> PinnedArray:
    return PinnedArray.__new__(PinnedArray)
