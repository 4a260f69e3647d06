"""``.npz`` archives against ``np.load``."""

from __future__ import annotations

import io
import re
import struct
import threading
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import hypothesis.strategies as st
import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings

import packstore
from packstore.codecs import libraries
from packstore.errors import (
    ChecksumError,
    ComponentNotFoundError,
    CorruptDataError,
    FormatError,
    PackstoreError,
    TruncatedFileError,
    UnsupportedError,
)
from packstore.readers import npz
from packstore.readers.npz import blocks, inflate
from packstore.readers.npz.blocks import BlockIndex, IndexedMember, StreamedMember
from packstore.readers.npz.inflate import DecodedMember
from packstore.source import FileSource, RemoteSource, open_source
from packstore.source.cache import MEMBERS, FileLRU
from packstore.storage import ManifestArray, ManifestGroup
from packstore.storage.read import read_box
from packstore.testing.readers import ReaderTests, assert_same, example


@pytest.fixture(autouse=True)
def _empty_cache() -> Iterator[None]:
    MEMBERS.clear()
    yield
    MEMBERS.clear()


class TestStored(ReaderTests):
    format = "npz"
    component: ClassVar[str | None] = "group/x"
    suffix = ".npz"

    def write(self, path: Path, array: np.ndarray) -> None:
        arrays: dict[str, Any] = {"group/x": array, "other": np.arange(3)}
        np.savez(path, **arrays)


class TestDeflated(TestStored):
    def write(self, path: Path, array: np.ndarray) -> None:
        arrays: dict[str, Any] = {"group/x": array, "other": np.arange(3)}
        np.savez_compressed(path, **arrays)


class TestOneArray(TestStored):
    component = None  # the file has one array, so it needs no name

    def write(self, path: Path, array: np.ndarray) -> None:
        np.savez_compressed(path, array)

    def check(self, path: Path, want: np.ndarray, chunks: Any = None) -> None:
        assert_same(packstore.from_file(path, chunks=chunks or "auto").compute(scheduler="synchronous"), want)
        assert_same(packstore.from_file(path, "arr_0").compute(scheduler="synchronous"), want)

    def test_all_ways_agree(self) -> None:
        """Covered by the other two: here the store has a group at its root."""

    def test_pickles_as_a_path(self, tmp_path: Path) -> None:
        """Likewise."""


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def manifest(path: Path, component: str | None = None) -> ManifestGroup:
    return npz.read(FileSource(path), component=component, chunks=None)


def values(group: ManifestGroup, name: str) -> np.ndarray:
    array = group.arrays[name]
    return read_box(array, tuple(slice(0, n, 1) for n in array.shape))


def space_of(array: ManifestArray) -> Any:
    """Where the bytes of a member come from."""
    storage: Any = array.storage
    return storage.places.space


ARRAY = example("<f8", (50, 30))


