"""Conformance of a file format: subclass :class:`ReaderTests`, say how to write an array, and run pytest.

Every way to open a file must give numpy's values: ``open_array``, ``open_store`` through zarr, and ``from_file``.
Needs pytest and hypothesis.
"""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import packstore
from packstore.core.typing import Array
from packstore.errors import StaleFileError, UnsupportedError
from packstore.readers import READERS
from packstore.readers.find import locate
from packstore.testing.strategies import arrays_st, basic_indices, chunk_shapes, dtypes_st, shapes_st
from packstore.views.zarr.dtypes import names

__all__ = ["DTYPES", "SELECTIONS", "SHAPES", "ReaderTests", "assert_same", "example"]

Order = Literal["C", "F"]

NESTED = [("a", "<i2"), ("b", [("x", ">f4"), ("y", "S3")]), ("c", "u1", (2, 2))]
DTYPES: tuple[Any, ...] = (
    *("?", "i1", "<i2", ">i4", "<i8", "u1", ">u2", "<u4", ">u8", "<f2", ">f2", "<f4", ">f8", "longdouble"),
    *("<c8", ">c16", "clongdouble", "<M8[ns]", ">M8[D]", "<m8[25us]", "S5", "<U3", ">U3", "V3"),
    *([("x", "<f4"), ("y", "?")], NESTED, np.dtype([("a", "u1"), ("b", "<f8"), ("c", "S3")], align=True)),
)
SHAPES: tuple[tuple[int, ...], ...] = ((), (0,), (7,), (5, 3), (4, 1, 6), (2, 0, 3), (3, 2, 2, 2))
# Selections of an array of shape (5, 6, 7).
SELECTIONS: tuple[Any, ...] = (
    *(..., 0, -1, (2, 3), slice(1, 6, 2), slice(None, None, -1), (slice(5, 1, -2), ..., 0), (..., None)),
    *((None, 1, slice(2, 2)), (..., slice(1, None, 3)), (slice(-3, 100), 1), (1, 2, 3), slice(9, 2)),
)


def example(dtype: Any, shape: tuple[int, ...], order: Order = "C", seed: int = 0) -> Array:
    """An array of varied values (NaN, infinities, NaT, padding) that depends on the arguments only."""
    dtype = np.dtype(dtype)
    rng = np.random.default_rng([seed, *shape])
    size = int(np.prod(shape, dtype=np.int64))
    out = np.zeros(size, dtype)
    if dtype.fields is not None:
        for i, (name, field) in enumerate(dtype.fields.items()):
            out[name] = example(field[0].base, (size, *field[0].shape), seed=seed + i + 1)
    elif dtype.kind == "b":
        out[:] = rng.integers(0, 2, size)
    elif dtype.kind in "fc":
        out[:] = rng.standard_normal(size) * 100
        out[: min(size, 4)] = np.array([np.nan, np.inf, -np.inf, -0.0])[:size]
        if dtype.kind == "c":
            out.imag = rng.standard_normal(size)
    elif dtype.kind in "SU":
        out[:] = np.array(["", "a", "Zoë" if dtype.kind == "U" else "xyz", "b\x00c"])[rng.integers(0, 4, size)]
    else:
        raw = rng.integers(0, 256, size * dtype.itemsize, dtype=np.uint8)
        out[:] = raw.view(dtype)
        if dtype.kind in "mM" and size:
            out[0] = "NaT"
    return np.array(out.reshape(shape), order=order)


