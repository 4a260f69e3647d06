"""The numpy dtypes of this package's data types as JSON, and arrays of them as bytes.

A numpy dtype, with h5py's ``vlen`` metadata on its object parts, is the whole description: an object element is what
``dtype.metadata["vlen"]`` says (``str`` and ``bytes``: bytes objects; a dtype: an ndarray of it).
"""

from __future__ import annotations

import contextlib
import itertools
import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from packstore.errors import CorruptDataError, DtypeError, message

__all__ = ["decode", "encode", "from_json", "item_dtype", "sequence", "to_json", "zeros"]

DType = np.dtype[Any]
Array = npt.NDArray[Any]

STRUCT, LONGDOUBLE, SEQUENCE = "packstore.struct", "packstore.longdouble", "packstore.vlen_sequence"
MAX_DEPTH = 32
# The simple types of the Zarr v2 specification, "Data type encoding"; long doubles have no fixed meaning there.
TYPE_STRING = re.compile(
    r"[<>|](?:b1|[iu][1248]|f[248]|c(?:8|16)|[SUV]\d{1,10}|[mM]8(?:\[\d*(?:generic|[YMWDhms]|[munpfa]s)\])?)"
)
TEXTS = {"string": str, "bytes": bytes}
# Long doubles by the bits of their mantissa.
FORMATS = {63: "x87", 112: "binary128", 105: "double_double", 104: "double_double", 52: "binary64"}


def item_dtype(dtype: DType) -> DType | type | None:
    """What an object element is: the dtype of a sequence's items, str or bytes; None where that is not known."""
    if dtype.kind != "O" or dtype.metadata is None:
        return None
    item: Any = dict(dtype.metadata).get("vlen")
    known: DType | type | None = None
    with contextlib.suppress(TypeError):
        known = item if item is None or item in (str, bytes) else np.dtype(item)
    return known


# -- JSON -------------------------------------------------------------------------------------------------------------


def to_json(dtype: DType, depth: int = 0) -> Any:
    """Describe `dtype`: a type string, "string", "bytes", or an object with ``name`` and ``configuration``.

    Raises
    ------
    DtypeError
        It cannot be described; the text says why.
    """
    if depth > MAX_DEPTH:
        raise DtypeError(f"zarr has no data types nested more than {MAX_DEPTH} deep")
    if dtype.names is not None:
        fields = [_field_to_json(dtype, name, depth) for name in dtype.names]
        if not fields or _least_nbytes(dtype) == 0:
            raise DtypeError("zarr has no data types of zero bytes")
        return {"name": STRUCT, "configuration": {"fields": fields, "item_size": dtype.itemsize}}
    if dtype.char in "gG":
        config = {
            "format": _format(),
            "item_size": dtype.itemsize,
            "endian": _endian(dtype),
            "complex": dtype.char == "G",
        }
        return {"name": LONGDOUBLE, "configuration": config}
    if dtype.kind == "O":
        item = item_dtype(dtype)
        if item is None:
            raise DtypeError("zarr has no data type for Python objects")
        if not isinstance(item, np.dtype):
            return "string" if item is str else "bytes"
        if item.itemsize == 0:
            raise DtypeError("zarr has no data types of zero bytes")
        described: dict[str, Any] = {"data_type": to_json(item.base, depth + 1)}
        if item.shape:
            described["shape"] = list(item.shape)
        return {"name": SEQUENCE, "configuration": described}
    if dtype.isbuiltin == 2 or not TYPE_STRING.fullmatch(dtype.str):
        raise DtypeError(f"zarr has no data type for {dtype}")
    return dtype.str


def _field_to_json(dtype: DType, name: str, depth: int) -> dict[str, Any]:
    assert dtype.fields is not None  # only called for structs
    member, offset = dtype.fields[name][:2]
    field = {"name": name, "data_type": to_json(member.base, depth + 1), "offset": offset}
    return {**field, "shape": list(member.shape)} if member.subdtype is not None else field


def _format() -> str:
    bits = int(np.finfo(np.longdouble).nmant)
    return FORMATS.get(bits, f"mantissa of {bits} bits")


def _endian(dtype: DType) -> str:
    return "little" if dtype.newbyteorder("<") == dtype else "big"


