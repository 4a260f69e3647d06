"""Zarr directories: numpy == direct path == zarr for every codec chain, data type, order, grid and selection."""

from __future__ import annotations

import itertools
import re
import warnings
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numcodecs
import numpy as np
import pytest
import zarr
from hypothesis import given
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, GzipCodec, ShardingCodec, TransposeCodec, ZstdCodec

import packstore
from packstore import BitPack, PackBitsCodec
from packstore.readers.zarr.general import ZarrReader
from packstore.storage import GridStorage
from packstore.storage.count import count_box
from packstore.testing.strategies import arrays_st, basic_indices, chunk_shapes, shapes_st

CODECS: dict[str, list[Any]] = {
    "none": [],
    "zstd": [ZstdCodec(level=1)],
    "zstd-checksum": [ZstdCodec(level=1, checksum=True)],
    "gzip": [GzipCodec(level=1)],
    "blosc": [BloscCodec(cname="lz4", clevel=1, shuffle="bitshuffle")],
    "crc32c": [Crc32cCodec()],
    "zstd+crc32c": [ZstdCodec(level=1), Crc32cCodec()],
    "crc32c+zstd": [Crc32cCodec(), ZstdCodec(level=1)],
    "gzip+blosc": [GzipCodec(level=1), BloscCodec(cname="zstd")],
}
INDICES: list[Any] = [
    ...,
    (slice(3, 17), slice(5, 9)),
    (slice(None, None, -2), 7),
    (slice(1, None, 3), slice(None, None, 4)),
    (-1, ...),
    (slice(5, 5), slice(None)),
    (None, slice(0, 8), slice(8, 16)),
]


def is_direct(array: packstore.Array) -> bool:
    """Whether packstore reads an array by itself, not through zarr."""
    assert array.lazy is not None
    storage = array.lazy.array.storage
    assert isinstance(storage, GridStorage) or isinstance(storage.reader, ZarrReader)  # type: ignore[attr-defined]
    return isinstance(storage, GridStorage)


def sample(shape: tuple[int, ...], dtype: np.dtype[Any], seed: int = 0) -> np.ndarray[Any, Any]:
    """Values of any fixed-size type."""
    rng = np.random.default_rng(seed)
    if dtype.kind == "b":
        return rng.random(shape) < 0.3
    if dtype.kind == "U":
        return rng.integers(0, 10**6, shape).astype(dtype)
    if dtype.fields:
        out = np.zeros(shape, dtype)
        for name in dtype.names or ():
            out[name] = rng.integers(0, 100, shape)
        return out
    if dtype.kind in "SV":
        return rng.integers(97, 122, (*shape, dtype.itemsize), np.uint8).view(dtype)[..., 0]
    if dtype.kind in "mM":
        return rng.integers(0, 10**6, shape).astype(dtype)
    return rng.integers(0, 100, shape).astype(dtype)


def check(path: Path, values: np.ndarray[Any, Any], indices: list[Any] = INDICES, *, direct: bool = True) -> None:
    """numpy, packstore and zarr agree about an array."""
    array = packstore.open_array(path)
    reference = zarr.open_array(path, mode="r")
    assert is_direct(array) == direct
    assert array.dtype == reference.dtype
    assert array.lazy is not None and array.lazy.dtype == reference.dtype
    assert (array.chunks, array.shards) == (reference.chunks, reference.shards)
    for index in indices:
        got = array[index]
        np.testing.assert_array_equal(got, values[index])
        assert got.dtype == reference.dtype and got.shape == values[index].shape
    np.testing.assert_array_equal(reference[...], values)
    np.testing.assert_array_equal(packstore.from_file(path, chunks=7).compute(), values)
    count = np.count_nonzero(values) if values.dtype.kind != "V" else None
    if count is not None:
        assert array.count_nonzero() == count


@pytest.mark.parametrize("codecs", CODECS)
@pytest.mark.parametrize("serializer", [BytesCodec(), BytesCodec(endian="big"), PackBitsCodec()], ids=str)
@pytest.mark.parametrize("dtype", ["bool", "u2", "f8"])
def test_byte_codecs(tmp_path: Path, codecs: str, serializer: Any, dtype: str) -> None:
    values = sample((20, 30), np.dtype(dtype))
    zarr.create_array(
        tmp_path / "a.zarr", data=values, chunks=(8, 8), serializer=serializer, compressors=CODECS[codecs] or None
    )
    check(tmp_path / "a.zarr", values)


