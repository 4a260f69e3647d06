"""Damaged files: an error of ours or a reason for each dataset, never anything else, and no memory without bytes."""

from __future__ import annotations

import base64
import os
import random
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from packstore.errors import CorruptDataError, PackstoreError
from packstore.readers.hdf5 import read, sniff
from packstore.source import FileSource
from packstore.storage.grid import GridStorage
from packstore.storage.places import TablePlaces
from packstore.storage.read import read_box


def build(path: Path, libver: str) -> bytes:
    with h5py.File(path, "w", libver=libver) as f:
        f["a"] = np.arange(20.0)
        f.create_dataset("b", data=np.arange(60).reshape(6, 10), chunks=(2, 3), shuffle=True, compression="gzip")
        f.create_dataset("c", data=np.arange(60).reshape(6, 10), chunks=(2, 3), maxshape=(None, 20), fletcher32=True)
        f.create_dataset("d", data=np.arange(60).reshape(6, 10), chunks=(2, 3), maxshape=(10, None))
        f["g/text"] = np.array(["a", "bb"], object)
        f["g/struct"] = np.zeros(3, [("x", "i4"), ("y", "S3")])
        f["g"].attrs["note"] = "text"
        f["g"].attrs["notes"] = np.array(["one", "two"], object)
        f.create_dataset("e", (5,), h5py.vlen_dtype("i2"), chunks=(2,), compression="gzip")[1] = [1, 2, 3]
        f.create_dataset("f", (5,), h5py.string_dtype(), chunks=(2,), fillvalue="fill")[1] = "set"
        f.create_dataset("h", (2,), [("x", "i4"), ("y", h5py.string_dtype())])[1] = (1, "text")
        f["b"].dims[0].attach_scale(f["a"])
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


# Run by a child process: libhdf5 may hang, or end the process, on what it is not kept from.
CHILD = """
import base64, random, sys
from pathlib import Path
from tests.readers.hdf5.test_damage import damage, read_everything

folder, first, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
raw = (folder / "good.h5").read_bytes()
path = folder / "changed.h5"
for seed in range(first, first + count):
    (folder / "seed").write_text(str(seed))
    path.unlink(missing_ok=True)
    path.write_bytes(damage(raw, seed))
    read_everything(path)
"""
EXAMPLES, SECONDS = 250, 120


def damage(raw: bytes, seed: int) -> bytes:
    """One to four bytes changed, more often than not where there is something: most of a small file is zeros."""
    rng = random.Random(seed)
    changed = bytearray(raw)
    for _ in range(rng.randint(1, 4)):
        places = (rng.randrange(8, len(raw)) for _ in range(50 if rng.random() < 0.6 else 1))
        at = next((at for at in places if raw[at]), rng.randrange(8, len(raw)))
        changed[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, changed[at] ^ 1, changed[at] ^ 0x40])
    return bytes(changed)


@pytest.mark.long
def test_bytes_changed_anywhere(good: tuple[Path, bytes]) -> None:
    folder, _ = good
    root = Path(__file__).parents[3]
    command = [sys.executable, "-X", "faulthandler", "-c", CHILD, str(folder), "0", str(EXAMPLES)]
    # With the path from here, so that it also runs where the package is not installed.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *sys.path])}
    try:
        run = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, timeout=SECONDS)
        end, said = f"exit status {run.returncode}", run.stderr
    except subprocess.TimeoutExpired as late:
        end, said = f"no end after {SECONDS} seconds", str(late.stderr)
    if end != "exit status 0":
        seed = (folder / "seed").read_text()
        changed = base64.b64encode(zlib.compress((folder / "changed.h5").read_bytes())).decode()
        pytest.fail(f"{end} at seed {seed}:\n{said[-4000:]}\nThe file, compressed by zlib, in base64:\n{changed}")


# -- what fuzzing found, byte by byte ---------------------------------------------------------------------------------


