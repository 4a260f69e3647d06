"""Open files, files in memory and zarr stores in the place of a path."""

from __future__ import annotations

import gc
import gzip
import io
import pickle
import tempfile
import weakref
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import h5py
import numpy as np
import pytest
import zarr
from zarr.storage import FsspecStore, LocalStore, LoggingStore, MemoryStore, ZipStore

import packstore
from packstore.errors import MissingFileError, OptionError, PackstoreError, ReadError
from packstore.source.held import HeldSource
from packstore.views.lazy import open_lazy

A = np.arange(24, dtype="i4").reshape(4, 6)
MASK = A % 3 == 0


def as_npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, a=A, mask=MASK)
    return file.getvalue()


def as_deflated() -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, a=A, mask=MASK)
    return file.getvalue()


def as_hdf5() -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w") as h5:
        h5.create_dataset("a", data=A, chunks=(2, 3), compression="gzip", shuffle=True)
        h5["mask"] = MASK
    return file.getvalue()


def as_zip_of_zarr() -> bytes:
    path = Path(tempfile.mkdtemp()) / "x.zarr.zip"
    packstore.save(path, {"a": A, "mask": MASK})
    return path.read_bytes()


@pytest.mark.parametrize("make", [as_npz, as_deflated, as_hdf5, as_zip_of_zarr])
def test_every_route_reads_files_in_memory(make: Callable[[], bytes]) -> None:
    file = io.BytesIO(make())
    assert np.array_equal(packstore.open_array(file, "a")[1:3, ::2], A[1:3, ::2])
    assert np.array_equal(packstore.open_group(file)["mask"][:], MASK)
    assert np.array_equal(packstore.from_file(file, "mask").compute(), MASK)
    assert np.array_equal(zarr.open_array(packstore.open_store(file), path="a", mode="r")[:], A)
    assert np.array_equal(packstore.from_files([file, file], "a").compute(), np.concatenate([A, A]))
    assert np.array_equal(open_lazy(file, "a")[[3, 0], :], A[[3, 0]])
    assert file.tell() == 0


def test_what_is_made_of_it_pickles_with_its_bytes() -> None:
    for made in (
        packstore.from_file(io.BytesIO(as_npz()), "mask"),
        packstore.from_files([io.BytesIO(as_npz())], "mask"),
    ):
        assert np.array_equal(pickle.loads(pickle.dumps(made)).compute(), MASK)
    array = pickle.loads(pickle.dumps(packstore.open_array(io.BytesIO(as_npz()), "a")))
    assert np.array_equal(array[:], A)


def test_the_content_is_the_identity() -> None:
    first, again = (packstore.from_file(io.BytesIO(as_hdf5()), "a").name for _ in range(2))
    assert (first == again) == (as_hdf5() == as_hdf5())
    one = as_npz()
    assert packstore.from_file(io.BytesIO(one), "a").name == packstore.from_file(io.BytesIO(one), "a").name
    assert packstore.from_file(io.BytesIO(one), "a").name != packstore.from_file(io.BytesIO(as_deflated()), "a").name
    source = HeldSource(b"abc", "<x>")
    assert source == HeldSource(b"abc", "<y>") and hash(source) == hash(pickle.loads(pickle.dumps(source)))
    assert repr(source) == "HeldSource('<x>', nbytes=3)"


def test_later_writes_do_not_change_what_was_opened() -> None:
    file = io.BytesIO()
    np.save(file, A)
    array = packstore.open_array(file)
    file.seek(0)
    file.write(bytes(200))
    assert np.array_equal(array[:], A)


def test_nothing_of_a_file_in_memory_is_kept_when_it_goes() -> None:
    file = io.BytesIO(as_npz())
    array: Any = packstore.open_array(file, "a")
    location = array.lazy.location
    source = location.held
    assert source.kept
    gone = weakref.ref(source._bytes.array)
    del array, location, source, file
    gc.collect()
    assert gone() is None


def test_raw_bytes_in_memory() -> None:
    file = io.BytesIO(np.packbits(MASK, axis=1).tobytes())
    assert np.array_equal(packstore.open_array(file, format="raw", shape=MASK.shape, packed_axis=1)[:], MASK)


def test_open_files_are_opened_by_their_path(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, A)
    with open(path, "rb") as file, open(path, "rb", buffering=0) as raw, fsspec.open(str(path)) as by_fsspec:
        file.seek(7)
        for each in (file, raw, by_fsspec, fsspec.open(str(path))):
            array = packstore.open_array(each)
            assert len(pickle.dumps(array)) < 2000 and str(path) in repr(array)
            assert np.array_equal(array[:], A)
        assert file.tell() == 7


def test_a_file_being_written_is_flushed_first() -> None:
    with tempfile.NamedTemporaryFile() as file:
        np.save(file, A)
        assert np.array_equal(packstore.open_array(file)[:], A)


def test_a_deleted_file_is_read_through_its_object(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, A)
    with open(path, "rb") as file:
        path.unlink()
        assert np.array_equal(packstore.open_array(file)[:], A)


