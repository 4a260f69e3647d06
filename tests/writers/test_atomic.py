"""A save happens whole or not at all: kills, interrupts, full disks, size limits, links, leftovers."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import packstore
from packstore.errors import WriteError
from packstore.writers import atomic
from packstore.writers.atomic import atomic_target, spool_beside

SUFFIXES = ["npy", "npz", "h5", "zarr", "raw"]
OLD = np.arange(5)

# A source that says when it is being read, and then takes its time.
SLOW = """
import sys, time
import numpy as np, packstore
class Source:
    shape, ndim, dtype = (64, 1 << 20), 2, np.dtype(np.uint8)
    def __getitem__(self, box):
        if any(s.start for s in box):
            print("reading", flush=True)
            time.sleep(float(sys.argv[2]))
        return np.random.default_rng(0).integers(0, 255, tuple(s.stop - s.start for s in box), np.uint8)
packstore.save(sys.argv[1], Source(), overwrite=True)
"""


def read(path: Path) -> np.ndarray:
    options: dict[str, Any] = {"format": "raw", "shape": (5,), "dtype": OLD.dtype} if path.suffix == ".raw" else {}
    return np.asarray(packstore.from_file(path, **options).compute(scheduler="synchronous"))


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def start(path: Path, seconds: float) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", SLOW, str(path), str(seconds)], stdout=-1, stderr=-1, text=True)
    assert process.stdout is not None
    if process.stdout.readline() != "reading\n":
        pytest.fail(process.communicate()[1])
    return process


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_kill_leaves_the_old_file_and_the_next_save_cleans_up(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    packstore.save(path, OLD)
    process = start(path, 60)
    process.kill()
    process.communicate()
    assert len(names(tmp_path)) == 2
    assert np.array_equal(read(path), OLD)
    packstore.save(path, OLD + 1, overwrite=True)
    assert names(tmp_path) == [path.name]
    assert np.array_equal(read(path), OLD + 1)


@pytest.mark.long
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_next_save_of_another_name_cleans_up(tmp_path: Path, suffix: str) -> None:
    process = start(tmp_path / f"x.{suffix}", 60)
    living = start(tmp_path / f"y.{suffix}", 60)
    process.kill()
    process.communicate()
    assert len(names(tmp_path)) == 2
    packstore.save(tmp_path / "z.npy", OLD)
    (kept,) = set(names(tmp_path)) - {"z.npy"}
    assert kept.startswith(f".y.{suffix}.")
    living.kill()
    living.communicate()
    packstore.save(tmp_path / "z.zarr", OLD)
    assert set(names(tmp_path)) == {"z.npy", "z.zarr"}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_kill_leaves_no_file_where_there_was_none(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    process = start(path, 60)
    process.kill()
    process.communicate()
    assert not path.exists()


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_interrupt_cleans_up(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    packstore.save(path, OLD)
    process = start(path, 0.5)
    process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in process.communicate()[1]
    assert names(tmp_path) == [path.name]
    assert np.array_equal(read(path), OLD)


@pytest.mark.long
@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    ("suffix", "options"),
    [(s, "") for s in SUFFIXES]
    + [("npz", "compressed=False"), ("h5", "compressor=None"), ("zarr", "shards=(512, 512)")],
)
def test_a_size_limit(tmp_path: Path, suffix: str, options: str, lazy: bool) -> None:
    """As ``ulimit -f`` sets it."""
    path = tmp_path / f"x.{suffix}"
    packstore.save(path, OLD)
    limited = f"""
import resource, sys
import numpy as np, dask.array as da, packstore
from packstore.errors import WriteError
data = np.random.default_rng(0).integers(0, 1 << 62, (1024, 1024))
if {lazy}:
    data = da.from_array(data, chunks=(300, 300))
import h5py, zarr
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    packstore.save(sys.argv[1], data, overwrite=True{", " + options if options else ""})
except WriteError as error:
    print(error.errno, error)
"""
    done = subprocess.run([sys.executable, "-c", limited, str(path)], capture_output=True, text=True)
    assert done.stdout.startswith(f"{errno.EFBIG} "), done.stderr
    assert "File too large. The file would pass the allowed size; nothing was changed." in done.stdout
    assert names(tmp_path) == [path.name]
    assert np.array_equal(read(path), OLD)


def can_mount() -> bool:
    return subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode == 0


@pytest.mark.long
@pytest.mark.parametrize("data", ["noise", "lazy"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk(tmp_path: Path, suffix: str, data: str) -> None:
    if not sys.platform.startswith("linux") or not can_mount():
        pytest.skip("needs a user namespace to mount a small file system in")
    full = f"""
import os, sys
import numpy as np, dask.array as da, packstore
from packstore.errors import WriteError
path = sys.argv[1]
packstore.save(path, np.arange(5))
data = np.random.default_rng(0).integers(0, 1 << 62, (1024, 1024))
if "{data}" == "lazy":
    data = da.from_array(data, chunks=(256, 256)) - 1
try:
    packstore.save(path, data, overwrite=True)
except WriteError as error:
    print(error.errno, error)
