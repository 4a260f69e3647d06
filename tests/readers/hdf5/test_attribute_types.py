"""Attributes of every type class and shape: no type crashes, hangs or hides, and values and dtypes are h5py's."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from h5py import h5a, h5s, h5t

from packstore.readers.hdf5 import read
from packstore.readers.hdf5.attributes import to_json
from packstore.source import FileSource
from packstore.storage import Attributes, typed_attributes

TEXT = h5py.string_dtype()
RAGGED = h5py.vlen_dtype(np.dtype("<i2"))
STRUCT = np.dtype([("n", "<i4"), ("who", TEXT), ("runs", RAGGED)])
COLOUR = h5py.enum_dtype({"RED": 1, "BLUE": 2}, "<i2")


def _ragged(i: int) -> np.ndarray[Any, Any]:
    return np.arange(i % 3, dtype="<i2")


def _struct(i: int) -> tuple[Any, ...]:
    return (i, f"ü{i}", _ragged(i))


def _words(i: int) -> np.ndarray[Any, Any]:
    out = np.empty(i % 3, object)
    out[:] = ["ä" * (k + i) for k in range(i % 3)]
    return out


def _deep(i: int) -> np.ndarray[Any, Any]:
    out = np.empty(i % 3, object)
    for k in range(len(out)):
        out[k] = _ragged(i + k)
    return out


# Type class to the dtype and the i-th value.
KINDS: dict[str, tuple[Any, Callable[[int], Any]]] = {
    "i1": ("i1", lambda i: -i),
    "u8": ("<u8", lambda i: 2**64 - 1 - i),
    "big": (">i4", lambda i: i - 7),
    "int64": ("<i8", lambda i: i),
    "half": ("<f2", lambda i: i / 2),
    "float": (">f4", lambda i: i / 4),
    "double": ("<f8", lambda i: np.nan if i == 1 else i / 4),
    "complex": ("<c8", lambda i: complex(i, -1)),
    "bool": (np.bool_, lambda i: bool(i % 2)),
    "enum": (COLOUR, lambda i: 1 + i % 2),
    "fixed": ("S5", lambda i: b"x" * (i % 5)),
    "utf8": (h5py.string_dtype("utf-8", 6), lambda i: ("é" * (i % 3)).encode()),
    "text": (TEXT, lambda i: "ß" * (i % 3)),
    "ascii": (h5py.string_dtype("ascii"), lambda i: "a" * (i % 3)),
    "opaque": ("V3", lambda i: np.void(bytes([i, 0, 255]))),
    "struct": ([("a", "<i2"), ("b", "S3"), ("c", "<f4", (2,))], lambda i: (i, b"ab", (i, 0.5))),
    "enum_in_struct": ([("e", COLOUR), ("b", "?")], lambda i: (1, True)),
    "vlen": (RAGGED, _ragged),
    "vlen_big": (h5py.vlen_dtype(np.dtype("<f8")), lambda i: np.arange(i % 4) / 3),
    "vlen_text": (h5py.vlen_dtype(TEXT), _words),
    "vlen_vlen": (h5py.vlen_dtype(RAGGED), _deep),
    "struct_vlen": (STRUCT, _struct),
}
SHAPES: dict[str, tuple[int, ...]] = {
    "scalar": (),
    "one": (1,),
    "row": (5,),
    "grid": (2, 3),
    "empty": (0,),
    "none": (2, 0),
}


def _values(kind: str, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    dtype, value = KINDS[kind]
    out = np.empty(shape, dtype)
    flat = out.reshape(-1)
    for i in range(flat.size):
        flat[i] = value(i)
    return out


def _attributes(path: Path, name: str = "x") -> Attributes:
    found = read(FileSource(path))
    assert found.unsupported == {}
    attributes = found.arrays[name].attributes
    assert isinstance(attributes, Attributes)
    assert set(attributes.typed) <= set(attributes)
    json.dumps(attributes)
    return attributes


def _plain(value: Any) -> Any:
    """Nested lists of Python's own values; NaN as text, so that it equals itself."""
    if isinstance(value, np.ndarray):
        return _plain(value[()]) if not value.ndim else [_plain(v) for v in value]
    if isinstance(value, np.void) and value.dtype.names is not None:
        return [_plain(value[n]) for n in value.dtype.names]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return "nan" if value != value else value


