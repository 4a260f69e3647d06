"""Conformance suites for codecs: subclass one in a test module and say which codec.

`ArrayBytesCodecTests` holds a Zarr v3 array-to-bytes codec to what zarr expects of it, in every codec pipeline that the
installed zarr has. `NumcodecTests` makes the checks that numcodecs makes of its own codecs. Both need pytest,
hypothesis and zarr or numcodecs.
"""

from __future__ import annotations

import array as stdlib_array
import asyncio
import json
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from numpy.typing import NDArray

from packstore.testing.strategies import arrays_st, basic_indices, chunk_shapes, shapes_st

if TYPE_CHECKING:
    from zarr.core.array_spec import ArraySpec

__all__ = [
    "ArrayBytesCodecTests",
    "NumcodecTests",
    "RecordingGetter",
    "assert_same_bits",
    "pipelines",
    "using_pipeline",
]

_settings = hypothesis.settings(max_examples=40, deadline=None)

_BATCHED = "zarr.core.codec_pipeline.BatchedCodecPipeline"
_FUSED = "zarr.core.codec_pipeline.FusedCodecPipeline"


def pipelines() -> list[str]:
    """Names of the codec pipelines of the installed zarr; the fused one came with zarr 3.3."""
    from zarr.core import codec_pipeline

    return [_BATCHED, _FUSED] if hasattr(codec_pipeline, "FusedCodecPipeline") else [_BATCHED]


@contextmanager
def using_pipeline(name: str) -> Iterator[None]:
    """Make zarr use a codec pipeline; arrays take it when they are made or opened."""
    import zarr

    with zarr.config.set({"codec_pipeline.path": name}):
        yield


