"""Byte sources: exact reads, staleness, the bound on open files, threads, forks."""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import h5py
import hypothesis.strategies as st
import numpy as np
import pytest
import zarr
from hypothesis import given

import packstore
from packstore import config
from packstore.core.typing import Bytes
from packstore.errors import MissingFileError, OptionError, StaleFileError, TruncatedFileError
from packstore.source import (
    ByteSpace,
    DirectorySource,
    FileSource,
    InlineBytes,
    RemoteSource,
    Segments,
    open_source,
    reopen_source,
)
from packstore.source import local as source_module
from packstore.source.local import MAX_OPEN_FILES
from packstore.source.remote.ranges import join_ranges

DATA = bytes(range(256))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "x.bin").write_bytes(DATA)
    return tmp_path / "x.bin"


def remote(name: str = "x.bin") -> RemoteSource:
    with fsspec.open(f"memory://source/{name}", "wb") as f:
        f.write(DATA)
    found = open_source(f"memory://source/{name}")
    assert isinstance(found, RemoteSource)
    return found


def spaces(path: Path) -> list[Any]:
    pieces: list[tuple[ByteSpace | None, int, int]] = [(FileSource(path), 0, 100), (InlineBytes(DATA, "x"), 100, 156)]
    return [FileSource(path), remote(), InlineBytes(DATA, "x"), Segments(pieces, "x")]


@pytest.mark.parametrize("i", range(4))
def test_exact_reads(path: Path, i: int) -> None:
    space = spaces(path)[i]
    assert space.nbytes == 256
    for offset, nbytes in [(0, 0), (0, 256), (7, 13), (99, 2), (255, 1), (256, 0)]:
        assert bytes(space.pread(offset, nbytes)) == DATA[offset : offset + nbytes]
    for offset, nbytes in [(0, 257), (256, 1), (-1, 1), (5, -1), (300, 0)]:
        with pytest.raises(TruncatedFileError, match=r"reading .*x"):
            space.pread(offset, nbytes)
    view = space.view()
    if view is not None:
        assert view.tobytes() == DATA
        assert not view.flags.writeable


def test_segments_read_zeros_where_there_is_nothing(path: Path) -> None:
    pieces: list[tuple[ByteSpace | None, int, int]] = [
        (None, 0, 3),
        (FileSource(path), 250, 10),
        (InlineBytes(b"ab", "y"), 5, 4),
        (InlineBytes(b"cd", "z"), 0, 2),
    ]
    space = Segments(pieces, "x")
    expected = bytes(3) + DATA[250:] + bytes(4) + bytes(4) + b"cd"
    for start in range(19):
        for stop in range(start, 20):
            assert bytes(space.pread(start, stop - start)) == expected[start:stop]


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "e").write_bytes(b"")
    space = FileSource(tmp_path / "e")
    assert space.view().shape == (0,)
    assert space.pread(0, 0) == b""


def test_view_is_mapped_once_and_outlives_the_source(path: Path) -> None:
    space = FileSource(path)
    view = space.view()
    assert FileSource(path).view() is view
    del space
    source_module._handles.clear()
    gc.collect()
    assert view.tobytes() == DATA


# -- staleness --------------------------------------------------------------------------------------------------------


def rewrite(path: Path) -> None:
    path.write_bytes(DATA[::-1])
    os.utime(path, ns=(1, 1))


def truncate(path: Path) -> None:
    os.truncate(path, 10)


def append(path: Path) -> None:
    with path.open("ab") as f:
        f.write(b"more")


def replace(path: Path) -> None:
    stat = path.stat()
    other = path.with_suffix(".new")
    other.write_bytes(DATA[::-1])
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.replace(path)


def remove(path: Path) -> None:
    path.unlink()


CHANGES: list[Callable[[Path], None]] = [rewrite, truncate, append, replace, remove]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("opened", [True, False])
def test_changed_files_are_errors(path: Path, change: Callable[[Path], None], opened: bool) -> None:
    with config.set({"local.check_inode": change is replace}):
        check_change(path, change, opened)


