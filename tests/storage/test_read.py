"""From stored bytes to elements: ranged reads, packed bits, chunks with and without filters."""

from __future__ import annotations

import math
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from packstore import config
from packstore.codecs.bits import large
from packstore.codecs.hdf5 import FilterSpec
from packstore.codecs.hdf5.pipeline import run_steps
from packstore.core.box_selection import box_selection
from packstore.core.threads import run_all
from packstore.errors import CorruptDataError, StaleFileError, TruncatedFileError
from packstore.source import FileSource, InlineBytes, RangeReads
from packstore.source.cache import CHUNKS
from packstore.storage import (
    MISSING,
    ManifestArray,
    grid,
    packed_bits,
    plan,
)
from packstore.storage import (
    chunked as chunked_storage,
)
from packstore.storage import (
    contiguous as contiguous_storage,
)
from packstore.storage import filters as filters_module
from packstore.storage import (
    packed as packed_storage,
)
from packstore.storage.grid import GridStorage
from packstore.storage.places import TablePlaces
from packstore.storage.read import read_box, read_chunk
from packstore.testing.strategies import basic_indices, shapes_st

DEFLATE = (FilterSpec(1, (4,), "deflate"),)


class Ranged(RangeReads):
    """Bytes that cannot be mapped; counts what is read."""

    name = "ranged"

    def __init__(self, data: bytes, gap_nbytes: int) -> None:
        self.data = data
        self.nbytes = len(data)
        self.gap_nbytes = gap_nbytes
        self.reads: list[int] = []

    def pread(self, offset: int, nbytes: int) -> bytes:
        assert 0 <= offset <= offset + nbytes <= self.nbytes
        self.reads.append(nbytes)
        return self.data[offset : offset + nbytes]

    def view(self) -> None:
        return None


def contiguous(data: Any, order: Any = "C", space: Any = None, offset: int = 3) -> ManifestArray:
    if space is None:
        space = InlineBytes(b"abc" + data.tobytes(order), "inline")
    return ManifestArray(
        data.shape, data.dtype, data.shape, contiguous_storage(data.shape, space, offset, data.dtype, order)
    )


def numbers(*shape: int, dtype: str = "i4") -> np.ndarray[Any, Any]:
    return np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)


@given(shapes_st(max_side=6), st.sampled_from("CF"), st.sampled_from([0, 8, 40, 10**6]), st.data())
def test_ranged_reads(shape: tuple[int, ...], order: Any, gap: int, draw: st.DataObject) -> None:
    data = numbers(*shape, dtype=">u2")
    space = Ranged(b"abc" + data.tobytes(order), gap)
    array = contiguous(data, order, space)
    box, _ = box_selection(draw.draw(basic_indices(shape)), shape)
    got = read_box(array, box)
    assert got.dtype == data.dtype
    np.testing.assert_array_equal(got, data[box])
    # No range is read twice over what lies between the rows that are wanted.
    assert all(n <= 2 * got.nbytes + gap + 2 for n in space.reads)


def test_far_apart_elements_do_not_read_what_is_between() -> None:
    data = numbers(1_000_000, dtype="u1")
    space = Ranged(b"abc" + data.tobytes(), 1000)
    got = read_box(contiguous(data, "C", space), (slice(0, 990_001, 10_000),))
    np.testing.assert_array_equal(got, data[::10_000])
    assert sum(space.reads) == 100
    space.reads.clear()
    read_box(contiguous(data, "C", space), (slice(0, 999_901, 100),))
    assert max(space.reads) <= 1001


def test_contiguous_local_reads_are_views(tmp_path: Path) -> None:
    data = numbers(5, 6)
    (tmp_path / "x").write_bytes(b"abc" + data.tobytes())
    array = contiguous(data, "C", FileSource(tmp_path / "x"))
    got = read_box(array, (slice(1, 4, 2), slice(0, 6, 1)))
    np.testing.assert_array_equal(got, data[1:4:2])
    assert not got.flags.owndata
    assert not got.flags.writeable


@pytest.mark.parametrize("mapped", [True, False])
def test_declared_beyond_the_bytes(mapped: bool) -> None:
    data = b"\0" * 10
    space = InlineBytes(data, "short") if mapped else Ranged(data, 0)
    array = ManifestArray((4,), np.dtype("i4"), (4,), contiguous_storage((4,), space, 0, np.dtype("i4")))
    with pytest.raises(TruncatedFileError, match=r"reading .*: expected at least 16 bytes, got 10"):
        read_box(array, (slice(0, 1, 1),))


