"""Blocks decoded as one Blosc 1 buffer are what the other decoders make of them."""

from __future__ import annotations

from typing import Any
from unittest import mock

import hdf5plugin
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packstore.codecs import libraries
from packstore.codecs.hdf5 import blosc2, blosc_frame, decode_chunk
from packstore.errors import CorruptDataError
from packstore.testing.filters import chunks_of, memory_file, pipeline_of

DTYPES = ["u1", "<i2", ">i4", "<f4", "<f8", "S3", "<c16", "S17", "S200"]
KINDS = ["zeros", "one value", "few values", "noise", "high bytes zero", "empty parts"]


def make(dtype: str, size: int, kind: str, seed: int) -> npt.NDArray[Any]:
    rng = np.random.default_rng(seed)
    kept = np.dtype(dtype)
    raw = rng.integers(0, 256, (size, kept.itemsize), np.uint8)
    if kind == "zeros":
        raw[:] = 0
    elif kind == "one value":
        raw[:] = raw[:1]
    elif kind == "few values":
        raw = raw[:4][rng.integers(0, min(4, size), size)]
    elif kind == "high bytes zero":
        raw[:, kept.itemsize // 2 :] = 0
    elif kind == "empty parts":
        raw[rng.random(size) < 0.9] = 0
        raw[: size // 2] = 0
    return np.ascontiguousarray(raw).reshape(-1).view(kept)


def decoded(values: npt.NDArray[Any], options: Any) -> tuple[bytes, bytes, int]:
    """What the shipped and the general decoder make of one chunk, and how often the first took the fast way."""
    taken = 0

    def count(*args: Any) -> bool:
        nonlocal taken
        done = bool(fast(*args))
        taken += done
        return done

    with memory_file() as file:
        dataset = file.create_dataset("x", data=values, chunks=values.shape, **options)
        (chunk,) = chunks_of(dataset)
        name = "decode_blosc2" if dataset.id.get_create_plist().get_filter(0)[0] == 32026 else "decode_blocks"
        fast = getattr(blosc_frame, name)
        out = []
        for replaced in (count, lambda *_: False):
            with mock.patch.object(blosc_frame, name, replaced):
                out.append(decode_chunk(chunk.data, pipeline_of(dataset), chunk.filter_mask, values.nbytes).tobytes())
    return out[0], out[1], taken


@pytest.mark.parametrize("cname", ["lz4", "zstd"])
@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(DTYPES),
    st.integers(1, 20000),
    st.sampled_from(KINDS),
    st.sampled_from([0, 8, 64, 1024]),
    st.integers(0, 9),
)
def test_bitshuffle(cname: str, dtype: str, size: int, kind: str, nelems: int, seed: int) -> None:
    values = make(dtype, size, kind, seed)
    fast, general, _ = decoded(values, hdf5plugin.Bitshuffle(nelems=nelems, cname=cname))
    assert fast == general == values.tobytes()


@pytest.mark.parametrize("cname", ["lz4", "zstd", "blosclz", "zlib", "lz4hc"])
@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(DTYPES),
    st.integers(1, 100_000),
    st.sampled_from(KINDS),
    st.sampled_from([0, 1, 2]),
    st.integers(1, 9),
    st.integers(0, 9),
)
def test_blosc2(cname: str, dtype: str, size: int, kind: str, filters: int, clevel: int, seed: int) -> None:
    values = make(dtype, size, kind, seed)
    fast, general, _ = decoded(values, hdf5plugin.Blosc2(cname=cname, clevel=clevel, filters=filters))
    assert fast == general == values.tobytes()


