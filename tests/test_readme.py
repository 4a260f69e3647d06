"""The README's commands and code run as they are."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr

import packstore

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()


def blocks(language: str, text: str = TEXT) -> list[str]:
    """The fenced blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def section(heading: str) -> str:
    """What stands below a heading, to the next one."""
    (found,) = re.findall(rf"^{re.escape(heading)}\n(.*?)(?=^#)", TEXT, re.MULTILINE | re.DOTALL)
    return str(found)


def test_the_two_commands() -> None:
    for heading, ends in {
        "### Run the main job": "python examples/masks_to_dask.py",
        "### Run the tests": "python -m pytest -q -n 2",
    }.items():
        (command,) = blocks("sh", section(heading))
        assert command.count("\n") == 1, "one line"
        assert command.startswith("python3 -m venv .venv && ") and command.rstrip().endswith(ends)
        assert subprocess.run(["bash", "-n"], input=command, text=True).returncode == 0


def _any_file(names: dict[str, Any]) -> None:
    want = h5py.File("scan.h5")["entry/masks"][()]
    np.testing.assert_array_equal(names["masks"][3, ::2, -100:], want[3, ::2, -100:])


def _masks(names: dict[str, Any]) -> None:
    mask = names["mask"]
    assert packstore.open_array("mask.zarr").count_nonzero() == int(mask.sum())
    for name in ("mask.zarr", "raw.zarr", "for_all.zarr"):
        np.testing.assert_array_equal(zarr.open_array(name, mode="r")[...], mask)
    assert "packbits" not in Path("for_all.zarr/zarr.json").read_text()


def _raw(names: dict[str, Any]) -> None:
    want = names["mask"].copy()
    want[100:200] |= names["mask"][300:400]
    np.testing.assert_array_equal(np.asarray(names["bits"]), want)
    packed = packstore.open_array("mask.bits", format="raw", shape=want.shape, packed_axis=0)
    np.testing.assert_array_equal(packed[...], want)


def _whole_files(names: dict[str, Any]) -> None:
    with h5py.File("run.h5") as one, h5py.File("back.h5") as other:
        for file in (one, other):
            assert file.attrs["operator"] == "A. Person"
            assert dict(file["entry/counts"].attrs) == {"unit": "photons"}
            assert file["entry/counts"].fillvalue == 7
            np.testing.assert_array_equal(file["entry/counts"], np.arange(12).reshape(3, 4))
    assert len(names["report"].lost) >= 2
    np.testing.assert_array_equal(np.load("run.npz")["entry/counts"], np.arange(12).reshape(3, 4))
    group = zarr.open_group("run.zarr", mode="r")
    assert sorted(name for name, _ in group.members(max_depth=None)) == ["entry", "entry/counts", "entry/mask"]


def _folder(names: dict[str, Any]) -> None:
    assert names["stack"].shape == (12, 30, 40)
    np.testing.assert_array_equal(names["stack"][:, 0, 0].compute(), np.arange(12))
    np.testing.assert_array_equal(zarr.open_array("frames.zarr", mode="r")[:, 3, 4], np.arange(12))
    with h5py.File("frames.h5") as file:
        np.testing.assert_array_equal(file["frames"][:, 3, 4], np.arange(12))


def _netcdf(names: dict[str, Any]) -> None:
    import xarray as xr

    with xr.open_dataset("air.nc") as want:
        for got in (
            xr.open_zarr(packstore.open_store("air.nc"), consolidated=False),
            xr.open_zarr("air.zarr", consolidated=False),
        ):
            xr.testing.assert_identical(got, want)


def _xarray(names: dict[str, Any]) -> None:
    _netcdf(names)
    cells = names["cells"]
    with np.load("cells.npz") as saved:
        np.testing.assert_array_equal(cells["mask"], saved["mask"])
        np.testing.assert_array_equal(zarr.open_group("cells.zarr", mode="r")["mask"][...].astype(bool), saved["mask"])  # type: ignore[index, union-attr]
    assert cells["mask"].dims == ("y", "x")


def _references(names: dict[str, Any]) -> None:
    store = zarr.storage.FsspecStore(names["files"], read_only=True, path="")
    root = zarr.open_group(store, mode="r")
    with np.load("run.npz") as saved:
        for name, values in saved.items():
            np.testing.assert_array_equal(root[name][...], values)  # type: ignore[index]


# What each Python block of the README did, in order.
CHECKS: list[Callable[[dict[str, Any]], None]] = [_any_file, _masks, _raw, _whole_files, _folder, _xarray, _references]


def test_each_block_has_its_check() -> None:
    assert len(blocks("python")) == len(CHECKS)


@pytest.mark.parametrize("number", range(len(CHECKS)))
def test_python_block(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each runs by itself, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(blocks("python")[number], f"README block {number}", "exec"), names)
    CHECKS[number](names)


@pytest.mark.long
def test_shell_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with h5py.File("scan.h5", "w") as file:
        masks = np.random.default_rng(0).random((6, 200, 220)) < 0.1
        file.create_dataset("entry/masks", data=masks, chunks=(1, 64, 64), compression="gzip")
    (code,) = [b for b in blocks("sh") if "packstore info" in b]
    script = shutil.which("packstore", path=str(Path(sys.executable).parent))
    assert script is not None
    path = f"{Path(script).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path}
    for line in code.splitlines():
        done = subprocess.run(["bash", "-euc", line], capture_output=True, text=True, env=environment, timeout=300)
        assert done.returncode == 0, (line, done.stderr)
        assert done.stdout and done.stderr == ""
    for name in ("info", "convert", "verify", "bench"):
        assert f"packstore {name} " in code
