"""Hypothesis strategies for arrays, their chunkings and their selections. Needs hypothesis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import hypothesis.extra.numpy as npst
import hypothesis.strategies as st
import numpy as np
from numpy.typing import NDArray

__all__ = ["PLAIN_DTYPES", "arrays_st", "basic_indices", "chunk_shapes", "dtypes_st", "shapes_st"]

PLAIN_DTYPES = (
    *("bool", "int8", "uint8"),
    *(
        f"{order}{code}"
        for order in "<>"
        for code in ("i2", "u2", "i4", "u4", "i8", "u8", "f2", "f4", "f8", "c8", "c16")
    ),
)
"""Names of the plain data types, each multi-byte one in both byte orders."""


def dtypes_st(names: Sequence[str] = PLAIN_DTYPES) -> st.SearchStrategy[np.dtype[Any]]:
    """Data types out of `names`: bool, integers, floats, complex, little- and big-endian."""
    return st.sampled_from([np.dtype(name) for name in names])


def shapes_st(
    *, min_dims: int = 0, max_dims: int = 4, min_side: int = 0, max_side: int = 20
) -> st.SearchStrategy[tuple[int, ...]]:
    """Array shapes, 0-d and empty ones among them."""
    return npst.array_shapes(min_dims=max(1, min_dims), max_dims=max_dims, min_side=min_side, max_side=max_side) | (
        st.just(()) if min_dims == 0 else st.nothing()
    )


@st.composite
def arrays_st(
    draw: st.DrawFn,
    dtype: Any = None,
    shape: Any = None,
    *,
    orders: str = "CF",
    raw_bits: bool = False,
) -> NDArray[Any]:
    """Arrays with contents that differ from place to place.

    Parameters
    ----------
    dtype
        A data type or a strategy of them; `dtypes_st` by default.
    shape
        A shape or a strategy of them; `shapes_st` by default.
    orders
        Layouts to choose from: ``"C"``, ``"F"``, and ``"S"`` for a strided view of something larger.
    raw_bits
        Whether floats may be any bit pattern (NaN payloads, subnormals) instead of finite eighths.

    Returns
    -------
    SearchStrategy
        Of numpy arrays. The values come from a drawn seed, so a failing example shrinks in shape and type.
    """
    if dtype is None:
        dtype = dtypes_st()
    if shape is None:
        shape = shapes_st()
    dt = np.dtype(draw(dtype) if isinstance(dtype, st.SearchStrategy) else dtype)
    dims: tuple[int, ...] = tuple(draw(shape) if isinstance(shape, st.SearchStrategy) else shape)
    order = draw(st.sampled_from(orders))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    full = tuple(2 * n for n in dims) if order == "S" else dims
    array = _values(rng, full, dt, raw_bits)
    if order == "S":
        array = array[tuple(slice(None, None, 2) for _ in dims)]
    elif order == "F":
        array = np.asfortranarray(array)
    return array


def _values(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any], raw_bits: bool) -> NDArray[Any]:
    if dtype.kind == "b":
        return np.asarray(rng.random(shape) < rng.random())
    if raw_bits or dtype.kind in "iu":
        count = int(np.prod(shape, dtype=np.int64))
        return np.frombuffer(rng.bytes(count * dtype.itemsize), np.uint8).copy().view(dtype).reshape(shape)
    values = rng.integers(-1000, 1000, shape) / 8
    if dtype.kind == "c":
        return (values + 1j * (rng.integers(-1000, 1000, shape) / 8)).astype(dtype)
    return np.asarray(values).astype(dtype)


@st.composite
def chunk_shapes(draw: st.DrawFn, shape: Sequence[int], *, max_chunks: int = 64) -> tuple[int, ...]:
    """Chunk shapes for an array of `shape`: at least 1 and at most the axis, and few enough chunks to be quick."""
    chosen: list[int] = []
    budget = max_chunks
    for n in shape:
        least = max(1, -(-n // max(1, budget)))
        c = draw(st.integers(least, max(least, n)))
        chosen.append(c)
        budget //= max(1, -(-n // c))
    return tuple(chosen)


def basic_indices(
    shape: Sequence[int], *, allow_newaxis: bool = True, allow_ellipsis: bool = True
) -> st.SearchStrategy[Any]:
    """Numpy's basic selections: ints, slices with any step, Ellipsis, newaxis, or a tuple of them.

    Parameters
    ----------
    shape
        Of the array.
    allow_newaxis, allow_ellipsis
        zarr, unlike numpy, has no newaxis.
    """
    build: Any = npst.basic_indices  # its overloads do not take a plain bool
    indices: st.SearchStrategy[Any] = build(
        tuple(shape),
        allow_newaxis=allow_newaxis,
        allow_ellipsis=allow_ellipsis,
        max_dims=len(shape) + 2 if allow_newaxis else None,
    )
    return indices
