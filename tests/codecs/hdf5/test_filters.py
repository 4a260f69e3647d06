"""Each filter against h5py, through the shipped conformance suite."""

from __future__ import annotations

from typing import Any, ClassVar

import h5py
import hdf5plugin
import numpy as np
import numpy.typing as npt
import pytest

from packstore.codecs.hdf5 import FilterSpec, decode_chunk
from packstore.testing.filters import FilterTests, chunks_of, memory_file, pipeline_of


class TestDeflate(FilterTests):
    filter_id = 1
    options: ClassVar[dict[str, Any]] = {"compression": "gzip"}


class TestDeflateBest(FilterTests):
    filter_id = 1
    options: ClassVar[dict[str, Any]] = {
        "compression": "gzip",
        "compression_opts": 9,
        "shuffle": True,
        "fletcher32": True,
    }


class TestShuffle(FilterTests):
    filter_id = 2
    dtypes = (*FilterTests.dtypes, "S3", "S6", "S7", "S12", "V24")
    options: ClassVar[dict[str, Any]] = {"shuffle": True}

    def values(self, dtype: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        raw = np.random.default_rng(1).integers(1, 256, int(np.prod(shape)) * np.dtype(dtype).itemsize, np.uint8)
        return raw.view(dtype).reshape(shape)


class TestFletcher32(FilterTests):
    filter_id = 3
    dtypes = ("<u1", "<i2", "<f8", "S3")
    options: ClassVar[dict[str, Any]] = {"fletcher32": True}


class TestFletcher32AfterGzip(FilterTests):
    """The checksum is over compressed bytes, of odd and even count."""

    filter_id = 3
    options: ClassVar[dict[str, Any]] = {"fletcher32": True, "compression": "gzip"}


class TestSzip(FilterTests):
    filter_id = 4
    dtypes = ("<u1", "<i2", ">i2", "<u4", "<f4", ">f4", "<f8", ">f8", "<i8")
    shapes = (((40, 50), (16, 20)), ((1009,), (211,)), ((100, 3), (64, 3)))
    options: ClassVar[dict[str, Any]] = {"compression": "szip"}
    # Where it pads scan lines, libaec does not tell how much it decoded: see test_szip_truncated.
    detects_damage = False


class TestSzipEntropy(TestSzip):
    options: ClassVar[dict[str, Any]] = {"compression": "szip", "compression_opts": ("ec", 32), "shuffle": True}


class TestBzip2(FilterTests):
    filter_id = 307
    options: ClassVar[dict[str, Any]] = dict(hdf5plugin.BZip2())


class TestLzf(FilterTests):
    filter_id = 32000
    shapes = (((40, 50), (16, 20)), ((1009,), (211,)))
    options: ClassVar[dict[str, Any]] = {"compression": "lzf"}


class TestLzfShuffle(TestLzf):
    options: ClassVar[dict[str, Any]] = {"compression": "lzf", "shuffle": True, "fletcher32": True}


class TestLz4(FilterTests):
    filter_id = 32004
    options: ClassVar[dict[str, Any]] = dict(hdf5plugin.LZ4())


class TestLz4Blocks(FilterTests):
    filter_id = 32004
    options: ClassVar[dict[str, Any]] = dict(hdf5plugin.LZ4(nbytes=100))


class TestZstd(FilterTests):
    filter_id = 32015
    options: ClassVar[dict[str, Any]] = dict(hdf5plugin.Zstd(clevel=5))


class TestZstdShuffle(FilterTests):
    filter_id = 32015
    options: ClassVar[dict[str, Any]] = {**hdf5plugin.Zstd(), "shuffle": True}


class _Bitshuffle(FilterTests):
    filter_id = 32008
    shapes = (((40, 50), (16, 20)), ((1,), (1,)), ((1009,), (211,)), ((30000,), (30000,)), ((5003,), (5001,)))


class TestBitshuffle(_Bitshuffle):
    options: ClassVar[dict[str, Any]] = dict(hdf5plugin.Bitshuffle(cname="none"))


class TestBitshuffleBlocks(_Bitshuffle):
    options: ClassVar[dict[str, Any]] = dict(hdf5plugin.Bitshuffle(nelems=64, cname="none"))


class TestBitshuffleLz4(_Bitshuffle):
    options: ClassVar[dict[str, Any]] = dict(hdf5plugin.Bitshuffle(cname="lz4"))


class TestBitshuffleLz4Blocks(_Bitshuffle):
    options: ClassVar[dict[str, Any]] = dict(hdf5plugin.Bitshuffle(nelems=40, cname="lz4"))


class TestBitshuffleZstd(_Bitshuffle):
    options: ClassVar[dict[str, Any]] = dict(hdf5plugin.Bitshuffle(cname="zstd"))


class _Blosc(FilterTests):
    filter_id = 32001
    dtypes = ("<u1", "<i2", ">f4", "<f8", "S3", "<c16")


for _name in ("blosclz", "lz4", "lz4hc", "zlib", "zstd"):
    for _shuffle in (0, 1, 2):
        _class = type(
            f"TestBlosc_{_name}_{_shuffle}",
            (_Blosc,),
            {"options": dict(hdf5plugin.Blosc(cname=_name, shuffle=_shuffle)), "__module__": __name__},
        )
        globals()[_class.__name__] = _class
del _class


def _with_filter(
    file: h5py.File, name: str, values: npt.NDArray[Any], chunks: tuple[int, ...], kind: h5py.h5t.TypeID, setup: Any
) -> h5py.Dataset:
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk(chunks)
    setup(plist)
    space = h5py.h5s.create_simple(values.shape)
    made = h5py.h5d.create(file.id, name.encode(), kind, space, plist)
    made.write(space, space, np.ascontiguousarray(values))
    return h5py.Dataset(made)


def _set_nbit(plist: h5py.h5p.PropDCID) -> None:
    plist.set_filter(h5py.h5z.FILTER_NBIT, h5py.h5z.FLAG_OPTIONAL, ())


def _narrow(dtype: str, precision: int, offset: int) -> h5py.h5t.TypeID:
    kind = h5py.h5t.py_create(np.dtype(dtype)).copy()
    kind.set_precision(precision)
    kind.set_offset(offset)
    return kind


class TestNbit(FilterTests):
    filter_id = 5
    dtypes: tuple[str, ...] = ("<u1", "<i2", ">i2")
    precision, offset = 6, 2

    def create(self, file: h5py.File, name: str, values: npt.NDArray[Any], chunks: tuple[int, ...]) -> h5py.Dataset:
        kind = _narrow(values.dtype.str, self.precision, self.offset)
        return _with_filter(file, name, values, chunks, kind, _set_nbit)


class TestNbitWide(TestNbit):
    dtypes = ("<i4", ">u4")
    precision, offset = 29, 1


class TestNbitWider(TestNbit):
    dtypes = ("<i8", ">i8")
    precision, offset = 59, 3


class TestNbitWhole(TestNbit):
    """All bits are significant: the filter does nothing."""

    dtypes = ("<i2", ">i4")
    detects_damage = True
    precision, offset = 16, 0

    def create(self, file: h5py.File, name: str, values: npt.NDArray[Any], chunks: tuple[int, ...]) -> h5py.Dataset:
        return _with_filter(file, name, values, chunks, h5py.h5t.py_create(values.dtype), _set_nbit)


@pytest.mark.parametrize("dtype", ["<i1", "<u2", ">i2", "<i4", ">u4", "<i8", ">u8"])
def test_nbit_every_precision(dtype: str) -> None:
    """Every precision at its lowest, middle and highest offset."""
    suite = TestNbit()
    size = np.dtype(dtype).itemsize * 8
    with memory_file() as file:
        values = np.random.default_rng(0).integers(0, 256, 103 * size // 8, np.uint8).view(dtype)
        for precision in range(1, size + 1):
            for offset in sorted({0, (size - precision) // 2, size - precision}):
                if size > 8 and precision + offset < size // 2:
                    continue  # libhdf5 refuses to make such a type
                kind = _narrow(dtype, precision, offset)
                # Write the bits as they are: the memory type is the file's own type.
                suite.check(_raw_nbit(file, f"{precision}-{offset}", values, (50,), kind), True)


def _raw_nbit(
    file: h5py.File, name: str, values: npt.NDArray[Any], chunks: tuple[int, ...], kind: h5py.h5t.TypeID
) -> h5py.Dataset:
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk(chunks)
    _set_nbit(plist)
    space = h5py.h5s.create_simple(values.shape)
    made = h5py.h5d.create(file.id, name.encode(), kind, space, plist)
    made.write(space, space, np.ascontiguousarray(values), mtype=kind)
    return h5py.Dataset(made)


def _compound(size: int, *members: tuple[str, int, h5py.h5t.TypeID]) -> h5py.h5t.TypeCompoundID:
    kind = h5py.h5t.create(h5py.h5t.COMPOUND, size)
    for name, offset, member in members:
        kind.insert(name.encode(), offset, member)
    return kind


def _types() -> dict[str, h5py.h5t.TypeID]:
    string = h5py.h5t.C_S1.copy()
    string.set_size(5)
    opaque = h5py.h5t.create(h5py.h5t.OPAQUE, 3)
    enum = h5py.h5t.py_create(h5py.enum_dtype({"a": 1, "b": 2}, "i2"))
    narrow = _narrow("<i4", 11, 6)
    three = h5py.h5t.STD_U32LE.copy()
    three.set_precision(19)
    three.set_size(3)
    real = h5py.h5t.IEEE_F32LE.copy()
    real.set_fields(20, 13, 7, 0, 13)
    real.set_offset(5)
    real.set_precision(21)
    extended = h5py.h5t.py_create(np.dtype(np.longdouble))
    array = h5py.h5t.array_create(narrow, (3, 5))
    nested = h5py.h5t.array_create(h5py.h5t.array_create(_narrow(">u2", 9, 3), (2,)), (3,))
    inner = _compound(8, ("x", 1, _narrow("<u2", 13, 1)), ("y", 4, _narrow(">i4", 23, 4)))
    compound = _compound(
        64,
        ("text", 0, string),
        ("number", 8, _narrow(">i8", 41, 13)),
        ("inner", 16, inner),
        ("inners", 24, h5py.h5t.array_create(inner, (3,))),
        ("opaque", 48, opaque),
        ("enum", 52, enum),
        ("real", 56, real),
    )
    return {
        "three bytes": three,
        "float": real,
        "long double": extended,
        "array": array,
        "array of arrays": nested,
        "compound with array of arrays": _compound(24, ("a", 0, nested), ("b", 16, narrow), ("c", 20, narrow)),
        "compound": compound,
        "array of compounds": h5py.h5t.array_create(compound, (2, 2)),
        "packed compound": _compound(2, ("a", 0, _narrow("<u1", 3, 2)), ("b", 1, _narrow("<u1", 8, 0))),
        "strings": h5py.h5t.array_create(string, (4,)),
        "string": string,
        "compound of one": h5py.h5t.array_create(_compound(4, ("a", 1, _narrow("<u2", 7, 2))), (5,)),
    }


@pytest.mark.parametrize("name", list(_types()))
@pytest.mark.parametrize("count", [1, 7, 8, 9, 100])
def test_nbit_types(name: str, count: int) -> None:
    """Arrays, compounds and their mixtures; members that nbit stores whole."""
    kind = _types()[name]
    with memory_file() as file:
        raw = np.random.default_rng(count).integers(0, 256, (count, kind.get_size()), np.uint8)
        values = raw.view(np.dtype((np.void, kind.get_size()))).reshape(count)
        TestNbit().check(_raw_nbit(file, "values", values, (max(1, count * 2 // 3),), kind), True)


class TestScaleOffset(FilterTests):
    filter_id = 6
    dtypes: tuple[str, ...] = ("|u1", "|i1", "<u2", ">u2", "<i2", ">i2", "<u4", ">i4", "<i8", ">u8")
    factor: Any = True

    def create(self, file: h5py.File, name: str, values: npt.NDArray[Any], chunks: tuple[int, ...]) -> h5py.Dataset:
        return file.create_dataset(name, data=values, chunks=chunks, scaleoffset=self.factor)


class TestScaleOffsetBits(TestScaleOffset):
    dtypes = ("|u1", "<i2", ">i4", "<u8")
    factor = 7


class TestScaleOffsetFloat(TestScaleOffset):
    dtypes = ("<f4", ">f4", "<f8", ">f8")
    factor = 2

    def values(self, dtype: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        count = int(np.prod(shape))
        return (np.random.default_rng(count).normal(size=shape) * 37).astype(dtype)


@pytest.mark.parametrize("dtype", ["|u1", "|i1", "<u2", ">i2", "<i4", ">u4", "<i8", ">u8", ">i8"])
@pytest.mark.parametrize("fill", ["default", 3])
@pytest.mark.parametrize("spread", ["constant", "small", "full"])
def test_scaleoffset_integers(dtype: str, fill: Any, spread: str) -> None:
    """Fill values defined or not; from no bits at all to full width."""
    limits = np.iinfo(dtype)
    generator = np.random.default_rng(3)
    low, high = {"constant": (5, 5), "small": (max(limits.min, -9), 40), "full": (limits.min, limits.max)}[spread]
    values = generator.integers(low, high, 211, dtype=np.dtype(dtype).newbyteorder("="), endpoint=True).astype(dtype)
    if spread == "small":
        values[::5] = 3
    with memory_file() as file:
        for factor in {0, 3, 7, limits.bits - 1, limits.bits}:

            def setup(plist: h5py.h5p.PropDCID, factor: int = factor) -> None:
                if fill != "default":
                    plist.set_fill_value(np.array(fill, dtype))
                plist.set_scaleoffset(h5py.h5z.SO_INT, factor)

            dataset = _with_filter(file, f"{factor}", values, (100,), h5py.h5t.py_create(np.dtype(dtype)), setup)
            TestScaleOffset().check(dataset, True)


def _bit_stream(numbers: list[int], bits: int) -> bytes:
    """Pack numbers most significant bit first, the obvious way."""
    text = "".join(format(number, f"0{bits}b") for number in numbers)
    text += "0" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big")


@pytest.mark.parametrize("bits", [1, 2, 3, 7, 8, 9, 11, 15])
@pytest.mark.parametrize("order", ["<", ">"])
def test_scaleoffset_without_fill_value(bits: int, order: str) -> None:
    """h5py cannot make a dataset whose fill value is undefined, so its encoding is written out here."""
    numbers = np.random.default_rng(bits).integers(0, 1 << bits, 77).tolist()
    minimum = -300
    data = bits.to_bytes(4, "little") + b"\x08" + (minimum & (1 << 64) - 1).to_bytes(8, "little") + bytes(8)
    spec = FilterSpec(6, (2, 0, 77, 0, 2, 1, int(order == ">"), 0, *[0] * 12))
    decoded = decode_chunk(data + _bit_stream(numbers, bits) + b"\0", [spec], 0, 154)
    expected = (np.array(numbers) + minimum).astype(np.int16)
    assert decoded.view(f"{order}i2").tolist() == expected.tolist()
    # All values the same: no bits at all.
    data = bytes(4) + data[4:]
    assert decode_chunk(data, [spec], 0, 154).view(f"{order}i2").tolist() == [minimum] * 77


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 8, 12])
def test_nbit_narrow(size: int, order: str) -> None:
    """Types narrower than libhdf5 2.0 agrees to make; older files hold them."""
    for precision in range(1, min(20, 8 * size + 1)):
        for offset in range(0, 8 * size - precision + 1, 3):
            numbers = np.random.default_rng(precision).integers(0, 1 << precision, 29).tolist()
            spec = FilterSpec(5, (8, 0, 29, 1, size, int(order == ">"), precision, offset))
            decoded = decode_chunk(_bit_stream(numbers, precision), [spec], 0, 29 * size)
            kind = "big" if order == ">" else "little"
            expected = b"".join((number << offset).to_bytes(size, kind) for number in numbers)
            assert decoded.tobytes() == expected, (precision, offset)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8"])
@pytest.mark.parametrize("factor", [-2, 0, 1, 3, 6])
@pytest.mark.parametrize("fill", [None, 1.5])
def test_scaleoffset_floats(dtype: str, factor: int, fill: float | None) -> None:
    """Decimal scale, bit for bit what libhdf5 computes."""
    values = (np.random.default_rng(3).normal(size=307) * 1000).astype(dtype)
    values[::5] = 1.5
    with memory_file() as file:

        def setup(plist: h5py.h5p.PropDCID) -> None:
            if fill is not None:
                plist.set_fill_value(np.array(fill, dtype))
            plist.set_filter(h5py.h5z.FILTER_SCALEOFFSET, h5py.h5z.FLAG_OPTIONAL, (0, factor & 0xFFFFFFFF))

        dataset = _with_filter(file, "x", values, (100,), h5py.h5t.py_create(np.dtype(dtype)), setup)
        TestScaleOffset().check(dataset, True)


def test_pipeline_helpers() -> None:
    """The suite's own readers see what was written."""
    with memory_file() as file:
        dataset = file.create_dataset("x", data=np.arange(10, dtype="<i4"), chunks=(4,), compression="gzip")
        assert [spec.id for spec in pipeline_of(dataset)] == [1]
        chunks = list(chunks_of(dataset))
        assert [c.expected.view("<i4").tolist() for c in chunks] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