def assert_same_bits(actual: Any, expected: Any) -> None:
    """Check type, shape and every bit, so that NaNs count as what they are."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    if expected.ndim == 0:  # indexing that ends in a scalar loses numpy's byte order
        actual = actual.astype(actual.dtype.newbyteorder("="))
        expected = expected.astype(expected.dtype.newbyteorder("="))
    assert actual.dtype == expected.dtype
    assert actual.shape == expected.shape
    assert actual.tobytes() == expected.tobytes()


def array_spec(shape: tuple[int, ...], dtype: Any, fill_value: Any = 0) -> ArraySpec:
    """Make the spec that zarr hands to a codec with each chunk."""
    import zarr.dtype
    from zarr.buffer import default_buffer_prototype
    from zarr.core.array_spec import ArrayConfig, ArraySpec

    zdtype = zarr.dtype.parse_dtype(np.dtype(dtype), zarr_format=3)
    return ArraySpec(shape, zdtype, fill_value, ArrayConfig.from_dict({}), default_buffer_prototype())


class RecordingGetter:
    """A byte getter over bytes that notes which ranges were asked for."""

    def __init__(self, data: bytes | None) -> None:
        self.data = data
        self.ranges: list[tuple[int, int]] = []

    def get_sync(self, prototype: Any = None, byte_range: Any = None) -> Any:
        if self.data is None:
            return None
        start, stop = (0, len(self.data)) if byte_range is None else (byte_range.start, byte_range.end)
        self.ranges.append((start, stop))
        return prototype.buffer.from_bytes(self.data[start:stop])

    async def get(self, prototype: Any, byte_range: Any = None) -> Any:
        return self.get_sync(prototype, byte_range)


class ArrayBytesCodecTests:
    """What zarr expects of an array-to-bytes codec.

    Attributes
    ----------
    codec_cls
        The class.
    codec_name
        The name in the metadata.
    cases
        Pairs of constructor arguments and a data type to try them on.
    """

    codec_cls: ClassVar[type[Any]]
    codec_name: ClassVar[str]
    cases: ClassVar[Sequence[tuple[dict[str, Any], str]]]

    def expected(self, array: NDArray[Any], config: dict[str, Any]) -> NDArray[Any]:
        """Give what comes back for `array`: itself, unless the codec drops something."""
        return array

    def encode(self, codec: Any, array: NDArray[Any]) -> bytes:
        from zarr.buffer import default_buffer_prototype

        value = default_buffer_prototype().nd_buffer.from_numpy_array(array)
        (encoded,) = asyncio.run(codec.encode([(value, array_spec(array.shape, array.dtype))]))
        return bytes(encoded.to_bytes())

    def decode(self, codec: Any, data: bytes, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        from zarr.buffer import default_buffer_prototype

        buffer = default_buffer_prototype().buffer.from_bytes(data)
        (decoded,) = asyncio.run(codec.decode([(buffer, array_spec(shape, dtype))]))
        result: NDArray[Any] = decoded.as_numpy_array()
        return result

    # ------------------------------------------------------------------------------------------------- metadata

    def test_is_registered(self) -> None:
        from zarr.registry import get_codec_class

        assert get_codec_class(self.codec_name) is self.codec_cls

    def test_metadata_round_trip(self) -> None:
        for config, _ in self.cases:
            codec = self.codec_cls(**config)
            again = self.codec_cls.from_dict(json.loads(json.dumps(codec.to_dict())))
            assert again == codec
            assert again.to_dict() == codec.to_dict()
            assert codec.to_dict()["name"] == self.codec_name

    def test_equality_hash_pickle_repr(self) -> None:
        for config, _ in self.cases:
            codec = self.codec_cls(**config)
            assert codec == self.codec_cls(**config)
            assert hash(codec) == hash(self.codec_cls(**config))
            assert pickle.loads(pickle.dumps(codec)) == codec
            _check_repr(codec, config)

    # -------------------------------------------------------------------------------------------------- values

    @_settings
    @hypothesis.given(data=st.data())
    def test_round_trip_and_encoded_size(self, data: st.DataObject) -> None:
        config, dtype = data.draw(st.sampled_from(list(self.cases)))
        array = data.draw(arrays_st(dtype, shapes_st(), orders="CFS", raw_bits=True))
        codec = self.codec_cls(**config)
        encoded = self.encode(codec, array)
        if codec.is_fixed_size:
            assert codec.compute_encoded_size(array.nbytes, array_spec(array.shape, array.dtype)) == len(encoded)
        assert_same_bits(self.decode(codec, encoded, array.shape, array.dtype), self.expected(array, config))

    @_settings
    @hypothesis.given(data=st.data())
    def test_sync_hooks_do_the_same(self, data: st.DataObject) -> None:
        from zarr.buffer import default_buffer_prototype

        config, dtype = data.draw(st.sampled_from(list(self.cases)))
        array = data.draw(arrays_st(dtype, shapes_st(), orders="CFS", raw_bits=True))
        codec, spec = self.codec_cls(**config), array_spec(array.shape, array.dtype)
        encoded = codec._encode_sync(default_buffer_prototype().nd_buffer.from_numpy_array(array), spec)
        assert encoded.to_bytes() == self.encode(codec, array)
        assert_same_bits(codec._decode_sync(encoded, spec).as_numpy_array(), self.expected(array, config))

    @_settings
    @hypothesis.given(data=st.data())
    def test_partial_decoding(self, data: st.DataObject) -> None:
        config, dtype = data.draw(st.sampled_from(list(self.cases)))
        array = data.draw(arrays_st(dtype, shapes_st(min_side=1), raw_bits=True))
        codec, spec = self.codec_cls(**config), array_spec(array.shape, array.dtype)
        if not hasattr(codec, "decode_partial"):
            return
        selection = data.draw(basic_indices(array.shape, allow_newaxis=False, allow_ellipsis=False))
        selection = selection if isinstance(selection, tuple) else (selection,)
        # As zarr does: non-negative ints, forward slices, one per axis.
        selection += (slice(None),) * (array.ndim - len(selection))
        selection = tuple(
            i % n if isinstance(i, int) else slice(*i.indices(n)) if (i.step or 1) > 0 else slice(None)
            for i, n in zip(selection, array.shape, strict=True)
        )
        expected = self.expected(array, config)[selection]
        getter = RecordingGetter(self.encode(codec, array))
        (decoded,) = asyncio.run(codec.decode_partial([(getter, selection, spec)]))
        assert_same_bits(decoded.as_numpy_array(), expected)
        assert_same_bits(codec._decode_partial_sync(getter, selection, spec).as_numpy_array(), expected)
        missing = RecordingGetter(None)
        assert asyncio.run(codec.decode_partial([(missing, selection, spec)])) == [None]
        assert codec._decode_partial_sync(missing, selection, spec) is None

    # ------------------------------------------------------------------------------------------- inside zarr

    @pytest.mark.filterwarnings("ignore:invalid value encountered in equal")  # zarr compares signalling NaNs
    @pytest.mark.parametrize("pipeline", pipelines())
    @hypothesis.settings(_settings, max_examples=25)
    @hypothesis.given(data=st.data())
    def test_array(self, pipeline: str, data: st.DataObject) -> None:
        import zarr

        config, dtype = data.draw(st.sampled_from(list(self.cases)))
        array = data.draw(arrays_st(dtype, shapes_st(), orders="CF", raw_bits=True))
        chunks = data.draw(chunk_shapes(array.shape))
        with using_pipeline(pipeline):
            z = zarr.create_array(
                {},
                shape=array.shape,
                chunks=chunks,
                dtype=array.dtype,
                serializer=self.codec_cls(**config),
                filters=None,
                compressors=None,
                config={"order": data.draw(st.sampled_from("CF"))},
                fill_value=0,
            )
            z[...] = array
            expected = self.expected(array, config)
            assert_same_bits(z[...], expected)
            selection = data.draw(basic_indices(array.shape, allow_newaxis=False))
            if _forward(selection):
                assert_same_bits(z[selection], expected[selection])
            if array.ndim and array.size:
                picks: Any = data.draw(st.lists(st.integers(0, array.shape[0] - 1), min_size=1, max_size=5))
                assert_same_bits(z.oindex[picks], expected[picks])
                points = tuple([p % n for p in picks] for n in array.shape)
                assert_same_bits(z.vindex[points], expected[points])
                part = (slice(0, (array.shape[0] + 1) // 2),)
                z[part] = array[::-1][part]
                expected = expected.copy()
                expected[part] = self.expected(np.ascontiguousarray(array[::-1]), config)[part]
                assert_same_bits(z[...], expected)

    @pytest.mark.parametrize("pipeline", pipelines())
    @pytest.mark.parametrize("around", ["sharding", "transpose", "zstd", "crc32c", "gzip"])
    def test_with_other_codecs(self, around: str, pipeline: str) -> None:
        import zarr
        from zarr.codecs import Crc32cCodec, GzipCodec, TransposeCodec, ZstdCodec

        rng = np.random.default_rng(7)
        for config, dtype in self.cases:
            array = rng.integers(0, 2, (10, 7, 9)).astype(dtype)
            options: dict[str, Any] = {"chunks": (4, 3, 5), "filters": None, "compressors": None}
            if around == "sharding":
                options["shards"] = (8, 6, 5)
            elif around == "transpose":
                options["filters"] = [TransposeCodec(order=(2, 0, 1))]
            else:
                options["compressors"] = {"zstd": ZstdCodec(), "crc32c": Crc32cCodec(), "gzip": GzipCodec()}[around]
            with using_pipeline(pipeline):
                z = zarr.create_array(
                    {},
                    shape=array.shape,
                    dtype=array.dtype,
                    serializer=self.codec_cls(**config),
                    fill_value=0,
                    **options,
                )
                z[...] = array
                expected = self.expected(array, config)
                assert_same_bits(z[...], expected)
                assert_same_bits(z[3:9, 2, 1:8:3], expected[3:9, 2, 1:8:3])
                z[2:5, 1:4] = array[5:8, 2:5]
                expected = expected.copy()
                expected[2:5, 1:4] = self.expected(array, config)[5:8, 2:5]
                assert_same_bits(z[...], expected)

    @pytest.mark.parametrize("pipeline", pipelines())
    def test_unwritten_chunks_are_the_fill_value(self, pipeline: str) -> None:
        import zarr

        with using_pipeline(pipeline):
            for config, dtype in self.cases:
                z = zarr.create_array(
                    {},
                    shape=(10, 10),
                    chunks=(4, 4),
                    dtype=dtype,
                    fill_value=1,
                    serializer=self.codec_cls(**config),
                    compressors=None,
                )
                z[0:4, 0:4] = 0
                expected = np.ones((10, 10), dtype)
                expected[0:4, 0:4] = 0
                assert_same_bits(z[2:7, 1:9], expected[2:7, 1:9])


def _check_repr(codec: Any, config: dict[str, Any]) -> None:
    text = repr(codec)
    assert text.startswith(type(codec).__name__ + "(")
    for name, value in config.items():
        assert f"{name}={value!r}" in text or name == "dtype"


def _forward(selection: Any) -> bool:
    items = selection if isinstance(selection, tuple) else (selection,)
    return all(not isinstance(i, slice) or (i.step or 1) > 0 for i in items)


class NumcodecTests:
    """The checks that numcodecs makes of its own codecs.

    Attributes
    ----------
    codec_cls
        The class.
    cases
        Pairs of constructor arguments and the data type that such a codec takes.
    """

    codec_cls: ClassVar[type[Any]]
    cases: ClassVar[Sequence[tuple[dict[str, Any], str]]]

    def expected(self, array: NDArray[Any], config: dict[str, Any]) -> NDArray[Any]:
        """Give what comes back for `array`: itself, unless the codec drops something."""
        return array

    def test_is_registered(self) -> None:
        from numcodecs.registry import get_codec

        assert type(get_codec({"id": self.codec_cls.codec_id})) is self.codec_cls

    def test_config_round_trip(self) -> None:
        from numcodecs.registry import get_codec

        for config, _ in self.cases:
            codec = self.codec_cls(**config)
            stored = json.loads(json.dumps(codec.get_config()))
            assert stored["id"] == self.codec_cls.codec_id
            assert get_codec(stored) == codec
            assert self.codec_cls.from_config({k: v for k, v in stored.items() if k != "id"}) == codec

    def test_equality_repr_pickle(self) -> None:
        for config, _ in self.cases:
            codec = self.codec_cls(**config)
            assert codec == self.codec_cls(**config)
            assert codec != "something else"
            _check_repr(codec, config)
            assert pickle.loads(pickle.dumps(codec)) == codec

    @_settings
    @hypothesis.given(data=st.data())
    def test_encode_decode(self, data: st.DataObject) -> None:
        config, dtype = data.draw(st.sampled_from(list(self.cases)))
        array = data.draw(arrays_st(dtype, shapes_st(max_dims=3), raw_bits=True))
        codec = self.codec_cls(**config)
        # Elements go by the order of memory; that is numcodecs' convention.
        memory = np.frombuffer(array.tobytes(order="A"), dtype=array.dtype)
        expected = self.expected(memory, config)
        for source in (array, array.tobytes(order="A"), bytearray(array.tobytes(order="A"))):
            assert_same_bits(np.asarray(codec.decode(codec.encode(source))).reshape(-1), expected)
        encoded = bytes(np.asarray(codec.encode(array)).tobytes())
        for stored in (
            encoded,
            bytearray(encoded),
            memoryview(encoded),
            stdlib_array.array("b", encoded),
            np.frombuffer(encoded, "u1"),
        ):
            assert_same_bits(np.asarray(codec.decode(stored)).reshape(-1), expected)
        out = np.empty_like(array)
        assert codec.decode(encoded, out=out) is out
        assert out.tobytes(order="A") == expected.tobytes()
        raw = bytearray(array.nbytes)
        codec.decode(encoded, out=raw)
        assert bytes(raw) == expected.tobytes()

    def test_input_is_left_alone(self) -> None:
        for config, dtype in self.cases:
            array = np.random.default_rng(3).integers(0, 2, 64).astype(dtype)
            before = array.copy()
            codec = self.codec_cls(**config)
            encoded = codec.encode(array)
            stored = bytes(np.asarray(encoded).tobytes())
            decoded = codec.decode(encoded)
            decoded[:] = 0
            assert bytes(np.asarray(encoded).tobytes()) == stored
            assert_same_bits(array, before)
