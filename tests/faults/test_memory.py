"""The memory that opening and reading take: it follows what is asked for, not what is declared."""

from __future__ import annotations

import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

MIB = 1 << 20

# Prints how much more memory was resident at the peak than before the file was opened, in bytes.
CHILD = """
import os, sys
from pathlib import Path
import numpy, h5py, numcodecs
import packstore
from packstore.views.lazy import open_lazy

def peak(restart=False):
    if restart:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))

path, component, key = sys.argv[1], sys.argv[2] or None, eval(sys.argv[3])
before = peak(restart=True)
array = open_lazy(path, component)
found = array[key]
print(peak() - before, int(numpy.asarray(found).astype("i8").sum()))
"""

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's accounts of memory")


def cost(path: Path, component: str, key: str) -> tuple[int, int]:
    """The bytes that it took, and the sum of what was read."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(path), component, key],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    nbytes, total = map(int, done.stdout.split())
    return nbytes, total


def npy(path: Path) -> None:
    """4 GB, nearly all of it a hole."""
    np.lib.format.open_memmap(path, "w+", "u1", (4096, MIB))[-1, -1] = 7


def chunked(path: Path) -> None:
    """A million chunks, of which few are stored."""
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("x", (1000, 1000 * 1024), "u1", chunks=(1, 1024), compression="gzip")
        dataset[7, :4096] = 1


def empty(path: Path) -> None:
    """2**30 chunks, none of them stored."""
    with h5py.File(path, "w", libver="latest") as file:
        file.create_dataset("x", (1 << 30,), "u1", chunks=(1,), maxshape=(None,), fillvalue=3)


def member(path: Path) -> None:
    """A deflated member of 400 MB."""
    import struct
    import zipfile

    header = bytearray(b"\x93NUMPY\1\0")
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({400 * MIB},), }}".ljust(117) + "\n"
    header += struct.pack("<H", len(text)) + text.encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as file:
        file.write(bytes(header))
        for _ in range(400):
            file.write(bytes(MIB))


def million(path: Path) -> None:
    """A million chunks, all stored."""
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (1_000_000, 64), "u1", chunks=(1, 64))[...] = 1


@pytest.mark.parametrize(
    ("write", "suffix", "component", "key", "total", "most"),
    [
        (npy, ".npy", "", "numpy.s_[-1, -9:]", 7, 24 * MIB),
        (chunked, ".h5", "x", "numpy.s_[5:9, 1000:3000]", 2000, 120 * MIB),
        (empty, ".h5", "x", "numpy.s_[1000:1010]", 30, 24 * MIB),
        (member, ".npz", "x", f"numpy.s_[{300 * MIB} : {300 * MIB} + 10]", 0, 110 * MIB),
        pytest.param(million, ".h5", "x", "numpy.s_[999_000:, :2]", 2000, 120 * MIB, marks=pytest.mark.long),
    ],
    ids=["npy", "sparse hdf5", "empty hdf5", "deflated npz", "a million chunks"],
)
def test_a_crop_takes_little(
    tmp_path: Path, write: Callable[[Path], None], suffix: str, component: str, key: str, total: int, most: int
) -> None:
    path = tmp_path / f"x{suffix}"
    write(path)
    nbytes, found = cost(path, component, key)
    assert found == total
    assert nbytes < most, f"{nbytes / MIB:.0f} MB"


@pytest.mark.parametrize("declared", [1 << 20, 1 << 31])
def test_a_declared_size_costs_nothing(tmp_path: Path, declared: Any) -> None:
    """A chunk of some stored bytes that says it has many."""
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("x", (declared,), "u1", chunks=(declared,), compression="gzip")
        dataset.id.write_direct_chunk((0,), zlib.compress(bytes(1000)))
    done = subprocess.run(
        [sys.executable, "-c", CHILD.replace("found = array[key]", CAUGHT), str(path), "x", "numpy.s_[:10]"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[0]) < 16 * MIB


CAUGHT = """
try:
    array[key]
except packstore.errors.PackstoreError:
    found = 0
"""
