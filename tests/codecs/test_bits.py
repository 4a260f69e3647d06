"""The kernels against a bit-by-bit reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from packstore.codecs.bits import counts, kernels, words
from tests.codecs import packbits_reference as reference

quick = settings(max_examples=60, deadline=None)
ORDERS: tuple[Literal["little"], Literal["big"]] = ("little", "big")


def _random(count: int, dtype: str, seed: int) -> np.ndarray:
    return np.frombuffer(np.random.default_rng(seed).bytes(count * np.dtype(dtype).itemsize), dtype).copy()


def _pack(values: np.ndarray, nbits: int, **options: Any) -> np.ndarray:
    out = np.full(kernels.packed_nbytes(values.size, nbits), 0xFF, np.uint8)
    words.pack_words(values, nbits, out, **options)
    return out


@pytest.mark.parametrize("bitorder", ORDERS)
@pytest.mark.parametrize("width", [8, 16, 32, 64])
def test_every_width(width: int, bitorder: Literal["little", "big"]) -> None:
    for nbits in range(1, width + 1):
        values = _random(83, f"u{width // 8}", nbits)
        packed = _pack(values, nbits, bitorder=bitorder)
        assert packed.tobytes() == reference.pack(values, nbits, bitorder=bitorder)
        out = np.empty_like(values)
        words.unpack_words(packed, nbits, out, bitorder=bitorder)
        assert np.array_equal(out, reference.kept_words(values, nbits))


@quick
@given(
    word=st.sampled_from(["u1", "u2", "u4", "u8"]),
    count=st.integers(0, 300),
    seed=st.integers(0, 9999),
    signed=st.booleans(),
    bitorder=st.sampled_from(ORDERS),
    data=st.data(),
)
def test_any_range_start_and_sign(
    word: str, count: int, seed: int, signed: bool, bitorder: Literal["little", "big"], data: st.DataObject
) -> None:
    width = np.dtype(word).itemsize * 8
    first_bit = data.draw(st.integers(0, width - 1))
    nbits = data.draw(st.integers(1, width - first_bit))
    start = data.draw(st.integers(0, count))
    values = _random(count, word, seed)
    packed = _pack(values, nbits, first_bit=first_bit, bitorder=bitorder)
    assert packed.tobytes() == reference.pack(values, nbits, first_bit, bitorder)
    out = np.empty(count - start, word)
    words.unpack_words(
        packed[start * nbits // 8 :], nbits, out, start=start, first_bit=first_bit, signed=signed, bitorder=bitorder
    )
    assert np.array_equal(out, reference.kept_words(values, nbits, first_bit, signed)[start:])


@pytest.mark.parametrize("bitorder", ORDERS)
@pytest.mark.parametrize("nbits", [1, 3, 7, 10, 11, 12, 16, 31, 33, 61, 63])
def test_more_than_one_block(nbits: int, bitorder: Literal["little", "big"]) -> None:
    word = next(w for w in (8, 16, 32, 64) if w >= nbits)
    values = _random(150_001, f"u{word // 8}", nbits)
    packed = _pack(values, nbits, bitorder=bitorder)
    assert packed.tobytes() == reference.pack(values, nbits, bitorder=bitorder)
    out = np.empty_like(values)
    words.unpack_words(packed, nbits, out, bitorder=bitorder)
    mask = values.dtype.type((1 << nbits) - 1)
    assert np.array_equal(out, values & mask)


def test_unaligned_output_and_input() -> None:
    values = _random(5000, "u2", 1) & np.uint16(0xFFF)
    packed = _pack(values, 12)
    shifted = np.concatenate([[np.uint8(0)], packed])[1:]
    raw = np.zeros(values.nbytes + 1, np.uint8)
    out = raw[1:].view(np.uint16)
    words.unpack_words(shifted, 12, out)
    assert np.array_equal(out, values)


@quick
@given(
    count=st.integers(0, 400),
    start=st.integers(0, 40),
    seed=st.integers(0, 9999),
    bitorder=st.sampled_from(ORDERS),
    use_out=st.booleans(),
)
def test_bools(count: int, start: int, seed: int, bitorder: Literal["little", "big"], use_out: bool) -> None:
    bits = np.random.default_rng(seed).random(start + count) < 0.4
    packed = kernels.pack_bools(bits, bitorder)
    assert np.array_equal(packed, np.packbits(bits, bitorder=bitorder))
    out = np.ones(count, bool) if use_out else None
    got = kernels.unpack_bools(packed[start // 8 :], count, start=start, bitorder=bitorder, out=out)
    assert got.dtype == bool
    assert np.array_equal(got, bits[start:])
    if use_out:
        assert got is out


def test_bools_into_a_large_array() -> None:
    bits = np.random.default_rng(0).random(300_005) < 0.5
    out = np.zeros(300_000, bool)
    kernels.unpack_bools(kernels.pack_bools(bits), 300_000, start=5, out=out)
    assert np.array_equal(out, bits[5:])


def test_unpacking_bools_does_not_copy_afterwards() -> None:
    got = kernels.unpack_bools(np.packbits(np.ones(100, bool), bitorder="little"), 100)
    assert got.flags.writeable
    assert got.base is not None


@quick
@given(nbits=st.integers(0, 700), first=st.integers(0, 90), seed=st.integers(0, 999), bitorder=st.sampled_from(ORDERS))
def test_count_nonzero(nbits: int, first: int, seed: int, bitorder: Literal["little", "big"]) -> None:
    bits = np.random.default_rng(seed).random(first + nbits + 5) < 0.6
    packed = np.packbits(bits, bitorder=bitorder)
    expected = int(bits[first : first + nbits].sum())
    assert counts.count_nonzero_packed(packed, nbits, first, bitorder=bitorder) == expected
    assert counts.count_nonzero_packed(packed.tobytes(), nbits, first, bitorder=bitorder) == expected


def test_count_nonzero_of_many_blocks() -> None:
    bits = np.random.default_rng(0).random(9_000_003) < 0.5
    assert counts.count_nonzero_packed(np.packbits(bits, bitorder="little"), bits.size) == int(bits.sum())


@pytest.mark.parametrize(("nbits", "first"), [(17, 0), (1, 16), (4, -1), (-1, 3)])
def test_count_nonzero_outside_the_buffer(nbits: int, first: int) -> None:
    with pytest.raises(ValueError, match="do not lie in a buffer of 16 bits"):
        counts.count_nonzero_packed(b"\xff\xff", nbits, first)


@pytest.mark.parametrize("source", [bytes, bytearray, memoryview, lambda b: np.frombuffer(b, "<u2")])
def test_as_bytes(source: Callable[[bytes], Any]) -> None:
    assert kernels.as_bytes(source(b"abcd")).tobytes() == b"abcd"
    assert kernels.as_bytes(source(b"")).size == 0


def test_as_bytes_of_a_strided_array() -> None:
    assert kernels.as_bytes(np.arange(10, dtype=np.uint8)[::3]).tolist() == [0, 3, 6, 9]