@pytest.fixture(params=[zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def method(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def test_methods_nested_names_and_other_members(tmp_path: Path, method: int) -> None:
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w", method) as z:
        z.mkdir("deep") if hasattr(z, "mkdir") else None
        z.writestr("deep/er/x.npy", npy(ARRAY))
        z.writestr("é/长.npy", npy(ARRAY[0]))
        z.writestr("README.txt", "hello")
        z.writestr("objects.npy", b"")
        z.writestr("empty.npy", npy(np.empty((0, 3), ">i2")))
    store = packstore.open_store(path)
    reasons = dict(store.unsupported)
    assert reasons.pop("README.txt") == "not a .npy member"
    assert "at least 10 bytes, got 0" in reasons.pop("objects")
    assert reasons == {}
    with np.load(path) as loaded:
        for name in ("deep/er/x", "é/长", "empty"):
            assert_same(zarr.open_array(store, path=name, mode="r")[...], loaded[name])
            assert_same(packstore.open_array(path, name)[...], loaded[name])
    with pytest.raises(UnsupportedError, match=r"\[README\.txt\]: expected a supported array, got not a \.npy member"):
        packstore.open_array(path, "README.txt")
    with pytest.raises(ComponentNotFoundError, match=r"no array of that name\. .*'deep/er/x'"):
        packstore.open_array(path, "deep/er/X")
    with pytest.raises(ComponentNotFoundError, match="component= to name one array"):
        packstore.open_array(path)


def test_without_imagecodecs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "imagecodecs_function", lambda *args: None)
    np.savez_compressed(tmp_path / "x.npz", a=ARRAY, b=np.zeros(0))
    group = manifest(tmp_path / "x.npz")
    assert_same(values(group, "a"), ARRAY)
    assert_same(values(group, "b"), np.zeros(0))


def test_stored_members_are_mapped_in_place(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=ARRAY)
    group = manifest(tmp_path / "x.npz")
    space = space_of(group.arrays["a"])
    assert isinstance(space, FileSource)
    got = values(group, "a")
    assert_same(got, ARRAY)
    assert np.shares_memory(got, np.asarray(space.view()))


def test_empty_archive_and_empty_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz")
    assert manifest(tmp_path / "x.npz").arrays == {}
    assert list(zarr.open_group(packstore.open_store(tmp_path / "x.npz"), mode="r")) == []
    unnamed: dict[str, Any] = {"": ARRAY}
    np.savez(tmp_path / "y.npz", **unnamed)
    assert "no plain relative path" in packstore.open_store(tmp_path / "y.npz").unsupported[""]


def test_bytes_before_and_after_the_archive(tmp_path: Path, method: int) -> None:
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w", method) as z:
        z.writestr("x.npy", npy(ARRAY))
        z.comment = b"a comment with PK\x05\x06 inside"
    path.write_bytes(b"#!/bin/sh\n" + path.read_bytes())
    assert_same(values(manifest(path), "x"), ARRAY)
    assert_same(packstore.open_array(path, format="npz")[...], ARRAY)


@pytest.mark.parametrize(
    "comment", [b"", bytes(56) + b"PK\x06\x07" + bytes(16), b"PK\x06\x06" + bytes(52) + b"PK\x06\x07" + bytes(16)]
)
def test_zip64_directory(tmp_path: Path, comment: bytes) -> None:
    """Sizes, offsets and the end record in their 64-bit forms, even behind a comment that looks like such a record."""
    data = npy(ARRAY)
    local = struct.pack("<4s5H3L2H", b"PK\x03\x04", 45, 0, 0, 0, 0, zlib.crc32(data), 2**32 - 1, 2**32 - 1, 5, 20)
    local += b"x.npy" + struct.pack("<2H2Q", 1, 16, len(data), len(data)) + data
    central = struct.pack(
        "<4s4B4H3L5H2L", b"PK\x01\x02", 45, 3, 45, 0, 0, 0, 0, 0, zlib.crc32(data), *[2**32 - 1] * 2,
        5, 28, len(comment), 0, 0, 0, 2**32 - 1,
    )  # fmt: skip
    central += b"x.npy" + struct.pack("<2H3Q", 1, 24, len(data), len(data), 0) + comment
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, len(central), len(local))
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, len(local) + len(central), 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 2**16 - 1, 2**16 - 1, 2**32 - 1, 2**32 - 1, 0)
    path = tmp_path / "x.npz"
    for prefix in (b"", b"some bytes"):
        path.write_bytes(prefix + local + central + end64 + locator + end)
        with zipfile.ZipFile(path) as z:
            assert z.read("x.npy") == npy(ARRAY)
        assert_same(values(manifest(path), "x"), ARRAY)


