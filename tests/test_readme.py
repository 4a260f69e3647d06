"""The README's commands and code run as they are."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()


def blocks(language: str, text: str = TEXT) -> list[str]:
    """The fenced blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def section(heading: str) -> str:
    """What stands below a heading, to the next one."""
    (found,) = re.findall(rf"^{re.escape(heading)}\n(.*?)(?=^#)", TEXT, re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the README names."""
    rng = np.random.default_rng(0)
    masks = rng.random((6, 200, 220)) < 0.1
    with h5py.File(tmp_path / "scan.h5", "w") as file:
        file.create_dataset("entry/masks", data=masks, chunks=(1, 64, 64), compression="gzip")
    np.savez(tmp_path / "results.npz", scores=rng.random(10), labels=np.array(["a", "b"]))
    (tmp_path / "frames").mkdir()
    for i in range(12):
        np.save(tmp_path / "frames" / f"{i}.npy", np.full((30, 40), i, np.float32))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_two_commands() -> None:
    for heading, ends in {
        "### Run the main job": "python examples/masks_to_dask.py",
        "### Run the tests": "python -m pytest -q -n 2",
    }.items():
        (command,) = blocks("sh", section(heading))
        assert command.count("\n") == 1, "one line"
        assert command.startswith("python3 -m venv .venv && ") and command.rstrip().endswith(ends)
        assert subprocess.run(["bash", "-n"], input=command, text=True).returncode == 0


def test_python_blocks_in_order(files: Path) -> None:
    found = blocks("python")
    assert len(found) >= 4
    names: dict[str, Any] = {}
    for i, code in enumerate(found):
        exec(compile(code, f"README block {i}", "exec"), names)
    masks = h5py.File("scan.h5")["entry/masks"][()]
    np.testing.assert_array_equal(names["masks"][3, ::2, -100:], masks[3, ::2, -100:])
    mask = names["mask"]
    assert int(names["packstore"].open_array("mask.zarr").count_nonzero()) == int(mask.sum())
    np.testing.assert_array_equal(names["zarr"].open_array("raw.zarr", mode="r")[...], mask)
    want = mask.copy()
    want[100:200] |= mask[300:400]
    np.testing.assert_array_equal(np.asarray(names["bits"]), want)
    assert names["stack"].shape == (12, 30, 40)
    np.testing.assert_array_equal(names["stack"][:, 0, 0].compute(), np.arange(12))
    with h5py.File("frames.h5") as file:
        np.testing.assert_array_equal(file["frames"][:, 3, 4], np.arange(12))


def test_shell_commands(files: Path) -> None:
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