print(os.listdir(os.path.dirname(path)))
options = dict(format="raw", shape=(5,), dtype=int) if path.endswith("raw") else {{}}
print(packstore.from_file(path, **options).compute().tolist())
"""
    command = f'mount -t tmpfs -o size=3m none "{tmp_path}" && exec "$0" -c "$1" "$2"'
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", command, sys.executable, full, str(tmp_path / f"x.{suffix}")],
        capture_output=True,
        text=True,
    )
    lines = done.stdout.splitlines()
    assert lines and lines[0].startswith(f"{errno.ENOSPC} "), done.stderr
    assert "No space left on device. The disk is full; nothing was changed." in lines[0]
    assert lines[1:] == [f"['x.{suffix}']", "[0, 1, 2, 3, 4]"]


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Any, *_: Any) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))

    monkeypatch.setattr(atomic, "preallocate", refuse)
    from packstore.writers import raw

    monkeypatch.setattr(raw, "preallocate", refuse)
    with pytest.raises(WriteError, match=r"x\.npy: got Permission denied\. Nothing was changed") as caught:
        packstore.save(tmp_path / "x.npy", OLD)
    assert caught.value.errno == errno.EACCES


def test_an_error_of_the_source_stays_what_it_is(tmp_path: Path) -> None:
    class Source:
        shape, ndim, dtype = (4,), 1, np.dtype("i4")

        def __getitem__(self, box: Any) -> np.ndarray:
            raise FileNotFoundError(errno.ENOENT, "gone", "/elsewhere/data.bin")

    with pytest.raises(FileNotFoundError, match="elsewhere") as caught:
        packstore.save(tmp_path / "x.npy", Source())
    assert not isinstance(caught.value, WriteError)
    assert names(tmp_path) == []


@pytest.mark.parametrize("suffix", ["npy", "zarr"])
def test_a_symbolic_link_stays_one(tmp_path: Path, suffix: str) -> None:
    (tmp_path / "there").mkdir()
    real, link = tmp_path / "there" / f"real.{suffix}", tmp_path / f"link.{suffix}"
    packstore.save(real, OLD)
    link.symlink_to(real)
    packstore.save(link, OLD + 1, overwrite=True)
    assert link.is_symlink()
    assert np.array_equal(read(real), OLD + 1)


def test_permissions_of_the_old_file_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    packstore.save(path, OLD)
    path.chmod(0o640)
    packstore.save(path, OLD, overwrite=True)
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_long_name(tmp_path: Path) -> None:
    path = tmp_path / ("ü" * 120 + ".npy")
    packstore.save(path, OLD)
    assert np.array_equal(read(path), OLD)


def test_what_a_living_process_writes_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    process = start(path, 60)
    try:
        packstore.save(path, OLD)
        assert len(names(tmp_path)) == 2
    finally:
        process.kill()
        process.communicate()
    packstore.save(path, OLD, overwrite=True)
    assert names(tmp_path) == ["x.npy"]


def test_leftovers_of_other_targets_and_machines_are_left_alone(tmp_path: Path) -> None:
    others = [".y.npy.00000000-99999999-00000000.tmp", ".x.npy.00000000-99999999-00000000.tmp", ".x.npy.tmp"]
    for name in others:
        (tmp_path / name).touch()
    packstore.save(tmp_path / "x.npy", OLD)
    assert names(tmp_path) == sorted([*others, "x.npy"])


def test_without_an_exchange_of_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.zarr"
    packstore.save(path, OLD)
    monkeypatch.setattr(atomic, "_exchange", lambda one, other: False)
    packstore.save(path, OLD + 1, overwrite=True)
    assert np.array_equal(read(path), OLD + 1)
    assert names(tmp_path) == ["x.zarr"]
    # Killed between the two renames: the next save puts the old one back before it starts.
    prefix = atomic._prefix(path)
    path.rename(tmp_path / f"{prefix}99999999-00000000.tmp.old")
    with pytest.raises(RuntimeError), atomic_target(path, overwrite=True, folder=True):
        raise RuntimeError
    assert np.array_equal(read(path), OLD + 1)


def test_the_only_copy_of_another_target_comes_back(tmp_path: Path) -> None:
    path, long = tmp_path / "x.zarr", tmp_path / ("n" * 120 + ".zarr")
    for each in path, long:
        packstore.save(each, OLD)
        each.rename(tmp_path / f"{atomic._prefix(each)}99999999-00000000.tmp.old")
    packstore.save(tmp_path / "y.npy", OLD)
    assert np.array_equal(read(path), OLD)
    # Whose copy it is that has a shortened name, its target knows alone.
    assert not long.exists() and len(names(tmp_path)) == 3
    with pytest.raises(RuntimeError), atomic_target(long, overwrite=True, folder=True):
        raise RuntimeError
    assert np.array_equal(read(long), OLD)


def test_the_exchange_is_one_step(tmp_path: Path) -> None:
    """A reader that opens the store again and again while it is replaced always finds one."""
    path = tmp_path / "x.zarr"
    packstore.save(path, OLD)
    saver = f"""
import numpy as np, packstore
for i in range(15):
    packstore.save({str(path)!r}, np.arange(5), overwrite=True)
"""
    process = subprocess.Popen([sys.executable, "-c", saver])
    missing = 0
    while process.poll() is None:
        missing += not os.path.exists(path / "zarr.json")
        time.sleep(0.0005)
    assert process.returncode == 0
    if sys.platform.startswith("linux"):
        assert missing == 0
    assert np.array_equal(np.asarray(zarr.open_array(path)[...]), OLD)


def test_the_spool_is_removed(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), atomic_target(tmp_path / "x", overwrite=False) as temporary:
        temporary.touch()
        spool_beside(temporary).touch()
        raise RuntimeError
    assert names(tmp_path) == []
