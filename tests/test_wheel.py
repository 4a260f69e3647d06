"""The wheel as pip builds it: what is in it, and what it announces."""

from __future__ import annotations

import configparser
import email
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import packstore

ROOT = Path(__file__).parents[1]
# What the build reads; a copy, so that nothing is left in the tree.
SOURCES = ["pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "packstore", "tests/test_wheel.py"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    copy = tmp_path_factory.mktemp("tree")
    for name in SOURCES:
        source, target = ROOT / name, copy / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        else:
            shutil.copy(source, target)
    out = tmp_path_factory.mktemp("wheel")
    # Source distribution first, and the wheel from that.
    command = [sys.executable, "-m", "build", "-o", str(out), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(list(out.glob("*.tar.gz"))) == 1
    (built,) = out.glob("*.whl")
    return zipfile.ZipFile(built)


def metadata(wheel: zipfile.ZipFile, name: str) -> str:
    (path,) = [n for n in wheel.namelist() if n.endswith(f".dist-info/{name}")]
    return wheel.read(path).decode()


@pytest.mark.long
def test_files(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert "packstore/py.typed" in names
    assert any(n.endswith(".dist-info/licenses/LICENSE") for n in names)
    # Every module, and nothing but modules and a manifest: no tests, examples or caches.
    modules = {p.relative_to(ROOT).as_posix() for p in (ROOT / "packstore").rglob("*.py")}
    assert {n for n in names if n.endswith(".py")} == modules
    assert {n.partition("/")[0] for n in names if ".dist-info/" not in n} == {"packstore"}
    assert "packstore/napari.yaml" in names
    assert all(n.endswith((".py", "/py.typed", "/napari.yaml")) for n in names if ".dist-info/" not in n)


@pytest.mark.long
def test_entry_points(wheel: zipfile.ZipFile) -> None:
    found = configparser.ConfigParser()
    found.read_string(metadata(wheel, "entry_points.txt"))
    assert dict(found["console_scripts"]) == {"packstore": "packstore.cli:main"}
    assert found["zarr.codecs"]["packbits"] == "packstore.codecs.packbits:PackBitsCodec"
    assert found["numcodecs.codecs"]["bitpack"] == "packstore.codecs.bitpack:BitPack"
    assert found["xarray.backends"]["packstore"] == "packstore.views.xarray:PackstoreBackend"
    assert found["napari.manifest"]["packstore"] == "packstore:napari.yaml"


@pytest.mark.long
def test_metadata(wheel: zipfile.ZipFile) -> None:
    found = email.message_from_string(metadata(wheel, "METADATA"))
    assert found["Name"] == "packstore" and found["Version"] == packstore.__version__
    assert found["Requires-Python"] == ">=3.11" and found["License-Expression"] == "MIT"
    required = {r.split(";")[0].strip() for r in found.get_all("Requires-Dist", []) if "extra ==" not in r}
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert required == set(declared) and any(r.startswith("zarr>=") for r in required)


@pytest.mark.long
def test_it_installs(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--target",
        str(tmp_path),
        str(wheel.filename),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    code = "import packstore; print(packstore.__file__); packstore.open_array, packstore.virtualizarr.Parser"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
    )
    assert done.stdout.startswith(str(tmp_path)), done.stderr
