"""What is read from the bucket, and how each library reads it: one `Case` a job, as the local benchmarks have them."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import packstore
from tests.benchmarks.model import Case, Missing, Peer, Run
from tests.benchmarks.remote.server import BUCKET, Bucket

__all__ = ["Remote", "jobs"]


class Remote:
    """The objects of the jobs: made once, uploaded under a new prefix for each round, so that no cache knows them.

    Parameters
    ----------
    quick
        Few and small ones.
    """

    def __init__(self, bucket: Bucket, *, quick: bool) -> None:
        self.bucket = bucket
        self.many = 50 if quick else 1000
        self.files = 10 if quick else 100
        side = 64 if quick else 256
        rng = np.random.default_rng(0)
        self.frames = np.repeat(rng.integers(0, 500, (64, side // 2, side), dtype="u4"), 2, axis=1)
        self.mask = rng.random((8 * side, 8 * side)) < 0.1
        self.objects = dict(self._make())

    def _make(self) -> Iterator[tuple[str, bytes]]:
        import h5py
        import zarr

        side = self.frames.shape[1]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.h5"
            with h5py.File(path, "w") as file:
                file.create_dataset("x", data=self.frames, chunks=(1, side, side), compression="gzip")
            yield "a.h5", path.read_bytes()
            path = Path(folder) / "many.h5"
            with h5py.File(path, "w") as file:
                for i in range(self.many):
                    file.create_dataset(f"g{i % 10}/d{i}", data=np.arange(500) + i)
            yield "many.h5", path.read_bytes()
            path = Path(folder) / "m.zarr"
            chunk = (side, side)
            codec = packstore.PackBitsCodec()
            zarr.create_array(path, data=self.mask, chunks=chunk, serializer=codec, compressors=None)
            for each in path.rglob("*"):
                if each.is_file():
                    yield f"m.zarr/{each.relative_to(path).as_posix()}", each.read_bytes()
            with contextlib.suppress(ImportError):
                import blosc2

                path = Path(folder) / "m.b2nd"
                blosc2.asarray(self.mask, chunks=chunk, urlpath=str(path))
                yield "m.b2nd", path.read_bytes()
        yield "a.npy", _npy(self.frames)
        yield "a.npz", _npz({f"m{i}": self.frames[i] for i in range(8)})
        yield "many.npz", _npz({f"m{i}": np.arange(100) + i for i in range(self.many)})
        for i in range(self.files):
            yield f"f/{i}.npy", _npy(np.full((50, 60), i))

    def upload(self, prefix: str) -> None:
        """Write all objects below `prefix`."""
        for name, data in self.objects.items():
            self.bucket.put(f"{prefix}/{name}", data)


def _npy(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def _npz(arrays: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def jobs(remote: Remote, prefix: str) -> Iterator[tuple[str, Callable[[], Case]]]:
    """Each job by name, with the function that makes it."""
    sides = _Sides(remote.bucket, prefix)
    frames, mask, many = remote.frames, remote.mask, remote.many
    url, options = sides.url, remote.bucket.options
    box = np.s_[3, 10:20, 10:20]
    hdf5 = {
        "s3fs + h5py": sides.h5py,
        "VirtualiZarr + obstore": sides.virtualizarr,
        "kerchunk": sides.kerchunk,
        "blosc2": lambda: sides.blosc2("a.h5", path="x"),
    }

    def shape_of(opener: Callable[[], Any]) -> Callable[[], Run]:
        return lambda: lambda: np.array(opener().shape)

    def all_of(opener: Callable[[], Any], key: Any = ...) -> Callable[[], Run]:
        def make() -> Run:
            found = opener()
            return lambda: found[key]

        return make

    def group(name: str) -> Any:
        return packstore.open_group(f"{url}/{name}", storage_options=options)

    def stacked() -> Any:
        return packstore.from_files(f"{url}/f/*.npy", new_axis=True, storage_options=options)

    def array(name: str, component: str | None = None) -> Callable[[], Any]:
        return lambda: packstore.open_array(f"{url}/{name}", component, storage_options=options)

    def case(expected: Any, ours: Callable[[], Run], **peers: Callable[[], Run]) -> Callable[[], Case]:
        return lambda: Case(expected, ours, tuple(Peer(name, make) for name, make in peers.items()))

    shape = np.array(frames.shape)
    yield (
        "HDF5, 64 gzip chunks: open",
        case(shape, shape_of(array("a.h5", "x")), **{n: shape_of(o) for n, o in hdf5.items()}),
    )
    yield "  scan", case(frames, all_of(array("a.h5", "x")), **{n: all_of(o) for n, o in hdf5.items()})
    yield (
        "  crop",
        case(frames[box], all_of(array("a.h5", "x"), box), **{n: all_of(o, box) for n, o in hdf5.items()}),
    )
    yield (
        "  open and compute by dask",
        case(
            frames,
            lambda: lambda: packstore.from_file(f"{url}/a.h5", "x", storage_options=options).compute(),
            **{"xarray + h5netcdf": lambda: sides.xarray},
        ),
    )
    peers = {"np.load by s3fs": lambda: lambda: sides.load("a.npy")}
    yield "npy: open and read", case(frames, lambda: lambda: array("a.npy")()[...], **peers)
    yield "npz of 8 stored members: open", case(8, lambda: lambda: len(list(group("a.npz").array_keys())))
    yield (
        "  open one and read it",
        case(
            frames[3],
            lambda: lambda: array("a.npz", "m3")()[...],
            **{"np.load by s3fs": lambda: lambda: sides.load("a.npz", "m3")},
        ),
    )
    yield (
        f"npz of {many} members: open one and read it",
        case(
            np.arange(100) + 7,
            lambda: lambda: array("many.npz", "m7")()[...],
            **{"np.load by s3fs": lambda: lambda: sides.load("many.npz", "m7")},
        ),
    )
    yield "  open the group", case(many, lambda: lambda: len(list(group("many.npz").array_keys())))
    yield (
        f"HDF5 of {many} datasets: open the group",
        case(10, lambda: lambda: len(list(group("many.h5").group_keys()))),
    )
    zarr_sides = {
        "zarr + obstore": sides.zarr_obstore,
        "zarr + s3fs": sides.zarr_s3fs,
        "blosc2 (b2nd)": lambda: sides.blosc2("m.b2nd"),
    }
    corner = np.s_[30:40, 30:40]
    yield (
        "packed zarr, 64 chunks: open",
        case(np.array(mask.shape), shape_of(array("m.zarr")), **{n: shape_of(o) for n, o in zarr_sides.items()}),
    )
    yield (
        "  crop",
        case(mask[corner], all_of(array("m.zarr"), corner), **{n: all_of(o, corner) for n, o in zarr_sides.items()}),
    )
    yield "  scan", case(mask, all_of(array("m.zarr")), **{n: all_of(o) for n, o in zarr_sides.items()})
    yield f"from_files of {remote.files} npy: open", case(remote.files, lambda: lambda: len(stacked()))
    yield "  compute", case(np.arange(remote.files), lambda: lambda: stacked().compute()[:, 0, 0])


class _Sides:
    """How peers open the objects of one prefix."""

    def __init__(self, bucket: Bucket, prefix: str) -> None:
        self.bucket = bucket
        self.prefix = prefix
        self.url = f"s3://{BUCKET}/{prefix}"

    def _fs(self, **more: Any) -> Any:
        try:
            import s3fs
        except ImportError as error:
            raise Missing("s3fs") from error
        return s3fs.S3FileSystem(**self.bucket.options, skip_instance_cache=True, **more)

    def h5py(self) -> Any:
        import h5py

        file = self._fs().open(f"{self.url}/a.h5", cache_type="blockcache")
        return h5py.File(file)["x"]

    def xarray(self) -> Any:
        try:
            import h5netcdf  # noqa: F401
            import xarray as xr
        except ImportError as error:
            raise Missing("xarray or h5netcdf") from error
        file = self._fs().open(f"{self.url}/a.h5", cache_type="blockcache")
        return xr.open_dataset(file, engine="h5netcdf", chunks={}, phony_dims="sort")["x"].compute().values

    def virtualizarr(self) -> Any:
        import zarr
        from obspec_utils.registry import ObjectStoreRegistry
        from virtualizarr.parsers import HDFParser

        registry = ObjectStoreRegistry({f"s3://{BUCKET}": self.bucket.obstore()})
        return zarr.open_group(HDFParser()(url=f"{self.url}/a.h5", registry=registry), mode="r")["x"]

    def kerchunk(self) -> Any:
        import fsspec
        import zarr
        from kerchunk.hdf import SingleHdf5ToZarr

        with self._fs().open(f"{self.url}/a.h5", cache_type="blockcache") as file:
            found = SingleHdf5ToZarr(file, f"{self.url}/a.h5").translate()
        options = {**self.bucket.options, "asynchronous": True}
        files = fsspec.filesystem(
            "reference", fo=found, asynchronous=True, remote_protocol="s3", remote_options=options
        )
        return zarr.open_group(zarr.storage.FsspecStore(files, read_only=True, path=""), mode="r", zarr_format=2)["x"]

    def blosc2(self, name: str, **options: Any) -> Any:
        """What ``blosc2.open(url, lazy=True)`` gives."""
        try:
            import blosc2
        except ImportError as error:
            raise Missing("blosc2") from error
        return blosc2.open(f"{self.url}/{name}", lazy=True, storage_options=self.bucket.options, **options)

    def load(self, name: str, member: str | None = None) -> Any:
        """What ``np.load`` gives of a file object."""
        with self._fs().open(f"{self.url}/{name}", cache_type="blockcache") as file:
            found = np.load(file)
            return found if member is None else found[member]

    def zarr_obstore(self) -> Any:
        import zarr
        from zarr.storage import ObjectStore

        return zarr.open_array(ObjectStore(self.bucket.obstore(f"{self.prefix}/m.zarr"), read_only=True), mode="r")

    def zarr_s3fs(self) -> Any:
        import zarr

        return zarr.open_array(f"{self.url}/m.zarr", mode="r", storage_options=self.bucket.options)
