"""Reading and assigning by every kind of key: the model is a bool ndarray."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from packstore.errors import SelectionError, ShapeError

from .helpers import bools, check_same, keys, layouts, mapped, models

LAYOUTS = [(axis, order) for axis in (0, 1, 2, None) for order in ("little", "big")]
modest = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))


def outcome(array: Any, key: Any) -> Any:
    try:
        found = array[key]
    except IndexError:
        return IndexError
    return found if masks_fit(array.shape, key) else IndexError


def masks_fit(shape: tuple[int, ...], key: Any) -> bool:
    """Whether each bool array has the lengths of its axes: numpy lets masks without elements pass, here they do not."""
    entries = [e for e in (key if isinstance(key, tuple) else (key,)) if e is not None]
    takes = [np.ndim(e) if np.asarray(e).dtype == bool else 1 for e in entries if e is not Ellipsis]
    axis = 0
    for entry in entries:
        if entry is Ellipsis:
            axis += len(shape) - sum(takes)
        elif not isinstance(entry, slice) and np.asarray(entry).dtype == bool:
            mask = np.asarray(entry).shape
            if shape[axis : axis + len(mask)] != mask:
                return False
            axis += len(mask)
        else:
            axis += 1
    return True


def test_masks_without_elements_must_fit() -> None:
    empty = np.zeros(0, bool)
    assert masks_fit((0, 60), empty) and masks_fit((60, 0), (..., empty)) and masks_fit((2, 0, 5), (1, empty))
    assert not masks_fit((0, 60), (..., empty)) and not masks_fit((2, 60), empty)
    assert masks_fit((2, 3), (True, [0, 1])) and masks_fit((2, 3), (slice(None), np.ones(3, bool)))


@modest
@given(st.data())
def test_read_equals_numpy(data: st.DataObject) -> None:
    model = data.draw(models())
    axis, order, offset = data.draw(layouts(model.shape))
    key = data.draw(keys(model.shape))
    want = outcome(model, key)
    with mapped(model, axis, order, offset, "r") as m:
        got = outcome(m, key)
    if want is IndexError:
        assert got is IndexError
        return
    assert type(got) is type(want)
    assert got.dtype == np.bool_
    assert got.shape == want.shape
    np.testing.assert_array_equal(got, want)


@modest
@given(st.data())
def test_assignment_equals_numpy(data: st.DataObject) -> None:
    model = data.draw(models())
    axis, order, offset = data.draw(layouts(model.shape))
    with mapped(model, axis, order, offset) as m:
        for _ in range(data.draw(st.integers(1, 3))):
            key = data.draw(keys(model.shape))
            want = outcome(model, key)
            if want is IndexError:
                before = model.copy()
                with pytest.raises(SelectionError):
                    m[key] = True
                check_same(m, before)
                continue
            value: Any = data.draw(st.sampled_from([True, False, 0, 2, 0.0, np.nan, "array", "row", "lead"]))
            if value in ("array", "row", "lead") and isinstance(value, str):
                shape = want.shape[1:] if value == "row" else ((1, *want.shape) if value == "lead" else want.shape)
                value = bools(shape, data.draw(st.integers(0, 100)))
            try:
                model[key] = value
            except (ValueError, TypeError):
                with pytest.raises(ShapeError):
                    m[key] = value
            else:
                m[key] = value
            check_same(m, model)


@pytest.mark.parametrize(("axis", "order"), LAYOUTS)
@pytest.mark.parametrize("step", [1, 2, 3, 7, 8, 9, 16, 23, -1, -2, -7, -8, -9, -24])
def test_steps_along_every_axis(axis: int | None, order: str, step: int) -> None:
    model = bools((9, 70, 61))
    for along in range(3):
        for cut in (slice(None, None, step), slice(3, -2, step), slice(-2, 3, step)):
            key = (slice(None),) * along + (cut,)
            with mapped(model, axis, order) as m:
                np.testing.assert_array_equal(m[key], model[key])
                changed = model.copy()
                value = bools(model[key].shape, 5)
                changed[key] = value
                m[key] = value
                check_same(m, changed)


@pytest.mark.parametrize(("axis", "order"), LAYOUTS)
def test_last_of_duplicates_wins(axis: int | None, order: str) -> None:
    model = np.zeros((3, 20, 9), bool)
    rng = np.random.default_rng(1)
    i, j, k = (rng.integers(0, n, 400) for n in model.shape)
    value = rng.random(400) < 0.5
    with mapped(model, axis, order) as m:
        m[i, j, k] = value
        model[i, j, k] = value
        check_same(m, model)
        for key in ((slice(None), j), (i,), (0, slice(None), k), (i[:20], slice(2, 18, 3))):
            value = rng.random(model[key].shape) < 0.5
            m[key] = value
            model[key] = value
            check_same(m, model)


@pytest.mark.parametrize(("axis", "order"), LAYOUTS)
def test_blocks_of_large_selections(axis: int | None, order: str) -> None:
    """More elements than one block of addresses, and rows that begin inside a byte."""
    model = bools((5, 601, 703))
    rows, columns = np.arange(600, -1, -1)[:, None], np.arange(0, 703)[None, ::-1]
    with mapped(model, axis, order) as m:
        np.testing.assert_array_equal(m[:, rows, columns], model[:, rows, columns])
        np.testing.assert_array_equal(m[::-1, 1:, 1:], model[::-1, 1:, 1:])
        value = bools((601, 703), 3)
        m[:, rows, columns] = value
        model[:, rows, columns] = value
        check_same(m, model)
        m[1:, 1:600, 3:700] = ~value[1:600, 3:700]
        model[1:, 1:600, 3:700] = ~value[1:600, 3:700]
        check_same(m, model)
        mask = bools(model.shape, 9)
        np.testing.assert_array_equal(m[mask], model[mask])
        value = bools((int(mask.sum()),), 4)
        m[mask] = value
        model[mask] = value
        check_same(m, model)


def test_scalars_are_numpy_scalars() -> None:
    model = bools((3, 9))
    with mapped(model, -1, "little") as m:
        assert m[1, 2] is model[1, 2]
        assert type(m[1, 2]) is np.bool_
        assert m[np.int64(-1), -9] is model[-1, -9]
        assert isinstance(m[1, 2, ...], np.ndarray)


@pytest.mark.parametrize(("axis", "order"), LAYOUTS)
def test_a_map_as_key_and_as_value(axis: int | None, order: str) -> None:
    model, other = bools((4, 11, 17)), bools((4, 11, 17), 2)
    with mapped(model, axis, order) as m, mapped(other, -1, "little") as n:
        np.testing.assert_array_equal(m[n], model[other])
        m[...] = n
        check_same(m, other)
        m[n] = False
        assert not m.any()


@pytest.mark.parametrize("axis", [0, 1, None])
def test_results_are_copies(axis: int | None) -> None:
    model = bools((16, 16))
    with mapped(model, axis, "little") as m:
        for key in (..., slice(2, 3), (slice(None), 3), ([1, 2],), model):
            got = m[key]
            got[...] = True
        check_same(m, model)


def test_padding_in_a_foreign_file_is_ignored() -> None:
    model = bools((5, 13))
    with mapped(model, -1, "little") as m:
        with open(m.filename, "r+b") as f:
            raw = np.frombuffer(f.read(), np.uint8).reshape(5, 2).copy()
            raw[:, 1] |= 0b11100000
            f.seek(0)
            f.write(raw.tobytes())
        assert m.count_nonzero() == model.sum()
        np.testing.assert_array_equal(m.count_nonzero(axis=1), model.sum(axis=1))
        np.testing.assert_array_equal(np.asarray(m), model)
        m[...] = False
        assert not m.any()
        assert stored_zero(m)


def stored_zero(m: Any) -> bool:
    m.flush()
    with open(m.filename, "rb") as f:
        return not any(f.read())


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (5, r"^indexing .*: expected an index within \[-5, 5\) on axis 0, got 5\.$"),
        ((0, [1, -10]), r"expected an index within \[-9, 9\) on axis 1, got -10"),
        ((0, 0, 0), r"expected at most 2 indices, got 3"),
        ((..., ...), r"expected at most one Ellipsis, got 2"),
        (slice(None, None, 0), r"expected integer slice bounds, got slice step cannot be zero"),
        (slice(1.5), r"expected integer slice bounds"),
        (1.0, r"expected ints, slices, integer or bool arrays, got float of float64"),
        ("name", r"expected ints, slices or arrays, got 'name'"),
        (np.zeros(0), r"got ndarray of float64"),
        (np.ones((5, 8), bool), r"expected a bool index of shape \(5, 9\), got \(5, 8\)"),
        (([0, 1], [0, 1, 2]), r"expected index arrays that broadcast, got \(2,\) and \(3,\)"),
    ],
)
def test_bad_keys(key: Any, text: str) -> None:
    with mapped(bools((5, 9)), -1, "little") as m:
        with pytest.raises(SelectionError, match=text):
            m[key]
        with pytest.raises(SelectionError, match=text):
            m[key] = True


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        (0, np.ones(8, bool), r"^assigning to .*: expected values that broadcast to \(9,\), got shape \(8,\)\.$"),
        (np.eye(5, 9, dtype=bool), [True, False], r"expected one value or 5 in one dimension, got shape \(2,\)"),
        (
            np.eye(5, 9, dtype=bool),
            np.ones((1, 5), bool),
            r"expected one value or 5 in one dimension, got shape \(1, 5\)",
        ),
    ],
)
def test_values_that_do_not_fit(key: Any, value: Any, text: str) -> None:
    model = bools((5, 9))
    with mapped(model, -1, "little") as m:
        with pytest.raises(ShapeError, match=text):
            m[key] = value
        check_same(m, model)


def test_iteration_and_length() -> None:
    model = bools((7, 30))
    with mapped(model, 0, "big") as m:
        assert len(m) == 7
        rows = list(m)
    assert len(rows) == 7
    np.testing.assert_array_equal(rows, model)
    with mapped(model[0], 0, "big") as m:
        assert list(m) == list(model[0])
        assert (True in m, False in m) == (True, True)
