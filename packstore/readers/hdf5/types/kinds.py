"""One function for each HDF5 type class; in: an h5py type identifier, out: a `StoredType`.

The layouts are those of the HDF5 file format, "The Datatype Message"; the dtypes and values those of h5py.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from h5py import h5t

from packstore.readers.hdf5.problems import NotServed
from packstore.readers.hdf5.types.convert import (
    BitRange,
    ConvertFields,
    LibraryConvert,
    NamedBool,
    Tabulate,
    TrimSpaces,
    TrimTail,
)
from packstore.readers.hdf5.types.stored import StoredType
from packstore.readers.npy.fields import parse_dtype

__all__ = ["describe"]

DType = np.dtype[Any]
MAX_DEPTH = 32
OBJECT_REFERENCES = "object references point into the file and have no value outside it"
REGION_REFERENCES = "region references point into the file and have no value outside it"


def describe(tid: h5t.TypeID, depth: int = 0) -> StoredType:
    """Describe `tid`; `depth` counts the types around it. Raises NotServed for types that no numpy dtype holds."""
    if depth > MAX_DEPTH:
        raise NotServed(f"types nested more than {MAX_DEPTH} deep")
    kind = tid.get_class()
    by_kind = _KINDS.get(kind)
    if by_kind is None:
        raise NotServed(f"HDF5 type class {kind}")
    found = by_kind(tid, depth)
    if found.nbytes not in (None, tid.get_size()):
        raise NotServed(f"an HDF5 type of {tid.get_size()} bytes that numpy holds in {found.nbytes}")
    return found


def _plain(dtype: DType) -> DType:
    """`dtype` without h5py's metadata, which numpy warns about when it saves an array."""
    return np.dtype(dtype.str) if dtype.metadata and not dtype.hasobject and dtype.names is None else dtype


def _raw(dtype: DType, **attributes: Any) -> StoredType:
    return StoredType(dtype, dtype, attributes=attributes)


def _layout(tid: h5t.TypeID) -> tuple[bytes, int, int]:
    """Class bits, bit offset and precision from the serialised type: h5py has no call for them on some classes."""
    # Two bytes of H5Tencode's own, class and version, three bytes of bit field, size, then the properties.
    encoded = tid.encode()
    offset, precision = struct.unpack_from("<HH", encoded.ljust(14, b"\0"), 10)
    return encoded[3:6], offset, precision


def _by_library(tid: h5t.TypeID, dtype: DType) -> StoredType:
    target = h5t.py_create(dtype)
    if tid.equal(target):
        return _raw(dtype)
    if h5t.find(tid, target) is None:
        raise NotServed(f"libhdf5 does not convert this type to {dtype}")
    convert = LibraryConvert(tid.encode(), target.encode(), dtype)
    nbytes = tid.get_size()
    stored = np.dtype(f"V{nbytes}")
    return StoredType(dtype, stored, Tabulate(convert) if nbytes <= 2 else convert)


def _integer(tid: h5t.TypeID, depth: int) -> StoredType:
    if tid.get_size() in (3, 5, 6, 7):
        # h5py names no dtype for these: the next wider one holds them.
        order = ">" if tid.get_order() == h5t.ORDER_BE else "<"
        kind = "u" if tid.get_sign() == h5t.SGN_NONE else "i"
        return _by_library(tid, np.dtype(f"{order}{kind}{4 if tid.get_size() == 3 else 8}"))
    dtype = tid.dtype
    if tid.equal(h5t.py_create(dtype)):
        return _raw(dtype)
    offset = tid.get_offset()
    if dtype.itemsize == 1 and offset == 0 and tid.get_order() == h5t.ORDER_BE:
        # numpy has no byte order for one byte, so h5py asks for a little-endian one, and libhdf5 only "swaps" it.
        return _raw(dtype)
    return _bits(dtype, offset, tid.get_precision())


def _bits(dtype: DType, offset: int, precision: int) -> StoredType:
    width = dtype.itemsize * 8
    if precision == 0 or offset + precision > width:
        raise NotServed(f"{precision} bits from bit {offset} of {width}")
    if precision == width:
        return _raw(dtype)
    return StoredType(dtype, dtype, BitRange(dtype, offset, precision))


