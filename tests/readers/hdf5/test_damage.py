"""Damaged files: an error of ours or a reason for each dataset, never anything else, and no memory without bytes."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packstore.chunkio import read_box
from packstore.errors import PackstoreError
from packstore.readers.hdf5 import read, sniff
from packstore.source import FileSource


def build(path: Path, libver: str) -> bytes:
    with h5py.File(path, "w", libver=libver) as f:
        f["a"] = np.arange(20.0)
        f.create_dataset("b", data=np.arange(60).reshape(6, 10), chunks=(2, 3), shuffle=True, compression="gzip")
        f.create_dataset("c", data=np.arange(60).reshape(6, 10), chunks=(2, 3), maxshape=(None, 20), fletcher32=True)
        f.create_dataset("d", data=np.arange(60).reshape(6, 10), chunks=(2, 3), maxshape=(10, None))
        f["g/text"] = np.array(["a", "bb"], object)
        f["g/struct"] = np.zeros(3, [("x", "i4"), ("y", "S3")])
        f["g"].attrs["note"] = "text"
        layout = h5py.VirtualLayout((20,), "f8")
        layout[...] = h5py.VirtualSource(f["a"])
        if libver == "latest":
            f.create_virtual_dataset("v", layout)
    return path.read_bytes()


def read_everything(path: Path) -> None:
    try:
        found = read(FileSource(path))
    except PackstoreError:
        return
    for array in found.arrays.values():
        if array.nbytes > 1 << 20:
            continue
        try:
            read_box(array, tuple(slice(0, n, 1) for n in array.shape))
        except PackstoreError:
            continue


@pytest.fixture(scope="module", params=["earliest", "latest"])
def good(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    folder = tmp_path_factory.mktemp("damage")
    return folder, build(folder / "good.h5", request.param)


def test_cut_short_anywhere(good: tuple[Path, bytes]) -> None:
    folder, raw = good
    for n in range(0, len(raw), 97):
        path = folder / "cut.h5"
        path.unlink(missing_ok=True)
        path.write_bytes(raw[:n])
        read_everything(path)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_bytes_changed_anywhere(good: tuple[Path, bytes], data: st.DataObject) -> None:
    folder, raw = good
    damaged = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(8, len(raw) - 1))
        damaged[at] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF, damaged[at] ^ 1, damaged[at] ^ 0x40]))
    path = folder / "changed.h5"
    path.unlink(missing_ok=True)
    path.write_bytes(damaged)
    read_everything(path)


def test_declared_shapes_take_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        f.create_dataset("a", (1 << 50,), "f8")
        f.create_dataset("b", (1 << 50,), "f8", chunks=(1024,))
        f.create_dataset("c", (1 << 30, 1 << 20), "u1", chunks=(1, 1), maxshape=(None, None))[5, 5] = 1
    read(FileSource(path))
    tracemalloc.start()
    read(FileSource(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20


def test_a_million_chunks_fit_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    n = 200_000
    with h5py.File(path, "w", libver="latest") as f:
        f.create_dataset("x", data=np.zeros(n, "u1"), chunks=(1,))
    read(FileSource(path))
    tracemalloc.start()
    found = read(FileSource(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # 64 MB for a million.
    assert peak < 64e6 * n / 1e6 + 8e6
    assert found.arrays["x"].storage.offsets.shape == (n,)


@pytest.mark.parametrize("userblock", [0, 512, 1024, 2048, 4096, 65536])
def test_the_signature_behind_any_user_block(tmp_path: Path, userblock: int) -> None:
    path = tmp_path / "x.bin"
    with h5py.File(path, "w", userblock_size=userblock):
        pass
    source = FileSource(path)
    assert sniff(source, source.pread(0, min(source.nbytes, 4096)))


@pytest.mark.parametrize("raw", [b"", b"\x89HDF", b"PK\x03\x04" * 300, bytes(700) + b"\x89HDF\r\n\x1a\n"])
def test_what_is_no_hdf5(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "x.h5"
    path.write_bytes(raw)
    assert not sniff(FileSource(path), raw[:4096])
