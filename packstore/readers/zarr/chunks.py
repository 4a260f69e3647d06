"""Boxes of an array from the files of a zarr directory."""

from __future__ import annotations

import itertools
import math
import os
import stat as stat_module
import time
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from packstore.config import cpu_count
from packstore.core.boxes import Box, Touched, box_shape, touched
from packstore.core.threads import run_all
from packstore.errors import CorruptDataError, PackstoreError, message
from packstore.readers.zarr.blobs import OPEN_FLAGS, FileBlob
from packstore.readers.zarr.crops import Cropper
from packstore.readers.zarr.metadata import Layout
from packstore.readers.zarr.nodes import Node
from packstore.readers.zarr.serializers import PackedBits, PlainBytes
from packstore.readers.zarr.shards import Sharded

__all__ = ["ChunkReader"]

Array = npt.NDArray[Any]

# Decoded bytes from which several chunks are worth several threads: compressed, and not.
PARALLEL_NBYTES, PARALLEL_PLAIN_NBYTES = 4 << 20, 16 << 20
# Decoded bytes of an uncompressed chunk, below which threads are in each other's way: to unpack, to count bits.
SMALL_NBYTES, SMALL_COUNTED_NBYTES = 512 << 10, 4 << 20
# Files looked at for a token; beyond it, directories; beyond that, nothing.
MAX_TOKEN_FILES = 4096