def check_change(path: Path, change: Callable[[Path], None], opened: bool) -> None:
    space = FileSource(path)
    again = pickle.loads(pickle.dumps(space))
    if opened:
        assert space.pread(0, 2) == DATA[:2]
        space.view()
    change(path)
    for stale in (space, again, space):
        with pytest.raises(StaleFileError, match=r"reading .*x\.bin: expected the file that was opened"):
            stale.pread(0, 2)
        with pytest.raises(StaleFileError):
            stale.view()
    if path.exists():
        assert FileSource(path).view().tobytes() == path.read_bytes()
        assert FileSource(path) != space


def test_a_copy_in_its_place_is_the_same_file(path: Path) -> None:
    """Each node of a cluster may have a copy of its own."""
    space = FileSource(path)
    data = pickle.dumps(space)
    inode = path.stat().st_ino
    shutil.copy2(path, path.with_suffix(".copy"))
    path.with_suffix(".copy").replace(path)
    assert path.stat().st_ino != inode
    assert pickle.loads(data).pread(0, 2) == DATA[:2] and FileSource(path) == space
    with config.set({"local.check_inode": True}):
        known = FileSource(path)
        shutil.copy2(path, path.with_suffix(".copy"))
        path.with_suffix(".copy").replace(path)
        with pytest.raises(StaleFileError, match=r"inode \d+.*inode \d+"):
            known.pread(0, 2)


LIMITED = """
import resource, sys, threading
import numpy as np, packstore
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
paths = sys.argv[1:]
for _ in range(2):
    for i, path in enumerate(paths):
        assert packstore.open_array(path)[...].tolist() == [i, i]
total = packstore.from_files(paths).compute(scheduler="threads").tolist()
assert total == [i for i in range(len(paths)) for _ in "ab"], total
arrays = [packstore.open_array(path) for path in paths]
def work(k):
    for i in range(k, len(paths), 16):
        assert arrays[i][...].tolist() == [i, i]
threads = [threading.Thread(target=work, args=(k,)) for k in range(16)]
[t.start() for t in threads]; [t.join() for t in threads]
views = []
try:
    for path in paths:
        views.append(packstore.open_array(path, copy=False)[...])
except packstore.errors.PackstoreError as error:
    assert "ulimit -n" in str(error), error
views.clear()
assert packstore.open_array(paths[0])[...].tolist() == [0, 0]
print("right")
"""


@pytest.mark.skipif(os.name != "posix", reason="the limit is one of POSIX")
@pytest.mark.long
@pytest.mark.parametrize("kind", ["npy", "h5", "zarr"])
def test_few_descriptors_are_enough_for_many_files(tmp_path: Path, kind: str) -> None:
    paths = []
    for i in range(300):
        paths.append(str(tmp_path / f"{i}.{kind}"))
        values = np.full(2, i)
        if kind == "npy":
            np.save(paths[-1], values)
        elif kind == "h5":
            with h5py.File(paths[-1], "w") as file:
                file["x"] = values
        else:
            zarr.create_array(paths[-1], data=values, compressors=None)
    done = subprocess.run([sys.executable, "-c", LIMITED, *paths], capture_output=True, text=True, timeout=120)
    assert done.stdout == "right\n", done.stderr


def test_descriptors_do_not_grow(tmp_path: Path) -> None:
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("no list of descriptors on this system")
    np.save(tmp_path / "a.npy", np.arange(9))

    def cycle() -> None:
        with packstore.open_array(tmp_path / "a.npy") as array:
            array[...]

    cycle()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        cycle()
    assert len(os.listdir("/proc/self/fd")) <= before


def test_touched_metadata_is_no_change(path: Path) -> None:
    space = FileSource(path)
    space.view()
    path.chmod(0o600)
    os.link(path, path.with_suffix(".link"))
    assert space.pread(0, 2) == DATA[:2]


def test_a_link_more_does_not_keep_a_removed_file(path: Path) -> None:
    """Where another name keeps the inode, the open handle goes on, a new one does not."""
    space = FileSource(path)
    space.pread(0, 1)
    os.link(path, path.with_suffix(".link"))
    path.unlink()
    assert space.pread(0, 2) == DATA[:2]
    source_module._handles.clear()
    gc.collect()
    with pytest.raises(StaleFileError, match="got nothing of that name"):
        space.pread(0, 2)