@pytest.mark.long
def test_many_members(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as z:
        for i in range(70_000):
            z.writestr(f"{i}.npy", b"" if i else npy(ARRAY))
    group = manifest(tmp_path / "x.npz", "0")
    assert list(group.arrays) == ["0"]
    assert_same(values(group, "0"), ARRAY)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_duplicate_members_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as z:
        for name in ("twice.npy", "once.npy", "twice.npy"):
            z.writestr(name, npy(ARRAY))
    error = r"x\.npz\[twice\]: expected one member of that name, got 2"
    for call in (packstore.open_array, packstore.from_file, packstore.open):
        with pytest.raises(FormatError, match=error):
            call(path, "twice")
    store = packstore.open_store(path)
    assert list(store.unsupported) == ["twice"] and re.search(error, store.unsupported["twice"])
    for group in (packstore.open_group(path), zarr.open_group(store, mode="r")):
        assert list(group.keys()) == ["once"]
        assert_same(np.asarray(group["once"]), ARRAY)
    with pytest.raises(UnsupportedError, match=error):
        packstore.open_group(path)["twice"]
    assert_same(packstore.from_file(path, "once").compute(), ARRAY)


def test_encrypted_members_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, secret=ARRAY, plain=ARRAY)
    raw = bytearray(path.read_bytes())
    raw[6] |= 1
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(raw)
    store = packstore.open_store(path)
    assert list(store.unsupported) == ["secret"] and list(packstore.open_group(path).keys()) == ["plain"]
    assert "x.npz[secret.npy]: expected a member without encryption" in store.unsupported["secret"]
    with pytest.raises(UnsupportedError, match="encrypted"):
        packstore.from_file(path, "secret")
    assert_same(packstore.from_file(path, "plain").compute(), ARRAY)


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a\\b", "a/./b", "a//b", "a/../../b", ".."])
def test_hostile_names_are_listed(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w") as z:
        z.writestr(zipfile.ZipInfo("good.npy"), npy(ARRAY))
        info = zipfile.ZipInfo("x")
        info.filename = f"{name}.npy"
        z.writestr(info, npy(ARRAY))
    store = packstore.open_store(path)
    assert list(store.unsupported) == [name]
    assert "is no plain relative path" in store.unsupported[name]
    assert [n for n, _ in zarr.open_group(store, mode="r").members(max_depth=None)] == ["good"]


def test_nul_in_a_name(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, aZb=ARRAY)
    path.write_bytes(path.read_bytes().replace(b"aZb.npy", b"a\0b.npy"))
    assert list(packstore.open_store(path).unsupported) == ["a\0b"]


def test_array_below_an_array(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, **{"a": ARRAY, "a/b": ARRAY[0], "a/b/c": ARRAY[1]})
    store = packstore.open_store(path)
    assert store.unsupported["a/b"] == "'a' is an array, so zarr cannot have 'a/b' below it"
    assert set(store.unsupported) == {"a/b", "a/b/c"}
    assert_same(zarr.open_array(store, path="a", mode="r")[...], ARRAY)
    assert_same(packstore.from_file(path, "a/b").compute(), ARRAY[0])


def test_objects_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, o=np.array([{}], object), a=ARRAY)
    store = packstore.open_store(path)
    assert store.unsupported == {
        "o": "dtype object: its elements are pickled Python objects, and packstore never unpickles"
    }
    with pytest.raises(UnsupportedError, match=r"x\.npz\[o\]: .* never unpickles"):
        packstore.open_array(path, "o")


@pytest.mark.parametrize("method", [93, 99, 1])
def test_unknown_methods_are_listed(tmp_path: Path, method: int) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, a=ARRAY, b=ARRAY)
    raw = bytearray(path.read_bytes())
    raw[8:10] = struct.pack("<H", method)
    at = raw.index(b"PK\x01\x02") + 10
    raw[at : at + 2] = struct.pack("<H", method)
    path.write_bytes(raw)
    store = packstore.open_store(path)
    assert f"compressed by zip method {method} (" in store.unsupported["a"]
    assert_same(packstore.open_array(path, "b")[...], ARRAY)


# -- damage -----------------------------------------------------------------------------------------------------------


