"""Chunk indexes: every kind, what is wrong with libhdf5's list, and what a bad list leads to."""

from __future__ import annotations

import base64
import zlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from h5py import h5d, h5p, h5s, h5t
from hypothesis import given, settings
from hypothesis import strategies as st

from packstore.codecs.hdf5 import FilterSpec
from packstore.errors import CorruptDataError
from packstore.readers.hdf5 import chunk_index, read
from packstore.readers.hdf5.chunk_list import Collector
from packstore.readers.hdf5.files import Session
from packstore.readers.hdf5.format.header import ChunkLayout, chunk_layout
from packstore.readers.hdf5.guard import chunks as chunk_checks
from packstore.readers.hdf5.problems import Damaged, NotServed
from packstore.source import FileSource
from packstore.storage import ReaderStorage
from packstore.storage.places import TablePlaces
from packstore.storage.read import read_box

SINGLE, IMPLICIT, FIXED, EXTENSIBLE, B_TREE_2 = 1, 2, 3, 4, 5


def make(
    path: Path,
    shape: tuple[int, ...],
    maxshape: tuple[int | None, ...] | None,
    chunks: tuple[int, ...],
    *,
    libver: str = "latest",
    gzip: bool = False,
    early: bool = False,
    written: Any = ...,
) -> None:
    data = np.arange(1, int(np.prod(shape)) + 1, dtype="<i4").reshape(shape)
    with h5py.File(path, "w", libver=libver) as f:
        dcpl = h5p.create(h5p.DATASET_CREATE)
        dcpl.set_chunk(chunks)
        if gzip:
            dcpl.set_shuffle()
            dcpl.set_deflate(1)
        if early:
            dcpl.set_alloc_time(h5d.ALLOC_TIME_EARLY)
        limits = None if maxshape is None else tuple(h5s.UNLIMITED if n is None else n for n in maxshape)
        did = h5d.create(f.id, b"x", h5t.STD_I32LE, h5s.create_simple(shape, limits), dcpl)
        h5py.Dataset(did)[written] = data[written]


def index_kind(path: Path) -> int:
    with Session(FileSource(path)) as session:
        return chunk_layout(session.header_of(session.file["x"].id)).index


@pytest.mark.parametrize("gzip", [False, True])
@pytest.mark.parametrize(
    ("kind", "shape", "maxshape", "chunks", "options"),
    [
        (0, (40, 6), (None, 10), (2, 3), {"libver": "earliest"}),
        (SINGLE, (4, 6), None, (4, 6), {}),
        (FIXED, (5, 7), None, (2, 3), {}),
        (FIXED, (5, 7), (9, 20), (2, 3), {}),
        (FIXED, (90, 70), None, (1, 3), {}),  # paged: more than 1024 chunks
        (EXTENSIBLE, (50, 7), (None, 7), (2, 3), {}),
        (B_TREE_2, (50, 7), (None, None), (2, 3), {}),
    ],
)
def test_each_kind(
    tmp_path: Path, check: Any, kind: int, shape: Any, maxshape: Any, chunks: Any, options: Any, gzip: bool
) -> None:
    path = tmp_path / "x.h5"
    make(path, shape, maxshape, chunks, gzip=gzip, **options)
    assert index_kind(path) == kind
    assert isinstance(check(path).arrays["x"].storage.places, TablePlaces)


def test_implicit(tmp_path: Path, check: Any) -> None:
    path = tmp_path / "x.h5"
    make(path, (5, 7), None, (2, 3), early=True)
    assert index_kind(path) == IMPLICIT
    assert isinstance(check(path).arrays["x"].storage.places, TablePlaces)


def test_libhdf5_lists_wrong_coordinates_here(tmp_path: Path, check: Any) -> None:
    """The file of the known case: its chunks are found where they are, not where the list says."""
    path = tmp_path / "x.h5"
    make(path, (4, 6), (10, None), (2, 3))
    assert index_kind(path) == EXTENSIBLE
    found = check(path)
    assert isinstance(found.arrays["x"].storage.places, TablePlaces)


