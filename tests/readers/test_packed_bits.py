"""Raw files of packed bits: one default order everywhere, and elements of any number of bits."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import packstore
from packstore.codecs.bits.kernels import RAW_BITORDER
from packstore.errors import DtypeError, OptionError, ShapeError
from packstore.testing.readers import ReaderTests, assert_same
from packstore.testing.strategies import basic_indices, chunk_shapes, shapes_st

Order = Literal["big", "little"]


def packed_bytes(array: np.ndarray, bits: int, axis: int | None, bitorder: Order = "big") -> bytes:
    """The elements' bits one by one, then `numpy.packbits` along the axis: slow, and obviously right."""
    words = array.astype(array.dtype.newbyteorder("=")).astype(np.int64).astype(np.uint64)
    shifts = np.arange(bits, dtype=np.uint64)
    single = (words[..., None] >> (shifts if bitorder == "little" else shifts[::-1])) & np.uint64(1)
    if axis is None:
        return np.packbits(single.reshape(-1).astype(bool), bitorder=bitorder).tobytes()
    # The bits of an element follow each other along its axis.
    axis %= array.ndim
    single = np.moveaxis(single, axis, -2)
    lines = single.reshape(*single.shape[:-2], single.shape[-2] * bits).astype(bool)
    return np.moveaxis(np.packbits(lines, axis=-1, bitorder=bitorder), -1, axis).tobytes()


def within(array: np.ndarray, bits: int) -> np.ndarray:
    """The elements, folded into the range of so many bits, in the same type."""
    kept = array.astype(np.int64) & ((1 << bits) - 1)
    if array.dtype.kind == "i":
        kept = np.where(kept >> (bits - 1), kept - (1 << bits), kept)
    return kept.astype(array.dtype)


# -- one default ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3, None])
def test_a_file_that_numpy_packed_reads_right_without_options(tmp_path: Path, axis: int | None) -> None:
    mask = np.random.default_rng(0).random((11, 9, 13)) < 0.4
    np.packbits(mask, axis=axis).tofile(tmp_path / "numpy.bits")
    packed_axis: Any = "flat" if axis is None else axis
    options: dict[str, Any] = {"format": "raw", "packed_axis": packed_axis, "shape": mask.shape}
    assert_same(packstore.open_memmap(tmp_path / "numpy.bits", shape=mask.shape, axis=axis)[...], mask)
    assert_same(packstore.open_array(tmp_path / "numpy.bits", **options)[...], mask)
    assert_same(packstore.from_file(tmp_path / "numpy.bits", **options).compute(), mask)
    with packstore.open_memmap(tmp_path / "ours.bits", "w+", shape=mask.shape, axis=axis) as made:
        made[...] = mask
        assert_same(made.to_dask().compute(), mask)
    assert (tmp_path / "ours.bits").read_bytes() == (tmp_path / "numpy.bits").read_bytes()
    with packstore.open_memmap(tmp_path / "ours.bits", "r+", shape=mask.shape, axis=axis) as changed:
        changed[3, 4, 5] = not mask[3, 4, 5]
        changed[3, 4, 5] = mask[3, 4, 5]
    assert (tmp_path / "ours.bits").read_bytes() == (tmp_path / "numpy.bits").read_bytes()
    if axis is not None:
        packstore.save(tmp_path / "saved.bits", mask, packed_axis=axis)
        assert (tmp_path / "saved.bits").read_bytes() == (tmp_path / "numpy.bits").read_bytes()


def test_the_default_is_numpys() -> None:
    assert RAW_BITORDER == "big"
    assert packstore.open_memmap.__defaults__ is not None and RAW_BITORDER in packstore.open_memmap.__defaults__


# -- elements of several bits ---------------------------------------------------------------------------------------


class TestMono12(ReaderTests):
    """Frames of a camera: one run of 12-bit values, the low bits first."""

    format = "raw"
    dtypes: ClassVar[tuple[Any, ...]] = ("<u2", ">u2", "<i2", "<u4", "<i8")
    property_dtypes: ClassVar[tuple[str, ...]] = ("<u2", ">i4")
    shapes = ((0,), (7,), (5, 3), (17, 1, 6), (2, 0, 3), (3, 2, 9, 2))
    orders = ("C",)
    min_dims = 1
    bits = 12
    axis: int | None = None
    bitorder: Order = "little"

    def write(self, path: Path, array: np.ndarray) -> None:
        # The suite compares with what it gave: keep the range in the array itself.
        array[...] = within(array, self.bits)
        path.write_bytes(packed_bytes(array, self.bits, self.axis, self.bitorder))

    def options(self, array: np.ndarray) -> Mapping[str, Any]:
        return {
            "format": "raw",
            "dtype": array.dtype,
            "shape": array.shape,
            "bits": self.bits,
            "bitorder": self.bitorder,
            "packed_axis": self.axis,
        }