def _bitfield(tid: h5t.TypeID, depth: int) -> StoredType:
    _, offset, precision = _layout(tid)
    return _bits(tid.dtype, offset, precision)


def _time(tid: h5t.TypeID, depth: int) -> StoredType:
    # h5py names no dtype for it. Unix times are signed counts of seconds in the size and byte order of the type.
    flags, precision, _ = _layout(tid)
    size = tid.get_size()
    if size not in (4, 8) or precision != size * 8:
        raise NotServed(f"a time of {precision} bits in {size} bytes")
    return _raw(np.dtype(f"{'>' if flags[0] & 1 else '<'}i{size}"), hdf5_class="time")


def _float(tid: h5t.TypeID, depth: int) -> StoredType:
    if tid.get_order() != h5t.ORDER_VAX:
        return _by_library(tid, tid.dtype)
    # h5py has no name for this byte order; its rule for the width, in the machine's order.
    _, _, exponent, _, mantissa = tid.get_fields()
    for code in "efdg":
        info = np.finfo(code)
        top, bottom = 2**exponent - tid.get_ebias() - 1, 1 - tid.get_ebias()
        if mantissa <= info.nmant and top <= info.maxexp and bottom >= info.minexp:
            return _by_library(tid, np.dtype(code))
    raise NotServed(f"a VAX float of {mantissa} + {exponent} bits")


def _complex(tid: h5t.TypeID, depth: int) -> StoredType:
    dtype = tid.dtype
    part = tid.get_super()
    if part.equal(h5t.py_create(np.dtype(f"{dtype.byteorder}f{dtype.itemsize // 2}"))):
        return _raw(dtype)
    return _by_library(tid, dtype)


def _enum(tid: h5t.TypeID, depth: int) -> StoredType:
    base = describe(tid.get_super(), depth + 1)
    dtype = tid.dtype
    if dtype.kind == "b":
        if base.stored is not None and base.stored.itemsize == 1 and base.convert is None:
            return _raw(dtype)
        return StoredType(dtype, base.stored, NamedBool()) if base.convert is None else _by_library(tid, dtype)
    names = {}
    for index in range(tid.get_nmembers()):
        names[tid.get_member_name(index).decode("utf-8", "backslashreplace")] = int(tid.get_member_value(index))
    return replace(base, attributes={**base.attributes, "enum": names})


def _opaque(tid: h5t.TypeID, depth: int) -> StoredType:
    tag = tid.get_tag()
    size = tid.get_size()
    if tag.startswith(b"NUMPY:"):
        try:
            dtype = parse_dtype(tag[6:].decode("ascii"))
        except ValueError:
            dtype = None
        # The tag is text from the file: only a dtype of plain data of the type's own size is taken from it.
        if dtype is not None and not dtype.hasobject and dtype.subdtype is None and dtype.itemsize == size:
            return _raw(dtype)
    text = tag.decode("utf-8", "backslashreplace")
    return _raw(np.dtype(f"V{size}"), **({"opaque_tag": text} if text else {}))


def _string(tid: h5t.TypeID, depth: int) -> StoredType:
    if tid.is_variable_str():
        return StoredType(tid.dtype, None)
    dtype = _plain(tid.dtype)
    pad = tid.get_strpad()
    if pad == h5t.STR_NULLPAD:
        return _raw(dtype)
    if pad == h5t.STR_NULLTERM:
        return StoredType(dtype, dtype, TrimTail())
    if pad == h5t.STR_SPACEPAD:
        return StoredType(dtype, dtype, TrimSpaces())
    raise NotServed(f"string padding {pad}")


def _vlen(tid: h5t.TypeID, depth: int) -> StoredType:
    what = _layout(tid)[0][0] & 15
    if what:
        # libhdf5 2.0 reads neither, and fails without an error.
        raise NotServed(f"variable-length data of the unknown kind {what}")
    base = describe(tid.get_super(), depth + 1)
    return StoredType(tid.dtype, None, attributes=base.attributes)


def _array(tid: h5t.TypeID, depth: int) -> StoredType:
    base = describe(tid.get_super(), depth + 1)
    return replace(base, extra_shape=(*(int(n) for n in tid.get_array_dims()), *base.extra_shape))