def test_a_list_that_only_looks_sound(tmp_path: Path, check: Any) -> None:
    """With the second half unwritten, all listed coordinates lie inside the dataset, at the wrong chunks."""
    path = tmp_path / "x.h5"
    make(path, (4, 600), (4, None), (2, 3), written=np.s_[:, :240])
    with h5py.File(path) as f:
        listed: list[Any] = []
        f["x"].id.chunk_iter(listed.append)
    assert all(i.chunk_offset[1] < 600 for i in listed)
    assert isinstance(check(path).arrays["x"].storage.places, TablePlaces)


@settings(deadline=None, max_examples=40)
@given(
    dims=st.lists(st.tuples(st.integers(1, 9), st.integers(0, 6), st.integers(1, 4)), min_size=2, max_size=4),
    axis=st.integers(0, 3),
    gzip=st.booleans(),
    part=st.integers(1, 9),
)
def test_extensible_arrays_of_any_shape(
    tmp_path_factory: pytest.TempPathFactory, dims: list[tuple[int, int, int]], axis: int, gzip: bool, part: int
) -> None:
    axis %= len(dims)
    shape = tuple(n for n, _, _ in dims)
    maxshape = tuple(None if i == axis else n + more for i, (n, more, _) in enumerate(dims))
    path = tmp_path_factory.mktemp("ea") / "x.h5"
    # libhdf5 wants chunks that fit the largest extent.
    chunks = tuple(c if m is None else min(c, m) for (_, _, c), m in zip(dims, maxshape, strict=True))
    make(path, shape, maxshape, chunks, gzip=gzip, written=np.s_[:part])
    array = read(FileSource(path)).arrays["x"]
    with h5py.File(path) as f:
        want = f["x"][...]
    np.testing.assert_array_equal(read_box(array, tuple(slice(0, n, 1) for n in shape)), want)


# Chunks at the edges stored without the filters (H5D_CHUNK_DONT_FILTER_PARTIAL_CHUNKS), which h5py cannot ask for:
# shape (5, 7), chunks (2, 3), shuffle and deflate, values 0..34, unlimited in the dimensions that the name says.
RAW_EDGES = {
    "fixed": (
        "c-rgqaB<`1lHy|K;9!7(|4^_4Dr5i^-=tv^;P2rQ#Kcg+B!sLG2Dq3Q7#SGYco={bW5s5ec^(W@1DQW%YQRoVe3iqJjf@!>8C4h<"
        "n3xzDS)pp#p)@+5nTLT<0O&OqFi(Mj73gYaZf-FKMkXeZ2N=OJj8MqHzyb6tD-$C#BNH<VGuL@Ws4;yEgAAyyIseGb(Zhv-QG|;V"
        "D)t)c+T`eszHW{#P7I82_d_FB0LcUaEMf{!F$p9w3oPn9u!u!q(OZB;tOJYK0xV*yA2sY`7zLwX6pVsVKn+mAn4FN3^!!1}0bu26"
        "$shydrzJjp^ehp`XWql0$A+Yq7e(LW$KnE_!s$SDobC(-6^z0nLenNpNdoe@PBAozAgPr`V#@%rED+0~xkDaY6*Dj>qKPZva5n(F"
        "xlqO"
    ),
    "extensible": (
        "c-rgqaB<`1lHy|K;9!7(|4^_4Dr5i^-=tv^;P2rQ#Kcg+B!sLG2Dq3Q7#SGYco={bW5s5ec^(W@1DQW%YQRoVe3iqJjf@!>8C4h<"
        "n3xzDS)pp#(YyoWGxIPo3IM&v0_G_&umWAp%*`#vz{tb|@&F@Ph7k%G7&ycjfNB_-8JU<_SQJ=T1h~#KLXGNT7)0RoL(PM(jvg)y"
        "j3Npw0xVqU@-Rn-K^dG-z6g{SXM)i8-^}lFb@X&%V1)Y<nh*q#OcTH&rT`U_KoYaSqOOn`HD*Q%_?u+R>FVf$9I~M7fhB|@u!Lj*"
        "7O@U2VhgZ{!Cb&F48=k=_B~-31*2dTkPa#slM_;so<B%A0IWPM8DxO`w8W>6o+SeL%zGI0*pSrnqUd}4SX@9<I31{t)19H9f>BsR"
        "XxfA+NkBf=DTXEyB(>5=Y#AVy1!6fgcgTaQVg?39G;t*y?gjws+oW~"
    ),
    "btree": (
        "c-rlkze~eF6vyAY^hcVu5ZY>sR&B+>NgQ>wlp0hJq=REyiy}I7%;4l?aB(Qk{tN2r;OwH4vskp?f8eCA$sNQHGIdaVpW}FW_rCY;"
        "T@pCXvFeSiF=c4F4vH@clstb~j;}dRa@(r!2(U%YFH{%;5Fn8OGHBnbd=`w2!_V@GTSE2YICkXkfVco41Y%rjlY#9hv<#q0yN$Wg"
        "3dE^uEuEeO6k@aibR#GmfL;XBpoT(=#epVv7avjPcHsALu0Qu{O{)&+QIYgAs8BGySc;lQ?`h*27=~e(|Bj7&t!`)d(!Hm{a}~<u"
        "@3-Gx-`nJCcd(T3X|q4(4F*MXB7Z=-)H?KR%olQ(7yS<T#si!deA;Q>bD8=K_1QojbM8?LPz{XF^Cw~$hGCeoQ)_NDybI$9GeT)b"
        "Xw-GMA~mHDjgWRFBo79(R)j{`-H^2~uvRZbBLZukMQBvMs|by<t()N{|4$6VFwEcJ8$5DfK>"
    ),
}


