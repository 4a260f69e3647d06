"""Shared by the bit map tests: model arrays, layouts and random keys."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from packstore.views.bitmemmap import BitMemmap, open_memmap

_number = itertools.count()
_folder = tempfile.TemporaryDirectory(prefix="bitmemmap-tests-")


def fresh_path() -> str:
    return os.path.join(_folder.name, f"{next(_number)}.bits")


def write_packed(path: str, mask: Any, axis: int | None, bitorder: Any, offset: int = 0) -> None:
    with open(path, "wb") as f:
        f.write(b"\xa5" * offset)
        f.write(np.packbits(mask, axis=axis, bitorder=bitorder).tobytes())


@contextmanager
def mapped(mask: Any, axis: int | None, bitorder: Any, offset: int = 0, mode: Any = "r+") -> Iterator[BitMemmap]:
    path = fresh_path()
    write_packed(path, mask, axis, bitorder, offset)
    try:
        with open_memmap(path, mode, mask.shape, axis, bitorder, offset) as m:
            yield m
    finally:
        os.unlink(path)


def stored(m: BitMemmap) -> bytes:
    m.flush()
    with open(m.filename, "rb") as f:
        return f.read()


def expected_bytes(mask: Any, m: BitMemmap) -> bytes:
    return b"\xa5" * m.offset + np.packbits(mask, axis=m.axis, bitorder=m.bitorder).tobytes()


def check_same(m: BitMemmap, model: Any) -> None:
    """The file is byte for byte what numpy packs, padding and offset bytes included."""
    assert stored(m) == expected_bytes(model, m)


def bools(shape: tuple[int, ...], seed: int = 0) -> Any:
    return np.asarray(np.random.default_rng(seed).random(shape) < 0.5)


shapes = hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=19)


ORDERS: tuple[Literal["little"], Literal["big"]] = ("little", "big")


@st.composite
def layouts(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[int | None, Literal["little", "big"], int]:
    axis = (
        draw(st.sampled_from([None, *range(-len(shape), len(shape))]))
        if shape
        else draw(st.sampled_from([None, -1, 0]))
    )
    return axis, draw(st.sampled_from(ORDERS)), draw(st.sampled_from([0, 1, 8, 13]))


@st.composite
def models(draw: st.DrawFn) -> Any:
    shape = draw(
        st.one_of(
            shapes, st.just(()), st.tuples(st.integers(0, 3), st.integers(60, 200)), st.tuples(st.integers(60, 200))
        )
    )
    return bools(shape, draw(st.integers(0, 1000)))


# What numpy takes for an index besides int.
KINDS_OF_INT: list[Callable[[int], Any]] = [np.int64, np.int16, np.array]


@st.composite
def keys(draw: st.DrawFn, shape: tuple[int, ...]) -> Any:
    """Keys of every kind numpy takes, mixed; some broadcast badly, which must fail in both."""
    entries: list[Any] = []
    axis = 0
    fancy_shape = draw(hnp.array_shapes(min_dims=1, max_dims=2, min_side=0, max_side=5))
    ellipsis = False
    while axis < len(shape):
        n = shape[axis]
        kind = draw(
            st.sampled_from(
                ["int", "slice", "slice", "array", "array", "mask", "none", "ellipsis", "stop", "true", "npint"]
            )
        )
        if kind in ("int", "npint"):
            if n == 0:
                entries.append(slice(None))
            else:
                i = draw(st.integers(-n, n - 1))
                entries.append(i if kind == "int" else draw(st.sampled_from(KINDS_OF_INT))(i))
            axis += 1
        elif kind == "slice":
            entries.append(draw(st.slices(n)))
            axis += 1
        elif kind == "array":
            target = draw(st.sampled_from([fancy_shape, fancy_shape[-1:], (1,)]))
            if n == 0:
                entries.append(np.zeros((0,), np.intp))
            else:
                dtype = draw(st.sampled_from([np.int64, np.int8 if n < 128 else np.int16, np.int32]))
                entries.append(draw(hnp.arrays(dtype, target, elements=st.integers(-n, n - 1))))
                if draw(st.booleans()):
                    entries[-1] = entries[-1].tolist()
            axis += 1
        elif kind == "mask":
            k = draw(st.integers(1, len(shape) - axis))
            entries.append(bools(shape[axis : axis + k], draw(st.integers(0, 100))))
            axis += k
        elif kind == "none":
            entries.append(None)
        elif kind == "true" and draw(st.integers(0, 5)) == 0:
            entries.append(draw(st.sampled_from([True, False, np.True_])))
        elif kind == "ellipsis" and not ellipsis:
            ellipsis = True
            entries.append(Ellipsis)
            axis += draw(st.integers(0, len(shape) - axis))
        elif kind == "stop":
            break
        if len(entries) > 8:
            break
    if draw(st.integers(0, 6)) == 0 and not ellipsis:
        entries.append(Ellipsis)
    if len(entries) == 1 and draw(st.booleans()):
        return entries[0]
    return tuple(entries)
