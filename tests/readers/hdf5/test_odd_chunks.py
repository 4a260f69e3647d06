"""Chunks that were stored without a filter that nobody has, or without the elements behind the edge."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr

import packstore
from packstore.errors import CorruptDataError, PackstoreError, UnsupportedError

WANT = np.arange(1993, dtype="<i4")


def routes(path: Path, key: Any = ...) -> list[np.ndarray]:
    group: Any = zarr.open_group(packstore.open_store(path), mode="r")
    dask = packstore.from_file(path, "x", chunks=300)
    return [packstore.open_array(path, "x")[key], group["x"][key], dask[key].compute(scheduler="threads")]


# --- filters that were not applied ------------------------------------------------------------------------------------


def unknown_filter(path: Path, masks: Sequence[int], code: int = 32002) -> None:
    """Eight numbers in chunks of four, whose one filter gets another number; `masks` of 1 say it was not applied."""
    with h5py.File(path, "w") as file:
        dcpl = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        dcpl.set_chunk((4,))
        dcpl.set_shuffle()
        dataset = h5py.h5d.create(file.id, b"x", h5py.h5t.STD_I32LE, h5py.h5s.create_simple((8,)), dcpl)
        for i, mask in enumerate(masks):
            dataset.write_direct_chunk((4 * i,), np.arange(4 * i, 4 * i + 4, dtype="<i4").tobytes(), filter_mask=mask)
    data = path.read_bytes()
    # The message of the filters: version 1, one filter, six bytes, then its number.
    at = data.index(b"\x01\x01\0\0\0\0\0\0\x02\0")
    path.write_bytes(data[: at + 8] + code.to_bytes(2, "little") + data[at + 10 :])


@pytest.mark.parametrize("code", [32002, 40000])
def test_a_filter_that_no_chunk_needs(tmp_path: Path, code: int) -> None:
    unknown_filter(tmp_path / "a.h5", [1, 1], code)
    with h5py.File(tmp_path / "a.h5") as file:
        want = file["x"][...]
    for got in routes(tmp_path / "a.h5"):
        np.testing.assert_array_equal(got, want)
    assert dict(packstore.open_store(tmp_path / "a.h5").unsupported) == {}


def test_a_filter_that_one_chunk_needs(tmp_path: Path) -> None:
    unknown_filter(tmp_path / "a.h5", [1, 0])
    array = packstore.open_array(tmp_path / "a.h5", "x")
    assert array[:4].tolist() == [0, 1, 2, 3]
    with pytest.raises(UnsupportedError, match=r"a\.h5.*32002"):
        array[3:6]
    with pytest.raises(PackstoreError, match="32002"):
        packstore.from_file(tmp_path / "a.h5", "x").compute(scheduler="threads")


def test_a_filter_that_every_chunk_needs(tmp_path: Path) -> None:
    unknown_filter(tmp_path / "a.h5", [0, 0])
    with pytest.raises(UnsupportedError, match="HDF5 filter 32002"):
        packstore.open_array(tmp_path / "a.h5", "x")


@pytest.mark.parametrize("code", [32022, 32023])
def test_filters_that_change_nothing_on_reading(tmp_path: Path, code: int) -> None:
    unknown_filter(tmp_path / "a.h5", [0, 0], code)
    for got in routes(tmp_path / "a.h5"):
        assert got.tolist() == list(range(8))


# --- short chunks at the edge -----------------------------------------------------------------------------------------


def short_edge(path: Path, stored: int = 961, shuffle: bool = False, first: int = 1032) -> None:
    """1993 numbers in chunks of 1032, of which the last holds `stored`, and the first one `first`."""

    def packed(values: np.ndarray) -> bytes:
        raw = values.view("u1").reshape(-1, 4)
        return zlib.compress(raw.T.tobytes() if shuffle else raw.tobytes())

    with h5py.File(path, "w") as file:
        dataset = file.create_dataset(
            "x", shape=WANT.shape, dtype="<i4", chunks=(1032,), compression="gzip", shuffle=shuffle
        )
        dataset.id.write_direct_chunk((0,), packed(WANT[:first]))
        dataset.id.write_direct_chunk((1032,), packed(WANT[1032 : 1032 + stored]))


@pytest.mark.parametrize("key", [..., slice(1000, 1100), slice(1990, None), slice(None, None, 7)])
@pytest.mark.parametrize("shuffle", [False, True])
def test_the_elements_inside_are_all_that_an_edge_chunk_needs(tmp_path: Path, shuffle: bool, key: Any) -> None:
    short_edge(tmp_path / "a.h5", shuffle=shuffle)
    if not shuffle:
        with h5py.File(tmp_path / "a.h5") as file:
            np.testing.assert_array_equal(file["x"][...], WANT)
    for got in routes(tmp_path / "a.h5", key):
        np.testing.assert_array_equal(got, WANT[key])


def test_edges_of_two_axes(tmp_path: Path) -> None:
    want = np.arange(7 * 6, dtype="<i2").reshape(7, 6)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("x", shape=want.shape, dtype="<i2", chunks=(4, 6), compression="gzip")
        dataset.id.write_direct_chunk((0, 0), zlib.compress(want[:4].tobytes()))
        dataset.id.write_direct_chunk((4, 0), zlib.compress(want[4:].tobytes()))
    np.testing.assert_array_equal(packstore.open_array(tmp_path / "a.h5", "x")[...], want)
    np.testing.assert_array_equal(packstore.open_array(tmp_path / "a.h5", "x")[5:, 2], want[5:, 2])


@pytest.mark.parametrize("wrong", [{"stored": 960}, {"first": 1031}])
def test_a_shorter_chunk_stays_an_error(tmp_path: Path, wrong: dict[str, Any]) -> None:
    short_edge(tmp_path / "a.h5", **wrong)
    for route in range(2):
        with pytest.raises(CorruptDataError, match=rf"a\.h5.* chunk \({0 if 'first' in wrong else 1},\)"):
            array = packstore.open_array(tmp_path / "a.h5", "x")
            np.asarray(array[...] if route else array[1020:1040])
