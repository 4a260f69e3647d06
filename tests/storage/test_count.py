"""count_nonzero: numpy's values from every kind of storage, by numpy's and by dask's door."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

import packstore
from packstore.errors import OptionError
from packstore.views.dask import from_file


def _written(
    kind: str, mask: np.ndarray[Any, Any], folder: Path, axis: int, bitorder: Literal["little", "big"]
) -> packstore.Array:
    path = folder / f"x-{kind}"
    if kind == "packed raw":
        np.packbits(mask, axis=axis, bitorder=bitorder).tofile(path)
        return packstore.open_array(path, format="raw", shape=mask.shape, packed_axis=axis, bitorder=bitorder)
    if kind == "flat packed raw":
        np.packbits(mask, bitorder=bitorder).tofile(path)
        return packstore.open_array(path, format="raw", shape=mask.shape, packed_axis="flat", bitorder=bitorder)
    if kind == "npy":
        with open(path, "wb") as file:
            np.save(file, mask.astype(">i2"))
        return packstore.open_array(path)
    if kind == "hdf5":
        with h5py.File(path, "w") as file:
            file.create_dataset("x", data=mask.astype("f4"), chunks=tuple(max(n // 2, 1) for n in mask.shape))
        return packstore.open_array(path, "x")
    chunks = tuple(max(n // 2, 1) for n in mask.shape)
    array = zarr.create_array(
        path,
        shape=mask.shape,
        chunks=chunks,
        dtype=bool,
        serializer=packstore.PackBitsCodec(),
        compressors=None,
        overwrite=True,
    )
    array[...] = mask
    return packstore.open_array(path)


KINDS = ("packed raw", "flat packed raw", "npy", "hdf5", "zarr")


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_values(kind: str, tmp_path: Path, data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 21), min_size=1, max_size=3)))
    mask = np.random.default_rng(data.draw(st.integers(0, 9))).random(shape) < 0.4
    axis = data.draw(st.integers(0, len(shape) - 1))
    array = _written(kind, mask, tmp_path, axis, data.draw(st.sampled_from(["big", "little"])))
    axes = data.draw(st.none() | st.integers(-len(shape), len(shape) - 1) | st.just(tuple(range(len(shape))[::2])))
    expected = np.count_nonzero(mask, axis=axes)
    got = array.count_nonzero(axes)
    np.testing.assert_array_equal(got, expected)
    assert np.shape(got) == np.shape(expected)
    chunks = tuple(data.draw(st.integers(1, n)) for n in shape)
    lazily = from_file.count_nonzero(array, axes, chunks=chunks)
    assert lazily.dtype == np.int64
    np.testing.assert_array_equal(lazily.compute(scheduler="sync"), expected)


@pytest.mark.parametrize("shape", [(4096, 5000), (3, 2001, 3003)])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_large(shape: tuple[int, ...], axis: int, tmp_path: Path) -> None:
    mask = np.random.default_rng(0).random(shape, np.float32) < 0.3
    path = tmp_path / "x.bits"
    np.packbits(mask, axis=axis).tofile(path)
    array = packstore.open_array(path, format="raw", shape=shape, packed_axis=axis % len(shape))
    assert array.count_nonzero() == np.count_nonzero(mask)
    for counted in (0, 1):
        np.testing.assert_array_equal(array.count_nonzero(counted), np.count_nonzero(mask, axis=counted))
    np.testing.assert_array_equal(array[5:, 3:-5], mask[5:, 3:-5])
    np.testing.assert_array_equal(array[...], mask)
    np.testing.assert_array_equal(array[:, 9::2], mask[:, 9::2])


def test_empty_and_0d(tmp_path: Path) -> None:
    np.save(tmp_path / "e.npy", np.zeros((0, 3)))
    array = packstore.open_array(tmp_path / "e.npy")
    assert array.count_nonzero() == 0
    np.testing.assert_array_equal(array.count_nonzero(0), [0, 0, 0])
    np.testing.assert_array_equal(from_file.count_nonzero(array, 0).compute(), [0, 0, 0])
    np.save(tmp_path / "s.npy", np.float64(3))
    assert packstore.open_array(tmp_path / "s.npy").count_nonzero() == 1


@pytest.mark.parametrize("axis", [2, -3, (0, 0), "0"])
def test_wrong_axis(axis: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2, 3)))
    with pytest.raises(OptionError, match=r"axes of 2|an axis, a tuple"):
        packstore.open_array(tmp_path / "x.npy").count_nonzero(axis)
