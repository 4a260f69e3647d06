"""numpy's part of a pickle: which symbolic calls are dtypes and arrays, and where the elements are.

What numpy writes: ``ndarray.__reduce__`` and ``__reduce_ex__``, ``dtype.__reduce__`` (numpy/_core/src/multiarray/), and
joblib's ``NumpyArrayWrapper`` (joblib/numpy_pickle.py), whose elements follow its BUILD opcode as plain bytes.
"""

from __future__ import annotations

import codecs
import math
import re
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np

from packstore.core.typing import Bytes
from packstore.errors import CorruptDataError, FormatError, TruncatedFileError, message
from packstore.readers.npy.header import check_shape, unsupported_dtype
from packstore.readers.pickle.machine import run
from packstore.readers.pickle.values import Blob, Call, Cursor, Global, Opaque, Pairs, text_blob
from packstore.source import ByteSpace, RangeReads, Source
from packstore.source.cache import PICKLES

__all__ = ["DecodedText", "Elements", "Refused", "array_of", "dtype_of", "follow_joblib", "plain_text", "what_is"]


_CORE = ("numpy.core.multiarray", "numpy._core.multiarray")
_FUNCTIONS = {(m, n) for m in _CORE for n in ("_reconstruct", "scalar")} | {
    (m, "_frombuffer") for m in ("numpy.core.numeric", "numpy._core.numeric")
}
_ARRAY_TYPES = {
    ("numpy", "ndarray"),
    ("numpy", "memmap"),
    ("numpy.core.memmap", "memmap"),
    ("numpy._core.memmap", "memmap"),
}
_JOBLIB = ("joblib.numpy_pickle", "NumpyArrayWrapper")
_CODE = re.compile(r"[?bhilqpuBHILQPefdgFDGSUVOMmcs][0-9]{0,9}\Z")
_LATIN1 = ("latin1", "latin-1")


class Refused(Exception):
    """The object is no array that can be served; the text says what it is."""


