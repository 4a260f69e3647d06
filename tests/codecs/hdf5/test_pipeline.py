"""Pipelines: order, masks, sizes, errors and the registry."""

from __future__ import annotations

import bz2
import random
import subprocess
import sys
import zlib
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from packstore.codecs.hdf5 import FILTERS, FilterSpec, decode_chunk, h5py_can_decode, unavailable
from packstore.codecs.hdf5.fletcher32 import checksum
from packstore.errors import ChecksumError, CorruptDataError, MissingFilterError, OptionError, PackstoreError
from packstore.testing.filters import chunks_of, damaged, memory_file, pipeline_of

DEFLATE = FilterSpec(1, (4,), "deflate")
FLETCHER = FilterSpec(3, (), "fletcher32")
BZIP2 = FilterSpec(307, (9,), "bzip2")


def shuffle(itemsize: int) -> FilterSpec:
    return FilterSpec(2, (itemsize,), "shuffle")


@pytest.fixture(params=[True, False], ids=["imagecodecs", "without imagecodecs"])
def route(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if not request.param:
        monkeypatch.setattr("packstore.codecs.libraries.imagecodecs_function", lambda *_: None)


def encode(data: bytes, spec: FilterSpec) -> bytes:
    """Apply one filter the slow and obvious way."""
    if spec.id == 1:
        return zlib.compress(data)
    if spec.id == 307:
        return bz2.compress(data)
    if spec.id == 3:
        return data + checksum(np.frombuffer(data, np.uint8)).to_bytes(4, "little")
    size = spec.client_values[0]
    whole = len(data) // size * size
    return b"".join(data[i:whole:size] for i in range(size)) + data[whole:]


filters = st.sampled_from([DEFLATE, FLETCHER, BZIP2, *(shuffle(n) for n in (1, 2, 3, 4, 5, 8, 12, 16, 100))])


@settings(max_examples=150, deadline=None)
@given(data=st.binary(min_size=1, max_size=300), pipeline=st.lists(filters, max_size=6), mask=st.integers(0, 63))
def test_any_order(data: bytes, pipeline: list[FilterSpec], mask: int) -> None:
    """Filters in any order and number, each skipped or not: the same bytes, fresh or in `out`."""
    stored = data
    for index, spec in enumerate(pipeline):
        if not mask >> index & 1:
            stored = encode(stored, spec)
    assert decode_chunk(stored, pipeline, mask, len(data)).tobytes() == data
    out = np.zeros(len(data), np.uint8)
    assert decode_chunk(stored, pipeline, mask, len(data), out) is out
    assert out.tobytes() == data


@settings(max_examples=100, deadline=None)
@given(pipeline=st.lists(filters, min_size=1, max_size=4), seed=st.integers(0, 1 << 30))
def test_damage(pipeline: list[FilterSpec], seed: int) -> None:
    """Damaged input: the right number of bytes, or a PackstoreError."""
    stored = bytes(range(200)) * 2
    for spec in pipeline:
        stored = encode(stored, spec)
    try:
        decoded = decode_chunk(damaged(stored, random.Random(seed)), pipeline, 0, 400)
    except PackstoreError:
        return
    assert decoded.nbytes == 400


@pytest.mark.parametrize("itemsize", [*range(1, 18), 24, 100])
@pytest.mark.parametrize("count", [1, 2, 9, 65535, 65536, 65537])
@pytest.mark.parametrize("trailing", [0, 1])
def test_shuffle_sizes(itemsize: int, count: int, trailing: int) -> None:
    """All item sizes, block boundaries and trailing bytes."""
    if itemsize == 1:
        trailing = 0
    data = np.random.default_rng(itemsize).integers(0, 256, count * itemsize + trailing, np.uint8)
    stored = np.frombuffer(encode(data.tobytes(), shuffle(itemsize)), np.uint8)
    assert (decode_chunk(stored, [shuffle(itemsize)], 0, data.size) == data).all()


@pytest.mark.usefixtures("route")
class TestFletcher32:
    def test_mismatch(self) -> None:
        stored = bytearray(encode(b"some data", FLETCHER))
        stored[2] ^= 1
        with pytest.raises(ChecksumError, match=r"verifying HDF5 filter 3 \(fletcher32\): expected checksum 0x"):
            decode_chunk(bytes(stored), [FLETCHER], 0, 9)

    def test_old_byte_order(self) -> None:
        """Libraries before 1.6.3 swapped the bytes of each half; libhdf5 reads both."""
        values = np.arange(50, dtype="<i4")
        with memory_file() as file:
            dataset = file.create_dataset("x", data=values, chunks=(50,), fletcher32=True)
            chunk = next(chunks_of(dataset))
            a, b, c, d = chunk.data[-4:]
            assert (a, c) != (b, d)
            old = chunk.data[:-4] + bytes([b, a, d, c])
            dataset.id.write_direct_chunk((0,), old)
            assert (dataset[()] == values).all()  # h5py takes it
            assert decode_chunk(old, pipeline_of(dataset), 0, 200).view("<i4").tolist() == values.tolist()

    @pytest.mark.parametrize("size", [1, 2, 3, 8191, 8192, 8193, 100_001, 700_000])
    @pytest.mark.parametrize("byte", [0, 255, None])
    def test_any_size(self, size: int, byte: int | None) -> None:
        """Zeros, all ones (where carries and 65535 meet) and noise, against libhdf5."""
        values = (
            np.random.default_rng(size).integers(0, 256, size, np.uint8) if byte is None else np.full(size, byte, "u1")
        )
        with memory_file() as file:
            dataset = file.create_dataset("x", data=values, chunks=(size,), fletcher32=True)
            chunk = next(chunks_of(dataset))
            assert decode_chunk(chunk.data, pipeline_of(dataset), 0, size).tobytes() == values.tobytes()

    def test_too_short(self) -> None:
        with pytest.raises(CorruptDataError, match="at least 4 bytes, got 3 bytes"):
            decode_chunk(b"abc", [FLETCHER], 0, 4)


@pytest.mark.usefixtures("route")
@pytest.mark.parametrize(
    "pipeline", [[DEFLATE], [BZIP2], [shuffle(4), DEFLATE], [DEFLATE, DEFLATE], [DEFLATE, shuffle(2)]]
)
def test_bombs(pipeline: list[FilterSpec]) -> None:
    """A stream that holds far more than the chunk is refused, not expanded."""
    stored = bytes(64 << 20)
    for spec in pipeline:
        stored = encode(stored, spec)
    with pytest.raises(CorruptDataError, match="expected"):
        decode_chunk(stored, pipeline, 0, 1000)


@pytest.mark.usefixtures("route")
def test_no_filter_is_a_view() -> None:
    """Nothing is copied where no filter changes a byte."""
    data = np.frombuffer(bytes(range(100)), np.uint8)
    assert np.shares_memory(decode_chunk(data, [], 0, 100), data)
    assert np.shares_memory(decode_chunk(data, [DEFLATE], 1, 100), data)
    checked = np.frombuffer(encode(data.tobytes(), FLETCHER), np.uint8)
    assert np.shares_memory(decode_chunk(checked, [FLETCHER], 0, 100), checked)
    with pytest.raises(CorruptDataError, match="decoding a chunk: expected 101 bytes, got 100 bytes"):
        decode_chunk(data, [], 0, 101)


def test_bad_out() -> None:
    wrong: list[Any] = [np.empty(99, np.uint8), np.empty(100, np.int8), np.empty(200, np.uint8)[::2]]
    for out in wrong:
        with pytest.raises(OptionError, match="100 contiguous bytes"):
            decode_chunk(bytes(100), [], 0, 100, out)


def test_filter_mask_of_a_file() -> None:
    """Chunk by chunk: written by libhdf5 with some of three filters skipped, and read by both."""
    values = np.arange(100, dtype="<i4")
    specs = [shuffle(4), DEFLATE, FLETCHER]
    with memory_file() as file:
        for mask in range(8):
            dataset = file.create_dataset(
                f"{mask}", (100,), "<i4", chunks=(100,), shuffle=True, compression="gzip", fletcher32=True
            )
            assert [s.id for s in pipeline_of(dataset)] == [2, 1, 3]
            stored = values.tobytes()
            for index, spec in enumerate(specs):
                if not mask >> index & 1:
                    stored = encode(stored, spec)
            dataset.id.write_direct_chunk((0,), stored, mask)
            del dataset  # libhdf5 2.0.0 keeps the old mask while the dataset is open
            dataset = file[f"{mask}"]
            chunk = next(chunks_of(dataset))
            assert chunk.filter_mask == mask
            assert chunk.expected.view("<i4").tolist() == values.tolist(), mask
            assert decode_chunk(chunk.data, pipeline_of(dataset), mask, 400).view("<i4").tolist() == values.tolist()


@pytest.mark.parametrize("number", [32013, 32017, 32018, 32024, 32028, 32033])
def test_only_h5py(number: int) -> None:
    reason = unavailable([DEFLATE, FilterSpec(number, (), "")])
    assert reason is not None
    assert f"{number} ({FILTERS[number].name})" in reason
    assert "by h5py only, which needs the pip package" in reason
    assert FILTERS[number].via_h5py
    with pytest.raises(MissingFilterError, match=f"{number} .*pip package"):
        decode_chunk(b"x", [FilterSpec(number, ())], 0, 1)


def test_lzo() -> None:
    assert unavailable([FilterSpec(305, (), "lzo")]) == (
        "HDF5 filter 305 (lzo) is decoded by PyTables only (pip package tables); no plugin for h5py is known"
    )
    assert not h5py_can_decode([FilterSpec(305, ())])


def test_unknown_filter() -> None:
    spec = FilterSpec(40000, (), "mystery")
    assert unavailable([spec]) == (
        "HDF5 filter 40000 (mystery) is not known to packstore; h5py needs its plugin, "
        "and no pip package is known to bring it (hdf5plugin does not)"
    )
    with pytest.raises(MissingFilterError, match="40000"):
        decode_chunk(b"x", [spec], 0, 1)
    assert not h5py_can_decode([spec])


def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("packstore.codecs.libraries.imagecodecs_function", lambda *_: None)
    missing = [
        number for number, entry in FILTERS.items() if not entry.via_h5py and unavailable([FilterSpec(number, ())])
    ]
    assert missing == [4, 32000, 32026]
    for number in missing:
        assert "imagecodecs" in str(unavailable([FilterSpec(number, ())]))


def test_h5py_can_decode() -> None:
    assert h5py_can_decode([DEFLATE, FilterSpec(32000, ())])
    assert h5py_can_decode([FilterSpec(32013, ())])  # hdf5plugin brings it
    assert h5py.h5z.filter_avail(32013)


def test_cheap_import() -> None:
    """The package loads neither the codecs nor h5py."""
    heavy = ("imagecodecs", "h5py", "numcodecs", "zarr")
    code = f"import sys, packstore.codecs.hdf5; print([m for m in {heavy} if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("values", [(), (0,), (4, 4)])
def test_shuffle_parameters(values: tuple[int, ...]) -> None:
    with pytest.raises(CorruptDataError, match=r"filter 2 \(shuffle\): expected one parameter"):
        decode_chunk(bytes(8), [FilterSpec(2, values)], 0, 8)


def test_zlib_stream_is_checked(route: None) -> None:
    stored = zlib.compress(b"abcd" * 100)
    for bad in (stored[:-1], stored[:-1] + bytes([stored[-1] ^ 1]), stored[2:], b""):
        with pytest.raises(CorruptDataError, match=r"decoding HDF5 filter 1 \(deflate\): expected"):
            decode_chunk(bad, [DEFLATE], 0, 400)
    # libhdf5 stops at the end of the stream as well.
    assert decode_chunk(stored + b"rest", [DEFLATE], 0, 400).tobytes() == b"abcd" * 100


def test_szip_truncated() -> None:
    """Where scan lines need no padding, libaec tells how much it decoded."""
    values = np.random.default_rng(0).integers(0, 100, 1000).astype("<i4")
    with memory_file() as file:
        dataset = file.create_dataset("x", data=values, chunks=(1000,), compression="szip", compression_opts=("nn", 8))
        chunk = next(chunks_of(dataset))
        for length in (0, 3, 4, 5, 100, len(chunk.data) // 2):
            with pytest.raises(CorruptDataError, match="expected"):
                decode_chunk(chunk.data[:length], pipeline_of(dataset), 0, 4000)


@pytest.mark.usefixtures("route")
def test_lz4_short_block() -> None:
    """Blocks that decode to less than they should do not shift the rest."""
    import numcodecs.lz4

    blocks = [numcodecs.lz4.compress(bytes(n))[4:] for n in (50, 100)]
    stored = (200).to_bytes(8, "big") + (100).to_bytes(4, "big")
    stored += b"".join(len(b).to_bytes(4, "big") + b for b in blocks)
    with pytest.raises(CorruptDataError, match="32004"):
        decode_chunk(stored, [FilterSpec(32004, (0,))], 0, 200)


@pytest.mark.usefixtures("route")
def test_bitshuffle_block_of_its_own_size() -> None:
    """A compressed block that is exactly as long as what it decodes to is compressed, not stored."""
    # 47 literals, a match of 5 bytes 47 back, 12 literals: 64 bytes encoded, 64 decoded.
    raw = np.random.default_rng(0).integers(0, 256, 64, np.uint8)
    raw[47:52] = raw[:5]
    block = b"\xf1" + bytes([47 - 15]) + raw[:47].tobytes() + b"\x2f\x00" + b"\xc0" + raw[52:].tobytes()
    assert len(block) == 64
    stored = (128).to_bytes(8, "big") + (64).to_bytes(4, "big") + 2 * ((64).to_bytes(4, "big") + block)
    spec = FilterSpec(32008, (0, 4, 1, 64, 2))
    decoded = decode_chunk(stored, [spec], 0, 128)
    bare = decode_chunk(raw.tobytes() * 2, [FilterSpec(32008, (0, 4, 1, 64, 0))], 0, 128)
    assert decoded.tobytes() == bare.tobytes()