@pytest.mark.parametrize("name", ["fixed", "extensible", "btree"])
def test_edges_without_filters(tmp_path: Path, check: Any, name: str) -> None:
    path = tmp_path / "x.h5"
    path.write_bytes(zlib.decompress(base64.b85decode(RAW_EDGES[name])))
    found = check(path)
    mask = found.arrays["x"].storage.places.filter_mask
    assert (mask != 0).tolist() == [[False, False, True], [False, False, True], [True, True, True]]
    got = read_box(found.arrays["x"], (slice(0, 5, 1), slice(0, 7, 1)))
    np.testing.assert_array_equal(got, np.arange(35).reshape(5, 7))


class _List:
    """A dataset whose chunk list is what a test says."""

    def __init__(self, entries: list[Any]) -> None:
        self.entries = entries

    def chunk_iter(self, visit: Any) -> None:
        for entry in self.entries:
            if visit(entry) is not None:
                return


class _Session:
    end = 1000

    class source:
        name = "x.h5"
        nbytes = 1000


# All that the checks need of an open file.
SESSION: Any = _Session()


def info(at: tuple[int, ...], offset: Any, nbytes: Any = 24, mask: int = 0) -> Any:
    return h5d.StoreInfo(at, mask, offset, nbytes)


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ([info((0, 0), 100), info((0, 6), 200)], "outside the dataset"),
        ([info((0, 0), 100), info((0, 2), 200)], "no multiple"),
        ([info((0, 0), 100), info((0, 0), 200)], "2 chunks announced, 2 listed, 1 places"),
        ([info((0, 0), 100)], "2 chunks announced, 1 listed"),
        ([info((0, 0), 100), info((0, 3), 123)], "overlap"),
        ([info((0, 0), 100), info((0, 3), 200, 23)], "that do not have 24 bytes"),
        ([info((0, 0), 100), info((0, 3), None)], "without an address or size"),
        ([info((0,), 100), info((0,), 200)], "coordinates that are not of 2 dimensions"),
    ],
)
def test_each_check(entries: list[Any], why: str) -> None:
    table = Collector(_Session(), (2, 2), (2, 3), (), 24)  # type: ignore[arg-type]
    with pytest.raises(Damaged, match=why):
        table.collect(_List(entries), 2, None)


