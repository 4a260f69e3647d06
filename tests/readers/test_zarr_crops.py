"""Boxes of packed masks in zarr directories: each chunk's bytes of the box, or as little more as can be."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import packstore


def packed(
    path: Path, mask: np.ndarray, chunks: tuple[int, ...], padding: Literal["none", "first_byte", "last_byte"] = "none"
) -> zarr.Array[Any]:
    array = zarr.create_array(
        path,
        shape=mask.shape,
        chunks=chunks,
        dtype=bool,
        serializer=packstore.PackBitsCodec(padding_encoding=padding),
        compressors=None,
        fill_value=True,
    )
    array[...] = mask
    return array


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_boxes_equal_numpy(data: st.DataObject) -> None:
    import tempfile

    ndim = data.draw(st.integers(1, 3))
    shape = tuple(data.draw(st.integers(1, 40)) for _ in range(ndim))
    chunks = tuple(data.draw(st.integers(1, 20)) for _ in range(ndim))
    mask = np.random.default_rng(data.draw(st.integers(0, 99))).random(shape) < 0.5
    with tempfile.TemporaryDirectory() as folder:
        packed(Path(folder) / "m.zarr", mask, chunks, data.draw(st.sampled_from(["none", "first_byte", "last_byte"])))
        array = packstore.open_array(Path(folder) / "m.zarr")
        for _ in range(10):
            bounds = [sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in shape]
            key = tuple(slice(a, b, data.draw(st.sampled_from([1, 1, 2, 9]))) for a, b in bounds)
            np.testing.assert_array_equal(array[key], mask[key])


def packed_by_numcodecs(path: Path, mask: np.ndarray, chunks: tuple[int, ...]) -> zarr.Array[Any]:
    """With the first element in the highest bit."""
    from zarr.codecs.numcodecs import PackBits

    array = zarr.create_array(path, shape=mask.shape, chunks=chunks, dtype=bool, filters=[PackBits()], compressors=None)
    array[...] = mask
    return array


@settings(deadline=None, max_examples=60)
@given(st.data())
@pytest.mark.filterwarnings("ignore:Numcodecs codecs are not")
def test_narrow_boxes_of_wide_rows(data: st.DataObject) -> None:
    import tempfile

    planes = data.draw(st.lists(st.integers(1, 3), max_size=1))
    shape = (*planes, data.draw(st.integers(16, 60)), data.draw(st.integers(50, 1100)))
    chunks = (*planes, shape[-2], shape[-1] - data.draw(st.integers(0, 3)))
    mask = np.random.default_rng(data.draw(st.integers(0, 99))).random(shape) < 0.5
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.zarr"
        paddings: tuple[Literal["none", "first_byte", "last_byte"], ...] = ("none", "first_byte", "last_byte")
        padding = data.draw(st.none() | st.sampled_from(paddings))
        if padding is None:
            packed_by_numcodecs(path, mask, chunks)
        else:
            packed(path, mask, chunks, padding)
        array = packstore.open_array(path)
        for _ in range(10):
            top = data.draw(st.integers(0, shape[-2] - 16))
            left = data.draw(st.integers(0, shape[-1] - 1))
            width = data.draw(st.integers(1, max(1, shape[-1] // 3)))
            rows = data.draw(st.integers(16, 40))
            key: tuple[Any, ...] = (
                *[data.draw(st.integers(0, n - 1)) for n in planes],
                slice(top, top + rows),
                slice(left, left + width),
            )
            got = array[key]
            np.testing.assert_array_equal(got, mask[key])
            assert got.flags.writeable
            got[...] = True  # and belongs to the caller
            np.testing.assert_array_equal(array[key], mask[key])


@pytest.mark.parametrize("width", [24, 21])
def test_only_the_bytes_of_the_box_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    mask = np.random.default_rng(0).random((4, 50, width)) < 0.5
    packed(tmp_path / "m.zarr", mask, (1, 50, width))
    array = packstore.open_array(tmp_path / "m.zarr")
    ranges = []
    pread = os.pread

    def recorded(fd: int, nbytes: int, offset: int) -> bytes:
        ranges.append((offset, offset + nbytes))
        return pread(fd, nbytes, offset)

    monkeypatch.setattr(os, "pread", recorded)
    np.testing.assert_array_equal(array[2, 3:30, 5:13], mask[2, 3:30, 5:13])
    assert ranges == [((3 * width + 5) // 8, -(-(29 * width + 13) // 8))]


@pytest.mark.parametrize("width", [24, 21])
def test_missing_chunks_are_the_fill_value(tmp_path: Path, width: int) -> None:
    array = packed(tmp_path / "m.zarr", np.zeros((10, width), bool), (5, width))
    array[5:] = True
    np.testing.assert_array_equal(packstore.open_array(tmp_path / "m.zarr")[2:8, 1:9], array[2:8, 1:9])


@pytest.mark.parametrize("width", [24, 21])
def test_a_chunk_of_the_wrong_size_is_named(tmp_path: Path, width: int) -> None:
    packed(tmp_path / "m.zarr", np.eye(10, width, dtype=bool), (10, width))
    chunk = tmp_path / "m.zarr" / "c" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-1])
    with pytest.raises(packstore.errors.PackstoreError, match=r"chunk \(0, 0\)"):
        packstore.open_array(tmp_path / "m.zarr")[1:3, 1:3]


@pytest.mark.parametrize("padding", ["none", "first_byte", "last_byte"])
def test_padding_bits_are_still_checked(tmp_path: Path, padding: Literal["none", "first_byte", "last_byte"]) -> None:
    packed(tmp_path / "m.zarr", np.zeros((10, 21), bool), (10, 21), padding)
    chunk = tmp_path / "m.zarr" / "c" / "0" / "0"
    data = bytearray(chunk.read_bytes())
    data[-2 if padding == "last_byte" else -1] |= 0x80
    chunk.write_bytes(data)
    with pytest.raises(packstore.errors.CorruptDataError):
        packstore.open_array(tmp_path / "m.zarr")[9:, 18:]