class TestPaddedRows(TestMono12):
    """Each row begins on a byte, though its elements may not end on one."""

    axis = -1
    bits = 10
    bitorder = "big"


class TestTwoBitGenotypes(TestMono12):
    """A variant of PLINK's: two bits a sample, each row padded."""

    dtypes = ("u1", "<u2")
    property_dtypes = ("u1",)
    axis = -1
    bits = 2


@given(st.data())
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_width_order_and_axis(data: st.DataObject) -> None:
    shape = data.draw(shapes_st(min_dims=1, max_side=21))
    dtype = np.dtype(data.draw(st.sampled_from(["u1", "i1", "<u2", ">i2", ">u4", "<i4", "<u8", "<i8"])))
    bits = data.draw(st.integers(1, min(8 * dtype.itemsize, 62)))
    axis = data.draw(st.none() | st.integers(-len(shape), len(shape) - 1))
    orders: tuple[Order, Order] = ("big", "little")
    bitorder = data.draw(st.sampled_from(orders))
    offset = data.draw(st.sampled_from([0, 3]))
    raw = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, 2**62, shape)
    want = within(raw.astype(dtype), bits)
    key = data.draw(basic_indices(shape))
    chunks = data.draw(st.none() | chunk_shapes(shape))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.raw"
        path.write_bytes(bytes(offset) + packed_bytes(want, bits, axis, bitorder))
        options: dict[str, Any] = {"dtype": dtype, "shape": shape, "bits": bits, "offset": offset}
        options |= {"packed_axis": "flat" if axis is None else axis, "bitorder": bitorder}
        array = packstore.open_array(path, format="raw", chunks=chunks, **options)
        assert array.shape == shape and array.dtype == dtype.newbyteorder("=")
        assert_same(array[...], want)
        assert_same(array[key], want[key])
        along = data.draw(st.none() | st.integers(0, len(shape) - 1))
        assert_same(array.count_nonzero(along), np.count_nonzero(want, axis=along))


@pytest.mark.parametrize("axis", [None, 1])
@pytest.mark.parametrize("bits", [2, 10, 12])
def test_large_boxes_are_read_in_pieces(tmp_path: Path, axis: int | None, bits: int) -> None:
    rng = np.random.default_rng(0)
    want = rng.integers(0, 1 << bits, (300, 4099), dtype=np.uint16)
    (tmp_path / "x.raw").write_bytes(packed_bytes(want, bits, axis, "little"))
    options: dict[str, Any] = {"dtype": "u2", "shape": want.shape, "bits": bits, "packed_axis": axis}
    array = packstore.open_array(tmp_path / "x.raw", format="raw", chunks=(64, 1024), **options)
    for key in (..., (slice(None), 4000), (slice(3, 290, 7), slice(5, 4000, 3)), (slice(None), slice(8, 9))):
        assert_same(array[key], want[key])
    assert_same(packstore.from_file(tmp_path / "x.raw", format="raw", **options).compute(), want)
    assert array.count_nonzero() == np.count_nonzero(want)


def test_mono_12_p_as_the_standard_draws_it(tmp_path: Path) -> None:
    """PFNC: byte 0 has bits 0 to 7 of the first pixel, byte 1 its bits 8 to 11 and, above them, the second's 0 to 3."""
    (tmp_path / "x.raw").write_bytes(bytes([0xBC, 0x3A, 0x12]))
    options: dict[str, Any] = {"format": "raw", "dtype": "uint16", "bits": 12, "shape": (2,)}
    mores: list[dict[str, Any]] = [{}, {"bitorder": "little"}]
    for more in mores:
        assert packstore.open_array(tmp_path / "x.raw", **options, **more)[...].tolist() == [0xABC, 0x123]
    big = packstore.open_array(tmp_path / "x.raw", bitorder="big", **options)
    assert big[...].tolist() == [0xBC3, 0xA12]


def test_plink_bed(tmp_path: Path) -> None:
    """The example of PLINK's documentation of ``.bed``: three variants of six samples, each padded to a byte."""
    (tmp_path / "x.bed").write_bytes(bytes([0x6C, 0x1B, 0x01, 0xDC, 0x0F, 0xE7, 0x0F, 0x6B, 0x01]))
    options: dict[str, Any] = {"dtype": "u1", "bits": 2, "bitorder": "little", "packed_axis": -1, "offset": 3}
    for shape in ((3, 6), (-1, 6)):
        array = packstore.open_array(tmp_path / "x.bed", format="raw", shape=shape, **options)
        assert array[...].tolist() == [[0, 3, 1, 3, 3, 3], [3, 1, 2, 3, 3, 3], [3, 2, 2, 1, 1, 0]]