@pytest.mark.parametrize(
    "options",
    [
        hdf5plugin.Bitshuffle(cname="lz4"),
        hdf5plugin.Bitshuffle(cname="zstd"),
        hdf5plugin.Blosc2(cname="lz4", filters=1),
        hdf5plugin.Blosc2(cname="blosclz", filters=2),
        hdf5plugin.Blosc2(cname="zstd", filters=0),
    ],
    ids=lambda options: str(options["compression_opts"]),
)
@pytest.mark.parametrize("with_imagecodecs", [True, False])
def test_ordinary_chunks_go_the_fast_way(options: Any, with_imagecodecs: bool) -> None:
    values = make("<f4", 300_000, "high bytes zero", 1)
    real = libraries.imagecodecs_function

    def without_blosc1(codec: str, function: str = "decode") -> Any:
        # Without the decoder of LZ4's filter, which bitshuffle takes before Blosc's.
        return real(codec, function) if codec != "lz4h5" and (with_imagecodecs or codec != "blosc") else None

    with mock.patch.object(libraries, "imagecodecs_function", without_blosc1):
        fast, general, taken = decoded(values, options)
    assert fast == general == values.tobytes()
    assert taken >= 1


@pytest.mark.parametrize("count", [64, 2048, 2056, 300_000, 300_003])
@pytest.mark.parametrize("dtype", ["u1", "<i2", "<f4", "<f8", "V3"])
def test_bits_behind_lz4_are_put_back_in_two_calls(dtype: str, count: int) -> None:
    values = np.frombuffer(np.arange(count * np.dtype(dtype).itemsize // 8 + 1).tobytes(), dtype, count)
    fast, general, with_blosc = decoded(values, hdf5plugin.Bitshuffle(cname="lz4"))
    assert fast == general == values.tobytes()
    # Elements after the last whole block of eight are not part of LZ4's framing.
    if libraries.imagecodecs_function("lz4h5") is not None:
        assert with_blosc == (count % 8 != 0)


@pytest.mark.parametrize("options", [hdf5plugin.Bitshuffle(cname="lz4"), hdf5plugin.Blosc2(cname="lz4")])
def test_damaged_blocks_are_refused(options: Any) -> None:
    values = make("<f4", 60_000, "few values", 2)
    rng = np.random.default_rng(0)
    with memory_file() as file:
        dataset = file.create_dataset("x", data=values, chunks=values.shape, **options)
        (chunk,) = chunks_of(dataset)
        filters = pipeline_of(dataset)
    refused = 0
    for _ in range(200):
        data = bytearray(chunk.data)
        for at in rng.integers(0, len(data), 3):
            data[at] ^= int(rng.integers(1, 256))
        try:
            got = decode_chunk(bytes(data), filters, 0, values.nbytes)
        except CorruptDataError:
            refused += 1
        else:
            assert got.nbytes == values.nbytes
    # Most changes hit bytes that are copied as they are.
    assert refused > 5


@pytest.mark.parametrize("dtype", ["u1", "<f4", "<c16", "S3"])
@pytest.mark.parametrize("kind", ["few values", "one value"])
def test_arrays_of_several_blocks_decode_in_one_call(dtype: str, kind: str) -> None:
    itemsize = np.dtype(dtype).itemsize
    # Blocks of Blosc 2 take less than 200 KB: several of them in both directions, and whole ones.
    shape = (512, 65536 // itemsize // 8 * 8)
    values = [make(dtype, shape[0] * shape[1], kind, seed).reshape(shape) for seed in (0, 1)]
    with memory_file() as file:
        found = []
        for number, part in enumerate(values):
            dataset = file.create_dataset(f"x{number}", data=part, chunks=shape, **hdf5plugin.Blosc2(cname="lz4"))
            filters = pipeline_of(dataset)
            found += [np.frombuffer(chunk.data, np.uint8) for chunk in chunks_of(dataset)]
    grid = blosc2._grid(found[0], filters[0], blosc2._frame(found[0], filters[0]))
    assert grid is not None and not grid.is_plain
    out = np.empty(2 * values[0].nbytes, np.uint8)
    done = blosc2.decode_many(found, filters[0], out)
    assert done == (grid.padded == grid.shape)
    if done:
        assert out.tobytes() == b"".join(part.tobytes() for part in values)


@pytest.mark.parametrize("options", [hdf5plugin.Blosc2(cname="lz4"), hdf5plugin.Blosc2(cname="zstd")])
def test_runs_of_one_byte_go_the_fast_way(options: Any) -> None:
    values = make("<f4", 300_000, "high bytes zero", 1).view("<u4") | np.uint32(0x43210000)
    fast, general, taken = decoded(values, options)
    assert fast == general == values.tobytes()
    assert taken >= 1
