"""References in parquet, for VirtualiZarr and for Icechunk: read back by those, against what packstore reads."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fsspec
import h5py
import numpy as np
import pytest
import zarr

import packstore
from packstore.cli.app import run
from packstore.errors import MissingPackageError, OptionError, TargetExistsError, UnsupportedError
from packstore.virtualizarr import Parser
from tests.servers import s3_server

X = np.arange(60_000, dtype="f4").reshape(200, 300)
MASK = np.random.default_rng(0).random((200, 296)) < 0.2
STRUCT = np.array([(1, 2.5), (3, 4.5)] * 300, [("a", "<i4"), ("b", "<f8")])
# pandas warns of the engine that fsspec reads with, zarr of codecs that have no specification.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The 'fastparquet' engine is deprecated"),
    pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr version 3"),
]
TARGETS = ("parquet", "virtualizarr", "icechunk")


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest) -> str:
    pytest.importorskip("kerchunk" if request.param == "parquet" else request.param)
    if request.param == "parquet":
        pytest.importorskip("fastparquet")
    return str(request.param)


def read_back(path: Path, target: str, **options: Any) -> zarr.Group:
    """The file's arrays, as anyone reads them who has the target's package."""
    if target == "virtualizarr":
        return zarr.open_group(packstore.to_references(path, format=target, **options), mode="r")
    out = path.with_name("out")
    found = packstore.to_references(path, format=target, out=out, **options)
    if target == "icechunk":
        return zarr.open_group(found.readonly_session("main").store, mode="r")
    files = fsspec.filesystem(
        "reference", fo=str(out), asynchronous=True, remote_protocol="file", skip_instance_cache=True
    )
    return zarr.open_group(zarr.storage.FsspecStore(files, read_only=True, path=""), mode="r", zarr_format=2)


def check(group: zarr.Group, expected: Mapping[str, Any]) -> None:
    for name, values in expected.items():
        found = np.asarray(group[name][...])  # type: ignore[index]
        assert found.shape == values.shape, name
        if values.dtype.kind not in "OT":
            assert found.dtype.newbyteorder("=") == values.dtype.newbyteorder("="), name
            values = values.astype(found.dtype)
        np.testing.assert_array_equal(found, values, err_msg=name)


def test_npz(tmp_path: Path, target: str) -> None:
    arrays: dict[str, Any] = {
        "run/a": X, "f": np.asfortranarray(X), "cube": np.asfortranarray(X.reshape(20, 30, 100)), "m": MASK,
        "big": X.astype(">f8"), "c": X.astype("c8"), "small": np.arange(3), "none": np.zeros((0, 3)),
        "bytes": np.array([b"abc", b"de"] * 500), "text": np.array(["ab", "cde"] * 500), "struct": STRUCT,
        "times": np.arange(1000).astype("M8[s]"), "scalar": np.float64(3.5),
    }  # fmt: skip
    np.savez(tmp_path / "x.npz", **arrays)
    check(read_back(tmp_path / "x.npz", target), {n: np.asarray(v) for n, v in arrays.items()})


def test_hdf5(tmp_path: Path, target: str) -> None:
    hdf5plugin: Any = pytest.importorskip("hdf5plugin")
    with h5py.File(tmp_path / "x.h5", "w") as f:
        f.create_dataset("run/gzip", data=X, chunks=(64, 64), compression="gzip", shuffle=True, fletcher32=True)
        f.create_dataset("zstd", data=X, chunks=(64, 64), **hdf5plugin.Zstd())
        f.create_dataset("blosc", data=X, chunks=(64, 64), **hdf5plugin.Blosc())
        f.create_dataset("holes", (200, 300), "i2", chunks=(50, 60), fillvalue=7)[:50, :60] = 1
        f["names"] = ["a", "bé", ""]
        f["struct"], f["big"], f["bool"] = STRUCT, X.astype(">f4"), MASK
        f["run"].attrs["author"] = "me"
        f["run/gzip"].attrs["units"] = "K"
    names = ["run/gzip", "zstd", "blosc", "holes", "names", "struct", "big", "bool"]
    if target == "parquet":
        with pytest.raises(UnsupportedError, match=r"\[holes\].*for which fsspec's tables have no place"):
            packstore.to_references(tmp_path / "x.h5", format=target, out=tmp_path / "new")
        names.remove("holes")
    expected = {n: packstore.open_array(tmp_path / "x.h5", n)[...] for n in names}
    group = read_back(tmp_path / "x.h5", target, skip_unsupported=True)
    check(group, expected)
    assert group["run"].attrs["author"] == "me" and group["run/gzip"].attrs["units"] == "K"


def test_one_array_is_called_data(tmp_path: Path, target: str) -> None:
    np.save(tmp_path / "x.npy", X)
    check(read_back(tmp_path / "x.npy", target), {"data": X})


def test_packed_bits_are_registered_packbits(tmp_path: Path, target: str) -> None:
    options: dict[str, Any] = {"source_format": "raw", "shape": MASK.shape, "packed_axis": "flat"}
    np.packbits(MASK.reshape(-1), bitorder="little").tofile(tmp_path / "little.bits")
    np.packbits(MASK.reshape(-1)).tofile(tmp_path / "big.bits")
    group = read_back(tmp_path / "little.bits", target, bitorder="little", **options)
    check(group, {"data": MASK})
    if target == "parquet":
        # In v2 the numcodecs codec has both orders.
        return
    assert group["data"].metadata.codecs[0].to_dict()["name"] == "packbits"  # type: ignore[union-attr]
    with pytest.raises(UnsupportedError, match="with the highest first"):
        packstore.to_references(tmp_path / "big.bits", format=target, out=_out(tmp_path, target), **options)
    if target == "icechunk":
        assert not (tmp_path / "new").exists()


def _out(folder: Path, target: str) -> Path | None:
    return None if target == "virtualizarr" else folder / "new"


def test_what_cannot_be_expressed(tmp_path: Path, target: str) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as f:
        f.create_dataset("lzf", data=X, chunks=(50, 60), compression="lzf")
        f["fine"] = X
    out = _out(tmp_path, target)
    with pytest.raises(UnsupportedError, match=r"x\.h5\[lzf\]: expected a form that zarr has, got HDF5 filter 32000"):
        packstore.to_references(tmp_path / "x.h5", format=target, out=out)
    assert out is None or not out.exists()
    found = packstore.to_references(tmp_path / "x.h5", format=target, out=out, skip_unsupported=True)
    assert list(found.unsupported) == ["lzf"]
    if out is not None:
        with pytest.raises(TargetExistsError):
            packstore.to_references(tmp_path / "x.h5", "fine", format=target, out=out)
    if target == "parquet":
        packstore.to_references(tmp_path / "x.h5", "fine", format=target, out=out, overwrite=True)


def test_wrong_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.npy"
    np.save(path, X)
    with pytest.raises(OptionError, match="The format of the file is source_format='npy'"):
        packstore.to_references(path, format="npy")
    for target in "parquet", "icechunk":
        with pytest.raises(OptionError, match=f"expected an out= for {target}, got None"):
            packstore.to_references(path, format=target)
    with pytest.raises(OptionError, match="expected no out= for virtualizarr"):
        packstore.to_references(path, format="virtualizarr", out="x")
    for package, target in ("virtualizarr.manifests", "virtualizarr"), ("icechunk", "icechunk"):
        monkeypatch.setitem(__import__("sys").modules, package, None)
        with pytest.raises(MissingPackageError, match=f"pip install {target}"):
            packstore.to_references(path, format=target, out=_out(tmp_path, target))
    with open(path, "rb") as file:
        assert packstore.to_references(file)["refs"][".zarray"]
        with pytest.raises(UnsupportedError, match="expected a file on a disk or behind a URL, got one in memory"):
            packstore.to_references(io.BytesIO(file.read()))
    assert packstore.virtualizarr.Parser is Parser


def test_icechunk_refuses_a_file_that_changed(tmp_path: Path) -> None:
    icechunk: Any = pytest.importorskip("icechunk")
    np.savez(tmp_path / "x.npz", a=X)
    group = read_back(tmp_path / "x.npz", "icechunk")
    check(group, {"a": X})
    os.utime(tmp_path / "x.npz", (2e9, 2e9))
    with pytest.raises(icechunk.IcechunkError, match="checksum of the object"):
        group["a"][:1]  # type: ignore[index]


def test_into_a_session_of_icechunk(tmp_path: Path) -> None:
    icechunk: Any = pytest.importorskip("icechunk")
    np.savez(tmp_path / "x.npz", a=X)
    prefix = f"file://{tmp_path}/"
    config = icechunk.RepositoryConfig.default()
    config.set_virtual_chunk_container(
        icechunk.VirtualChunkContainer(prefix, icechunk.local_filesystem_store(str(tmp_path)))
    )
    repository = icechunk.Repository.create(
        icechunk.in_memory_storage(), config, {prefix: getattr(icechunk.credentials, "LocalFileSystemAccess", None)}
    )
    session = repository.writable_session("main")
    store = session.store
    assert packstore.to_references(tmp_path / "x.npz", format="icechunk", out=store) is store
    session.commit("references")
    check(zarr.open_group(repository.readonly_session("main").store, mode="r"), {"a": X})
    other = icechunk.Repository.create(icechunk.in_memory_storage())
    with pytest.raises(OptionError, match="expected a repository with a virtual chunk container for the file"):
        packstore.to_references(tmp_path / "x.npz", format="icechunk", out=other.writable_session("main").store)
    with pytest.raises(OptionError, match="expected out= as a local path, or as the store"):
        packstore.to_references(tmp_path / "x.npz", format="icechunk", out="s3://bucket/x")


def test_the_parser(tmp_path: Path) -> None:
    virtualizarr: Any = pytest.importorskip("virtualizarr")
    from obspec_utils.registry import ObjectStoreRegistry
    from obstore.store import LocalStore

    registry = ObjectStoreRegistry({"file://": LocalStore()})
    with h5py.File(tmp_path / "x.h5", "w") as f:
        f["run/a"], f["run/b"], f["c"] = X, MASK, X
        f.create_dataset("lzf", data=X, chunks=(50, 60), compression="lzf")
    url = f"file://{tmp_path}/x.h5"
    parser = Parser("run", skip_variables=["b"])
    ds = virtualizarr.open_virtual_dataset(url, registry=registry, parser=parser)
    assert list(ds) == ["a"] and ds["a"].shape == X.shape
    store = parser(url, registry)
    np.testing.assert_array_equal(zarr.open_group(store, mode="r")["a"][...], X)  # type: ignore[index]
    with pytest.raises(UnsupportedError, match=r"\[lzf\]"):
        Parser()(url, registry)
    whole = Parser(skip_unsupported=True)(url, registry)
    assert sorted(zarr.open_group(whole, mode="r").array_keys()) == ["c"]
    kerchunked = ds.vz.to_kerchunk(format="dict")
    np.testing.assert_array_equal(_by_fsspec(kerchunked)["a"][...], X)


def _by_fsspec(refs: Any) -> Any:
    files = fsspec.filesystem("reference", fo=refs, asynchronous=True, remote_protocol="file", skip_instance_cache=True)
    return zarr.open_group(zarr.storage.FsspecStore(files, read_only=True, path=""), mode="r")


def test_the_parser_reads_by_the_registry(tmp_path: Path) -> None:
    virtualizarr: Any = pytest.importorskip("virtualizarr")
    from obspec_utils.registry import ObjectStoreRegistry
    from obstore.store import S3Store

    np.savez(tmp_path / "x.npz", a=X)
    with s3_server() as (options, client):
        client.put_object(Bucket="bucket", Key="refs/x.npz", Body=(tmp_path / "x.npz").read_bytes())
        store = S3Store(
            "bucket", endpoint=options["client_kwargs"]["endpoint_url"], access_key_id=options["key"],
            secret_access_key=options["secret"], region="us-east-1", client_options={"allow_http": True},
        )  # fmt: skip
        registry = ObjectStoreRegistry({"s3://bucket": store})
        ds = virtualizarr.open_virtual_dataset(
            "s3://bucket/refs/x.npz",
            registry=registry,
            parser=Parser(),
            loadable_variables=["a"],
        )
        np.testing.assert_array_equal(ds["a"], X)
        by_store = packstore.open_array("s3://bucket/refs/x.npz", "a", storage_options={"store": store})
        np.testing.assert_array_equal(by_store[10:20], X[10:20])


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], target: str) -> None:
    np.savez(tmp_path / "x.npz", a=X)
    code = run(["refs", f"{tmp_path}/x.npz", f"{tmp_path}/out", "--to", target])
    told = capsys.readouterr()
    if target == "virtualizarr":
        assert code == 2 and "expected --to kerchunk, parquet or icechunk, got virtualizarr" in told.err
    else:
        assert code == 0 and f"{tmp_path}/out ({target}): " in told.out.replace("\n", "")