@pytest.mark.parametrize("codecs", ["none", "zstd", "crc32c", "crc32c+zstd"])
@pytest.mark.parametrize("serializer", [BytesCodec(), PackBitsCodec(padding_encoding="first_byte")], ids=str)
@pytest.mark.parametrize("orders", [[(1, 0, 2)], [(2, 0, 1)], [(2, 0, 1), (1, 2, 0)], [(0, 2, 1), (2, 1, 0)]])
def test_transposed(tmp_path: Path, codecs: str, serializer: Any, orders: list[tuple[int, ...]]) -> None:
    for dtype in (np.dtype("bool"), np.dtype("i4")):
        values = sample((10, 20, 30), dtype)
        path = tmp_path / f"{dtype}.zarr"
        zarr.create_array(
            path,
            data=values,
            chunks=(4, 8, 16),
            filters=[TransposeCodec(order=order) for order in orders],
            serializer=serializer,
            compressors=CODECS[codecs] or None,
        )
        check(path, values, [*INDICES[1:], (slice(None), 3), (slice(1, 9, 2), slice(3, 15), slice(5, 29, 3)), ...])
        array = packstore.open_array(path)
        for axis in (0, 2, (1, 2), (0, 1)):
            np.testing.assert_array_equal(array.count_nonzero(axis), np.count_nonzero(values, axis=axis))


@pytest.mark.parametrize(
    "dtype",
    [
        "i1",
        "u1",
        "i2",
        "u2",
        "i4",
        "u4",
        "i8",
        "u8",
        "f2",
        "f4",
        "f8",
        "c8",
        "c16",
        "M8[s]",
        "m8[ms]",
        "S5",
        "U3",
        "V6",
        [("a", "i4"), ("b", "f8"), ("c", "u1")],
        [("a", "u1"), ("b", "S3")],
    ],
    ids=str,
)
@pytest.mark.parametrize("codecs", ["none", "zstd", "blosc"])
@pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning")
def test_data_types(tmp_path: Path, dtype: Any, codecs: str) -> None:
    values = sample((13, 10), np.dtype(dtype))
    zarr.create_array(tmp_path / "a.zarr", data=values, chunks=(5, 4), compressors=CODECS[codecs] or None)
    check(tmp_path / "a.zarr", values)


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8", "c8", "c16"])
@pytest.mark.parametrize("codecs", ["none", "zstd"])
def test_packed_data_types(tmp_path: Path, dtype: str, codecs: str) -> None:
    values = sample((20, 30), np.dtype(dtype))
    configs: list[dict[str, Any]] = [{}, {"padding_encoding": "last_byte"}]
    if values.dtype.kind in "iu":
        configs += [{"last_bit": 6, "padding_encoding": "first_byte"}, {"last_bit": 7}]
        values = values % 64
    for i, config in enumerate(configs):
        path = tmp_path / f"{i}.zarr"
        zarr.create_array(
            path, data=values, chunks=(7, 9), serializer=PackBitsCodec(**config), compressors=CODECS[codecs] or None
        )
        check(path, values)


@pytest.mark.parametrize("codecs", ["none", "zstd", "crc32c"])
@pytest.mark.parametrize("location", ["start", "end"])
@pytest.mark.parametrize("index", [[BytesCodec()], [BytesCodec(endian="big"), Crc32cCodec()]], ids=["plain", "crc32c"])
@pytest.mark.parametrize("serializer", [BytesCodec(), PackBitsCodec()], ids=str)
def test_sharded(tmp_path: Path, codecs: str, location: Any, index: list[Any], serializer: Any) -> None:
    values = sample((50, 70), np.dtype("bool"))
    values[:16, 16:32] = False
    values[32:48, 48:64] = False
    array = zarr.create_array(
        tmp_path / "a.zarr",
        shape=values.shape,
        dtype=bool,
        chunks=(32, 32),
        serializer=ShardingCodec(
            chunk_shape=(8, 16),
            codecs=[serializer, *CODECS[codecs]],
            index_codecs=index,
            index_location=location,
        ),
        compressors=None,
    )
    array[...] = values
    check(tmp_path / "a.zarr", values)
    lazy = packstore.open_array(tmp_path / "a.zarr").lazy
    assert lazy is not None and lazy.array.shard_shape == (32, 32)