@dataclass(frozen=True)
class Elements:
    """An array: its elements as they lie in `blob`. `axes` permutes an array that is C-ordered in `shape`."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: Literal["C", "F"]
    blob: Blob
    axes: tuple[int, ...] | None = None


def what_is(value: Any) -> str:
    """The name of a symbolic value, for refusals."""
    for _ in range(8):
        if isinstance(value, Global):
            return str(value)
        if isinstance(value, Opaque):
            return value.what
        if not isinstance(value, Call):
            break
        args = value.args if isinstance(value.args, tuple) else ()
        maker = isinstance(value.func, Global) and value.func.name in ("_reconstruct", "_reconstructor", "__newobj__")
        value = args[0] if maker and args and isinstance(args[0], Global) else value.func
    return "bytes" if isinstance(value, Blob) else type(value).__name__


def _key(value: Any) -> tuple[str, str] | None:
    return (value.module, value.name) if isinstance(value, Global) else None


def blob_of(value: Any) -> Blob | None:
    """Where pickled bytes are, protocols 0 to 2 included; None for anything but bytes."""
    if isinstance(value, Blob):
        return value if value.coding in ("raw", "repr") else None
    if isinstance(value, Call) and isinstance(value.args, tuple):
        key = _key(value.func)
        if key == ("_codecs", "encode") and len(value.args) == 2 and value.args[1] in _LATIN1:
            return text_blob(value.args[0])
        if key in (("__builtin__", "bytes"), ("builtins", "bytes")) and value.args == ():
            return Blob(0, 0)
        if key in (("__builtin__", "bytearray"), ("builtins", "bytearray")) and value.args:
            text = text_blob(value.args[0]) if len(value.args) == 2 and value.args[1] in _LATIN1 else None
            inner = value.args[0]
            # Bytes only: a bytearray of a bytearray is nothing that pickle writes.
            plain = isinstance(inner, Blob) or (isinstance(inner, Call) and _key(inner.func) == ("_codecs", "encode"))
            return text or (blob_of(inner) if plain and len(value.args) == 1 else None)
    return None


def plain_text(value: Any, source: ByteSpace) -> str | None:
    """A short text, also one that Python 2 stored as bytes; None for anything else."""
    if isinstance(value, str):
        return str(value)
    blob = blob_of(value)
    if blob is None or blob.nbytes > 4096:
        return None
    try:
        return _decode(bytes(source.read_ranges([(blob.offset, blob.nbytes)])[0]), blob.coding).decode("utf-8")
    except (UnicodeError, ValueError):
        return None


# What Python writes no string with, keeps as it is when it reads one, and warns of.
_UNKNOWN_ESCAPE = re.compile(rb"(?s)(?<!\\)(?:\\\\)*(\\[^\\'\"abfnrtvx0-7\n]|\\[4-7][0-7][0-7])")


def _decode(raw: bytes, coding: str) -> bytes:
    if coding == "raw":
        return raw
    if coding == "repr":
        text = raw.strip()
        if len(text) < 2 or text[:1] != text[-1:] or text[:1] not in (b"'", b'"'):
            raise ValueError("no quoted string")
        if unknown := _UNKNOWN_ESCAPE.search(text):
            raise ValueError(f"the escape {unknown[1]!r}")
        return codecs.escape_decode(text[1:-1])[0]
    return raw.decode(coding, "surrogatepass" if coding == "utf-8" else "strict").encode("latin-1")


class DecodedText(RangeReads):
    """Array data that protocols 0 to 2 keep as text, decoded when they are read."""

    __slots__ = ("blob", "name", "nbytes", "source")

    def __init__(self, source: Source, blob: Blob, nbytes: int) -> None:
        self.source = source
        self.blob = blob
        self.nbytes = nbytes
        self.name = source.name

    def pread(self, offset: int, nbytes: int) -> Bytes:
        if offset < 0 or nbytes < 0 or offset + nbytes > self.nbytes:
            raise TruncatedFileError(
                message(f"reading at offset {offset} of", self.name, expected=f"{nbytes} bytes", got=self.nbytes)
            )
        return self.view()[offset : offset + nbytes]

    def view(self) -> Bytes:
        self.source.check()
        found = PICKLES.get(self.source.fingerprint, self.blob)
        if found is None:
            try:
                stored = self.source.read_ranges([(self.blob.offset, self.blob.nbytes)])[0]
                data = _decode(bytes(stored), self.blob.coding)
            except (UnicodeError, ValueError) as error:
                raise CorruptDataError(
                    message("decoding array data of", self.name, expected="latin-1 text", got=error)
                ) from None
            if len(data) != self.nbytes:
                raise CorruptDataError(
                    message("decoding array data of", self.name, expected=f"{self.nbytes} bytes", got=len(data))
                )
            found = np.frombuffer(data, np.uint8)
            PICKLES.put(self.source.fingerprint, self.blob, found)
        return found


def dtype_of(value: Any, source: ByteSpace, depth: int = 0) -> np.dtype[Any]:
    """The dtype that a symbolic value stands for.

    Raises
    ------
    Refused
        It is none, or one of another package.
    """
    if not isinstance(value, Call) or _key(value.func) != ("numpy", "dtype") or depth > 32:
        raise Refused(f"a dtype made by {what_is(value)}")
    args = value.args if isinstance(value.args, tuple) else ()
    code = plain_text(args[0], source) if args else None
    if code is None:
        raise Refused(f"a dtype of {what_is(args[0]) if args else 'nothing'}")
    if not _CODE.match(code) or len(args) > 3 or not all(isinstance(flag, int) for flag in args[1:]):
        raise Refused(f"dtype {code!r}")
    try:
        dtype: np.dtype[Any] = np.dtype(code)
        if not value.built:
            return dtype
        state = value.state
        order = _checked_state(state, dtype, source)
        if state[2] is not None:
            base, shape = state[2]
            shape = shape if isinstance(shape, tuple) else (shape,)
            if not _plain_ints(shape):
                raise ValueError("a shape that is none")
            return np.dtype((dtype_of(base, source, depth + 1), shape))
        if state[3] is not None:
            return _struct(state, source, depth)
        if dtype.kind in "mM":
            dtype = _datetime(dtype, state, source)
        elif dtype.kind in "SUV" and type(state[5]) is int and state[5] >= 0:
            dtype = np.dtype(f"{dtype.kind}{state[5] // 4 if dtype.kind == 'U' else state[5]}")
        # Any other byte order ("=", "|") leaves the dtype as it is.
        return dtype.newbyteorder("<" if order == "<" else ">") if order in ("<", ">") else dtype
    except (TypeError, ValueError, KeyError, IndexError, OverflowError) as error:
        raise Refused(f"a dtype {code!r} whose state makes no sense ({error})") from None


def _checked_state(state: Any, dtype: np.dtype[Any], source: ByteSpace) -> str:
    """The byte order in the state of a dtype; ValueError for a state that numpy refuses."""
    if not isinstance(state, tuple) or len(state) not in (8, 9) or not _plain_ints((state[0], *state[5:8])):
        raise ValueError("no state")
    order = plain_text(state[1], source)
    # Flags: elements that are counted references, and arrays that are pickled as lists.
    holds_objects = state[7] & 3 and dtype.kind != "O" and state[3] is None
    if not 0 <= state[0] <= 4 or order not in ("<", ">", "=", "|") or holds_objects:
        raise ValueError(f"version {state[0]}, byte order {order!r}, flags {state[7]:#x}")
    if (state[3] is None) != (state[4] is None):
        raise ValueError("names without fields")
    return order


def _plain_ints(values: Any) -> bool:
    """Whether `values` is a tuple of few integers; hostile pickles nest what they like, so nothing else is shown."""
    return isinstance(values, tuple) and len(values) <= 64 and all(type(n) is int for n in values)


def _struct(state: tuple[Any, ...], source: ByteSpace, depth: int) -> np.dtype[Any]:
    names, fields, itemsize = state[3], state[4], state[5]
    if not isinstance(names, tuple) or not isinstance(fields, Pairs) or type(itemsize) is not int:
        raise ValueError("no fields")
    table = {plain_text(k, source): v for k, v in fields.items}
    spec: dict[str, Any] = {"names": [], "formats": [], "offsets": [], "titles": [], "itemsize": itemsize}
    for raw in names:
        name = plain_text(raw, source)
        entry = table[name]
        if name is None or not isinstance(entry, tuple) or not _plain_ints(entry[1:2]):
            raise ValueError("a field that is none")
        spec["names"].append(name)
        spec["formats"].append(dtype_of(entry[0], source, depth + 1))
        spec["offsets"].append(entry[1])
        spec["titles"].append(plain_text(entry[2], source) if len(entry) > 2 else None)
    if not any(spec["titles"]):
        del spec["titles"]
    aligned = bool(state[7] & 0x80) if type(state[7]) is int else False
    made: np.dtype[Any] = np.dtype(cast(Any, spec), align=aligned)
    return made


def _datetime(dtype: np.dtype[Any], state: tuple[Any, ...], source: ByteSpace) -> np.dtype[Any]:
    if len(state) < 9 or state[8] is None:
        return dtype
    _, unit_of = state[8]
    unit = plain_text(unit_of[0], source)
    _, count, divisor, event = unit_of
    if event != 1 or (type(count) is int and count < 1):
        raise ValueError(f"{count!r} units, event {event!r}")
    if unit == "generic":
        return dtype
    if type(count) is not int or type(divisor) is not int:
        raise ValueError("a unit that is none")
    if unit not in ("Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as") or divisor != 1:
        raise ValueError(f"unit {unit}/{divisor}")
    return np.dtype(f"{dtype.kind}8[{count}{unit}]")


def follow_joblib(path: str) -> Any:
    """The hook for `run` that passes over the elements behind joblib's array wrappers."""

    def after_build(call: Call, cursor: Cursor) -> None:
        wrapper = call.func
        if _key(wrapper) == ("copy_reg", "_reconstructor") and isinstance(call.args, tuple) and call.args:
            wrapper = call.args[0]
        if _key(wrapper) != _JOBLIB or not isinstance(call.state, Pairs):
            return
        state = {str(k): v for k, v in call.state.items if isinstance(k, str)}
        dtype_call = state.get("dtype")
        try:
            dtype = dtype_of(dtype_call, cursor.space)
        except Refused as why:
            # Without the size of the elements nobody knows where the next opcode is.
            raise FormatError(message("reading the joblib array in", path, expected="a numpy dtype", got=why)) from None
        if dtype.hasobject:
            # The elements are a pickle of their own.
            _, end = run(cursor.space, path, cursor.position, after_build=after_build)
            cursor.position = end
            return
        shape = state.get("shape")
        if not isinstance(shape, tuple) or not _plain_ints(shape):
            raise FormatError(message("reading the joblib array in", path, expected="a shape of integers", got="none"))
        check_shape(shape, dtype, path, None)
        if state.get("numpy_array_alignment_bytes") is not None:
            cursor.skip(cursor.read(1)[0])
        call.data = cursor.skip(math.prod(shape) * dtype.itemsize)

    return after_build