def damaged(path: Path, method: int, **change: int) -> Path:
    """An archive whose data, CRC or sizes are not what they should be."""
    with zipfile.ZipFile(path, "w", method) as z:
        z.writestr("a.npy", npy(ARRAY))
    raw = bytearray(path.read_bytes())
    central = raw.index(b"PK\x01\x02")
    if "flip" in change:
        at = central + change["flip"]
        raw[at] ^= 0x55
    if "size" in change:
        for at in (22, central + 24):
            raw[at : at + 4] = struct.pack("<L", change["size"])
    if "crc" in change:
        for at in (14, central + 16):
            raw[at : at + 4] = struct.pack("<L", change["crc"])
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("fast", [True, False])
def test_wrong_crc(tmp_path: Path, method: int, fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not fast:
        monkeypatch.setattr(libraries, "imagecodecs_function", lambda *args: None)
    array = packstore.open_array(damaged(tmp_path / "x.npz", method, crc=1), "a")
    with pytest.raises(ChecksumError, match=r"x\.npz\[a\]: expected CRC-32 00000001, got .*damaged"):
        array[...]


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("flip", [-3000, -300, -30])
def test_flipped_data(tmp_path: Path, method: int, flip: int, fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not fast:
        monkeypatch.setattr(libraries, "imagecodecs_function", lambda *args: None)
    path = damaged(tmp_path / "x.npz", method, flip=flip)
    with pytest.raises((CorruptDataError, FormatError), match=r"x\.npz\[a\]: expected"):
        packstore.open_array(path, "a")[...]


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("more", [-8, 8])
def test_other_size_than_declared(
    tmp_path: Path, method: int, more: int, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not fast:
        monkeypatch.setattr(libraries, "imagecodecs_function", lambda *args: None)
    path = damaged(tmp_path / "x.npz", method, size=len(npy(ARRAY)) + more)
    with pytest.raises((FormatError, CorruptDataError), match=r"x\.npz\[a\]: expected"):
        packstore.open_array(path, "a")[...]
    assert "a" in packstore.open_store(path).unsupported or more > 0


def test_header_that_claims_more_than_the_member(tmp_path: Path, method: int) -> None:
    data = npy(ARRAY).replace(b"(50, 30)", b"(59, 30)")
    with zipfile.ZipFile(tmp_path / "x.npz", "w", method) as z:
        z.writestr("a.npy", data)
        z.writestr("b.npy", npy(ARRAY))
    with pytest.raises(TruncatedFileError, match=r"x\.npz\[a\]: expected 14160 bytes, got 12000"):
        packstore.open_array(tmp_path / "x.npz", "a")
    store = packstore.open_store(tmp_path / "x.npz")
    assert "expected 14160 bytes, got 12000" in store.unsupported["a"]
    assert_same(zarr.open_array(store, path="b", mode="r")[...], ARRAY)


def test_a_bomb_is_inflated_no_further_than_declared(tmp_path: Path) -> None:
    """A member that declares 12 KB and holds 64 MB."""
    data = npy(ARRAY)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    stored = deflate.compress(data + bytes(64 << 20)) + deflate.flush()
    path = raw_member(tmp_path / "x.npz", stored, len(data), zlib.crc32(data))
    for _ in range(2):
        with pytest.raises(CorruptDataError, match=r"\[a\]: expected"):
            packstore.open_array(path, "a")[...]


def raw_member(path: Path, stored: bytes, nbytes: int, crc: int, extra: bytes = b"") -> Path:
    """An archive with one member "a.npy" of already deflated bytes."""
    sizes = (crc, len(stored), nbytes, 5)
    local = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 8, 0, 0, *sizes, len(extra)) + b"a.npy" + extra
    central = struct.pack("<4s4B4H3L5H2L", b"PK\x01\x02", 20, 3, 20, 0, 0, 8, 0, 0, *sizes, 0, 0, 0, 0, 0, 0) + b"a.npy"
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(central), len(local) + len(stored), 0)
    path.write_bytes(local + stored + central + end)
    return path


@pytest.mark.parametrize("keep", [10, 100, -1, -60])
def test_cut_archives(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, a=ARRAY, b=ARRAY)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(
        TruncatedFileError, match=r"reading the zip directory of .*x\.npz: expected an end of directory"
    ):
        packstore.open_store(path)


def test_local_header_of_another_member(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, a=ARRAY, b=ARRAY)
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"a.npy", b"c.npy", 1))
    with pytest.raises(FormatError, match=r"\[a\.npy\]: expected the name 'a\.npy' and method 0, got 'c\.npy' and 0"):
        packstore.open_array(path, "a")
    assert_same(packstore.open_array(path, "b")[...], ARRAY)


