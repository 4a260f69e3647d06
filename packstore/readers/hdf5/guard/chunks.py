"""Sizes and places of chunks, checked before libhdf5 reads them; in: a dataset or its list, out: nothing, or an error.

libhdf5 believes its indexes: it takes the checksum off a chunk that is shorter than a checksum, and it looks up chunks
beyond the end of a fixed array of them.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import numpy.typing as npt

from packstore.codecs.decompress import check_ratio
from packstore.codecs.hdf5 import FilterSpec
from packstore.core.typing import U64
from packstore.errors import CorruptDataError, FormatError, PackstoreError, message
from packstore.readers.hdf5.format.header import B_TREE_V1, ChunkLayout, chunk_layout
from packstore.readers.hdf5.format.tree import Entries, chunk_entries, chunk_records
from packstore.readers.hdf5.problems import Damaged

if TYPE_CHECKING:
    from packstore.readers.hdf5.files import Session

__all__ = ["check_chunks", "check_ranges", "check_room", "layout_of", "tree_entries"]

_FLETCHER32, _CHECKSUM_NBYTES = 3, 4


def layout_of(session: Session, dataset: h5py.h5d.DatasetID) -> ChunkLayout:
    """The layout message of a chunked dataset; raises Damaged where it does not read."""
    try:
        return chunk_layout(session.header_of(dataset))
    except (PackstoreError, IndexError) as why:
        raise Damaged(f"its layout message does not read: {why}") from None


def check_ranges(
    session: Session, offset: U64, nbytes: U64, mask: npt.NDArray[np.uint32], filters: tuple[FilterSpec, ...]
) -> None:
    """Refuse chunks outside the file, empty chunks, and chunks that are shorter than the checksum they end with.

    Parameters
    ----------
    offset, nbytes, mask
        One entry a chunk, as libhdf5 lists it.

    Raises
    ------
    CorruptDataError
        The first such chunk.
    """
    end = np.uint64(session.end)
    least = np.ones(len(nbytes), np.uint64)
    for i, spec in enumerate(filters):
        if spec.id == _FLETCHER32 and i < 32:
            least[mask >> np.uint32(i) & np.uint32(1) == 0] = _CHECKSUM_NBYTES
    bad = np.flatnonzero((nbytes < least) | (offset > end) | (nbytes > end - np.minimum(offset, end)))
    if len(bad):
        i = int(bad[0])
        raise CorruptDataError(
            message(
                "reading the chunk index of",
                session.source.name,
                expected=f"chunks of {least[i]} bytes or more, inside the file's {session.end}",
                got=f"{nbytes[i]} bytes at offset {offset[i]}",
                hint="The file is cut short or damaged",
            )
        )


def check_room(
    session: Session, dataset: h5py.h5d.DatasetID, maxshape: tuple[int | None, ...], chunk: tuple[int, ...]
) -> None:
    """Refuse a fixed array of chunks that has another size than the dataset's grid of chunks."""
    try:
        room = layout_of(session, dataset).entries
    except Damaged:
        return
    most = [None if n is None else -(-n // c) for n, c in zip(maxshape, chunk, strict=True)]
    if room is not None and (None in most or math.prod(n or 0 for n in most) != room):
        raise CorruptDataError(
            message(
                "reading the chunk index of",
                session.source.name,
                expected=f"room for {most} chunks",
                got=room,
                hint="The file is damaged",
            )
        )


def tree_entries(session: Session, layout: ChunkLayout, chunk: tuple[int, ...], chunk_nbytes: int) -> Iterator[Entries]:
    """The entries of a B-tree of chunks, of either version, without libhdf5.

    Raises
    ------
    Damaged
        It is none, or contradicts itself.
    """
    if layout.tree is None:
        raise Damaged("chunks and no index of them")
    try:
        if layout.index == B_TREE_V1:
            yield from chunk_entries(layout.tree, len(chunk), session.half_node)
            return
        yield from chunk_records(layout.tree, np.array(chunk, np.uint64), chunk_nbytes)
    except (FormatError, IndexError) as why:
        raise Damaged(str(why)) from None


def check_tree(session: Session, dataset: h5py.h5d.DatasetID, chunk: tuple[int, ...]) -> None:
    """Refuse a B-tree of chunks whose keys are out of order: libhdf5 would take its chunks for never written."""
    try:
        layout = layout_of(session, dataset)
        if layout.tree is not None:
            collections.deque(tree_entries(session, layout, chunk, 0), 0)
    except Damaged as why:
        what = "reading the chunk index of"
        text = message(what, session.source.name, expected="one that agrees with itself", got=why)
        raise CorruptDataError(text) from None


def check_chunks(
    session: Session,
    dataset: h5py.h5d.DatasetID,
    maxshape: tuple[int | None, ...],
    chunk: tuple[int, ...],
    filters: tuple[FilterSpec, ...],
    chunk_nbytes: int,
) -> None:
    """Check sizes and places of all chunks, for a dataset that libhdf5 then reads by itself.

    Parameters
    ----------
    chunk_nbytes
        Decoded size of a chunk, for which libhdf5 takes memory.

    Raises
    ------
    UnsupportedError
        A filtered chunk of far more decoded bytes than stored ones.
    CorruptDataError
        Chunks outside the file, or of sizes that no chunk has.
    """
    check_room(session, dataset, maxshape, chunk)
    check_tree(session, dataset, chunk)
    parts: tuple[list[int], list[int], list[int]] = ([], [], [])

    def visit(info: Any) -> None:
        for part, value in zip(parts, info[1:], strict=True):
            part.append(2**64 - 1 if value is None else value)

    if hasattr(dataset, "chunk_iter"):
        dataset.chunk_iter(visit)
    else:  # h5py built against HDF5 before 1.14
        for i in range(dataset.get_num_chunks()):
            visit(dataset.get_chunk_info(i))
    mask, offset, nbytes = (np.array(part, np.uint64) for part in parts)
    check_ranges(session, offset, nbytes, mask.astype(np.uint32), filters)
    if filters and len(nbytes):
        check_ratio(chunk_nbytes, int(nbytes.min()), f"decoding a chunk of {session.source.name}")
