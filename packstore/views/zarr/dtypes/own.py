"""The zarr data types ``packstore.struct`` and ``packstore.longdouble``, for numpy dtypes that zarr itself cannot say.

`data_type` takes a dtype and gives zarr's object for it. In metadata the dtype is JSON; in chunks the elements are as
in memory, under zarr's ``bytes`` codec. Importing this module registers both: zarr 3.1 loads no entry points of them.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from zarr.dtype import ZDType, data_type_registry

from packstore.errors import DtypeError, message

try:
    from zarr.errors import DataTypeValidationError  # type: ignore[attr-defined, unused-ignore]  # newer releases
except ImportError:
    from zarr.dtype import DataTypeValidationError  # type: ignore[no-redef, attr-defined, unused-ignore]  # zarr 3.1

__all__ = ["OwnType", "data_type", "from_json", "significant", "to_json"]

DType = np.dtype[Any]
NAMES = STRUCT, LONGDOUBLE = "packstore.struct", "packstore.longdouble"
MAX_DEPTH = 32
# The simple types of the Zarr v2 specification, "Data type encoding"; long doubles have no fixed meaning there.
TYPE_STRING = re.compile(r"[<>|](?:b1|[iu][1248]|f[248]|c(?:8|16)|[SUV]\d{1,10}|[mM]8(?:\[[0-9A-Za-z]+\])?)")
FORMAT_BY_MANTISSA_BITS = {63: "x87", 112: "binary128", 105: "double_double", 104: "double_double", 52: "binary64"}


def to_json(dtype: DType) -> Any:
    """Describe `dtype` by a type string or an object with name and configuration; DtypeError where it has none."""
    if dtype.names is not None:
        if dtype.itemsize == 0:
            raise DtypeError("zarr has no data types of zero bytes")
        fields = []
        for name in dtype.names:
            member, offset = dtype.fields[name][:2]  # type: ignore[index]  # names means fields
            shape = {} if member.subdtype is None else {"shape": list(member.shape)}
            fields.append({"data_type": to_json(member.base), "name": name, "offset": offset, **shape})
        return {"name": STRUCT, "configuration": {"fields": fields, "item_size": dtype.itemsize}}
    if dtype.char in "gG":
        return {"name": LONGDOUBLE, "configuration": _format(dtype)}
    if dtype.isbuiltin == 2 or not TYPE_STRING.fullmatch(dtype.str):
        raise DtypeError(f"zarr has no data type for {dtype}")
    return dtype.str


def _format(dtype: DType) -> dict[str, Any]:
    bits = int(np.finfo(np.longdouble).nmant)
    format = FORMAT_BY_MANTISSA_BITS.get(bits, f"mantissa of {bits} bits")
    endian = "little" if dtype.newbyteorder("<") == dtype else "big"
    return {"complex": dtype.char == "G", "endian": endian, "format": format, "item_size": dtype.itemsize}


def from_json(data: Any, depth: int = 0) -> DType:
    """The dtype that `to_json` described; DtypeError for anything else, such as the long double of another machine."""
    _need(depth <= MAX_DEPTH, f"at most {MAX_DEPTH} levels", "more")
    if isinstance(data, str) and TYPE_STRING.fullmatch(data):
        return _numpy(data)
    config: Any = data.get("configuration") if isinstance(data, dict) else None
    _need(isinstance(config, dict), "a type string or an object with name and configuration", data)
    if data.get("name") == LONGDOUBLE:
        _need(config.get("endian") in ("little", "big"), 'endian "little" or "big"', config.get("endian"))
        dtype = np.dtype("G" if config.get("complex") is True else "g").newbyteorder(config["endian"])
        here = {**_format(dtype), "complex": config.get("complex")}
        _need({key: config.get(key) for key in here} == here, f"this machine's {here}", config)
        return dtype
    _need(data.get("name") == STRUCT, f"{STRUCT} or {LONGDOUBLE}", data.get("name"))
    fields = config.get("fields")
    _need(isinstance(fields, list) and fields and all(isinstance(f, dict) for f in fields), "a list of fields", fields)
    names = [f.get("name") for f in fields]
    _need(all(isinstance(n, str) for n in names), "names that are text", names)
    formats = [_numpy((from_json(f.get("data_type"), depth + 1), _sizes(f.get("shape", [])))) for f in fields]
    *offsets, item_size = _sizes([*(f.get("offset") for f in fields), config.get("item_size")])
    _need(item_size > 0, "an item_size above 0", item_size)
    return _numpy({"names": names, "formats": formats, "offsets": offsets, "itemsize": item_size})


def _sizes(sizes: Any) -> tuple[int, ...]:
    _need(type(sizes) is list and all(type(n) is int and n >= 0 for n in sizes), "numbers that are 0 or more", sizes)
    return tuple(sizes)


def _numpy(spec: Any) -> DType:
    try:
        dtype: DType = np.dtype(spec)
    except (TypeError, ValueError, OverflowError) as why:
        raise DtypeError(message("reading a data type", expected="one that numpy can hold", got=why)) from None
    return dtype


def _need(fine: Any, expected: str, got: object) -> None:
    if not fine:
        raise DtypeError(message("reading a data type", expected=expected, got=repr(got)))


def significant(dtype: DType) -> npt.NDArray[np.bool_]:
    """Which bytes of an element are part of its value; the padding of structs and long doubles is not."""
    used = np.full(dtype.itemsize, dtype.names is None)
    if dtype.char in "gG" and (kind := _format(dtype))["format"] == "x87":
        padding = slice(10, None) if kind["endian"] == "little" else slice(-10)
        used.reshape(1 + kind["complex"], -1)[:, padding] = False
    for name in dtype.names or ():
        member, offset = dtype.fields[name][:2]  # type: ignore[index]  # names means fields
        if member.itemsize:
            part = used[offset : offset + member.itemsize].reshape(-1, member.base.itemsize)
            part[...] = significant(member.base)
    return used


@dataclass(frozen=True, kw_only=True)
class OwnType(ZDType[DType, Any]):
    """A numpy dtype in the form that zarr takes: ``packstore.struct`` or ``packstore.longdouble``, whichever it is.

    Notes
    -----
    A fill value is, in JSON, the element's bytes in base64, so that every bit of a NaN survives; 0 where all are zero.
    """

    _zarr_v3_name: ClassVar[str] = STRUCT
    dtype_cls: ClassVar[Any] = np.dtype
    dtype: DType

    @classmethod
    def from_native_dtype(cls, dtype: DType) -> Self:
        """Refused: only the names in metadata lead to this class."""
        raise DataTypeValidationError(f"{STRUCT} and {LONGDOUBLE} are not chosen by a numpy dtype")

    def to_native_dtype(self) -> DType:
        """The numpy dtype."""
        return self.dtype

    @classmethod
    def _from_json_v2(cls, data: Any) -> Self:
        raise DataTypeValidationError(f"{STRUCT} and {LONGDOUBLE} are data types of Zarr v3")

    @classmethod
    def _from_json_v3(cls, data: Any) -> Self:
        if not isinstance(data, dict) or data.get("name") not in NAMES:
            raise DataTypeValidationError(f"expected {STRUCT} or {LONGDOUBLE}, got {data!r}")
        # Zarr's registry passes DtypeError on: the data type is one of these two, and malformed.
        return cls(dtype=from_json(data))

    def to_json(self, zarr_format: Any) -> Any:
        """The ``data_type`` of zarr v3 metadata."""
        if zarr_format != 3:
            raise DtypeError(message("writing a data type", expected="Zarr v3", got=f"zarr_format {zarr_format}"))
        return to_json(self.dtype)

    @property
    def item_size(self) -> int:
        """Bytes of an element."""
        return self.dtype.itemsize

    def _check_scalar(self, data: object) -> bool:
        return isinstance(data, self.dtype.type)

    def cast_scalar(self, data: object) -> Any:
        """`data` as an element; 0 and None are the default."""
        if data is None or (isinstance(data, int) and data == 0):
            return self.default_scalar()
        return np.asarray(tuple(data) if isinstance(data, list) else data, self.dtype)[()]

    def default_scalar(self) -> Any:
        """The element whose bytes are all zero."""
        return np.zeros((), self.dtype)[()]

    def from_json_scalar(self, data: Any, *, zarr_format: Any) -> Any:
        """A fill value in metadata as an element; TypeError where it is none."""
        if data == 0 and isinstance(data, int):
            return self.default_scalar()
        try:
            (element,) = np.frombuffer(base64.b64decode(data.encode("ascii"), validate=True), self.dtype)
        except (AttributeError, ValueError) as why:
            raise TypeError(f"expected base64 or 0 as a scalar of packstore's {self.dtype}, got {data!r}") from why
        return element.copy()

    def to_json_scalar(self, data: object, *, zarr_format: Any) -> str | int:
        """An element as a fill value in metadata; its padding as zeros."""
        one = np.empty(1, self.dtype)
        one[0] = self.cast_scalar(data)
        raw = np.where(significant(self.dtype), one.view(np.uint8), np.uint8(0))
        return base64.b64encode(raw.tobytes()).decode("ascii") if raw.any() else 0


def data_type(dtype: DType) -> OwnType:
    """Zarr's object for a struct or a long double; DtypeError where it has none."""
    found = OwnType.from_json(to_json(dtype), zarr_format=3)
    if found.to_json(3) != to_json(dtype):
        raise DtypeError(f"zarr has no data type for {dtype}")
    return found


# Not by `register`: it changes the dict, and that is an error in each thread that searches it at the time.
object.__setattr__(data_type_registry, "contents", data_type_registry.contents | dict.fromkeys(NAMES, OwnType))