def from_json(data: Any, depth: int = 0) -> DType:
    """The dtype that `to_json` described.

    Raises
    ------
    DtypeError
        `data` is no such description, or describes the long double of another machine.
    """
    if depth > MAX_DEPTH:
        raise _malformed(f"at most {MAX_DEPTH} levels", "more")
    if isinstance(data, str):
        if data in TEXTS:
            return np.dtype("O", metadata={"vlen": TEXTS[data]})
        if not TYPE_STRING.fullmatch(data):
            raise _malformed("a type string", repr(data))
        return _numpy(data)
    if not isinstance(data, dict) or not isinstance(data.get("configuration"), dict):
        raise _malformed("a type string or an object with name and configuration", repr(data))
    config = data["configuration"]
    if data.get("name") == STRUCT:
        return _struct(config, depth)
    if data.get("name") == LONGDOUBLE:
        return _long_double(config)
    if data.get("name") == SEQUENCE:
        item = from_json(config.get("data_type"), depth + 1)
        shape = _shape(config["shape"]) if "shape" in config else ()
        if shape:
            item = _numpy((item, shape))
        return np.dtype("O", metadata={"vlen": item})
    raise _malformed(f"{STRUCT}, {LONGDOUBLE} or {SEQUENCE}", repr(data.get("name")))


def _struct(config: dict[str, Any], depth: int) -> DType:
    fields = config.get("fields")
    if not isinstance(fields, list) or not fields or not all(isinstance(f, dict) for f in fields):
        raise _malformed("a list of fields", repr(fields))
    formats = []
    for field in fields:
        member = from_json(field.get("data_type"), depth + 1)
        formats.append(_numpy((member, _shape(field["shape"]))) if "shape" in field else member)
    names = [f.get("name") for f in fields]
    if not all(isinstance(n, str) for n in names):
        raise _malformed("names that are text", repr(names))
    offsets = _shape([f.get("offset") for f in fields])
    (item_size,) = _shape([config.get("item_size")])
    return _numpy({"names": names, "formats": formats, "offsets": list(offsets), "itemsize": item_size})


def _long_double(config: dict[str, Any]) -> DType:
    dtype = np.dtype("G" if config.get("complex") is True else "g")
    here = {"format": _format(), "item_size": dtype.itemsize}
    stated = {key: config.get(key) for key in here}
    if stated != here:
        raise DtypeError(message(f"reading {LONGDOUBLE}", expected=f"this machine's {here}", got=stated))
    if config.get("endian") not in ("little", "big"):
        raise _malformed('endian "little" or "big"', repr(config.get("endian")))
    out: DType = dtype.newbyteorder(config["endian"])
    return out


def _shape(sizes: Any) -> tuple[int, ...]:
    if not isinstance(sizes, list) or not all(type(n) is int and n >= 0 for n in sizes):
        raise _malformed("numbers that are 0 or more", repr(sizes))
    return tuple(sizes)


def _numpy(spec: Any) -> DType:
    try:
        dtype: DType = np.dtype(spec)
    except (TypeError, ValueError, OverflowError) as why:
        raise DtypeError(message("reading a data type", expected="one that numpy can hold", got=why)) from None
    return dtype


def _malformed(expected: object, got: object) -> DtypeError:
    return DtypeError(message("reading a data type", expected=expected, got=got))


# -- bytes ------------------------------------------------------------------------------------------------------------


def _least_nbytes(dtype: DType) -> int:
    """The fewest bytes that `encode` makes of an element: all of them where nothing varies."""
    if dtype.subdtype is not None:
        return math.prod(dtype.shape) * _least_nbytes(dtype.base)
    if not dtype.hasobject:
        return dtype.itemsize
    if dtype.names is None:
        return 8
    return sum(_least_nbytes(dtype[name]) for name in dtype.names)


def significant(dtype: DType) -> npt.NDArray[np.bool_]:
    """Which bytes of an element of fixed size are part of its value: not the padding of structs and long doubles."""
    used = np.zeros(dtype.itemsize, np.bool_)
    if dtype.names is None:
        parts = used.reshape(2 if dtype.kind == "c" else 1, -1)
        if dtype.char in "gG" and _format() == "x87":
            parts[:, slice(0, 10) if _endian(dtype) == "little" else slice(-10, None)] = True
        else:
            parts[...] = True
        return used
    for name in dtype.names:
        member, offset = dtype.fields[name][:2]  # type: ignore[index]  # names means fields
        if member.itemsize:
            part = used[offset : offset + member.itemsize].reshape(-1, member.base.itemsize)
            part[...] = significant(member.base)
    return used


def zeros(shape: tuple[int, ...], dtype: DType) -> Array:
    """Elements whose stored bytes are all zero: the empty sequence or string where an element has a length."""
    if not dtype.hasobject:
        return np.zeros(shape, dtype)
    out = np.empty(shape, dtype)
    out[...] = decode(bytes(_least_nbytes(dtype)), 1, dtype).reshape(())
    return out


