"""Sizes that a file only declares: refused before memory is taken, by limits that can be set."""

from __future__ import annotations

import bz2
import io
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
import zarr
from zarr.codecs import GzipCodec, ZstdCodec

import packstore
from packstore.codecs import libraries
from packstore.errors import CorruptDataError, MemoryLimitError, PackstoreError, UnsupportedError
from packstore.views.lazy import open_lazy

GIB = 1 << 30
TOO_MUCH = r"expected at most 1100 bytes for each of \d+ stored ones, got \d+\. .*limits.inflate_ratio"


def raw_chunk(path: Path, stored: bytes, options: dict[str, Any]) -> None:
    """An HDF5 dataset of one chunk of 2 GiB, of which some bytes are stored."""
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("x", (2 * GIB,), "u1", chunks=(2 * GIB,), **options)
        dataset.id.write_direct_chunk((0,), stored)


@pytest.mark.parametrize(
    ("stored", "options"),
    [
        (zlib.compress(bytes(100)), {"compression": "gzip"}),
        (bytes.fromhex("28b52ffda0000000800100000000"), dict(hdf5plugin.Zstd())),
        (bz2.compress(bytes(100)), dict(hdf5plugin.BZip2())),
        ((2 * GIB).to_bytes(8, "big") + (GIB).to_bytes(4, "big") + bytes(20), dict(hdf5plugin.LZ4())),
        ((2 * GIB).to_bytes(8, "big") + (8192).to_bytes(4, "big") + bytes(20), dict(hdf5plugin.Bitshuffle())),
        (bytes(12), {"compression": "lzf"}),
    ],
    ids=["gzip", "zstd", "bzip2", "lz4", "bitshuffle", "lzf"],
)
def test_chunks_of_hdf5(tmp_path: Path, stored: bytes, options: dict[str, Any]) -> None:
    path = tmp_path / "x.h5"
    raw_chunk(path, stored, options)
    try:
        array = open_lazy(path, "x")
    except UnsupportedError as refused:
        # What only libhdf5 decodes here, it is not given at all.
        assert libraries.imagecodecs_function("lzf") is None and "limits.inflate_ratio" in str(refused)
        return
    for key in (slice(0, 10), slice(GIB, GIB + 1)):
        with pytest.raises(PackstoreError):
            array[key]
    with packstore.config.set({"limits.inflate_ratio": 1e9}), pytest.raises(PackstoreError) as caught:
        array[:10]
    assert "inflate_ratio" not in str(caught.value)


@pytest.mark.parametrize("codec", [ZstdCodec(), GzipCodec()])
def test_chunks_of_zarr(tmp_path: Path, codec: Any) -> None:
    path = tmp_path / "x.zarr"
    zarr.create_array(path, data=np.zeros(16, "u1"), chunks=(16,), compressors=codec, fill_value=1)
    document = json.loads((path / "zarr.json").read_text())
    document["shape"] = document["chunk_grid"]["configuration"]["chunk_shape"] = [1 << 33]
    (path / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(UnsupportedError, match=TOO_MUCH):
        open_lazy(path)[:10]


def test_members_of_npz(tmp_path: Path) -> None:
    """bzip2 knows no ratio: 1 GiB of zeros is some hundred bytes."""
    path = tmp_path / "x.npz"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (200 << 20,)})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("x.npy", header.getvalue() + bytes(200 << 20))
    with pytest.raises(UnsupportedError, match=TOO_MUCH):
        open_lazy(path, "x")[:10]
    with packstore.config.set({"limits.inflate_ratio": 1e6}):
        assert not open_lazy(path, "x")[:10].any()


def test_large_members_are_streamed(tmp_path: Path) -> None:
    """A member beyond the limit is decoded from its beginning up to what is read."""
    path = tmp_path / "x.npz"
    data = np.arange(3_000_000)
    np.savez_compressed(path, x=data)
    with packstore.config.set({"limits.member_nbytes": 1 << 20}):
        array = open_lazy(path, "x")
        np.testing.assert_array_equal(array[5:10], data[5:10])
        np.testing.assert_array_equal(array[2_000_000:2_000_005], data[2_000_000:2_000_005])
        np.testing.assert_array_equal(array[...], data)


@pytest.mark.parametrize("suffix", [".zarr", ".npy", ".npz", ".h5"])
def test_what_is_saved(tmp_path: Path, suffix: str) -> None:
    """A file of some hundred bytes that declares 8 PiB of fill value is not written out."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", (1 << 50,), "f8", chunks=(1 << 20,))
    with pytest.raises(UnsupportedError, match=TOO_MUCH):
        packstore.save(tmp_path / f"y{suffix}", packstore.open_group(tmp_path / "x.h5"))
    assert [p.name for p in tmp_path.iterdir()] == ["x.h5"]


def test_results_that_no_memory_holds(tmp_path: Path) -> None:
    path = tmp_path / "x.zarr"
    zarr.create_array(path, data=np.ones(16, "u1"), chunks=(16,), compressors=None)
    for length in (1 << 60, 2**62 - 1):
        document = json.loads((path / "zarr.json").read_text())
        document["shape"] = [length]
        (path / "zarr.json").write_text(json.dumps(document))
        with pytest.raises(MemoryLimitError, match=r"memory for \d+ bytes.*Read a smaller part"):
            open_lazy(path)[...]
        assert open_lazy(path)[14:18].tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("compressors", [None, "auto"])
@pytest.mark.parametrize("count", [0, 1, 3, 1 << 28, 2**32 - 1])
def test_lengths_of_zarr_text(tmp_path: Path, version: Any, compressors: Any, count: int) -> None:
    """A chunk of text begins with its number of elements; the codec takes memory for as many as it says."""
    path = tmp_path / "x.zarr"
    options: dict[str, Any] = {} if compressors == "auto" else {"compressors": None}
    array = zarr.create_array(path, shape=(3,), dtype=str, chunks=(2,), zarr_format=version, **options)
    array[:] = np.array(["a", "bb", "c"], object)
    assert open_lazy(path)[...].tolist() == ["a", "bb", "c"]
    chunk = path / ("c/0" if version == 3 else "0")
    plain = count.to_bytes(4, "little") + b"\1\0\0\0a\2\0\0\0bb"
    if compressors is None:
        chunk.write_bytes(plain)
    elif version == 3:
        import numcodecs

        chunk.write_bytes(numcodecs.Zstd().encode(plain))
    else:
        import numcodecs

        config = json.loads((path / ".zarray").read_text())["compressor"]
        chunk.write_bytes(numcodecs.get_codec(config).encode(plain))
    with pytest.raises(CorruptDataError, match=rf"chunk \(0,\): expected 2 elements of variable length, got {count}"):
        open_lazy(path)[...]
