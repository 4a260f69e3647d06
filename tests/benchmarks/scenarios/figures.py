"""Figures of ours that have a limit: graphs and memory."""

from __future__ import annotations

import pickle
import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np

import packstore
from packstore.cli.measure import clocked
from tests.benchmarks.data import mask, packed_zarr
from tests.benchmarks.memory import probe
from tests.benchmarks.model import Absolute, Data
from tests.benchmarks.scenarios import hdf5

__all__ = ["ABSOLUTES"]

SPARSE_SHAPE = (8192, 8192)


def sparse_npy(data: Data, shape: tuple[int, ...] = SPARSE_SHAPE, name: str = "sparse") -> Path:
    """A float32 npy file of zeros that takes no room on disk."""

    def write(path: Path) -> None:
        with open(path, "wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
            file.truncate(file.tell() + 4 * int(np.prod(shape)))

    return data.path(f"{name}.npy", write)


def _build_ms(data: Data) -> float:
    path = sparse_npy(data)
    return 1000 * statistics.median(clocked(lambda: packstore.from_file(path)).seconds for _ in range(20))


def _pickle_kb(data: Data) -> float:
    graph = packstore.from_file(sparse_npy(data)).__dask_graph__()
    return max(len(pickle.dumps(graph)), len(pickle.dumps(dict(graph)))) / 1000


def _scan_chunks(path: Path, component: str | None = None) -> float:
    """Peak of a scan in dask chunks per thread."""
    import os

    array = packstore.from_file(path, component)
    chunk_nbytes = int(np.prod([max(c) for c in array.chunks])) * array.dtype.itemsize
    found = probe(lambda: array.max().compute())
    return float(found["peak_anon_nbytes"] / chunk_nbytes / (os.cpu_count() or 1))


def _memory(name: str, what: str, file: Callable[[Data], Path], component: str | None = None) -> Absolute:
    def measure(data: Data) -> float:
        return _scan_chunks(file(data), component)

    return Absolute(f"memory-{name}", f"peak of a scan, {what}", "dask chunks a thread", 3, measure, fresh=True)


ABSOLUTES = (
    Absolute("graph-build", "dask array over a 256 MB npy", "ms", 2, _build_ms),
    Absolute("graph-pickle", "its graph, pickled", "KB", 20, _pickle_kb),
    _memory("npy", "npy", sparse_npy),
    _memory("packed", "packed zarr", lambda data: packed_zarr(data, mask(data))),
    _memory("hdf5", "HDF5 shuffle+gzip", lambda data: hdf5.file(data, "shuffle+gzip"), "x"),
)