def sequence(value: object, dtype: DType) -> Any:
    """`value` as an object element of `dtype`; what was never written (None or 0) is empty."""
    item = item_dtype(dtype)
    while isinstance(value, np.ndarray) and value.dtype.kind == "O" and value.shape == ():
        value = value[()]  # as zarr hands over a single element, and fill values
    missing = value is None or (isinstance(value, (int, np.integer)) and value == 0)
    if not isinstance(item, np.dtype):
        if missing:
            return b""
        if isinstance(value, str):
            return value.encode("utf-8")
        return bytes(value)  # type: ignore[call-overload]  # anything else than bytes fails, as it should
    items = np.empty((0, *item.shape), item.base) if missing else np.asarray(value, item.base)
    if items.ndim != 1 + len(item.shape) or items.shape[1:] != item.shape:
        raise CorruptDataError(message("encoding a sequence", expected=f"items of {item}", got=f"shape {items.shape}"))
    return items


def encode(array: Array, dtype: DType) -> npt.NDArray[np.uint8]:
    """The bytes of `array`, in C order: column by column, each with its lengths (uint64, little-endian) first.

    Elements of fixed size are their bytes. A struct with variable-length members is one member of all elements after
    the other. Of sequences and strings come first the lengths of all, in items, then all items as one run.

    Notes
    -----
    A view where nothing varies and the array is contiguous, else a copy.
    """
    parts = list(_encoded(np.ascontiguousarray(array).reshape(-1), dtype))
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _encoded(values: Array, dtype: DType) -> Iterator[npt.NDArray[np.uint8]]:
    if not dtype.hasobject:
        values = np.ascontiguousarray(values, dtype)
        yield values.view(np.uint8) if values.nbytes else np.empty(0, np.uint8)
        return
    if dtype.names is not None:
        for name in dtype.names:
            yield from _encoded(values[name].reshape(-1), dtype[name].base)
        return
    item = item_dtype(dtype)
    # Python objects can only be taken one by one.
    found = [sequence(value, dtype) for value in values.tolist()]
    yield np.array([len(v) for v in found], "<u8").view(np.uint8)
    if not isinstance(item, np.dtype):
        yield np.frombuffer(b"".join(found), np.uint8)
    elif found:
        yield from _encoded(np.concatenate(found).reshape(-1), item.base)


def decode(data: Any, count: int, dtype: DType) -> Array:
    """`count` elements from the bytes that `encode` made.

    Raises
    ------
    CorruptDataError
        Too few bytes, or bytes left over.

    Notes
    -----
    A read-only view where nothing varies. Lengths are held against the bytes that are there before memory is taken.
    """
    cursor = _Cursor(np.frombuffer(data, np.uint8))
    out = _decoded(cursor, count, dtype)
    if cursor.left:
        raise CorruptDataError(
            message("decoding elements", expected=f"{count} of {dtype}", got=f"{cursor.left} bytes more")
        )
    return out


class _Cursor:
    def __init__(self, data: npt.NDArray[np.uint8]) -> None:
        self.data = data
        self.at = 0

    @property
    def left(self) -> int:
        return self.data.nbytes - self.at

    def check(self, count: int, dtype: DType) -> None:
        if count * _least_nbytes(dtype) > self.left:
            raise CorruptDataError(
                message("decoding elements", expected=f"{count} of {dtype}", got=f"the last {self.left} bytes for them")
            )

    def take(self, nbytes: int) -> npt.NDArray[np.uint8]:
        self.at += nbytes
        return self.data[self.at - nbytes : self.at]


def _decoded(cursor: _Cursor, count: int, dtype: DType) -> Array:
    cursor.check(count, dtype)
    if not dtype.hasobject:
        raw = cursor.take(count * dtype.itemsize)
        return np.ndarray((count,), dtype, raw) if raw.nbytes else np.empty((count,), dtype)
    if dtype.names is not None:
        out = np.zeros((count,), dtype)
        for name in dtype.names:
            member = dtype[name]
            column = _decoded(cursor, count * math.prod(member.shape), member.base)
            out[name] = column.reshape((count, *member.shape))
        return out
    item = item_dtype(dtype)
    assert item is not None
    lengths = cursor.take(8 * count).view("<u8")
    if count and int(lengths.max()) > cursor.left:
        raise CorruptDataError(
            message("decoding elements", expected=f"at most {cursor.left} items", got=f"a length of {lengths.max()}")
        )
    # Python's integers: the sum of lengths that lie may be any size.
    ends = list(itertools.accumulate(lengths.tolist(), initial=0))
    total = ends[-1]
    out = np.empty((count,), dtype)
    # Each element on its own memory: one that is kept must not hold the whole chunk.
    if isinstance(item, np.dtype):
        items = _decoded(cursor, total * math.prod(item.shape), item.base).reshape((total, *item.shape))
        for i, (start, end) in enumerate(itertools.pairwise(ends)):
            out[i] = items[start:end].copy()
    else:
        cursor.check(total, np.dtype(np.uint8))
        text = cursor.take(total).tobytes()
        for i, (start, end) in enumerate(itertools.pairwise(ends)):
            out[i] = text[start:end]
    return out