def test_remote_change(path: Path) -> None:
    data = pickle.dumps(remote("change.bin"))
    assert pickle.loads(data).pread(0, 2) == DATA[:2]
    with fsspec.open("memory://source/change.bin", "wb") as f:
        f.write(DATA + b"x")
    again = pickle.loads(data)
    with pytest.raises(StaleFileError, match=r"reading memory://source/change\.bin"):
        again.read_ranges([(0, 2)])


def test_remote_shrunk_under_a_reader() -> None:
    space = remote("shrunk.bin")
    with fsspec.open("memory://source/shrunk.bin", "wb") as f:
        f.write(DATA[:10])
    with pytest.raises(StaleFileError, match="expected the object that was opened, got another version"):
        space.read_ranges([(5, 20)])


# -- what is no file --------------------------------------------------------------------------------------------------


def test_missing(tmp_path: Path, path: Path) -> None:
    for absent in (tmp_path / "absent", path / "below"):
        with pytest.raises(MissingFileError, match="expected a file, got nothing of that name"):
            open_source(absent)
    with pytest.raises(MissingFileError, match="expected a regular file, got a directory"):
        FileSource(tmp_path)
    with pytest.raises(MissingFileError, match="expected a file"):
        open_source("memory://source/absent")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_pipes_and_devices_do_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for odd in (tmp_path / "pipe", Path(os.devnull)):
        with pytest.raises(MissingFileError, match="expected a regular file, got a pipe, socket or device"):
            open_source(odd)


@pytest.mark.parametrize("odd", [None, 3, object()])
def test_not_a_path(odd: Any) -> None:
    with pytest.raises(OptionError, match="expected a path"):
        open_source(odd)


def test_unknown_protocol() -> None:
    with pytest.raises(
        OptionError, match=r"opening nothing://x: expected a URL and storage_options= that fsspec takes"
    ):
        open_source("nothing://x")


def test_kinds_of_paths(path: Path) -> None:
    first = FileSource(path)
    paths: list[Any] = [str(path), os.fsencode(path), f"file://{path}", path.parent / "." / "x.bin"]
    for spelled in paths:
        assert open_source(spelled) == first
    assert isinstance(open_source(path.parent), DirectorySource)
    assert reopen_source(first.fingerprint) == first


def test_names_with_colons(tmp_path: Path) -> None:
    (tmp_path / "a::b").write_bytes(DATA)
    found = open_source(tmp_path / "a::b")
    assert reopen_source(found.fingerprint).pread(0, 3) == DATA[:3]


def test_chained_url(path: Path) -> None:
    found = open_source(f"simplecache::file://{path}")
    assert isinstance(found, RemoteSource)
    again = reopen_source(found.fingerprint)
    assert again == found
    assert again.pread(3, 2) == DATA[3:5]


def test_directories_change_with_their_metadata(tmp_path: Path) -> None:
    (tmp_path / "zarr.json").write_text("{}")
    space = DirectorySource(tmp_path)
    space.check()
    with pytest.raises(TruncatedFileError, match="expected a file, got a directory"):
        space.pread(0, 1)
    again = pickle.loads(pickle.dumps(space))
    assert again == space
    (tmp_path / "zarr.json").write_text("{ }")
    with pytest.raises(StaleFileError, match="expected the directory that was opened"):
        space.check()
    with pytest.raises(StaleFileError):
        reopen_source(space.fingerprint)


# -- handles ----------------------------------------------------------------------------------------------------------


def test_open_files_are_bounded(tmp_path: Path) -> None:
    source_module._handles.clear()
    gc.collect()
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    many = []
    for i in range(2 * MAX_OPEN_FILES):
        (tmp_path / str(i)).write_bytes(i.to_bytes(2, "little") * 8)
        many.append(FileSource(tmp_path / str(i)))
    hot = many[0]

    def work(seed: int) -> bool:
        for i in np.random.default_rng(seed).permutation(len(many)).tolist():
            value = i.to_bytes(2, "little")
            if many[i].pread(2, 2) != value or many[i].view()[4:6].tobytes() != value:
                return False
            hot.pread(0, 2)
        return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(16)))
    assert len(source_module._handles) <= MAX_OPEN_FILES
    # What is used all the time stays open.
    assert hot.fingerprint in source_module._handles
    gc.collect()
    if before:
        # A descriptor each, and before Python 3.13 a second one that the mapping keeps.
        assert len(os.listdir("/proc/self/fd")) - before <= 2 * MAX_OPEN_FILES + 8


