"""Boxes of chunks that lie at arbitrary places behind filters: what they touch, decoded, and kept for the next box."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from packstore.codecs.hdf5 import decode_chunk
from packstore.codecs.hdf5.pipeline import Step, decode_many, decode_range, plan_steps, run_steps
from packstore.core.boxes import Box, Touched, as_index, box_shape, touched
from packstore.core.scratch import KEEP_NBYTES, Scratch
from packstore.core.threads import run_all
from packstore.errors import CorruptDataError, PackstoreError, TruncatedFileError, message
from packstore.source import FileSource
from packstore.source.cache import ByteLRU
from packstore.storage import MISSING, ChunkedManifest, ManifestArray
from packstore.storage.contiguous_read import pread_rows

__all__ = ["CHUNK_CACHE", "missing_value", "read_chunked", "read_stored_chunk"]

Array = npt.NDArray[Any]

# A box of at least this many decoded bytes over several chunks is decoded by several threads.
PARALLEL_NBYTES = 4 << 20
# So are those that a crop touches, of the slower filters (deflate, szip, bzip2, LZF), from so many bytes on: starting a
# thread takes 0.1 ms.
_SLOW_FROM_NBYTES = {1: 1 << 20, 4: 1 << 20, 307: 1 << 16, 32000: 1 << 20}
_MOST_OF_A_CROP = 64
# Decoded chunks that a crop only partly used, so that neighbouring crops do not decode them again.
CHUNK_CACHE = ByteLRU("chunks")
# Chunks of at most half of this are decoded several at a time.
RUN_NBYTES = 1 << 20
_MISSING = int(MISSING)
# Filters whose blocks decode on their own; and how many bytes of which chunks were decoded that way: only a hint.
_FILTERS_OF_PARTS = frozenset({32008})
_decoded_parts: dict[tuple[int, tuple[int, ...]], int] = {}
_MOST_PARTS = 1 << 14
# Whole chunks on their way into a larger result.
_scratch = Scratch()


def read_chunked(array: ManifestArray, storage: ChunkedManifest, box: Box) -> Array:
    one = _one_chunk(box, array.chunk_shape)
    if one is not None and storage.offsets.item(one[0]) != _MISSING:
        part = _chunk_part(array, storage, *one)
        if part.dtype == array.dtype:
            # A small view would keep the whole decoded chunk in memory.
            return part.copy() if storage.filters and 2 * part.size < math.prod(array.chunk_shape) else part
    shape = box_shape(box)
    out = np.empty(shape, array.dtype)
    if 0 in shape:
        return out
    fill_value = missing_value(array)

    def fill(item: Touched) -> None:
        coords, inner, outer = item
        target = out[as_index(outer)]
        if storage.offsets.item(coords) == _MISSING:
            target[...] = fill_value
        else:
            _chunk_into(array, storage, coords, inner, target)

    items: Iterable[Touched] = touched(box, array.chunk_shape)
    parallel = bool(storage.filters) and out.nbytes >= PARALLEL_NBYTES
    count = math.prod([-(-s.stop // c) - s.start // c for s, c in zip(box, array.chunk_shape, strict=True)])
    if storage.filters and not parallel and 1 < count <= _MOST_OF_A_CROP:
        items = list(items)
        parallel = _is_long_work(storage, items)
    if not _fits_runs(array, storage, box):
        run_all(fill, items, parallel=parallel)
        return out

    def fill_run(run: list[Touched]) -> None:
        if len(run) == 1 or not _run_into(storage, steps, run, out):
            for item in run:
                fill(item)

    steps = plan_steps(storage.filters, 0, storage.decoded_nbytes)
    run_all(fill_run, _runs(storage, items), parallel=parallel)
    return out


def read_stored_chunk(array: ManifestArray, storage: ChunkedManifest, coords: tuple[int, ...]) -> Array | None:
    """A chunk as it is stored, whole; None for one that was never written."""
    if storage.offsets[coords] == MISSING:
        return None
    if storage.filters:
        return _decoded_chunk(storage, coords, cache=False)
    return _chunk_part(array, storage, coords, tuple([slice(0, n, 1) for n in storage.chunk_shape]))


def _is_long_work(storage: ChunkedManifest, items: list[Touched]) -> bool:
    """Whether a crop that touches several chunks of a slow filter has to decode enough for another thread."""
    least = min([_SLOW_FROM_NBYTES.get(spec.id, 1 << 62) for spec in storage.filters])
    if len(items) * storage.decoded_nbytes < least:
        return False
    return sum([CHUNK_CACHE.get((id(storage), item.coords), storage) is None for item in items]) > 1


def _fits_runs(array: ManifestArray, storage: ChunkedManifest, box: Box) -> bool:
    """Whether chunks are so small, and the box so long, that what is done once for several of them counts."""
    return (
        0 < 2 * storage.decoded_nbytes <= RUN_NBYTES
        and bool(box)
        and box[-1].stop - box[-1].start >= 2 * array.chunk_shape[-1]
        and storage.convert is None
        and storage.stored == array.dtype
        and not array.dtype.hasobject
        and storage.chunk_shape == array.chunk_shape
    )


def _runs(storage: ChunkedManifest, items: Iterable[Touched]) -> Iterator[list[Touched]]:
    """Chunks that are wanted whole and lie side by side along the last axis, together; all others one by one."""
    most = RUN_NBYTES // storage.decoded_nbytes
    shape = storage.chunk_shape
    offsets = storage.offsets
    run: list[Touched] = []
    for item in items:
        coords, inner, _ = item
        is_whole = offsets.item(coords) != _MISSING
        for s, c in zip(inner, shape, strict=True):
            if s.stop - s.start != c or s.step != 1:
                is_whole = False
        if run and (not is_whole or len(run) == most or coords[:-1] != run[-1].coords[:-1]):
            yield run
            run = []
        if is_whole:
            run.append(item)
        else:
            yield [item]
    if run:
        yield run


def _run_into(storage: ChunkedManifest, steps: list[Step], run: list[Touched], out: Array) -> bool:
    """Decode a run side by side and put it into `out` at once: each call to numpy costs as much as a small chunk.

    False, with nothing done, for chunks without filters that do not lie one behind the other.
    """
    shape = storage.chunk_shape
    first, last = run[0], run[-1]
    lead, along = first.coords[:-1], slice(first.coords[-1], last.coords[-1] + 1)
    offsets, sizes = storage.offsets[lead][along].tolist(), storage.nbytes[lead][along].tolist()
    masks = [0] * len(run) if storage.filter_mask is None else storage.filter_mask[lead][along].tolist()
    raw = storage.space.view()
    if storage.filters:
        data = _decoded_run(storage, steps, run, raw, list(zip(offsets, sizes, masks, strict=True)))
    else:
        nbytes = storage.decoded_nbytes
        regular = list(range(offsets[0], offsets[0] + len(run) * nbytes, nbytes))
        if raw is None or offsets != regular or sizes != [nbytes] * len(run) or regular[-1] + nbytes > raw.size:
            return False
        data = raw[offsets[0] : regular[-1] + nbytes]
    chunks = np.frombuffer(data, storage.stored).reshape(len(run), *shape)
    strip = out[(*first.outer[:-1], slice(first.outer[-1].start, last.outer[-1].stop))]
    strip.reshape(*shape[:-1], len(run), shape[-1])[...] = np.moveaxis(chunks, 0, -2)
    return True


def _decoded_run(
    storage: ChunkedManifest,
    steps: list[Step],
    run: list[Touched],
    raw: npt.NDArray[np.uint8] | None,
    places: list[tuple[int, int, int]],
) -> npt.NDArray[np.uint8]:
    """The chunks of a run, one behind the other, in memory that the thread keeps."""
    nbytes = storage.decoded_nbytes
    out = _scratch.take(len(run) * nbytes)
    found = [_stored_bytes(storage, item.coords, raw, *place[:2]) for item, place in zip(run, places, strict=True)]
    if not any(mask for _, _, mask in places) and decode_many(steps, found, out):
        return out
    for number, (item, data, (_, _, mask)) in enumerate(zip(run, found, places, strict=True)):
        target = out[number * nbytes : (number + 1) * nbytes]
        _undo(storage, item.coords, None if mask else steps, data, mask, target)
    return out


def _one_chunk(box: Box, chunk_shape: tuple[int, ...]) -> tuple[tuple[int, ...], Box] | None:
    """The chunk that holds all of `box`, and the box in it: what most crops come to."""
    coords = []
    inner = []
    for s, c in zip(box, chunk_shape, strict=True):
        start, stop = s.start, s.stop
        i = start // c
        base = i * c
        if stop > base + c or stop <= start:
            return None
        coords.append(i)
        inner.append(slice(start - base, stop - base, s.step))
    return tuple(coords), tuple(inner)


def missing_value(array: ManifestArray) -> Any:
    """What an element that was never written holds: the fill value, or the zero of the type (b"", 0, None)."""
    if array.fill_value is not None or array.dtype.kind == "O":
        return array.fill_value
    return np.zeros((), array.dtype)[()]


def _chunk_part(array: ManifestArray, storage: ChunkedManifest, coords: tuple[int, ...], inner: Box) -> Array:
    if storage.filters:
        found = _kept_chunk(storage, coords)
        if found is not None:
            kept: Array = found[as_index(inner)]
            return kept
        cache = not _is_whole(array, coords, inner)
        small = _partly_decoded(storage, coords, inner) if cache else None
        if small is not None:
            return small
        part: Array = _decoded_chunk(storage, coords, cache=cache)[as_index(inner)]
        return part
    # Nothing to undo: cut the part out of the stored bytes before any conversion.
    part = _plain_part(storage, coords, inner)
    return part if storage.convert is None else storage.convert(part)


def _partly_decoded(storage: ChunkedManifest, coords: tuple[int, ...], inner: Box) -> Array | None:
    """A small part of a chunk whose filter decodes parts; None for what is better cut out of the whole chunk.

    Parts are not kept: a chunk of which as much was decoded as it holds is decoded whole the next time.
    """
    if len(storage.filters) != 1 or storage.filters[0].id not in _FILTERS_OF_PARTS or storage.convert is not None:
        return None
    nbytes = storage.decoded_nbytes
    strides = []
    stride = storage.stored.itemsize
    for n in reversed(storage.chunk_shape):
        strides.append(stride)
        stride *= n
    strides.reverse()
    shape = box_shape(inner)
    if 0 in shape or storage.stored.hasobject:
        return None
    start = sum([s.start * k for s, k in zip(inner, strides, strict=True)])
    steps = [s.step * k for s, k in zip(inner, strides, strict=True)]
    stop = start + sum([(n - 1) * k for n, k in zip(shape, steps, strict=True)]) + storage.stored.itemsize
    if 4 * (stop - start) > nbytes or (storage.filter_mask is not None and storage.filter_mask.item(coords)):
        return None
    key = (id(storage), coords)
    done = _decoded_parts.get(key, 0) + stop - start
    if done > nbytes:
        _decoded_parts.pop(key, None)
        return None
    offset, stored_nbytes = storage.offsets.item(coords), storage.nbytes.item(coords)
    data = _stored_bytes(storage, coords, storage.space.view(), offset, stored_nbytes)
    found = decode_range(storage.filters, data, nbytes, start, stop)
    if found is None:
        return None
    if len(_decoded_parts) >= _MOST_PARTS:
        _decoded_parts.clear()
    _decoded_parts[key] = done
    part, first = found
    return np.ndarray(shape, storage.stored, part.data, start - first, steps)


def _is_whole(array: ManifestArray, coords: tuple[int, ...], inner: Box) -> bool:
    """Whether `inner` is all of the chunk that lies inside the array."""
    for s, c, n, i in zip(inner, array.chunk_shape, array.shape, coords, strict=True):
        if s.start != 0 or s.step != 1 or s.stop != min(c, n - i * c):
            return False
    return True


def _chunk_into(
    array: ManifestArray, storage: ChunkedManifest, coords: tuple[int, ...], inner: Box, target: Array
) -> None:
    """Put a part of a chunk into `target`: decoded there, or in memory that the thread keeps, where it is all of it."""
    nbytes = storage.decoded_nbytes
    direct = _may_decode_into(storage, target)
    if (
        not storage.filters
        or not nbytes
        or not (direct or nbytes <= KEEP_NBYTES)
        or not _is_whole(array, coords, inner)
    ):
        target[...] = _chunk_part(array, storage, coords, inner)
        return
    if direct:
        _decode(storage, coords, target.reshape(-1).view(np.uint8))
        return
    data = _decode(storage, coords, _scratch.take(nbytes))
    chunk = np.frombuffer(data, storage.stored).reshape(storage.chunk_shape)
    if storage.convert is not None:
        chunk = storage.convert(chunk)
    target[...] = chunk[as_index(inner)]


def _may_decode_into(storage: ChunkedManifest, target: Array) -> bool:
    return (
        storage.convert is None
        and target.dtype == storage.stored
        and target.shape == storage.chunk_shape
        and target.flags.c_contiguous
        and not target.dtype.hasobject
    )


def _plain_part(storage: ChunkedManifest, coords: tuple[int, ...], inner: Box) -> Array:
    """Elements of a chunk without filters, before conversion: a view of the mapping, or as few bytes as will do."""
    offset, stored_nbytes = storage.offsets.item(coords), storage.nbytes.item(coords)
    raw = storage.space.view()
    if raw is not None and offset + stored_nbytes > raw.size:
        raise _truncated(storage, coords, offset + stored_nbytes)
    if stored_nbytes != storage.decoded_nbytes:
        raise CorruptDataError(
            message(
                "reading",
                storage.space.name,
                None,
                coords,
                expected=f"{storage.decoded_nbytes} bytes",
                got=stored_nbytes,
            )
        )
    if raw is None:
        return pread_rows(storage.space, offset, storage.stored, storage.chunk_shape, inner)
    part: Array = np.ndarray(storage.chunk_shape, storage.stored, raw.data, offset)[as_index(inner)]
    return part


def _truncated(storage: ChunkedManifest, coords: tuple[int, ...], end: int) -> TruncatedFileError:
    expected = f"at least {end} bytes in the file"
    return TruncatedFileError(
        message("reading", storage.space.name, None, coords, expected=expected, got=storage.space.nbytes)
    )


def _decode(storage: ChunkedManifest, coords: tuple[int, ...], out: npt.NDArray[np.uint8] | None = None) -> Any:
    """The bytes of a chunk, with all filters undone."""
    offset, stored_nbytes = storage.offsets.item(coords), storage.nbytes.item(coords)
    data = _stored_bytes(storage, coords, storage.space.view(), offset, stored_nbytes)
    mask = 0 if storage.filter_mask is None else storage.filter_mask.item(coords)
    return _undo(storage, coords, None, data, mask, out)


def _stored_bytes(
    storage: ChunkedManifest, coords: tuple[int, ...], raw: npt.NDArray[np.uint8] | None, offset: int, nbytes: int
) -> Any:
    """What is stored of a chunk: out of the mapping `raw` where there is one."""
    if raw is None:
        return storage.space.pread(offset, nbytes)
    if offset + nbytes > raw.size:
        raise _truncated(storage, coords, offset + nbytes)
    return raw[offset : offset + nbytes]


def _undo(
    storage: ChunkedManifest,
    coords: tuple[int, ...],
    steps: list[Step] | None,
    data: Any,
    mask: int,
    out: npt.NDArray[np.uint8] | None,
) -> Any:
    """Undo the filters of a chunk; `steps` where they are planned already."""
    try:
        if steps is None:
            return decode_chunk(data, storage.filters, mask, storage.decoded_nbytes, out)
        return run_steps(steps, np.frombuffer(data, np.uint8), storage.decoded_nbytes, out)
    except PackstoreError as error:
        where = message(f"decoding {storage.space.name} chunk {coords}").rstrip(".")
        raise type(error)(f"{where}: {error}") from error


def _kept_chunk(storage: ChunkedManifest, coords: tuple[int, ...]) -> Array | None:
    """A decoded chunk that was kept, if the file is still the same."""
    found = CHUNK_CACHE.get((id(storage), coords), storage)
    if found is not None and isinstance(storage.space, FileSource):
        storage.space.check()
    return found


def _decoded_chunk(storage: ChunkedManifest, coords: tuple[int, ...], *, cache: bool) -> Array:
    """A chunk with filters, whole; kept for the next crop where `cache`."""
    chunk: Array = np.frombuffer(_decode(storage, coords), storage.stored).reshape(storage.chunk_shape)
    if storage.convert is not None:
        chunk = storage.convert(chunk)
    if cache:
        CHUNK_CACHE.put((id(storage), coords), storage, chunk)
    return chunk
