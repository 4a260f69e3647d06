"""The CRC-32 of stored npz members: checked once by reads of all of a member, and by `verify`; not by crops."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

import packstore
from packstore.codecs import checksums, libraries
from packstore.errors import ChecksumError, StaleFileError
from packstore.readers.npz import stored
from packstore.views.lazy import LazyArray, open_lazy

# Three blocks of sums, the last of them short.
LARGE = np.random.default_rng(0).integers(0, 256, (1025, 8192), "u1")
ARRAYS: dict[str, Any] = {
    "large": LARGE,
    "fortran": np.asfortranarray(LARGE[:, :300]),
    "small": np.arange(12, dtype=">i4").reshape(3, 4),
    "one": np.float32(3.5),
    "struct": np.array([(1, 2.5)], "i2,f8"),
    "text": np.array(["a", "bcd"]),
    "empty": np.empty((0, 3)),
}
WRONG = r"reading .*x\.npz\[{}\]: expected CRC-32 [0-9a-f]{{8}}, got [0-9a-f]{{8}}\. The archive is damaged"


def flip(path: Path, name: str, back: int = 1) -> None:
    """Damage one of the last bytes of a member, and keep the file's size and time."""
    with zipfile.ZipFile(path) as z:
        entries = sorted(z.infolist(), key=lambda e: e.header_offset)
        offsets = [e.header_offset for e in entries] + [z.start_dir]
    i = [e.filename for e in entries].index(f"{name}.npy")
    before = os.stat(path)
    with open(path, "r+b") as f:
        f.seek(offsets[i + 1] - back)
        byte = f.read(1)
        f.seek(offsets[i + 1] - back)
        f.write(bytes([byte[0] ^ 0x20]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture(params=["imagecodecs", "zlib"])
def path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if request.param == "zlib":
        monkeypatch.setattr(libraries, "imagecodecs_function", lambda *args: None)
    np.savez(tmp_path / "x.npz", **ARRAYS)
    return tmp_path / "x.npz"


@pytest.fixture
def sums(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes of each block that was summed up."""
    found: list[int] = []
    original = checksums.crc32

    def noted(data: Any) -> int:
        found.append(data.size)
        return original(data)

    monkeypatch.setattr(stored, "crc32", noted)
    return found


@pytest.mark.parametrize("name", ARRAYS)
def test_sound_members_read_right_and_are_summed_once(path: Path, name: str, sums: list[int]) -> None:
    want = ARRAYS[name]
    for _ in range(2):
        np.testing.assert_array_equal(packstore.from_file(path, name).compute(), want)
        np.testing.assert_array_equal(np.asarray(open_lazy(path, name)), want)
    open_lazy(path, name).verify()
    with zipfile.ZipFile(path) as z:
        assert sum(sums) == z.getinfo(f"{name}.npy").file_size


@pytest.mark.parametrize("name", [n for n in ARRAYS if n != "empty"])
def test_every_read_of_all_of_a_damaged_member_raises(path: Path, name: str) -> None:
    flip(path, name)
    lazy = open_lazy(path, name)
    reads: list[Any] = [
        lambda: lazy[...],
        lambda: np.asarray(lazy),
        lambda: lazy.verify(),
        lambda: packstore.from_file(path, name, chunks=-1).compute(),
    ]
    if lazy.ndim:
        reads.append(lambda: lazy[::-1])
        reads.append(lambda: packstore.from_files([path], name, chunks=-1).compute())
    if not lazy.dtype.names:
        reads.append(lambda: packstore.open_array(path, name)[...])
        reads.append(lambda: packstore.open_array(path.parent, f"x.npz/{name}")[...])
    for read in reads:
        with pytest.raises(ChecksumError, match=WRONG.format(name)):
            read()
    # Its siblings are sound.
    for other, want in ARRAYS.items():
        if other != name:
            np.testing.assert_array_equal(open_lazy(path, other)[...], want)


def test_a_crop_is_not_summed(path: Path, sums: list[int]) -> None:
    flip(path, "large")
    array = packstore.open_array(path, "large")
    np.testing.assert_array_equal(array[:1000, 5:], LARGE[:1000, 5:])
    np.testing.assert_array_equal(array[3], LARGE[3])
    blocks = packstore.from_file(path, "large", chunks=(100, -1))
    np.testing.assert_array_equal(blocks[:900].compute(), LARGE[:900])
    assert sums == []
    with pytest.raises(ChecksumError, match=WRONG.format("large")):
        array[...]


def test_the_header_is_summed_too(path: Path) -> None:
    """Another type than was saved, of the same size."""
    data = path.read_bytes()
    assert data.count(b"'>i4'") == 1
    path.write_bytes(data.replace(b"'>i4'", b"'>u4'"))
    array = open_lazy(path, "small")
    with pytest.raises(ChecksumError, match=WRONG.format("small")):
        array[...]


def test_bytes_behind_the_elements_are_summed_too(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, a=np.arange(10))
    with zipfile.ZipFile(path) as z:
        data = z.read("a.npy") + b"more"
    with zipfile.ZipFile(path, "w") as z:
        z.writestr("a.npy", data)
    assert open_lazy(path, "a")[...].tolist() == list(range(10))
    flip(path, "a")
    # Another size or time would be another file; here the same manifest is at hand.
    from packstore.readers import location

    location._manifests.clear()
    with pytest.raises(ChecksumError, match=WRONG.format("a")):
        open_lazy(path, "a")[...]


@pytest.mark.parametrize("name", ["large", "fortran", "small"])
def test_remote_members_are_read_once(path: Path, name: str, sums: list[int]) -> None:
    def put() -> str:
        with fsspec.open("memory://packstore-sums/x.npz", "wb") as f:
            f.write(path.read_bytes())
        return "memory://packstore-sums/x.npz"

    array = open_lazy(put(), name)
    np.testing.assert_array_equal(array[1:], ARRAYS[name][1:])
    assert sums == []
    np.testing.assert_array_equal(array[...], ARRAYS[name])
    assert sum(sums) > ARRAYS[name].nbytes
    count = len(sums)
    np.testing.assert_array_equal(array[...], ARRAYS[name])
    array.verify()
    assert len(sums) == count
    fresh = open_lazy(put(), name)
    fresh.verify()
    flip(path, name)
    bad = open_lazy(put(), name)
    for read in (lambda: bad[...], bad.verify):
        with pytest.raises(ChecksumError, match=WRONG.format(name)):
            read()


def test_a_file_that_changed_is_stale_before_it_is_wrong(path: Path) -> None:
    array = open_lazy(path, "small")
    np.savez(path, **ARRAYS, more=1)
    with pytest.raises(StaleFileError):
        array.verify()
    with pytest.raises(StaleFileError):
        array[...]


def test_formats_without_such_a_sum_have_nothing_to_verify(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", LARGE)
    array: LazyArray = open_lazy(tmp_path / "x.npy")
    assert not array.array.storage.has_sum
    array.verify()
