"""Variable-length elements: h5py's values from every layout, and references that lead nowhere are refused."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from h5py import h5d, h5p, h5s, h5t

import packstore
from packstore.errors import CorruptDataError, StaleFileError
from packstore.readers.hdf5 import read
from packstore.readers.hdf5.fallback import H5Fallback
from packstore.readers.hdf5.problems import Damaged
from packstore.readers.hdf5.vlen import VlenReader
from packstore.source import FileSource, open_source
from packstore.storage import ManifestArray, ReaderStorage
from packstore.storage.read import read_box

WORDS = np.array([["", "a", "déjà"], ["vu" * 3000, "x" * 7, "x" * 8], ["1", "", "3"], ["4", "5", "6" * 90]], object)


def sequences(dtype: Any, n: int = 12) -> np.ndarray[Any, Any]:
    out = np.empty(n, object)
    for i in range(n):
        out[i] = np.arange(i % 5 * 3).astype(dtype)
    return out


def reader_of(array: ManifestArray) -> Any:
    assert isinstance(array.storage, ReaderStorage)
    return array.storage.reader


def compact() -> h5py.h5p.PropDCID:
    plist = h5p.create(h5p.DATASET_CREATE)
    plist.set_layout(h5d.COMPACT)
    return plist


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("userblock", [0, 512])
def test_text_in_every_layout(tmp_path: Path, check: Any, libver: str, userblock: int) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", libver=libver, userblock_size=userblock) as f:
        f["contiguous"] = WORDS
        f["scalar"] = "text"
        f["empty"] = h5py.Empty(h5py.string_dtype())
        f.create_dataset("none", (0, 3), h5py.string_dtype())
        f.create_dataset("unwritten", (5,), h5py.string_dtype())
        f.create_dataset("filled", (5,), h5py.string_dtype(), fillvalue="fill")
        f.create_dataset("ascii", data=np.array([b"a", b"bb"], object), dtype=h5py.string_dtype("ascii"))
        f.create_dataset("chunked", data=WORDS, chunks=(3, 2))
        f.create_dataset("gzip", data=WORDS, chunks=(3, 2), shuffle=True, compression="gzip")
        f.create_dataset("grown", data=WORDS, chunks=(3, 2), maxshape=(None, None))
        f.create_dataset("holes", (20,), h5py.string_dtype(), chunks=(4,), maxshape=(None,))[17] = "written"
        space = h5s.create_simple((4, 3))
        h5py.Dataset(h5d.create(f.id, b"compact", h5t.py_create(h5py.string_dtype(), logical=True), space, compact()))[
            ...
        ] = WORDS
    found = check(path, unsupported=("empty",))
    for name, array in found.arrays.items():
        assert isinstance(reader_of(array), VlenReader), name
    part = read_box(found.arrays["gzip"], (slice(1, 4, 2), slice(0, 2, 1)))
    assert part.tolist() == [[b"vu" * 3000, b"x" * 7], [b"4", b"5"]]


def test_fill_values_where_libhdf5_does_not_fill(tmp_path: Path) -> None:
    """libhdf5 2.0 wants to write to the file to fill in what was never written behind filters."""
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        d = f.create_dataset("x", (9,), h5py.string_dtype(), chunks=(4,), fillvalue="fill", compression="gzip")
        d[5] = "written"
    array = read(FileSource(path)).arrays["x"]
    want = [b"fill"] * 5 + [b"written"] + [b"fill"] * 3
    assert read_box(array, (slice(0, 9, 1),)).tolist() == want
    assert read_box(array, (slice(4, 9, 2),)).tolist() == want[4:9:2]


BASES = ["<i2", "<u8", "<f4", "<f8", "?", "<c8", "S3", [("a", "<i4"), ("b", "<f8")], "<f2"]


@pytest.mark.parametrize("base", BASES, ids=str)
def test_sequences_have_the_dtypes_and_values_of_h5py(tmp_path: Path, check: Any, base: Any) -> None:
    path = tmp_path / "x.h5"
    dtype = h5py.vlen_dtype(np.dtype(base))
    data = sequences("i4" if isinstance(base, list) else base)
    if isinstance(base, list):
        for i, part in enumerate(data):
            data[i] = np.array([(int(v), v / 2) for v in part], base)
    with h5py.File(path, "w") as f:
        layouts: dict[str, dict[str, Any]] = {
            "a": {},
            "b": {"chunks": (5,), "compression": "gzip"},
            "c": {"chunks": (5,)},
        }
        for name, options in layouts.items():
            d = f.create_dataset(name, (len(data),), dtype, **options)
            for i, part in enumerate(data):
                d[i] = part
        f.create_dataset("some", (9,), dtype, chunks=(2,))[3] = data[4]
        f.create_dataset("one", (), dtype)[()] = data[3]
    found = check(path)
    with h5py.File(path) as f:
        for name, array in found.arrays.items():
            assert isinstance(reader_of(array), VlenReader), name
            got = read_box(array, tuple(slice(0, n, 1) for n in array.shape)).reshape(-1)
            want = f[name][()]
            for ours, theirs in zip(got, [want] if name == "one" else want, strict=True):
                assert ours.dtype == theirs.dtype
                assert ours.flags.writeable
                assert ours.base is None
                np.testing.assert_array_equal(ours, theirs)


def test_enumerated_and_converted_elements(tmp_path: Path, check: Any) -> None:
    bits = h5t.STD_I32LE.copy()
    bits.set_precision(12)
    bits.set_offset(4)
    padded = h5t.C_S1.copy()
    padded.set_size(4)
    padded.set_strpad(h5t.STR_SPACEPAD)
    colours = h5t.enum_create(h5t.STD_I8LE)
    colours.enum_insert(b"RED", 1)
    values = {"bits": (bits, np.array([5, -3], "i4")), "colours": (colours, np.array([1, 0], "i1"))}
    values["padded"] = (padded, np.array([b"ab  ", b"c"], "S4"))
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        for name, (tid, value) in values.items():
            created = h5d.create(f.id, name.encode(), h5t.vlen_create(tid), h5s.create_simple((3,)))
            h5py.Dataset(created)[1] = value
    assert len(check(path).arrays) == 3


def test_elements_of_an_array_type(tmp_path: Path, check: Any) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        tid = h5t.array_create(h5t.vlen_create(h5t.STD_I32LE), (2,))
        for name, plist in (("a", None), ("b", h5p.create(h5p.DATASET_CREATE))):
            if plist is not None:
                plist.set_chunk((2,))
            h5d.create(f.id, name.encode(), tid, h5s.create_simple((3,)), plist)
    found = check(path)
    assert found.arrays["a"].shape == (3, 2)
    assert [part.tolist() for part in read_box(found.arrays["b"], (slice(0, 1, 1), slice(0, 2, 1)))[0]] == [[], []]


def test_text_ends_at_its_first_nul(tmp_path: Path, check: Any) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        f["x"] = np.array(["ab-cd", "ef"], object)
    path.write_bytes(path.read_bytes().replace(b"ab-cd", b"ab\0cd"))
    found = check(path)
    assert read_box(found.arrays["x"], (slice(0, 2, 1),)).tolist() == [b"ab", b"ef"]


def test_many_elements_in_any_order(tmp_path: Path) -> None:
    """More than one collection and more than one batch; written in order, backwards and in turns."""
    n = 70_000
    words = np.array([f"{i}" * (i % 9) for i in range(n)], object)
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        f["x"] = words
        back = f.create_dataset("back", (2000,), h5py.string_dtype(), chunks=(100,))
        turns = f.create_dataset("turns", (2000,), h5py.string_dtype(), chunks=(500,))
        for start in range(1900, -1, -100):
            back[start : start + 100] = words[start : start + 100]
            turns[start : start + 100] = words[start : start + 100]
    arrays = read(FileSource(path)).arrays
    encoded = np.array([w.encode() for w in words], object)
    assert (read_box(arrays["x"], (slice(0, n, 1),)) == encoded).all()
    assert (read_box(arrays["x"], (slice(5, n, 7),)) == encoded[5::7]).all()
    assert (read_box(arrays["back"], (slice(0, 2000, 1),)) == encoded[:2000]).all()
    assert (read_box(arrays["turns"], (slice(0, 2000, 3),)) == encoded[:2000:3]).all()


def test_a_file_that_changes(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        f["x"] = WORDS
        f.create_dataset("unwritten", (2,), h5py.string_dtype())
    arrays = read(FileSource(path)).arrays
    with h5py.File(path, "a") as f:
        f["more"] = np.arange(1000)
    for name, box in (("x", (slice(0, 1, 1),) * 2), ("unwritten", (slice(0, 1, 1),))):
        with pytest.raises(StaleFileError):
            read_box(arrays[name], box)


def test_remote_files(tmp_path: Path) -> None:
    import fsspec

    path = tmp_path / "x.h5"
    words = [f"word {i}" for i in range(300)]
    with h5py.File(path, "w") as f:
        f["x"] = np.array(words, object)
    with fsspec.open("memory://packstore-vlen/x.h5", "wb") as file:
        file.write(path.read_bytes())
    array = read(open_source("memory://packstore-vlen/x.h5")).arrays["x"]
    assert [w.decode() for w in read_box(array, (slice(0, 300, 1),))] == words


# -- damage -----------------------------------------------------------------------------------------------------------

DAMAGE = {
    "length": (0, "<I", 2**32 - 1, "bytes in a file of"),
    "longer": (0, "<I", 4, "of 3 bytes for 4"),
    "shorter": (0, "<I", 2, "of 3 bytes for 2"),
    "address": (4, "<Q", 2**63, "no global heap at address 9223372036854775808"),
    "elsewhere": (4, "<Q", 8, "no global heap at address 8"),
    "index": (12, "<I", 60000, "no object 60000 in the global heap"),
    "a large index": (12, "<I", 2**31, "no object 2147483648 in the global heap"),
}


def renew_checksum(raw: bytearray, place: int) -> None:
    """Make the newer kinds of blocks, which have checksums, look sound around `place`."""
    from numcodecs.checksum32 import jenkins_lookup3

    header, block = raw.rfind(b"OHDR", 0, place), raw.rfind(b"FHDB", 0, place)
    if block > header:
        # 1024 bytes; the checksum in it counts as zero.
        raw[block + 18 : block + 22] = bytes(4)
        found = jenkins_lookup3(bytes(raw[block : block + 1024]), 0)
        struct.pack_into("<I", raw, block + 18, found & 0xFFFFFFFF)
    elif header >= 0:
        width = 1 << (raw[header + 5] & 3)
        end = header + 6 + width + int.from_bytes(raw[header + 6 : header + 6 + width], "little")
        struct.pack_into("<I", raw, end, jenkins_lookup3(bytes(raw[header:end]), 0) & 0xFFFFFFFF)


def spoil(path: Path, data: bytes, kind: str, nth: int = 0) -> str:
    """Change the reference to the object that holds `data` in its `nth` place; returns what the error says."""
    raw = bytearray(path.read_bytes())
    heap = raw.index(b"GCOL")
    index = 1
    at = heap + 16
    while raw[at + 16 : at + 16 + len(data)] != data:
        at += 16 + (int.from_bytes(raw[at + 8 : at + 16], "little") + 7 & -8)
        index = raw[at]
    reference = struct.pack("<QI", heap, index)
    place = raw.index(reference) - 4
    for _ in range(nth):
        place = raw.index(reference, place + 5) - 4
    offset, form, value, why = DAMAGE[kind]
    struct.pack_into(form, raw, place + offset, value)
    renew_checksum(raw, place)
    path.unlink()
    path.write_bytes(raw)
    return why


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("count", [4, 200])
@pytest.mark.parametrize("chunks", [None, (3,)])
def test_references_that_lead_nowhere(tmp_path: Path, kind: str, count: int, chunks: Any) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        f.create_dataset("g/x", data=np.array([*["ab"] * (count - 2), "xyz", "c"], object), chunks=chunks)
    why = spoil(path, b"xyz", kind)
    array = read(FileSource(path)).arrays["g/x"]
    with pytest.raises(CorruptDataError, match=rf"reading element \({count - 2},\) of .*x\.h5\[g/x\]: .*{why}"):
        read_box(array, (slice(0, count, 1),))
    assert read_box(array, (slice(0, count - 2, 1),)).tolist() == [b"ab"] * (count - 2)


def nested(f: h5py.File) -> None:
    struct_dtype = [("n", "i4"), ("s", h5py.string_dtype()), ("q", h5py.vlen_dtype("i2")), ("m", "f8")]
    d = f.create_dataset("x", (3,), struct_dtype)
    for i, (text, numbers) in enumerate([("a", [1]), ("xyz", [2, 3]), ("", [])]):
        d[i] = (i, text, np.array(numbers, "i2"), i / 2)


@pytest.mark.parametrize("kind", DAMAGE)
def test_references_inside_structs(tmp_path: Path, check: Any, kind: str) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        nested(f)
    assert isinstance(reader_of(check(path).arrays["x"]), H5Fallback)
    why = spoil(path, b"xyz", kind)
    array = read(FileSource(path)).arrays["x"]
    with pytest.raises(CorruptDataError, match=rf"reading .*x\.h5\[x\]: expected variable-length data, got .*{why}"):
        read_box(array, (slice(0, 3, 1),))
    assert read_box(array, (slice(0, 1, 1),))["s"].tolist() == [b"a"]


def test_references_inside_sequences(tmp_path: Path, check: Any) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        struct_dtype = np.dtype([("s", h5py.string_dtype()), ("n", "i4")])
        inner = np.array([("xyz", 1), ("b", 2)], struct_dtype)
        f.create_dataset("x", (2,), h5py.vlen_dtype(struct_dtype))[1] = inner
    found = read(FileSource(path))
    assert read_box(found.arrays["x"], (slice(1, 2, 1),))[0]["s"].tolist() == [b"xyz", b"b"]
    why = spoil(path, b"xyz", "index")
    with pytest.raises(CorruptDataError, match=why):
        read_box(read(FileSource(path)).arrays["x"], (slice(1, 2, 1),))


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("count", [1, 20])
def test_attributes(tmp_path: Path, kind: str, libver: str, count: int) -> None:
    """In the header of the object, or (many of them) in a heap of their own."""
    path = tmp_path / "x.h5"
    with h5py.File(path, "w", libver=libver) as f:
        group = f.create_group("g")
        for i in range(count):
            group.attrs[f"note{i}"] = "xyz" if i == 0 else "ab"
        group.attrs["n"] = 7
    assert read(FileSource(path)).groups["g"]["note0"] == "xyz"
    why = spoil(path, b"xyz", kind)
    found = read(FileSource(path))
    # A length above what attributes may have is not even held against the file's.
    assert ("more than 16777216" if kind == "length" else why) in found.unsupported["g@note0"]
    assert found.groups["g"] == {"n": 7, **{f"note{i}": "ab" for i in range(1, count)}}


@pytest.mark.parametrize("kind", DAMAGE)
def test_fill_values(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        f.create_dataset("x", (3,), h5py.string_dtype(), chunks=(2,), fillvalue="xyz")
        f["beside"] = 1
    assert read(FileSource(path)).arrays["x"].fill_value == b"xyz"
    why = spoil(path, b"xyz", kind)
    found = read(FileSource(path))
    assert list(found.arrays) == ["beside"]
    assert why in found.unsupported["x"]
    assert "reading the fill value of" in found.unsupported["x"]


@pytest.mark.parametrize("kind", [2, 15])
def test_types_that_are_neither_text_nor_sequence(tmp_path: Path, kind: int) -> None:
    """libhdf5 2.0 does not return from reading one of these."""
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        f["x"] = np.array(["a"], object)
        f.attrs["a"] = "text"
        f["beside"] = 1
    raw = path.read_bytes()
    # Version and class, then the bit field: text, null-terminated, UTF-8.
    text_type = b"\x19\x01\x01\x00\x10\x00\x00\x00"
    assert raw.count(text_type) >= 2
    path.unlink()
    path.write_bytes(raw.replace(text_type, b"\x19" + bytes([kind]) + text_type[2:]))
    found = read(FileSource(path))
    assert list(found.arrays) == ["beside"]
    assert f"variable-length data of the unknown kind {kind}" in found.unsupported["x"]
    assert f"variable-length data of the unknown kind {kind}" in found.unsupported["@a"]


NESTED = Path(__file__).parent.parent / "data" / "nested_sequences.h5"
NESTED_WORDS = [b"left", b"", b"right", b"xyz"]


def nested_value(kind: str, i: int) -> Any:
    """Element `i` of all that lie in the sequences of a dataset of that file, which libhdf5's C interface wrote."""
    numbers = list(range(i % 3))
    if kind == "deep":
        return (i, (NESTED_WORDS[i % 4], i / 2), [i, -i], b"abc"[: i % 4], numbers)
    return {"text": NESTED_WORDS[i % 4], "sequences": numbers, "struct": (NESTED_WORDS[i % 4], i)}[kind]


