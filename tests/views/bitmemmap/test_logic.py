"""Counts, any, all, operators: equal to numpy's on the unpacked array."""

from __future__ import annotations

import itertools
import operator
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from packstore.errors import DtypeError, OptionError, ShapeError
from packstore.views.bitmemmap import open_memmap

from .helpers import bools, check_same, layouts, mapped, models

modest = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
LAYOUTS = [(axis, order) for axis in (0, 1, 2, None) for order in ("little", "big")]
IN_PLACE = [operator.iand, operator.ior, operator.ixor]


def all_axes(ndim: int) -> list[Any]:
    subsets = [s for k in range(ndim + 1) for s in itertools.combinations(range(ndim), k)]
    return [None, *range(-ndim, ndim), *subsets]


@modest
@given(st.data())
def test_reductions(data: st.DataObject) -> None:
    model = data.draw(models())
    fill = data.draw(st.sampled_from([None, True, False]))
    if fill is not None:
        model[...] = fill
    axis, order, offset = data.draw(layouts(model.shape))
    along = data.draw(st.sampled_from(all_axes(model.ndim)))
    keepdims = data.draw(st.booleans())
    with mapped(model, axis, order, offset, "r") as m:
        pairs = [
            (m.count_nonzero(along, keepdims=keepdims), np.count_nonzero(model, along, keepdims=keepdims)),
            (m.any(along, keepdims=keepdims), model.any(along, keepdims=keepdims)),
            (m.all(along, keepdims=keepdims), model.all(along, keepdims=keepdims)),
        ]
        for got, want in pairs:
            assert np.shape(got) == np.shape(want)
            assert np.asarray(got).dtype == np.asarray(want).dtype
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(("axis", "order"), LAYOUTS)
def test_reductions_over_many_blocks(axis: int | None, order: str) -> None:
    model = bools((37, 701, 1003))
    with mapped(model, axis, order, 5, "r") as m:
        assert m.count_nonzero() == np.count_nonzero(model)
        for along in (0, 1, 2, (0, 2), (1, 2)):
            np.testing.assert_array_equal(m.count_nonzero(along), np.count_nonzero(model, along))
            np.testing.assert_array_equal(m.any(along), model.any(along))
    for value in (True, False):
        flat = np.full(model.shape, value)
        flat[-1, -1, -1] = not value
        with mapped(flat, axis, order, 0, "r") as m:
            assert (m.any(), m.all()) == (True, False)
        flat[-1, -1, -1] = value
        with mapped(flat, axis, order, 0, "r") as m:
            assert (m.any(), m.all()) == (value, value)


def test_any_stops_early(tmp_path: Path) -> None:
    """A sparse file of 128 GiB: reading it all would take many seconds."""
    path = tmp_path / "m"
    with open(path, "wb") as f:
        f.truncate(128 << 30)
    with open_memmap(path, "r+") as m:
        m[12345] = True
        assert m.any()
        assert not m.all()
    assert os.stat(path).st_blocks * 512 < 1 << 20


def test_types_of_results() -> None:
    with mapped(bools((3, 9)), -1, "little") as m:
        assert type(m.count_nonzero()) is int
        assert type(m.any()) is np.bool_
        assert m.count_nonzero(0).dtype == np.intp
        out = np.empty(3, bool)
        assert m.all(1, out=out) is out
        np.testing.assert_array_equal(np.any(m, axis=0), np.asarray(m).any(0))
        np.testing.assert_array_equal(np.all(m), np.asarray(m).all())
        assert np.count_nonzero(m) == m.count_nonzero()
        with pytest.raises(OptionError, match=r"expected an axis from -2 to 1, got 2"):
            m.any(2)
        with pytest.raises(OptionError, match=r"expected each axis once, got \(0, -2\)"):
            m.count_nonzero((0, -2))


@modest
@given(st.data())
def test_in_place_operators(data: st.DataObject) -> None:
    model = data.draw(models())
    axis, order, offset = data.draw(layouts(model.shape))
    operation = data.draw(st.sampled_from(IN_PLACE))
    kind = data.draw(st.sampled_from(["array", "row", "scalar", "same", "other", "list"]))
    with mapped(model, axis, order, offset) as m:
        other: Any = bools(model.shape, 77)
        if kind == "row" and model.ndim:
            other = other[..., :1] if data.draw(st.booleans()) else bools(model.shape[-1:], 3)
        elif kind == "scalar":
            other = data.draw(st.booleans())
        elif kind == "list" and model.size:
            other = other.tolist()
        before = m
        if kind in ("same", "other"):
            layout = (axis, order, 0) if kind == "same" else data.draw(layouts(model.shape))
            with mapped(other, *layout, "r") as n:
                m = operation(m, n)
        else:
            m = operation(m, other)
        assert m is before
        model = operation(model, np.asarray(other))
        check_same(m, model)


@pytest.mark.parametrize(("axis", "order"), LAYOUTS)
@pytest.mark.parametrize(
    "operation", [operator.iand, *(pytest.param(f, marks=pytest.mark.long) for f in (operator.ior, operator.ixor))]
)
def test_in_place_over_many_blocks(axis: int | None, order: str, operation: Any) -> None:
    model, other = bools((37, 501, 1003)), bools((37, 501, 1003), 1)
    with mapped(model, axis, order) as m, mapped(other, 1, "big") as n:
        m = operation(m, n)
        check_same(m, operation(model.copy(), other))
        m = operation(m, other)
        check_same(m, operation(operation(model.copy(), other), other))


def test_foreign_padding_does_not_spread() -> None:
    model, other = bools((4, 5)), bools((4, 5), 1)
    with mapped(model, -1, "little") as m, mapped(other, -1, "little") as n:
        with open(n.filename, "r+b") as f:
            raw = bytes(b | 0xE0 for b in f.read())
            f.seek(0)
            f.write(raw)
        m |= n
        check_same(m, model | other)
        assert (n.count_nonzero(), n.all(1).tolist()) == (int(other.sum()), other.all(1).tolist())


@modest
@given(st.data())
def test_invert(data: st.DataObject) -> None:
    model = data.draw(models())
    with mapped(model, *data.draw(layouts(model.shape))) as m:
        np.testing.assert_array_equal(~m, ~model)
        check_same(m, model)
        assert m.invert() is m
        check_same(m, ~model)


def test_operators_give_arrays() -> None:
    model, other = bools((5, 13)), bools((5, 13), 1)
    with mapped(model, -1, "little") as m, mapped(other, 0, "big") as n:
        for operation in (operator.and_, operator.or_, operator.xor, operator.eq, operator.ne):
            want = operation(model, other)
            for left, right in ((m, other), (model, n), (m, n)):
                got = operation(left, right)
                assert type(got) is np.ndarray
                np.testing.assert_array_equal(got, want)
        np.testing.assert_array_equal(m & True, model)
        np.testing.assert_array_equal(np.logical_and(m, n), model & other)
        changed = other.copy()
        changed &= m
        np.testing.assert_array_equal(changed, model & other)
        np.testing.assert_array_equal(other[m], other[model])
        with pytest.raises(TypeError):
            hash(m)


def test_operands_that_do_not_fit() -> None:
    model = bools((5, 13))
    with mapped(model, -1, "little") as m:
        with pytest.raises(DtypeError, match=r"^combining bits of .*: expected bool values, got int64\.$"):
            m &= np.ones((5, 13), np.int64)
        with pytest.raises(ShapeError, match=r"expected values that broadcast to \(5, 13\), got \(4, 13\)"):
            m |= np.ones((4, 13), bool)
        check_same(m, model)
