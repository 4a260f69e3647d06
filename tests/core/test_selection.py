"""Selections against numpy: basic keys exhaustively on small shapes, all kinds of keys mixed by hypothesis."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from packstore.core.box_selection import BoxSelection, box_selection, is_basic
from packstore.core.boxes import as_index
from packstore.core.selection import parse
from packstore.errors import SelectionError

BOUNDS = [None, -5, -4, -3, -1, 0, 1, 2, 3, 4, 9]
STEPS = [None, -4, -3, -2, -1, 1, 2, 3, 10**30, -(10**30)]


def check(key: Any, data: np.ndarray[Any, Any]) -> None:
    """Normalise, apply, and compare value, shape and kind with numpy."""
    expected = data[key]
    box, after = box_selection(key, data.shape)
    assert len(box) == data.ndim
    for s, n in zip(box, data.shape, strict=True):
        assert 0 <= s.start <= s.stop <= n
        assert s.step >= 1
        if s.stop - s.start <= 1:
            assert s.step == 1
        else:
            assert (s.stop - 1 - s.start) % s.step == 0
    selection = parse(key, data.shape)
    assert selection.shape == np.shape(expected), key
    assert selection.scalar == (not isinstance(expected, np.ndarray)), key
    part = np.asarray(data[as_index(box)])
    got = part if after is None else part[after]
    assert type(got) is type(expected), key
    assert np.shape(got) == np.shape(expected), key
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 4])
def test_every_slice(n: int) -> None:
    data = np.arange(n)
    for start, stop, step in itertools.product(BOUNDS, BOUNDS, STEPS):
        check(slice(start, stop, step), data)


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3), (0, 2), (2, 1, 3)])
def test_every_combination(shape: tuple[int, ...]) -> None:
    data = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    items = [None, ..., 0, -1, np.int8(0), slice(None), slice(None, None, -1), slice(1, None), slice(0, 0)]
    count = 0
    for length in range(len(shape) + 3):
        for key in itertools.product(items, repeat=length):
            try:
                data[key]
            except IndexError:
                with pytest.raises(SelectionError):
                    box_selection(key, shape)
            else:
                check(key, data)
                count += 1
    assert count > 2


@pytest.mark.parametrize("key", [0, -1, np.uint8(1), slice(1, None), ..., None, True])
def test_bare_keys(key: Any) -> None:
    data = np.arange(6).reshape(2, 3)
    if key is True:
        assert not is_basic(key)
        return
    assert is_basic(key)
    check(key, data)


def test_numpy_bounds() -> None:
    check(slice(np.int64(1), np.uint8(4), np.int16(2)), np.arange(6))


def test_box_is_the_result_of_plain_slices() -> None:
    assert box_selection((slice(0, 5, 2), ...), (6, 3)) == BoxSelection((slice(0, 5, 2), slice(0, 3, 1)), None)


@pytest.mark.parametrize(
    "key", [[0], (0, [1]), np.array([0]), np.array(0), True, np.True_, (slice(None), False), 1.0, "a", (0, "a")]
)
def test_what_is_not_basic(key: Any) -> None:
    assert not is_basic(key)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ((0, 0, 0), r"indexing: expected at most 2 indices, got 3\."),
        ((..., ...), r"indexing: expected at most one Ellipsis, got 2\."),
        (3, r"expected an index within \[-3, 3\) on axis 0, got 3"),
        ((0, -5), r"expected an index within \[-4, 4\) on axis 1, got -5"),
        (slice(0, 1, 0), "expected integer slice bounds, got slice step cannot be zero"),
        (slice(0.5), "expected integer slice bounds, got slice indices must be integers"),
        ("a", "expected ints, slices or arrays, got 'a'"),
        (1.0, "expected ints, slices, integer or bool arrays, got float of float64"),
        (np.array([]), "expected ints, slices, integer or bool arrays, got ndarray of float64"),
        ([[0], [0, 1]], "expected ints, slices or arrays, got "),
        ([0, 3], r"expected an index within \[-3, 3\) on axis 0, got 3"),
        ((0, [-5]), r"expected an index within \[-4, 4\) on axis 1, got -5"),
        (np.array([2**64 - 1], np.uint64), r"expected an index within \[-3, 3\) on axis 0, got 18446744073709551615"),
        (np.ones(4, bool), r"expected a bool index of shape \(3,\), got \(4,\)"),
        (np.ones((3, 4, 1), bool), r"expected at most 2 indices, got 3"),
        # Numpy lets these two pass: an empty mask, and any index where the result is empty.
        (np.ones(0, bool), r"expected a bool index of shape \(3,\), got \(0,\)"),
        (([], [9]), r"expected an index within \[-4, 4\) on axis 1, got 9"),
        (([0, 1], [0, 1, 2]), r"expected index arrays that broadcast, got \(2,\) and \(3,\)"),
    ],
)
def test_errors(key: Any, text: str) -> None:
    for resolve in (box_selection, parse):
        with pytest.raises(SelectionError, match=text):
            resolve(key, (3, 4))


def test_errors_name_the_file() -> None:
    with pytest.raises(SelectionError, match=r"^indexing x\.npy: expected at most 1 indices, got 2\.$"):
        box_selection((0, 0), (3,), "x.npy")


@st.composite
def entries(draw: st.DrawFn, shape: tuple[int, ...]) -> Any:
    """A key of every kind of entry; ints out of bounds and index arrays that do not broadcast are among them."""
    fancy = draw(hnp.array_shapes(max_dims=2, min_side=0, max_side=4))
    key: list[Any] = []
    axis = 0
    while axis < len(shape) and len(key) < 8:
        n = shape[axis]
        kind = draw(st.sampled_from(["int", "slice", "array", "mask", "none", "ellipsis", "bool", "end"]))
        if kind == "int" and n:
            kinds: list[Any] = [int, np.int16, np.array]
            key.append(draw(st.sampled_from(kinds))(draw(st.integers(-n - 1, n))))
        elif kind == "slice" or (kind == "int" and not n):
            key.append(draw(st.slices(n)))
        elif kind == "array":
            target = draw(st.sampled_from([fancy, fancy[-1:], (1,)])) if n else (0,)
            indices = draw(hnp.arrays(np.int32, target, elements=st.integers(-n, max(n - 1, 0))))
            key.append(indices.tolist() if draw(st.booleans()) else indices)
        elif kind == "mask":
            covered = shape[axis : axis + draw(st.integers(1, len(shape) - axis))]
            key.append(draw(hnp.arrays(bool, covered)))
            axis += len(covered) - 1
        elif kind == "none" or kind == "bool":
            key.append(None if kind == "none" else draw(st.booleans()))
            axis -= 1
        elif kind == "ellipsis" and not any(k is ... for k in key):
            key.append(...)
            axis += draw(st.integers(-1, len(shape) - axis - 1))
        else:
            break
        axis += 1
    if any(k is ... for k in key):
        key += [slice(None)] * (len(shape) - axis)
    return key[0] if len(key) == 1 and draw(st.booleans()) else tuple(key)


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_every_kind_of_key(draw: st.DataObject) -> None:
    shape = draw.draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6))
    data = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    key = draw.draw(entries(shape))
    try:
        data[key]
    except IndexError:
        for resolve in (box_selection, parse):
            with pytest.raises(SelectionError):
                resolve(key, shape)
    else:
        check(key, data)


def test_the_box_bounds_index_arrays() -> None:
    mask = np.zeros((5, 6), bool)
    mask[2, 3] = mask[3, 1] = True
    assert box_selection(mask, (5, 6)).box == (slice(2, 4, 1), slice(1, 4, 1))
    assert box_selection((slice(1, 4), [-1, 3]), (5, 6)).box == (slice(1, 4, 1), slice(3, 6, 1))


def test_grid_and_key() -> None:
    data = np.arange(24).reshape(2, 3, 4)
    selection = parse((1, slice(None, None, -2), [0, 3]), data.shape)
    grids = tuple(selection.grid(selection.on(axis)) for axis in range(3))
    np.testing.assert_array_equal(data[grids], data[1, ::-2, [0, 3]])
    np.testing.assert_array_equal(data[selection.key(1, slice(0, 1))], data[1, 0:1, [0, 3]])
