"""Dask arrays that are expressions: with "array.query-planning", and those of the package dask-array."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import packstore

pytestmark = pytest.mark.long
X = np.arange(6000, dtype="i4").reshape(60, 100)

# dask decides when it is imported, so for a process.
CHILD = """
import sys
import dask
dask.config.set({"array.query-planning": True})
import dask.array as da, numpy as np, packstore
from pathlib import Path

x, folder = np.arange(6000).reshape(60, 100), Path(sys.argv[1])
lazy = da.from_array(x, chunks=(20, 30))
assert hasattr(lazy, "expr")
for name in "x.zarr", "x.npy", "x.npz", "x.h5":
    packstore.save(folder / name, lazy + 1)
    found = packstore.from_file(folder / name, chunks=(25, 40))
    assert hasattr(found, "expr") and found.dtype == x.dtype
    assert np.array_equal(found.compute(), x + 1), name
    assert np.array_equal((found[::7, -30:] * 2).compute(), (x + 1)[::7, -30:] * 2), name
    assert found.mean(axis=0).sum().compute() == (x + 1).mean(axis=0).sum()
    assert packstore.from_file(folder / name, chunks=(25, 40)).name == found.name
packstore.save(folder / "m.zarr", lazy % 3 == 0)
assert packstore.count_nonzero(folder / "m.zarr").compute() == (x % 3 == 0).sum()
by_row = packstore.count_nonzero(folder / "m.zarr", axis=1, chunks=(7, 100))
assert np.array_equal(by_row.compute(), (x % 3 == 0).sum(axis=1))
files = packstore.from_files([folder / "x.npy", folder / "x.npy"])
assert np.array_equal(files.compute(), np.concatenate([x + 1, x + 1]))
assert np.array_equal(packstore.from_files([folder / "x.npy"] * 3, new_axis=True)[1].compute(), x + 1)
scalar = packstore.from_file(folder / "x.npy")
np.save(folder / "x.npy", x[:30])
try:
    scalar.sum().compute()
except packstore.errors.StaleFileError:
    print("right")
"""


def test_with_query_planning(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path)], capture_output=True, text=True, env={**os.environ}, timeout=120
    )
    if "expr" in done.stderr and "AssertionError" in done.stderr and 'hasattr(lazy, "expr")' in done.stderr:
        pytest.skip("this dask has no expressions for arrays")
    assert done.stdout == "right\n", done.stderr


@pytest.mark.parametrize("name", ["y.zarr", "y.npy", "y.npz", "y.h5"])
def test_arrays_of_the_package(name: str, tmp_path: Path) -> None:
    dask_array = pytest.importorskip("dask_array")
    np.save(tmp_path / "x.npy", X)
    lazy = dask_array.from_array(packstore.open_array(tmp_path / "x.npy"), chunks=(30, 50)) + 1
    np.testing.assert_array_equal(lazy.compute(), X + 1)
    packstore.save(tmp_path / name, lazy)
    np.testing.assert_array_equal(packstore.open_array(tmp_path / name)[...], X + 1)
