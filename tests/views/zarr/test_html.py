"""What notebooks show of arrays and groups: well-formed, escaped, complete, and nothing is read for it."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr

import packstore
from packstore.source import FileSource

MASK = np.random.default_rng(0).random((64, 100, 130)) < 0.1


def parsed(shown: Any) -> tuple[ET.Element, str]:
    html = shown._repr_html_()
    root = ET.fromstring(html)
    return root, " ".join(text.strip() for text in root.itertext() if text.strip())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "x.h5", "w") as f:
        f.attrs["title"] = "<b>bold</b> & more"
        f.create_dataset("entry/masks", data=MASK, chunks=(1, 64, 64), compression="gzip")
        f.create_dataset("entry/<i>", data=np.arange(3.0))
        f.create_dataset("refs", data=[f.ref], dtype=h5py.ref_dtype)
        f.create_group("empty")
    return tmp_path / "x.h5"


def test_array(path: Path) -> None:
    root, text = parsed(packstore.open_array(path, "entry/masks"))
    for part in ("x.h5[entry/masks]", "(64, 100, 130)", "bool", "(1, 64, 64), 384 of them", "812.50 kiB", "deflate"):
        assert part in text, text
    assert "times smaller" in text
    (svg,) = root.iter("svg")
    assert len(list(svg.iter("line"))) > 10


def test_group(path: Path) -> None:
    _, text = parsed(packstore.open_group(path))
    for part in ("<b>bold</b> & more", "masks (64, 100, 130) bool", "<i> (3,) float64", "empty group", "1 not served"):
        assert part in text, text
    assert "refs" in text
    _, text = parsed(packstore.open_group(path, "entry"))
    assert "masks" in text and "refs" not in text


@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (3,), (100_000, 70_000), (5, 4, 3, 2)])
def test_shapes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as f:
        chunks = tuple(min(n, 7) for n in shape) if 0 not in shape and shape else None
        f.create_dataset("a", shape, "f4", chunks=chunks)
    html = packstore.open_array(tmp_path / "x.h5", "a")._repr_html_()
    ET.fromstring(html)
    # A picture of 143 million chunks has some lines only.
    assert len(html) < 30_000


def test_many_members(tmp_path: Path) -> None:
    members: dict[str, Any] = {f"m{i}": np.arange(2) for i in range(500)}
    np.savez(tmp_path / "x.npz", **members)
    _, text = parsed(packstore.open_group(tmp_path / "x.npz"))
    assert "m0 (2,) int64" in text and "and 300 more" in text


def test_nothing_is_read(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packstore.save(tmp_path / "m.zarr", {"a": MASK})
    np.savez_compressed(tmp_path / "x.npz", a=MASK)
    shown: list[Any] = [
        packstore.open_array(path, "entry/masks"),
        packstore.open_group(path),
        packstore.open_array(tmp_path / "m.zarr", "a"),
        packstore.open_group(tmp_path / "m.zarr"),
        packstore.open_array(tmp_path / "x.npz", "a"),
    ]

    def fail(*_: Any, **__: Any) -> Any:
        raise AssertionError("read")

    for name in "pread", "read_ranges", "view":
        monkeypatch.setattr(FileSource, name, fail)
    monkeypatch.setattr("os.scandir", fail)
    monkeypatch.setattr("os.listdir", fail)
    for each in shown:
        assert each._repr_html_()
    group = shown[1]
    group.location.close()
    assert "<code>.tree()</code>" in group._repr_html_()


def test_closed_and_plain_ones(path: Path) -> None:
    with packstore.open_group(path) as group:
        member = group["entry/masks"]
    assert group._repr_html_() == "<p>Group, closed</p>" and member._repr_html_() == "<p>Array, closed</p>"
    plain = packstore.Array(zarr.create_array({}, data=MASK).async_array)
    assert "(64, 100, 130)" in plain._repr_html_()