def test_frames_that_begin_inside_a_byte(tmp_path: Path) -> None:
    """The frames of a DICOM segmentation are one run of bits."""
    mask = np.random.default_rng(0).random((5, 7, 9)) < 0.5
    (tmp_path / "x.raw").write_bytes(np.packbits(mask, axis=None, bitorder="little").tobytes())
    options: dict[str, Any] = {"format": "raw", "bits": 1, "bitorder": "little"}
    for dtype in (None, bool, "uint8"):
        for shape in (mask.shape, (-1, 7, 9)):
            array = packstore.open_array(tmp_path / "x.raw", dtype=dtype, shape=shape, **options)
            assert_same(array[...], mask.astype(dtype or bool))
            assert_same(array[3], mask[3].astype(dtype or bool))
            assert array.count_nonzero() == mask.sum()


def test_lengths_are_inferred_where_one_fits(tmp_path: Path) -> None:
    want = np.random.default_rng(0).integers(0, 4096, (4, 3, 5), dtype=np.uint16)
    for axis in (None, 0, 1, 2):
        (tmp_path / "x.raw").write_bytes(packed_bytes(want, 12, axis, "little"))
        options: dict[str, Any] = {"format": "raw", "dtype": "u2", "bits": 12, "packed_axis": axis}
        for shape in ((-1, 3, 5), (4, -1, 5), (4, 3, -1)):
            assert_same(packstore.open_array(tmp_path / "x.raw", shape=shape, **options)[...], want)
    (tmp_path / "x.raw").write_bytes(packed_bytes(want, 12, None, "little"))
    assert_same(packstore.open_array(tmp_path / "x.raw", format="raw", dtype="u2", bits=12)[...], want.reshape(-1))


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"bits": 12}, OptionError, r"expected dtype= \(raw files have no header\)"),
        (
            {"dtype": "u2", "bits": 17},
            OptionError,
            r"at most 16, as dtype uint16 has, got 17\. dtype=.uint32",
        ),
        ({"dtype": "u2", "bits": 0}, OptionError, r"bits= of 1 or more, got 0"),
        ({"dtype": "u2", "bits": 12.0}, OptionError, r"bits= of 1 or more, got 12\.0"),
        ({"dtype": "u2", "bits": True}, OptionError, r"bits= of 1 or more, got True"),
        ({"dtype": "?", "bits": 2}, OptionError, r"bits= of at most 1, as dtype bool has, got 2"),
        (
            {"dtype": "f4", "bits": 12},
            DtypeError,
            r"of 12 bits in .*: expected bool or an integer, got float32",
        ),
        ({"dtype": "u2", "packed_axis": 0}, DtypeError, r"expected dtype bool, got 'u2'\. Say with bits="),
        ({"dtype": "u2", "bits": 12, "order": "F"}, OptionError, "expected order C, got 'F'"),
        ({"dtype": "u2", "bits": 12, "bitorder": "lsb"}, OptionError, "bitorder= big or little, got 'lsb'"),
        ({"dtype": "u2", "bits": 12, "packed_axis": 2, "shape": (4, 5)}, OptionError, "packed_axis within shape"),
        (
            {"dtype": "u1", "bits": 2},
            OptionError,
            r"shape= of the unpacked elements, got none\. .*most 240 elem",
        ),
        ({"dtype": "u1", "bits": 2, "shape": -1}, OptionError, "all lengths, as several fit the file"),
        ({"dtype": "u1", "bits": 2, "shape": (4, -1), "packed_axis": 1}, OptionError, "the length of the packed axis"),
        (
            {"dtype": "u2", "bits": 12, "shape": (5, 7)},
            ShapeError,
            r"\(bytes \(53,\)\) .*: expected 53 bytes, got 60",
        ),
        ({"dtype": "u2", "bits": 12, "shape": (0, -1)}, ShapeError, "no zero beside -1"),
        ({"dtype": "u2", "bits": 12, "shape": (-1, 7)}, ShapeError, "a multiple of 11 bytes, got 60"),
        ({"dtype": "u2", "bits": 12, "shape": (5, 8), "packed_axis": 0}, ShapeError, "would fit without packed_axis="),
        ({"dtype": "u2", "bits": 12, "shape": (12, 3)}, ShapeError, r"would fit with packed_axis=-1"),
    ],
)
def test_what_cannot_be_is_said(tmp_path: Path, options: dict[str, Any], error: type[Exception], match: str) -> None:
    (tmp_path / "x.raw").write_bytes(bytes(60))
    with pytest.raises(error, match=match) as caught:
        packstore.open_array(tmp_path / "x.raw", format="raw", **options)
    assert isinstance(caught.value, packstore.errors.PackstoreError)
    assert "x.raw" in str(caught.value)
