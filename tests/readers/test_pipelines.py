"""URL pipelines: what they name, over local files, archives and S3, and what is none."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import fsspec
import h5py
import numpy as np
import pytest
import zarr

import packstore
from packstore.cli.app import run
from packstore.errors import ComponentNotFoundError, FormatError, MissingFileError, OptionError
from packstore.readers.pipelines import parse_pipeline
from tests.servers import s3_server

X = np.arange(12).reshape(3, 4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    members: dict[str, Any] = {"a": X, "b/c d": X + 1}
    np.savez(tmp_path / "x.npz", **members)
    np.save(tmp_path / "x.npy", X)
    with h5py.File(tmp_path / "x.h5", "w") as f:
        f["entry/a"], f["entry/b"] = X, X + 1
    zarr.create_group(tmp_path / "x.zarr").create_array("a", data=X)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name in "x.npz", "x.npy", "x.h5":
            archive.write(tmp_path / name, f"run/{name}")
        archive.write(tmp_path / "x.zarr" / "zarr.json", "run/x.zarr/zarr.json")
        for path in (tmp_path / "x.zarr" / "a").rglob("*"):
            if path.is_file():
                archive.write(path, f"run/{path.relative_to(tmp_path).as_posix()}")
    packstore.save(tmp_path / "x.zarr.zip", {"a": X, "g/b": X + 1})
    return tmp_path


@pytest.mark.parametrize(
    ("pipeline", "plus"),
    [
        ("x.npz|npz:a", 0),
        ("x.npz|npz:b/c%20d", 1),
        ("x.npz|NPZ:/a/", 0),
        ("x.npy|npy:", 0),
        ("x.h5|hdf5:entry/b", 1),
        ("x.zarr|zarr3:a", 0),
        ("x.zarr|zarr:a/", 0),
        ("x.zarr.zip|zip:|zarr3:g/b", 1),
        ("all.zip|zip:run/x.npy", 0),
        ("all.zip|zip:run/x.npy|npy:", 0),
        ("all.zip|zip:run/x.npz|npz:a", 0),
        ("all.zip|zip:run/x.h5|hdf5:entry/b", 1),
        ("all.zip|zip:run/x.zarr/|zarr3:a", 0),
    ],
)
def test_arrays(folder: Path, pipeline: str, plus: int) -> None:
    for path in f"{folder}/{pipeline}", f"file://{folder}/{pipeline}":
        np.testing.assert_array_equal(packstore.open_array(path)[...], X + plus)
        np.testing.assert_array_equal(packstore.from_file(path).compute(scheduler="sync"), X + plus)
        assert packstore.open(path).shape == X.shape


def test_groups_and_components(folder: Path) -> None:
    assert sorted(packstore.open_group(f"{folder}/x.h5|hdf5:entry")) == ["a", "b"]
    np.testing.assert_array_equal(packstore.open_array(f"{folder}/x.h5|hdf5:entry", "b")[...], X + 1)
    with pytest.raises(ComponentNotFoundError, match="entry/absent"):
        packstore.open_array(f"{folder}/x.h5|hdf5:entry", "absent")
    assert sorted(packstore.open_store(f"{folder}/x.h5|hdf5:").unsupported) == []
    with pytest.raises(OptionError, match="expected all of a file, got entry"):
        packstore.open_store(f"{folder}/x.h5|hdf5:entry")


def test_xarray(folder: Path) -> None:
    xr = pytest.importorskip("xarray")
    ds = xr.open_dataset(f"{folder}/x.npz|npz:a", engine="packstore", dims=["y", "x"])
    np.testing.assert_array_equal(ds["a"], X)


def test_in_a_bucket(folder: Path) -> None:
    pytest.importorskip("moto")
    pytest.importorskip("s3fs")
    with s3_server() as (options, client):
        for name in "x.npz", "all.zip", "x.zarr.zip":
            client.put_object(Bucket="bucket", Key=f"pipelines/{name}", Body=(folder / name).read_bytes())
        url = "s3://bucket/pipelines"
        for pipeline in "x.npz|npz:a", "all.zip|zip:run/x.h5|hdf5:entry/a", "x.zarr.zip|zip:|zarr3:a":
            found = packstore.open_array(f"{url}/{pipeline}", storage_options=options)
            np.testing.assert_array_equal(found[...], X)


def test_a_bar_in_a_name_is_no_pipeline(tmp_path: Path) -> None:
    path = tmp_path / "a|npz:b.npy"
    np.save(path, X)
    np.testing.assert_array_equal(packstore.open_array(str(path))[...], X)
    np.testing.assert_array_equal(packstore.open_array(path)[...], X)
    for text in "a|b", "a|b/c:d", "plain", tmp_path:
        assert parse_pipeline(text) is None
    fsspec.filesystem("memory").pipe("/bars/a|b.npy", (tmp_path / "a|npz:b.npy").read_bytes())
    np.testing.assert_array_equal(packstore.open_array("memory://bars/a|b.npy")[...], X)


@pytest.mark.parametrize(
    ("pipeline", "options", "error", "text"),
    [
        ("x.npz|icechunk:a", {}, OptionError, "expected one of hdf5, .*zip, got icechunk:"),
        ("x.npz|npz:a|hdf5:b", {}, OptionError, "expected no step behind that of a format, got hdf5:b"),
        ("all.zip|zip:a.zip|zip:b", {}, OptionError, "expected one archive, got one in another"),
        ("x.npz|npz:a", {"format": "hdf5"}, OptionError, "expected format 'npz', as the pipeline says, got 'hdf5'"),
        ("x.npz|hdf5:a", {}, FormatError, r"x\.npz"),
        ("absent.npz|npz:a", {}, MissingFileError, r"absent\.npz"),
    ],
)
def test_errors(folder: Path, pipeline: str, options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        packstore.open_array(f"{folder}/{pipeline}", **options)


def test_commands_take_pipelines(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    npz, archive = f"{folder}/x.npz|npz:a", f"{folder}/all.zip|zip:run/x.h5|hdf5:entry/a"
    assert run(["info", npz, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["path"], list(told["arrays"])) == (npz, ["a"])
    assert run(["convert", "-q", npz, f"{tmp_path}/a.npy"]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), X)
    assert run(["convert", "-q", npz, archive, f"{tmp_path}/both.npz"]) != 0  # two of one name
    assert run(["convert", "-q", archive, f"{tmp_path}/a.zarr"]) == 0
    np.testing.assert_array_equal(packstore.open_array(tmp_path / "a.zarr")[...], X)
    assert run(["verify", npz, f"{tmp_path}/a.npy"]) == run(["verify", f"{tmp_path}/a.zarr", archive]) == 0
    assert run(["verify", archive, npz, "--values-only"]) == 0
    capsys.readouterr()
    assert run(["info", f"{folder}/x.npz|npz:a", "--format", "hdf5"]) == 2
    assert "as the pipeline says" in capsys.readouterr().err
