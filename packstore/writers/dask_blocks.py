"""Dask arrays: every chunk computed once, in one graph, and written by the task that computed it."""

from __future__ import annotations

import contextlib
import math
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from packstore.config import thread_count
from packstore.core.boxes import Box
from packstore.core.typing import Array
from packstore.writers.items import Item, Put, as_declared
from packstore.writers.progress import Progress

__all__ = ["distributed_client", "rows", "streams_by_rows", "write_dask"]

Collect = Callable[[Any], None]


def write_dask(
    item: Item, block: tuple[int, ...] | None, put: Put, progress: Progress, collect: Collect | None = None
) -> None:
    """Compute a dask array and hand each of its chunks to `put`.

    Parameters
    ----------
    block
        Chunks are first merged and cut to whole blocks of this shape; None: as they are.
    collect
        As for `packstore.writers.blocks.write_blocks`.

    Notes
    -----
    Runs on the scheduler that dask would use. With ``dask.distributed`` the workers call `put`, so they must see the
    same folder; not for an item that `stays_here`. With `collect`, local schedulers other than threads are replaced by
    threads.
    """
    array = item.data if block is None else align(item.data, block)
    client = distributed_client(array)
    if client is not None and item.stays_here and collect is None:
        _distributed(client, array, item, _sent, progress, lambda sent: put(*sent))
    elif client is not None:
        _distributed(client, array, item, put, progress, collect)
    else:
        _local(array, item, put, progress, collect)


def distributed_client(array: Any) -> Any:
    """The distributed client that dask would compute with, or None."""
    import dask.base

    owner = getattr(dask.base.get_scheduler(collections=[array]), "__self__", None)
    return owner if type(owner).__module__.startswith("distributed") else None


def _sent(box: Box, values: Array) -> tuple[Box, Array]:
    """What a worker sends of a block that it must not write itself."""
    return box, values


def _tasks(array: Any, item: Item, put: Put, *, keep: bool) -> Any:
    """A dask array of one element a chunk of `array`, whose computation writes the chunk.

    With `keep` its blocks are what `put` returned: for who asks for them one by one.
    """
    # The module itself: with "array.query-planning" the package has other functions, for expressions.
    from dask.array.core import map_blocks

    return map_blocks(
        _put_block,
        array,
        put=put,
        keep=keep,
        dtype_and_name=(item.dtype, item.name),
        chunks=tuple((1,) * len(c) for c in array.chunks),
        dtype=np.uint8,
        meta=np.empty((0,) * array.ndim, np.uint8),
        # A name of its own each time: what counts here is the side effect, so two saves are never the same task.
        name=f"packstore-save-{secrets.token_hex(8)}",
    )


def _put_block(
    values: Any, *, put: Put, keep: bool, dtype_and_name: tuple[np.dtype[Any], str], block_info: Any = None
) -> Any:
    box: Box = tuple(slice(int(a), int(b), 1) for a, b in block_info[0]["array-location"])
    shape = tuple(s.stop - s.start for s in box)
    dtype, name = dtype_and_name
    result = None
    if 0 not in shape:
        result = put(box, as_declared(values, dtype, shape, name))
    return result if keep else np.zeros((1,) * len(box), np.uint8)


def _local(array: Any, item: Item, put: Put, progress: Progress, collect: Collect | None) -> None:
    import dask.base
    import dask.local
    import dask.threaded

    lock = threading.Lock()

    def put_here(box: Box, values: Any) -> None:
        result = put(box, values)
        with lock:
            if collect is not None:
                collect(result)
            progress.advance(values.nbytes)

    scheduler = dask.base.get_scheduler(collections=[array])
    if scheduler is dask.local.get_sync:
        _tasks(array, item, put_here, keep=False).compute()
    elif scheduler is dask.threaded.get or collect is not None:
        # A pool of our own: when the block ends, no task is still writing.
        with _pool() as pool:
            _tasks(array, item, put_here, keep=False).compute(scheduler="threads", pool=pool)
    else:
        # Other processes write, and say nothing until all is done.
        _tasks(array, item, put, keep=False).compute()
        progress.advance(item.nbytes)


def _nbytes(key: Any, name: str, array: Any) -> int:
    """Bytes of the chunk that a task wrote; 0 for any other task."""
    if not isinstance(key, tuple) or key[0] != name:
        return 0
    sides = (int(lengths[i]) for lengths, i in zip(array.chunks, key[1:], strict=True))
    return math.prod(sides) * int(array.dtype.itemsize)


@contextlib.contextmanager
def _pool() -> Iterator[ThreadPoolExecutor]:
    import dask

    chosen = dask.config.get("num_workers", None)
    pool = ThreadPoolExecutor(chosen if isinstance(chosen, int) else thread_count())
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _distributed(client: Any, array: Any, item: Item, put: Put, progress: Progress, collect: Collect | None) -> None:
    from distributed import as_completed, futures_of

    tasks = _tasks(array, item, put, keep=collect is not None)
    futures = futures_of(client.persist(tasks))
    try:
        for future in as_completed(futures):
            if collect is not None or future.status == "error":
                result = future.result()
                if collect is not None and result is not None:
                    collect(result)
            progress.advance(_nbytes(future.key, tasks.name, array))
            # The worker may forget the compressed bytes now.
            future.release()
    finally:
        client.cancel(futures)


def _tasks_of(array: Any) -> int:
    """Tasks that computing `array` takes."""
    from dask.core import flatten
    from dask.optimization import cull

    graph, keys = array.dask, set(flatten(array.__dask_keys__()))
    # With "array.query-planning" it is a plain dict.
    return len(graph.cull(keys) if hasattr(graph, "cull") else cull(graph, keys)[0])


def streams_by_rows(item: Item, most_nbytes: int) -> bool:
    """Whether the chunks of a dask array can be computed one row of chunks after the other.

    Not where a row would take more than `most_nbytes`, nor where rows share work (a mean over the whole array, say),
    which each row would then do again.
    """
    array = item.data
    if not item.shape or len(array.chunks[0]) == 1:
        return item.nbytes <= most_nbytes
    if item.nbytes // item.shape[0] * max(array.chunks[0]) > most_nbytes:
        return False
    count = len(array.chunks[0])
    # Taking a row adds a few tasks of its own.
    one = _tasks_of(array.blocks[count // 2]) - array[:1].npartitions
    return bool(one * count <= 1.5 * _tasks_of(array))


def rows(item: Item) -> Iterator[Array]:
    """The rows of chunks of a dask array, in order."""
    array = item.data
    if not item.shape:
        yield as_declared(array.compute(), item.dtype, (), item.name)
        return
    for i, length in enumerate(array.chunks[0]):
        if length:
            shape = (int(length), *item.shape[1:])
            yield as_declared(array.blocks[i].compute(), item.dtype, shape, item.name)


def align(array: Any, block: tuple[int, ...]) -> Any:
    """Rechunk so that each chunk is made of whole blocks, as near to the array's own chunks as that allows."""
    wanted = []
    for lengths, b in zip(array.chunks, block, strict=True):
        if all(n % b == 0 for n in lengths[:-1]):
            wanted.append(lengths)
        else:
            size = max(-(-max(lengths) // b), 1) * b
            total = sum(lengths)
            wanted.append(tuple(min(size, total - a) for a in range(0, total, size)))
    return array.rechunk(tuple(wanted))