def as_lists(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [as_lists(v) for v in value.tolist()]
    return tuple(as_lists(v) for v in value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("suffix", ["", "_chunked"])
@pytest.mark.parametrize("kind", ["text", "sequences", "struct", "deep"])
def test_variable_parts_in_sequences(kind: str, suffix: str) -> None:
    """h5py does not read these: libhdf5 fails on several elements, and may crash on one."""
    array = read(FileSource(NESTED)).arrays[kind + suffix]
    assert isinstance(reader_of(array), VlenReader)
    with h5py.File(NESTED) as f:
        assert array.dtype == f[kind].dtype
        dtype = h5py.check_vlen_dtype(f[kind].dtype)
    got = read_box(array, (slice(0, 6, 1),))
    assert [part.dtype for part in got] == [dtype] * 6
    assert [len(part) for part in got] == [0, 2, 1, 0, 3, 1]
    assert [as_lists(v) for part in got for v in part.tolist()] == [nested_value(kind, i) for i in range(7)]
    for i in range(6):
        assert as_lists(read_box(array, (slice(i, i + 1, 1),))[0]) == as_lists(got[i])
    want = [nested_value(kind, i) for i in range(7)]
    assert [as_lists(v) for part in packstore.from_file(NESTED, kind + suffix).compute() for v in part.tolist()] == want


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_in_sequences_of_text(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.h5"
    path.write_bytes(NESTED.read_bytes())
    why = spoil(path, b"xyz", kind)
    array = read(FileSource(path)).arrays["text"]
    with pytest.raises(CorruptDataError, match=rf"reading .*x\.h5\[text\]: expected variable-length data, got .*{why}"):
        read_box(array, (slice(0, 6, 1),))
    assert read_box(array, (slice(0, 3, 1),))[2].tolist() == [b"right"]


def test_parts_that_would_multiply(tmp_path: Path) -> None:
    """Many references to one object: libhdf5 writes an object for each."""
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as f:
        parts = np.empty(1, object)
        parts[0] = np.zeros(3000, "i1")
        f.create_dataset("x", (1,), h5py.vlen_dtype(h5py.vlen_dtype("i1")))[0] = parts
    reader = reader_of(read(FileSource(path)).arrays["x"])
    assert isinstance(reader, VlenReader)
    base: Any = reader.element.base
    references = np.zeros(64, reader.heaps.reference)
    references["length"] = 3000
    with pytest.raises(Damaged, match="variable-length parts of 192000 bytes in a file of"):
        base.decode(references)