def test_sharded_transposed_nested_and_compressed(tmp_path: Path) -> None:
    values = sample((40, 40), np.dtype("u2"))
    inner = ShardingCodec(chunk_shape=(4, 8), codecs=[TransposeCodec(order=(1, 0)), BytesCodec(), ZstdCodec()])
    outer = ShardingCodec(chunk_shape=(8, 16), codecs=[inner])
    with warnings.catch_warnings():
        # zarr warns that other codecs beside sharding keep it from reading partly.
        warnings.simplefilter("ignore")
        array = zarr.create_array(
            tmp_path / "a.zarr",
            shape=values.shape,
            dtype="u2",
            chunks=(16, 16),
            filters=[TransposeCodec(order=(1, 0))],
            serializer=outer,
            compressors=[ZstdCodec(), Crc32cCodec()],
        )
        array[...] = values
        check(tmp_path / "a.zarr", values)


@pytest.mark.parametrize("dtype", ["|b1", "<i2", ">i2", ">f8", "<M8[s]", "|S4", "<U2"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("separator", [".", "/"])
@pytest.mark.parametrize(
    "compressor",
    [
        None,
        numcodecs.Zstd(),
        numcodecs.GZip(),
        numcodecs.Zlib(),
        numcodecs.BZ2(),
        numcodecs.LZ4(),
        numcodecs.Blosc(cname="lz4"),
    ],
    ids=lambda c: c and c.codec_id,
)
def test_v2(tmp_path: Path, dtype: str, order: Any, separator: Any, compressor: Any) -> None:
    values = sample((20, 30), np.dtype(dtype))
    array = zarr.create_array(
        tmp_path / "a.zarr",
        shape=values.shape,
        dtype=values.dtype,
        chunks=(8, 9),
        zarr_format=2,
        order=order,
        compressors=compressor,
        chunk_key_encoding={"name": "v2", "separator": separator},
        attributes={"unit": "m"},
    )
    array[...] = values
    check(tmp_path / "a.zarr", values)
    assert dict(packstore.open_array(tmp_path / "a.zarr").attrs) == {"unit": "m"}


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("compressor", [None, numcodecs.Zstd()], ids=["plain", "zstd"])
@pytest.mark.parametrize(
    ("dtype", "filters"),
    [
        ("bool", [BitPack()]),
        ("bool", [BitPack(bitorder="big", padding_encoding="last_byte")]),
        ("bool", [numcodecs.PackBits()]),
        ("u2", [BitPack(dtype="<u2", last_bit=9)]),
        (">u2", [BitPack(dtype=">u2", last_bit=9)]),
        ("i4", [numcodecs.Delta(dtype="<i4")]),
        ("i4", [numcodecs.Shuffle(4)]),
        ("i4", [numcodecs.Delta(dtype="<i4"), numcodecs.Shuffle(4)]),
    ],
    ids=str,
)
def test_v2_filters(tmp_path: Path, order: Any, compressor: Any, dtype: str, filters: list[Any]) -> None:
    values = sample((20, 30), np.dtype(dtype))
    array = zarr.create_array(
        tmp_path / "a.zarr",
        shape=values.shape,
        dtype=values.dtype,
        chunks=(8, 9),
        zarr_format=2,
        order=order,
        filters=filters,
        compressors=compressor,
    )
    array[...] = values
    check(tmp_path / "a.zarr", values)


def test_numcodecs_packbits_of_v3(tmp_path: Path) -> None:
    import zarr.codecs.numcodecs as wrapped

    values = sample((20, 32), np.dtype("bool"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.create_array(
            tmp_path / "a.zarr", data=values, chunks=(8, 16), filters=[wrapped.PackBits()], compressors=wrapped.Zlib()
        )
        check(tmp_path / "a.zarr", values)


@pytest.mark.parametrize("name", ["default", "v2"])
@pytest.mark.parametrize("separator", [".", "/"])
@pytest.mark.parametrize("shape", [(), (7,), (7, 5)])
def test_chunk_keys(tmp_path: Path, name: Any, separator: Any, shape: tuple[int, ...]) -> None:
    values = sample(shape, np.dtype("u2"))
    array = zarr.create_array(
        tmp_path / "a.zarr",
        shape=shape,
        dtype="u2",
        chunks=tuple(3 for _ in shape),
        chunk_key_encoding={"name": name, "separator": separator},
    )
    array[...] = values
    check(tmp_path / "a.zarr", values, [..., (...,)])


@pytest.mark.parametrize("fill", [0, 7])
@pytest.mark.parametrize("codecs", ["none", "zstd"])
@pytest.mark.parametrize("shards", [None, (8, 8)])
def test_missing_chunks_hold_the_fill_value(tmp_path: Path, fill: int, codecs: str, shards: Any) -> None:
    array = zarr.create_array(
        tmp_path / "a.zarr",
        shape=(20, 30),
        dtype="u2",
        chunks=(4, 8),
        shards=shards,
        fill_value=fill,
        compressors=CODECS[codecs] or None,
    )
    values = np.full((20, 30), fill, "u2")
    check(tmp_path / "a.zarr", values)
    array[5:9, 10:12] = values[5:9, 10:12] = 3
    check(tmp_path / "a.zarr", values)


@pytest.mark.parametrize("fill", [False, True])
@pytest.mark.parametrize("chunks", [(4, 8), (4, 5)])
def test_missing_packed_chunks(tmp_path: Path, fill: bool, chunks: tuple[int, int]) -> None:
    array = zarr.create_array(
        tmp_path / "a.zarr",
        shape=(20, 30),
        dtype=bool,
        chunks=chunks,
        fill_value=fill,
        serializer=PackBitsCodec(),
        compressors=None,
    )
    values = np.full((20, 30), fill)
    check(tmp_path / "a.zarr", values)
    array[5:9, 10:12] = values[5:9, 10:12] = not fill
    check(tmp_path / "a.zarr", values)
    np.testing.assert_array_equal(packstore.open_array(tmp_path / "a.zarr").count_nonzero(1), values.sum(1))


@pytest.mark.parametrize("fill", [np.nan, np.inf, -0.0, 1.5])
def test_float_fill_values(tmp_path: Path, fill: float) -> None:
    zarr.create_array(tmp_path / "a.zarr", shape=(4,), dtype="f4", chunks=(2,), fill_value=fill)
    got = packstore.open_array(tmp_path / "a.zarr")[...]
    assert got.tobytes() == np.full(4, fill, "f4").tobytes()


def test_v2_without_fill_value(tmp_path: Path) -> None:
    array = zarr.create_array(tmp_path / "a.zarr", shape=(4,), dtype="i4", chunks=(2,), zarr_format=2, fill_value=None)
    array[:2] = [1, 2]
    document = (tmp_path / "a.zarr" / ".zarray").read_text()
    (tmp_path / "a.zarr" / ".zarray").write_text(re.sub('"fill_value": [^,]*,', '"fill_value": null,', document))
    check(tmp_path / "a.zarr", np.array([1, 2, 0, 0], "i4"), [...])


@pytest.mark.parametrize("shape", [(0,), (0, 5), (5, 0)])
def test_empty(tmp_path: Path, shape: tuple[int, ...]) -> None:
    values = np.zeros(shape, bool)
    zarr.create_array(tmp_path / "a.zarr", shape=shape, dtype=bool, chunks=tuple(max(n, 1) for n in shape))
    check(tmp_path / "a.zarr", values, [..., slice(0, 0)])


@pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning")
def test_what_only_zarr_decodes(tmp_path: Path) -> None:
    texts = np.array(["a", "", "long text"], dtype=object)
    array = zarr.create_array(tmp_path / "s.zarr", shape=(3,), dtype=str, chunks=(2,))
    array[...] = texts
    opened = packstore.open_array(tmp_path / "s.zarr")
    assert not is_direct(opened)
    assert opened[1:].tolist() == ["", "long text"]
    assert packstore.from_file(tmp_path / "s.zarr").compute().tolist() == texts.tolist()
    import zarr.codecs.numcodecs as wrapped

    values = sample((20, 30), np.dtype("i4"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.create_array(tmp_path / "l.zarr", data=values, chunks=(8, 9), compressors=wrapped.LZMA())
        check(tmp_path / "l.zarr", values, direct=False)


@pytest.mark.parametrize("threads", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {"serializer": PackBitsCodec(), "compressors": None},
        {"serializer": PackBitsCodec()},
        {"compressors": None},
        {},
        {"shards": (2048, 2000), "serializer": PackBitsCodec()},
    ],
    ids=["packed", "packed+zstd", "plain", "zstd", "sharded"],
)
def test_large_reads_in_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], threads: bool
) -> None:
    monkeypatch.setattr("packstore.core.threads.may_use_threads", lambda: threads)
    monkeypatch.setattr("packstore.config.cpu_count", lambda: 4)
    values = sample((4321, 5432), np.dtype("bool"))
    zarr.create_array(tmp_path / "a.zarr", data=values, chunks=(512, 1000), **options)
    array = packstore.open_array(tmp_path / "a.zarr")
    for index in (..., slice(1, None, 2), (slice(None), slice(None, None, 3)), (slice(None), slice(3, 5000))):
        np.testing.assert_array_equal(array[index], values[index])
    assert array.count_nonzero() == np.count_nonzero(values)
    np.testing.assert_array_equal(array.count_nonzero(0), np.count_nonzero(values, axis=0))


@st.composite
def saved(draw: st.DrawFn) -> tuple[np.ndarray[Any, Any], dict[str, Any], Any]:
    """An array, how to save it, and what to read of it."""
    values = draw(arrays_st(shape=shapes_st(max_dims=3, min_side=1, max_side=20)))
    chunks = draw(chunk_shapes(values.shape))
    options: dict[str, Any] = {"chunks": chunks, "compressors": draw(st.sampled_from(list(CODECS.values()))) or None}
    packs = values.dtype.kind != "f" or values.dtype.itemsize > 2
    options["serializer"] = draw(
        st.sampled_from([BytesCodec(), BytesCodec(endian="big"), *([PackBitsCodec()] * 2 if packs else [])])
    )
    if values.ndim and draw(st.booleans()):
        options["shards"] = tuple(c * draw(st.integers(1, 3)) for c in chunks)
    elif values.ndim and draw(st.booleans()):
        options["filters"] = [TransposeCodec(order=tuple(draw(st.permutations(range(values.ndim)))))]
    return values, options, draw(basic_indices(values.shape))


@given(saved())
def test_any_chain(
    tmp_path_factory: pytest.TempPathFactory, case: tuple[np.ndarray[Any, Any], dict[str, Any], Any]
) -> None:
    values, options, index = case
    path = tmp_path_factory.mktemp("any") / "a.zarr"
    array = zarr.create_array(path, shape=values.shape, dtype=values.dtype.newbyteorder("="), **options)
    array[...] = values
    check(path, values, [..., index])


@given(st.data())
def test_counts(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    values = data.draw(arrays_st(dtype="bool", shape=shapes_st(min_dims=1, max_dims=3, min_side=1, max_side=40)))
    path = tmp_path_factory.mktemp("counts") / "a.zarr"
    zarr.create_array(
        path,
        data=values,
        chunks=data.draw(chunk_shapes(values.shape)),
        serializer=PackBitsCodec(padding_encoding=data.draw(st.sampled_from(["none", "first_byte", "last_byte"]))),
        compressors=data.draw(st.sampled_from([None, ZstdCodec()])),
    )
    lazy = packstore.open_array(path).lazy
    assert lazy is not None
    bounds = [sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n)))) for n in values.shape]
    box = tuple(slice(start, stop, 1) for start, stop in bounds)
    for least, keep in itertools.product((0, 1 << 14), range(values.ndim + 1)):
        axes = tuple(range(keep, values.ndim))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("packstore.storage.chain._MIN_COUNTED", least)
            counts = count_box(lazy.array, box, axes)
            np.testing.assert_array_equal(counts, np.count_nonzero(values[box], axis=axes))


@pytest.mark.parametrize("shape", [(64, 96), (6, 64, 96)])
def test_counts_along_axes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    from packstore.views.dask.from_file import count_nonzero

    values = sample(shape, np.dtype("bool"))
    zarr.create_array(tmp_path / "a.zarr", data=values, chunks=(*shape[:-2], 32, 40), serializer=PackBitsCodec())
    array = packstore.open_array(tmp_path / "a.zarr")
    for n in range(len(shape) + 1):
        for axes in itertools.combinations(range(len(shape)), n):
            expected = np.count_nonzero(values, axis=axes)
            np.testing.assert_array_equal(array.count_nonzero(axes), expected)
            np.testing.assert_array_equal(count_nonzero(array, axes, chunks=30).compute(), expected)
            np.testing.assert_array_equal(
                array.count_nonzero(axes, keepdims=True), np.count_nonzero(values, axis=axes, keepdims=True)
            )
    assert count_nonzero(tmp_path / "a.zarr").compute() == array.count_nonzero() == np.count_nonzero(values)
    with pytest.raises(packstore.errors.OptionError, match="different axes of"):
        array.count_nonzero(5)
    with pytest.raises(packstore.errors.OptionError, match="different axes of"):
        array.count_nonzero((0, 0))
