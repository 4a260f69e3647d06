"""Files that changed lately are read, not mapped, where they are decoded: their writer may still cut them short."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

import packstore
from packstore.source import FileSource
from packstore.views.lazy import open_lazy
from tests.faults.files import FILES, values


@pytest.mark.parametrize("name", FILES)
def test_values_are_the_same(tmp_path: Path, name: str) -> None:
    kind = FILES[name]
    path = tmp_path / f"x{kind.suffix}"
    want = values(2, kind.dtype)
    kind.write(path, want)
    with packstore.config.set({"local.settled_seconds": 1e9}):
        array = open_lazy(path, kind.component, **kind.options)
        for key in (np.s_[...], np.s_[3:50, 5:30], np.s_[::7, ::3], np.s_[59], np.s_[:, 21]):
            np.testing.assert_array_equal(array[key], want[key])


def test_when_a_file_is_settled(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    path.write_bytes(bytes(10))
    with packstore.config.set({"local.settled_seconds": 10}):
        assert FileSource(path).settled_view() is None and FileSource(path).view().size == 10
        os.utime(path, (time.time() - 11,) * 2)
        source = FileSource(path)
        assert source.settled_view() is not None
    with packstore.config.set({"local.settled_seconds": 100}):
        assert FileSource(path).settled_view() is None
        # Once it is, it stays so.
        assert source.settled_view() is not None


READER = """
import sys, packstore
from packstore.views.lazy import open_lazy
array = open_lazy(sys.argv[1], "x")
print("reading", flush=True)
try:
    while True:
        array[...]
except packstore.errors.StaleFileError as error:
    print(type(error).__name__)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be cut there")
def test_a_writer_that_cuts_the_file(tmp_path: Path) -> None:
    """Who reads a mapping behind the end of its file is ended by the system."""
    data = np.random.default_rng(0).integers(0, 50, (1000, 1000))
    for i in range(3):
        path = tmp_path / f"{i}.h5"
        with h5py.File(path, "w") as file:
            file.create_dataset("x", data=data, chunks=(100, 500), compression="gzip")
        environment = {**os.environ, "PACKSTORE_LOCAL__SETTLED_SECONDS": "60"}
        reader = subprocess.Popen(
            [sys.executable, "-c", READER, str(path)], stdout=subprocess.PIPE, text=True, env=environment
        )
        assert reader.stdout is not None and reader.stdout.readline() == "reading\n"
        time.sleep(0.05 * (i + 1))
        os.truncate(path, 5000)
        assert reader.stdout.read() == "StaleFileError\n" and reader.wait(60) == 0
        reader.stdout.close()