@pytest.mark.parametrize("shape", SHAPES)
def test_types(tmp_path: Path, shape: str) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as f:
        x = f.create_dataset("x", data=np.arange(3))
        for kind, (dtype, _) in KINDS.items():
            values = _values(kind, SHAPES[shape])
            space = h5s.create_simple(values.shape) if values.shape else h5s.create(h5s.SCALAR)
            attr = h5a.create(x.id, kind.encode(), h5t.py_create(np.dtype(dtype), logical=True), space)
            if values.size:
                attr.write(values, mtype=h5t.py_create(np.dtype(dtype)))
    attributes = _attributes(path)
    with h5py.File(path) as f:
        for kind in KINDS:
            want = f["x"].attrs[kind]
            got = typed_attributes(attributes)[kind]
            assert _plain(got) == _plain(want), kind
            assert json.dumps(attributes[kind]) == json.dumps(to_json(want)), kind
            if kind not in attributes.typed:
                # JSON says it all.
                assert type(got) in (int, float, str)
                assert np.asarray(want).dtype in (np.int64, np.float64) or isinstance(want, str)
                continue
            assert got.shape == (SHAPES[shape] if kind.startswith("vlen") else want.shape), kind
            stored = h5a.open(f["x"].id, kind.encode()).dtype
            if isinstance(got, np.ndarray):
                assert got.dtype == stored
                assert got.dtype.metadata == stored.metadata
            else:
                assert got.dtype == want.dtype


