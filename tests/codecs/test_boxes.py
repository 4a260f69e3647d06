"""Any box of any packed array, read and counted, is what numpy gives of the whole."""

from __future__ import annotations

from typing import Any, Literal

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from packstore.codecs.bits import large
from packstore.codecs.bits.boxes import PackedArray, count_box, plan_box, unpack_box
from packstore.codecs.bits.layout import bit_layout
from packstore.core.boxes import box_shape

BOOL = bit_layout(np.dtype(bool))
lengths = st.one_of(st.integers(1, 9), st.integers(1, 70), st.sampled_from([8, 16, 64, 200]))


ORDERS: tuple[Literal["little"], Literal["big"]] = ("little", "big")
PADDINGS: tuple[Literal["none", "first_byte", "last_byte"], ...] = ("none", "first_byte", "last_byte")


@st.composite
def boxes(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[slice, ...]:
    box = []
    for n in shape:
        start = draw(st.integers(0, n))
        step = draw(st.sampled_from([1, 1, 1, 2, 3, 7, 8, 11, 16]))
        box.append(slice(start, draw(st.integers(start, n)), step))
    return tuple(box)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Any, PackedArray, bytes, tuple[slice, ...]]:
    shape = tuple(draw(st.lists(lengths, max_size=3)))
    mask = np.random.default_rng(draw(st.integers(0, 99))).random(shape) < 0.5
    axis = draw(st.sampled_from([None, *range(len(shape))]))
    bitorder: Literal["little", "big"] = draw(st.sampled_from(ORDERS))
    padding = None if axis is not None else draw(st.none() | st.sampled_from(PADDINGS))
    data = np.packbits(mask, axis=axis, bitorder=bitorder).tobytes()
    count = bytes([-mask.size % 8])
    if padding == "first_byte":
        data = count + data
    elif padding == "last_byte":
        data += count
    packed = PackedArray(shape, BOOL, padding, bitorder, axis)
    assert packed.nbytes == len(data)
    return mask, packed, data, draw(boxes(shape))


@settings(max_examples=400, deadline=None)
@given(cases(), st.data())
def test_any_box(case: Any, data: st.DataObject) -> None:
    mask, packed, stored, box = case
    plan = packed.plan(box)
    found = stored[plan.offset : plan.offset + plan.nbytes]
    expected = mask[(*box, ...)]
    assert plan.shape == box_shape(box) == expected.shape
    for source in (found, np.frombuffer(found, np.uint8)):
        got = unpack_box(source, plan)
        assert got.dtype == bool
        np.testing.assert_array_equal(got, expected)
    axes = tuple(sorted(data.draw(st.sets(st.integers(0, mask.ndim - 1))))) if mask.ndim else ()
    np.testing.assert_array_equal(count_box(found, plan, axes), np.count_nonzero(expected, axis=axes))
    assert count_box(found, plan) == np.count_nonzero(expected)


@settings(max_examples=300, deadline=None)
@given(cases(), st.data())
def test_in_pieces(case: Any, data: st.DataObject) -> None:
    """Large boxes piece by piece, sparse ones by several ranges: the same wherever they are cut."""
    mask, packed, stored, box = case
    ranges: list[int] = []

    def fetch(offset: int, nbytes: int) -> bytes:
        assert 0 <= offset < offset + nbytes <= len(stored)
        ranges.append(nbytes)
        return bytes(stored[offset : offset + nbytes])

    gap = data.draw(st.sampled_from([None, 0, 1, 8, 1000]))
    axes = tuple(sorted(data.draw(st.sets(st.integers(0, mask.ndim - 1))))) if mask.ndim else ()
    expected = mask[(*box, ...)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(large, "MAX_SCRATCH", 0)
        patch.setattr(large, "SMALL_NBYTES", 0)
        for name in ("LARGE_NBYTES", "PIECE_NBYTES", "COUNT_NBYTES", "COUNTED_NBYTES"):
            patch.setattr(large, name, data.draw(st.sampled_from([1, 8, 50, 1 << 20])))
        np.testing.assert_array_equal(large.read_bits(packed, fetch, box, gap), expected)
        counts = large.count_bits_of(packed, fetch, box, axes, gap)
    np.testing.assert_array_equal(counts, np.count_nonzero(expected, axis=axes))


@pytest.mark.parametrize("width", [1000, 1003])
def test_rows_of_a_sparse_box_are_read_by_themselves(width: int) -> None:
    mask = np.random.default_rng(0).random((50, width)) < 0.5
    packed = PackedArray(mask.shape, BOOL, None, "big")
    stored = np.packbits(mask).tobytes()
    ranges: list[int] = []

    def fetch(offset: int, nbytes: int) -> bytes:
        ranges.append(nbytes)
        return bytes(stored[offset : offset + nbytes])

    box = (slice(3, 40, 1), slice(9, 20, 1))
    np.testing.assert_array_equal(large.read_bits(packed, fetch, box, 10), mask[box])
    assert len(ranges) == 37 and max(ranges) <= 3
    ranges.clear()
    large.read_bits(packed, fetch, box, 1000)
    assert len(ranges) == 1


@pytest.mark.parametrize("bitorder", ["little", "big"])
def test_narrow_rows_are_aligned_without_what_lies_between(bitorder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    mask = np.random.default_rng(0).random((200, 1003)) < 0.5
    stored = np.packbits(mask, bitorder=bitorder)
    unpacked = []
    unpackbits = np.unpackbits

    def counted(packed: Any, **options: Any) -> Any:
        unpacked.append(packed.nbytes)
        return unpackbits(packed, **options)

    monkeypatch.setattr(np, "unpackbits", counted)
    for top in range(8):
        box = (slice(top, top + 64, 1), slice(300 + top, 364 + top, 1))
        plan = plan_box(mask.shape, box, BOOL, bitorder=bitorder)
        got = unpack_box(stored[plan.offset : plan.offset + plan.nbytes], plan)
        np.testing.assert_array_equal(got, mask[box])
    assert unpacked == [64 * 64 // 8] * 8


def test_padding_of_any_writer_is_not_looked_at_where_none_is_promised() -> None:
    box = (slice(0, 11, 1),)
    plan = plan_box((11,), box, BOOL, None)
    assert unpack_box(b"\xff\xff", plan).all()
    assert count_box(b"\xff\xff", plan) == 11