def test_decoding_file_objects_give_their_content(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, A)
    packed = tmp_path / "a.npy.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.write(path, "a.npy")
    with gzip.open(packed) as file, zipfile.ZipFile(tmp_path / "z.zip") as archive, archive.open("a.npy") as member:
        for each in (file, member, fsspec.open(str(packed), compression="gzip")):
            assert np.array_equal(packstore.open_array(each)[:], A)


def test_files_of_fsspec_are_read_by_ranges(tmp_path: Path) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/given/a.npz", as_npz())
    with memory.open("/given/a.npz") as file:
        for each in (file, fsspec.open("memory://given/a.npz")):
            array = packstore.open_array(each, "a")
            assert "memory://" in repr(array) and len(pickle.dumps(array)) < 2000
            assert np.array_equal(array[:], A)
    # A cache in front: the path alone does not say what is there.
    with fsspec.open(f"simplecache::file://{tmp_path}/z.npz", "wb") as file:
        file.write(as_npz())
    with fsspec.open(f"simplecache::file://{tmp_path}/z.npz") as file:
        assert np.array_equal(packstore.open_array(file, "a")[:], A)


def text_file(path: Path) -> Any:
    (path / "x.txt").write_text("1 2\n3 4\n")
    return (path / "x.txt").open()


class Broken(io.RawIOBase):
    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        raise OSError(5, "Input/output error")


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (text_file, OptionError, 'gives text. Open it with mode "rb"'),
        (lambda _: io.StringIO("1 2\n"), OptionError, r"io.BytesIO\(text.encode\(\)\)"),
        (lambda _: Broken(), ReadError, "Input/output error"),
        (lambda _: io.BytesIO(), PackstoreError, "<BytesIO>: expected one of npy"),
        (lambda _: io.BytesIO(as_hdf5()[:1000]), PackstoreError, "opening <BytesIO>"),
    ],
)
def test_refused(tmp_path: Path, make: Callable[[Path], Any], kind: type[Exception], words: str) -> None:
    with make(tmp_path) as file, pytest.raises(kind, match=words):
        packstore.open(file)


def test_a_closed_file_and_options_are_refused() -> None:
    file = io.BytesIO(as_npz())
    with pytest.raises(OptionError, match="no storage_options for a file in memory, got anon"):
        packstore.open(file, storage_options={"anon": True})
    file.close()
    with pytest.raises(OptionError, match="expected an open file, got I/O operation on closed file"):
        packstore.open(file)


def fill(store: Any) -> None:
    root = zarr.open_group(store, mode="w")
    root.create_array("run/a", data=A, chunks=(3, 4))
    root.create_array("s", data=A, chunks=(2, 2), shards=(4, 4))
    mask = root.create_array(
        "mask", shape=MASK.shape, dtype=bool, chunks=(2, 6), compressors=None, serializer=packstore.PackBitsCodec()
    )
    mask[:] = MASK


def check(store: Any) -> None:
    assert np.array_equal(packstore.open_array(store, "run/a")[1:4, 2], A[1:4, 2])
    group = packstore.open_group(store)
    assert sorted(group.array_keys()) == ["mask", "s"] and sorted(group.group_keys()) == ["run"]
    for name, expected in (("mask", MASK), ("s", A), ("run/a", A)):
        assert np.array_equal(group[name][:], expected)
        assert np.array_equal(packstore.from_file(store, name).compute(), expected)


def test_stores(tmp_path: Path) -> None:
    memory = MemoryStore()
    fill(memory)
    check(memory)
    check(LoggingStore(memory, log_level="CRITICAL"))
    local = LocalStore(tmp_path / "x.zarr")
    fill(local)
    check(local)
    assert len(pickle.dumps(packstore.open_array(local, "s"))) < 2000
    fill(FsspecStore.from_url("memory://given/x.zarr", storage_options={"asynchronous": False}))
    check(FsspecStore.from_url("memory://given/x.zarr", read_only=True))
    packstore.save(tmp_path / "x.zarr.zip", packstore.open(local))
    check(ZipStore(tmp_path / "x.zarr.zip", mode="r"))


def test_a_store_in_memory_is_read_as_it_is_now() -> None:
    memory = MemoryStore()
    fill(memory)
    before = packstore.from_file(memory, "run/a")
    zarr.open_array(memory, path="run/a", mode="r+")[0, 0] = 99
    after = packstore.from_file(memory, "run/a")
    assert before.name != after.name and after[0, 0].compute() == 99
    copied = pickle.loads(pickle.dumps(after))
    assert copied[0, 0].compute() == 99


def test_a_store_without_an_array_or_group() -> None:
    with pytest.raises(MissingFileError, match="zarr-store://MemoryStore-"):
        packstore.open(MemoryStore())


def test_stores_of_packstore(tmp_path: Path) -> None:
    path = tmp_path / "m.bits"
    np.packbits(MASK, axis=0).tofile(path)
    store = packstore.open_store(path, format="raw", shape=MASK.shape, packed_axis=0)
    assert np.array_equal(packstore.open_array(store)[:], MASK)
    assert np.array_equal(packstore.from_file(store).compute(), MASK)
    with pytest.raises(OptionError, match="no options for a store, which was opened with its own, got format"):
        packstore.open_array(store, format="npy")
