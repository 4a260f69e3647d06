"""The short ways for small boxes of packed masks give what the general way gives, or leave it to that one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import packstore
from packstore.readers.zarr.bitcrops import BitCropper
from packstore.readers.zarr.crops import Cropper


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


def cropper(array: packstore.Array) -> Any:
    assert array.lazy is not None
    storage: Any = array.lazy.array.storage
    return storage.crops.__self__


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
        assert isinstance(cropper(array), Cropper if chunks[-1] % 8 == 0 else BitCropper)
        for _ in range(10):
            bounds = [sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in shape]
            key = tuple(slice(a, b) for a, b in bounds)
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


@pytest.mark.filterwarnings("ignore:Numcodecs codecs are not")
@pytest.mark.parametrize("order", ["little", "big"])
def test_rows_are_aligned_without_what_lies_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    mask = np.random.default_rng(0).random((200, 1003)) < 0.5
    (packed if order == "little" else packed_by_numcodecs)(tmp_path / "m.zarr", mask, mask.shape)
    reader = cropper(packstore.open_array(tmp_path / "m.zarr"))
    assert isinstance(reader, BitCropper)
    unpacked = []
    unpackbits = np.unpackbits

    def counted(packed: np.ndarray, **options: Any) -> np.ndarray:
        unpacked.append(packed.nbytes)
        return unpackbits(packed, **options)

    monkeypatch.setattr(np, "unpackbits", counted)
    for top in range(8):
        box = (slice(top, top + 64, 1), slice(300 + top, 364 + top, 1))
        np.testing.assert_array_equal(reader.read(box), mask[box])
    assert unpacked == [64 * 64 // 8] * 8


@pytest.mark.parametrize("width", [24, 21])
def test_stack_of_frames_takes_the_short_way(tmp_path: Path, width: int) -> None:
    mask = np.random.default_rng(0).random((4, 50, width)) < 0.5
    packed(tmp_path / "m.zarr", mask, (1, 50, width))
    reader = cropper(packstore.open_array(tmp_path / "m.zarr"))
    box = (slice(2, 3, 1), slice(3, 30, 1), slice(5, 13, 1))
    np.testing.assert_array_equal(reader.read(box), mask[box])


@pytest.mark.parametrize("width", [24, 21])
def test_missing_chunks_are_the_fill_value(tmp_path: Path, width: int) -> None:
    array = packed(tmp_path / "m.zarr", np.zeros((10, width), bool), (5, width))
    array[5:] = True
    np.testing.assert_array_equal(packstore.open_array(tmp_path / "m.zarr")[2:8, 1:9], array[2:8, 1:9])


@pytest.mark.parametrize("width", [24, 21])
def test_a_chunk_of_the_wrong_size_is_left_to_the_general_way(tmp_path: Path, width: int) -> None:
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
