"""References read back by fsspec, zarr and xarray, against what packstore reads; what cannot be expressed is named."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import fsspec
import h5py
import numpy as np
import pytest
import zarr
from rich.console import Console

import packstore
from packstore.cli.refs import refer, render
from packstore.errors import ComponentNotFoundError, OptionError, TargetExistsError, UnsupportedError

hdf5plugin: Any = pytest.importorskip("hdf5plugin")
X = np.arange(60_000, dtype="f4").reshape(200, 300)
MASK = np.random.default_rng(0).random((200, 296)) < 0.2


def read_back(references: Any, name: str = "") -> Any:
    """As anyone reads them who has fsspec and zarr."""
    files = fsspec.filesystem(
        "reference", fo=dict(references), asynchronous=True, remote_protocol="file", skip_instance_cache=True
    )
    store = zarr.storage.FsspecStore(files, read_only=True, path="")
    return zarr.open(store, path=name, mode="r", zarr_format=2)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["?", "u1", ">i2", "f4", ">f8", "c16", "S5", "U3", "M8[s]"])
def test_npy(tmp_path: Path, dtype: str, order: Any) -> None:
    values = np.asarray(np.arange(6000) % 7, dtype="i8").astype(dtype).reshape(30, 10, 20).copy(order)
    np.save(tmp_path / "x.npy", values)
    found = packstore.to_references(tmp_path / "x.npy")
    array = read_back(found)
    assert array.dtype == values.dtype
    np.testing.assert_array_equal(array[...], values)


def test_pieces_of_one_run(tmp_path: Path) -> None:
    """Cut where no rest is left; else one chunk."""
    np.save(tmp_path / "a.npy", np.zeros((100, 1000, 1000), "u1"))
    np.save(tmp_path / "b.npy", np.zeros((100_003, 100), "u1"))
    for name, chunks in ("a.npy", 20), ("b.npy", 1):
        found = packstore.to_references(tmp_path / name)["refs"]
        assert sum(isinstance(value, list) for value in found.values()) == chunks
        nbytes = np.load(tmp_path / name, mmap_mode="r").nbytes
        assert sum(value[2] for value in found.values() if isinstance(value, list)) == nbytes


def test_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", **{"a/b": X, "m": MASK, "small": np.arange(3), "nothing": np.zeros((0, 3))})  # type: ignore[arg-type]
    found = packstore.to_references(tmp_path / "x.npz")
    for name, values in np.load(tmp_path / "x.npz").items():
        np.testing.assert_array_equal(read_back(found, name)[...], values)
    assert str(found["refs"]["small/0"]).startswith("base64:")
    one = packstore.to_references(tmp_path / "x.npz", "m", inline_nbytes=0)
    np.testing.assert_array_equal(read_back(one, "m")[...], MASK)
    assert not any(key.startswith("a/") for key in one["refs"])
    np.savez_compressed(tmp_path / "y.npz", a=X, small=np.arange(3))
    with pytest.raises(UnsupportedError, match=r"y\.npz\[a\].*got bytes that are decoded as a whole"):
        packstore.to_references(tmp_path / "y.npz")
    some = packstore.to_references(tmp_path / "y.npz", skip_unsupported=True)
    assert list(some.unsupported) == ["a"] and read_back(some, "small")[...].tolist() == [0, 1, 2]


def test_packed_bits(tmp_path: Path) -> None:
    np.packbits(MASK, axis=-1).tofile(tmp_path / "rows.bits")
    np.packbits(MASK.reshape(-1), bitorder="little").tofile(tmp_path / "flat.bits")
    np.packbits(MASK, axis=0).tofile(tmp_path / "columns.bits")
    raw: dict[str, Any] = {"source_format": "raw", "shape": MASK.shape}
    for name, more in ("rows", {"packed_axis": -1}), ("flat", {"packed_axis": "flat", "bitorder": "little"}):
        found = packstore.to_references(tmp_path / f"{name}.bits", **raw, **more)
        np.testing.assert_array_equal(read_back(found)[...], MASK)
    with pytest.raises(UnsupportedError, match="bits that are packed along another axis"):
        packstore.to_references(tmp_path / "columns.bits", **raw, packed_axis=0)


FILTERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "gzip": {"compression": "gzip", "shuffle": True, "fletcher32": True},
    "zstd": dict(hdf5plugin.Zstd()),
    "blosc": dict(hdf5plugin.Blosc(cname="zstd", shuffle=hdf5plugin.Blosc.BITSHUFFLE)),
    "bzip2": dict(hdf5plugin.BZip2()),
}


@pytest.mark.parametrize("kind", FILTERS)
def test_hdf5(tmp_path: Path, kind: str) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as f:
        f.attrs["title"] = "a title"
        f.create_dataset("g/x", data=X, chunks=(50, 70), **FILTERS[kind]).attrs["unit"] = "m"
        f.create_dataset("m", data=MASK, chunks=(64, 64), **FILTERS[kind])
        f.create_dataset("big", data=X.astype(">i4"), chunks=(200, 300), **FILTERS[kind])
        f.create_dataset("rare", (200, 300), "i4", chunks=(50, 60), fillvalue=7, **FILTERS[kind])[:50, :60] = 1
        f.create_dataset("contiguous", data=X)
    found = packstore.to_references(tmp_path / "x.h5")
    root = read_back(found)
    assert dict(root.attrs) == {"title": "a title"} and root["g/x"].attrs["unit"] == "m"
    for name in "g/x", "m", "big", "rare", "contiguous":
        want = packstore.open_array(tmp_path / "x.h5", name)
        assert root[name].chunks == want.chunks or name == "contiguous"
        np.testing.assert_array_equal(root[name][...], want[...])


def test_chunks_that_were_never_written(tmp_path: Path) -> None:
    """They read as what they hold, or are refused: never as another fill value."""
    with h5py.File(tmp_path / "x.h5", "w") as f:
        for name, dtype, fill, attribute in (
            ("zero", "i4", None, None),
            ("seven", "i4", 7, None),
            ("nan", "f4", np.nan, None),
            ("same", "i4", -9, -9),
            ("other", "i4", 0, -9),
            ("complex", "c16", 1 + 2j, None),
            ("bytes", "S3", b"abc", None),
            ("no bytes", "S3", None, None),
        ):
            d = f.create_dataset(name, (200, 300), dtype, chunks=(50, 60), fillvalue=fill)
            d[:50, :60] = 1 if dtype != "S3" else b"x"
            if attribute is not None:
                d.attrs["_FillValue"] = np.int32(attribute)
    found = packstore.to_references(tmp_path / "x.h5", skip_unsupported=True)
    assert sorted(found.unsupported) == ["bytes", "complex", "other"]
    assert "a _FillValue other than what they hold" in found.unsupported["other"]
    for name in "zero", "seven", "nan", "same", "no bytes":
        np.testing.assert_array_equal(read_back(found, name)[...], packstore.open_array(tmp_path / "x.h5", name)[...])


def test_what_hdf5_has_and_zarr_has_not(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as f:
        f.create_dataset("lzf", data=X, chunks=(50, 60), compression="lzf")
        f.create_dataset("text", data=["a", "b"] * 6000, dtype=h5py.string_dtype())
        f.create_dataset("struct", data=np.zeros(300, np.dtype([("a", "i1"), ("b", "f8")], align=True)))
        mixed = np.dtype({"names": ["a", "b"], "formats": ["i4", "f4"], "offsets": [4, 0]})
        f.create_dataset("order", data=np.zeros(300, mixed))
        f.create_dataset("long", data=np.zeros(300, "g"))
        layout = h5py.VirtualLayout((200, 300), "f4")
        layout[...] = h5py.VirtualSource(f["lzf"])
        f.create_virtual_dataset("virtual", layout)
        f["fine"] = X
    found = packstore.to_references(tmp_path / "x.h5", skip_unsupported=True)
    reasons = {
        "lzf": "filter 32000",
        "text": "more than 10000 texts",
        "struct": "type",
        "order": "type",
        "long": "type",
        "virtual": "put together",
    }
    assert found.unsupported.keys() == reasons.keys()
    for name, reason in reasons.items():
        assert reason in found.unsupported[name]
        with pytest.raises(UnsupportedError, match=rf"x\.h5\[{name}\]: expected a form that zarr has"):
            packstore.to_references(tmp_path / "x.h5", name)
    np.testing.assert_array_equal(read_back(found, "fine")[...], X)
    with pytest.raises(ComponentNotFoundError):
        packstore.to_references(tmp_path / "x.h5", "absent")
    packstore.save(tmp_path / "x.zarr", X)
    with pytest.raises(UnsupportedError, match="Open it with zarr itself"):
        packstore.to_references(tmp_path / "x.zarr")


@pytest.mark.parametrize("engine", ["h5netcdf", "scipy"])
def test_xarray_reads_what_it_wrote(tmp_path: Path, engine: Any) -> None:
    xr = pytest.importorskip("xarray")
    pytest.importorskip(engine)
    data = xr.Dataset(
        {
            "t": (("time", "x"), np.where(np.eye(40, 50) > 0, np.nan, 1.5), {"units": "K"}),
            "n": (("time",), np.arange(40, dtype="i2")),
            "zero": (("x",), np.zeros(50)),
        },
        {"time": np.arange(40).astype("M8[D]").astype("M8[ns]"), "x": np.arange(50.0)},
        {"title": "a title"},
    )
    encoding = {"n": {"_FillValue": 3}, "zero": {"_FillValue": None}}
    data.to_netcdf(tmp_path / "x.nc", engine=engine, encoding=encoding)
    found = packstore.to_references(tmp_path / "x.nc", inline_nbytes=0)
    files = fsspec.filesystem(
        "reference", fo=dict(found), asynchronous=True, remote_protocol="file", skip_instance_cache=True
    )
    store = zarr.storage.FsspecStore(files, read_only=True, path="")
    with xr.open_dataset(tmp_path / "x.nc", engine=engine) as want:
        got = xr.open_zarr(store, consolidated=False, chunks=None, zarr_format=2)
        xr.testing.assert_identical(got.load(), want.load())


def test_files_and_urls(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    found = packstore.to_references(tmp_path / "x.npy", out=tmp_path / "x.json")
    assert json.loads((tmp_path / "x.json").read_text()) == found
    with pytest.raises(TargetExistsError):
        packstore.to_references(tmp_path / "x.npy", out=tmp_path / "x.json")
    packstore.to_references(tmp_path / "x.npy", out=tmp_path / "x.json", overwrite=True)
    fsspec.filesystem("memory").put_file(str(tmp_path / "x.npy"), "/references/x.npy")
    assert packstore.to_references("memory://references/x.npy")["refs"]["0.0"][0] == "memory://references/x.npy"
    assert sorted(os.listdir(tmp_path)) == ["x.json", "x.npy"]


def test_urls_with_secrets_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    from tests.servers import HttpServer

    np.save(tmp_path / "x.npy", X)
    with HttpServer() as server:
        server.put("x.npy", (tmp_path / "x.npy").read_bytes())
        url = f"{server.url.replace('://', '://user:marker@')}/x.npy"
        with pytest.raises(OptionError, match="expected a URL without secrets") as caught:
            packstore.to_references(url)
        assert "marker" not in str(caught.value)
        assert packstore.to_references(f"{server.url}/x.npy")["refs"]["0.0"][2] == X.nbytes


def test_the_command(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=X, b=np.zeros((9, 9), object))
    out = tmp_path / "x.json"
    result = refer(str(tmp_path / "x.npz"), str(out), None, {}, skip=True, overwrite=False)
    assert (result["arrays"], result["chunks"]) == (1, 1)
    shown = io.StringIO()
    render(Console(file=shown, width=40), result)
    lines = shown.getvalue().splitlines()
    assert lines[0] == f"{out} (kerchunk): 1 array, 1 chunk of {tmp_path}/x.npz"
    assert lines[1].startswith("left out: b: ")
    np.testing.assert_array_equal(read_back(json.loads(out.read_text()), "a")[...], X)