class ChunkReader:
    """Reads boxes through the codecs that the direct path knows.

    Parameters
    ----------
    node
        Where the array is.
    layout
        Its metadata.

    Notes
    -----
    Thread safe; keeps no file open. Each touched chunk costs an open, one or more ranged reads, and a close: some
    5 µs together, hardly more than asking whether an open file is still the one that the name stands for.
    """

    def __init__(self, node: Node, layout: Layout) -> None:
        self.node = node
        self.layout = layout
        chain = layout.chain
        self._uses_cache = bool(chain.byte_codecs) or isinstance(chain.serializer, Sharded)
        self._cropper = Cropper.of(node.path, layout)

    def read(self, selection: Box) -> Array:
        """Elements of `selection`."""
        self.node.check()
        if self._cropper is not None:
            found = self._cropper.read(selection)
            if found is not None:
                return found
        layout = self.layout
        shape = box_shape(selection)
        if 0 in shape:
            return np.empty(shape, layout.dtype)
        nbytes = math.prod(shape) * layout.dtype.itemsize
        items = list(touched(selection, layout.grid_chunk_shape))
        parallel = nbytes >= (PARALLEL_NBYTES if self._is_compressed else PARALLEL_PLAIN_NBYTES)
        if parallel and isinstance(layout.chain.serializer, Sharded) and len(items) < 4 * cpu_count():
            items = [piece for item in items for piece in self._pieces(item)]
        if len(items) == 1:
            coords, inner, _ = items[0]
            part = self._part(coords, inner, None)
            return self._filled(shape) if part is None else part
        out = np.empty(shape, layout.dtype)

        def fill(item: Touched) -> None:
            # The Ellipsis makes a view of a 0-d result, too.
            target = out[cast(Any, (*item.outer, ...))]
            if self._part(item.coords, item.inner, target) is None:
                target[...] = layout.fill_value

        run_all(fill, items, parallel=parallel, small=self._is_small(SMALL_NBYTES))
        return out

    def count_nonzero(self, selection: Box, keep: int = 0) -> Array:
        """Non-zero elements of `selection` for each index along its first `keep` axes, as an int64 array.

        Notes
        -----
        Packed masks are counted packed, a word at a time; other types are unpacked chunk by chunk.
        """
        self.node.check()
        layout = self.layout
        shape = box_shape(selection)
        counts = np.zeros(shape[:keep], np.int64)
        if 0 in shape:
            return counts
        items = list(touched(selection, layout.grid_chunk_shape))
        found: list[Any] = [None] * len(items)

        def count(i: int) -> None:
            coords, inner, _ = items[i]
            blob = self._open(coords)
            if blob is None:
                sub = box_shape(inner)
                each = math.prod(sub[keep:]) if np.count_nonzero(layout.fill_value) else 0
                found[i] = np.full(sub[:keep], each, np.int64)
                return
            try:
                found[i] = layout.chain.count_nonzero(blob, inner, keep)
            except PackstoreError as error:
                raise self._at(error, coords) from error
            finally:
                os.close(blob.fd)

        small = self._is_small(SMALL_COUNTED_NBYTES if self.counts_packed else SMALL_NBYTES)
        run_all(count, range(len(items)), parallel=math.prod(shape) >= PARALLEL_PLAIN_NBYTES, small=small)
        for item, part in zip(items, found, strict=True):
            counts[cast(Any, (*item.outer[:keep], ...))] += part
        return counts

    @property
    def reads_parts(self) -> bool:
        """Whether part of a chunk costs only its share, and is checked as the whole would be."""
        chain = self.layout.chain
        if chain.byte_codecs or chain.order is not None:
            return False
        if isinstance(chain.serializer, PackedBits):
            # The count of padding bits is looked at with whole chunks only.
            return chain.serializer.padding_encoding == "none"
        return isinstance(chain.serializer, PlainBytes)

    @property
    def counts_packed(self) -> bool:
        """Whether `count_nonzero` spares the unpacking."""
        serializer: Any = self.layout.chain.serializer
        while isinstance(serializer, Sharded):
            serializer = serializer.inner.serializer
        return isinstance(serializer, PackedBits) and serializer.layout.is_bool

    @property
    def _is_compressed(self) -> bool:
        chain = self.layout.chain
        while isinstance(chain.serializer, Sharded) and not chain.byte_codecs:
            chain = chain.serializer.inner
        return bool(chain.byte_codecs)

    def _is_small(self, nbytes: int) -> bool:
        """Whether a chunk is read as it is, and has fewer decoded bytes."""
        return not self._uses_cache and math.prod(self.layout.chunk_shape) * self.layout.dtype.itemsize < nbytes

    def _filled(self, shape: tuple[int, ...]) -> Array:
        out = np.empty(shape, self.layout.dtype)
        out[...] = self.layout.fill_value
        return out

    def _pieces(self, item: Touched) -> Iterator[Touched]:
        """A part of a shard in several parts, cut between inner chunks."""
        serializer = self.layout.chain.serializer
        assert isinstance(serializer, Sharded)
        inner_shape = serializer.inner.shape
        if self.layout.chain.order is not None:
            inner_shape = tuple(inner_shape[self.layout.chain.order.index(i)] for i in range(len(inner_shape)))
        counts = [-(-s.stop // n) - s.start // n for s, n in zip(item.inner, inner_shape, strict=True)]
        axis = next((i for i, count in enumerate(counts) if count > 1), None)
        if axis is None:
            yield item
            return
        s = item.inner[axis]
        # About sixteen pieces, whole inner chunks each.
        width = -(-counts[axis] // 16) * inner_shape[axis]
        for _, part, where in touched((s,), (width,)):
            at = s.start + where[0].start * s.step
            stop = at + (part[0].stop - part[0].start)
            base = item.outer[axis].start
            yield Touched(
                item.coords,
                (*item.inner[:axis], slice(at, stop, s.step), *item.inner[axis + 1 :]),
                (
                    *item.outer[:axis],
                    slice(base + where[0].start, base + where[0].stop, 1),
                    *item.outer[axis + 1 :],
                ),
            )

    def _part(self, coords: tuple[int, ...], box: Box, out: Array | None) -> Array | None:
        """Part of a chunk; None where the chunk is not stored."""
        blob = self._open(coords)
        if blob is None:
            return None
        layout = self.layout
        try:
            # What a scan uses up at once need not be kept.
            cache = self._uses_cache and any(
                s.step != 1 or s.start != 0 or s.stop < min(c, n - i * c)
                for s, c, n, i in zip(box, layout.grid_chunk_shape, layout.shape, coords, strict=True)
            )
            return layout.chain.read(blob, box, out=out, cache=cache)
        except PackstoreError as error:
            raise self._at(error, coords) from error
        finally:
            os.close(blob.fd)

    def _open(self, coords: tuple[int, ...]) -> FileBlob | None:
        path = f"{self.node.path}/{self.layout.chunk_key(coords)}"
        try:
            fd = os.open(path, OPEN_FLAGS)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            stat = os.fstat(fd)
            if not stat_module.S_ISREG(stat.st_mode):
                if stat_module.S_ISDIR(stat.st_mode):
                    os.close(fd)
                    return None
                raise CorruptDataError(
                    message("reading", self.node.path, None, coords, expected="a regular file", got="another kind")
                )
            stamp = None
            if self._uses_cache:
                mtime_ns = stat.st_mtime_ns
                # A file written a moment ago may be written again within the clock tick of its time stamp.
                tick_ns = 2_000_000_000 if mtime_ns % 1_000_000_000 == 0 else 50_000_000
                if time.time_ns() - mtime_ns > tick_ns:
                    stamp = (path, mtime_ns, stat.st_size, stat.st_ino)
            return FileBlob(fd, 0, stat.st_size, stamp)
        except BaseException:  # an interrupt included: nobody else would close it
            os.close(fd)
            raise

    def _at(self, error: PackstoreError, coords: tuple[int, ...]) -> PackstoreError:
        where = message("reading", self.node.path, chunk=coords).rstrip(".")
        return type(error)(f"{where}: {error}")

    def __dask_tokenize__(self) -> object:
        """What changes when the chunks are written again."""
        grid = [-(-n // c) for n, c in zip(self.layout.shape, self.layout.grid_chunk_shape, strict=True)]
        if math.prod(grid) <= MAX_TOKEN_FILES:
            coords = itertools.product(*map(range, grid))
            return [_stat(f"{self.node.path}/{self.layout.chunk_key(c)}") for c in coords]
        # Writers replace chunk files by renaming, which the directory shows.
        rows = grid[:-1] if self.layout.key[1] == "/" else []
        if math.prod(rows) <= MAX_TOKEN_FILES:
            keys = [self.layout.chunk_key((*c, 0)) for c in itertools.product(*map(range, rows))]
            return [_stat(os.path.dirname(f"{self.node.path}/{key}")) for key in keys]
        # Too many to look at: never the same twice.
        return os.urandom(16).hex()


def _stat(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino)
