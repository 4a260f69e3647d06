"""``.npz``: a zip archive of npy members that ``np.load`` reads, written in parallel.

Stored members lie at multiples of 64 bytes, so they can be mapped. Compressed members are made of deflate blocks that
need nothing of each other; the local header has an index of them (``packstore.readers.npz.blocks``), by which packstore
reads them at random and in parallel, and which other readers skip.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from packstore.codecs.checksums import crc32, crc32_combine
from packstore.core.typing import Bytes
from packstore.errors import OptionError, message
from packstore.readers.npz.blocks import MAX_BLOCKS, BlockIndex
from packstore.readers.npz.directory import DEFLATED
from packstore.storage import regroup
from packstore.writers import dask_blocks
from packstore.writers.atomic import preallocate, spool_beside
from packstore.writers.blocks import write_blocks
from packstore.writers.chunk_shapes import BLOCK_NBYTES, block_boxes
from packstore.writers.deflate import Sample, changes, choose, encoders
from packstore.writers.items import Item
from packstore.writers.npy import npy_header
from packstore.writers.parallel import map_ordered
from packstore.writers.plain_arrays import plain_items, refusal
from packstore.writers.progress import NoProgress, Progress
from packstore.writers.raw import RegionSink
from packstore.writers.tree import Tree
from packstore.writers.zip_addition import NOTHING_BEFORE, Before, before_addition
from packstore.writers.zip_file import Entry, directory, end_records

__all__ = ["refusal", "write"]


# Each block starts without what the ones before could have told the encoder, which costs below 1 % from 256 KiB on.
MIN_BLOCK_NBYTES, MAX_BLOCK_NBYTES = 256 << 10, 1 << 20
GROUP_BLOCKS = 4  # that one choice of an encoder holds for
SAMPLE_NBYTES = 32 << 10
WINDOW_NBYTES = 32 << 10  # of deflate
# Allowed on samples. They may mislead by 1 %, and that blocks are independent comes on top.
SIZE_LIMIT = 1.035
# Of a dask array, more at a time than this goes through a temporary file.
ROWS_NBYTES = 256 << 20


@dataclass(frozen=True)
class _Member:
    entry: Entry
    item: Item
    header: bytes

    @property
    def order(self) -> Literal["C", "F"]:
        return "F" if self.item.fortran else "C"

    @property
    def nbytes(self) -> int:
        return len(self.header) + self.item.nbytes

    @property
    def block_nbytes(self) -> int:
        size = MIN_BLOCK_NBYTES
        while (size < MAX_BLOCK_NBYTES and self.nbytes > 8 * size) or self.nbytes > MAX_BLOCKS * size:
            size *= 2
        return size

    @property
    def blocks(self) -> int:
        return -(-self.nbytes // self.block_nbytes)


def write(
    target: Path,
    tree: Tree,
    progress: Progress,
    *,
    base: Path | None = None,
    replace: bool = False,
    compressed: bool = True,
    level: int = 6,
) -> None:
    """Write an archive that ``np.load`` reads; one array is called ``arr_0``, as by ``np.savez``.

    Parameters
    ----------
    base
        An archive that `target` starts as a copy of; the arrays are added to it.
    replace
        Whether arrays take the place of those that have their names in `base`.
    compressed
        False: members are stored, aligned, and mapped when read.
    level
        1 to 9: members become at most 5 % larger than zlib makes them at that level, in blocks compressed in
        parallel.

    Raises
    ------
    OptionError
        A level that does not exist.
    FormatError
        `base` is no zip archive.
    TargetExistsError
        A name that is in `base` already.

    Notes
    -----
    A dask array that is compressed is computed by rows of chunks, in order. Where a row takes more than 256 MB or
    rows would repeat work, its elements go through an uncompressed temporary file beside the target.
    """
    if isinstance(level, bool) or level not in range(1, 10):
        hint = "compressed=False stores members as they are"
        raise OptionError(message("writing", tree.path, expected="level 1 to 9", got=repr(level), hint=hint))
    members = []
    for item in plain_items(tree):
        header = npy_header(item, "F" if item.fortran else "C")
        entry = Entry(f"{'arr_0' if tree.single else item.name}.npy", nbytes=len(header) + item.nbytes)
        members.append(_Member(entry, item, header))
    names = [m.entry.name for m in members]
    before = NOTHING_BEFORE if base is None else before_addition(base, target, names, replace)
    if compressed:
        _write_compressed(target, members, before, progress, level)
    else:
        _write_stored(target, members, before, progress)


def _end(members: list[_Member], before: Before, at: int) -> bytes:
    records = b"".join([*before.records, directory([m.entry for m in members])])
    return records + end_records(len(before.records) + len(members), at, len(records))


# --- stored ---------------------------------------------------------------------------------------------------------


def _write_stored(target: Path, members: list[_Member], before: Before, progress: Progress) -> None:
    at = before.nbytes
    for member in members:
        entry = member.entry
        entry.stored_nbytes, entry.header_offset = entry.nbytes, at
        at = entry.data_offset + entry.nbytes
    preallocate(target, at + len(_end(members, before, at)), exists=bool(before.nbytes))
    with open(target, "r+b", buffering=0) as file:
        for member in members:
            entry, item = member.entry, member.item
            os.pwrite(file.fileno(), member.header, entry.data_offset)
            if item.nbytes:
                start = entry.data_offset + len(member.header)
                sink = RegionSink(os.fspath(target), start, item.shape, item.dtype, member.order)
                block = regroup(item.shape, item.dtype.itemsize, member.order, nbytes=BLOCK_NBYTES)
                write_blocks(item, block, sink, progress, whole_chunks=False)
            entry.crc = _crc_of_range(file.fileno(), entry.data_offset, entry.nbytes)
            os.pwrite(file.fileno(), entry.local_header(), entry.header_offset)
        os.pwrite(file.fileno(), _end(members, before, at), at)


def _crc_of_range(fd: int, start: int, nbytes: int) -> int:
    """CRC-32 of bytes that were just written (and are in memory still, as a rule)."""
    step = BLOCK_NBYTES // 4
    ranges = [(a, min(step, nbytes - a)) for a in range(0, nbytes, step)]

    def one(part: tuple[int, int]) -> int:
        return crc32(np.frombuffer(os.pread(fd, part[1], start + part[0]), np.uint8))

    total = 0
    for (_, length), crc in zip(ranges, map_ordered(one, ranges), strict=True):
        total = crc32_combine(total, crc, length)
    return total


# --- compressed -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Group:
    """Some blocks of one member, in a row."""

    blocks: list[Bytes]
    data_nbytes: int  # without the npy header
    last: bool
    tiny: bool


@dataclass(frozen=True)
class _Compressed:
    pieces: list[bytes]
    crcs: list[int]
    nbytes: list[int]
    data_nbytes: int


def _write_compressed(target: Path, members: list[_Member], before: Before, progress: Progress, level: int) -> None:
    for member in members:
        member.entry.method = DEFLATED
        count = member.blocks
        if count > 1:
            member.entry.index_nbytes = len(BlockIndex(1, (0,) * count, (0,) * count).pack())

    def compress(group: _Group) -> _Compressed:
        if group.tiny:
            encoder = encoders(level, True)[-1]
        else:
            encoder = choose(
                _samples(group.blocks), level, blocks=True, limit=SIZE_LIMIT, busiest=lambda: _busiest(group.blocks)
            )
        final = len(group.blocks) - 1 if group.last else -1
        pieces = [encoder.block(block, last=i == final) for i, block in enumerate(group.blocks)]
        sizes = [block.nbytes for block in group.blocks]
        return _Compressed(pieces, [crc32(block) for block in group.blocks], sizes, group.data_nbytes)

    # One row of tasks through all members: many small ones keep every thread busy, too.
    tasks = (group for member in members for group in _groups(member, target))
    with (
        open(target, "r+b" if before.nbytes else "xb") as file,
        contextlib.closing(map_ordered(compress, tasks)) as results,
    ):
        file.seek(before.nbytes)
        for member in members:
            entry = member.entry
            entry.header_offset = file.tell()
            file.write(entry.local_header())
            stored: list[int] = []
            crcs: list[int] = []
            while len(stored) < member.blocks:
                done = next(results)
                for piece, crc, nbytes in zip(done.pieces, done.crcs, done.nbytes, strict=True):
                    file.write(piece)
                    entry.crc = crc32_combine(entry.crc, crc, nbytes)
                stored += [len(piece) for piece in done.pieces]
                crcs += done.crcs
                progress.advance(done.data_nbytes)
            entry.stored_nbytes = sum(stored)
            if entry.index_nbytes:
                entry.index = BlockIndex(member.block_nbytes, tuple(stored), tuple(crcs)).pack()
            end = file.tell()
            file.seek(entry.header_offset)
            file.write(entry.local_header())
            file.seek(end)
        file.write(_end(members, before, file.tell()))


def _samples(blocks: list[Bytes]) -> list[Sample]:
    """Short runs of bytes from several places, fewer of them where blocks are small."""
    chosen = blocks if blocks[0].nbytes >= MAX_BLOCK_NBYTES else blocks[1::2] or blocks
    out = []
    for i, block in enumerate(chosen):
        room = max(block.nbytes - SAMPLE_NBYTES - WINDOW_NBYTES, 0)
        out.append(_sample(block, WINDOW_NBYTES + room * i // max(len(chosen) - 1, 1)))
    return out


def _busiest(blocks: list[Bytes]) -> tuple[list[Sample], bool]:
    """The runs in which most happens."""
    out = []
    for block in blocks:
        found = changes(block, SAMPLE_NBYTES)
        out.append(_sample(block, int(found.argmax()) * SAMPLE_NBYTES if found.size else 0))
    return out, False


def _sample(block: Bytes, at: int) -> Sample:
    return block[at : at + SAMPLE_NBYTES], block[max(at - WINDOW_NBYTES, 0) : at]


def _groups(member: _Member, target: Path) -> Iterator[_Group]:
    """The member's bytes in groups of blocks."""
    group: list[Bytes] = []
    header_nbytes = len(member.header)
    for number, block in enumerate(_reblocked(_runs(member, target), member.block_nbytes), 1):
        group.append(block)
        last = number == member.blocks
        if last or len(group) == GROUP_BLOCKS:
            data_nbytes = sum(b.nbytes for b in group) - header_nbytes
            yield _Group(group, data_nbytes, last, member.nbytes <= 2 * SAMPLE_NBYTES)
            group, header_nbytes = [], 0


