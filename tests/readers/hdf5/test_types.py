"""Type by type: the stored bytes decode to what h5py returns."""

from __future__ import annotations

import pickle
import re
import threading
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest
from h5py import h5d, h5s, h5t
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from packstore.errors import UnsupportedError
from packstore.readers.hdf5.types import describe_type, fill_value
from packstore.readers.hdf5.types.stored import StoredType
from packstore.views.zarr.dtypes.names import reason


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    return tmp_path / "types.h5"


def store(
    path: Path, tid: h5t.TypeID, raw: bytes, shape: tuple[int, ...] | None = None
) -> tuple[np.dtype[Any], npt.NDArray[Any]]:
    """Write `raw` as a contiguous dataset of type `tid`, unconverted; return what h5py reads."""
    size = tid.get_size()
    shape = (len(raw) // size,) if shape is None else shape
    with h5py.File(path, "w") as f:
        dataset = h5d.create(f.id, b"x", tid, h5s.create_simple(shape))
        dataset.write(h5s.ALL, h5s.ALL, np.frombuffer(raw, f"V{size}").reshape(shape), mtype=tid)
    with h5py.File(path, "r") as f:
        return f["x"].dtype, f["x"][...]


def stored_bytes(path: Path) -> bytes:
    with h5py.File(path, "r") as f:
        offset, nbytes = f["x"].id.get_offset(), f["x"].id.get_storage_size()
    return path.read_bytes()[offset : offset + nbytes]


def assert_same(got: npt.NDArray[Any], want: npt.NDArray[Any]) -> None:
    assert got.shape == want.shape
    if got.dtype.names is not None:
        assert got.dtype.names == want.dtype.names
        for name in got.dtype.names:
            assert_same(got[name], want[name])
    elif got.dtype.kind == "V":
        assert got.tobytes() == want.tobytes()
    else:
        np.testing.assert_array_equal(got, want)


def check(path: Path, tid: h5t.TypeID, raw: bytes) -> tuple[StoredType, npt.NDArray[Any]]:
    """The description decodes `raw` as h5py does, from the bytes in the file; returns description and values."""
    dtype, want = store(path, tid, raw)
    described = describe_type(tid)
    while dtype.subdtype is not None:
        dtype = dtype.base
    assert described.dtype == dtype
    assert described.nbytes == tid.get_size()
    on_disk = stored_bytes(path)
    assert on_disk == raw
    shape = (len(raw) // tid.get_size(), *described.extra_shape)
    got = described.decode(np.frombuffer(on_disk, described.stored).reshape(shape))
    assert got.dtype == described.dtype
    assert_same(got, want)
    return described, got


def bytes_of(tid: h5t.TypeID, count: int = 64, seed: int = 0) -> bytes:
    return np.random.default_rng(seed).bytes(tid.get_size() * count)


INTEGERS = [getattr(h5t, f"STD_{s}{n}{o}") for s in "IU" for n in (8, 16, 32, 64) for o in ("LE", "BE")]
FLOATS = [getattr(h5t, f"IEEE_F{n}{o}") for n in (16, 32, 64) for o in ("LE", "BE")]
# Not STD_B8BE, which h5py has no conversion for.
BITFIELDS = [getattr(h5t, f"STD_B{n}{o}") for n in (8, 16, 32, 64) for o in ("LE", "BE") if (n, o) != (8, "BE")]


@pytest.mark.parametrize("tid", INTEGERS + FLOATS + BITFIELDS, ids=lambda t: t.encode().hex())
def test_plain_numbers_are_their_bytes(scratch: Path, tid: h5t.TypeID) -> None:
    described, _ = check(scratch, tid, bytes_of(tid))
    assert described.convert is None
    assert reason(described.dtype) is None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_odd_precision_and_offset(scratch: Path, data: st.DataObject) -> None:
    base = data.draw(st.sampled_from(INTEGERS))
    width = base.get_size() * 8
    precision = data.draw(st.integers(1, width))
    # libhdf5 takes a file for damaged where more than the upper half of the bits is unused.
    offset = data.draw(st.integers(max(0, width // 2 - precision), width - precision))
    tid = base.copy()
    tid.set_precision(precision)
    tid.set_offset(offset)
    check(scratch, tid, bytes_of(tid, seed=data.draw(st.integers(0, 1000))))


def test_sign_is_extended_from_the_top_used_bit(scratch: Path) -> None:
    tid = h5t.STD_I16LE.copy()
    tid.set_precision(11)
    tid.set_offset(3)
    _, got = check(scratch, tid, np.array([0x7FF << 3, 1 << 3, 0x400 << 3, 0xF800 | 7], "<u2").tobytes())
    assert got.tolist() == [-1, 1, -1024, -256]


def test_bitfield_of_a_big_endian_byte() -> None:
    described = describe_type(h5t.STD_B8BE)
    assert described.dtype == described.stored == np.dtype("u1")
    assert described.convert is None


def test_bitfield_with_odd_precision() -> None:
    # h5py has no call to make one, so this is the serialised type: 9 bits from bit 2 of two big-endian bytes.
    tid = h5t.decode(bytes.fromhex("0300140100000200000002000900"))
    described = describe_type(tid)
    assert described.dtype == np.dtype(">u2")
    values = np.array([0x0000, 0x07FC, 0x0804, 0xF803], ">u2")
    assert described.decode(values).tolist() == [0, 0x1FF, 1, 0]


def float_type(
    size: int,
    fields: tuple[int, ...],
    bias: int,
    order: int = h5t.ORDER_LE,
    offset: int = 0,
    norm: int = h5t.NORM_IMPLIED,
) -> h5t.TypeFloatID:
    sign, epos, esize, mpos, msize = fields
    tid = h5t.IEEE_F64LE.copy()
    tid.set_fields(sign, epos, esize, mpos, msize)
    tid.set_ebias(bias)
    tid.set_norm(norm)
    tid.set_precision(sign + 1 - offset)
    tid.set_offset(offset)
    tid.set_size(size)
    tid.set_order(order)
    return tid


ODD_FLOATS = {
    "bfloat16": ((15, 7, 8, 0, 7), 2, 127, np.float32),
    "float8_e4m3": ((7, 3, 4, 0, 3), 1, 7, np.float16),
    "float8_e5m2": ((7, 2, 5, 0, 2), 1, 15, np.float16),
    "float6_e3m2": ((5, 2, 3, 0, 2), 1, 3, np.float16),
    "float4_e2m1": ((3, 1, 2, 0, 1), 1, 1, np.float16),
    "24 bits of 32": ((23, 15, 8, 0, 15), 4, 127, np.float32),
    "48 bits of 64": ((47, 37, 10, 0, 37), 8, 511, np.float64),
}


@pytest.mark.parametrize("order", [h5t.ORDER_LE, h5t.ORDER_BE], ids=["LE", "BE"])
@pytest.mark.parametrize("name", ODD_FLOATS)
def test_odd_floats(scratch: Path, name: str, order: int) -> None:
    fields, size, bias, kind = ODD_FLOATS[name]
    tid = float_type(size, fields, bias, order)
    described, _ = check(scratch, tid, bytes_of(tid, 300))
    assert described.dtype.type is kind


def test_every_bfloat16(scratch: Path) -> None:
    fields, size, bias, _ = ODD_FLOATS["bfloat16"]
    bits = np.arange(65536, dtype="<u2")
    _, got = check(scratch, float_type(size, fields, bias), bits.tobytes())
    want = (bits.astype("<u4") << 16).view("<f4")
    np.testing.assert_array_equal(got, want)


@pytest.mark.skipif(np.finfo(np.longdouble).nmant != 63, reason="needs the 80-bit x87 long double")
@pytest.mark.parametrize("size", [10, 12, 16])
@pytest.mark.parametrize("order", ["<", ">"])
def test_long_double(scratch: Path, size: int, order: str) -> None:
    values = np.array([0, 1, -1.5, np.inf, -np.inf, np.nan, 1e-4940, 1e4000, np.pi], np.longdouble)
    ten = values.view(np.uint8).reshape(-1, 16)[:, :10]
    raw = np.zeros((len(values), size), np.uint8)
    raw[:, :10] = ten
    tid = h5t.NATIVE_LDOUBLE.copy()
    tid.set_size(size)
    if order == ">":
        tid.set_order(h5t.ORDER_BE)
        raw = raw[:, ::-1]
    described, got = check(scratch, tid, raw.tobytes())
    np.testing.assert_array_equal(got.astype(np.longdouble), values)
    assert reason(described.dtype) is None


def test_floats_that_numpy_cannot_hold_are_refused() -> None:
    with pytest.raises(UnsupportedError, match=re.escape("of f.h5[g/x]: expected one that numpy can hold")):
        describe_type(h5t.IEEE_F128LE, "f.h5", "g/x")


def test_vax_floats() -> None:
    # h5py has no dtype for this byte order, which only version 3 of the datatype message can say.
    single = h5t.IEEE_F32LE.encode()
    vax = h5t.decode(single[:2] + b"\x31\x61\x1f\x00" + single[6:])
    vax.set_ebias(129)
    assert vax.get_order() == h5t.ORDER_VAX
    described = describe_type(vax)
    assert described.dtype == np.dtype("f8")
    raw = np.frombuffer(bytes.fromhex("8040000080c000000000000049410fd0"), described.stored)
    np.testing.assert_array_equal(described.decode(raw), np.array([1, -1, 0, 2 * (1 + 0x49D00F / 2**23)]))


def complex_type(
    part: h5t.TypeFloatID,
    names: tuple[bytes, ...] = (b"r", b"i"),
    offsets: tuple[int, int] | None = None,
    size: int | None = None,
) -> h5t.TypeCompoundID:
    n = part.get_size()
    offsets = offsets or (0, n)
    tid = h5t.create(h5t.COMPOUND, size or 2 * n)
    for name, offset in zip(names, offsets, strict=True):
        tid.insert(name, offset, part)
    return tid


@pytest.mark.parametrize("part", [h5t.IEEE_F32LE, h5t.IEEE_F32BE, h5t.IEEE_F64LE, h5t.IEEE_F64BE])
def test_complex_compound(scratch: Path, part: h5t.TypeFloatID) -> None:
    tid = complex_type(part)
    described, _ = check(scratch, tid, bytes_of(tid))
    assert described.dtype.kind == "c"
    assert described.convert is None
    assert reason(described.dtype) is None


def test_complex_with_padding_and_swapped_parts(scratch: Path) -> None:
    tid = complex_type(h5t.IEEE_F32LE, offsets=(8, 2), size=16)
    described, _ = check(scratch, tid, bytes_of(tid))
    assert described.dtype == np.dtype("<c8")


def test_half_complex_stays_a_struct(scratch: Path) -> None:
    tid = complex_type(h5t.IEEE_F16LE)
    assert check(scratch, tid, bytes_of(tid))[0].dtype.names == ("r", "i")


@pytest.mark.skipif(not hasattr(h5t, "COMPLEX"), reason="HDF5 2.0 brought native complex numbers")
@pytest.mark.parametrize("name", ["F32LE", "F32BE", "F64LE", "F64BE"])
def test_native_complex(scratch: Path, name: str) -> None:
    tid = getattr(h5t, f"COMPLEX_IEEE_{name}")
    described, _ = check(scratch, tid, bytes_of(tid))
    assert described.dtype.kind == "c"
    assert described.convert is None


def enum_type(base: h5t.TypeID, **members: int) -> h5t.TypeEnumID:
    tid = h5t.enum_create(base)
    for name, value in members.items():
        tid.enum_insert(name.encode(), value)
    return tid


def test_bool(scratch: Path) -> None:
    described, got = check(scratch, enum_type(h5t.NATIVE_INT8, FALSE=0, TRUE=1), bytes([0, 1, 1, 0]))
    assert described.dtype == np.dtype(bool)
    assert described.convert is None
    assert described.attributes == {}
    assert got.tolist() == [False, True, True, False]


@pytest.mark.parametrize("base", [h5t.STD_U8LE, h5t.STD_I16BE, h5t.STD_I32LE, h5t.STD_U64BE])
def test_bool_over_other_integers(scratch: Path, base: h5t.TypeIntegerID) -> None:
    raw = np.array([0, 1, 1, 0], base.dtype).tobytes()
    _, got = check(scratch, enum_type(base, FALSE=0, TRUE=1), raw)
    assert got.tolist() == [False, True, True, False]


def test_bool_over_an_odd_integer(scratch: Path) -> None:
    base = h5t.STD_U16LE.copy()
    base.set_precision(9)
    base.set_offset(4)
    _, got = check(scratch, enum_type(base, FALSE=0, TRUE=1), np.array([0, 16, 16, 0], "<u2").tobytes())
    assert got.tolist() == [False, True, True, False]


@pytest.mark.parametrize("base", [h5t.STD_I8LE, h5t.STD_U16BE, h5t.STD_I64LE])
def test_enum(scratch: Path, base: h5t.TypeIntegerID) -> None:
    tid = enum_type(base, RED=0, GREEN=1, BLÜ=100)
    described, _ = check(scratch, tid, bytes_of(tid))
    assert described.attributes == {"enum": {"RED": 0, "GREEN": 1, "BLÜ": 100}}
    assert described.dtype == base.dtype
    assert not described.dtype.metadata


def test_opaque(scratch: Path) -> None:
    tid = h5t.create(h5t.OPAQUE, 5)
    described, _ = check(scratch, tid, bytes_of(tid))
    assert described.dtype == np.dtype("V5")
    tid.set_tag(b"three numbers")
    described = describe_type(tid)
    assert described.dtype == np.dtype("V5")
    assert described.attributes == {"opaque_tag": "three numbers"}


@pytest.mark.parametrize("kind", ["<M8[ns]", ">M8[s]", "<m8[10us]"])
def test_opaque_numpy_times(scratch: Path, kind: str) -> None:
    values = np.array([0, 1, 10**12, -1], "i8").astype(np.dtype(kind).byteorder + "i8")
    described, _ = check(scratch, h5t.py_create(h5py.opaque_dtype(np.dtype(kind))), values.tobytes())
    assert described.dtype == np.dtype(kind)
    assert not described.dtype.metadata
    assert reason(described.dtype) is None


@pytest.mark.parametrize("tag", [b"NUMPY:|O", b"NUMPY:<M8[ns", b"NUMPY:<f4", b"NUMPY:O,O", b"NUMPY:(2,)i4", b"NUMPY:"])
def test_a_tag_that_does_not_fit_is_only_a_tag(tag: bytes) -> None:
    tid = h5t.create(h5t.OPAQUE, 8)
    tid.set_tag(tag)
    described = describe_type(tid)
    assert described.dtype == np.dtype("V8")
    assert described.attributes == {"opaque_tag": tag.decode()}


@pytest.mark.parametrize(
    ("tid", "dtype"),
    [(h5t.UNIX_D32LE, "<i4"), (h5t.UNIX_D32BE, ">i4"), (h5t.UNIX_D64LE, "<i8"), (h5t.UNIX_D64BE, ">i8")],
)
def test_time(tid: h5t.TypeID, dtype: npt.DTypeLike) -> None:
    # h5py reads none of these.
    described = describe_type(tid)
    assert described.dtype == described.stored == np.dtype(dtype)
    assert described.convert is None
    assert described.attributes == {"hdf5_class": "time"}


def string_type(size: int, pad: int, cset: int = h5t.CSET_ASCII) -> h5t.TypeStringID:
    tid = h5t.C_S1.copy()
    tid.set_size(size)
    tid.set_strpad(pad)
    tid.set_cset(cset)
    return tid


@pytest.mark.parametrize("cset", [h5t.CSET_ASCII, h5t.CSET_UTF8], ids=["ascii", "utf-8"])
@pytest.mark.parametrize("pad", [h5t.STR_NULLTERM, h5t.STR_NULLPAD, h5t.STR_SPACEPAD], ids=["term", "null", "space"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_fixed_strings(scratch: Path, pad: int, cset: int, data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 9))
    letters = st.sampled_from([b"\0", b" ", b"a", b"\xc3\xa9", b"\xff"])
    cells = data.draw(st.lists(st.lists(letters, max_size=size).map(b"".join), min_size=1, max_size=8))
    raw = b"".join(c[:size].ljust(size, b"\0") for c in cells)
    described, _ = check(scratch, string_type(size, pad, cset), raw)
    assert described.dtype == np.dtype(f"S{size}")
    assert not described.dtype.metadata


def test_clean_strings_are_not_copied() -> None:
    values = np.array([b"ab", b"abcd", b""], "S4")
    for pad in (h5t.STR_NULLTERM, h5t.STR_SPACEPAD):
        assert describe_type(string_type(4, pad)).decode(values) is values


def test_what_follows_the_terminator_is_dropped(scratch: Path) -> None:
    _, got = check(scratch, string_type(5, h5t.STR_NULLTERM), b"ab\0xyABCDE\0\0\0\0z")
    assert got.tolist() == [b"ab", b"ABCDE", b""]


def test_trailing_spaces_are_dropped(scratch: Path) -> None:
    _, got = check(scratch, string_type(4, h5t.STR_SPACEPAD), b"a    b      a \0 ")
    assert got.tolist() == [b"a", b" b", b"", b"a "]


@pytest.mark.parametrize(("cset", "kind"), [(h5t.CSET_ASCII, bytes), (h5t.CSET_UTF8, str)])
def test_variable_strings_are_left_to_h5py(cset: int, kind: type) -> None:
    described = describe_type(string_type(h5t.VARIABLE, h5t.STR_NULLTERM, cset))
    assert described.dtype == np.dtype(object)
    assert h5py.check_vlen_dtype(described.dtype) is kind
    assert described.stored is None
    assert described.is_text and not described.has_sequences
    assert reason(described.dtype) is None


def test_variable_sequences_are_left_to_h5py() -> None:
    described = describe_type(h5t.vlen_create(h5t.STD_I16BE))
    assert h5py.check_vlen_dtype(described.dtype) == np.dtype(">i2")
    assert described.stored is None
    assert described.has_sequences and not described.is_text
    assert "packstore.from_file reads them" in (reason(described.dtype) or "")


@pytest.mark.parametrize("dims", [(3,), (2, 3), (1, 1, 4)])
def test_array(scratch: Path, dims: tuple[int, ...]) -> None:
    tid = h5t.array_create(h5t.IEEE_F32BE, dims)
    described, got = check(scratch, tid, bytes_of(tid, 10))
    assert described.extra_shape == dims
    assert got.shape == (10, *dims)
    assert described.stored == np.dtype(">f4")


def test_array_of_arrays_of_strings(scratch: Path) -> None:
    tid = h5t.array_create(h5t.array_create(string_type(3, h5t.STR_SPACEPAD), (2,)), (3,))
    described, _ = check(scratch, tid, np.random.default_rng(1).choice(list(b"a \0"), 18 * 8).astype("u1").tobytes())
    assert described.extra_shape == (3, 2)


def compound(size: int, *members: tuple[bytes, int, h5t.TypeID]) -> h5t.TypeCompoundID:
    tid = h5t.create(h5t.COMPOUND, size)
    for name, offset, member in members:
        tid.insert(name, offset, member)
    return tid


def test_compound_padded_and_reordered(scratch: Path) -> None:
    tid = compound(24, (b"b", 16, h5t.IEEE_F64LE), (b"a", 1, h5t.STD_I16BE), ("é".encode(), 8, h5t.STD_U8LE))
    described, got = check(scratch, tid, bytes_of(tid))
    assert described.convert is None
    assert described.dtype.names == ("b", "a", "é")
    assert got.dtype.itemsize == 24


def test_compound_of_everything(scratch: Path) -> None:
    odd = h5t.STD_I32BE.copy()
    odd.set_precision(17)
    odd.set_offset(5)
    inner = compound(13, (b"s", 1, string_type(7, h5t.STR_NULLTERM)), (b"o", 9, odd))
    tid = compound(
        120,
        (b"text", 0, string_type(6, h5t.STR_SPACEPAD, h5t.CSET_UTF8)),
        (b"z", 8, complex_type(h5t.IEEE_F64BE)),
        (b"grid", 24, h5t.array_create(h5t.STD_U16BE, (2, 3))),
        (b"flag", 36, enum_type(h5t.STD_I32LE, FALSE=0, TRUE=1)),
        (b"colour", 40, enum_type(h5t.STD_I16LE, RED=1, BLUE=2)),
        (b"inner", 42, inner),
        (b"inners", 60, h5t.array_create(inner, (2,))),
        (b"blob", 90, h5t.create(h5t.OPAQUE, 3)),
        (b"odd", 96, odd),
        (b"bits", 100, h5t.STD_B16BE),
        (b"words", 102, h5t.array_create(string_type(3, h5t.STR_NULLTERM), (4,))),
    )
    raw = np.frombuffer(bytes_of(tid, 50), "u1").reshape(50, 120).copy()
    # A bool has two values; what a conversion makes of others is nobody's promise.
    raw[:, 36:40] = 0
    raw[::2, 36] = 1
    described, _ = check(scratch, tid, raw.tobytes())
    assert described.attributes == {"fields": {"colour": {"enum": {"RED": 1, "BLUE": 2}}}}
    assert reason(described.dtype) is None


def test_members_wider_in_numpy_than_on_disk() -> None:
    # h5py cannot name this type: two bytes become a float32 between neighbours that leave it no room.
    fields, size, bias, _ = ODD_FLOATS["bfloat16"]
    bfloat16 = float_type(size, fields, bias)
    tid = compound(8, (b"a", 0, bfloat16), (b"n", 2, h5t.STD_I32LE), (b"b", 6, bfloat16))
    described = describe_type(tid)
    assert described.dtype == np.dtype([("a", "<f4"), ("n", "<i4"), ("b", "<f4")])
    raw = b"\x80\x3f" + (7).to_bytes(4, "little") + b"\x00\xc0"
    assert described.decode(np.frombuffer(raw, described.stored)).tolist() == [(1.0, 7, -2.0)]


def test_compound_with_variable_members() -> None:
    tid = compound(24, (b"s", 0, string_type(h5t.VARIABLE, h5t.STR_NULLTERM)), (b"n", 16, h5t.STD_I32LE))
    described = describe_type(tid)
    assert described.stored is None
    assert described.dtype.names == ("s", "n")
    assert described.has_sequences and not described.is_text
    assert "packstore.from_file reads them" in (reason(described.dtype) or "")


def test_committed(scratch: Path) -> None:
    with h5py.File(scratch, "w") as f:
        f["type"] = np.dtype([("a", "<i4"), ("b", ">f8")])
        dataset = f.create_dataset("x", data=np.ones(3, f["type"].dtype), dtype=f["type"])
        assert dataset.id.get_type().committed()
        assert describe_type(dataset.id.get_type()).dtype == f["type"].dtype


@pytest.mark.parametrize(("tid", "what"), [(h5t.STD_REF_OBJ, "object"), (h5t.STD_REF_DSETREG, "region")])
def test_references_are_refused(tid: h5t.TypeID, what: str) -> None:
    with pytest.raises(UnsupportedError, match=f"{what} references"):
        describe_type(tid)
    with pytest.raises(UnsupportedError, match=f"{what} references"):
        describe_type(compound(12, (b"r", 0, tid)))


@pytest.mark.parametrize("size", [3, 5, 6, 7])
@pytest.mark.parametrize("base", [h5t.STD_I64LE, h5t.STD_I64BE, h5t.STD_U64LE, h5t.STD_U64BE])
def test_integers_of_odd_sizes(base: h5t.TypeIntegerID, size: int) -> None:
    # h5py reads none of these.
    tid = base.copy()
    tid.set_size(size)
    described = describe_type(tid)
    order, signed = ("big" if described.dtype.byteorder == ">" else "little"), described.dtype.kind == "i"
    values = [1, 2 ** (8 * size - 1) - 1, -1 if signed else 2 ** (8 * size) - 1, 0]
    raw = b"".join(v.to_bytes(size, order, signed=signed) for v in values)
    assert described.decode(np.frombuffer(raw, described.stored)).tolist() == values


def test_integers_that_numpy_lacks() -> None:
    tid = h5t.STD_I64LE.copy()
    tid.set_size(16)
    with pytest.raises(UnsupportedError, match="numpy can hold, got TypeError"):
        describe_type(tid)


def test_a_member_name_that_is_not_utf8() -> None:
    with pytest.raises(UnsupportedError, match="UnicodeDecodeError"):
        describe_type(compound(4, (b"\xff", 0, h5t.STD_I32LE)))


def test_deep_nesting_is_refused() -> None:
    tid = h5t.STD_I8LE
    for _ in range(40):
        tid = compound(1, (b"x", 0, tid))
    with pytest.raises(UnsupportedError, match="nested more than 32 deep"):
        describe_type(tid)


def test_descriptions_pickle_and_are_shared() -> None:
    tid = compound(8, (b"a", 0, string_type(4, h5t.STR_NULLTERM)), (b"n", 4, h5t.STD_I32LE))
    described = describe_type(tid)
    assert describe_type(tid.copy()) is described
    again = pickle.loads(pickle.dumps(described))
    raw = np.frombuffer(b"a\0b\0\1\0\0\0", described.stored)
    assert again.decode(raw).tolist() == [(b"a", 1)]


def test_conversion_from_many_threads() -> None:
    fields, size, bias, _ = ODD_FLOATS["24 bits of 32"]
    described = describe_type(float_type(size, fields, bias))
    raw = np.random.default_rng(3).integers(0, 2**24, 1000).astype("<u4").view("V4")
    want = described.decode(raw)
    wrong = []

    def work() -> None:
        for _ in range(20):
            if described.decode(raw).tobytes() != want.tobytes():
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def filled(path: Path, dtype: npt.DTypeLike, fill: object) -> tuple[Any, Any]:
    with h5py.File(path, "w") as f:
        dataset = f.create_dataset("x", (4,), dtype, fillvalue=fill)
        tid = dataset.id.get_type()
        return fill_value(dataset.id.get_create_plist(), tid, describe_type(tid)), dataset[0]


@pytest.mark.parametrize(
    ("dtype", "fill"),
    [
        ("<i4", -7),
        (">u2", 65535),
        (">f8", np.nan),
        ("<f2", 1.5),
        ("?", True),
        ("S4", b"ab"),
        ("<c16", 1 - 2j),
        (h5py.enum_dtype({"A": 0, "B": 3}, ">i2"), 3),
        (h5py.opaque_dtype(np.dtype("<M8[s]")), np.array(5, h5py.opaque_dtype(np.dtype("<M8[s]")))),
        ("V3", np.void(b"abc")),
        (np.dtype([("a", "<i2"), ("s", "S3"), ("v", "<f4", (2,))]), np.array((5, b"xy", (1, 2)), "<i2,S3,(2,)<f4")[()]),
    ],
)
def test_fill_value(scratch: Path, dtype: npt.DTypeLike, fill: Any) -> None:
    if isinstance(dtype, np.dtype) and dtype.names:
        fill = fill.astype(dtype)
    got, want = filled(scratch, dtype, fill)
    assert np.asarray(got).dtype == np.asarray(want).dtype
    assert np.asarray(got).tobytes() == np.asarray(want).tobytes()


def test_fill_value_of_variable_strings(scratch: Path) -> None:
    assert filled(scratch, h5py.string_dtype(), "none")[0] == b"none"


def test_no_fill_value(scratch: Path) -> None:
    with h5py.File(scratch, "w") as f:
        dataset = f.create_dataset("x", (4,), "<f4")
        tid = dataset.id.get_type()
        assert fill_value(dataset.id.get_create_plist(), tid, describe_type(tid)) is None


def test_the_zero_of_a_time_is_not_nat(scratch: Path) -> None:
    with h5py.File(scratch, "w") as f:
        dataset = f.create_dataset("x", (4,), h5py.opaque_dtype("<M8[s]"))
        tid = dataset.id.get_type()
        assert fill_value(dataset.id.get_create_plist(), tid, describe_type(tid)) == np.datetime64(0, "s")


def array_fill(path: Path, values: list[float]) -> None:
    """A dataset of arrays of three floats, filled with `values`: h5py writes none, so the type is patched in."""
    struct = np.array(tuple(values), "<f4,<f4,<f4")
    array = h5t.array_create(h5t.IEEE_F32LE, (3,))
    with h5py.File(path, "w", libver="earliest") as f:
        encoded = f.create_dataset("x", (4,), struct.dtype, fillvalue=struct).id.get_type().encode()
    data = path.read_bytes()
    # Behind two bytes of the serialiser's own, both are datatype messages as they lie in the object header.
    message = encoded[2:]
    assert data.count(message) == 1
    path.write_bytes(data.replace(message, array.encode()[2:].ljust(len(message), b"\0")))


def test_fill_value_of_an_array_type(scratch: Path) -> None:
    array_fill(scratch, [7, 7, 7])
    with h5py.File(scratch) as f:
        dataset = f["x"]
        assert dataset[...].tolist() == [[7, 7, 7]] * 4
        tid = dataset.id.get_type()
        got = fill_value(dataset.id.get_create_plist(), tid, describe_type(tid))
    assert got == 7
    assert got.dtype == np.dtype("<f4")


def test_fill_values_that_differ_within_an_array_type(scratch: Path) -> None:
    array_fill(scratch, [1, 2, 3])
    with h5py.File(scratch) as f:
        tid = f["x"].id.get_type()
        with pytest.raises(UnsupportedError, match=re.escape("got [1.0, 2.0, 3.0]")):
            fill_value(f["x"].id.get_create_plist(), tid, describe_type(tid))
