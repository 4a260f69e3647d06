"""NetCDF-3 files against scipy and netCDF4, and damaged ones, which a small writer of these tests makes."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import packstore
from packstore.errors import FormatError, OptionError, PackstoreError, TruncatedFileError, UnsupportedError
from packstore.readers import netcdf3
from packstore.readers.netcdf3 import header as parser
from packstore.source import FileSource
from packstore.storage import GridStorage, typed_attributes
from packstore.testing.readers import Order, ReaderTests, assert_same, example
from packstore.views.lazy import open_lazy

CODES = {"i1": 1, "S1": 2, ">i2": 3, ">i4": 4, ">f4": 5, ">f8": 6, "u1": 7, ">u2": 8, ">u4": 9, ">i8": 10, ">u8": 11}
Dims = Sequence[tuple[str, int]]
Variables = Mapping[str, tuple[tuple[int, ...], np.ndarray]]


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def cdf(dims: Dims, variables: Variables, version: int = 1, records: int | None = None, lead: bytes = b"") -> bytes:
    """A file; a dimension of length 0 is the record dimension.

    Parameters
    ----------
    variables
        By name: the numbers of the dimensions, and the values.
    records
        What the header says of the number of records; None: the truth.
    lead
        The list of global attributes.
    """
    count = ">Q" if version == 5 else ">I"
    offset = ">I" if version == 1 else ">Q"

    def named(name: str) -> bytes:
        raw = name.encode()
        return struct.pack(count, len(raw)) + padded(raw)

    absent = struct.pack(">I", 0) + struct.pack(count, 0)
    growing = {name for name, (ids, _) in variables.items() if ids and dims[ids[0]][1] == 0}
    rows = {name: (values[0:1] if name in growing else values).nbytes for name, (_, values) in variables.items()}
    found = max([len(variables[name][1]) for name in growing], default=0)
    begins: dict[str, int] = {}

    def head() -> bytes:
        out = b"CDF" + bytes([version]) + struct.pack(count, found if records is None else records)
        out += struct.pack(">I", 10) + struct.pack(count, len(dims))
        out += b"".join(named(name) + struct.pack(count, n) for name, n in dims) + (lead or absent)
        out += struct.pack(">I", 11) + struct.pack(count, len(variables))
        for name, (ids, values) in variables.items():
            out += named(name) + struct.pack(count, len(ids)) + b"".join(struct.pack(count, i) for i in ids) + absent
            out += struct.pack(">I", CODES[values.dtype.str.lstrip("|")])
            out += struct.pack(count, -(-rows[name] // 4) * 4) + struct.pack(offset, begins.get(name, 0))
        return out

    at = len(head())
    for name in sorted(variables, key=lambda n: n in growing):
        begins[name] = at
        at += -(-rows[name] // 4) * 4
    body = b"".join(padded(variables[name][1].tobytes()) for name in variables if name not in growing)
    for i in range(found):
        pieces = [variables[name][1][i : i + 1].tobytes() for name in variables if name in growing]
        body += pieces[0] if len(pieces) == 1 else b"".join(map(padded, pieces))
    return head() + body


class TestNetcdf3(ReaderTests):
    format = "netcdf3"
    component = "x"
    suffix = ".nc"
    version: ClassVar[int] = 1
    dtypes: ClassVar[tuple[Any, ...]] = ("i1", "S1", ">i2", ">i4", ">f4", ">f8")
    shapes: ClassVar[tuple[tuple[int, ...], ...]] = ((), (0,), (7,), (5, 3), (4, 1, 6), (3, 2, 2, 2))
    orders: ClassVar[tuple[Order, ...]] = ("C",)
    property_dtypes: ClassVar[tuple[str, ...]] = ("i1", ">i2", ">f4", ">f8")
    min_side: ClassVar[int] = 1

    def write(self, path: Path, array: np.ndarray) -> None:
        dims = [(f"d{i}", n) for i, n in enumerate(array.shape)]
        before = np.arange(3, dtype="i1")
        axes = tuple(range(array.ndim))
        path.write_bytes(cdf([*dims, ("b", 3)], {"before": ((array.ndim,), before), "x": (axes, array)}, self.version))


class TestLargeOffsets(TestNetcdf3):
    version = 2


class TestLargeData(TestNetcdf3):
    version = 5
    dtypes = (*TestNetcdf3.dtypes, "u1", ">u2", ">u4", ">i8", ">u8")
    property_dtypes = ("u1", ">u2", ">i8", ">f8")


class TestRecords(TestNetcdf3):
    """The first axis is the record dimension, and another variable lies between the records."""

    shapes = ((0,), (7,), (5, 3), (4, 1, 6), (3, 2, 2, 2))
    min_dims = 1

    def write(self, path: Path, array: np.ndarray) -> None:
        dims = [("t", 0), *((f"d{i}", n) for i, n in enumerate(array.shape[1:], 1))]
        other = np.arange(len(array), dtype="i1")
        axes = tuple(range(array.ndim))
        path.write_bytes(cdf(dims, {"a": ((0,), other), "x": (axes, array), "z": ((0,), other)}))


class TestOneRecordVariable(TestNetcdf3):
    """Records of one variable alone are not padded."""

    shapes = TestRecords.shapes
    min_dims = 1

    def write(self, path: Path, array: np.ndarray) -> None:
        dims = [("t", 0), *((f"d{i}", n) for i, n in enumerate(array.shape[1:], 1))]
        path.write_bytes(cdf(dims, {"x": (tuple(range(array.ndim)), array)}))


FORMATS = ("NETCDF3_CLASSIC", "NETCDF3_64BIT_OFFSET", "NETCDF3_64BIT_DATA")


def written(path: Path, format: str) -> None:
    """Variables of each type with and without records, attributes, text, by the NetCDF library."""
    netcdf4 = pytest.importorskip("netCDF4")
    with netcdf4.Dataset(path, "w", format=format) as f:
        for name, n in (("time", None), ("x", 3), ("n", 5), ("unused", 2)):
            f.createDimension(name, n)
        f.title, f.numbers, f.one, f.nothing = "größe", np.array([1, 2, 3], "i2"), np.float32(0.1), ""
        for code in ("i1", "i2", "i4", "f4", "f8", *(("u1", "u2", "u4", "i8", "u8") if "DATA" in format else ())):
            f.createVariable(f"fixed_{code}", code, ("x",), fill_value=1)[:] = [1, 2, 3]
            v = f.createVariable(f"record_{code}", code, ("time", "x"))
            v[:] = np.arange(12).reshape(4, 3)
            v.units, v.valid_range = "m", np.array([0, 99], code)
            f.createVariable(f"thin_{code}", code, ("time",))[:] = np.arange(4)
        texts = netcdf4.stringtochar(np.array(["abc", "de", "f", "ghijk"], "S5"))
        f.createVariable("text", "S1", ("x", "n"))[:] = texts[:3]
        f.createVariable("texts", "S1", ("time", "n"))[:] = texts
        f.createVariable("scalar", "f8")[...] = 5
        time = f.createVariable("time", "f8", ("time",), fill_value=-1)
        time.units, time.calendar = "days since 2000-01-01", "noleap"
        time[:] = [0, 1, 2, 3.5]


@pytest.mark.parametrize("format", FORMATS)
def test_like_netcdf4_and_scipy(tmp_path: Path, format: str) -> None:
    path = tmp_path / "x.nc"
    written(path, format)
    netcdf4 = pytest.importorskip("netCDF4")
    with netcdf4.Dataset(path) as f:
        f.set_auto_mask(False)
        f.set_auto_chartostring(False)
        assert sorted(packstore.open_group(path).array_keys()) == sorted(f.variables)
        for name, variable in f.variables.items():
            array = packstore.open_array(path, name)
            want = variable[...]
            assert_same(array[...], want)
            assert_same(array[..., 1:], want[..., 1:]) if want.ndim else None
            assert array.metadata.to_dict().get("dimension_names", ()) == variable.dimensions
            assert open_lazy(path, name).array.storage.is_view
            for key in variable.ncattrs():
                found = typed_attributes(open_lazy(path, name).attrs)[key]
                np.testing.assert_array_equal(found, variable.getncattr(key))
                assert getattr(found, "dtype", str) == getattr(variable.getncattr(key), "dtype", str)
        attributes = packstore.open_group(path).attrs
        assert dict(attributes) == {
            "title": "größe",
            "numbers": [1, 2, 3],
            "one": float(np.float32(0.1)),
            "nothing": "",
        }
    if "DATA" in format:
        return
    scipy_io = pytest.importorskip("scipy.io")
    with scipy_io.netcdf_file(path, mmap=False) as f:
        for name, variable in f.variables.items():
            assert_same(packstore.from_file(path, name).compute(scheduler="synchronous"), variable.data)


@pytest.mark.parametrize("format", FORMATS)
def test_like_xarray(tmp_path: Path, format: str) -> None:
    xr = pytest.importorskip("xarray")
    path = tmp_path / "x.nc"
    written(path, format)
    store = packstore.open_store(path)
    assert store.unsupported == {}
    with xr.open_dataset(path, engine="netcdf4" if "DATA" in format else "scipy") as want:
        xr.testing.assert_identical(xr.open_zarr(store, consolidated=False, chunks=None).load(), want.load())


def test_mapped_in_place(tmp_path: Path) -> None:
    want = np.arange(24, dtype=">i4").reshape(4, 6)
    TestRecords().write(tmp_path / "x.nc", want)
    array = open_lazy(tmp_path / "x.nc", "x")
    part = array[1:3, 2]
    # The other variables have four bytes in each record.
    assert part.base is not None and part.strides == (8 + 24,) and not part.flags.writeable
    facts = array.array.storage.facts(array.array)
    assert (facts.layout, facts.nbytes) == ("records", want.nbytes)
    assert array.array.max_shape == (None, 6)


def test_without_a_mapping(tmp_path: Path) -> None:
    """A remote file is read by ranges."""
    fsspec = pytest.importorskip("fsspec")
    want = example(">f4", (50, 6))
    TestRecords().write(tmp_path / "x.nc", want)
    fsspec.filesystem("memory").pipe("/records.nc", (tmp_path / "x.nc").read_bytes())
    array = packstore.open_array("memory://records.nc", "x")
    for key in (..., slice(3, 40, 7), (slice(None), 2), (slice(4, 9), slice(5, 1, -2)), 7):
        assert_same(array[key], want[key])


def test_unknown_number_of_records(tmp_path: Path) -> None:
    """A file that is still written, or was written to a pipe: as many records as there are."""
    a, b = np.arange(5, dtype=">i2"), np.arange(10, dtype=">f4").reshape(5, 2)
    for version, unknown in ((1, 2**32 - 1), (2, 2**32 - 1), (5, 2**64 - 1)):
        whole = cdf([("t", 0), ("x", 2)], {"a": ((0,), a), "b": ((0, 1), b)}, version, records=unknown)
        path = tmp_path / f"{version}.nc"
        path.write_bytes(whole)
        assert_same(packstore.open_array(path, "b")[...], b)
        path.write_bytes(whole[:-1])
        assert_same(packstore.open_array(path, "a")[...], a[:4])
        # The last record need not be padded.
        alone = cdf([("t", 0), ("x", 2)], {"b": ((0, 1), b), "a": ((0,), a)}, version, records=unknown)
        path.write_bytes(alone[:-2])
        assert_same(packstore.open_array(path, "a")[...], a)


def test_the_last_record_need_not_be_padded(tmp_path: Path) -> None:
    a = np.arange(5, dtype=">i2")
    (tmp_path / "x.nc").write_bytes(cdf([("t", 0)], {"a": ((0,), a), "b": ((0,), a)})[:-2])
    assert_same(packstore.open_array(tmp_path / "x.nc", "b")[...], a)


def test_a_file_that_is_cut_short_keeps_what_it_has(tmp_path: Path) -> None:
    first, last = np.arange(100, dtype=">f8"), np.arange(100, dtype=">i4")
    path = tmp_path / "x.nc"
    path.write_bytes(cdf([("x", 100)], {"first": ((0,), first), "last": ((0,), last)})[:-1])
    assert_same(packstore.open_array(path, "first")[...], first)
    group = packstore.open_group(path)
    assert list(group.array_keys()) == ["first"]
    assert "bytes in the file" in group.unsupported["last"]
    with pytest.raises(UnsupportedError, match=r"x\.nc\[last\]: expected at least \d+ bytes in the file, got \d+\."):
        packstore.open_array(path, "last")
    # Nothing of it is left.
    path.write_bytes(cdf([("x", 100)], {"first": ((0,), first), "last": ((0,), last)})[:200])
    for component in (None, "first"):
        with pytest.raises(
            TruncatedFileError, match=r"x\.nc\[first\]: expected at least \d+ bytes in the file, got 200"
        ):
            packstore.open(path, component)


def test_every_prefix_is_right_or_loud(tmp_path: Path) -> None:
    """So is every file with one wrong byte in its header."""
    a, b = np.arange(6, dtype=">i2").reshape(2, 3), np.arange(3, dtype="i1")
    whole = cdf([("t", 0), ("x", 3)], {"a": ((0, 1), a), "b": ((1,), b), "c": ((0,), a[:, 0])})
    want = {"a": a, "b": b, "c": a[:, 0]}
    path = tmp_path / "x.nc"
    for end in range(4, len(whole) - 2):
        path.write_bytes(whole[:end])
        try:
            found = netcdf3.read(FileSource(path), component=None, chunks=None)
        except TruncatedFileError:
            continue
        assert set(found.arrays) | set(found.unsupported) == set(want) and found.unsupported
        for name, array in found.arrays.items():
            assert_same(array.storage.read(array, tuple(slice(0, n, 1) for n in array.shape)), want[name])
    for at in range(4, len(whole) - a.nbytes - 16):
        for value in (0, 1, 255):
            wrong = bytearray(whole)
            wrong[at] = value
            (tmp_path / "x.nc").write_bytes(wrong)
            try:
                found = netcdf3.read(FileSource(tmp_path / "x.nc"), component=None, chunks=None)
            except PackstoreError:
                continue
            for array in found.arrays.values():
                assert isinstance(array.storage, GridStorage)
                assert array.storage.read(array, tuple(slice(0, n, 1) for n in array.shape)).shape == array.shape


def hostile(version: int = 1, **changes: Any) -> bytes:
    """A header with one number that makes no sense."""
    x = np.arange(4, dtype=">i4")
    dims: list[tuple[str, int]] = changes.get("dims", [("x", 4)])
    whole = cdf(dims, {"v": (changes.get("ids", (0,)), x)}, version, changes.get("records"), changes.get("lead", b""))
    old, new = changes.get("swap", (b"", b""))
    return whole.replace(old, new, 1)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (hostile(ids=(7,), dims=[("x", 4)] * 8).replace(struct.pack(">I", 7), struct.pack(">I", 9), 1), "among 8"),
        (hostile(dims=[("x", 4), ("t", 0), ("u", 0)]), "one record dimension"),
        (hostile(dims=[("x", 4), ("t", 0)], ids=(0, 1)), "to be its first"),
        (hostile(swap=(struct.pack(">II", 10, 1), struct.pack(">II", 10, 2**31))), "dimensions that fit"),
        (hostile(swap=(struct.pack(">II", 11, 1), struct.pack(">II", 12, 1))), "a list of variables"),
        (hostile(swap=(struct.pack(">II", 4, 16), struct.pack(">II", 7, 16))), "a type from 1 to 6"),
        (hostile(lead=struct.pack(">III", 12, 1, 1) + b"a\0\0\0" + struct.pack(">II", 6, 2**31)), "more bytes"),
    ],
    ids=["id", "two records", "inner record", "count", "tag", "type", "attribute"],
)
def test_headers_that_make_no_sense(tmp_path: Path, data: bytes, expected: str) -> None:
    path = tmp_path / "x.nc"
    path.write_bytes(data)
    with pytest.raises(FormatError, match=expected) as caught:
        packstore.open_store(path)
    assert str(caught.value).startswith(f"reading the NetCDF-3 header of {path}: expected ")


def test_overlapping_records_and_data_in_the_header(tmp_path: Path) -> None:
    a = np.arange(4, dtype=">i4")
    good = cdf([("t", 0)], {"a": ((0,), a), "b": ((0,), a)})
    begin = len(good) - 2 * a.nbytes
    for old, new, expected in ((begin + 4, begin + 8, "record variables within 8 bytes"), (begin, 8, "")):
        wrong = good.replace(struct.pack(">II", 4, old), struct.pack(">II", 4, new), 1)
        assert wrong != good
        (tmp_path / "x.nc").write_bytes(wrong)
        with pytest.raises(FormatError, match=expected or "record variables within|behind the header"):
            packstore.open_store(tmp_path / "x.nc")
    one = cdf([("x", 4)], {"a": ((0,), a)})
    (tmp_path / "x.nc").write_bytes(one.replace(struct.pack(">II", 16, len(one) - 16), struct.pack(">II", 16, 8), 1))
    with pytest.raises(FormatError, match="behind the header of"):
        packstore.open_store(tmp_path / "x.nc")


def test_lengths_that_no_file_has(tmp_path: Path) -> None:
    """Of one variable: the others are served."""
    x = np.arange(4, dtype=">i4")
    for version, length in ((1, 2**31), (5, 2**62)):
        count = ">Q" if version == 5 else ">I"
        data = cdf([("x", 4), ("y", 6)], {"v": ((0,), x), "w": ((1,), np.arange(6, dtype="i1"))}, version)
        long = b"y\0\0\0" + struct.pack(count, length)
        (tmp_path / "x.nc").write_bytes(data.replace(b"y\0\0\0" + struct.pack(count, 6), long, 1))
        group = packstore.open_group(tmp_path / "x.nc")
        assert list(group.array_keys()) == ["v"] and list(group.unsupported) == ["w"]
        with pytest.raises(UnsupportedError, match="bytes"):
            packstore.open_array(tmp_path / "x.nc", "w")


def test_names_that_are_not_allowed(tmp_path: Path) -> None:
    x = np.arange(4, dtype=">i4")
    whole = cdf([("x", 4)], {"aa": ((0,), x), "ab": ((0,), x), "good": ((0,), x), "..": ((0,), x)})
    path = tmp_path / "x.nc"
    path.write_bytes(whole.replace(b"ab\0\0", b"aa\0\0"))
    group = packstore.open_group(path)
    assert list(group.array_keys()) == ["good"]
    assert "2 variables of this name" in group.unsupported["aa"] and "no node named" in group.unsupported[".."]
    path.write_bytes(whole.replace(b"good", b"g/od"))
    assert sorted(packstore.open_group(path).array_keys()) == ["aa", "ab"]
    with pytest.raises(UnsupportedError, match="a name that NetCDF does not allow"):
        packstore.open_array(path, "g/od")


def test_long_headers_are_read_in_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.arange(4, dtype=">i4")
    path = tmp_path / "x.nc"
    path.write_bytes(cdf([("x", 4)], {f"variable {i}": ((0,), (x + i).astype(">i4")) for i in range(300)}))
    monkeypatch.setattr(parser, "FIRST_NBYTES", 64)
    assert_same(packstore.open_array(path, "variable 299")[...], x + 299)
    monkeypatch.setattr(parser, "MAX_HEADER_NBYTES", 1000)
    with pytest.raises(FormatError, match="a header of at most 1000 bytes"):
        parser.read_header(FileSource(path))


def test_chunks(tmp_path: Path) -> None:
    TestRecords().write(tmp_path / "x.nc", np.zeros((6, 4), ">f4"))
    group = packstore.open_group(tmp_path / "x.nc", chunks=(2, 4))
    assert {name: array.chunks for name, array in group.arrays()} == {"a": (6,), "x": (2, 4), "z": (6,)}
    with pytest.raises(OptionError, match="chunks"):
        packstore.open_array(tmp_path / "x.nc", "x", chunks=(2, 4, 1))