def assert_same(got: Any, want: Any) -> None:
    """Raise unless both have the same shape and values (NaN and NaT equal themselves; byte order is no value)."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape, f"shape {got.shape} != {want.shape}"
    if want.dtype.names is not None:
        assert got.dtype.names == want.dtype.names
        for name in want.dtype.names:
            assert_same(got[name], want[name])
    elif want.dtype.kind == "V":
        assert got.dtype.kind == "V" and got.tobytes() == want.tobytes()
    else:
        assert got.dtype.newbyteorder("=") == want.dtype.newbyteorder("="), f"{got.dtype} != {want.dtype}"
        np.testing.assert_array_equal(got, want)
        if want.dtype.kind == "f":
            np.testing.assert_array_equal(np.signbit(got), np.signbit(want))


class ReaderTests:
    """What holds for every format.

    Attributes
    ----------
    format
        Its name in `packstore.readers.READERS`.
    component
        Where `write` puts the array; None where the file is one array.
    dtypes, shapes, orders
        What the format can hold.
    property_dtypes
        Names of dtypes for the property test.
    touch
        The file of a written array whose change makes it stale, relative to the path that `write` was given.

    Examples
    --------
    >>> class TestNpy(ReaderTests):
    ...     format = "npy"
    ...     def write(self, path, array):
    ...         with open(path, "wb") as f:
    ...             np.save(f, array)
    """

    format: ClassVar[str]
    component: ClassVar[str | None] = None
    suffix: ClassVar[str] = ""
    dtypes: ClassVar[tuple[Any, ...]] = DTYPES
    shapes: ClassVar[tuple[tuple[int, ...], ...]] = SHAPES
    orders: ClassVar[tuple[Order, ...]] = ("C", "F")
    property_dtypes: ClassVar[tuple[str, ...]] = ("bool", "<i2", ">u4", "<f8", ">c8")
    min_side: ClassVar[int] = 0
    max_dims: ClassVar[int] = 4
    min_dims: ClassVar[int] = 0
    touch: ClassVar[str] = ""

    def write(self, path: Path, array: Array) -> None:
        """Write `array` to `path` in the format."""
        raise NotImplementedError

    def options(self, array: Array) -> Mapping[str, Any]:
        """Options to open the file that `write` wrote."""
        return {}

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Give each test the format's own dtypes, shapes and orders."""
        for name, values in (("dtype", self.dtypes), ("shape", self.shapes), ("order", self.orders)):
            if name in metafunc.fixturenames:
                metafunc.parametrize(name, values, ids=[str(value).replace(" ", "") for value in values])

    def file(self, folder: Path, array: Array) -> Path:
        """A new file with `array`."""
        path = folder / f"file{self.suffix}"
        self.write(path, array)
        return path

    def check(self, path: Path, want: Array, chunks: Any = None) -> None:
        """Compare all elements through each way to open the file."""
        import zarr

        options = self.options(want)
        lazy = packstore.from_file(path, self.component, chunks=chunks or "auto", **options)
        assert lazy.dtype == want.dtype and lazy.shape == want.shape
        assert_same(lazy.compute(scheduler="synchronous"), want)
        store: Any = packstore.open_store(path, chunks=chunks, **options)
        reason = names.reason(want.dtype)
        if reason is not None:
            assert store.unsupported[self.component or ""] == reason
            with pytest.raises(UnsupportedError):
                packstore.open_array(path, self.component, **options)
            return
        assert_same(zarr.open_array(store, path=self.component or "", mode="r")[...], want)
        array = packstore.open_array(path, self.component, chunks=chunks, **options)
        assert array.shape == want.shape
        assert_same(array[...], want)

    def test_dtypes(self, tmp_path: Path, dtype: Any, order: Order) -> None:
        """Each dtype in each order."""
        want = example(dtype, (5, 6), order)
        self.check(self.file(tmp_path, want), want)

    def test_shapes(self, tmp_path: Path, shape: tuple[int, ...], order: Order) -> None:
        """0-d, empty and many-dimensional arrays."""
        want = example(self.dtypes[0], shape, order)
        self.check(self.file(tmp_path, want), want)

    def test_selections(self, tmp_path: Path, order: Order) -> None:
        """Basic indexing has numpy's meaning."""
        shape = (5, 6, 7)[-self.max_dims :]
        want = example(self.property_dtypes[0], shape, order)
        path = self.file(tmp_path, want)
        array = packstore.open_array(path, self.component, **self.options(want))
        lazy = packstore.from_file(path, self.component, **self.options(want))
        for key in SELECTIONS:
            try:
                part = want[key]
            except IndexError:  # for fewer axes
                continue
            assert_same(array[key], part)
            assert_same(lazy[key].compute(scheduler="synchronous"), part)

    def test_results_are_the_callers_own(self, tmp_path: Path) -> None:
        """Writing into a result changes neither the file nor what is read next."""
        want = example(self.property_dtypes[0], (5, 6, 7)[-self.max_dims :])
        array = packstore.open_array(self.file(tmp_path, want), self.component, **self.options(want))
        for key in (..., slice(1, 3), np.array([2, 0])):
            for _ in range(2):
                part = array[key]
                assert_same(part, want[key])
                assert part.flags.writeable
                part[...] = np.zeros((), part.dtype)

    @given(data=st.data())
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    def test_all_ways_agree(self, data: st.DataObject) -> None:
        """numpy == direct == zarr == dask over random arrays, chunks and selections."""
        import zarr

        shapes = shapes_st(max_side=9, min_side=self.min_side, max_dims=self.max_dims, min_dims=self.min_dims)
        want = data.draw(arrays_st(dtypes_st(self.property_dtypes), shapes, orders="".join(self.orders)))
        chunks = data.draw(st.none() | chunk_shapes(want.shape))
        key = data.draw(basic_indices(want.shape))
        with tempfile.TemporaryDirectory() as folder:
            path = self.file(Path(folder), want)
            options = self.options(want)
            part = want[key]
            assert_same(packstore.open_array(path, self.component, chunks=chunks, **options)[key], part)
            lazy = packstore.from_file(path, self.component, chunks=chunks or "auto", **options)
            assert_same(lazy[key].compute(scheduler="synchronous"), part)
            store = packstore.open_store(path, chunks=chunks, **options)
            assert_same(zarr.open_array(store, path=self.component or "", mode="r")[...], want)

    def test_recognised(self, tmp_path: Path) -> None:
        """The format is found by content."""
        if READERS[self.format].sniffable:
            want = example(self.property_dtypes[0], (5, 6)[-self.max_dims :])
            assert locate(self.file(tmp_path, want)).format == self.format

    def test_pickles_as_a_path(self, tmp_path: Path) -> None:
        """Array, store and dask graph pickle small and read the same."""
        import zarr

        want = example(self.property_dtypes[0], (300, 70)[-self.max_dims :])
        path = self.file(tmp_path, want)
        options = self.options(want)
        array = packstore.open_array(path, self.component, **options)
        store = packstore.open_store(path, **options)
        lazy = packstore.from_file(path, self.component, **options)
        for obj in (array, store, lazy):
            assert len(pickle.dumps(obj)) < 20_000
        assert_same(pickle.loads(pickle.dumps(array))[...], want)
        again = pickle.loads(pickle.dumps(store))
        assert_same(zarr.open_array(again, path=self.component or "", mode="r")[...], want)
        assert_same(pickle.loads(pickle.dumps(lazy)).compute(scheduler="synchronous"), want)

    def test_changed_file_is_stale(self, tmp_path: Path) -> None:
        """A file that changed after it was opened is an error, never other values."""
        want = example(self.property_dtypes[0], (40, 30)[-self.max_dims :])
        path = self.file(tmp_path, want)
        array = packstore.open_array(path, self.component, **self.options(want))
        lazy = packstore.from_file(path, self.component, **self.options(want))
        assert_same(array[...], want)
        touched = path / self.touch if self.touch else path
        stat = os.stat(touched)
        os.utime(touched, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))
        with pytest.raises(StaleFileError, match="changed"):
            array[...]
        with pytest.raises(StaleFileError, match="changed"):
            lazy.compute(scheduler="synchronous")
