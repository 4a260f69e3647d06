"""What is written, block by block: arrays in memory, lazy ones and dask arrays behind one interface."""

from __future__ import annotations

import itertools
import math
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from packstore.errors import DtypeError, OptionError, message

__all__ = ["BLOCK_NBYTES", "Item", "NoProgress", "Progress", "block_boxes", "items_of", "slabs", "write_blocks"]

BLOCK_NBYTES = 16 << 20

Box = tuple[slice, ...]
Put = Callable[[Box, npt.NDArray[Any]], None]


class Progress(Protocol):
    """Told how many bytes of array data are done."""

    def advance(self, nbytes: int) -> None:
        """`nbytes` more are done."""


class NoProgress:
    """Shows nothing."""

    def advance(self, nbytes: int) -> None:
        """Nothing to show."""


@dataclass(frozen=True, eq=False)
class Item:
    """One array to write.

    Parameters
    ----------
    name
        "" for a file that is one array.
    data
        Anything with ``shape``, ``dtype`` and basic slicing.
    """

    name: str
    data: Any
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def is_dask(self) -> bool:
        """Whether it is computed while it is written."""
        return hasattr(self.data, "__dask_graph__")

    @property
    def fortran(self) -> bool:
        """Whether it lies in memory in Fortran order, which npy can keep."""
        flags = getattr(self.data, "flags", None)
        return isinstance(self.data, np.ndarray) and bool(flags is not None and flags.fnc)

    def get(self, box: Box) -> npt.NDArray[Any]:
        """The elements of `box` in memory."""
        return np.asarray(self.data[box])


def items_of(data: Any) -> tuple[list[Item], bool]:
    """The arrays in `data` and whether it was one array.

    Raises
    ------
    DtypeError
        Object arrays (they would need pickle), or something that is no array.
    OptionError
        Names that are no strings or that clash.
    """
    if isinstance(data, Mapping):
        named = list(data.items())
        single = False
    elif isinstance(data, (list, tuple)) and any(hasattr(x, "dtype") and getattr(x, "ndim", 0) for x in data):
        # np.savez's names for arrays without one.
        named = [(f"arr_{i}", x) for i, x in enumerate(data)]
        single = False
    else:
        named = [("", data)]
        single = True
    items = [_item(name, value) for name, value in named]
    names = {i.name for i in items}
    for item in items:
        for other in names:
            if other.startswith(item.name + "/") and not single:
                raise OptionError(
                    message("saving", expected="names that do not nest", got=f"{item.name!r} and {other!r}")
                )
    return items, single


def _item(name: Any, value: Any) -> Item:
    if not isinstance(name, str):
        raise OptionError(message("saving", expected="names to be str", got=repr(name)))
    if name.startswith("/") or "\\" in name or "\0" in name or any(p.strip(".") == "" for p in name.split("/") if name):
        raise OptionError(message("saving", expected="names of plain parts joined by /", got=repr(name)))
    if not (hasattr(value, "shape") and hasattr(value, "dtype") and hasattr(value, "__getitem__")) or isinstance(
        value, np.generic
    ):
        value = np.asarray(value)
    dtype = np.dtype(value.dtype)
    if dtype.hasobject:
        raise DtypeError(
            message("saving", None, name or None, expected="elements of a fixed size", got=f"dtype {dtype}")
        )
    attributes = getattr(value, "attrs", None)
    plain = dict(attributes) if attributes is not None and hasattr(attributes, "keys") else {}
    return Item(name, value, tuple(int(n) for n in value.shape), dtype, plain)


def block_boxes(shape: Sequence[int], block: Sequence[int]) -> Iterator[Box]:
    """Boxes of at most `block` that tile `shape`, in C order; one empty box for a 0-d array, none for an empty one."""
    if 0 in shape:
        return
    axes = [[slice(a, min(a + b, n), 1) for a in range(0, n, b)] for n, b in zip(shape, block, strict=True)]
    yield from itertools.product(*axes)


