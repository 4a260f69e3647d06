"""Pictures of arrays: which elements they show, in files and in the terminal."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from packstore.cli.app import run
from packstore.cli.plot import plot
from packstore.errors import ComponentNotFoundError, DtypeError, MissingPackageError, OptionError, ShapeError
from packstore.views import picture
from packstore.views.lazy import open_lazy
from packstore.views.picture import limits, sample

Y, X = np.mgrid[:300, :400]
DISK = (Y - 150) ** 2 + (X - 200) ** 2 < 9000


def saved(folder: Path, array: Any) -> str:
    np.save(folder / "x.npy", array)
    return str(folder / "x.npy")


@pytest.mark.parametrize(
    ("shape", "most", "key"),
    [
        ((300, 400), (100, 100), (slice(None, None, 3), slice(None, None, 4))),
        ((30, 40), (100, 100), (slice(None), slice(None))),
        ((5, 7, 30, 40), (10, 10), (2, 3, slice(None, None, 3), slice(None, None, 4))),
        ((1000,), (100,), (slice(None, None, 10),)),
        ((3, 4), (2, 3), (slice(None, None, 2), slice(None, None, 2))),
    ],
)
def test_elements_are_taken_by_steps(tmp_path: Path, shape: tuple[int, ...], most: Any, key: Any) -> None:
    array = np.arange(np.prod(shape)).reshape(shape)
    found = sample(open_lazy(saved(tmp_path, array)), most)
    np.testing.assert_array_equal(found.values, array[key])
    assert max(found.values.shape) <= max(most)


def test_the_index(tmp_path: Path) -> None:
    array = np.arange(5 * 6 * 7 * 8).reshape(5, 6, 7, 8)
    lazy = open_lazy(saved(tmp_path, array))
    found = sample(lazy, (50, 50), (1, -1))
    assert found.positions == {0: 1, 1: 5}
    np.testing.assert_array_equal(found.values, array[1, -1])
    for wrong in (1,), (1, 2, 3), (5, 0), (0, -7):
        with pytest.raises(OptionError, match=r"first 2 axes, of lengths \(5, 6\)"):
            sample(lazy, (50, 50), wrong)


def test_kinds_of_elements(tmp_path: Path) -> None:
    for array, expected in (
        (DISK, DISK),
        (DISK * (3 + 4j), DISK * 5.0),
        (Y.astype("M8[s]"), Y),
        (Y.astype("f2"), Y.astype("f2")),
        (np.stack([Y, X, Y], -1).astype("u1"), np.stack([Y, X, Y], -1).astype("u1")),
    ):
        np.testing.assert_array_equal(sample(open_lazy(saved(tmp_path, array)), (500, 500)).values, expected)
    for array, kind in (
        (np.array(["a", "b"]), DtypeError),
        (np.zeros(3, [("a", "i4")]), DtypeError),
        (np.float64(3), ShapeError),
        (np.zeros((0, 3)), ShapeError),
    ):
        with pytest.raises(kind, match=r"drawing .*x\.npy: expected an array"):
            sample(open_lazy(saved(tmp_path, array)), (50, 50))


def test_few_chunks_are_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    array = np.arange(600 * 600, dtype="i4").reshape(600, 600)
    with h5py.File(tmp_path / "x.h5", "w") as f:
        f.create_dataset("x", data=array, chunks=(20, 30), compression="gzip")
    lazy = open_lazy(tmp_path / "x.h5", "x")
    assert sample(lazy, (300, 300)).steps == (2, 2)
    monkeypatch.setattr(picture, "MAX_DECODED_NBYTES", 20 * 20 * 30 * 4)
    found = sample(lazy, (300, 300))
    touched = np.prod([-(-600 // max(step, chunk)) for step, chunk in zip(found.steps, (20, 30), strict=True)])
    assert touched <= 20 and found.values.size >= 10
    np.testing.assert_array_equal(found.values, array[:: found.steps[0], :: found.steps[1]])


def test_files(tmp_path: Path) -> None:
    image = pytest.importorskip("matplotlib.image")
    path = saved(tmp_path, np.stack([DISK, ~DISK]))
    for suffix in "png", "svg", "pdf":
        out = tmp_path / f"x.{suffix}"
        result = plot(path, None, {}, index=(1,), out=str(out), overwrite=False)
        assert result["out"] == str(out) and result["index"] == [1] and "grey" not in result
        assert out.read_bytes()[:4] in (b"\x89PNG", b"<?xm", b"%PDF")
    shown = image.imread(tmp_path / "x.png")[..., :3]
    height, width = shown.shape[:2]
    assert (height, width) == (840, 1080)
    # Black in the middle of the inverted disk, white in its corner.
    assert shown[height // 2, width // 2].max() < 0.1 and shown.reshape(-1, 3).max() > 0.9
    assert run(["plot", path, "--out", str(tmp_path / "x.png")]) == 2
    assert run(["plot", path, "--out", str(tmp_path / "x.png"), "--overwrite"]) == 0
    plot(saved(tmp_path, np.arange(50.0)), None, {}, index=None, out=str(tmp_path / "line.png"), overwrite=False)
    with pytest.raises(OptionError, match=r"expected a name that ends in one of .*png.*, got xyz"):
        plot(path, None, {}, index=None, out=str(tmp_path / "x.xyz"), overwrite=False)
    assert not (tmp_path / "x.xyz").exists()


def test_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "x.npz", disk=DISK, line=np.arange(100.0), nan=np.full((4, 4), np.nan))
    path = str(tmp_path / "x.npz")
    assert run(["plot", path, "disk"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].strip() == "" and "@@@@@@@@" in lines[len(lines) // 2]
    assert lines[-1].endswith("x.npz[disk] (300, 400) bool, in steps of 7 and 6, False to True")
    assert run(["plot", path, "line"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("*") and lines[11].startswith("*")
    assert run(["plot", path, "nan"]) == 0
    assert "None to None" in capsys.readouterr().out
    assert run(["plot", path, "disk", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["steps"] == [7, 6] and "grey" not in told
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLORTERM", "truecolor")
    assert run(["plot", path, "disk"]) == 0
    assert "\x1b[38;2;255;255;255;48;2;255;255;255m▀" in capsys.readouterr().out


def test_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, DISK)
    with pytest.raises(ComponentNotFoundError):
        plot(path, "absent", {}, index=None, out=None, overwrite=False)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'packstore\[plot\]'"):
        plot(path, None, {}, index=None, out=str(tmp_path / "x.png"), overwrite=False)


def test_limits() -> None:
    assert limits(np.array([np.nan, np.inf])) == (0.0, 1.0)
    assert limits(np.r_[np.zeros(500), 1.0]) == (0.0, 1.0)
    assert limits(np.full(9, 7)) == (7.0, 8.0)