def test_views_of_one_file_are_bounded(path: Path) -> None:
    handle = FileSource(path).check()
    for i in range(3 * source_module.MAX_VIEWS):
        handle.keep_view(i, np.zeros(1))
    assert len(handle.views) <= source_module.MAX_VIEWS


def test_pickle_is_small_and_equal(path: Path) -> None:
    space = FileSource(path)
    data = pickle.dumps(space)
    assert len(data) < 200 + len(str(path))
    again = pickle.loads(data)
    assert again == space
    assert hash(again) == hash(space)
    assert (space == 1) is False


def _child_reads(space: FileSource, queue: Any) -> None:
    queue.put((space.pread(3, 4), space.view()[-3:].tobytes()))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes(path: Path, method: str) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"no {method} on this system")
    context: Any = multiprocessing.get_context(method)
    space = FileSource(path)
    space.view()
    queue = context.Queue()
    process = context.Process(target=_child_reads, args=(space, queue))
    process.start()
    assert queue.get(timeout=60) == (DATA[3:7], DATA[-3:])
    process.join(60)
    assert process.exitcode == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fork_while_a_lock_is_held(path: Path) -> None:
    """A child must not inherit a lock that a thread of the parent holds."""
    from packstore.readers import location
    from packstore.source.cache import CHUNKS

    with source_module._lock, location._lock, CHUNKS._lock:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                CHUNKS.clear()
                fresh = FileSource(path)
                source_module._handles.clear()
                status = 0 if fresh.pread(1, 1) == DATA[1:2] and not location._lock._lock.locked() else 2
            finally:
                os._exit(status)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert sys.exc_info() == (None, None, None)


@given(
    st.lists(st.tuples(st.integers(0, 900), st.integers(0, 100)), max_size=30), st.integers(0, 300), st.integers(1, 400)
)
def test_joined_ranges_cover_each_range_once(ranges: list[tuple[int, int]], gap: int, most: int) -> None:
    joined = join_ranges(ranges, gap, most)
    assert sorted(i for _, _, members in joined for i in members) == list(range(len(ranges)))
    for start, stop, members in joined:
        assert start == min(ranges[i][0] for i in members) and stop == max(sum(ranges[i]) for i in members)
        assert stop - start <= max(most, *(ranges[i][1] for i in members))
    assert all(
        later[0] > earlier[1] + gap or later[1] - earlier[0] > most for earlier, later in itertools.pairwise(joined)
    )


@pytest.mark.parametrize("gap", [0, 50, 10_000])
def test_many_ranges_of_a_remote_object(monkeypatch: pytest.MonkeyPatch, gap: int) -> None:
    """Near ranges are one request, and each range gets its own bytes, in the order that was asked."""
    data = bytes(range(256)) * 8
    with fsspec.open("memory://ranges.bin", "wb") as file:
        file.write(data)
    source = RemoteSource("memory://ranges.bin")
    asked: list[tuple[int, int]] = []
    original = RemoteSource._read

    def read(self: RemoteSource, offset: int, nbytes: int) -> bytes | Bytes:
        asked.append((offset, nbytes))
        return original(self, offset, nbytes)

    monkeypatch.setattr(RemoteSource, "_read", read)
    ranges = [(1000, 10), (0, 10), (40, 5), (1000, 10), (2000, 48)]
    with config.set({"remote.gap_nbytes": gap}):
        found = source.read_ranges(ranges)
    assert [bytes(each) for each in found] == [data[offset : offset + nbytes] for offset, nbytes in ranges]
    assert len(asked) == {0: 4, 50: 3, 10_000: 1}[gap]
    assert source.read_ranges([]) == []
    with pytest.raises(TruncatedFileError):
        source.read_ranges([(0, 1), (2040, 20)])
