"""Write one array block by block: takes an array and a function that writes a box, and calls it for each block."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from packstore.core.boxes import Box
from packstore.writers.chunk_shapes import block_boxes
from packstore.writers.dask_blocks import write_dask
from packstore.writers.items import Item, Put
from packstore.writers.parallel import map_ordered
from packstore.writers.progress import Progress

__all__ = ["write_blocks"]


def write_blocks(
    item: Item,
    block: tuple[int, ...],
    put: Put,
    progress: Progress,
    *,
    whole_chunks: bool,
    collect: Callable[[Any], None] | None = None,
) -> None:
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
    collect
        Given what `put` returns, one at a time, in this process.
    """
    if item.is_dask:
        write_dask(item, block if whole_chunks else None, put, progress, collect)
        return

    def work(box: Box) -> tuple[int, Any]:
        values = item.get(box)
        return values.nbytes, put(box, values)

    with contextlib.closing(map_ordered(work, block_boxes(item.shape, block))) as results:
        for nbytes, result in results:
            if collect is not None:
                collect(result)
            progress.advance(nbytes)
