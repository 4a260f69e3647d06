"""Raw files against ``ndarray.tofile``, ``np.memmap`` and ``np.packbits``."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import packstore
from packstore.errors import DtypeError, FormatError, MissingFileError, OptionError, ShapeError
from packstore.testing.readers import ReaderTests, assert_same, example
from packstore.testing.strategies import basic_indices, chunk_shapes, shapes_st


class TestRaw(ReaderTests):
    format = "raw"
    suffix = ".dat"

    def write(self, path: Path, array: np.ndarray) -> None:
        path.write_bytes(array.tobytes("A"))

    def options(self, array: np.ndarray) -> Mapping[str, Any]:
        order = "C" if array.flags.c_contiguous else "F"
        return {"format": "raw", "dtype": array.dtype, "shape": array.shape, "order": order}


class TestRawBehindAHeader(TestRaw):
    def write(self, path: Path, array: np.ndarray) -> None:
        path.write_bytes(b"header!" + array.tobytes("A"))

    def options(self, array: np.ndarray) -> Mapping[str, Any]:
        return {**super().options(array), "offset": 7}


class TestPacked(ReaderTests):
    format = "raw"
    dtypes = ("?",)
    property_dtypes = ("bool",)
    shapes = ((0,), (7,), (5, 3), (17, 1, 6), (2, 0, 3), (3, 2, 9, 2))
    orders = ("C",)
    min_dims = 1
    axis: int | None = 0
    bitorder: Literal["big", "little"] = "big"

    def write(self, path: Path, array: np.ndarray) -> None:
        np.packbits(array, axis=self.axis, bitorder=self.bitorder).tofile(path)

    def options(self, array: np.ndarray) -> Mapping[str, Any]:
        axis = "flat" if self.axis is None else self.axis
        return {"format": "raw", "packed_axis": axis, "bitorder": self.bitorder, "shape": array.shape}


class TestPackedLastLittle(TestPacked):
    axis = -1
    bitorder = "little"


class TestPackedFlat(TestPacked):
    axis = None  # numpy's name for the flattened array
    bitorder = "little"


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_packed_bits_along_any_axis(data: st.DataObject) -> None:
    shape = data.draw(shapes_st(min_dims=1, max_side=21))
    mask = np.random.default_rng(data.draw(st.integers(0, 99))).random(shape) < 0.4
    axis = data.draw(st.none() | st.integers(-len(shape), len(shape) - 1))
    orders: tuple[Literal["big"], Literal["little"]] = ("big", "little")
    bitorder: Literal["big", "little"] = data.draw(st.sampled_from(orders))
    offset = data.draw(st.sampled_from([0, 3]))
    key = data.draw(basic_indices(shape))
    chunks = data.draw(st.none() | chunk_shapes(shape))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mask.bin"
        path.write_bytes(bytes(offset) + np.packbits(mask, axis=axis, bitorder=bitorder).tobytes())
        options: dict[str, Any] = {
            "packed_axis": "flat" if axis is None else axis,
            "bitorder": bitorder,
            "shape": shape,
            "offset": offset,
        }
        array = packstore.open_array(path, format="raw", chunks=chunks, **options)
        assert array.dtype == bool and array.shape == shape
        assert_same(array[key], mask[key])
        assert_same(array[...], mask)


def test_default_chunks_of_packed_bits_end_on_whole_bytes(tmp_path: Path) -> None:
    mask = np.zeros((30_001, 1000), bool)
    mask[::7, ::3] = True
    np.packbits(mask, axis=0).tofile(tmp_path / "mask.bin")
    array = packstore.open_array(tmp_path / "mask.bin", format="raw", packed_axis=0, shape=mask.shape)
    assert array.chunks[0] % 8 == 0 and array.chunks[0] < 30_001
    assert_same(array[...], mask)


def test_memmap_files(tmp_path: Path) -> None:
    mapped = np.memmap(tmp_path / "x.dat", ">f4", "w+", offset=128, shape=(6, 5), order="F")
    mapped[:] = example(">f4", (6, 5))
    mapped.flush()
    options: dict[str, Any] = {"dtype": ">f4", "shape": (6, 5), "order": "F", "offset": 128}
    assert_same(packstore.open_array(tmp_path / "x.dat", format="raw", **options)[...], np.asarray(mapped))


def test_shapes_are_inferred(tmp_path: Path) -> None:
    want = np.arange(60, dtype="<i2")
    want.tofile(tmp_path / "x.dat")
    for shape in (None, 60, -1, (60,), [5, -1], (-1, 4), (3, -1, 4), np.array([60]), np.int64(60)):
        array = packstore.open_array(tmp_path / "x.dat", format="raw", dtype="<i2", shape=shape)
        assert_same(array[...], want.reshape(-1 if shape is None else shape))
    (tmp_path / "empty.dat").touch()
    assert packstore.open_array(tmp_path / "empty.dat", format="raw", dtype="f4").shape == (0,)
    assert packstore.open_array(tmp_path / "empty.dat", format="raw", dtype="f4", shape=(4, 0)).shape == (4, 0)


@pytest.mark.parametrize("shape", [np.int64(60), np.array([60]), np.array(60)], ids=["scalar", "1-d", "0-d"])
def test_shapes_as_numpy_has_them_are_told_apart(tmp_path: Path, shape: Any) -> None:
    """Opened arrays are kept by their options: a numpy scalar is compared with the tuples of other openings."""
    np.arange(60, dtype="<i2").tofile(tmp_path / "x.dat")
    for other in ([5, -1], (-1, 4)):
        packstore.open_array(tmp_path / "x.dat", format="raw", dtype="<i2", shape=other)
    assert packstore.open_array(tmp_path / "x.dat", format="raw", dtype="<i2", shape=shape).shape == (60,)


def test_struct_from_a_list_of_fields(tmp_path: Path) -> None:
    for dtype in ([("a", "<i4"), ("b", [("x", "u1"), ("y", "S2")])], [("a", "<f8", (2,))]):
        want = example(dtype, (6,))
        want.tofile(tmp_path / "x.dat")
        assert_same(packstore.from_file(tmp_path / "x.dat", format="raw", dtype=dtype).compute(), want)


def test_mask_from_packbits_crops_lazily(tmp_path: Path) -> None:
    """The issue's own case: ``np.packbits(mask, axis=0).tofile(...)``."""
    mask = np.random.default_rng(0).random((100, 200)) < 0.3
    np.packbits(mask, axis=0).tofile(tmp_path / "mask.bin")
    array = packstore.open_array(tmp_path / "mask.bin", format="raw", packed_axis=0, shape=(100, 200))
    assert_same(array[13:50, 7:90], mask[13:50, 7:90])
    bits = np.unpackbits(np.packbits(mask, axis=0).reshape(-1, 1), axis=1).astype(bool)
    lazy = packstore.from_file(tmp_path / "mask.bin", format="raw", packed_axis=1, shape=(-1, 8), dtype=bool)
    assert_same(lazy.compute(), bits)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"dtype": "f4", "shape": (1000, 20)}, r"expected 80000 bytes, got 60000\. .*shape \(750, 20\) would fit"),
        ({"dtype": "f4", "shape": (1000, 20)}, r"shape \(1000, 15\) would fit"),
        ({"dtype": "f4", "shape": (700, 20)}, r"expected 56000 bytes, got 60000\. .*offset=4000 would fit"),
        ({"dtype": "f8", "shape": (750, 20)}, r"expected 120000 bytes, got 60000\. .*a dtype of 4 bytes would fit"),
        ({"dtype": "f4", "shape": (750, 20), "offset": 8}, r"expected 60000 bytes, got 59992 after offset 8"),
        ({"dtype": "f4", "shape": (7, -1)}, r"expected a multiple of 28 bytes, got 60000"),
        ({"dtype": "V7"}, r"expected a multiple of 7 bytes, got 60000"),
        ({"dtype": "f4", "shape": ()}, r"expected 4 bytes, got 60000.*shape \(15000,\) would fit"),
        ({"dtype": "f4", "shape": (0, -1)}, "no zero beside -1"),
        ({"dtype": "f4", "offset": 60001}, "more than offset=60001 bytes, got 60000"),
        ({"packed_axis": 0, "shape": (800, 500)}, r"expected 50000 bytes, got 60000\. .*bytes of shape \(120, 500\)"),
        ({"packed_axis": 0, "shape": (800, -1)}, None),
        ({"packed_axis": 0, "shape": (7000, -1)}, r"expected a multiple of 875 bytes, got 60000"),
    ],
)
def test_sizes_must_match(tmp_path: Path, options: dict[str, Any], match: str | None) -> None:
    path = tmp_path / "x.dat"
    path.write_bytes(bytes(60_000))
    if match is None:
        assert packstore.open_array(path, format="raw", **options).shape == (800, 600)
        return
    with pytest.raises(ShapeError, match=rf"opening .*x\.dat.*: .*{match}"):
        packstore.open_array(path, format="raw", **options)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({}, OptionError, r"expected dtype= \(raw files have no header\)"),
        ({"dtype": "q9"}, DtypeError, "expected a numpy dtype, got 'q9'"),
        ({"dtype": object}, DtypeError, "never unpickles"),
        ({"dtype": "S"}, DtypeError, "a dtype of one element, with its length"),
        ({"dtype": ("f4", 3)}, DtypeError, "put the shape of a sub-array into shape="),
        ({"dtype": "f4", "shape": (2.5,)}, OptionError, r"shape= of integers, got \(2\.5,\)"),
        ({"dtype": "f4", "shape": "ab"}, OptionError, "shape= of integers"),
        ({"dtype": "f4", "shape": (-1, -1)}, OptionError, "one may be -1"),
        ({"dtype": "f4", "shape": (-2,)}, OptionError, "non-negative lengths"),
        ({"dtype": "f4", "shape": (0, 2**62, 2**62)}, OptionError, "non-negative lengths"),
        ({"dtype": "f4", "offset": -1}, OptionError, "offset= of 0 or more bytes, got -1"),
        ({"dtype": "f4", "order": "A"}, OptionError, "order= C or F, got 'A'"),
        ({"dtype": "f4", "bitorder": "big"}, OptionError, "bits= or packed_axis= together with bitorder="),
        ({"dtype": "f4", "axis": 1}, OptionError, "options of this format .*, got 'axis'"),
        ({"packed_axis": 0}, OptionError, "shape= of the unpacked mask"),
        ({"packed_axis": 2, "shape": (8, 8)}, OptionError, r"packed_axis within shape \(8, 8\), got 2"),
        ({"packed_axis": "x", "shape": (8, 8)}, OptionError, "an axis or \"flat\", got 'x'"),
        ({"packed_axis": 0, "shape": (-1, 8)}, OptionError, "the length of the packed axis, got -1"),
        ({"packed_axis": 0, "shape": (8, 8), "order": "F"}, OptionError, "order C"),
        ({"packed_axis": 0, "shape": (8, 8), "dtype": "u1"}, DtypeError, "dtype bool, got 'u1'"),
        ({"packed_axis": 0, "shape": (8, 8), "bitorder": "x"}, OptionError, "bitorder= big or little"),
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, options: dict[str, Any], error: type, match: str) -> None:
    path = tmp_path / "x.dat"
    path.write_bytes(bytes(8))
    with pytest.raises(error, match=match):
        packstore.open_array(path, format="raw", **options)


def test_no_file_and_no_format(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="nothing of that name"):
        packstore.open_array(tmp_path / "x.dat", format="raw", dtype="f4")
    with pytest.raises(MissingFileError, match="a directory"):
        packstore.open_array(tmp_path, format="raw", dtype="f4")
    (tmp_path / "x.dat").write_bytes(b"\x01\x02\x03\x04")
    with pytest.raises(FormatError, match=r'pass format="raw", dtype= and shape='):
        packstore.open_array(tmp_path / "x.dat")
