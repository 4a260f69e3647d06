"""Every example runs, small; each asserts its own results."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.browser import browse

EXAMPLES = Path(__file__).parents[1] / "examples"
# `.ci/run` runs all of each example besides.
pytestmark = pytest.mark.long

SMALL = {
    "batch_folder.py": ["--files", "3", "--frames", "3", "--size", "64"],
    "cluster_batch.py": ["--files", "60", "--size", "64"],
    "masks_to_dask.py": ["--size", "512", "--frames", "2"],
    "ragged.py": ["--arrays", "12", "--rows", "16", "--width", "40"],
    "which_format.py": ["--size", "128", "--frames", "2", "--rounds", "1"],
}
LAST_LINE = {
    "batch_folder.py": "all results agree with numpy",
    "cluster_batch.py": "all results agree with numpy",
    "masks_to_dask.py": "all formats agree with numpy",
    "ragged.py": "all arrays came back with their shapes and values",
    "which_format.py": "all formats gave equal values; plot: ",
}


def run(name: str, *options: str) -> str:
    environment = {**os.environ, "COLUMNS": "120", "PYTHONWARNINGS": "error::ResourceWarning"}
    command = [sys.executable, str(EXAMPLES / name), *options]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_all_are_here() -> None:
    assert {p.name for p in EXAMPLES.glob("*.py")} == set(SMALL)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_runs_small(name: str, tmp_path: Path) -> None:
    options = ["--out", str(tmp_path)] if name == "which_format.py" else []
    out = run(name, *SMALL[name], *options)
    assert out.splitlines()[-1].startswith(LAST_LINE[name])


def test_plot_and_answers(tmp_path: Path) -> None:
    out = run("which_format.py", *SMALL["which_format.py"], "--out", str(tmp_path))
    assert (tmp_path / "which_format.png").read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in tmp_path.iterdir()] == ["which_format.png"]
    for kind in ("masks", "floats", "ints"):
        assert f"\n{kind}: smallest " in out
    for name in (
        "np.save",
        "np.savez",
        "np.savez_compressed",
        "tofile",
        "h5py gzip",
        "pickle",
        "np.savetxt",
        "packstore zarr",
    ):
        assert f"│ {name} " in out


def test_asks_for_matplotlib_before_it_measures(tmp_path: Path) -> None:
    (tmp_path / "matplotlib.py").write_text("raise ImportError")
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "which_format.py"), "--out", str(out)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])},
        timeout=60,
    )
    assert done.returncode == 2 and "pip install matplotlib" in done.stderr and done.stdout == ""
    assert not out.exists()


@pytest.mark.parametrize("name", ["batch_folder.py", "ragged.py"])
def test_files_can_be_kept(name: str, tmp_path: Path) -> None:
    run(name, *SMALL[name], "--keep", str(tmp_path / "kept"))
    assert any((tmp_path / "kept").iterdir())


def test_the_notebook(tmp_path: Path) -> None:
    """All cells run, and a browser shows the tree, the tables and the pictures of chunks."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(EXAMPLES / "looking.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "commit it without outputs"
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [each["data"] for cell in notebook.cells for each in cell.get("outputs", []) if "data" in each]
    assert shown[3]["text/plain"].startswith("(34") and shown[4]["text/plain"] == "((256, 320), (1, 1))"
    page = "".join(each["text/html"] for each in shown[:3])
    (tmp_path / "page.html").write_text(f"<!doctype html><meta charset=utf-8><body>{page}")
    text = browse(f"file://{tmp_path}/page.html", tmp_path / "profile")
    assert text.count("<svg") == 2 and "<b>frames</b> (6, 256, 320) float32" in text and "480.00 kiB" in text
    assert text.count("<table") >= 5
