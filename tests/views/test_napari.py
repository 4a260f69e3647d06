"""The reader for napari, by npe2's own loader where it is installed: layers, kinds, laziness, other files."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import dask.array as da
import h5py
import numpy as np
import pytest

import packstore
from packstore.errors import FormatError
from packstore.views.napari import get_reader, read_layers

MASK = np.random.default_rng(0).random((4, 30, 40)) < 0.2
X = np.arange(1200.0).reshape(30, 40)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    np.save(tmp_path / "x.npy", X)
    np.savez(tmp_path / "x.npz", mask=MASK, x=X, row=X[0], names=np.array([["a", "b"]]))
    with h5py.File(tmp_path / "x.h5", "w") as f:
        f["entry/x"], f["entry/mask"] = X, MASK
    for name in "m.zarr", "m.zarr.zip", "m.ozx":
        packstore.save(tmp_path / name, {"mask": MASK})
    return {path.name: path for path in tmp_path.iterdir()}


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.h5", "m.zarr", "m.zarr.zip", "m.ozx"])
def test_layers(files: dict[str, Path], name: str) -> None:
    reader = get_reader(str(files[name]))
    assert reader is not None
    layers = reader(str(files[name]))
    for data, options, kind in layers:
        assert isinstance(data, da.Array)
        is_mask = "mask" in options["name"]
        assert kind == ("labels" if is_mask else "image")
        np.testing.assert_array_equal(data.compute(scheduler="sync"), MASK if is_mask else X)
        assert data.dtype == (np.uint8 if is_mask else X.dtype)
    names = [options["name"] for _, options, _ in layers]
    want = {"x.npy": ["x.npy"], "x.npz": ["x.npz[mask]", "x.npz[x]"], "x.h5": ["x.h5[entry/mask]", "x.h5[entry/x]"]}
    assert sorted(names) == want.get(name, [f"{name}[mask]"])


def test_what_is_no_layer(files: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert get_reader(str(tmp_path / "x.png")) is None
    assert get_reader([str(files["x.npy"]), str(tmp_path / "absent.npy")]) is None
    np.save(tmp_path / "row.npy", X[0])
    with pytest.raises(FormatError, match=r"row\.npy: expected an array of numbers or bools with two axes or more"):
        read_layers(str(tmp_path / "row.npy"))
    assert len(read_layers([str(files["x.npy"]), str(files["x.h5"])])) == 3


NPE2 = """
import sys
import npe2
manifest = npe2.PluginManifest.from_distribution("packstore")
manifest.validate_imports()
manager = npe2.PluginManager()
manager.register(manifest)
manager.activate("packstore")
command = next(iter(manager.iter_compatible_readers(sys.argv[1]))).command
((data, options, kind),) = manager.commands.execute(command, kwargs={"path": sys.argv[1]})(sys.argv[1])
print(options["name"], kind, int(data.sum().compute()))
"""


def test_npe2_finds_and_runs_it(files: dict[str, Path]) -> None:
    (found,) = (each for each in entry_points(group="napari.manifest") if each.name == "packstore")
    assert found.value == "packstore:napari.yaml"
    if find_spec("npe2") is None:
        pytest.skip("npe2 is not installed")
    # In a process of its own: npe2 warns of itself.
    command = [sys.executable, "-c", NPE2, str(files["m.zarr"])]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == f"m.zarr[mask] labels {MASK.sum()}\n", done.stderr