@pytest.mark.parametrize("order", ["C", "F"])
def test_tail_chunks_are_padded(order: Any) -> None:
    data = numbers(5, 3)
    base = contiguous(data, order)
    array = ManifestArray(data.shape, data.dtype, (2, 2), base.storage)
    chunk = read_chunk(array, (2, 1))
    assert chunk is not None
    assert chunk.tolist() == [[14, 0], [0, 0]]
    whole = read_chunk(array, (0, 0))
    assert whole is not None
    assert whole.tolist() == [[0, 1], [3, 4]]


# -- packed bits ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mapped", [True, False])
@given(st.data(), shapes_st(max_side=40, max_dims=3), st.sampled_from(["big", "little"]))
def test_packed(mapped: bool, draw: st.DataObject, shape: tuple[int, ...], bitorder: Any) -> None:
    mask = np.random.default_rng(len(shape)).random(shape) < 0.5
    axis = draw.draw(st.sampled_from([None, *range(len(shape))]))
    data = b"ab" + np.packbits(mask, axis=axis, bitorder=bitorder).tobytes()
    space: Any = InlineBytes(data, "bits") if mapped else Ranged(data, 8)
    array = ManifestArray(shape, np.dtype(bool), shape, packed_storage(shape, space, 2, axis, bitorder))
    box, _ = box_selection(draw.draw(basic_indices(shape)), shape)
    got = read_box(array, box)
    assert got.dtype == bool
    np.testing.assert_array_equal(got, mask[box])