def array_of(value: Any, source: ByteSpace, path: str) -> Elements | None:
    """The array that a symbolic value stands for; None where it is no array at all.

    Raises
    ------
    Refused
        An array that cannot be served.
    """
    if not isinstance(value, Call):
        return None
    args = value.args if isinstance(value.args, tuple) else ()
    key = _key(value.func)
    if value.data is not None:
        state = {str(k): v for k, v in value.state.items if isinstance(k, str)}
        dtype = dtype_of(state.get("dtype"), source)
        shape = state["shape"]
        order: Literal["C", "F"] = "F" if plain_text(state.get("order"), source) == "F" else "C"
        _check_type(state.get("subclass"))
        return _elements(shape, dtype, order, Blob(value.data, math.prod(shape) * dtype.itemsize), path)
    if key == _JOBLIB:
        raise Refused("dtype object: its elements are pickled Python objects")
    if key is None or key not in _FUNCTIONS:
        raise Refused(what_is(value) if blob_of(value) is None else "bytes")
    if key[1] == "scalar":
        if len(args) != 2:
            raise Refused(what_is(value))
        return _elements((), dtype_of(args[0], source), "C", _data(args[1], dtype_of(args[0], source)), path)
    if key[1] == "_frombuffer":
        if len(args) not in (4, 5):
            raise Refused(what_is(value))
        dtype = dtype_of(args[1], source)
        order_text = plain_text(args[3], source)
        if order_text not in ("C", "F", "K"):
            raise Refused("an array of an unknown order")
        axes = args[4] if order_text == "K" and len(args) == 5 else None
        return _elements(args[2], dtype, "F" if order_text == "F" else "C", _data(args[0], dtype), path, axes)
    _check_type(args[0] if args else None)
    state_of = value.state
    if not isinstance(state_of, tuple) or len(state_of) not in (4, 5):
        raise Refused("an array without a state")
    shape, dtype_call, fortran, data = state_of[-4:]
    known = len(state_of) == 4 or state_of[0] == 1
    made = len(args) == 3 and args[1] == (0,) and plain_text(args[2], source) == "b"
    if not made or not isinstance(fortran, int) or not known:
        raise Refused("an array whose state numpy does not know")
    dtype = dtype_of(dtype_call, source)
    return _elements(shape, dtype, "F" if fortran else "C", _data(data, dtype), path)