def _reference(tid: h5t.TypeID, depth: int) -> StoredType:
    if tid.equal(h5t.STD_REF_OBJ):
        raise NotServed(OBJECT_REFERENCES)
    if tid.equal(h5t.STD_REF_DSETREG):
        raise NotServed(REGION_REFERENCES)
    raise NotServed("references of a kind that h5py does not read")


def _compound(tid: h5t.TypeID, depth: int) -> StoredType:
    count = tid.get_nmembers()
    raw_names = [tid.get_member_name(i) for i in range(count)]
    parts = [describe(tid.get_member_type(i), depth + 1) for i in range(count)]
    offsets = [int(tid.get_member_offset(i)) for i in range(count)]
    names = [name.decode("utf-8") for name in raw_names]
    stored: DType | None = None
    layouts = [None if p.stored is None else _member(p.stored, p) for p in parts]
    if all(layout is not None for layout in layouts):
        stored = np.dtype({"names": names, "formats": layouts, "offsets": offsets, "itemsize": tid.get_size()})
    complex_dtype = _as_complex(names, parts)
    if complex_dtype is not None:
        packed = offsets == [0, complex_dtype.itemsize // 2] and tid.get_size() == complex_dtype.itemsize
        if packed and all(p.convert is None for p in parts):
            return _raw(complex_dtype)
        fields = tuple((n, part, p.convert) for n, part, p in zip(names, ("real", "imag"), parts, strict=True))
        return StoredType(complex_dtype, stored, ConvertFields(complex_dtype, fields))
    extras = {n: dict(p.attributes) for n, p in zip(names, parts, strict=True) if p.attributes}
    attributes = {"fields": extras} if extras else {}
    if stored is None:
        return StoredType(tid.dtype, None, attributes=attributes)
    if all(p.convert is None for p in parts):
        return StoredType(stored, stored, attributes=attributes)
    dtype = _struct(names, [_member(p.dtype, p) for p in parts], offsets, tid.get_size())
    fields = tuple((n, n, p.convert) for n, p in zip(names, parts, strict=True))
    return StoredType(dtype, stored, ConvertFields(dtype, fields), attributes=attributes)


def _member(dtype: DType, part: StoredType) -> DType:
    return np.dtype((dtype, part.extra_shape)) if part.extra_shape else dtype


def _struct(names: list[str], formats: list[DType], offsets: list[int], itemsize: int) -> DType:
    """A struct at the stored offsets; packed where a member is wider in numpy than on disk and would not fit."""
    ends = sorted((start, start + f.itemsize) for start, f in zip(offsets, formats, strict=True))
    limits = [start for start, _ in ends[1:]] + [itemsize]
    if all(end <= limit for (_, end), limit in zip(ends, limits, strict=True)):
        return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": itemsize})
    return np.dtype({"names": names, "formats": formats})


def _as_complex(names: list[str], parts: list[StoredType]) -> DType | None:
    """The complex dtype that h5py reads a compound of two equal floats, r and i, as."""
    if len(parts) != 2 or tuple(names) != _complex_names() or any(p.extra_shape for p in parts):
        return None
    real, imag = (p.dtype for p in parts)
    if real != imag or real.kind != "f" or real.itemsize not in (4, 8, 16):
        return None
    return np.dtype(f"{real.str[0]}c{2 * real.itemsize}")


def _complex_names() -> tuple[str, ...]:
    import h5py

    return tuple(h5py.get_config().complex_names)


_KINDS: dict[int, Callable[[Any, int], StoredType]] = {
    h5t.INTEGER: _integer,
    h5t.FLOAT: _float,
    h5t.TIME: _time,
    h5t.STRING: _string,
    h5t.BITFIELD: _bitfield,
    h5t.OPAQUE: _opaque,
    h5t.COMPOUND: _compound,
    h5t.REFERENCE: _reference,
    h5t.ENUM: _enum,
    h5t.VLEN: _vlen,
    h5t.ARRAY: _array,
}
# Native complex numbers came with HDF5 2.0.
if hasattr(h5t, "COMPLEX"):
    _KINDS[h5t.COMPLEX] = _complex
