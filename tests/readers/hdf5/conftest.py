"""What the HDF5 tests share: h5py as the reference, box by box."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from packstore.readers.hdf5 import read
from packstore.source import FileSource
from packstore.storage import ManifestArray, ManifestGroup
from packstore.storage.read import read_box


def boxes(shape: tuple[int, ...]) -> list[tuple[slice, ...]]:
    """The whole array, inner parts with and without steps, one element, and nothing."""
    return [
        tuple(slice(0, n, 1) for n in shape),
        tuple(slice(n // 3, max(n - 1, n // 3), 1) for n in shape),
        tuple(slice(min(1, n), n, 2) for n in shape),
        tuple(slice(n // 2, min(n // 2 + 1, n), 1) for n in shape),
        tuple(slice(0, 0, 1) for n in shape),
    ]


def _plain(value: Any) -> Any:
    """Nested lists, so that variable-length elements compare too."""
    if isinstance(value, np.ndarray):
        return _plain(value.tolist()) if not value.dtype.hasobject else [_plain(v) for v in value.reshape(-1).tolist()]
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value


def assert_same(got: np.ndarray[Any, Any], want: np.ndarray[Any, Any]) -> None:
    assert got.shape == want.shape
    if want.dtype.hasobject:
        assert _plain(got) == _plain(want)
    else:
        np.testing.assert_array_equal(got, want)


def assert_like_h5py(path: Path, array: ManifestArray, name: str) -> None:
    """All boxes of one array have h5py's values."""
    with h5py.File(path) as file:
        dataset = file[name.encode("utf-8", "surrogateescape")]
        want = dataset[()]
        if dataset.shape == () and dataset.dtype == object:
            want, value = np.empty((), object), want
            want[()] = value
        want = np.asarray(want)
    assert array.shape == want.shape
    assert array.dtype == want.dtype
    for box in boxes(array.shape):
        assert_same(np.asarray(read_box(array, box)), want[box] if box else want)


Checker = Callable[..., ManifestGroup]


@pytest.fixture
def check() -> Checker:
    """Read a file and hold every array in it against h5py; names in `unsupported` must be the ones given."""

    def run(path: Path, *, unsupported: tuple[str, ...] = (), **options: Any) -> ManifestGroup:
        found = read(FileSource(path), **options)
        assert sorted(found.unsupported) == sorted(unsupported), found.unsupported
        for name, array in found.arrays.items():
            assert_like_h5py(path, array, name)
        return found

    return run