@pytest.mark.parametrize("by_library", [False, True])
def test_a_shape_that_the_index_has_no_room_for(tmp_path: Path, by_library: bool) -> None:
    """libhdf5 looks up chunks beyond the end of its fixed array."""
    import hdf5plugin
    from numcodecs.checksum32 import jenkins_lookup3

    path = tmp_path / "x.h5"
    more = dict(hdf5plugin.Zfp(reversible=True)) if by_library else {}
    with h5py.File(path, "w", libver="latest") as f:
        f.create_dataset("x", data=np.zeros((12, 10)), chunks=(2, 3), **more)
        f["beside"] = 1
    raw = bytearray(path.read_bytes())
    shape = b"".join(n.to_bytes(8, "little") for n in (12, 10))
    place = raw.index(shape)
    header = raw.rindex(b"OHDR", 0, place)
    # The dimensions, and (where they are stored) the largest ones.
    raw[:] = raw.replace(shape, b"".join(n.to_bytes(8, "little") for n in (12 + (1 << 20), 10)))
    width = 1 << (raw[header + 5] & 3)
    at = header + 6 + (16 if raw[header + 5] & 0x20 else 0)
    end = at + width + int.from_bytes(raw[at : at + width], "little")
    raw[end : end + 4] = (jenkins_lookup3(bytes(raw[header:end]), 0) & 0xFFFFFFFF).to_bytes(4, "little")
    path.unlink()
    path.write_bytes(raw)
    found = read(FileSource(path))
    assert list(found.arrays) == ["beside"]
    assert "expected room for [524294, 4] chunks, got 24" in found.unsupported["x"]


CHECKSUM = FilterSpec(3, (), "fletcher32")


@pytest.mark.parametrize(
    ("filters", "entry", "least"),
    [
        ((), info((0, 3), 977), 1),
        ((), info((0, 3), 2**64 - 8), 1),
        ((), info((0, 3), 1001, 0), 1),
        ((CHECKSUM,), info((0, 3), 200, 3), 4),
        ((CHECKSUM,), info((0, 3), 200, 0, mask=1), 1),
    ],
)
def test_what_libhdf5_must_not_read_either(
    monkeypatch: pytest.MonkeyPatch, filters: tuple[FilterSpec, ...], entry: Any, least: int
) -> None:
    listed: Any = _List([info((0, 0), 100), entry])
    monkeypatch.setattr(chunk_checks, "layout_of", lambda *_: ChunkLayout(0, False))
    why = f"expected chunks of {least} bytes or more, inside the file's 1000, got {entry.size} bytes at offset"
    table = Collector(_Session(), (2, 2), (2, 3), filters, 24)  # type: ignore[arg-type]
    with pytest.raises(CorruptDataError, match=rf"reading the chunk index of x\.h5: {why} {entry.byte_offset}"):
        table.collect(listed, 2, None)
    with pytest.raises(CorruptDataError, match=why):
        chunk_checks.check_chunks(SESSION, listed, (4, 6), (2, 3), filters, 24)


def test_chunks_that_skip_their_checksum(tmp_path: Path, check: Any) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        d = f.create_dataset("x", (4,), "u1", chunks=(2,), fletcher32=True)
        d[...] = range(4)
        d.id.write_direct_chunk((2,), b"\7\x08", filter_mask=1)
    assert isinstance(check(path).arrays["x"].storage.places, TablePlaces)


def test_a_list_that_cannot_be_had_is_read_through_h5py(
    tmp_path: Path, check: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.h5"
    make(path, (5, 7), None, (2, 3), gzip=True)

    def not_here(*args: Any) -> Any:
        raise NotServed("for the test")

    monkeypatch.setattr("packstore.readers.hdf5.layouts.chunk_table", not_here)
    assert isinstance(check(path).arrays["x"].storage, ReaderStorage)


def test_a_bad_list_is_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.h5"
    make(path, (5, 7), None, (2, 3), gzip=True)

    def bad(*args: Any) -> Any:
        raise Damaged("for the test")

    monkeypatch.setattr("packstore.readers.hdf5.layouts.chunk_table", bad)
    assert "for the test. The file is damaged." in read(FileSource(path)).unsupported["x"]


def test_samples_that_differ_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list with two chunks exchanged passes every check of its own; comparing with libhdf5's reading does not."""
    path = tmp_path / "x.h5"
    make(path, (4, 6), None, (2, 3))
    with Session(FileSource(path)) as session:
        dataset = session.file["x"].id
        listed: list[Any] = []
        dataset.chunk_iter(listed.append)
        swapped = [info(a.chunk_offset, b.byte_offset) for a, b in zip(listed, reversed(listed), strict=True)]
        table = Collector(session, (2, 2), (2, 3), (), 24)
        table.collect(_List(swapped), 4, None)
        with pytest.raises(Damaged, match="libhdf5 reads other bytes"):
            chunk_index._compare(session, dataset, table, table.sample(3))
