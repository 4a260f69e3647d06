"""What is remembered of a file is as fresh as every file it was learnt from: sources, external links, raw storage."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
import h5py
import numpy as np
import pytest
import zarr
from dask.base import tokenize
from zarr.abc.store import Store

import packstore
from packstore.errors import PackstoreError, StaleFileError
from packstore.readers.hdf5 import read
from packstore.source import FileSource

N = 6
ALLOWED: dict[str, Any] = {"allow_external": True}


def values(start: int) -> np.ndarray[Any, Any]:
    return np.arange(start, start + N, dtype="<i8")


def h5_file(path: Path, start: int) -> None:
    with h5py.File(path, "w") as f:
        f["g/d"] = values(start)


def raw_file(path: Path, start: int) -> None:
    path.write_bytes(values(start).tobytes())


def virtual(file: h5py.File, other: str) -> None:
    layout = h5py.VirtualLayout((N,), "<i8")
    layout[:] = h5py.VirtualSource(other, "g/d", (N,))
    file.create_virtual_dataset("x", layout, fillvalue=-1)


def link(file: h5py.File, other: str) -> None:
    file["x"] = h5py.ExternalLink(other, "/g/d")


def group_link(file: h5py.File, other: str) -> None:
    file["linked"] = h5py.ExternalLink(other, "/g")
    file["x"] = h5py.SoftLink("/linked/d")


def raw(file: h5py.File, other: str) -> None:
    file.create_dataset("x", (N,), "<i8", external=[(other, 0, N * 8)])


def through(kind: Callable[[h5py.File, str], None]) -> Callable[[h5py.File, str], None]:
    """A virtual dataset whose source is such an array of a file between."""

    def make(file: h5py.File, other: str) -> None:
        between = Path(file.filename).parent / "between.h5"
        with h5py.File(between, "w", libver="latest") as f:
            kind(f, other)
        layout = h5py.VirtualLayout((N,), "<i8")
        layout[:] = h5py.VirtualSource("between.h5", "x", (N,))
        file.create_virtual_dataset("x", layout, fillvalue=-1)

    return make


KINDS = {
    "virtual": (virtual, h5_file),
    "link": (link, h5_file),
    "group link": (group_link, h5_file),
    "raw": (raw, raw_file),
    "virtual through virtual": (through(virtual), h5_file),
    "virtual through link": (through(link), h5_file),
    "virtual through raw": (through(raw), raw_file),
}


class Files:
    """A file, and another file that its array "x" is made of."""

    def __init__(self, folder: Path, kind: str) -> None:
        make, self._write = KINDS[kind]
        self.path, self.other = folder / "main.h5", folder / "other.bin"
        self._time = 0
        with h5py.File(self.path, "w", libver="latest") as f:
            f["beside"] = values(0)
            make(f, self.other.name)

    def write(self, start: int) -> None:
        """The other file is there, with these values; as it were later than before."""
        self._write(self.other, start)
        self._time += 1
        os.utime(self.other, (self._time, self._time))

    def opened(self) -> list[Any]:
        """The array by every route."""
        store = packstore.open_store(self.path, **ALLOWED)
        return [
            packstore.open_array(self.path, "x", **ALLOWED),
            packstore.open_group(self.path, **ALLOWED)["x"],
            zarr.open_array(store, path="x", mode="r"),
            packstore.from_file(self.path, "x", **ALLOWED),
            packstore.from_files([self.path], "x", **ALLOWED),
            zarr.open_array(packstore.open(self.path, "x", **ALLOWED).store, path="x", mode="r"),
        ]


@pytest.fixture(params=KINDS)
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    return Files(tmp_path, request.param)


def get(array: Any) -> Any:
    if isinstance(array, Store):
        array = zarr.open_array(store=array, path="x", mode="r")
    return np.asarray(array.compute() if hasattr(array, "compute") else array[...])


def test_what_arrives_changes_or_goes_is_seen_by_the_next_open(files: Files) -> None:
    for _ in range(2):
        with pytest.raises(PackstoreError, match=r"other\.bin"):
            get(packstore.open_array(files.path, "x", **ALLOWED))
        assert any("other.bin" in why for why in packstore.open_store(files.path, **ALLOWED).unsupported.values())
        for start in (0, 100):
            files.write(start)
            for array in files.opened():
                np.testing.assert_array_equal(get(array), values(start))
            assert dict(packstore.open_store(files.path, **ALLOWED).unsupported) == {}
        files.other.unlink()
    with pytest.raises(PackstoreError, match=r"other\.bin"):
        get(packstore.open_array(files.path, "x", **ALLOWED))


def test_an_array_that_was_open_before_never_has_new_values(files: Files) -> None:
    files.write(0)
    read_before, not_read_yet = files.opened(), files.opened()
    for array in read_before:
        np.testing.assert_array_equal(get(array), values(0))
    files.write(100)
    # What others open in between changes nothing for those.
    np.testing.assert_array_equal(get(packstore.open_array(files.path, "x", **ALLOWED)), values(100))
    for array in read_before + not_read_yet:
        with pytest.raises(StaleFileError):
            get(array)
    files.other.unlink()
    for array in read_before + not_read_yet:
        with pytest.raises(StaleFileError):
            get(array)


def test_arrays_of_a_group_that_was_open_before(files: Files) -> None:
    files.write(0)
    group = packstore.open_group(files.path, **ALLOWED)
    np.testing.assert_array_equal(get(packstore.open_group(files.path, **ALLOWED)["x"]), values(0))
    files.write(100)
    packstore.open_array(files.path, "x", **ALLOWED)
    with pytest.raises(StaleFileError):
        get(group["x"])
    for name, array in group.arrays():
        if name == "x":
            with pytest.raises(StaleFileError):
                get(array)


def test_pickles_and_dask_names_know_the_other_file(files: Files) -> None:
    files.write(0)
    arrays, same = files.opened(), files.opened()
    dask_arrays = [packstore.from_file(files.path, "x", **ALLOWED), packstore.from_files([files.path], "x", **ALLOWED)]
    before = [*(tokenize(a) for a in arrays), *(a.name for a in dask_arrays)]
    again = [packstore.from_file(files.path, "x", **ALLOWED), packstore.from_files([files.path], "x", **ALLOWED)]
    assert [a.name for a in again] == before[-2:]
    assert [tokenize(a) for a in same[:2]] == before[:2]
    pickled = [pickle.dumps(a) for a in arrays]
    store = packstore.open_store(files.path, **ALLOWED)
    assert pickle.loads(pickle.dumps(store)) == store
    pickled.append(pickle.dumps(store))
    files.write(100)
    for data in pickled:
        with pytest.raises(StaleFileError):
            get(pickle.loads(data))
    assert tokenize(packstore.open_store(files.path, **ALLOWED)) != tokenize(store)
    now = files.opened()
    after = [*(tokenize(a) for a in now), now[3].name, now[4].name]
    assert all(a != b for a, b in zip(before, after, strict=True))


def test_workers_raise(files: Files) -> None:
    """A worker that has opened nothing yet reads the index itself, and must not take what it finds for what was."""
    files.write(0)
    np.testing.assert_array_equal(get(packstore.from_file(files.path, "x", **ALLOWED)), values(0))
    lazy = packstore.from_file(files.path, "x", **ALLOWED)
    files.write(100)
    with dask.config.set(scheduler="processes", num_workers=1), pytest.raises(StaleFileError):
        lazy.compute()


def test_fill_for_what_arrived_since_is_stale(tmp_path: Path) -> None:
    files = Files(tmp_path, "virtual")
    options: dict[str, Any] = {**ALLOWED, "missing_sources": "fill"}
    array, lazy = packstore.open_array(files.path, "x", **options), packstore.from_file(files.path, "x", **options)
    assert array[...].tolist() == lazy.compute().tolist() == [-1] * N
    files.write(0)
    for old in (array, lazy):
        with pytest.raises(StaleFileError, match=r"other\.bin: expected no such file, as before, got one"):
            get(old)
    np.testing.assert_array_equal(get(packstore.open_array(files.path, "x", **options)), values(0))
    assert packstore.from_file(files.path, "x", **options).name != lazy.name


def test_a_dataset_that_arrives_in_a_source(tmp_path: Path) -> None:
    files = Files(tmp_path, "virtual")
    with h5py.File(files.other, "w") as f:
        f["something else"] = 1
    with pytest.raises(PackstoreError, match="no object '/g'"):
        get(packstore.open_array(files.path, "x", **ALLOWED))
    files.write(0)
    np.testing.assert_array_equal(get(packstore.open_array(files.path, "x", **ALLOWED)), values(0))


def test_more_numbered_sources(tmp_path: Path) -> None:
    every = h5py.h5s.UNLIMITED
    dcpl = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    space = h5py.h5s.create_simple((1, N), (every, N))
    space.select_hyperslab((0, 0), (every, 1), (1, 1), (1, N))
    dcpl.set_virtual(space, b"n%b.h5", b"g/d", h5py.h5s.create_simple((N,)))
    path = tmp_path / "v.h5"
    with h5py.File(path, "w", libver="latest") as f:
        h5py.h5d.create(f.id, b"x", h5py.h5t.STD_I64LE, h5py.h5s.create_simple((1, N), (every, N)), dcpl)
    names = set()
    for count in range(3):
        lazy = packstore.from_file(path, "x", **ALLOWED)
        names.add(lazy.name)
        with h5py.File(path) as f:
            np.testing.assert_array_equal(lazy.compute(), f["x"][...])
        assert lazy.shape == (count, N)
        h5_file(tmp_path / f"n{count}.h5", 10 * count)
    assert len(names) == 3


def test_links_that_are_pointed_elsewhere(tmp_path: Path) -> None:
    """The name of a source is a symbolic link; first to one file, then to another of the same size and time."""
    files = Files(tmp_path, "virtual")
    for i in range(2):
        h5_file(tmp_path / f"{i}.h5", 100 * i)
        os.utime(tmp_path / f"{i}.h5", (1, 1))
        files.other.unlink(missing_ok=True)
        files.other.symlink_to(f"{i}.h5")
        np.testing.assert_array_equal(get(packstore.open_array(files.path, "x", **ALLOWED)), values(100 * i))


def test_a_refused_file_that_goes(tmp_path: Path) -> None:
    files = Files(tmp_path, "virtual")
    files.write(0)
    assert "allow_external" in packstore.open_store(files.path).unsupported["x"]
    files.other.unlink()
    assert "no such file" in packstore.open_store(files.path).unsupported["x@other.bin"]


def test_folders(tmp_path: Path) -> None:
    """A member of the folder refers to a file outside of it."""
    folder = tmp_path / "folder"
    folder.mkdir()
    with h5py.File(folder / "v.h5", "w", libver="latest") as f:
        virtual(f, "../outside.h5")
    assert "no such file" in packstore.open_store(folder).unsupported["v.h5/x@../outside.h5"]
    h5_file(tmp_path / "outside.h5", 0)
    assert "allow_external" in packstore.open_store(folder).unsupported["v.h5/x"]


def test_plain_files_cost_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", libver="latest") as f:
        f["d"] = values(0)
        f["soft"] = h5py.SoftLink("/d")
        f["itself"] = h5py.ExternalLink("x.h5", "/d")
        layout = h5py.VirtualLayout((N,), "<i8")
        layout[:] = h5py.VirtualSource(".", "d", (N,))
        f.create_virtual_dataset("v", layout)
        del f["itself"]
    found = read(FileSource(path))
    assert found.fresh is None
    assert [a.version for a in found.arrays.values()] == [None] * 3