@pytest.mark.parametrize(("at", "what"), [(18, "stored"), (22, "decoded")])
def test_local_header_with_other_sizes(tmp_path: Path, at: int, what: str) -> None:
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("a.npy", npy(ARRAY))
        z.writestr("b.npy", npy(ARRAY))
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)
    with pytest.raises(
        FormatError, match=rf"local zip header of .*\[a\.npy\]: expected the directory's sizes, .* {what}"
    ):
        packstore.open_array(path, "a")
    assert_same(packstore.open_array(path, "b")[...], ARRAY)


def test_local_header_before_its_sizes_are_known(tmp_path: Path) -> None:
    """Who writes to a pipe gives the sizes after the member."""

    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def tell(self) -> int:
            raise OSError

    pipe = Pipe()
    np.savez_compressed(pipe, a=ARRAY)
    (tmp_path / "x.npz").write_bytes(pipe.getvalue())
    assert_same(packstore.open_array(tmp_path / "x.npz", "a")[...], ARRAY)


def test_members_that_overlap(tmp_path: Path) -> None:
    """One member claims the bytes of the next, its header included."""
    path = tmp_path / "x.npz"
    np.savez(path, a=ARRAY, b=ARRAY)
    raw = bytearray(path.read_bytes())
    more = struct.pack("<L", len(npy(ARRAY)) + 100)
    for at in (18, 22, raw.index(b"PK\x01\x02") + 20, raw.index(b"PK\x01\x02") + 24):
        raw[at : at + 4] = more
    path.write_bytes(raw)
    with pytest.raises(FormatError, match=r"\[a\.npy\]: expected a member of at most \d+ bytes before what follows it"):
        packstore.open_array(path, "a")
    assert_same(packstore.open_array(path, "b")[...], ARRAY)


