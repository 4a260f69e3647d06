"""HDF5: float32 in chunks of 1 MB behind each filter, against h5py (and VirtualiZarr, kerchunk) under dask."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import packstore
from tests.benchmarks.data import crop_corners, floats, take_crops
from tests.benchmarks.model import Case, Data, Missing, Peer, Scenario

__all__ = ["SCENARIOS", "file"]

Options = Callable[[], dict[str, Any]]


def _plugin(name: str, chunks: tuple[int, ...] = (512, 512), **options: Any) -> Options:
    def make() -> dict[str, Any]:
        try:
            import hdf5plugin
        except ImportError as error:
            raise Missing("hdf5plugin") from error
        return {"chunks": chunks, **getattr(hdf5plugin, name)(**options)}

    return make


SMALL = {"chunks": (128, 128)}
# Name: (the arguments of create_dataset, least ratio to h5py under dask).
LAYOUTS: dict[str, tuple[Options, float | None]] = {
    "contiguous": (lambda: {"chunks": None}, 2),
    "chunked": (dict, 1.3),
    "shuffle+gzip": (lambda: {"shuffle": True, "compression": "gzip"}, 3.5),
    "gzip": (lambda: {"compression": "gzip"}, None),
    "shuffle+gzip+fletcher32": (lambda: {"shuffle": True, "compression": "gzip", "fletcher32": True}, None),
    "zstd": (_plugin("Zstd"), 1.7),
    "blosc": (_plugin("Blosc"), 1.5),
    "blosc2": (_plugin("Blosc2"), 1.3),
    "bitshuffle-lz4": (_plugin("Bitshuffle", cname="lz4"), 1.5),
    "lz4": (_plugin("LZ4"), None),
    "lzf": (lambda: {"compression": "lzf"}, None),
    "shuffle": (lambda: {"shuffle": True}, None),
    "szip": (lambda: {"compression": "szip"}, None),
    "scaleoffset": (lambda: {"scaleoffset": 4}, None),
    "shuffle+gzip-64k": (lambda: {"shuffle": True, "compression": "gzip", **SMALL}, None),
    "blosc2-64k": (_plugin("Blosc2", **SMALL), 1.3),
    "bitshuffle-lz4-64k": (_plugin("Bitshuffle", cname="lz4", **SMALL), None),
}
# Which other readers of HDF5 are worth a row.
WITH_OTHERS = ("contiguous", "shuffle+gzip", "blosc2")


def file(data: Data, layout: str) -> Path:
    def write(path: Path) -> None:
        import h5py

        array = floats(data)
        with h5py.File(path, "w") as out:
            options = {"chunks": (512, 512), **LAYOUTS[layout][0]()}
            out.create_dataset("x", data=array, **options)

    return data.path(f"{layout}.h5", write)


def _open_h5py(path: Path) -> Any:
    import h5py

    with contextlib.suppress(ImportError):
        import hdf5plugin  # noqa: F401 (registers the filters that h5py lacks)
    return h5py.File(path, "r")["x"]


def _open_virtualizarr(path: Path) -> Any:
    import zarr
    from obspec_utils.registry import ObjectStoreRegistry
    from obstore.store import LocalStore
    from virtualizarr.parsers import HDFParser

    store = HDFParser()(url=f"file://{path}", registry=ObjectStoreRegistry({"file://": LocalStore()}))
    return zarr.open_group(store, mode="r")["x"]


def _open_kerchunk(path: Path) -> Any:
    import fsspec
    import zarr
    from kerchunk.hdf import SingleHdf5ToZarr

    refs = SingleHdf5ToZarr(str(path)).translate()
    files = fsspec.filesystem(
        "reference", fo=refs, asynchronous=True, remote_protocol="file", remote_options={"asynchronous": True}
    )
    return zarr.open_group(zarr.storage.FsspecStore(files, read_only=True, path=""), mode="r", zarr_format=2)["x"]


class _Sliced:
    """A reader that takes slices alone, as an array for dask."""

    def __init__(self, shape: tuple[int, ...], dtype: Any, read: Callable[[tuple[slice, ...]], Any]) -> None:
        self.shape, self.dtype, self.ndim, self.read = shape, np.dtype(dtype), len(shape), read

    def __getitem__(self, key: tuple[slice, ...]) -> Any:
        return self.read(tuple(slice(*s.indices(n)) for s, n in zip(key, self.shape, strict=True)))


def _open_pyfive(path: Path) -> Any:
    import pyfive

    return pyfive.File(str(path))["x"]


def _open_blosc2(path: Path) -> Any:
    import blosc2

    found = blosc2.open(str(path), mode="r", dataset="x")
    return _Sliced(found.shape, found.dtype, lambda key: found[key])


def _open_hidefix(path: Path) -> Any:
    import hidefix

    found = hidefix.Index(str(path)).dataset("x")
    known = packstore.open_lazy(path, "x")
    return _Sliced(known.shape, known.dtype, lambda key: found[tuple(slice(s.start, s.stop) for s in key)])


OTHERS = {"pyfive": _open_pyfive, "blosc2": _open_blosc2, "hidefix": _open_hidefix}


def _scan(layout: str) -> Callable[[Data], Case]:
    def build(data: Data) -> Case:
        import dask.array as da

        path = file(data, layout)
        # The same dask chunks on all sides.
        chunks = packstore.from_file(path, "x").chunks

        def peer(opener: Callable[[Path], Any], *, anew: bool = False) -> Callable[[], Any]:
            def make() -> Any:
                opened = opener(path)
                return lambda: da.from_array(opener(path) if anew else opened, chunks=chunks).max().compute()

            return make

        return Case(
            _expected(data, layout).max(),
            lambda: lambda: packstore.from_file(path, "x").max().compute(),
            (
                Peer("h5py + dask", peer(_open_h5py), floor=LAYOUTS[layout][1] or 1),
                Peer("VirtualiZarr", peer(_open_virtualizarr), floor=1),
                Peer("kerchunk", peer(_open_kerchunk), floor=1),
                # Opened each time, as ours: some keep what they have decoded.
                *(Peer(n, peer(o, anew=True), floor=1) for n, o in OTHERS.items() if layout in WITH_OTHERS),
            ),
        )

    return build


def _crops(layout: str) -> Callable[[Data], Case]:
    def build(data: Data) -> Case:
        path = file(data, layout)
        array = _expected(data, layout)
        corners = crop_corners(array.shape, 64)

        def ours() -> Any:
            opened = packstore.open_array(path, "x")

            def run() -> Any:
                from packstore.source.cache import CHUNKS

                # Each round starts as the first one does.
                CHUNKS.clear()
                return take_crops(opened, corners, 64)

            return run

        def h5py() -> Any:
            def run() -> Any:
                # Opened each time: the library keeps decoded chunks too.
                opened = _open_h5py(path)
                try:
                    return take_crops(opened, corners, 64)
                finally:
                    opened.file.close()

            return run

        return Case(take_crops(array, corners, 64), ours, (Peer("h5py", h5py, floor=1),))

    return build


def _expected(data: Data, layout: str) -> np.ndarray[Any, Any]:
    if layout != "scaleoffset":
        return floats(data)
    return np.asarray(data.keep("scaleoffset", lambda: _open_h5py(file(data, layout))[...]))


SCENARIOS = (
    *(Scenario(f"hdf5-scan-{name}", f"HDF5 {name}, max() under dask", _scan(name)) for name in LAYOUTS),
    *(Scenario(f"hdf5-crops-{name}", f"HDF5 {name}, 200 random 64² crops", _crops(name)) for name in LAYOUTS),
)