def spoiled(path: Path, place: int, value: bytes) -> Path:
    raw = bytearray(path.read_bytes())
    raw[place : place + len(value)] = value
    path.unlink()
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("nbytes", [0, 1, 3])
@pytest.mark.parametrize("by_library", [False, True])
def test_chunks_shorter_than_their_checksum(tmp_path: Path, nbytes: int, by_library: bool) -> None:
    """libhdf5's Fletcher-32 counts four bytes back from the end of a chunk, whatever its size."""
    import hdf5plugin

    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        # There is no decoder of ours for zfp, so that dataset goes to libhdf5.
        more = dict(hdf5plugin.Zfp(reversible=True)) if by_library else {}
        f.create_dataset("x", data=np.arange(12.0).reshape(2, 6), chunks=(2, 3), fletcher32=True, **more)
        f["beside"] = 1
    with h5py.File(path) as f:
        info = f["x"].id.get_chunk_info(1)
    key = info.size.to_bytes(4, "little") + bytes(4)
    raw = path.read_bytes()
    # The key of a chunk in the B-tree: its size, its mask, its coordinates, and the number 0; then its address.
    tree = raw.index(b"TREE\1")
    place = raw.rindex(key, tree, raw.index(info.byte_offset.to_bytes(8, "little"), tree))
    found = read(FileSource(spoiled(path, place, nbytes.to_bytes(4, "little"))))
    assert list(found.arrays) == ["beside"]
    assert (
        f"expected chunks of 4 bytes or more, inside the file's {len(raw)}, got {nbytes} bytes"
        in (found.unsupported["x"])
    )


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_chunks_beyond_the_file(tmp_path: Path, compression: str | None) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        f.create_dataset("x", data=np.arange(12), chunks=(6,), compression=compression)
        f["beside"] = 1
    with h5py.File(path) as f:
        offset = f["x"].id.get_chunk_info(1).byte_offset
    raw = path.read_bytes()
    place = raw.index(offset.to_bytes(8, "little"), raw.index(b"TREE\1"))
    found = read(FileSource(spoiled(path, place, (1 << 40).to_bytes(8, "little"))))
    assert list(found.arrays) == ["beside"]
    assert f"at offset {1 << 40}" in found.unsupported["x"]


@pytest.mark.parametrize("value", [b"\x80", b"\xff", b"\x40"])
def test_heaps_without_an_end(tmp_path: Path, value: bytes) -> None:
    """A size that leads the walk from object to object into zeros, where it stays."""
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        f["x"] = np.array(["abc", "d"], object)
        struct = f.create_dataset("struct", (1,), [("s", h5py.string_dtype())])
        struct[0] = ("abc",)
        f["beside"] = 1
    place = path.read_bytes().index(b"GCOL") + 16 + 8
    found = read(FileSource(spoiled(path, place, value)))
    for name in ("x", "struct"):
        with pytest.raises(CorruptDataError, match=rf"x\.h5\[{name}\]: .*a damaged global heap"):
            read_box(found.arrays[name], (slice(0, 1, 1),))
    assert read_box(found.arrays["beside"], ()) == 1


def virtual_file(path: Path) -> tuple[int, int]:
    """A file with a virtual dataset; where the list of its mappings is, and how long."""
    with h5py.File(path, "w", libver="latest") as f:
        f["a"] = np.arange(20.0)
        layout = h5py.VirtualLayout((20,), "f8")
        layout[:10] = h5py.VirtualSource(f["a"])[:10]
        layout[10:20:3] = h5py.VirtualSource(f["a"])[10:20:3]
        f.create_virtual_dataset("v", layout)
    raw = path.read_bytes()
    block = raw.index(b"GCOL") + 32
    return block, int.from_bytes(raw[block - 8 : block], "little")


def test_every_byte_of_a_virtual_dataset(tmp_path: Path) -> None:
    """A damaged number of mappings, or rank of a selection, and libhdf5 2.0 frees what it never had."""
    path = tmp_path / "x.h5"
    block, nbytes = virtual_file(path)
    raw = path.read_bytes()
    assert sorted(read(FileSource(path)).arrays) == ["a", "v"]
    for place in range(block, block + nbytes):
        spoiled(path, place, bytes([raw[place] ^ 0x80]))
        found = read(FileSource(path))
        assert list(found.arrays) == ["a"], place
        assert "reading the mappings of the virtual dataset" in found.unsupported["v"]
        spoiled(path, place, raw[place : place + 1])


def test_a_virtual_dataset_whose_list_is_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    block, _ = virtual_file(path)
    found = read(FileSource(spoiled(path, block - 32, b"GCOX")))
    assert list(found.arrays) == ["a"]
    assert "no global heap at address" in found.unsupported["v"]
    one = read(FileSource(path), component="v")
    assert "no global heap at address" in one.unsupported["v"]


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


@pytest.mark.long
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
    storage = found.arrays["x"].storage
    assert isinstance(storage, GridStorage) and isinstance(storage.places, TablePlaces)
    assert storage.places.offsets.shape == (n,)


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
