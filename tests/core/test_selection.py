"""Basic selections against numpy, exhaustively on small shapes."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from packstore.core.selection import BasicSelection, basic_selection, is_basic
from packstore.errors import SelectionError

BOUNDS = [None, -5, -4, -3, -1, 0, 1, 2, 3, 4, 9]
STEPS = [None, -4, -3, -2, -1, 1, 2, 3, 10**30, -(10**30)]


def check(key: Any, data: np.ndarray[Any, Any]) -> None:
    """Normalise, apply, and compare value, shape and kind with numpy."""
    expected = data[key]
    box, after = basic_selection(key, data.shape)
    assert len(box) == data.ndim
    for s, n in zip(box, data.shape, strict=True):
        assert 0 <= s.start <= s.stop <= n
        assert s.step >= 1
        if s.stop - s.start <= 1:
            assert s.step == 1
        else:
            assert (s.stop - 1 - s.start) % s.step == 0
    part = np.asarray(data[box])
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
                    basic_selection(key, shape)
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
    assert basic_selection((slice(0, 5, 2), ...), (6, 3)) == BasicSelection((slice(0, 5, 2), slice(0, 3, 1)), None)


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
        ("a", "expected ints, slices, Ellipsis or newaxis, got str"),
        ([0], "got list"),
    ],
)
def test_errors(key: Any, text: str) -> None:
    with pytest.raises(SelectionError, match=text):
        basic_selection(key, (3, 4))
