"""A file of each format and layout with the same array, for tests that do something to it."""

from __future__ import annotations

import gzip
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import zarr
from zarr.codecs import ZstdCodec

import packstore

__all__ = ["FILES", "SHAPE", "Kind", "values"]

SHAPE = (60, 40)


def values(seed: int = 0, dtype: str = "f8") -> np.ndarray[Any, Any]:
    """The array; another `seed` gives others of the same size."""
    found = np.random.default_rng(seed).integers(0, 2 if dtype == "?" else 100, SHAPE)
    return found.astype(dtype)


class Kind(NamedTuple):
    """A format or layout.

    Attributes
    ----------
    write
        ``write(path, array)`` makes the file, or the directory.
    suffix, component, options, dtype
        What its name ends with, which array it is, what opening it needs, and the type that it can hold.
    chunk
        Of a directory, the path of one file with elements in it.
    """

    write: Callable[[Path, np.ndarray[Any, Any]], Any]
    suffix: str
    component: str | None = None
    options: dict[str, Any] = {}  # noqa: RUF012  # nobody changes it
    dtype: str = "f8"
    chunk: str | None = None


def _npz(path: Path, array: np.ndarray[Any, Any]) -> None:
    np.savez(path, x=array)


def _deflated(path: Path, array: np.ndarray[Any, Any]) -> None:
    np.savez_compressed(path, x=array)


def _hdf5(**options: Any) -> Callable[[Path, np.ndarray[Any, Any]], None]:
    def write(path: Path, array: np.ndarray[Any, Any]) -> None:
        with h5py.File(path, "w") as file:
            file.create_dataset("x", data=array, **options)

    return write


def _pickle(path: Path, array: np.ndarray[Any, Any]) -> None:
    path.write_bytes(pickle.dumps(array, protocol=4))


def _gzipped(path: Path, array: np.ndarray[Any, Any]) -> None:
    with gzip.open(path, "wb") as file:
        np.savetxt(file, array, fmt="%g")


def _text(path: Path, array: np.ndarray[Any, Any]) -> None:
    np.savetxt(path, array, fmt="%g")


def _zarr(version: Any, **options: Any) -> Callable[[Path, np.ndarray[Any, Any]], None]:
    def write(path: Path, array: np.ndarray[Any, Any]) -> None:
        zarr.create_array(path, data=array, chunks=(20, 20), zarr_format=version, overwrite=True, **options)

    return write


def _zipped(path: Path, array: np.ndarray[Any, Any]) -> None:
    with zarr.storage.ZipStore(path, mode="w") as store:
        zarr.create_array(store, data=array, chunks=(20, 20), compressors=None)


def _stack(path: Path, array: np.ndarray[Any, Any]) -> None:
    import dask.array as da

    da.to_npy_stack(str(path), da.from_array(array, chunks=(20, -1)))


def _netcdf3(path: Path, array: np.ndarray[Any, Any]) -> None:
    from scipy.io import netcdf_file

    with netcdf_file(path, "w") as file:
        file.createDimension("a", SHAPE[0])
        file.createDimension("b", SHAPE[1])
        file.createVariable("x", "f8", ("a", "b"))[:] = array


def _packed(path: Path, array: np.ndarray[Any, Any]) -> None:
    path.write_bytes(np.packbits(array, axis=-1).tobytes())


def _save(path: Path, array: np.ndarray[Any, Any]) -> None:
    packstore.save(path, array, overwrite=True)


FILES: dict[str, Kind] = {
    "npy": Kind(np.save, ".npy"),
    "npz": Kind(_npz, ".npz", "x"),
    "deflated npz": Kind(_deflated, ".npz", "x"),
    "raw": Kind(lambda p, a: a.tofile(p), ".bin", None, {"format": "raw", "shape": SHAPE, "dtype": "f8"}),
    "packed bits": Kind(_packed, ".bin", None, {"format": "raw", "shape": SHAPE, "packed_axis": 1}, "?"),
    "hdf5": Kind(_hdf5(), ".h5", "x"),
    "chunked hdf5": Kind(_hdf5(chunks=(20, 20), compression="gzip", fletcher32=True), ".h5", "x"),
    "text": Kind(_text, ".txt"),
    "gzipped text": Kind(_gzipped, ".txt.gz"),
    "pickle": Kind(_pickle, ".pkl"),
    "netcdf3": Kind(_netcdf3, ".nc", "x"),
    "zipped zarr": Kind(_zipped, ".zarr.zip"),
    "npy stack": Kind(_stack, ".stack", chunk="1.npy"),
    "zarr": Kind(_zarr(3, compressors=ZstdCodec(checksum=True)), ".zarr", chunk="c/1/1"),
    "plain zarr": Kind(_zarr(3, compressors=None), ".zarr", chunk="c/1/1"),
    "zarr 2": Kind(_zarr(2), ".zarr", chunk="1.1"),
    "packed zarr": Kind(_save, ".zarr", dtype="?", chunk="c/0/0"),
}
