"""Virtual datasets with a missing source, by the commands: named, never copied as fill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest


@pytest.fixture
def half(tmp_path: Path) -> Path:
    path = tmp_path / "v.h5"
    layout = h5py.VirtualLayout((4,), "i8")
    layout[:2] = h5py.VirtualSource(".", "inside", (2,))
    layout[2:] = h5py.VirtualSource("gone.h5", "d", (2,))
    with h5py.File(path, "w", libver="latest") as f:
        f["inside"] = np.array([5, 6])
        f.create_virtual_dataset("x", layout, fillvalue=-1)
    return path


def test_info_names_it(cli: Any, half: Path) -> None:
    found = cli("info", half, "--json")
    assert found.code == 0
    assert "no such file" in found.json["unsupported"]["x@gone.h5"]
    assert "gone.h5" in cli("info", half).out
    assert cli("info", half, "--json", "-o", "missing_sources=fill").json["unsupported"] == {}


def test_convert_and_verify_refuse_it(cli: Any, fails: Any, half: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.npz"
    assert "gone.h5" in fails("convert", half, target)
    assert not target.exists()
    done = cli("convert", half, target, "-o", "missing_sources=fill")
    assert done.code == 0
    assert np.load(target)["x"].tolist() == [5, 6, -1, -1]
    assert cli("verify", half, target, "-o", "missing_sources=fill").code == 0
    assert "pass --option missing_sources=fill" in fails("verify", half, target, "--component", "x")
