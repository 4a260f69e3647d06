"""Whether two blocks hold the same values, across dtypes, and where the first difference is."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from packstore.core.typing import Array

__all__ = ["comparable", "first_difference"]


_TEXT = "SUTO"


def comparable(a: np.dtype[Any], b: np.dtype[Any]) -> bool:
    """Whether values of the two types can be equal: numbers with numbers, text with text, structs field by field.

    Examples
    --------
    >>> import numpy as np
    >>> comparable(np.dtype("<i2"), np.dtype(">f8")), comparable(np.dtype("S3"), np.dtype("M8[s]"))
    (True, False)
    """
    if a.subdtype or b.subdtype:
        return a.shape == b.shape and comparable(a.base, b.base)
    if a.names or b.names:
        return a.names == b.names and all(comparable(a[n], b[n]) for n in a.names or ())
    return a == b or _family(a) == _family(b)


def _family(dtype: np.dtype[Any]) -> str:
    """Types whose values can be compared share a name."""
    if dtype.kind in "biufc" or (dtype.kind == "V" and dtype.type is not np.void):
        return "number"  # "V" with a scalar type of its own: bfloat16, float8 and int4 of ml_dtypes
    if dtype.kind in _TEXT:
        return "text"
    # Times with their like only, void with the same void.
    return dtype.kind if dtype.kind in "mM" else dtype.str


def first_difference(a: Array, b: Array) -> tuple[int, ...] | None:
    """Index of the first unequal element in C order, or None.

    Parameters
    ----------
    a, b
        Of one shape and of types that are `comparable`.

    Notes
    -----
    NaN equals NaN whatever its bits, NaT equals NaT, and 0.0 equals -0.0. Integers are held against floats exactly,
    and bytes against text as UTF-8.

    Examples
    --------
    >>> import numpy as np
    >>> first_difference(np.array([1.0, np.nan]), np.array([1.0, np.nan])), first_difference(np.eye(2), np.ones((2, 2)))
    (None, (0, 1))
    >>> first_difference(np.array([2**53 + 1]), np.array([2.0**53]))
    (0,)
    """
    if a.dtype.names:
        found = [first_difference(a[name], b[name]) for name in a.dtype.names]
        # A field may be an array: its own axes come last.
        return min((f[: a.ndim] for f in found if f is not None), default=None)
    unequal = _unequal(a, b)
    if not unequal.any():
        return None
    return tuple(int(i) for i in np.unravel_index(int(unequal.argmax()), a.shape))


def _unequal(a: Array, b: Array) -> npt.NDArray[np.bool_]:
    kinds = a.dtype.kind + b.dtype.kind
    if "O" in kinds or (kinds != "SS" and "S" in kinds):
        # Objects (strings, bytes, sequences of variable length) and bytes against text: numpy compares none of them.
        pairs = zip(a.reshape(-1).tolist(), b.reshape(-1).tolist(), strict=True)
        return np.fromiter((not _same(x, y) for x, y in pairs), np.bool_, a.size).reshape(a.shape)
    if kinds[0] in "biu" and kinds[1] in "fc":
        return _int_unlike_float(a, b)
    if kinds[0] in "fc" and kinds[1] in "biu":
        return _int_unlike_float(b, a)
    if a.dtype != b.dtype and "V" in kinds:
        # Types of ml_dtypes know no others: all of theirs fit a double.
        a, b = (x.astype(np.float64) if x.dtype.kind == "V" else x for x in (a, b))
        return _unequal(a, b)
    unequal = np.asarray(a != b)
    if unequal.any() and kinds[0] not in "biuSUT":
        unequal &= ~np.asarray((a != a) & (b != b))
    return unequal


def _same(x: Any, y: Any) -> bool:
    if isinstance(x, np.ndarray) or isinstance(y, np.ndarray):
        x, y = np.asarray(x), np.asarray(y)
        return x.shape == y.shape and comparable(x.dtype, y.dtype) and first_difference(x, y) is None
    x, y = (v.encode("utf-8", "surrogatepass") if isinstance(v, str) else v for v in (x, y))
    return bool(x == y) or bool(x != x and y != y)


def _int_unlike_float(ints: Array, floats: Array) -> npt.NDArray[np.bool_]:
    """Where they differ, without rounding the integers to floats."""
    unequal = np.zeros(ints.shape, np.bool_)
    if floats.dtype.kind == "c":
        unequal |= floats.imag != 0
        floats = floats.real
    if ints.dtype.kind == "b":
        ints = ints.view(np.uint8)
    if floats.dtype.itemsize < 8:
        floats = floats.astype(np.float64)
    limits = np.iinfo(ints.dtype)
    # NaN compares false. The upper limit plus one is a power of two, which every float type here holds.
    inside = (floats >= float(limits.min)) & (floats < 2.0 ** int(limits.max).bit_length())
    whole = np.where(inside, floats, 0)
    as_ints = whole.astype(ints.dtype)
    unequal |= ~inside | (whole != np.trunc(whole)) | (as_ints != ints)
    return unequal
