"""``.npz``: archives against numpy and zipfile, the block index against packstore's reader."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest

import packstore
from packstore.errors import ChecksumError, CorruptDataError, OptionError
from packstore.readers.npz import blocks as member_blocks
from packstore.source.cache import MEMBERS
from packstore.testing.readers import assert_same
from packstore.writers import dask_blocks, npz, zip_file
from packstore.writers.items import Item


@pytest.fixture(autouse=True)
def _empty_cache() -> None:
    MEMBERS.clear()


def masks() -> np.ndarray:
    y, x = np.mgrid[:512, :512]
    return np.stack([(y - 200 - 5 * i) ** 2 + (x - 300) ** 2 < (50 + 9 * i) ** 2 for i in range(12)])


def smooth() -> np.ndarray:
    y, x = np.mgrid[:700, :700]
    return np.asarray(np.sin(x / 50) * np.cos(y / 70), "f4")


def counts() -> np.ndarray:
    return np.random.default_rng(0).poisson(20, (600, 600))


def labels() -> np.ndarray:
    return np.kron(np.random.default_rng(0).integers(0, 500, (24, 24)), np.ones((32, 32), int)).astype("i4")


def noise() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((500, 500))


def photo() -> np.ndarray:
    y, x = np.mgrid[:900, :900]
    values = 100 + 60 * np.sin(x / 60) * np.cos(y / 50) + np.random.default_rng(0).normal(0, 2, (900, 900))
    return np.asarray(values.astype("u1"))


KINDS = [masks, smooth, counts, labels, noise, photo]


@pytest.mark.parametrize("level", [1, 6, pytest.param(9, marks=pytest.mark.long)])
@pytest.mark.parametrize("make", KINDS)
def test_at_most_5_percent_larger_than_numpy(tmp_path: Path, make: Any, level: int) -> None:
    array = make()
    packstore.save(tmp_path / "x.npz", array, level=level)
    with zipfile.ZipFile(tmp_path / "y.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        np.save(tmp_path / "y.npy", array)
        archive.write(tmp_path / "y.npy", "arr_0.npy")
    assert os.path.getsize(tmp_path / "x.npz") <= 1.05 * os.path.getsize(tmp_path / "y.npz")
    assert_same(np.load(tmp_path / "x.npz")["arr_0"], array)


@pytest.mark.parametrize("make", KINDS)
def test_without_optional_packages(tmp_path: Path, make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from packstore.codecs import libraries
    from packstore.writers import deflate

    monkeypatch.setattr(deflate, "_zlib_ng", lambda: None)
    monkeypatch.setattr(libraries, "imagecodecs_function", lambda *_: None)
    deflate.encoders.cache_clear()
    try:
        array = make()
        packstore.save(tmp_path / "x.npz", array)
        np.savez_compressed(tmp_path / "y.npz", array)
        assert os.path.getsize(tmp_path / "x.npz") <= 1.05 * os.path.getsize(tmp_path / "y.npz")
        assert_same(np.load(tmp_path / "x.npz")["arr_0"], array)
        assert_same(packstore.from_file(tmp_path / "x.npz").compute(scheduler="synchronous"), array)
    finally:
        deflate.encoders.cache_clear()


def test_zipfile_finds_nothing_wrong(tmp_path: Path) -> None:
    arrays = {"a/b": counts(), "ü": masks(), "zero": np.array(1), "empty": np.zeros((0, 2))}
    for compressed in (True, False):
        path = tmp_path / f"{compressed}.npz"
        packstore.save(path, arrays, compressed=compressed)
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
            assert archive.namelist() == [f"{n}.npy" for n in arrays]
            assert {i.compress_type for i in archive.infolist()} == {8 if compressed else 0}
        with np.load(path) as archive:
            assert archive.files == list(arrays)


def test_the_same_arrays_make_the_same_file(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        packstore.save(tmp_path / name, {"x": counts(), "y": masks()})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_an_empty_archive(tmp_path: Path) -> None:
    for compressed in (True, False):
        packstore.save(tmp_path / "x.npz", {}, compressed=compressed, overwrite=True)
        assert np.load(tmp_path / "x.npz").files == []


def test_members_are_npy_files_in_numpys_order(tmp_path: Path) -> None:
    array = np.asfortranarray(counts())
    np.save(tmp_path / "x.npy", array)
    for compressed in (True, False):
        packstore.save(tmp_path / "x.npz", array, compressed=compressed, overwrite=True)
        with zipfile.ZipFile(tmp_path / "x.npz") as archive:
            assert archive.read("arr_0.npy") == (tmp_path / "x.npy").read_bytes()


def test_stored_members_are_aligned(tmp_path: Path) -> None:
    packstore.save(tmp_path / "x.npz", {"a": np.arange(3, dtype="i1"), "bc": np.arange(4.0)}, compressed=False)
    with zipfile.ZipFile(tmp_path / "x.npz") as archive, open(tmp_path / "x.npz", "rb") as file:
        for info in archive.infolist():
            file.seek(info.header_offset + 26)
            name, extra = struct.unpack("<2H", file.read(4))
            assert (info.header_offset + 30 + name + extra) % 64 == 0
    got = packstore.open_array(tmp_path / "x.npz", "bc").lazy
    assert got is not None
    assert got[:].tolist() == [0, 1, 2, 3]


# --- the index ------------------------------------------------------------------------------------------------------


def blocks_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    read: list[int] = []
    original = member_blocks.IndexedMember.decode_block

    def decode_block(self: Any, i: int) -> Any:
        read.append(i)
        return original(self, i)

    monkeypatch.setattr(member_blocks.IndexedMember, "decode_block", decode_block)
    return read


def test_a_crop_decodes_its_blocks_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.random.default_rng(0).poisson(5, (4096, 1024)).astype("u2")  # 8 MB in 8 blocks
    packstore.save(tmp_path / "x.npz", array)
    read = blocks_read(monkeypatch)
    crop = packstore.open_array(tmp_path / "x.npz", "arr_0")[2100:2110]
    assert np.array_equal(crop, array[2100:2110])
    assert len({i for i in read if i}) == 1
    assert np.array_equal(packstore.from_file(tmp_path / "x.npz").compute(), array)


def test_a_damaged_block_is_noticed_and_only_there(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (8 << 20,), dtype=np.uint8)
    path = tmp_path / "x.npz"
    packstore.save(path, array)
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 0x10
    path.write_bytes(raw)
    opened = packstore.open_array(path, "arr_0")
    assert np.array_equal(opened[:1000], array[:1000])
    with pytest.raises((ChecksumError, CorruptDataError), match=r"x\.npz\[arr_0\]"):
        opened[4 << 20 : (4 << 20) + 400_000]


@pytest.mark.parametrize("nbytes", [0, 1, 128, (256 << 10) - 128, (256 << 10) - 127, (1 << 20) + 5, 9 << 20])
def test_sizes_around_blocks(tmp_path: Path, nbytes: int) -> None:
    array = np.random.default_rng(0).integers(0, 9, nbytes, dtype=np.uint8)
    packstore.save(tmp_path / "x.npz", array)
    assert np.array_equal(np.load(tmp_path / "x.npz")["arr_0"], array)
    assert np.array_equal(packstore.from_file(tmp_path / "x.npz").compute(), array)


def test_blocks_grow_with_the_array() -> None:
    def blocks(nbytes: int) -> tuple[int, int]:
        entry = zip_file.Entry("x.npy", nbytes=nbytes)
        item = Item("x", None, (nbytes - 128,), np.dtype("u1"))
        member = npz._Member(entry, item, bytes(128))
        return member.block_nbytes, member.blocks

    assert blocks(100_000) == (256 << 10, 1)
    assert blocks(32 << 20) == (1 << 20, 32)
    size, count = blocks(1 << 40)
    assert count <= member_blocks.MAX_BLOCKS
    assert size * count >= 1 << 40


def test_the_index_of_the_largest_array_fits_its_field() -> None:
    count = member_blocks.MAX_BLOCKS
    index = member_blocks.BlockIndex(1, (0,) * count, (0,) * count).pack()
    entry = zip_file.Entry("x" * 1000, method=8, nbytes=1 << 45, index=index, index_nbytes=len(index))
    assert struct.unpack_from("<H", entry.local_header(), 28)[0] == len(index) + 20


# --- zip64 ----------------------------------------------------------------------------------------------------------


def test_zip64_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zip_file, "_ZIP64_NBYTES", 1000)
    arrays = {"a": counts(), "b": np.arange(3), "c": masks()}
    for compressed in (True, False):
        path = tmp_path / f"{compressed}.npz"
        packstore.save(path, arrays, compressed=compressed)
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
            assert archive.getinfo("a.npy").extract_version == 45
        for name, array in arrays.items():
            assert_same(np.load(path)[name], array)
            assert_same(packstore.from_file(path, name).compute(scheduler="synchronous"), array)


@pytest.mark.long
def test_more_members_than_16_bits_count(tmp_path: Path) -> None:
    arrays = {f"{i}": np.uint8(i % 200) for i in range(66_000)}
    packstore.save(tmp_path / "x.npz", arrays, compressed=False)
    with np.load(tmp_path / "x.npz") as archive:
        assert len(archive.files) == 66_000
        assert archive["65999"] == 65_999 % 200


def test_a_sparse_file_beyond_4_gib(tmp_path: Path) -> None:
    """Offsets of 64 bits, on a file that is mostly a hole."""
    far = 5 << 30
    entries = [zip_file.Entry("a.npy", nbytes=4, stored_nbytes=4, crc=zlib.crc32(b"abcd"), header_offset=far)]
    with open(tmp_path / "x.zip", "wb") as file:
        file.seek(far)
        file.write(entries[0].local_header() + b"abcd")
        at = file.tell()
        records = zip_file.directory(entries)
        file.write(records + zip_file.end_records(1, at, len(records)))
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        assert archive.read("a.npy") == b"abcd"


# --- dask -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunks", [(100, -1), (-1, 100), (64, 64), (600, 600)])
def test_dask_chunks_of_any_shape(tmp_path: Path, chunks: Any) -> None:
    array = counts()
    for compressed in (True, False):
        packstore.save(tmp_path / "x.npz", da.from_array(array, chunks=chunks), compressed=compressed, overwrite=True)
        assert_same(np.load(tmp_path / "x.npz")["arr_0"], array)


def test_what_rows_share_is_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def load(block: np.ndarray) -> np.ndarray:
        calls.append(1)
        return block

    array = counts()
    source = da.from_array(array, chunks=(60, 600)).map_blocks(load, dtype=array.dtype, meta=np.empty((0, 0), int))
    packstore.save(tmp_path / "a.npz", source - source.min())
    # Each block once or, where dask does not keep it, once for the minimum and once for the difference.
    assert len(calls) <= 20
    assert_same(np.load(tmp_path / "a.npz")["arr_0"], array - array.min())


def test_rows_that_do_not_fit_go_through_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = counts()
    monkeypatch.setattr(npz, "ROWS_NBYTES", 1000)
    monkeypatch.setattr(dask_blocks, "rows", None)
    packstore.save(tmp_path / "x.npz", da.from_array(array, chunks=(100, 100)))
    assert_same(np.load(tmp_path / "x.npz")["arr_0"], array)
    assert [p.name for p in tmp_path.iterdir()] == ["x.npz"]


# --- options --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0, 10, -1, True, "6", 2.5, None])
def test_levels(tmp_path: Path, level: Any) -> None:
    with pytest.raises(OptionError, match="expected level 1 to 9"):
        packstore.save(tmp_path / "x.npz", np.arange(3), level=level)


def test_a_name_too_long(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="a name of at most 65535 bytes"):
        packstore.save(tmp_path / "x.npz", {"x" * 65_535: np.arange(3)})
