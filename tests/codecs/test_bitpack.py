"""BitPack: numcodecs' own style of checks, Zarr v2 filters, and every error."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import hypothesis.strategies as st
import ml_dtypes
import numcodecs
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from numcodecs.registry import get_codec
from zarr.core.metadata import ArrayV2Metadata

from packstore.codecs.bitpack import BitPack
from packstore.codecs.packbits import encode_array
from packstore.errors import CodecConfigError, CorruptDataError, DtypeError, ShapeError
from packstore.testing.codecs import NumcodecTests, assert_same_bits
from tests.codecs import packbits_reference as reference


class TestBitPack(NumcodecTests):
    codec_cls = BitPack
    cases = (
        ({}, "bool"),
        ({"bitorder": "big"}, "bool"),
        ({"padding_encoding": "last_byte"}, "bool"),
        *(({"dtype": dtype}, dtype) for dtype in ("uint8", "<i2", ">u4", "<f8", "<c8")),
        ({"dtype": "<u2", "last_bit": 11}, "<u2"),
        ({"dtype": "<u2", "last_bit": 9, "bitorder": "big"}, "<u2"),
        ({"dtype": ">i2", "first_bit": 2, "last_bit": 12}, ">i2"),
        ({"dtype": "<u8", "last_bit": 50, "bitorder": "big", "padding_encoding": "last_byte"}, "<u8"),
    )

    def expected(self, array: np.ndarray, config: dict[str, Any]) -> np.ndarray:
        return reference.read_back(array, config.get("first_bit"), config.get("last_bit"))


@settings(max_examples=50, deadline=None)
@given(count=st.integers(0, 100), seed=st.integers(0, 999))
def test_big_order_is_numcodecs_packbits(count: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random(count) < 0.5
    ours, theirs = BitPack(bitorder="big"), numcodecs.PackBits()
    assert ours.encode(mask).tobytes() == theirs.encode(mask).tobytes()
    assert_same_bits(ours.decode(theirs.encode(mask)), mask)
    assert_same_bits(theirs.decode(ours.encode(mask)), mask)


def test_never_behind_the_id_of_numcodecs() -> None:
    assert BitPack.codec_id == "bitpack"
    assert type(get_codec({"id": "packbits"})) is numcodecs.PackBits


@pytest.mark.parametrize("padding_encoding", ["none", "first_byte", "last_byte"])
def test_little_order_is_the_registered_codec(padding_encoding: Literal["none", "first_byte", "last_byte"]) -> None:
    values = np.random.default_rng(0).integers(0, 4096, 35).astype("<u2")
    codec = BitPack("<u2", last_bit=11, padding_encoding=padding_encoding, nitems=35)
    expected = encode_array(values, last_bit=11, padding_encoding=padding_encoding)
    assert codec.encode(values).tobytes() == expected.tobytes()
    assert_same_bits(codec.decode(expected), values)


@pytest.mark.parametrize("bitorder", ["little", "big"])
def test_plain_packed_bits(bitorder: Literal["little", "big"]) -> None:
    # What np.packbits(mask).tofile(...) leaves: no count anywhere.
    mask = np.random.default_rng(0).random(13) < 0.5
    stored = np.packbits(mask, bitorder=bitorder).tobytes()
    assert_same_bits(BitPack(bitorder=bitorder, padding_encoding="none", nitems=13).decode(stored), mask)
    out = np.empty(13, bool)
    assert BitPack(bitorder=bitorder, padding_encoding="none").decode(stored, out=out) is out
    assert_same_bits(out, mask)
    whole = BitPack(bitorder=bitorder, padding_encoding="none").decode(stored)
    assert whole.size == 16
    assert_same_bits(whole[:13], mask)


def test_without_a_count_only_unambiguous_sizes_are_encoded() -> None:
    codec = BitPack(padding_encoding="none")
    assert_same_bits(codec.decode(codec.encode(np.ones(16, bool))), np.ones(16, bool))
    with pytest.raises(ShapeError, match=r'such as 16, got 13\. Set padding_encoding to "first_byte", or nitems'):
        codec.encode(np.ones(13, bool))
    # Three 12-bit values fill 36 of 40 bits; a fourth would not fit, so the bytes do tell.
    codec = BitPack("u2", last_bit=11, padding_encoding="none")
    values = np.array([1, 2, 4095], np.uint16)
    assert_same_bits(codec.decode(codec.encode(values)), values)


@pytest.mark.parametrize("order", ["C", "F"])
def test_out_keeps_shape_and_order(order: Literal["C", "F"]) -> None:
    mask = np.asarray(np.random.default_rng(0).random((5, 7)) < 0.5, order=order)
    out = np.zeros_like(mask)
    BitPack().decode(BitPack().encode(mask), out=out)
    assert_same_bits(out, mask)


def test_strided_input_and_output() -> None:
    big = np.random.default_rng(0).integers(0, 1000, (8, 10)).astype("<u2")
    values = big[::2, 1::3]
    codec = BitPack("<u2", last_bit=9)
    out = np.zeros((8, 10), "<u2")
    codec.decode(codec.encode(values), out=out[::2, 1::3])
    assert_same_bits(out[::2, 1::3], values)
    assert int((out != 0).sum()) == int((values != 0).sum())


def test_ml_dtypes() -> None:
    values = np.arange(-8, 8).astype(ml_dtypes.int4)
    codec = BitPack("int4")
    assert codec.get_config()["dtype"] == "int4"
    assert get_codec(codec.get_config()) == codec == BitPack(ml_dtypes.int4)
    assert codec.encode(values).size == 9
    assert_same_bits(codec.decode(codec.encode(values)), values)


# ----------------------------------------------------------------------------------------------------- Zarr v2 filters


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("compressor", [None, "zstd"])
@pytest.mark.parametrize("dtype", ["|b1", "<u2", ">i4"])
def test_filter_of_zarr_v2(tmp_path: Path, order: Literal["C", "F"], compressor: str | None, dtype: str) -> None:
    rng = np.random.default_rng(0)
    array = rng.integers(0, 2, (20, 33)).astype(dtype)
    z = zarr.create_array(
        tmp_path,
        shape=array.shape,
        chunks=(8, 10),
        dtype=dtype,
        zarr_format=2,
        order=order,
        filters=[BitPack(dtype, last_bit=None if dtype == "|b1" else 3)],
        compressors=None if compressor is None else numcodecs.Zstd(),
    )
    z[...] = array
    again = zarr.open_array(tmp_path, mode="r")
    assert isinstance(again.metadata, ArrayV2Metadata) and again.metadata.filters is not None
    assert again.metadata.filters[0] == BitPack(dtype, last_bit=None if dtype == "|b1" else 3)
    assert_same_bits(again[...], array)
    assert_same_bits(again[3:17:2, 5:31], array[3:17:2, 5:31])
    if compressor is None:
        assert (tmp_path / "0.0").stat().st_size == 1 + (10 if dtype == "|b1" else 40)


# --------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize("dtype", ["int32", "uint8", "float64", "S1", "datetime64[s]", object])
def test_other_types_are_refused(dtype: Any) -> None:
    with pytest.raises(DtypeError, match="encoding with bitpack: expected dtype bool, got"):
        BitPack().encode(np.zeros(4, dtype))


def test_byte_order_is_part_of_the_type() -> None:
    with pytest.raises(DtypeError, match=r"expected dtype uint16, got >u2\. Convert the array"):
        BitPack("<u2").encode(np.zeros(4, ">u2"))


def test_bytes_that_are_no_bools() -> None:
    with pytest.raises(DtypeError, match="expected bytes 0 and 1 for bool, got 2"):
        BitPack().encode(b"\0\1\2")


def test_bytes_that_are_no_whole_elements() -> None:
    with pytest.raises(DtypeError, match="expected a multiple of 2 bytes for uint16, got 3"):
        BitPack("<u2").encode(b"abc")


def test_things_that_are_no_buffers() -> None:
    with pytest.raises(DtypeError, match="expected dtype bool, got int64"):
        BitPack().encode([1, 0, 1])


def test_out_of_another_type_or_size() -> None:
    codec = BitPack()
    stored = codec.encode(np.ones(12, bool))
    with pytest.raises(DtypeError, match="decoding with bitpack: expected dtype bool, got uint8"):
        codec.decode(stored, out=np.empty(12, np.uint8))
    with pytest.raises(CorruptDataError, match="a padding count of 3 for 13 elements of 1 bits, got 4"):
        codec.decode(stored, out=np.empty(13, bool))
    with pytest.raises(CorruptDataError, match="expected 4 bytes for 24 elements"):
        codec.decode(stored, out=bytearray(24))


@pytest.mark.parametrize(
    ("stored", "text"),
    [
        (b"", "expected a padding count, got no bytes at all"),
        (b"\xc8\x01", "a padding count of at most 7 in the first byte, got 200"),
        (b"\x05", "expected 1 bytes for 0 elements|expected a padding count of 0 for 0 elements of 1 bits, got 5"),
        (b"\x03\xff", "expected zeros in the 3 padding bits of the last byte, got 0xe0"),
    ],
)
def test_damaged_bytes(stored: bytes, text: str) -> None:
    with pytest.raises(CorruptDataError, match=text):
        BitPack().decode(stored)


def test_padding_that_no_whole_elements_leave() -> None:
    # 12-bit values: 2 bytes are one value and 4 bits, so a count of 3 cannot be.
    with pytest.raises(CorruptDataError, match="expected a padding count of 4 for 1 elements of 12 bits, got 3"):
        BitPack("<u2", last_bit=11).decode(b"\x03\x01\x00")


def test_nitems() -> None:
    codec = BitPack(nitems=12)
    assert codec.decode(codec.encode(np.ones(12, bool))).all()
    with pytest.raises(ShapeError, match="expected 12 elements, got 11"):
        codec.encode(np.ones(11, bool))
    with pytest.raises(ShapeError, match="expected an array of 12 elements, got 11"):
        codec.decode(b"\x04\xff\x0f", out=np.empty(11, bool))
    with pytest.raises(CorruptDataError, match="expected 3 bytes for 12 elements"):
        codec.decode(b"\x04\xff\xff\x0f")


@pytest.mark.parametrize(
    ("config", "error", "text"),
    [
        ({"bitorder": "middle"}, CodecConfigError, 'expected "little" or "big", got \'middle\''),
        ({"padding_encoding": "start_byte"}, CodecConfigError, 'Write "first_byte"'),
        (
            {"nitems": -1},
            CodecConfigError,
            "reading nitems of bitpack: expected a non-negative integer or None, got -1",
        ),
        ({"nitems": True}, CodecConfigError, "got True"),
        ({"dtype": "u1", "first_bit": 4, "last_bit": 3}, CodecConfigError, r"expected last_bit >= first_bit \(4\)"),
        ({"dtype": "u1", "last_bit": 8}, CodecConfigError, "expected last_bit of at most 7"),
        ({"dtype": "U3"}, DtypeError, "packing bits: expected bool"),
        ({"dtype": "nonsense"}, DtypeError, "reading dtype of bitpack: expected a data type, got 'nonsense'"),
        ({"dtype": None}, DtypeError, "got None"),
    ],
)
def test_bad_configuration(config: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        BitPack(**config)