def write_blocks(item: Item, block: tuple[int, ...], put: Put, progress: Progress, *, whole_chunks: bool) -> None:
    """Hand every block of `item` to `put`, in parallel and in any order.

    Parameters
    ----------
    block
        Shape of the target's unit of writing.
    put
        Thread safe; also picklable where `item` is a dask array and a distributed scheduler runs.
    whole_chunks
        Two writers must not share a block (chunked targets): a dask array is then rechunked to whole blocks. Otherwise
        its own chunks are written as they are.
    """
    if item.is_dask:
        _write_dask(item, block, put, progress, whole_chunks)
        return

    def work(box: Box) -> None:
        values = item.get(box)
        put(box, values)
        progress.advance(values.nbytes)

    run_parallel(work, block_boxes(item.shape, block))


def run_parallel(work: Callable[[Any], Any], tasks: Iterator[Any], workers: int | None = None) -> None:
    """Run `work` on each task with a bounded number in flight; the first error stops the rest and is raised."""
    count = workers or min(os.cpu_count() or 1, 16)
    with ThreadPoolExecutor(count) as pool:
        running: set[Future[Any]] = set()
        try:
            for task in tasks:
                running.add(pool.submit(work, task))
                if len(running) >= 2 * count:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        future.result()
            for future in running:
                future.result()
        except BaseException:
            # Interrupted or failed: what has not started must not start.
            for future in running:
                future.cancel()
            raise


def map_ordered(work: Callable[[Any], Any], tasks: Iterator[Any], workers: int | None = None) -> Iterator[Any]:
    """Results of `work` in the order of the tasks, computed ahead by several threads, a bounded number of them."""
    count = workers or min(os.cpu_count() or 1, 16)
    with ThreadPoolExecutor(count) as pool:
        window: list[Future[Any]] = []
        try:
            for task in tasks:
                window.append(pool.submit(work, task))
                if len(window) >= 2 * count:
                    yield window.pop(0).result()
            while window:
                yield window.pop(0).result()
        finally:
            for future in window:
                future.cancel()


def _write_dask(item: Item, block: tuple[int, ...], put: Put, progress: Progress, whole_chunks: bool) -> None:
    import dask
    from dask.callbacks import Callback

    array = item.data
    if whole_chunks:
        array = _align(array, block)
    parts = array.to_delayed()
    edges = [np.concatenate([[0], np.cumsum(c)]).astype(int).tolist() for c in array.chunks]
    write = dask.delayed(_put_block, pure=False, traverse=False)
    tasks = []
    for index in np.ndindex(parts.shape):
        box = tuple(slice(e[i], e[i + 1], 1) for e, i in zip(edges, index, strict=True))
        if all(s.stop > s.start for s in box):
            tasks.append(write(parts[index], box, put))
    lock = threading.Lock()
    each = item.nbytes // max(len(tasks), 1)
    wanted = {t.key for t in tasks}

    def posttask(key: Any, *_: Any) -> None:
        if key in wanted:
            with lock:
                progress.advance(each)

    with Callback(posttask=posttask):
        dask.compute(*tasks)


def _put_block(values: Any, box: Box, put: Put) -> None:
    put(box, np.asarray(values))


def _align(array: Any, block: tuple[int, ...]) -> Any:
    """Rechunk so that each chunk is made of whole blocks, as near to the array's own chunks as that allows."""
    wanted = []
    for lengths, b in zip(array.chunks, block, strict=True):
        inner = lengths[:-1]
        if all(n % b == 0 for n in inner):
            wanted.append(lengths)
        else:
            size = max(-(-max(lengths) // b), 1) * b
            total = sum(lengths)
            wanted.append(tuple(min(size, total - a) for a in range(0, total, size)))
    return array.rechunk(tuple(wanted))


def slabs(item: Item, rows: int) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Whole runs of rows along axis 0, in order: ``(first row, values)``.

    A dask array is computed a chunk of rows at a time, so it may be larger than memory; anything else gives `rows`
    rows a time. A 0-d array gives one slab.
    """
    if not item.shape:
        value = item.data.compute() if item.is_dask else item.data[()]
        yield 0, np.asarray(value, item.dtype)
        return
    if not item.is_dask:
        for start in range(0, item.shape[0], max(rows, 1)):
            yield start, item.get((slice(start, min(start + max(rows, 1), item.shape[0])),))
        return
    start = 0
    for length in item.data.chunks[0]:
        if length:
            yield start, np.asarray(item.data[start : start + length].compute())
        start += length
