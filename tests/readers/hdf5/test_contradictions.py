"""Files that contradict themselves and whose checksums are right: what libhdf5 takes for sound, hangs on or dies of."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numcodecs.checksum32 import jenkins_lookup3

import packstore
from packstore.errors import CorruptDataError, PackstoreError
from packstore.readers.hdf5 import read
from packstore.source import FileSource
from packstore.views.lazy import open_lazy

DATA = np.arange(60, dtype="<i4").reshape(6, 10)


def summed(raw: bytearray, signature: bytes, at: int, value: bytes, nth: int = 0) -> None:
    """Write `value` into the piece of metadata with that signature, and set its checksum right."""
    start = -1
    for _ in range(nth + 1):
        start = raw.index(signature, start + 1)
    end = next(n for n in range(start + 8, len(raw) - 3) if bytes(raw[n : n + 4]) == _checksum(bytes(raw[start:n])))
    raw[start + at : start + at + len(value)] = value
    raw[end : end + 4] = _checksum(bytes(raw[start:end]))


def _checksum(data: bytes) -> bytes:
    return int(jenkins_lookup3(data, 0) & 0xFFFFFFFF).to_bytes(4, "little")


def make(path: Path, **options: Any) -> bytearray:
    with h5py.File(path, "w", **options) as file:
        file.create_dataset("x", data=DATA, chunks=(2, 4), maxshape=(None, None))
    return bytearray(path.read_bytes())


def reasons(path: Path, raw: bytes | bytearray) -> str:
    """Why the dataset, or the file, is not served."""
    path.write_bytes(raw)
    try:
        return read(FileSource(path)).unsupported["x"]
    except PackstoreError as error:
        return str(error)


@pytest.mark.parametrize(
    ("at", "value", "text"),
    [
        # Key 1 of the root: its first coordinate, its second, and the place inside an element.
        (24 + 40 + 8, struct.pack("<Q", 4), "keys are out of order"),
        (24 + 40 + 16, struct.pack("<Q", 0), "keys are out of order"),
        (24 + 40 + 24, struct.pack("<Q", 1), "starts inside an element"),
        (4, b"\0", "a node that is none"),
        (5, b"\1", "below one of level 1|a node that is none"),
        (6, b"\xff", "too many entries"),
    ],
)
def test_trees_of_version_1(tmp_path: Path, at: int, value: bytes, text: str) -> None:
    """libhdf5 lists these chunks, and reads them as if they had never been written."""
    path = tmp_path / "x.h5"
    raw = make(path)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(open_lazy(path, "x")[...], file["x"][()])
    start = next(i for i in range(len(raw)) if raw[i : i + 5] == b"TREE\1")
    raw[start + at : start + at + len(value)] = value
    found = reasons(path, raw)
    # What libhdf5 finds by itself when it counts chunks is as good.
    assert any(part in found for part in (*text.split("|"), "Can't get number of chunks"))


def record(n: int, scaled: tuple[int, int], address: int = 4096) -> tuple[int, bytes]:
    return 6 + 24 * n, struct.pack("<3Q", address, *scaled)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (record(1, (9, 0)), "records are out of order"),
        (record(0, (1, 1)), "records are out of order"),
        # Multiplied by the chunk's length, it wraps around to a chunk that there is.
        (record(8, (2, 2 + 2**62)), "coordinates that no dataset has"),
    ],
)
def test_trees_of_version_2(tmp_path: Path, place: tuple[int, bytes], text: str) -> None:
    path = tmp_path / "x.h5"
    raw = make(path, libver="latest")
    np.testing.assert_array_equal(open_lazy(path, "x")[...], DATA)
    summed(raw, b"BTLF", *place)
    assert text in reasons(path, raw)


@pytest.mark.parametrize(
    ("signature", "at", "value", "text"),
    [
        (b"BTHD", 6, struct.pack("<I", 1 << 30), "nodes of 1073741824 bytes"),
        (b"BTHD", 10, struct.pack("<H", 0), "records of 0 bytes"),
        (b"BTHD", 12, struct.pack("<H", 40), "of 41 levels"),
        (b"BTHD", 14, b"\0", "split at 0"),
        (b"BTHD", 26, struct.pack("<Q", 1 << 60), "1152921504606846976 records"),
        (b"BTHD", 24, struct.pack("<H", 5000), "5000 records"),
    ],
)
def test_headers_of_trees(tmp_path: Path, signature: bytes, at: int, value: bytes, text: str) -> None:
    path = tmp_path / "x.h5"
    raw = make(path, libver="latest")
    summed(raw, signature, at, value)
    assert text in reasons(path, raw)


def many_links(path: Path) -> bytearray:
    with h5py.File(path, "w", libver="latest") as file:
        for i in range(40):
            file[f"name{i}"] = i
    return bytearray(path.read_bytes())


@pytest.mark.parametrize(
    ("at", "value", "text"),
    [
        (110, struct.pack("<H", 0), "a heap of 0 columns"),
        (110, struct.pack("<H", 3), "a heap of 3 columns"),
        (112, struct.pack("<Q", 0), "blocks of 0 to"),
        (120, struct.pack("<Q", 1 << 40), "a heap of 4 columns"),
        (128, struct.pack("<H", 200), "a heap of 200 bits"),
        (5, struct.pack("<H", 0), "named by 0 bytes"),
    ],
)
def test_headers_of_heaps(tmp_path: Path, at: int, value: bytes, text: str) -> None:
    path = tmp_path / "x.h5"
    raw = many_links(path)
    summed(raw, b"FRHP", at, value)
    path.write_bytes(raw)
    found = read(FileSource(path))
    assert "expected one that makes sense" in found.unsupported["*"] and text in found.unsupported["*"]


def test_headers_of_arrays(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file.create_dataset("x", data=DATA, chunks=(2, 4), maxshape=(None, 10))
    raw = bytearray(path.read_bytes())
    # The largest index: libhdf5 would go through all of them.
    summed(raw, b"EAHD", 12 + 8 * 4, struct.pack("<Q", 1 << 40))
    assert "the largest index 1099511627776, of 32 bits" in reasons(path, raw)


def test_text_that_looks_like_a_header_is_none(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["x"] = DATA
        file["x"].attrs["note"] = "BTHD" + "\xff" * 60 + "FRHP" * 40 + "EAHD"
        file["BTHD FRHP"] = np.frombuffer(b"FRHPBTHDEAHD" * 99, np.uint8)
    assert packstore.open_array(path, "x").attrs["note"] == "BTHD" + "\xff" * 60 + "FRHP" * 40 + "EAHD"
    assert packstore.open_array(path, "BTHD FRHP")[:4].tobytes() == b"FRHP"


def shared_attributes(path: Path) -> bytearray:
    with h5py.File(path, "w", libver="latest") as file:
        file["x"] = DATA
        for i in range(12):
            file["x"].attrs[f"many{i}"] = i
    return bytearray(path.read_bytes())


def test_attributes_in_a_table_that_there_is_not(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    raw = shared_attributes(path)
    summed(raw, b"BTLF", 6 + 8, b"\2")
    path.write_bytes(raw)
    found = read(FileSource(path))
    assert "a table of shared messages, which the file does not have" in str(found.unsupported)


def live_reference(kind: Any, value: Any) -> Callable[[Path], tuple[bytearray, int]]:
    def write(path: Path) -> tuple[bytearray, int]:
        with h5py.File(path, "w") as file:
            file.create_dataset("x", (2,), kind)[0] = value
            at = file["x"].id.get_offset()
        return bytearray(path.read_bytes()), at

    return write


@pytest.mark.parametrize(
    "write", [live_reference(h5py.string_dtype(), "abc"), live_reference(h5py.vlen_dtype("i2"), [1, 2, 3])]
)
@pytest.mark.parametrize("length", [0, 2, 4])
def test_a_length_that_is_not_the_objects(tmp_path: Path, write: Any, length: int) -> None:
    """libhdf5 compares both; a length of 0 is no word for nothing where the address leads to an object."""
    path = tmp_path / "x.h5"
    raw, at = write(path)
    raw[at : at + 4] = struct.pack("<I", length)
    path.write_bytes(raw)
    with h5py.File(path) as file, pytest.raises(OSError, match="size does not match"):
        file["x"][0]
    with pytest.raises(CorruptDataError, match=r"reading element \(0,\) of.*bytes for"):
        open_lazy(path, "x")[...]
    # An address of 0 is such a word.
    raw[at + 4 : at + 12] = bytes(8)
    path.write_bytes(raw)
    assert len(open_lazy(path, "x")[0]) == 0


def test_no_byte_behind_the_end_of_the_file(tmp_path: Path) -> None:
    """Chunks beyond the end that the superblock tells, in a longer file."""
    path = tmp_path / "x.h5"
    raw = make(path)
    struct.pack_into("<Q", raw, 40, len(raw) - 16)
    assert "chunks of 1 bytes or more, inside the file's" in reasons(path, bytes(raw))


@pytest.mark.parametrize("level", [10, 4096])
def test_a_level_that_deflate_does_not_have(tmp_path: Path, level: int) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=DATA, chunks=(2, 10), compression="gzip", compression_opts=7)
    raw = bytearray(path.read_bytes())
    at = raw.index(b"deflate\0") + 8
    assert raw[at : at + 4] == struct.pack("<I", 7)
    raw[at : at + 4] = struct.pack("<I", level)
    path.write_bytes(raw)
    with h5py.File(path) as file, pytest.raises(OSError, match="filter returned failure"):
        file["x"][()]
    with pytest.raises(CorruptDataError, match="one level of at most 9"):
        open_lazy(path, "x")[...]
