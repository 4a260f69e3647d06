"""Requests that reading remote files takes, counted at a web server; values against those that were written."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import packstore
from packstore.errors import DtypeError, ShapeError
from tests.servers import HttpServer, s3_server

pytest.importorskip("aiohttp")
pytest.importorskip("obstore")

X = np.repeat(np.random.default_rng(0).integers(0, 500, (64, 64, 256)), 2, axis=1).astype("u4")


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with HttpServer() as found:
        yield found


def saved(write: Callable[..., Any], *args: Any, **kwargs: Any) -> bytes:
    buffer = io.BytesIO()
    write(buffer, *args, **kwargs)
    return buffer.getvalue()


def hdf5(path: Path, **options: Any) -> bytes:
    with h5py.File(path, "w", libver=options.pop("libver", None), userblock_size=options.pop("userblock", 0)) as file:
        for name in options.pop("before", ()):
            file.create_dataset(name, data=np.arange(100))
        file.create_dataset("x", data=X, chunks=(1, 128, 256), compression="gzip", **options)
        for i in range(20):
            file["x"].attrs[f"a{i}"] = "text" * i
    return path.read_bytes()


LAYOUTS: dict[str, dict[str, Any]] = {
    "earliest": {},
    "latest": {"libver": "latest"},
    "unlimited": {"libver": "latest", "maxshape": (None, 128, 256)},
    "unlimited twice": {"libver": "latest", "maxshape": (None, None, 256)},
    "a user block": {"userblock": 512},
    "among others": {"before": [f"d{i}" for i in range(50)]},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_hdf5(tmp_path: Path, server: HttpServer, layout: str) -> None:
    url = server.put("a.h5", hdf5(tmp_path / "a.h5", **LAYOUTS[layout]))
    with server.counting() as requests:
        array = packstore.open_array(url, "x")
    assert len(requests) <= 3
    with server.counting() as requests:
        np.testing.assert_array_equal(array[...], X)
    assert len(requests) <= 4
    with server.counting() as requests:
        np.testing.assert_array_equal(packstore.from_file(url, "x").compute(), X)
    assert len(requests) <= 3 + 4
    with server.counting() as requests:
        np.testing.assert_array_equal(array[5:7, 3:9, 10], X[5:7, 3:9, 10])
    assert len(requests) == 1


def test_many_datasets(tmp_path: Path, server: HttpServer) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for i in range(500):
            file[f"g{i % 5}/d{i}"] = np.arange(300) + i
    url = server.put("a.h5", (tmp_path / "a.h5").read_bytes())
    with server.counting() as requests:
        group = packstore.open_group(url)
    assert len(requests) <= 3
    assert group["g3/d123"][2] == 125


def test_npy(server: HttpServer) -> None:
    url = server.put("a.npy", saved(np.save, X))
    with server.counting() as requests:
        array = packstore.open_array(url)
    assert len(requests) == 1
    with server.counting() as requests:
        np.testing.assert_array_equal(array[...], X)
    assert len(requests) == 1
    with server.counting() as requests:
        np.testing.assert_array_equal(array[3, 5:9, ::50], X[3, 5:9, ::50])
    assert len(requests) == 1


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_npz(server: HttpServer, write: Callable[..., Any]) -> None:
    url = server.put("few.npz", saved(write, **{f"m{i}": X[8 * i : 8 * i + 8] for i in range(8)}))
    with server.counting() as requests:
        group = packstore.open_group(url)
    assert len(requests) <= 3
    with server.counting() as requests:
        np.testing.assert_array_equal(group["m3"][...], X[24:32])
    assert len(requests) == 1
    url = server.put("many.npz", saved(write, **{f"m{i}": np.arange(50) + i for i in range(1000)}))
    with server.counting() as requests:
        array = packstore.open_array(url, "m500")
    assert len(requests) <= 3
    assert array[3] == 503
    with server.counting() as requests:
        group = packstore.open_group(url)
    assert len(requests) <= 4
    assert len(list(group)) == 1000


def test_many_files() -> None:
    """A listing tells sizes and ETags: only the first header is read before the values are asked for."""
    pytest.importorskip("moto")
    pytest.importorskip("s3fs")
    with s3_server() as (options, client):
        for i in range(12):
            body = saved(np.save, np.full((3, 4), i))
            client.put_object(Bucket="bucket", Key=f"f/{i}.npy", Body=body)
        array = packstore.from_files("s3://bucket/f/*.npy", new_axis=True, storage_options=options)
        assert array.shape == (12, 3, 4)
        assert array.compute()[:, 0, 0].tolist() == list(range(12))
        # A file that only looks like the first: its header says another thing, and is read with the values.
        for values, kind in (np.full((4, 3), 1), ShapeError), (np.full((3, 4), 1.0), DtypeError):
            body = saved(np.save, values)
            client.put_object(Bucket="bucket", Key="f/5.npy", Body=body)
            array = packstore.from_files("s3://bucket/f/*.npy", new_axis=True, storage_options=options)
            with pytest.raises(kind, match=r"5\.npy: expected shape \(3, 4\) and dtype int64 as in the first file"):
                array.compute()