@pytest.mark.parametrize("at", [4, 6, 8, 10, 12, 16])
def test_end_record_that_does_not_fit(tmp_path: Path, at: int) -> None:
    """Volumes, members, length and offset of the directory."""
    path = tmp_path / "x.npz"
    np.savez(path, a=ARRAY)
    raw = bytearray(path.read_bytes())
    raw[at - 22] += 1
    path.write_bytes(raw)
    if at == 8:  # members on this volume, which nobody reads
        assert_same(packstore.open_array(path, "a")[...], ARRAY)
        return
    with pytest.raises(FormatError, match=r"reading the zip directory of .*x\.npz: expected"):
        packstore.open_array(path, "a")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_requests_of_a_remote_archive(save: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of the file with the directory, the member's local header, and the array's header."""
    import fsspec

    buffer = io.BytesIO()
    save(buffer, **{str(i): ARRAY for i in range(100)})
    fsspec.filesystem("memory").pipe("/requests.npz", buffer.getvalue())
    requests: list[int] = []
    original = RemoteSource.pread
    monkeypatch.setattr(RemoteSource, "pread", lambda self, at, n: (requests.append(n), original(self, at, n))[1])
    group = npz.read(open_source("memory://requests.npz"), component="7", chunks=None)
    assert list(group.arrays) == ["7"]
    assert len(requests) == 3


@given(st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_damage_is_an_error_of_ours_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    array = np.arange(60.0).reshape(6, 10)
    path = tmp_path_factory.mktemp("damage") / "x.npz"
    compress = data.draw(st.booleans())
    (np.savez_compressed if compress else np.savez)(path, a=array, b=array)
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.sampled_from([0, 1, 255]) | st.integers(0, 255))
    path.write_bytes(raw[: data.draw(st.sampled_from([len(raw), len(raw) - 1, len(raw) // 2]))])
    MEMBERS.clear()
    try:
        group = manifest(path)
        for name in group.arrays:
            got = values(group, name)
            # A stored member has no checksum that a mapped read could check, and its header is as open to damage.
            if compress and got.dtype == array.dtype and got.shape == array.shape:
                assert_same(got, array)
    except PackstoreError:
        return


# -- the cache, blocks and large members ------------------------------------------------------------------------------


def test_members_decode_once_and_in_parallel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "x.npz", a=ARRAY, b=ARRAY)
    barrier = threading.Barrier(2, timeout=10)
    calls = []
    original = DecodedMember._decode

    def decode(self: DecodedMember) -> Any:
        calls.append(self.component)
        barrier.wait()  # breaks unless both members are being decoded at once
        return original(self)

    monkeypatch.setattr(DecodedMember, "_decode", decode)
    group = manifest(tmp_path / "x.npz")
    results = []
    threads = [threading.Thread(target=lambda n=n: results.append(values(group, n))) for n in "aabb"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(calls) == ["a", "b"] and len(results) == 4
    for got in results:
        assert_same(got, ARRAY)


def test_opening_inflates_no_member(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "x.npz", a=np.arange(100_000))
    monkeypatch.setattr(DecodedMember, "_decode", lambda self: pytest.fail("inflated"))
    assert packstore.open_array(tmp_path / "x.npz", "a").shape == (100_000,)


def blocked(path: Path, array: np.ndarray, block_nbytes: int, **change: Any) -> bytes:
    """Write `array` as one member of independent deflate blocks, and return its bytes before compression."""
    data = npy(array)
    pieces = [data[i : i + block_nbytes] for i in range(0, len(data), block_nbytes)]
    stored = []
    for i, piece in enumerate(pieces):
        deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
        last = i == len(pieces) - 1
        stored.append(deflate.compress(piece) + deflate.flush(zlib.Z_FINISH if last else zlib.Z_FULL_FLUSH))
    crcs = [zlib.crc32(piece) for piece in pieces]
    index = BlockIndex(block_nbytes, tuple(len(s) for s in stored), tuple(crcs))
    extra = index.pack()
    if "break_crc" in change:
        stored[change["break_crc"]] = stored[0]
        extra = BlockIndex(block_nbytes, tuple(len(s) for s in stored), tuple(crcs)).pack()
    raw_member(path, b"".join(stored), len(data), zlib.crc32(data), extra)
    return data


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("block_nbytes", [100, 1000, 5000, 12128, 50_000])
def test_block_index(tmp_path: Path, block_nbytes: int, fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not fast:
        monkeypatch.setattr(libraries, "imagecodecs_function", lambda *args: None)
    path = tmp_path / "x.npz"
    blocked(path, ARRAY, block_nbytes)
    assert_same(np.load(path)["a"], ARRAY)
    group = manifest(path)
    assert isinstance(space_of(group.arrays["a"]), IndexedMember)
    assert_same(values(group, "a"), ARRAY)
    for key in np.s_[3:7, 2:9], np.s_[::7, ::3], np.s_[49, 29], np.s_[10:10]:
        assert_same(packstore.open_array(path, "a")[key], ARRAY[key])


def test_a_crop_decodes_only_its_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.npz"
    blocked(path, ARRAY, 1000)
    array = packstore.open_array(path, "a")
    decoded: list[int] = []
    original = IndexedMember.decode_block
    monkeypatch.setattr(IndexedMember, "decode_block", lambda self, i: (decoded.append(i), original(self, i))[1])
    MEMBERS.clear()
    assert_same(array[20], ARRAY[20])  # bytes 4928 to 5168
    assert decoded == [4, 5]


def test_block_with_a_wrong_crc(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    blocked(path, ARRAY, 1000, break_crc=7)
    array = packstore.open_array(path, "a")
    assert_same(array[:20], ARRAY[:20])
    with pytest.raises(ChecksumError, match=r"x\.npz\[a\]: expected CRC-32"):
        array[...]


def test_an_index_that_does_not_fit_is_not_used(tmp_path: Path) -> None:
    """Another tool may pack the member again and keep the extra field."""
    data = npy(ARRAY)
    deflate = zlib.compressobj(1, zlib.DEFLATED, -15)
    stored = deflate.compress(data) + deflate.flush()
    extra = BlockIndex(1000, (5,) * 13, (0,) * 13).pack()
    path = raw_member(tmp_path / "x.npz", stored, len(data), zlib.crc32(data), extra)
    group = manifest(path)
    assert type(space_of(group.arrays["a"])) is DecodedMember
    assert_same(values(group, "a"), ARRAY)


@pytest.fixture
def streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat any deflated member as too large to decode whole."""
    monkeypatch.setattr(blocks, "member_nbytes", lambda: 100)
    monkeypatch.setattr(blocks, "SPAN_NBYTES", 999)
    monkeypatch.setattr(blocks, "FEED_NBYTES", 500)


@pytest.mark.usefixtures("streamed")
@pytest.mark.parametrize("cached", [True, False])
def test_large_members(tmp_path: Path, cached: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not cached:
        monkeypatch.setattr(blocks, "MEMBERS", FileLRU(0))
    array = np.repeat(ARRAY, 5, 0)
    np.savez_compressed(tmp_path / "x.npz", a=array)
    group = manifest(tmp_path / "x.npz")
    assert isinstance(space_of(group.arrays["a"]), StreamedMember)
    lazy = packstore.open_array(tmp_path / "x.npz", "a")
    failures = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(20):
            lo, hi = sorted(rng.integers(0, 251, 2))
            if lazy[lo:hi, 3:20:2].tobytes() != array[lo:hi, 3:20:2].tobytes():
                failures.append((lo, hi))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert_same(lazy[...], array)


@pytest.mark.usefixtures("streamed")
@pytest.mark.parametrize(
    "change", [{"crc": 1}, {"size": len(npy(ARRAY)) + 3000}, {"size": len(npy(ARRAY)) + 1}, {"flip": -200}]
)
def test_large_members_that_are_damaged(tmp_path: Path, change: dict[str, int]) -> None:
    path = damaged(tmp_path / "x.npz", zipfile.ZIP_DEFLATED, **change)
    array = manifest(path).arrays["a"]
    space = space_of(array)
    for _ in range(2):
        with pytest.raises(CorruptDataError, match=r"x\.npz\[a\]: expected"):
            space.pread(0, space.nbytes)


@pytest.mark.usefixtures("streamed")
def test_large_member_that_holds_more(tmp_path: Path) -> None:
    data = npy(ARRAY)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    stored = deflate.compress(data + bytes(100)) + deflate.flush()
    path = raw_member(tmp_path / "x.npz", stored, len(data), zlib.crc32(data))
    with pytest.raises(CorruptDataError, match=r"expected 12128 bytes, got more"):
        packstore.open_array(path, "a")[...]


def test_prefix_needs_few_stored_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    np.savez_compressed(tmp_path / "x.npz", a=rng.integers(0, 255, 1_000_000).astype(np.uint8))
    read: list[int] = []
    original = FileSource.pread
    monkeypatch.setattr(FileSource, "pread", lambda self, at, n: (read.append(n), original(self, at, n))[1])
    manifest(tmp_path / "x.npz")
    # The end of the archive, where its directory is, and what the header of the array takes.
    assert sum(read) < (1 << 16) + 3 * inflate.FEED_NBYTES