@pytest.mark.parametrize(("axis", "shape"), [(None, (3, 4_000_000)), (1, (3, 4_000_000)), (0, (4_000_000, 3))])
def test_sparse_picks_do_not_unpack_everything(axis: int | None, shape: tuple[int, ...]) -> None:
    import tracemalloc

    packed = np.random.default_rng(0).integers(0, 256, 4_000_000 * 3 // 8, np.uint8)
    storage = packed_storage(shape, InlineBytes(packed, "bits"), 0, axis, "big")
    array = ManifestArray(shape, np.dtype(bool), shape, storage)
    reference = np.unpackbits(
        packed.reshape(packed_bits(shape, axis).byte_shape if axis is not None else -1), axis=axis
    ).reshape(shape)
    long = shape.index(4_000_000)
    box = tuple(slice(5, 3_999_006, 1000) if i == long else slice(1, 2, 1) for i in range(2))
    tracemalloc.start()
    got = read_box(array, box)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(got, reference[box].astype(bool))
    assert peak < 300_000


# -- chunked ----------------------------------------------------------------------------------------------------------


def chunked(
    data: Any, chunk: tuple[int, ...], *, filters: tuple[FilterSpec, ...] = (), space: Any = None
) -> ManifestArray:
    grid = tuple(-(-n // c) for n, c in zip(data.shape, chunk, strict=True))
    padded = np.zeros([g * c for g, c in zip(grid, chunk, strict=True)], data.dtype)
    padded[tuple(slice(0, n) for n in data.shape)] = data
    offsets, sizes = np.full(grid, MISSING), np.zeros(grid, np.uint64)
    blob = b""
    for coords in np.ndindex(*grid):
        part = padded[tuple(slice(i * c, (i + 1) * c) for i, c in zip(coords, chunk, strict=True))]
        stored = zlib.compress(part.tobytes()) if filters else part.tobytes()
        offsets[coords], sizes[coords] = len(blob), len(stored)
        blob += stored
    space = InlineBytes(blob, "chunks") if space is None else space(blob)
    storage = chunked_storage(space, chunk, offsets, sizes, None, filters, data.dtype)
    return ManifestArray(data.shape, data.dtype, chunk, storage)


@pytest.mark.parametrize("filters", [(), DEFLATE])
@given(st.data(), shapes_st(min_dims=1, max_side=9, max_dims=3))
def test_chunked(filters: Any, draw: st.DataObject, shape: tuple[int, ...]) -> None:
    data = numbers(*shape)
    chunk = tuple(draw.draw(st.integers(1, 4)) for _ in shape)
    array = chunked(data, chunk, filters=filters)
    for _ in range(3):
        box, _ = box_selection(draw.draw(basic_indices(shape)), shape)
        np.testing.assert_array_equal(read_box(array, box), data[box])


@pytest.mark.parametrize("filters", [(), DEFLATE])
@given(st.data(), shapes_st(min_dims=1, max_side=9, max_dims=3), st.sampled_from([0, 8, 10**6]))
def test_chunks_that_cannot_be_mapped(filters: Any, draw: st.DataObject, shape: tuple[int, ...], gap: int) -> None:
    """A read of several chunks asks the source once, for no byte twice."""
    data = numbers(*shape)
    chunk = tuple(draw.draw(st.integers(1, 4)) for _ in shape)
    calls: list[list[tuple[int, int]]] = []

    class Counted(Ranged):
        def read_ranges(self, ranges: Any) -> Any:
            calls.append(list(ranges))
            return super().read_ranges(ranges)

    array = chunked(data, chunk, filters=filters, space=lambda blob: Counted(blob, gap))
    space = grid_of(array).places.space
    for _ in range(3):
        calls.clear()
        space.reads.clear()
        CHUNKS.clear()
        box, _ = box_selection(draw.draw(basic_indices(shape)), shape)
        np.testing.assert_array_equal(read_box(array, box), data[box])
        touches = math.prod(
            len({i // c for i in range(s.start, s.stop, s.step)}) for s, c in zip(box, chunk, strict=True)
        )
        if touches > 1 and (filters or gap == 10**6):
            assert len(calls) == 1 and len(calls[0]) == touches == len(space.reads)
        if filters:
            assert len(space.reads) == touches


def test_crops_of_slow_chunks_use_threads_once(monkeypatch: pytest.MonkeyPatch) -> None:
    data = np.random.default_rng(0).integers(0, 9, (1200, 1200), np.uint8)
    array = chunked(data, (600, 600), filters=DEFLATE)
    asked: list[bool] = []
    real = run_all
    monkeypatch.setattr(
        grid,
        "run_all",
        lambda *args, parallel, **more: (asked.append(parallel), real(*args, parallel=parallel, **more)),
    )
    box = (slice(580, 620, 1), slice(590, 610, 1))
    for _ in range(2):
        np.testing.assert_array_equal(read_box(array, box), data[box])
    # The second time the chunks are at hand.
    assert asked == [True, False]


@pytest.mark.parametrize("filters", [(), DEFLATE])
def test_a_scalar_in_a_chunk(filters: Any) -> None:
    array = chunked(np.array(5), (), filters=filters)
    assert read_box(array, ()).shape == () and read_box(array, ()) == 5
    grid_of(array).places.offsets[()] = MISSING
    assert read_box(array, ()).shape == () and read_box(array, ()) == 0


def grid_of(array: ManifestArray) -> Any:
    """The storage of an array that `chunked` made."""
    assert isinstance(array.storage, GridStorage)
    return array.storage


def whole(array: ManifestArray) -> tuple[slice, ...]:
    return tuple(slice(0, n, 1) for n in array.shape)


def test_large_reads_use_threads_and_nested_ones_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "PARALLEL_NBYTES", 1)
    # Each chunk by itself.
    monkeypatch.setattr(plan, "RUN_NBYTES", 0)
    monkeypatch.setattr(config, "cpu_count", lambda: 4)
    data = numbers(40, 10)
    array = chunked(data, (4, 10), filters=DEFLATE)
    names: set[str] = set()
    real = run_steps
    meeting = threading.Barrier(2)

    def watch(*args: Any) -> Any:
        if not names:
            # Passed only when a second thread gets here, too.
            meeting.wait(30)
        names.add(threading.current_thread().name)
        return real(*args)

    monkeypatch.setattr(filters_module, "run_steps", watch)
    np.testing.assert_array_equal(read_box(array, whole(array)), data)
    assert len(names) > 1
    names = {"none yet"}
    with ThreadPoolExecutor(2, thread_name_prefix="callers") as pool:
        for got in pool.map(lambda _: read_box(array, whole(array)), range(4)):
            np.testing.assert_array_equal(got, data)
    assert all(name.startswith(("callers", "none yet")) for name in names)


@pytest.mark.parametrize("kind", [CorruptDataError, KeyboardInterrupt])
def test_errors_in_threads_reach_the_caller(monkeypatch: pytest.MonkeyPatch, kind: Any) -> None:
    monkeypatch.setattr(plan, "PARALLEL_NBYTES", 1)
    monkeypatch.setattr(config, "cpu_count", lambda: 2)
    array = chunked(numbers(400, 10), (4, 10), filters=DEFLATE)
    done = []

    def fail(*args: Any) -> Any:
        done.append(1)
        raise kind("chunk gone bad")

    monkeypatch.setattr(filters_module, "run_steps", fail)
    with pytest.raises(kind, match="chunk gone bad"):
        read_box(array, whole(array))
    # The rest was cancelled.
    assert len(done) < 50


def test_a_bad_chunk_is_named() -> None:
    array = chunked(numbers(8, 4), (4, 4), filters=DEFLATE)
    storage = array.storage
    assert isinstance(storage, GridStorage) and isinstance(storage.places, TablePlaces)
    storage.places.nbytes[1, 0] -= 3
    np.testing.assert_array_equal(read_box(array, (slice(0, 2, 1), slice(0, 4, 1))), numbers(2, 4))
    with pytest.raises(CorruptDataError, match=r"decoding chunks chunk \(.*1.*0.*\): "):
        read_box(array, whole(array))
    storage.places.nbytes[1, 0] += 10_000
    with pytest.raises(TruncatedFileError, match=r"reading chunks chunk \(1, 0\): expected at least"):
        read_box(array, whole(array))


def test_unfiltered_chunk_of_the_wrong_size() -> None:
    array = chunked(numbers(8, 4), (4, 4))
    storage = array.storage
    assert isinstance(storage, GridStorage) and isinstance(storage.places, TablePlaces)
    storage.places.nbytes[1, 0] -= 4
    with pytest.raises(CorruptDataError, match=r"chunk \(1, 0\): decoding: expected 64 bytes .*, got 60"):
        read_box(array, whole(array))


@pytest.mark.parametrize("dtype", ["i4", "f8", "S3", "U2", "M8[ns]", "?", "i4,S2"])
def test_missing_chunks_without_a_fill_value_are_zeros(dtype: str) -> None:
    kind = np.dtype(dtype)
    offsets, sizes = np.full(3, MISSING), np.zeros(3, np.uint64)
    storage = chunked_storage(InlineBytes(b"", "none"), (2,), offsets, sizes, None, (), kind)
    array = ManifestArray((5,), kind, (2,), storage)
    np.testing.assert_array_equal(read_box(array, whole(array)), np.zeros(5, kind))
    assert read_chunk(array, (1,)) is None


def test_crops_do_not_keep_their_chunk() -> None:
    array = chunked(numbers(100, 100), (100, 100), filters=DEFLATE)
    crop = read_box(array, (slice(0, 2, 1), slice(0, 2, 1)))
    base = crop.base if crop.base is not None else crop
    assert base.nbytes < 100
    np.testing.assert_array_equal(crop, numbers(100, 100)[:2, :2])


def test_cached_chunks_still_notice_a_changed_file(tmp_path: Path) -> None:
    def on_disk(blob: bytes) -> FileSource:
        (tmp_path / "x").write_bytes(blob)
        return FileSource(tmp_path / "x")

    array = chunked(numbers(8, 4), (4, 4), filters=DEFLATE, space=on_disk)
    box = (slice(0, 1, 1), slice(0, 2, 1))
    for _ in range(2):
        assert read_box(array, box).tolist() == [[0, 1]]
    (tmp_path / "x").write_bytes(b"other")
    with pytest.raises(StaleFileError):
        read_box(array, box)


@pytest.mark.parametrize("piece_nbytes", [1, 8, 20, 100])
@given(st.data(), shapes_st(min_dims=1, max_side=30, max_dims=3))
def test_packed_in_pieces(piece_nbytes: int, draw: st.DataObject, shape: tuple[int, ...]) -> None:
    """Large boxes are unpacked piece by piece, in threads: the same at every place a piece may begin."""
    mask = np.random.default_rng(len(shape)).random(shape) < 0.5
    axis = draw.draw(st.integers(0, len(shape) - 1))
    space = InlineBytes(np.packbits(mask, axis=axis).tobytes(), "bits")
    array = ManifestArray(shape, np.dtype(bool), shape, packed_storage(shape, space, 0, axis, "big"))
    box, _ = box_selection(draw.draw(basic_indices(shape)), shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large, "LARGE_NBYTES", 2)
        patch.setattr(large, "MAX_SCRATCH", 0)
        patch.setattr(large, "SMALL_NBYTES", 0)
        patch.setattr(large, "PIECE_NBYTES", piece_nbytes)
        np.testing.assert_array_equal(read_box(array, box), mask[box])


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("start", range(9))
def test_packed_pieces_of_single_rows(axis: int, start: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "LARGE_NBYTES", 2)
    monkeypatch.setattr(large, "MAX_SCRATCH", 0)
    monkeypatch.setattr(large, "SMALL_NBYTES", 0)
    monkeypatch.setattr(large, "PIECE_NBYTES", 1)
    mask = np.random.default_rng(start).random((30, 30)) < 0.5
    storage = packed_storage(mask.shape, InlineBytes(np.packbits(mask, axis=axis).tobytes(), "bits"), 0, axis, "big")
    array = ManifestArray(mask.shape, np.dtype(bool), mask.shape, storage)
    for stop in (start + 1, start + 5, 30):
        box = (slice(start, stop, 1), slice(0, 30, 1))
        np.testing.assert_array_equal(read_box(array, box), mask[box])
