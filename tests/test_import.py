"""What `import packstore` loads, and what a fresh process finds without importing it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

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
