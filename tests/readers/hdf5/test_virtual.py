"""Virtual datasets against libhdf5's own reading of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from h5py import h5d, h5p, h5s, h5t
from hypothesis import given, settings
from hypothesis import strategies as st

from packstore.errors import CorruptDataError, StaleFileError, UnsupportedError
from packstore.readers.hdf5 import read
from packstore.readers.hdf5.virtual.reader import VirtualReader, converter
from packstore.source import FileSource
from packstore.storage import ReaderStorage
from packstore.storage.read import read_box

UNLIMITED = h5s.UNLIMITED
SLAB = tuple[tuple[int, ...], ...]


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """Three files of ten numbers, resizable, and one of them in a second dataset of other types."""
    for i in range(3):
        with h5py.File(tmp_path / f"s{i}.h5", "w") as f:
            f.create_dataset("d", data=np.arange(10) + 100 * i, maxshape=(None,), chunks=(4,), compression="gzip")
            f[f"n{i}"] = np.arange(6.0).reshape(2, 3) + i
    return tmp_path


def virtual(
    file: h5py.File,
    name: str,
    shape: tuple[int, ...],
    maps: list[Any],
    *,
    dtype: Any = "<i8",
    fill: Any = None,
    maxshape: Any = None,
) -> None:
    """Maps are (virtual slab, file, dataset, source shape, source slab); a slab is (start, count, stride, block)."""
    dcpl = h5p.create(h5p.DATASET_CREATE)
    if fill is not None:
        dcpl.set_fill_value(np.array([fill], dtype))
    limits = None if maxshape is None else tuple(UNLIMITED if n is None else n for n in maxshape)
    for to, filename, dataset, source_shape, slab in maps:
        there = h5s.create_simple(tuple(max(n, 1) for n in shape), limits)
        if to is not None:
            there.select_hyperslab(*to)
        unlimited = slab is not None and any(UNLIMITED in part for part in slab)
        here = h5s.create_simple(source_shape, (UNLIMITED,) * len(source_shape) if unlimited else None)
        if slab is not None:
            here.select_hyperslab(*slab)
        dcpl.set_virtual(there, filename.encode(), dataset.encode(), here)
    space = h5s.create_simple(shape, limits)
    h5d.create(file.id, name.encode(), h5t.py_create(np.dtype(dtype), logical=True), space, dcpl)


def test_tiles_gaps_strides_and_other_ranks(sources: Path, check: Any) -> None:
    path = sources / "v.h5"
    with h5py.File(path, "w", libver="latest") as f:
        rows = [(((i, 0), (1, 10)), f"s{i}.h5", "d", (10,), None) for i in range(3)]
        virtual(f, "rows", (3, 10), rows)
        virtual(f, "gaps", (5, 12), [(((i + 1, 1), (1, 10)), f"s{i}.h5", "d", (10,), None) for i in range(3)], fill=-1)
        columns = [(((0, i), (10, 1)), f"s{i}.h5", "d", (10,), None) for i in range(3)]
        virtual(f, "columns", (10, 3), columns)
        virtual(f, "woven", (30,), [(((i,), (10,), (3,)), f"s{i}.h5", "d", (10,), None) for i in range(3)])
        virtual(f, "blocks", (30,), [(((1,), (2,), (7,), (3,)), "s1.h5", "d", (10,), ((2,), (6,)))], fill=7)
        virtual(f, "part", (4,), [(((0,), (4,)), "s2.h5", "d", (10,), ((1,), (4,), (2,)))])
        virtual(f, "folded", (2, 5), [(None, "s1.h5", "d", (10,), None)])
        virtual(f, "from_blocks", (2, 2), [(None, "s1.h5", "n1", (2, 3), ((0, 0), (2, 2), (1, 2)))], dtype="<f8")
        overlapping = [(((0,), (10,)), "s0.h5", "d", (10,), None), (((5,), (10,)), "s1.h5", "d", (10,), None)]
        virtual(f, "overlapping", (15,), overlapping)
    found = check(path, allow_external=True)
    assert len(found.arrays) == 9
    assert all(isinstance(a.storage, ReaderStorage) for a in found.arrays.values())
    assert found.arrays["rows"].chunk_shape == (1, 10)


def test_unions_of_blocks(sources: Path, check: Any) -> None:
    path = sources / "v.h5"
    with h5py.File(path, "w", libver="latest") as f:
        dcpl = h5p.create(h5p.DATASET_CREATE)
        there = h5s.create_simple((4, 8))
        there.select_hyperslab((0, 0), (1, 5))
        there.select_hyperslab((2, 3), (1, 5), op=h5s.SELECT_OR)
        here = h5s.create_simple((10,))
        dcpl.set_virtual(there, b"s1.h5", b"d", here)
        h5d.create(f.id, b"x", h5t.STD_I64LE, h5s.create_simple((4, 8)), dcpl)
    check(path, allow_external=True)


def test_sources_in_the_same_file_need_no_permission(tmp_path: Path, check: Any) -> None:
    path = tmp_path / "v.h5"
    with h5py.File(path, "w", libver="latest") as f:
        f["g/a"] = np.arange(10)
        f["text"] = np.array(["x", "yy"], object)
        f["link"] = h5py.SoftLink("/g/a")
        virtual(f, "x", (10,), [(None, ".", "g/a", (10,), None)])
        virtual(f, "by_name", (10,), [(None, "v.h5", "/g/a", (10,), None)])
        virtual(f, "by_link", (10,), [(None, ".", "/link", (10,), None)])
        virtual(f, "nested", (5,), [(None, ".", "x", (10,), ((0,), (5,), (2,)))])
        virtual(f, "missing", (5,), [(None, ".", "no", (5,), None)], fill=4)
        layout = h5py.VirtualLayout((3,), h5py.string_dtype())
        layout[1:] = h5py.VirtualSource(f["text"])
        f.create_virtual_dataset("words", layout)
    assert len(check(path, missing_sources="fill").arrays) == 9


def test_unlimited_mappings_are_as_long_as_their_sources(sources: Path, check: Any) -> None:
    path = sources / "v.h5"
    one, every = (1, 1), (UNLIMITED, 1)
    with h5py.File(path, "w", libver="latest") as f:
        maps: list[Any]
        maps = [(((0, i), every, one, one), f"s{i}.h5", "d", (10,), ((0,), (UNLIMITED,), (1,), (1,))) for i in range(3)]
        virtual(f, "columns", (0, 3), maps, maxshape=(None, 3), fill=-5)
        maps = [(((1,), (UNLIMITED,), (5,), (3,)), "s1.h5", "d", (10,), ((1,), (UNLIMITED,), (4,), (3,)))]
        virtual(f, "blocks", (0,), maps, maxshape=(None,))
        maps = [(((2,), (1,), (1,), (UNLIMITED,)), "s1.h5", "d", (10,), ((3,), (1,), (1,), (UNLIMITED,)))]
        virtual(f, "run", (0,), maps, maxshape=(None,))
    check(path, allow_external=True)
    with h5py.File(sources / "s1.h5", "a") as f:
        f["d"].resize((17,))
        f["d"][10:] = 9
    found = check(path, allow_external=True)
    assert found.arrays["columns"].shape == (17, 3)


@pytest.mark.parametrize("present", [0, 1, 3])
def test_numbered_sources(sources: Path, check: Any, present: int) -> None:
    path = sources / "v.h5"
    with h5py.File(path, "w", libver="latest") as f:
        to = ((0, 0), (UNLIMITED, 1), (1, 1), (1, 10))
        virtual(f, "files", (1, 10), [(to, "s%b.h5", "d", (10,), None)], maxshape=(None, 10))
        to = ((0, 0), (UNLIMITED, 1), (2, 1), (2, 3))
        virtual(f, "arrays", (1, 3), [(to, "s1.h5", "n%b", (2, 3), None)], dtype="<f8", maxshape=(None, 3))
        f["beside"] = 1
    for i in range(present, 3):
        (sources / f"s{i}.h5").unlink()
    found = check(path, allow_external=True)
    assert found.arrays["files"].shape == (present, 10)


def test_percent_signs_in_names(sources: Path, check: Any) -> None:
    path = sources / "v.h5"
    (sources / "s0.h5").rename(sources / "100%.h5")
    with h5py.File(path, "w", libver="latest") as f:
        virtual(f, "x", (10,), [(None, "100%%.h5", "d", (10,), None)], fill=-1)
    check(path, allow_external=True)


def test_missing_sources_are_the_fill_value_where_asked_for(sources: Path, check: Any) -> None:
    path = sources / "v.h5"
    with h5py.File(path, "w", libver="latest") as f:
        virtual(f, "file", (10,), [(None, "no.h5", "d", (10,), None)], fill=8)
        halves = [(((10 * i,), (10,)), name, "d", (10,), None) for i, name in enumerate(["no.h5", "s1.h5"])]
        virtual(f, "both", (20,), halves)
        virtual(f, "array", (10,), [(None, "s1.h5", "no", (10,), None)], fill=8)
    check(path, allow_external=True, missing_sources="fill")
    # What does not exist need not be allowed.
    found = read(FileSource(path), missing_sources="fill")
    assert set(found.arrays) == {"file"}


def test_refused_sources_are_named(sources: Path) -> None:
    path = sources / "v.h5"
    with h5py.File(path, "w", libver="latest") as f:
        f["d"] = np.arange(10)
        maps = [(((i, 0), (1, 10)), f"s{i}.h5", "d", (10,), None) for i in range(3)]
        virtual(f, "x", (4, 10), [*maps, (((3, 0), (1, 10)), ".", "d", (10,), None)])
    (sources / "in").mkdir()
    for allowed in (False, sources / "in"):
        found = read(FileSource(path), allow_external=allowed)
        assert list(found.arrays) == ["d"]
        assert "got sources in 's0.h5', 's1.h5', 's2.h5'. Pass allow_external=True" in found.unsupported["x"]
    assert set(read(FileSource(path), allow_external=sources).arrays) == {"d", "x"}


def test_nested_across_files(sources: Path, check: Any) -> None:
    with h5py.File(sources / "inner.h5", "w", libver="latest") as f:
        virtual(f, "v", (30,), [(((10 * i,), (10,)), f"s{i}.h5", "d", (10,), None) for i in range(3)])
    path = sources / "outer.h5"
    with h5py.File(path, "w", libver="latest") as f:
        virtual(f, "v", (15,), [(None, "inner.h5", "/v", (30,), ((0,), (15,), (2,)))])
    check(path, allow_external=True)


def test_loops_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest") as f:
        virtual(f, "self", (3,), [(None, ".", "self", (3,), None)])
        virtual(f, "one", (3,), [(None, ".", "two", (3,), None)])
        virtual(f, "two", (3,), [(None, ".", "one", (3,), None)])
        virtual(f, "far", (3,), [(None, "b.h5", "back", (3,), None)])
    with h5py.File(tmp_path / "b.h5", "w", libver="latest") as f:
        virtual(f, "back", (3,), [(None, "a.h5", "far", (3,), None)])
    found = read(FileSource(path), allow_external=True)
    assert {"self", "one", "two"} <= set(found.unsupported)
    assert "leads back to itself" in found.unsupported["one"]
    with pytest.raises(UnsupportedError, match="leads back to itself"):
        read_box(found.arrays["far"], (slice(0, 3, 1),))


@pytest.mark.parametrize(
    ("stored", "seen"),
    [
        ("<i4", ">i4"),
        ("<i2", "<i8"),
        ("<i8", "<i2"),
        ("<i4", "<u1"),
        ("<u8", "<i4"),
        ("<i4", "<f4"),
        ("<f4", "<f8"),
        ("<f8", "<f4"),
        ("S3", "S5"),
    ],
)
def test_sources_of_other_types(tmp_path: Path, check: Any, stored: str, seen: str) -> None:
    values = np.array([0, 1, -2, 127, 70000, -70000, 2**31 - 1], object)
    if stored[0] == "S":
        data = np.array([b"a", b"bc", b"def"], stored)
    else:
        kind = np.dtype(stored)
        limits = np.iinfo(kind) if kind.kind in "iu" else None
        data = np.array([v for v in values if limits is None or limits.min <= v <= limits.max], kind)
    path = tmp_path / "v.h5"
    with h5py.File(path, "w", libver="latest") as f:
        f["d"] = data
        virtual(f, "x", data.shape, [(None, ".", "d", data.shape, None)], dtype=seen)
    check(path)


def test_conversions_that_are_not_ours_are_refused(tmp_path: Path) -> None:
    assert "only libhdf5 converts" in str(converter(np.dtype("f8"), np.dtype("i4")))
    path = tmp_path / "v.h5"
    with h5py.File(path, "w", libver="latest") as f:
        f["d"] = np.arange(3.5)
        virtual(f, "x", (4,), [(None, ".", "d", (4,), None)], dtype="<i4")
    with pytest.raises(UnsupportedError, match="a source of float64, which only libhdf5 converts"):
        read_box(read(FileSource(path)).arrays["x"], (slice(0, 4, 1),))


def test_a_source_that_shrank(sources: Path) -> None:
    path = sources / "v.h5"
    with h5py.File(path, "w", libver="latest") as f:
        virtual(f, "x", (10,), [(None, "s0.h5", "d", (10,), ((0,), (10,)))])
    with h5py.File(sources / "s0.h5", "a") as f:
        f["d"].resize((4,))
    with pytest.raises(CorruptDataError, match=r"expected a source of at least \(10,\), got \(4,\)"):
        read_box(read(FileSource(path), allow_external=True).arrays["x"], (slice(0, 10, 1),))


def test_a_source_that_changed_is_stale(sources: Path) -> None:
    path = sources / "v.h5"
    with h5py.File(path, "w", libver="latest") as f:
        virtual(f, "x", (10,), [(None, "s0.h5", "d", (10,), None)])
    array = read(FileSource(path), allow_external=True).arrays["x"]
    read_box(array, (slice(0, 10, 1),))
    with h5py.File(sources / "s0.h5", "a") as f:
        f["more"] = np.arange(1000)
    with pytest.raises(StaleFileError):
        read_box(array, (slice(0, 10, 1),))


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_pair_of_regular_selections(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    def slab(counts: list[int], blocks: list[int]) -> tuple[SLAB, tuple[int, ...]]:
        start = tuple(data.draw(st.integers(0, 3)) for _ in counts)
        stride = tuple(b + data.draw(st.integers(0, 3)) for b in blocks)
        ends = [s + (c - 1) * d + b for s, c, d, b in zip(start, counts, stride, blocks, strict=True)]
        shape = tuple(end + data.draw(st.integers(0, 2)) for end in ends)
        return (start, tuple(counts), stride, tuple(blocks)), shape

    counts = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    blocks = [data.draw(st.integers(1, 3)) for _ in counts]
    to, shape = slab(counts, blocks)
    if data.draw(st.booleans()):  # the same number of elements in each dimension, cut otherwise
        source, source_shape = slab([c * b for c, b in zip(counts, blocks, strict=True)], [1] * len(counts))
    else:  # flat
        source, source_shape = slab([int(np.prod(counts) * np.prod(blocks))], [1])
    path = tmp_path_factory.mktemp("vds") / "v.h5"
    with h5py.File(path, "w", libver="latest") as f:
        f["d"] = np.arange(1, 1 + np.prod(source_shape)).reshape(source_shape)
        virtual(f, "x", shape, [(to, ".", "d", source_shape, source)], fill=-1)
    box = tuple(
        slice(a, data.draw(st.integers(a, n)), data.draw(st.integers(1, 3)))
        for n in shape
        for a in [data.draw(st.integers(0, n))]
    )
    with h5py.File(path) as f:
        want = f["x"][...][box]
    np.testing.assert_array_equal(read_box(read(FileSource(path)).arrays["x"], box), want)


def test_the_reader_says_what_it_reads(sources: Path) -> None:
    path = sources / "v.h5"
    with h5py.File(path, "w", libver="latest") as f:
        virtual(f, "x", (10,), [(None, "s0.h5", "d", (10,), None)])
    storage = read(FileSource(path), allow_external=True).arrays["x"].storage
    assert isinstance(storage, ReaderStorage)
    assert isinstance(storage.reader, VirtualReader)
    assert storage.reader.name == f"{path}[x]"
