"""``.npz``: a zip archive of npy members that ``np.load`` reads, written in parallel.

Stored members lie at multiples of 64 bytes, so they can be mapped. Compressed members are made of deflate blocks that
need nothing of each other; the local header has an index of them (``packstore.readers._blocks``), by which packstore
reads them at random and in parallel, and which other readers skip.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from packstore.errors import OptionError, message
from packstore.manifests import regroup
from packstore.readers._blocks import EXTRA_ID, MAX_BLOCKS, BlockIndex
from packstore.readers._zip import DEFLATED, STORED
from packstore.writers._atomic import preallocate, spool_beside
from packstore.writers._blocks import (
    BLOCK_NBYTES,
    NoProgress,
    Progress,
    block_boxes,
    map_ordered,
    run_parallel,
    write_blocks,
)
from packstore.writers._deflate import choose, crc32, crc32_combine, encoders
from packstore.writers._items import Item
from packstore.writers._zip import ALIGNMENT, Entry, directory, end_records
from packstore.writers.npy import npy_header
from packstore.writers.raw import RegionSink

__all__ = ["write"]

U8 = npt.NDArray[np.uint8]

# Blocks lose what the ones before could have told the encoder: below 1 % from 256 KiB on. Larger arrays have larger
# ones, so that the index does not grow as they do.
MIN_BLOCK_NBYTES, MAX_BLOCK_NBYTES = 256 << 10, 1 << 20
GROUP_BLOCKS = 4  # that one sample stands for
SAMPLE_NBYTES = 64 << 10
# On a sample; the blocks' independence comes on top.
SIZE_LIMIT = 1.038
# Of a dask array, more at a time than this goes through a temporary file.
ROWS_NBYTES = 256 << 20


def write(
    target: Path,
    items: list[Item],
    single: bool,
    progress: Progress,
    *,
    compressed: bool = True,
    level: int = 6,
) -> None:
    """Write an archive that ``np.load`` reads; one array is called ``arr_0``, as by ``np.savez``.

    Parameters
    ----------
    compressed
        False: members are stored, aligned, and mapped when read.
    level
        1 to 9: members become at most 5 % larger than zlib makes them at that level, in blocks compressed in
        parallel.

    Raises
    ------
    OptionError
        A level that does not exist.

    Notes
    -----
    A dask array that is compressed is computed by rows of chunks, in order. Where a row takes more than 256 MB or
    rows would repeat work, its elements go through an uncompressed temporary file beside the target.
    """
    if isinstance(level, bool) or level not in range(1, 10):
        raise OptionError(message("writing", target, expected="level 1 to 9", got=repr(level), hint=_LEVEL_HINT))
    named = [(Entry(f"{'arr_0' if single else i.name}.npy"), i) for i in items]
    if compressed:
        _write_compressed(target, named, progress, level)
    else:
        _write_stored(target, named, progress)


_LEVEL_HINT = "compressed=False stores members as they are"


def _order(item: Item) -> Literal["C", "F"]:
    return "F" if item.fortran else "C"


# --- stored ---------------------------------------------------------------------------------------------------------


def _write_stored(target: Path, named: list[tuple[Entry, Item]], progress: Progress) -> None:
    at = 0
    headers = []
    for entry, item in named:
        header = npy_header(item, _order(item))
        entry.method = STORED
        entry.nbytes = entry.stored_nbytes = len(header) + item.nbytes
        entry.place(at)
        at = entry.data_offset + entry.nbytes
        headers.append(header)
    preallocate(target, at)
    with open(target, "r+b") as file:
        for (entry, item), header in zip(named, headers, strict=True):
            file.seek(entry.data_offset)
            file.write(header)
            file.flush()
            if item.nbytes:
                start = entry.data_offset + len(header)
                sink = RegionSink(os.fspath(target), start, item.shape, item.dtype, _order(item))
                block = regroup(item.shape, item.dtype.itemsize, _order(item), nbytes=BLOCK_NBYTES)
                write_blocks(item, block, sink, progress, whole_chunks=False)
            entry.crc = _crc_of_range(file.fileno(), entry.data_offset, entry.nbytes)
            file.seek(entry.header_offset)
            file.write(entry.local_header())
        file.seek(at)
        file.write(directory([entry for entry, _ in named]) + end_records([entry for entry, _ in named], at))


def _crc_of_range(fd: int, start: int, nbytes: int) -> int:
    """CRC-32 of bytes that were just written (and are still in memory, as a rule)."""
    ranges = [(a, min(BLOCK_NBYTES // 4, nbytes - a)) for a in range(0, nbytes, BLOCK_NBYTES // 4)]

    def one(part: tuple[int, int]) -> int:
        at, left, found = part[0], part[1], bytearray()
        while left:
            piece = os.pread(fd, left, start + at)
            found += piece
            at, left = at + len(piece), left - len(piece)
        return crc32(np.frombuffer(found, np.uint8))

    total = 0
    for (_, length), crc in zip(ranges, map_ordered(one, ranges), strict=True):
        total = crc32_combine(total, crc, length)
    return total


# --- compressed -----------------------------------------------------------------------------------------------------


@dataclass
class _Group:
    """Some blocks of one member, in a row."""

    number: int
    blocks: list[U8]
    last: bool
    whole: bool = field(default=False)  # the member is this one block


def _write_compressed(target: Path, named: list[tuple[Entry, Item]], progress: Progress, level: int) -> None:
    headers = [npy_header(item, _order(item)) for _, item in named]
    for (entry, item), header in zip(named, headers, strict=True):
        entry.method = DEFLATED
        entry.nbytes = len(header) + item.nbytes
        entry.block_nbytes = _block_nbytes(entry.nbytes)
        blocks = -(-entry.nbytes // entry.block_nbytes)
        entry.index_nbytes = len(BlockIndex(1, (0,) * blocks, (0,) * blocks).pack()) if blocks > 1 else 0

    def groups() -> Iterator[_Group]:
        for number, ((entry, item), header) in enumerate(zip(named, headers, strict=True)):
            yield from _groups(number, header, item, entry.block_nbytes, target, progress)

    def compress(group: _Group) -> tuple[_Group, list[bytes], list[int]]:
        if group.whole and group.blocks[0].nbytes <= SAMPLE_NBYTES:
            encoder = encoders(level, True)[-1]
        else:
            encoder = choose(_samples(group.blocks), level, blocks=True, limit=SIZE_LIMIT)
        final = len(group.blocks) - 1 if group.last else -1
        done = [encoder.block(block, last=i == final) for i, block in enumerate(group.blocks)]
        return group, done, [crc32(block) for block in group.blocks]

    with open(target, "xb") as file, contextlib.closing(map_ordered(compress, groups())) as results:
        for (entry, item), header in zip(named, headers, strict=True):
            entry.place(file.tell())
            file.write(entry.local_header())
            sizes: list[int] = []
            crcs: list[int] = []
            done = 0
            for group, pieces, sums in results:
                for block, piece, crc in zip(group.blocks, pieces, sums, strict=True):
                    file.write(piece)
                    sizes.append(len(piece))
                    crcs.append(crc)
                    entry.crc = crc32_combine(entry.crc, crc, block.nbytes)
                    done += block.nbytes
                progress.advance(sum(b.nbytes for b in group.blocks) - (len(header) if group.blocks and done else 0))
                if group.last:
                    break
            entry.stored_nbytes = sum(sizes)
            if entry.index_nbytes:
                entry.index = BlockIndex(entry.block_nbytes, tuple(sizes), tuple(crcs)).pack()
            end = file.tell()
            file.seek(entry.header_offset)
            file.write(entry.local_header())
            file.seek(end)
        entries = [entry for entry, _ in named]
        at = file.tell()
        file.write(directory(entries) + end_records(entries, at))
