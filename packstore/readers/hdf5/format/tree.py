"""The B-trees that index chunks, of both versions; in: the place of a root or header, out: entries in order, checked.

libhdf5 lists the entries as they lie in the nodes, and finds a chunk by comparing keys: of a tree whose keys are out of
order it lists chunks that its own reads take for never written. Here the order is checked, so both agree.
Source: HDF5 File Format Specification 4.0, III.A.1 "Version 1 B-trees" (node type 1) and III.A.2 "Version 2 B-trees"
(types 10 and 11).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from packstore.core.typing import U64
from packstore.readers.hdf5.format.place import Place
from packstore.readers.hdf5.format.records import RecordTree
from packstore.readers.hdf5.problems import Damaged

__all__ = ["Entries", "chunk_entries", "chunk_records"]

_SIGNATURE, _CHUNKS = b"TREE", 1
# Types of version 2.
_UNFILTERED, _FILTERED = 10, 11
# Nodes that are read and checked in one go.
_BATCH = 256


class Entries(NamedTuple):
    """Some chunks, one row each: coordinates in elements, filter mask, stored bytes, and address."""

    coords: U64
    mask: npt.NDArray[np.uint32]
    nbytes: U64
    address: U64


class _Nodes(NamedTuple):
    """Nodes of one level: how many entries each has, their keys (one more than entries), and their children."""

    level: int
    used: npt.NDArray[np.int64]
    nbytes: npt.NDArray[np.uint32]
    mask: npt.NDArray[np.uint32]
    offsets: U64
    children: U64


def chunk_entries(root: Place, rank: int, half: int) -> Iterator[Entries]:
    """Walk the tree from its root, some thousand entries at a time.

    Parameters
    ----------
    root
        The root node.
    rank
        The number of dimensions of the dataset.
    half
        Half of the entries that a node has room for, as `header.chunk_node_half` finds it.

    Raises
    ------
    Damaged
        No tree of chunks, or its keys are out of order.
    TruncatedFileError
        A node lies beyond the end of the file.

    Notes
    -----
    About 0.1 µs an entry, and one read for each node.
    """
    nodes = _read(root, np.array([root.address], np.uint64), rank, half)
    most = root.source.nbytes // 24 + 1
    left = [most]
    bounds = nodes.offsets[:, 0], np.take_along_axis(nodes.offsets, nodes.used[:, None, None], 1)[:, 0]
    yield from _walk(root, nodes, bounds, rank, half, left)


def _walk(
    root: Place, nodes: _Nodes, bounds: tuple[U64, U64], rank: int, half: int, left: list[int]
) -> Iterator[Entries]:
    left[0] -= len(nodes.used)
    if left[0] < 0:
        raise Damaged("a chunk index of more nodes than the file has room for")
    _check_order(nodes, bounds)
    there = np.arange(nodes.children.shape[1]) < nodes.used[:, None]
    children, offsets = nodes.children[there], nodes.offsets[:, :-1][there]
    if nodes.level == 0:
        if offsets[:, -1].any():
            raise Damaged("a chunk index with a chunk that starts inside an element")
        nbytes = nodes.nbytes[:, :-1][there].astype(np.uint64)
        yield Entries(offsets[:, :-1], nodes.mask[:, :-1][there], nbytes, children)
        return
    ends = nodes.offsets[:, 1:][there]
    for i in range(0, len(children), _BATCH):
        part = slice(i, i + _BATCH)
        below = _read(root, children[part], rank, half)
        if below.level != nodes.level - 1:
            raise Damaged(f"a chunk index with a node of level {below.level} below one of level {nodes.level}")
        yield from _walk(root, below, (offsets[part], ends[part]), rank, half, left)


def _read(root: Place, addresses: U64, rank: int, half: int) -> _Nodes:
    """The nodes at `addresses`, which must be of one level."""
    key_nbytes, width = 8 + 8 * (rank + 1), root.offset_nbytes
    head, entry = 8 + 2 * width, key_nbytes + width
    size = head + 2 * half * entry + key_nbytes
    # Not read_ranges: nodes of a remote file lie in blocks that libhdf5 has read, and `pread` finds there.
    raw = np.stack([np.frombuffer(root.at(address).pread(size), np.uint8) for address in addresses.tolist()])
    if (raw[:, :4] != np.frombuffer(_SIGNATURE, np.uint8)).any() or (raw[:, 4] != _CHUNKS).any():
        raise Damaged("a chunk index with a node that is none")
    used = raw[:, 6].astype(np.int64) | raw[:, 7].astype(np.int64) << 8
    if (used > 2 * half).any() or (raw[:, 5] != raw[0, 5]).any():
        raise Damaged("a chunk index with a node of too many entries, or of another level than its neighbours")
    entries = raw[:, head:-key_nbytes].reshape(len(raw), 2 * half, entry)
    last = raw[:, None, -key_nbytes:]
    keys = np.ascontiguousarray(np.concatenate([entries[:, :, :key_nbytes], last], axis=1))
    numbers = keys.view("<u4")
    children = np.zeros((*entries.shape[:2], 8), np.uint8)
    children[:, :, :width] = entries[:, :, key_nbytes:]
    offsets = np.ascontiguousarray(keys[:, :, 8:]).view("<u8").astype(np.uint64, copy=False)
    address = children.view("<u8")[:, :, 0].astype(np.uint64, copy=False)
    return _Nodes(int(raw[0, 5]), used, numbers[:, :, 0], numbers[:, :, 1], offsets, address)


def _check_order(nodes: _Nodes, bounds: tuple[U64, U64]) -> None:
    """Each key is smaller than the next, and all of a node lie between those of its parent."""
    pairs = np.arange(nodes.offsets.shape[1] - 1) < nodes.used[:, None]
    first, last = nodes.offsets[:, 0], np.take_along_axis(nodes.offsets, nodes.used[:, None, None], 1)[:, 0]
    if (
        not _less(nodes.offsets[:, :-1], nodes.offsets[:, 1:])[pairs].all()
        or _less(first, bounds[0]).any()
        or _less(bounds[1], last).any()
    ):
        raise Damaged("a chunk index whose keys are out of order")


def _less(a: U64, b: U64) -> npt.NDArray[np.bool_]:
    """Whether rows of coordinates come before others, the first axis deciding first."""
    less = np.zeros(a.shape[:-1], bool)
    equal = np.ones(a.shape[:-1], bool)
    for axis in range(a.shape[-1]):
        less |= equal & (a[..., axis] < b[..., axis])
        equal &= a[..., axis] == b[..., axis]
    return less


# -- version 2 --------------------------------------------------------------------------------------------------------


def chunk_records(head: Place, chunk: U64, chunk_nbytes: int) -> Iterator[Entries]:
    """Walk a tree of version 2, a node at a time, in the order of the chunks.

    Parameters
    ----------
    head
        Its header.
    chunk
        Elements a chunk, along each axis.
    chunk_nbytes
        Bytes of a chunk without filters, whose size is not stored.

    Raises
    ------
    Damaged, FormatError
        No tree of chunks, or its records are out of order.
    TruncatedFileError
        A node lies beyond the end of the file.

    Notes
    -----
    About 0.3 µs a record, and one read for each node.
    """
    tree = RecordTree(head, (_UNFILTERED, _FILTERED))
    width, rank = head.offset_nbytes, len(chunk)
    size_nbytes = tree.record_nbytes - width - 8 * rank - (4 if tree.kind == _FILTERED else 0)
    if not (0 < size_nbytes <= 8 if tree.kind == _FILTERED else size_nbytes == 0):
        raise Damaged(f"a chunk index with records of {tree.record_nbytes} bytes")
    last: U64 | None = None
    for raw in tree.in_order():
        records = np.frombuffer(raw, np.uint8).reshape(-1, tree.record_nbytes)
        scaled = np.ascontiguousarray(records[:, -8 * rank :]).view("<u8").astype(np.uint64, copy=False)
        if last is not None:
            scaled = np.concatenate([last, scaled])
        if not _less(scaled[:-1], scaled[1:]).all():
            raise Damaged("a chunk index whose records are out of order")
        scaled, last = scaled[-len(records) :], scaled[-1:]
        if (scaled > np.uint64(2**63 - 1) // chunk).any():
            raise Damaged("a chunk index with coordinates that no dataset has")
        if size_nbytes:
            nbytes, mask = _column(records, width, size_nbytes), _column(records, width + size_nbytes, 4)
        else:
            nbytes, mask = np.full(len(records), chunk_nbytes, np.uint64), np.zeros(len(records), np.uint64)
        yield Entries(scaled * chunk, mask.astype(np.uint32), nbytes, _column(records, 0, width))


def _column(records: npt.NDArray[np.uint8], at: int, width: int) -> U64:
    padded = np.zeros((len(records), 8), np.uint8)
    padded[:, :width] = records[:, at : at + width]
    return padded.view("<u8")[:, 0].astype(np.uint64, copy=False)
