"""PackBitsCodec: the conformance suite, partial reads, and every error."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Literal

import hypothesis.strategies as st
import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
import zarr
from hypothesis import given, settings

from packstore.codecs.packbits import PackBitsCodec, decode_array, decode_box, encode_array, encoded_nbytes
from packstore.errors import CodecConfigError, CorruptDataError, DtypeError, SelectionError, ShapeError
from packstore.testing.codecs import ArrayBytesCodecTests, RecordingGetter, array_spec, assert_same_bits, pipelines
from packstore.testing.strategies import PLAIN_DTYPES, arrays_st, shapes_st
from tests.codecs import packbits_reference as reference

quick = settings(max_examples=80, deadline=None)


class TestPackBitsCodec(ArrayBytesCodecTests):
    codec_cls = PackBitsCodec
    codec_name = "packbits"
    cases = (
        *(({}, dtype) for dtype in PLAIN_DTYPES),
        ({"padding_encoding": "first_byte"}, "bool"),
        ({"padding_encoding": "last_byte"}, "bool"),
        ({"last_bit": 9}, "uint16"),
        ({"last_bit": 11, "padding_encoding": "first_byte"}, ">u2"),
        ({"first_bit": 1, "last_bit": 12}, "int16"),
        ({"first_bit": 3, "last_bit": 6}, "int8"),
        ({"first_bit": 0, "last_bit": 22, "padding_encoding": "last_byte"}, ">i4"),
        ({"last_bit": 61}, "int64"),
        ({"first_bit": 16}, "float32"),
        ({"first_bit": 20}, ">c8"),
    )

    def expected(self, array: np.ndarray, config: dict[str, Any]) -> np.ndarray:
        return reference.read_back(array, config.get("first_bit"), config.get("last_bit"))


# ------------------------------------------------------------------------------------------------------- pure functions


def _config(draw: st.DrawFn, dtype: np.dtype) -> dict[str, Any]:
    config: dict[str, Any] = {"padding_encoding": draw(st.sampled_from(["none", "first_byte", "last_byte"]))}
    top = 0 if dtype.kind == "b" else np.zeros(0, dtype).real.itemsize * 8 - 1
    first = draw(st.none() | st.integers(0, top))
    last = draw(st.none() | st.integers(first or 0, top))
    return config | {"first_bit": first, "last_bit": last}


# An array, what is read back of it, and the options of the codec.
Case = tuple[npt.NDArray[Any], npt.NDArray[Any], dict[str, Any]]


@st.composite
def packed_arrays(draw: st.DrawFn) -> Case:
    array = draw(arrays_st(shape=shapes_st(max_side=24), orders="CFS", raw_bits=True))
    config = _config(draw, array.dtype)
    return array, reference.read_back(array, config["first_bit"], config["last_bit"]), config


@quick
@given(case=packed_arrays(), out_order=st.sampled_from([None, "C", "F"]))
def test_whole_arrays(case: Case, out_order: Literal["C", "F"] | None) -> None:
    array, expected, config = case
    packed = encode_array(array, **config)
    assert packed.size == encoded_nbytes(array.shape, array.dtype, **config)
    out = None if out_order is None else np.empty(array.shape, array.dtype, order=out_order)
    for source in (packed, packed.tobytes(), memoryview(packed.tobytes())):
        got = decode_array(source, array.shape, array.dtype, out=out, **config)
        assert out is None or got is out
        assert_same_bits(got, expected)


@settings(max_examples=200, deadline=None)
@given(case=packed_arrays(), data=st.data())
def test_boxes(case: Case, data: st.DataObject) -> None:
    array, expected, config = case
    stored = encode_array(array, **config).tobytes()
    selection = data.draw(st.tuples(*(st.slices(n) if n else st.just(slice(None)) for n in array.shape)))
    asked: list[tuple[int, int]] = []

    def read(offset: int, nbytes: int) -> bytes:
        asked.append((offset, nbytes))
        return stored[offset : offset + nbytes]

    wanted = expected[(*selection, ...)]  # the Ellipsis keeps 0-d arrays from becoming scalars
    got = decode_box(read, array.shape, array.dtype, selection, **config)
    assert_same_bits(got, wanted)
    out = np.empty_like(wanted)
    assert decode_box(read, array.shape, array.dtype, selection, out=out, **config) is out
    assert_same_bits(out, wanted)
    if wanted.size == 0:
        assert asked == []
        return
    # Exactly the bytes from the first to the last wanted element.
    positions = np.arange(array.size).reshape(array.shape)[selection]
    bits = 8 * (encoded_nbytes((8,), array.dtype, first_bit=config["first_bit"], last_bit=config["last_bit"])) // 8
    head = config["padding_encoding"] == "first_byte"
    first, last = int(positions.min()) * bits // 8, -(-(int(positions.max()) + 1) * bits // 8)
    assert asked == [(first + head, last - first)] * 2


@quick
@given(data=st.data())
def test_big_bit_order(data: st.DataObject) -> None:
    array = data.draw(arrays_st("bool"))
    packed = encode_array(array, bitorder="big")
    assert packed.tobytes() == np.packbits(array).tobytes()
    assert_same_bits(decode_array(packed, array.shape, "bool", bitorder="big"), array)
    selection = data.draw(st.tuples(*(st.slices(n) if n else st.just(slice(None)) for n in array.shape)))
    got = decode_box(lambda o, n: packed[o : o + n], array.shape, "bool", selection, bitorder="big")
    assert np.array_equal(got, array[selection])


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        *(("int2", 2), ("uint2", 2), ("int4", 4), ("uint4", 4)),
        *(("float4_e2m1fn", 4), ("float6_e2m3fn", 6), ("float6_e3m2fn", 6), ("bfloat16", 16)),
    ],
)
def test_ml_dtypes(name: str, bits: int) -> None:
    dtype = np.dtype(getattr(ml_dtypes, name))
    # Every value there is, and one more so that the last byte is padded.
    raw = np.append(np.arange(2**bits), 1).astype(f"u{dtype.itemsize}")
    array = raw.view(dtype)
    packed = encode_array(array)
    assert packed.tobytes() == reference.pack(raw, bits)
    decoded = decode_array(packed, array.shape, dtype)
    assert_same_bits(decoded, array)
    assert np.array_equal(decoded[:20].astype(np.float64), array[:20].astype(np.float64), equal_nan=True)
    with pytest.raises(CodecConfigError, match=f"expected last_bit of at most {bits - 1}"):
        encode_array(array, last_bit=bits)


def test_sign_extension_of_sub_byte_integers() -> None:
    values = np.arange(-8, 8)
    packed = encode_array(values.astype(ml_dtypes.int4), last_bit=2)
    decoded = decode_array(packed, (16,), ml_dtypes.int4, last_bit=2)
    assert decoded.astype(int).tolist() == [0, 1, 2, 3, -4, -3, -2, -1, 0, 1, 2, 3, -4, -3, -2, -1]
    assert decoded.tobytes() == decoded.astype(int).astype(ml_dtypes.int4).tobytes()


def test_example_of_the_specification() -> None:
    mask = np.array([1, 1, 0, 0, 0, 0, 0, 1, 0, 1, 0], bool)
    assert encode_array(mask).tolist() == [0b10000011, 0b010]
    assert encode_array(mask, padding_encoding="first_byte").tolist() == [5, 0b10000011, 0b010]
    assert encode_array(mask, padding_encoding="last_byte").tolist() == [0b10000011, 0b010, 5]


def test_whole_words_are_not_copied() -> None:
    stored = np.arange(6, dtype="<u4").tobytes()
    view = decode_array(stored, (2, 3), "uint32")
    assert np.shares_memory(view, np.frombuffer(stored, np.uint8))


# ---------------------------------------------------------------------------------------------------- errors: bytes


@pytest.mark.parametrize("length", [0, 1, 3, 400])
def test_wrong_length(length: int) -> None:
    with pytest.raises(CorruptDataError, match=f"expected 2 bytes for 11 elements of 1 bits, got {length}"):
        decode_array(bytes(length), (11,), "bool")


def test_declared_size_takes_no_memory() -> None:
    with pytest.raises(CorruptDataError, match="got 8"):
        decode_array(bytes(8), (1 << 40, 1 << 20), "bool")


@pytest.mark.parametrize("where", ["first_byte", "last_byte"])
def test_padding_count_above_seven(where: Literal["first_byte", "last_byte"]) -> None:
    stored = bytes([200, 1, 1, 200])[(where == "last_byte") :][:3]
    with pytest.raises(
        CorruptDataError, match=f"a padding count of at most 7 in the {where.replace('_', ' ')}, got 200"
    ):
        decode_array(stored, (11,), "bool", padding_encoding=where)


def test_padding_count_that_does_not_fit() -> None:
    with pytest.raises(CorruptDataError, match="expected a padding count of 5 for 11 elements of 1 bits, got 4"):
        decode_array(bytes([4, 1, 1]), (11,), "bool", padding_encoding="first_byte")


@pytest.mark.parametrize(
    ("last", "bitorder"), [(0b1000_0000, "little"), (0b1000, "little"), (1, "big"), (0b1_0000, "big")]
)
def test_padding_bits(last: int, bitorder: Literal["little", "big"]) -> None:
    with pytest.raises(CorruptDataError, match="expected zeros in the 5 padding bits of the last byte, got 0x"):
        decode_array(bytes([0, last]), (11,), "bool", bitorder=bitorder)


def test_padding_bits_are_looked_at_where_the_last_byte_is_read() -> None:
    stored = bytes([255, 255, 255])

    def read(offset: int, nbytes: int) -> bytes:
        return stored[offset : offset + nbytes]

    assert decode_box(read, (20,), "bool", (slice(0, 16),)).all()
    with pytest.raises(CorruptDataError, match="4 padding bits"):
        decode_box(read, (20,), "bool", (slice(0, 17),))


def test_truncated_part() -> None:
    with pytest.raises(CorruptDataError, match="expected 4 bytes from offset 2 on, got 3"):
        decode_box(lambda offset, nbytes: bytes(nbytes - 1), (100,), "bool", (slice(16, 48),))


def test_truncated_chunk_inside_zarr(tmp_path: Path) -> None:
    z = zarr.create_array(tmp_path, shape=(64, 64), dtype="bool", serializer=PackBitsCodec(), compressors=None)
    z[...] = True
    (chunk,) = (tmp_path / "c").rglob("0/0")
    chunk.write_bytes(chunk.read_bytes()[:300])
    with pytest.raises(CorruptDataError, match="expected 512 bytes for 4096 elements of 1 bits, got 300"):
        z[...]
    # Also where the part that is read is there: the bits may be those of another shape.
    for selection in ((slice(60, 64), 3), (slice(0, 10), slice(0, 7))):
        with pytest.raises(CorruptDataError, match=r"expected 512 bytes, got 300\. The chunk is truncated"):
            z[selection]


def test_output_arrays() -> None:
    with pytest.raises(ShapeError, match=r"expected shape \(11,\), got \(12,\)"):
        decode_array(bytes(2), (11,), "bool", out=np.empty(12, bool))
    with pytest.raises(DtypeError, match="expected dtype bool, got uint8"):
        decode_array(bytes(2), (11,), "bool", out=np.empty(11, np.uint8))


def test_selection_with_too_few_slices() -> None:
    with pytest.raises(SelectionError, match="expected 2 slices, got 1"):
        decode_box(lambda o, n: b"", (3, 3), "bool", (slice(None),))


# ------------------------------------------------------------------------------------------- errors: configuration


@pytest.mark.parametrize(
    ("config", "text"),
    [
        ({"padding_encoding": "start_byte"}, "got 'start_byte'. Write \"first_byte\""),
        ({"padding_encoding": "end_byte"}, "got 'end_byte'. Write \"last_byte\""),
        ({"padding_encoding": "middle"}, 'expected "none", "first_byte" or "last_byte", got \'middle\''),
        ({"padding_encoding": None}, "got None"),
        ({"padding_encoding": ["none"]}, r"got \['none'\]"),
        ({"first_bit": 3, "last_bit": 2}, r"expected last_bit >= first_bit \(3\), got last_bit 2"),
        ({"first_bit": -1}, "reading first_bit of packbits: expected a non-negative integer or None, got -1"),
        ({"last_bit": 1.5}, "reading last_bit of packbits: expected a non-negative integer or None, got 1.5"),
        ({"last_bit": True}, "got True"),
    ],
)
def test_bad_configuration(config: dict[str, Any], text: str) -> None:
    with pytest.raises(CodecConfigError, match=text):
        PackBitsCodec(**config)
    with pytest.raises(CodecConfigError, match=text):
        encode_array(np.ones(3, np.uint8), **config)


@pytest.mark.parametrize(
    ("dtype", "config", "text"),
    [
        (
            "bool",
            {"last_bit": 1},
            "packing bool: expected last_bit of at most 0, the top bit of the type, got last_bit 1",
        ),
        ("uint16", {"last_bit": 16}, "expected last_bit of at most 15, the top bit of the type, got last_bit 16"),
        ("int8", {"first_bit": 8}, "expected first_bit of at most 7"),
        ("complex64", {"last_bit": 32}, "expected last_bit of at most 31, the top bit of each component of the type"),
    ],
)
def test_bit_outside_the_type(dtype: str, config: dict[str, Any], text: str) -> None:
    with pytest.raises(CodecConfigError, match=text):
        encode_array(np.zeros(3, dtype), **config)
    with pytest.raises(CodecConfigError, match=text):
        zarr.create_array({}, shape=(4,), dtype=dtype, serializer=PackBitsCodec(**config))


@pytest.mark.parametrize(
    ("dtype", "hint"),
    [("datetime64[s]", "View the array as int64"), ("S3", ""), ("U2", ""), ([("a", "<i4")], ""), ("V4", "")],
)
@pytest.mark.filterwarnings("ignore:.*does not have a Zarr V3 specification")
def test_unsupported_type(dtype: Any, hint: str) -> None:
    with pytest.raises(DtypeError, match=f"packing bits: expected bool, .* got .*{hint}"):
        encode_array(np.zeros(3, dtype))
    with pytest.raises(DtypeError, match="packing bits: expected bool"):
        zarr.create_array({}, shape=(4,), dtype=dtype, serializer=PackBitsCodec())


@pytest.mark.parametrize("dtype", [object, np.longdouble, np.clongdouble])
def test_types_without_a_fixed_form(dtype: Any) -> None:
    with pytest.raises(DtypeError, match="packing bits: expected bool"):
        encode_array(np.zeros(3, dtype))


@pytest.mark.parametrize(
    ("metadata", "text"),
    [
        ({"name": "bytes"}, "expected an object with the name"),
        ({"name": "packbits", "configuration": []}, '"name" and a "configuration" object'),
        ({"name": "packbits", "config": {}}, '"name" and a "configuration" object'),
        ({"name": "packbits", "configuration": {"start_bit": 1}}, "got 'start_bit'. Write first_bit"),
        (
            {"name": "packbits", "configuration": {"bits": 1}},
            "expected padding_encoding, first_bit, last_bit, got 'bits'",
        ),
    ],
)
def test_bad_metadata(metadata: Any, text: str) -> None:
    with pytest.raises(CodecConfigError, match=text):
        PackBitsCodec.from_dict(metadata)


@pytest.mark.parametrize(
    "metadata",
    [
        {"name": "packbits"},
        {"name": "packbits", "configuration": {}},
        {"name": "packbits", "configuration": {"first_bit": None, "last_bit": None}},
    ],
)
def test_defaults_may_be_missing(metadata: Any) -> None:
    assert PackBitsCodec.from_dict(metadata) == PackBitsCodec()
    z = zarr.create_array({}, shape=(4,), dtype="bool", serializer=metadata, compressors=None)
    assert z.metadata.to_dict()["codecs"] == ({"name": "packbits", "configuration": {"padding_encoding": "none"}},)


def test_numpy_integers_are_plain_in_the_metadata() -> None:
    numbers: dict[str, Any] = {"first_bit": np.int64(1), "last_bit": np.uint8(3)}
    codec = PackBitsCodec(**numbers)
    configuration = codec.to_dict()["configuration"]
    assert isinstance(configuration, dict) and type(configuration["last_bit"]) is int


def test_chunk_of_another_type_is_refused() -> None:
    from zarr.buffer import default_buffer_prototype

    value = default_buffer_prototype().nd_buffer.from_numpy_array(np.zeros(4, np.int32))
    with pytest.raises(DtypeError, match="encoding a chunk: expected dtype bool, got int32"):
        asyncio.run(PackBitsCodec().encode([(value, array_spec((4,), "bool"))]))


# -------------------------------------------------------------------------------------------------------- partial reads


def test_parts_read_only_their_bytes() -> None:
    mask = np.random.default_rng(0).random((1024, 1024)) < 0.5
    cases: list[tuple[dict[str, Any], int]] = [
        ({}, 0),
        ({"padding_encoding": "first_byte"}, 1),
        ({"padding_encoding": "last_byte"}, 0),
    ]
    for config, head in cases:
        getter = RecordingGetter(encode_array(mask, **config).tobytes())
        codec, spec = PackBitsCodec(**config), array_spec(mask.shape, bool)
        (part,) = asyncio.run(codec.decode_partial([(getter, (slice(100, 110), slice(501, 600)), spec)]))
        assert part is not None
        assert_same_bits(np.asarray(part.as_numpy_array()), mask[100:110, 501:600])
        assert getter.ranges == [(head + 100 * 128 + 62, head + 109 * 128 + 75)]


def forwards(key: slice) -> slice:
    """zarr has no negative steps."""
    return key if key.step is None or key.step > 0 else slice(key.stop, key.start, -key.step)


@pytest.mark.parametrize("chunks", [(64, 64), (50, 33)])
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_parts_of_files(tmp_path_factory: pytest.TempPathFactory, chunks: tuple[int, int], data: st.DataObject) -> None:
    # A few chunks of a local store are read in place, many through the store: both must give the same.
    path = tmp_path_factory.mktemp("z")
    mask = np.random.default_rng(1).random((200, 150)) < 0.3
    z = zarr.create_array(
        path, shape=mask.shape, chunks=chunks, dtype=bool, serializer=PackBitsCodec(), compressors=None
    )
    z[:170] = mask[:170]
    expected = mask.copy()
    expected[170:] = False
    z = zarr.open_array(path, mode="r")
    for _ in range(5):
        rows, columns = (data.draw(st.slices(n).map(forwards)) for n in (200, 150))
        assert_same_bits(z[rows, columns], expected[rows, columns])


def test_large_chunks_take_the_thread() -> None:
    values = np.random.default_rng(0).integers(0, 1024, (1500, 2000), dtype=np.uint16)
    z = zarr.create_array(
        {},
        shape=values.shape,
        chunks=values.shape,
        dtype="uint16",
        serializer=PackBitsCodec(last_bit=9),
        compressors=None,
    )
    z[...] = values
    assert_same_bits(z[...], values)
    assert_same_bits(z[1:, 3:], values[1:, 3:])


@pytest.mark.parametrize("pipeline", pipelines())
@pytest.mark.parametrize("slow_s", [1e9, -1.0])
def test_local_reads_stop_where_storage_is_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow_s: float, pipeline: str
) -> None:
    from packstore.codecs import packbits
    from packstore.codecs.local_reads import LocalReads

    reads = LocalReads()
    reads.SLOW_S = slow_s
    monkeypatch.setattr(packbits, "local_reads", reads)
    through_the_store: list[str] = []
    name = "get_sync" if "Fused" in pipeline else "get"
    get = getattr(zarr.storage.LocalStore, name)

    def counted(self: zarr.storage.LocalStore, key: str, *args: Any, **kwargs: Any) -> Any:
        through_the_store.append(key)
        return get(self, key, *args, **kwargs)

    mask = np.random.default_rng(0).random((64, 64)) < 0.5
    path = tmp_path / "a.zarr"
    zarr.create_array(path, shape=(64, 64), chunks=(32, 32), dtype=bool, serializer=PackBitsCodec(), compressors=None)[
        :32
    ] = mask[:32]
    with zarr.config.set({"codec_pipeline.path": pipeline}):
        z = zarr.open_array(path, mode="r")
    monkeypatch.setattr(zarr.storage.LocalStore, name, counted)
    for start in range(20):
        assert_same_bits(z[start : start + 9, 10:20], mask[start : start + 9, 10:20])
    assert not np.any(z[40:50, 3:60])  # never written
    # One slow read, then the other 19 crops and the two chunks that were never written.
    assert len(through_the_store) == (0 if slow_s > 0 else 19 + 2)
