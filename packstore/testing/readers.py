"""Conformance of a file format: subclass :class:`ReaderTests`, say how to write an array, and run pytest.

Every way to open a file must give numpy's values: ``open_array``, ``open_store`` through zarr, and ``from_file``.
"""

from __future__ import annotations

import os
import pickle
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import hypothesis.strategies as st
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings

import packstore
from packstore import zarr_types
from packstore.errors import StaleFileError, UnsupportedError
from packstore.readers import locate

__all__ = ["DTYPES", "SELECTIONS", "SHAPES", "ReaderTests", "assert_same", "example"]

DType = np.dtype[Any]

NESTED = [("a", "<i2"), ("b", [("x", ">f4"), ("y", "S3")]), ("c", "u1", (2, 2))]
DTYPES: tuple[Any, ...] = (
    "?", "i1", "<i2", ">i4", "<i8", "u1", ">u2", "<u4", ">u8",
    "<f2", ">f2", "<f4", ">f8", "longdouble", "<c8", ">c16", "clongdouble",
    "<M8[ns]", ">M8[D]", "<m8[25us]", "S5", "<U3", ">U3", "V3",
    [("x", "<f4"), ("y", "?")], NESTED,
)  # fmt: skip
SHAPES: tuple[tuple[int, ...], ...] = ((), (0,), (7,), (5, 3), (4, 1, 6), (2, 0, 3), (3, 2, 2, 2))
SELECTIONS: tuple[Any, ...] = (
    ..., 0, -1, (2, 3), slice(1, 6, 2), slice(None, None, -1), (slice(5, 1, -2), ..., 0), (None, 1, slice(2, 2)),
    (..., slice(1, None, 3)), (slice(-3, 100), 1), (1, 2, 3), (..., None), slice(9, 2),
)  # fmt: skip


def example(dtype: Any, shape: Sequence[int], order: str = "C", seed: int = 0) -> npt.NDArray[Any]:
    """An array of varied values (NaN, infinities, NaT, extremes) that only depends on the arguments."""
    dtype = np.dtype(dtype)
    rng = np.random.default_rng([seed, *shape])
    size = int(np.prod(shape))
    if dtype.names is not None:
        out = np.zeros(size, dtype)
        for i, name in enumerate(dtype.names):
            field = dtype.fields[name][0]  # type: ignore[index]  # a structured dtype has fields
            out[name] = example(field.base, (size, *field.shape), seed=seed + i + 1)
    elif dtype.kind == "b":
        out = rng.integers(0, 2, size).astype(dtype)
    elif dtype.kind in "fc":
        values = rng.standard_normal(size) * 100
        values[: min(size, 4)] = [np.nan, np.inf, -np.inf, -0.0][: min(size, 4)]
        out = values.astype(dtype)
        if dtype.kind == "c":
            out.imag = values[::-1]
    elif dtype.kind in "SU":
        words = np.array(["", "a", "Zoë" if dtype.kind == "U" else "xyz", "b\x00c", "long"])
        out = words[rng.integers(0, 5, size)].astype(dtype)
    else:
        raw = rng.integers(0, 256, size * dtype.itemsize, dtype=np.uint8)
        out = raw.view(dtype) if dtype.kind == "V" else raw.view(f"u{dtype.itemsize}").astype(dtype.str.replace("m", "i")
                                                                                          if False else "i8").astype(dtype)
    return np.asarray(out.reshape(shape), order=order)  # type: ignore[call-overload]  # order is C or F
