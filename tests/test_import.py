"""What `import packstore` loads, and what a fresh process finds without importing it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr

import packstore

HEAVY = ["zarr", "dask", "h5py", "numcodecs", "imagecodecs", "fsspec", "asyncio", "distributed", "xarray", "typer"]


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded(code: str) -> list[str]:
    return list(
        json.loads(run(f"{code}\nimport sys, json; print(json.dumps([n for n in {HEAVY} if n in sys.modules]))"))
    )


def test_import_is_cheap() -> None:
    assert loaded("import packstore; packstore.errors; dir(packstore)") == []


def saved(folder: Path, name: str) -> str:
    """A file of the given kind that holds a mask of 8 x 16, at "x" where it has a name."""
    mask = np.arange(128).reshape(8, 16) % 3 == 0
    path = folder / name
    if name.endswith(".npy"):
        np.save(path, mask)
    elif name.endswith(".npz"):
        np.savez_compressed(path, x=mask)
    elif name.endswith(".h5"):
        with h5py.File(path, "w") as file:
            file.create_dataset("x", data=mask, chunks=(4, 16), compression="gzip", shuffle=True)
    elif name == "v2.zarr":
        zarr.create_array(path, data=mask.astype("<i2"), chunks=(4, 16), zarr_format=2)
    elif name == "shards.zarr":
        zarr.create_array(path, data=mask.astype("<f4"), chunks=(2, 16), shards=(4, 16))
    else:
        packstore.save(path, mask)
    return str(path)


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.h5", "packed.zarr", "v2.zarr", "shards.zarr"])
def test_direct_path_of_common_files_needs_numpy_alone(name: str, tmp_path: Path) -> None:
    path = saved(tmp_path, name)
    component = None if name.endswith((".npy", ".zarr")) else "x"
    code = f"import packstore; assert packstore.open_lazy({path!r}, {component!r})[...].sum() == 43"
    found = set(loaded(code))
    assert found <= ({"h5py", "imagecodecs", "numcodecs"} if name != "a.npy" else set())
    # No look at what other packages register either, and no event loop.
    assert "importlib.metadata" not in run(f"{code}; import sys; print(*sys.modules)").split() or name == "a.h5"


def test_direct_path_needs_neither_zarr_nor_dask(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.arange(5))
    code = f"import packstore.views.lazy; assert packstore.views.lazy.open_lazy({str(path)!r})[3] == 3"
    assert set(loaded(code)) & {"zarr", "dask", "h5py", "distributed"} == set()


def test_from_file_needs_no_zarr(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.arange(5))
    code = f"import packstore; assert packstore.from_file({str(path)!r}).sum().compute() == 10"
    assert set(loaded(code)) & {"zarr", "h5py", "numcodecs"} == set()


@pytest.mark.parametrize("name", ["open", "open_array", "open_group", "open_store", "from_file", "LazyArray", "Array"])
def test_names_load_on_first_use(name: str) -> None:
    assert run(f"import packstore; print(packstore.{name}.__name__)").strip() == name


def test_star_import() -> None:
    run("from packstore import *; assert open_array and PackBitsCodec and BitPack")
