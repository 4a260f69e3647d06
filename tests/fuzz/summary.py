"""What a reader says of a file, for two processes to compare: by name a shape, a type and a hash, or an error."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np

__all__ = ["MAX_ELEMENTS", "MAX_NBYTES", "Summary", "box_of", "of_array", "of_error", "summary_of"]

# Of each array: ["ok", shape, kind, hash], or ["error", the exception's type and text].
Summary = dict[str, list[Any]]

# Of larger arrays both readers read the first elements only.
MAX_NBYTES, MAX_ELEMENTS = 1 << 22, 1 << 16


def box_of(shape: tuple[int, ...], itemsize: int) -> tuple[slice, ...]:
    """The box at the beginning that both readers read: all of the array, if it is not too large."""
    room = max(min(MAX_NBYTES // max(itemsize, 1), MAX_ELEMENTS), 1)
    if math.prod(shape) <= room:
        return tuple(slice(0, n) for n in shape)
    side = max(int(room ** (1 / len(shape))), 1)
    return tuple(slice(0, min(n, side)) for n in shape)


def summary_of(read: Callable[[], Any], shape: tuple[int, ...]) -> list[Any]:
    """What one array is, by a function that reads its box."""
    try:
        return of_array(read(), shape)
    except MemoryError as error:
        return of_error(error)
    except Exception as error:
        return of_error(error)


def of_error(error: BaseException) -> list[Any]:
    """The error that stands for an array."""
    return ["error", f"{type(error).__name__}: {error}"[:400]]


def of_array(value: Any, shape: tuple[int, ...]) -> list[Any]:
    """The values, whatever the byte order, the width of text, and the class of bytes in variable-length elements."""
    digest = hashlib.sha1()
    found = np.asarray(value)
    if shape == () and found.shape != ():
        # h5py gives the bare sequence for a scalar of a variable-length type.
        found, inner = np.empty((), object), found
        found[()] = inner
    kind = _digest(found, digest)
    return ["ok", list(shape), kind, digest.hexdigest()]


def _digest(value: np.ndarray[Any, Any], digest: Any) -> str:
    dtype = value.dtype
    if dtype.names is not None:
        kinds = [_digest(np.asarray(value[name]), digest) for name in dtype.names]
        return f"({','.join(kinds)})"
    if dtype.kind == "U" and value.size and (value.astype(dtype.newbyteorder("=")).view("u4") > 0x10FFFF).any():
        # Characters that there are not, of which Python makes no text.
        digest.update(np.ascontiguousarray(value).tobytes())
        return "text"
    if dtype.kind in "SUTO":
        for item in value.reshape(-1).tolist():
            _digest_item(item, digest)
        return "text"
    if dtype.kind == "V":
        digest.update(value.tobytes())
        return f"V{dtype.itemsize}"
    if dtype.kind in "iub":
        # An enumeration of two is bool for one reader and int8 for the other.
        value = value.astype(np.uint8 if dtype.kind == "b" else dtype.newbyteorder("<"), copy=False)
        digest.update(np.ascontiguousarray(value).tobytes())
        return f"i{dtype.itemsize}"
    if dtype.char in "gG":
        # An x86 long double has 10 bytes, and padding that nobody sets.
        value = value.astype("c16" if dtype.char == "G" else "f8")
        dtype = value.dtype
    native = np.ascontiguousarray(value.astype(dtype.newbyteorder("<"), copy=False))
    digest.update(native.tobytes())
    return f"{dtype.kind}{dtype.itemsize}"


def _digest_item(item: Any, digest: Any) -> None:
    if isinstance(item, str):
        item = item.encode("utf-8", "surrogateescape")
    if item is None or (isinstance(item, int) and item == 0):
        item = b""
    if isinstance(item, bytes):
        # Padding is no part of text.
        digest.update(item.rstrip(b"\0 ") + b"\n")
    elif isinstance(item, (np.ndarray, list, tuple)):
        inner = np.asarray(item)
        digest.update(b"[" + (_digest(inner, digest) if inner.size else "").encode() + b"]")
    else:
        digest.update(repr(item).encode("utf-8", "backslashreplace") + b"\n")