def test_array_types(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    text = np.array([[b"a", b"bc"], [b"", b"def"]], object)
    with h5py.File(path, "w") as f:
        x = f.create_dataset("x", data=np.arange(3))
        tid = h5t.array_create(h5t.py_create(np.dtype("<f4")), (2,))
        h5a.create(x.id, b"numbers", tid, h5s.create_simple((3,))).write(np.ones((3, 2), "<f4"), mtype=tid)
        texts = h5t.array_create(h5t.py_create(TEXT, logical=True), (2,))
        attr = h5a.create(x.id, b"texts", texts, h5s.create_simple((2,)))
        attr.write(text, mtype=h5t.py_create(np.dtype((np.dtype("O", metadata={"vlen": str}), (2,)))))
    attributes = _attributes(path)
    assert attributes == {"numbers": [[1.0, 1.0]] * 3, "texts": [["a", "bc"], ["", "def"]]}
    with h5py.File(path) as f:
        for name, value in attributes.typed.items():
            want = f["x"].attrs[name]
            assert value.dtype == want.dtype
            np.testing.assert_array_equal(value, want)


def test_null_dataspaces(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as f:
        x = f.create_dataset("x", data=np.arange(3))
        for kind, (dtype, _) in KINDS.items():
            x.attrs[kind] = h5py.Empty(np.dtype(dtype))
        x.attrs["reference"] = h5py.Empty(h5py.ref_dtype)
    attributes = _attributes(path)
    assert attributes == dict.fromkeys([*KINDS, "reference"])
    with h5py.File(path) as f:
        assert "reference" not in attributes.typed
        for kind in KINDS:
            assert attributes.typed[kind] == f["x"].attrs[kind]


def test_types_that_h5py_has_no_name_for(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as f:
        x = f.create_dataset("x", data=np.arange(3))
        for name, tid, value in (
            (b"bits", h5t.STD_B16LE, np.array([1, 0xFFFF], "<u2")),
            (b"time", h5t.UNIX_D32LE, np.array([1, -2], "<i4")),
        ):
            h5a.create(x.id, name, tid, h5s.create_simple((2,))).write(value, mtype=tid)
    attributes = _attributes(path)
    assert attributes == {"bits": [1, 0xFFFF], "time": [1, -2]}
    assert attributes.typed["bits"].dtype == "<u2"
    assert attributes.typed["time"].dtype == "<i4"


def test_netcdf_elements_are_scalars(tmp_path: Path) -> None:
    path = tmp_path / "a.nc"
    with h5py.File(path, "w") as f:
        f.attrs["_NCProperties"] = "version=2"
        x = f.create_dataset("x", data=np.arange(3))
        x.attrs["valid_min"] = np.array([-3], "<i2")
        x.attrs["scale"] = np.array([0.5])
        x.attrs["range"] = np.array([1, 2], ">f4")
        x.attrs["word"] = np.array(["a"], TEXT)
    attributes = _attributes(path)
    assert attributes == {"valid_min": -3, "scale": 0.5, "range": [1.0, 2.0], "word": "a"}
    assert set(attributes.typed) == {"valid_min", "range"}
    assert isinstance(attributes.typed["valid_min"], np.int16)
    assert attributes.typed["range"].dtype == ">f4"


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as f:
        x = f.create_dataset("x", data=np.arange(3))
        x.attrs.create("one", b"gr\xf6n", dtype=TEXT)
        x.attrs.create("two", np.array([b"gr\xf6n", b"ok"], object), dtype=TEXT)
    attributes = _attributes(path)
    assert attributes == {"one": "gr\\xf6n", "two": ["gr\\xf6n", "ok"]}
    with h5py.File(path) as f:
        assert attributes.typed["one"] == f["x"].attrs["one"] == "gr\udcf6n"
        assert attributes.typed["two"].tolist() == f["x"].attrs["two"].tolist()


def test_groups_have_typed_attributes(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as f:
        f.attrs["a"] = np.int8(3)
        f.create_group("g").attrs["b"] = np.float32(0.5)
    found = read(FileSource(path))
    assert typed_attributes(found.groups[""])["a"].dtype == "i1"
    assert typed_attributes(found.groups["g"])["b"].dtype == "f4"
    assert typed_attributes(read(FileSource(path), component="g").groups["g"])["b"].dtype == "f4"


# -- references -----------------------------------------------------------------------------------------------------


def _ref(kind: Any, f: h5py.File) -> Any:
    return f["g/x"].ref if kind is h5py.ref_dtype else f["g/x"].regionref[0:2, 3:5]


@pytest.fixture
def references(tmp_path: Path) -> Path:
    """Object and region references: alone, in a row, null, in structs, in sequences, in sequences of structs."""
    path = tmp_path / "references.h5"
    with h5py.File(path, "w") as f:
        x = f.create_dataset("g/x", data=np.arange(60).reshape(6, 10))
        f["another/name"] = x
        # Ordinary attributes before them, so that the heap holds what they leave behind.
        x.attrs["text"] = [f"some text of some length {i}" for i in range(200)]
        for name, ref in (("object", h5py.ref_dtype), ("region", h5py.regionref_dtype)):
            one = _ref(ref, f)
            x.attrs[name] = one
            null = h5py.Reference() if ref is h5py.ref_dtype else h5py.RegionReference()
            x.attrs.create(f"{name}_row", np.array([one, null], dtype=ref), dtype=ref)
            struct = np.zeros(2, [("n", "<i4"), ("r", ref)])
            struct["n"], struct["r"] = [1, 2], one
            x.attrs.create(f"{name}_struct", struct, dtype=struct.dtype)
            dtype = h5py.vlen_dtype(ref)
            rows = np.empty(3, object)
            for i in range(3):
                rows[i] = np.array([one] * i, dtype=ref)
            attr = h5a.create(
                x.id, f"{name}_vlen".encode(), h5t.py_create(dtype, logical=True), h5s.create_simple((3,))
            )
            attr.write(np.array(rows, dtype=dtype))
            x.attrs.create(f"{name}_empty", np.zeros((0,), ref), dtype=ref)
    return path


OPENED = """
import json, sys
from packstore.readers.hdf5 import read
from packstore.source import FileSource
found = read(FileSource(sys.argv[1]))
print(json.dumps([dict(found.arrays["g/x"].attributes), dict(found.unsupported)]))
"""


@pytest.mark.parametrize("filling", ["0", "165"])
def test_references(references: Path, filling: str) -> None:
    # In a process of its own, with memory that libhdf5 does not expect to be zero.
    env = {**os.environ, "MALLOC_PERTURB_": filling}
    run = subprocess.run([sys.executable, "-c", OPENED, str(references)], capture_output=True, text=True, env=env)
    assert run.returncode == 0, run.stderr[-2000:]
    attributes, unsupported = json.loads(run.stdout)
    assert unsupported == {}
    # The first of the names that a walk in the order of names finds.
    path = "/another/name"
    with h5py.File(references) as f:
        assert h5py.h5r.get_name(f["g/x"].attrs["object"], f.id).decode() == path
    for name in ("object", "region"):
        assert attributes[name] == path
        assert attributes[f"{name}_row"] == [path, None]
        assert attributes[f"{name}_struct"] == [{"n": 1, "r": path}, {"n": 2, "r": path}]
        assert attributes[f"{name}_vlen"] == [[], [path], [path, path]]
        assert attributes[f"{name}_empty"] == []


def test_references_have_no_stored_type(references: Path) -> None:
    assert set(_attributes(references, "g/x").typed) == {"text"}


@pytest.mark.parametrize("sizes", [(2, 4), (4, 4), (4, 8)])
def test_address_widths(tmp_path: Path, sizes: tuple[int, int]) -> None:
    path = tmp_path / "a.h5"
    fcpl = h5py.h5p.create(h5py.h5p.FILE_CREATE)
    fcpl.set_sizes(*sizes)
    with h5py.File(h5py.h5f.create(str(path).encode(), fcpl=fcpl)) as f:
        x = f.create_dataset("x", data=np.arange(3))
        x.attrs["ref"] = x.ref
        row = np.zeros(2, [("r", h5py.ref_dtype), ("n", "<i4"), ("who", TEXT), ("s", h5py.regionref_dtype)])
        row["r"], row["n"], row["who"], row["s"] = x.ref, [1, 2], ["é", ""], x.regionref[:1]
        x.attrs.create("row", row, dtype=row.dtype)
        x.attrs["text"] = "é"
    assert _attributes(path) == {
        "ref": "/x",
        "row": [{"r": "/x", "n": 1, "who": "é", "s": "/x"}, {"r": "/x", "n": 2, "who": "", "s": "/x"}],
        "text": "é",
    }


def _libhdf5() -> Any:
    """The library that h5py has loaded, for the references that h5py has no name for."""
    folder = Path(h5py.__file__).parent.with_name("h5py.libs")
    found = sorted(folder.glob("libhdf5-*"))
    if not found:
        pytest.skip("h5py has no library of its own")
    lib = ctypes.CDLL(str(found[0]))
    hid, pointer, text = ctypes.c_int64, ctypes.c_void_p, ctypes.c_char_p
    for name, arguments in (
        ("H5Rcreate_object", [hid, text, hid, pointer]),
        ("H5Rcreate_region", [hid, text, hid, hid, pointer]),
        ("H5Rcreate_attr", [hid, text, text, hid, pointer]),
        ("H5Acreate2", [hid, text, hid, hid, hid, hid]),
        ("H5Awrite", [hid, hid, pointer]),
        ("H5Aclose", [hid]),
    ):
        getattr(lib, name).argtypes = arguments
        getattr(lib, name).restype = hid if name == "H5Acreate2" else ctypes.c_int
    return lib


def test_references_of_newer_hdf5(tmp_path: Path) -> None:
    lib = _libhdf5()
    path = tmp_path / "a.h5"
    kind = ctypes.c_int64.in_dll(lib, "H5T_STD_REF_g").value
    with h5py.File(path, "w", libver="latest") as f:
        x = f.create_dataset("g/x", data=np.arange(60).reshape(6, 10))
        x.attrs["unit"] = "mm"
        space = h5s.create_simple((6, 10))
        space.select_hyperslab((0, 0), (2, 2))
        # Each takes 64 bytes in memory; the last one stays null.
        memory = ctypes.create_string_buffer(4 * 64)
        at = ctypes.addressof(memory)
        assert lib.H5Rcreate_object(f.id.id, b"/g", 0, at) == 0
        assert lib.H5Rcreate_region(f.id.id, b"/g/x", space.id, 0, at + 64) == 0
        assert lib.H5Rcreate_attr(f.id.id, b"/g/x", b"unit", 0, at + 128) == 0
        four = h5s.create_simple((4,))
        attr = lib.H5Acreate2(x.id.id, b"refs", kind, four.id, 0, 0)
        assert lib.H5Awrite(attr, kind, at) == 0
        lib.H5Aclose(attr)
    attributes = _attributes(path, "g/x")
    assert attributes["refs"] == ["/g", "/g/x", "/g/x@unit", None]
    assert "refs" not in attributes.typed


class _Run(ctypes.Structure):
    """HDF5's ``hvl_t``."""

    _fields_ = (("length", ctypes.c_size_t), ("data", ctypes.c_void_p))

    @classmethod
    def of(cls, values: Any) -> _Run:
        return cls(len(values), ctypes.addressof(values))


class _Element(ctypes.Structure):
    _fields_ = (("n", ctypes.c_int32), ("who", ctypes.c_char_p), ("runs", _Run))


def test_sequences_of_structs_with_sequences(tmp_path: Path) -> None:
    # h5py itself neither writes nor reads them.
    lib = _libhdf5()
    path = tmp_path / "a.h5"
    text = h5t.C_S1.copy()
    text.set_size(h5t.VARIABLE)
    text.set_cset(h5t.CSET_UTF8)
    struct = h5t.create(h5t.COMPOUND, ctypes.sizeof(_Element))
    struct.insert(b"n", _Element.n.offset, h5t.NATIVE_INT32)
    struct.insert(b"who", _Element.who.offset, text)
    struct.insert(b"runs", _Element.runs.offset, h5t.vlen_create(h5t.NATIVE_INT16))
    kind = h5t.vlen_create(struct)
    numbers = [(ctypes.c_int16 * n)(*range(n)) for n in range(3)]
    elements = [_Element(i, f"ü{i}".encode(), _Run.of(numbers[i])) for i in range(3)]
    rows = [(_Element * n)(*elements[:n]) for n in range(4)]
    memory = (_Run * 4)(*[_Run.of(row) for row in rows])
    with h5py.File(path, "w") as f:
        x = f.create_dataset("x", data=np.arange(3))
        space = h5s.create_simple((2, 2))
        attr = lib.H5Acreate2(x.id.id, b"deep", kind.id, space.id, 0, 0)
        assert lib.H5Awrite(attr, kind.id, ctypes.addressof(memory)) == 0
        lib.H5Aclose(attr)
    attributes = _attributes(path)
    want = [{"n": i, "who": f"ü{i}", "runs": list(range(i))} for i in range(3)]
    assert attributes["deep"] == [[[], want[:1]], [want[:2], want]]
    typed = attributes.typed["deep"]
    assert typed.shape == (2, 2)
    element = h5py.check_vlen_dtype(typed.dtype)
    assert element.names == ("n", "who", "runs")
    assert typed[1, 1].dtype == element
    assert typed[1, 1]["runs"][2].tolist() == [0, 1]
    assert typed[1, 1]["runs"][2].dtype == np.int16


# -- damage ---------------------------------------------------------------------------------------------------------

DAMAGED = """
import sys
from pathlib import Path
from packstore.errors import PackstoreError
from packstore.readers.hdf5 import read
from packstore.source import FileSource
from packstore.storage.read import read_box
path, first, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
good = path.read_bytes()
for at in range(first, last):
    for value in (0, 0xFF, good[at] ^ 0x10):
        data = bytearray(good)
        data[at] = value
        # A name of its own: what is kept of a file goes by its name.
        damaged = path.with_name(f"{at}-{value}.h5")
        damaged.write_bytes(data)
        print(at, value, flush=True)
        found = read(FileSource(damaged))
        assert "x" in found.arrays, (at, value, dict(found.unsupported))
        assert read_box(found.arrays["x"], (slice(0, 6, 1),)).tolist() == list(range(6))
        damaged.unlink()
"""


@pytest.mark.parametrize("where", ["root", "dataset"])
def test_a_damaged_attribute_hides_no_dataset(tmp_path: Path, where: str) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as f:
        f["x"] = np.arange(6)
        owner = f if where == "root" else f["x"]
        owner.attrs.create("damaged_attribute", np.array([b"one", b"two"], object), dtype=TEXT)
    data = path.read_bytes()
    first = data.index(b"damaged_attribute\0")
    # The name, the type, the dataspace and the references to the heap.
    run = subprocess.run(
        [sys.executable, "-c", DAMAGED, str(path), str(first - 8), str(first + 100)],
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert run.returncode == 0, run.stdout[-40:] + run.stderr[-2000:]


def test_a_damaged_attribute_of_the_root_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as f:
        f["x"] = np.arange(6)
        f.attrs["damaged_attribute"] = np.arange(3)
    data = bytearray(path.read_bytes())
    # Behind the name, which is padded to 24 bytes: class and version of the type.
    data[data.index(b"damaged_attribute\0") + 24] = 0xF0
    path.write_bytes(data)
    for component in (None, "x"):
        found = read(FileSource(path), component=component)
        assert list(found.arrays) == ["x"]
    (why,) = read(FileSource(path)).unsupported.items()
    assert why[0] == "@*"
    assert "the list of attributes is damaged" in why[1]


def test_many_elements_of_one_large_object(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest") as f:
        x = f.create_dataset("x", data=np.arange(3))
        words = np.array(["a" * 100_000] * 1000, object)
        x.attrs.create("many", words, dtype=TEXT)
        x.attrs["small"] = 1
    found = read(FileSource(path))
    assert dict(found.arrays["x"].attributes) == {"small": 1}
    assert "more variable-length data than an attribute may have" in found.unsupported["x@many"]
