"""dtypes that zarr itself cannot say, elements of them, and how to compare those."""

from __future__ import annotations

from typing import Any

import h5py
import numpy as np

TEXT = h5py.string_dtype()
PADDED = np.dtype({"names": ["a", "b"], "formats": [">i2", ("<f8", (2,))], "offsets": [20, 2], "itemsize": 30})
# zarr can have these by packstore's own data types.
FIXED: list[Any] = [
    *("g", "G", ">g", ">G"),
    [("a", "f4", (3,)), ("b", ">i2")],
    [("n", "?"), ("t", "M8[10us]", (2,)), ("s", "S3"), ("u", ">U2"), ("v", "V3"), ("c", ">c8")],
    [("in", [("x", "u1", (2, 2))], (2,)), ("g", ">G")],
    PADDED,
]
# zarr cannot have these.
VARIABLE = [
    h5py.vlen_dtype(np.dtype(">i2")),
    h5py.vlen_dtype(np.dtype("g")),
    h5py.vlen_dtype(PADDED),
    h5py.vlen_dtype(np.dtype(("f4", (3,)))),
    h5py.vlen_dtype(TEXT),
    h5py.vlen_dtype(h5py.vlen_dtype(np.dtype("i4"))),
    np.dtype([("s", TEXT), ("n", "i4")]),
    np.dtype([("v", h5py.vlen_dtype(np.dtype("f8")), (2,)), ("b", h5py.string_dtype("ascii")), ("p", PADDED)]),
    h5py.vlen_dtype(np.dtype([("s", TEXT), ("n", "u1")])),
]


def example(dtype: np.dtype[Any], count: int, rng: np.random.Generator) -> Any:
    """`count` elements; sequences of 0 to 3 items."""
    out = np.zeros(count, dtype)
    if dtype.names is not None:
        for name in dtype.names:
            member = dtype[name]
            column = example(member.base, count * int(np.prod(member.shape)), rng)
            out[name] = column.reshape(count, *member.shape)
    elif dtype.kind == "O":
        item = h5py.check_vlen_dtype(dtype)
        for i in range(count):
            n = int(rng.integers(4))
            if isinstance(item, np.dtype):
                flat = example(item.base, n * int(np.prod(item.shape)), rng)
                out[i] = flat.reshape(n, *item.shape)
            else:
                out[i] = ["", "a", "é\0", "xyz"][n].encode()
    elif dtype.kind in "US":
        out[:] = rng.choice(np.array(["", "a", "xy"]), count).astype(dtype)
    elif dtype.kind == "V":
        out = np.frombuffer(rng.bytes(count * dtype.itemsize), dtype).copy()
    elif dtype.kind in "mM":
        out[:] = rng.integers(-9, 9, count)
    else:
        out[:] = rng.integers(0, 2 if dtype.kind == "b" else 100, count)
    return out


def same(x: Any, y: Any) -> None:
    """Equal, element by element, with their dtypes."""
    if isinstance(x, np.generic) or isinstance(y, np.generic):
        x, y = np.asarray(x), np.asarray(y)
    assert type(x) is type(y)
    if not isinstance(x, np.ndarray):
        assert x == y
        return
    assert x.shape == y.shape and x.dtype == y.dtype
    if x.dtype.names is not None:
        for name in x.dtype.names:
            same(x[name], y[name])
    elif x.dtype.kind == "O":
        for a, b in zip(x.ravel().tolist(), y.ravel().tolist(), strict=True):
            same(a, b)
    else:
        np.testing.assert_array_equal(x, y)