def _reblocked(runs: Iterable[Bytes], size: int) -> Iterator[Bytes]:
    """The bytes of all runs in blocks of `size`, the last one shorter; copied only where a block spans runs."""
    parts: list[Bytes] = []
    held = 0
    for run in runs:
        at = 0
        while at < run.nbytes:
            part = run[at : at + size - held]
            at += part.nbytes
            held += part.nbytes
            parts.append(part)
            if held == size:
                yield parts[0] if len(parts) == 1 else np.concatenate(parts)
                parts, held = [], 0
    if parts:
        yield parts[0] if len(parts) == 1 else np.concatenate(parts)


def _runs(member: _Member, target: Path) -> Iterator[Bytes]:
    """The member's bytes in order, in runs of any length."""
    item = member.item
    yield np.frombuffer(member.header, np.uint8)
    if not item.nbytes:
        return
    if item.is_dask:
        if dask_blocks.streams_by_rows(item, ROWS_NBYTES):
            for values in dask_blocks.rows(item):
                yield _bytes_of(values)
            return
        item = _spooled(item, target)
    data = item.data
    if isinstance(data, np.ndarray) and (member.order == "F" or data.flags.c_contiguous):
        yield _bytes_of(data.T if member.order == "F" else data)
        return
    block = regroup(item.shape, item.dtype.itemsize, nbytes=BLOCK_NBYTES)
    with contextlib.closing(map_ordered(item.get, block_boxes(item.shape, block))) as runs:
        for values in runs:
            yield _bytes_of(values)


def _spooled(item: Item, target: Path) -> Item:
    """A dask array's elements as a memory map of a temporary file."""
    path = spool_beside(target)
    path.unlink(missing_ok=True)
    preallocate(path, item.nbytes)
    sink = RegionSink(os.fspath(path), 0, item.shape, item.dtype)
    write_blocks(item, item.shape, sink, NoProgress(), whole_chunks=False)
    return Item(item.name, np.memmap(path, item.dtype, "r", 0, item.shape), item.shape, item.dtype)


def _bytes_of(values: npt.NDArray[np.generic]) -> Bytes:
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8)
