"""Reading through h5py: values, threads, forks, and living beside the caller's own h5py files."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from packstore.errors import CorruptDataError, FormatError, StaleFileError, UnsupportedError
from packstore.readers.hdf5 import fallback, read
from packstore.source import FileSource, open_source
from packstore.storage import ManifestArray, ReaderStorage
from packstore.storage.read import read_box


def text_file(path: Path, n: int = 50) -> Path:
    """A file with a dataset that only h5py reads: structs with text of any length."""
    with h5py.File(path, "w") as f:
        text = np.array([(f"{path.stem}-{i}",) for i in range(n)], [("text", object)])
        f.create_dataset("text", data=text, dtype=[("text", h5py.string_dtype())])
        f.create_dataset("numbers", data=np.arange(n), chunks=(7,), compression="gzip")
    return path


def read_text(array: ManifestArray, start: int, stop: int) -> list[bytes]:
    assert isinstance(array.storage, ReaderStorage)
    assert isinstance(array.storage.reader, fallback.H5Fallback)
    return list(read_box(array, (slice(start, stop, 1),))["text"].tolist())


def test_a_filter_that_only_a_plugin_decodes(tmp_path: Path, check: Any) -> None:
    import hdf5plugin

    path = tmp_path / "x.h5"
    data = np.linspace(0, 1, 64, dtype="f4").reshape(8, 8)
    with h5py.File(path, "w") as f:
        f.create_dataset("zfp", data=data, chunks=(3, 4), **hdf5plugin.Zfp(reversible=True))
    found = check(path)
    assert isinstance(found.arrays["zfp"].storage, ReaderStorage)
    assert found.arrays["zfp"].chunk_shape == (3, 4)


def test_crops_decode_a_chunk_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import hdf5plugin

    path = tmp_path / "x.h5"
    data = np.arange(10000, dtype="f4").reshape(100, 100)
    inner = np.dtype(("<f4", (2,)))
    with h5py.File(path, "w") as f:
        f.create_dataset("x", data=data, chunks=(30, 40), **hdf5plugin.Zfp(reversible=True))
        f.create_dataset("y", (100,), inner, chunks=(30,), **hdf5plugin.SZ3(absolute=0))[...] = data[:, :2]
    arrays = read(FileSource(path)).arrays
    count = 0
    original = fallback.H5Fallback._read

    def counted(self: Any, box: Any) -> Any:
        nonlocal count
        count += 1
        return original(self, box)

    monkeypatch.setattr(fallback.H5Fallback, "_read", counted)
    rng = np.random.default_rng(0)
    for _ in range(100):
        i, j = rng.integers(0, 95, 2)
        box = (slice(int(i), int(i) + 5, 2), slice(int(j), int(j) + 5, 1))
        np.testing.assert_array_equal(read_box(arrays["x"], box), data[box])
    assert count <= 12
    got = read_box(arrays["y"], (slice(25, 35, 1), slice(1, 2, 1)))
    np.testing.assert_array_equal(got, data[25:35, 1:2])
    with h5py.File(path, "a") as f:
        f["more"] = data
    with pytest.raises(StaleFileError):
        read_box(arrays["x"], (slice(0, 1, 1), slice(0, 1, 1)))


def test_a_filter_that_nobody_has_concerns_that_dataset_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        f["beside"] = np.arange(3)
        f.create_dataset("x", data=np.arange(8), chunks=(4,), compression="lzf")
    raw = path.read_bytes()
    # The filter's number in the pipeline message: 32000 becomes 31999.
    path.write_bytes(raw.replace((32000).to_bytes(2, "little") + b"\x08", (31999).to_bytes(2, "little") + b"\x08", 1))
    found = read(FileSource(path))
    assert list(found.arrays) == ["beside"]
    assert "31999" in found.unsupported["x"]


def test_lzo_names_its_package(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        f.create_dataset("x", data=np.arange(8), chunks=(4,), compression="lzf")
    raw = path.read_bytes()
    path.write_bytes(raw.replace((32000).to_bytes(2, "little") + b"\x08", (305).to_bytes(2, "little") + b"\x08", 1))
    why = read(FileSource(path)).unsupported["x"]
    assert "305" in why
    assert "pip package" in why


def test_chunks_that_do_not_decode_are_loud(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    dtype = [("text", h5py.string_dtype()), ("n", "i4")]
    with h5py.File(path, "w") as f:
        f.create_dataset("x", data=np.array([("aa", 1), ("bb", 2)], dtype), chunks=(2,), compression="gzip")
    with h5py.File(path) as f:
        info = f["x"].id.get_chunk_info(0)
    raw = bytearray(path.read_bytes())
    raw[info.byte_offset + 2] ^= 7
    path.write_bytes(raw)
    array = read(FileSource(path)).arrays["x"]
    with pytest.raises(CorruptDataError, match=r"decoding .*x\.h5 chunk \(0,\): decoding HDF5 filter 1 \(deflate\)"):
        read_box(array, (slice(0, 2, 1),))


def test_threads_beside_opening_and_closing(tmp_path: Path) -> None:
    """32 readers of more files than stay open, while another thread opens and closes HDF5 files."""
    paths = [text_file(tmp_path / f"f{i}.h5") for i in range(12)]
    arrays = [read(FileSource(p)).arrays for p in paths]
    stop = threading.Event()
    wrong: list[Any] = []

    def churn() -> None:
        while not stop.is_set():
            for path in paths:
                with h5py.File(path) as f:
                    f["text"][0]

    def reader(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(40):
            i, a = int(rng.integers(12)), int(rng.integers(40))
            box = (slice(a, a + 5, 1),)
            text = [t.decode() for t in read_text(arrays[i]["text"], a, a + 5)]
            if text != [f"f{i}-{k}" for k in range(a, a + 5)] or read_box(arrays[i]["numbers"], box).tolist() != list(
                range(a, a + 5)
            ):
                wrong.append((i, a, text))

    churner = threading.Thread(target=churn)
    readers = [threading.Thread(target=reader, args=(seed,)) for seed in range(32)]
    churner.start()
    for t in readers:
        t.start()
    for t in readers:
        t.join(60)
    stop.set()
    churner.join(60)
    assert not any(t.is_alive() for t in [churner, *readers])
    assert wrong == []
    assert len(fallback._entries) <= fallback.MAX_OPEN


def test_reading_inside_an_h5py_callback(tmp_path: Path) -> None:
    """A caller holds h5py's lock there; other threads of ours must not keep it from us."""
    path = text_file(tmp_path / "x.h5")
    array = read(FileSource(path)).arrays["text"]
    stop = threading.Event()

    def reader() -> None:
        while not stop.is_set():
            read_box(array, (slice(0, 5, 1),))

    threads = [threading.Thread(target=reader) for _ in range(4)]
    for t in threads:
        t.start()
    seen: list[Any] = []
    with h5py.File(path) as f:
        for _ in range(20):
            f.visititems(lambda name, obj: seen.append(read_text(array, 1, 2)[0]))
    stop.set()
    for t in threads:
        t.join(30)
        assert not t.is_alive()
    assert set(seen) == {b"x-1"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_each_process_opens_its_own_file(tmp_path: Path) -> None:
    path = text_file(tmp_path / "x.h5")
    array = read(FileSource(path)).arrays["text"]
    read_box(array, (slice(0, 5, 1),))
    stop = threading.Event()

    def reader() -> None:
        while not stop.is_set():
            read_box(array, (slice(0, 5, 1),))

    thread = threading.Thread(target=reader)
    thread.start()
    try:
        for _ in range(5):
            pid = os.fork()
            if pid == 0:
                ok = False
                try:
                    ok = read_text(array, 3, 4) == [b"x-3"]
                finally:
                    os._exit(0 if ok else 1)
            assert os.waitpid(pid, 0)[1] == 0
    finally:
        stop.set()
        thread.join(30)


@pytest.mark.parametrize("mode", ["r", "a"])
def test_the_callers_open_files_do_not_matter(tmp_path: Path, mode: str) -> None:
    path = text_file(tmp_path / "x.h5")
    with h5py.File(path, mode):
        array = read(FileSource(path)).arrays["text"]
        assert read_text(array, 0, 1) == [b"x-0"]
    # Nor do ours to the caller: the file is still open here for the next read.
    with h5py.File(path, "a"):
        pass
    with h5py.File(path, "r", locking=True):
        pass


def test_a_file_that_changes_under_the_fallback(tmp_path: Path) -> None:
    path = text_file(tmp_path / "x.h5")
    array = read(FileSource(path)).arrays["text"]
    read_box(array, (slice(0, 1, 1),))
    with h5py.File(path, "a") as f:
        f["more"] = np.arange(1000)
    with pytest.raises(StaleFileError):
        read_box(array, (slice(0, 1, 1),))


def test_remote_files(tmp_path: Path) -> None:
    import fsspec

    path = text_file(tmp_path / "x.h5")
    with fsspec.open("memory://packstore-h5/x.h5", "wb") as f:
        f.write(path.read_bytes())
    found = read(open_source("memory://packstore-h5/x.h5"))
    assert read_text(found.arrays["text"], 3, 5) == [b"x-3", b"x-4"]
    assert read_box(found.arrays["numbers"], (slice(3, 50, 20),)).tolist() == [3, 23, 43]


def test_what_is_not_hdf5_after_all(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    with pytest.raises(FormatError, match=r"opening .*x\.h5: expected an HDF5 file, got libhdf5's refusal"):
        read(FileSource(path))


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (OSError("Can't synchronously read data (Data type conversion failed)"), UnsupportedError),
        (OSError("Can't synchronously read data (no appropriate function for conversion path)"), UnsupportedError),
        (OSError("Can't synchronously read data (required filter 'x' is not registered)"), UnsupportedError),
        (TypeError("No NumPy equivalent for TypeBitfieldID exists"), UnsupportedError),
        (MemoryError("Unable to allocate 1 PiB"), UnsupportedError),
        (OSError("Can't synchronously read data (filter returned failure during read)"), CorruptDataError),
        (OSError("Can't synchronously read data (data error detected by Fletcher32 checksum)"), CorruptDataError),
        (RuntimeError("wrong B-tree signature"), CorruptDataError),
        (OSError("Can't synchronously read data (addr overflow, addr = 9, size = 8, eoa = 1)"), CorruptDataError),
    ],
)
def test_only_damage_is_called_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: Exception, expected: type[Exception]
) -> None:
    def fail(*args: Any) -> Any:
        raise raised

    array = read(FileSource(text_file(tmp_path / "x.h5"))).arrays["text"]
    monkeypatch.setattr(fallback, "_read_objects", fail)
    with pytest.raises((UnsupportedError, CorruptDataError)) as found:
        read_text(array, 0, 2)
    assert type(found.value) is expected
    assert str(raised) in str(found.value)
