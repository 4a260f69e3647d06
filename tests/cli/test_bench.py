"""``packstore bench``: what it reports, and that it leaves nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest

from packstore.cli.bench import random_boxes

if TYPE_CHECKING:
    from tests.cli.conftest import Cli, Fails

MASK = np.random.default_rng(0).random((6, 128, 128)) < 0.1


def test_reports_every_format_and_the_best(cli: Cli, tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", MASK)
    result = cli("bench", tmp_path / "m.npy", "--rounds", 1, "--crops", 5, "--json")
    assert result.code == 0, result
    found = result.json
    assert found["shape"] == [6, 128, 128] and found["dtype"] == "bool" and found["nbytes"] == MASK.nbytes
    rows = found["formats"]
    assert {"npy", "raw", "npz", "npz compressed", "zarr", "hdf5", "packed bits", "hdf5 packed"} <= set(rows)
    assert rows["npy"]["stored_nbytes"] == (tmp_path / "m.npy").stat().st_size
    assert rows["raw"]["stored_nbytes"] == MASK.nbytes and rows["packed bits"]["stored_nbytes"] == MASK.nbytes // 8
    for row in rows.values():
        assert all(row[key] > 0 for key in ("write_s", "open_s", "read_s", "crops_s"))
    for what, key in {"size": "stored_nbytes", "reading": "read_s", "crops": "crops_s"}.items():
        best = found["best"][what]
        assert rows[best["format"]][key] == min(r[key] for r in rows.values())
        assert best["why"]
    method = found["method"]
    assert method["rounds"] == 1 and method["crop_shape"] == [1, 128, 128] and method["cores"] >= 1
    assert method["versions"]["numpy"] == np.__version__ and "page cache" in method["cache"]
    assert found["measured"] == {"shape": [6, 128, 128], "nbytes": MASK.nbytes, "whole": True}
    assert os.listdir(tmp_path) == ["m.npy"]


def test_text_names_the_method(cli: Cli, tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", MASK)
    out = cli("bench", tmp_path / "m.npy", "--rounds", 2, "--crops", 2, "--formats", "npy,packed bits").out
    for part in ("best for size: packed bits", "best for reading: ", "best for crops: ", "2 of 2 interleaved rounds"):
        assert part in out
    assert "zarr uncompressed" not in out


def test_large_arrays_are_measured_in_part(cli: Cli, tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", MASK)
    arguments = ("bench", tmp_path / "m.npy", "--max-size", MASK.nbytes / 3e6, "--formats", "npy,raw", "--rounds", 1)
    found = cli(*arguments, "--json").json
    assert found["measured"] == {"shape": [2, 128, 128], "nbytes": MASK.nbytes // 3, "whole": False}
    assert found["formats"]["raw"]["stored_nbytes"] == MASK.nbytes // 3
    assert "only the first (2, 128, 128) of it" in cli(*arguments).out


def test_time_limit(cli: Cli, tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", MASK)
    arguments = ("bench", tmp_path / "m.npy", "--seconds", 0, "--formats", "npy", "--rounds", 5)
    assert cli(*arguments, "--json").json["method"]["rounds"] == 1
    assert "1 of 5 interleaved rounds (time was up)" in cli(*arguments).out


def test_formats_that_do_not_take_the_array(cli: Cli, fails: Fails, tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", np.zeros(4, [("a", "f4"), ("b", "i2", (3,))]))
    found = cli("bench", tmp_path / "s.npy", "--rounds", 1, "--crops", 1, "--json").json
    assert "no array members" in found["formats"]["zarr"]["error"] and "read_s" in found["formats"]["npy"]
    assert "not possible as zarr: " in cli("bench", tmp_path / "s.npy", "--rounds", 1, "--crops", 1).out
    assert "no array members" in fails("bench", tmp_path / "s.npy", "--formats", "zarr")


@pytest.mark.parametrize("value", [np.float64(2), np.zeros((0, 3), "f4")], ids=["0-d", "empty"])
def test_corner_shapes(cli: Cli, tmp_path: Path, value: npt.NDArray[Any]) -> None:
    np.save(tmp_path / "a.npy", value)
    result = cli("bench", tmp_path / "a.npy", "--rounds", 1, "--crops", 2, "--json")
    assert result.code == 0 and "zarr" in result.json["formats"]
    assert "says little" in cli("bench", tmp_path / "a.npy", "--rounds", 1, "--crops", 2).out


def test_errors(fails: Fails, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(10))
    np.savez(tmp_path / "a.npz", a=np.arange(3), b=np.arange(3))
    assert "formats out of npy" in fails("bench", tmp_path / "a.npy", "--formats", "tiff")
    assert "--component" in fails("bench", tmp_path / "a.npz")
    assert "nowhere" in fails("bench", tmp_path / "a.npy", "--folder", tmp_path / "nowhere")
    assert sorted(os.listdir(tmp_path)) == ["a.npy", "a.npz"]


def test_boxes_lie_inside() -> None:
    for shape in [(3, 1000, 300), (5,), (), (0, 4), (1, 2, 3, 4)]:
        for box in random_boxes(shape, 20):
            assert len(box) == len(shape)
            for axis, (s, n) in enumerate(zip(box, shape, strict=True)):
                assert 0 <= s.start <= s.stop <= n
                assert s.stop - s.start == min(n, 256 if axis >= len(shape) - 2 else 1)
