"""``.zarr.zip`` and ``.ozx`` against zarr's own store, OME-Zarr's RFC-9, and the sources of what is saved."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import dask.array as da
import fsspec
import numpy as np
import pytest
import zarr
from zarr.storage import ZipStore

import packstore
from packstore.cli.convert import How, convert
from packstore.errors import FormatError, OptionError, PackstoreError, TargetExistsError

MASK = np.random.default_rng(0).random((70, 300, 400)) < 0.2


@pytest.mark.parametrize("name", ["a.zarr.zip", "a.ozx"])
@pytest.mark.parametrize(
    "options", [{}, {"zarr_format": 2}, {"chunks": {"g/mask": (7, 300, 400)}}, {"pack": False}], ids=str
)
def test_zarr_reads_it(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    data = {"g/mask": MASK, "x": np.arange(5.0)}
    report = packstore.save(tmp_path / name, data, attributes={"who": "me"}, **options)
    assert report.format == "zarr_zip" and os.listdir(tmp_path) == [name]
    with ZipStore(tmp_path / name, mode="r") as store:
        root = zarr.open_group(store, mode="r")
        assert dict(root.attrs) == {"who": "me"}
        for path, values in data.items():
            np.testing.assert_array_equal(root[path][...], values)  # type: ignore[index]
            np.testing.assert_array_equal(packstore.open_array(tmp_path / name, path)[...], values)


def test_metadata_come_first(tmp_path: Path) -> None:
    packstore.save(tmp_path / "a.ozx", {"g/mask": MASK, "x": np.arange(5)}, attributes={"ome": {"version": "0.5"}})
    with zipfile.ZipFile(tmp_path / "a.ozx") as archive:
        names = archive.namelist()
        assert names[:4] == ["zarr.json", "g/zarr.json", "x/zarr.json", "g/mask/zarr.json"]
        assert all(not name.endswith("zarr.json") for name in names[4:])
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert json.loads(archive.comment)["ome"] == {
            "version": "0.5",
            "zipFile": {"centralDirectory": {"jsonFirst": True}},
        }
        assert archive.testzip() is None


def test_one_array_and_dask(tmp_path: Path) -> None:
    lazy = da.from_array(MASK, chunks=(20, 300, 400))
    packstore.save(tmp_path / "a.zarr.zip", lazy)
    np.testing.assert_array_equal(packstore.open_array(tmp_path / "a.zarr.zip")[...], MASK)
    packstore.save(tmp_path / "b.zarr.zip", packstore.open_array(tmp_path / "a.zarr.zip"))
    np.testing.assert_array_equal(packstore.from_file(tmp_path / "b.zarr.zip").compute(), MASK)


def test_behind_a_url() -> None:
    url = "memory://zarr-zip/a.zarr.zip"
    packstore.save(url, {"mask": MASK}, overwrite=True)
    assert fsspec.filesystem("memory").isfile("/zarr-zip/a.zarr.zip")
    np.testing.assert_array_equal(packstore.open_array(url, "mask")[3:9, 5:], MASK[3:9, 5:])


def test_what_is_there_survives(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr.zip"
    packstore.save(path, np.arange(3))
    before = path.read_bytes()
    with pytest.raises(TargetExistsError):
        packstore.save(path, MASK)

    def fail(block: Any) -> Any:
        raise ZeroDivisionError("in the graph")

    broken = da.from_array(MASK, chunks=(20, 300, 400)).map_blocks(fail, dtype=bool)
    with pytest.raises(ZeroDivisionError):
        packstore.save(path, broken, overwrite=True)
    with pytest.raises(FormatError, match=r"adding to .*/a\.zarr\.zip: expected a zarr group, got an array"):
        packstore.save(path, {"b": MASK}, mode="a")
    with pytest.raises(PackstoreError):
        packstore.save(path, MASK, overwrite=True, compressor="nonsense")
    assert path.read_bytes() == before and os.listdir(tmp_path) == [path.name]
    packstore.save(path, MASK, overwrite=True)
    assert packstore.open_array(path).shape == MASK.shape


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_adding(tmp_path: Path, zarr_format: int) -> None:
    path = tmp_path / "a.zarr.zip"
    packstore.save(path, {"run/a": np.arange(5), "b": MASK[0]}, zarr_format=zarr_format)
    packstore.save(path, {"run/c": MASK[1], "d": np.arange(3.0)}, mode="a", attributes={"note": "later"})
    expected = {"run/a": np.arange(5), "b": MASK[0], "run/c": MASK[1], "d": np.arange(3.0)}
    with ZipStore(path, mode="r") as store:
        root = zarr.open_group(store, mode="r")
        assert root.metadata.zarr_format == zarr_format and dict(root.attrs) == {"note": "later"}
        for name, values in expected.items():
            np.testing.assert_array_equal(root[name][...], values)  # type: ignore[index]
            np.testing.assert_array_equal(packstore.open_array(path, name)[...], values)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        assert len(set(names)) == len(names) and not any(i.compress_type for i in archive.infolist())
    before = path.read_bytes()
    with pytest.raises(TargetExistsError, match=r"a\.zarr\.zip\[b\]: expected a name that is free, got an array"):
        packstore.save(path, {"b": np.arange(2)}, mode="a")
    with pytest.raises(OptionError, match=f"expected zarr_format {zarr_format}, the store's"):
        packstore.save(path, {"e": np.arange(2)}, mode="a", zarr_format=5 - zarr_format)
    with pytest.raises(OptionError, match="expected a name for the array, got none"):
        packstore.save(path, np.arange(2), mode="a")
    assert path.read_bytes() == before and os.listdir(tmp_path) == [path.name]
    packstore.save(path, {"b": np.arange(2)}, mode="a", overwrite=True)
    assert packstore.open_array(path, "b")[...].tolist() == [0, 1]
    path.write_bytes(before[: len(before) // 2])
    with pytest.raises(FormatError, match=r"adding to .*/a\.zarr\.zip: expected a zip archive with a zarr group"):
        packstore.save(path, {"e": np.arange(2)}, mode="a")
    assert path.read_bytes() == before[: len(before) // 2]


def test_the_command_converts(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", mask=MASK, x=np.arange(5))
    convert([str(tmp_path / "a.npz")], str(tmp_path / "a.zarr.zip"), (), how=How(), options={})
    found = packstore.open_group(tmp_path / "a.zarr.zip")
    assert sorted(found) == ["mask", "x"]
    np.testing.assert_array_equal(found["mask"][...], MASK)