def _check_type(subtype: Any) -> None:
    if _key(subtype) not in _ARRAY_TYPES:
        raise Refused(f"an array of type {what_is(subtype)}")


def _data(value: Any, dtype: np.dtype[Any]) -> Blob:
    reason = unsupported_dtype(dtype)
    if reason is not None:
        raise Refused(reason)
    blob = blob_of(value)
    if blob is None:
        raise Refused(f"array data in {what_is(value)}")
    return blob


def _elements(
    shape: Any, dtype: np.dtype[Any], order: Literal["C", "F"], blob: Blob, path: str, axes: Any = None
) -> Elements:
    reason = unsupported_dtype(dtype)
    if reason is not None or dtype.subdtype is not None:
        raise Refused(reason or f"dtype {dtype}")
    if not _plain_ints(shape):
        raise Refused("an array whose shape is none")
    check_shape(shape, dtype, path, None)
    nbytes = math.prod(shape) * dtype.itemsize
    # As text, a byte takes 6 characters at most, and quotes may stand around all.
    if (blob.coding == "raw" and blob.nbytes != nbytes) or not nbytes <= blob.nbytes <= 6 * nbytes + 2:
        raise FormatError(
            message(f"reading the pickled array of shape {shape} in", path, expected=f"{nbytes} bytes", got=blob.nbytes)
        )
    if axes is not None and not (_plain_ints(axes) and sorted(axes) == list(range(len(shape)))):
        raise Refused("an array with axes in an unknown order")
    return Elements(shape, dtype, order, blob, axes)
