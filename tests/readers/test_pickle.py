"""Pickled ndarrays against ``pickle.loads``, which packstore itself never calls."""

from __future__ import annotations

import collections
import fractions
import gzip
import pickle
import pickletools
import struct
import tempfile
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings

import packstore
from packstore.errors import CorruptDataError, FormatError, PackstoreError, TruncatedFileError, UnsupportedError
from packstore.readers import pickle as reader
from packstore.readers.find import locate
from packstore.source import FileSource
from packstore.storage.read import read_box
from packstore.testing.readers import DTYPES, SHAPES, ReaderTests, assert_same, example

DATA = Path(__file__).parent / "data"
X = np.arange(6, dtype="<f8").reshape(2, 3)


class TestPickle(ReaderTests):
    format = "pickle"
    suffix = ".pkl"
    protocol = 5

    def write(self, path: Path, array: np.ndarray) -> None:
        path.write_bytes(pickle.dumps(array, self.protocol))


class TestProtocol4(TestPickle):
    protocol = 4


class TestProtocol2(TestPickle):
    protocol = 2


class TestProtocol0(TestPickle):
    protocol = 0


class TestInAContainer(TestPickle):
    component = "list/1"

    def write(self, path: Path, array: np.ndarray) -> None:
        path.write_bytes(pickle.dumps({"list": [X, array], "n": 5}, self.protocol))


def dumped(path: Path, value: Any, protocol: int = 5) -> Path:
    path.write_bytes(pickle.dumps(value, protocol))
    return path


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("shape", SHAPES)
def test_protocols_dtypes_and_axes(tmp_path: Path, protocol: int, shape: tuple[int, ...]) -> None:
    for dtype in DTYPES:
        want = example(dtype, shape)
        for axes in {
            tuple(range(want.ndim)),
            tuple(range(want.ndim))[::-1],
            (*range(1, want.ndim), *range(want.ndim)[:1]),
        }:
            turned = want.transpose(axes)
            path = dumped(tmp_path / "x.pkl", turned, protocol)
            found = reader.read(FileSource(path), component=None, chunks=None).arrays[""]
            assert found.dtype == want.dtype
            assert_same(read_box(found, tuple(slice(0, n, 1) for n in found.shape)), turned)
            part = tuple(slice(n // 3, n, 2) for n in found.shape)
            # A part of a 0-d array is the array: numpy would give a scalar.
            assert_same(read_box(found, part), turned[part] if part else turned)


def test_elements_are_mapped(tmp_path: Path) -> None:
    for protocol in (3, 4, 5):
        path = dumped(tmp_path / f"{protocol}.pkl", {"a": X}, protocol)
        found = reader.read(FileSource(path), component=None, chunks=None).arrays["a"]
        storage: Any = found.storage
        assert isinstance(storage.places.space, FileSource)
        got = read_box(found, (slice(0, 2, 1), slice(0, 3, 1)))
        assert np.shares_memory(got, np.asarray(storage.places.space.view()))


def test_opening_does_not_read_array_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = dumped(tmp_path / "x.pkl", [np.zeros(2_000_000), np.ones(2_000_000)])
    read: list[int] = []
    original = FileSource.pread
    monkeypatch.setattr(FileSource, "pread", lambda self, at, n: (read.append(n), original(self, at, n))[1])
    assert packstore.from_file(path, "1").shape == (2_000_000,)
    assert sum(read) < 1_000_000


@pytest.mark.parametrize("protocol", range(6))
def test_containers(tmp_path: Path, protocol: int) -> None:
    value: dict[object, Any] = {
        "a": X,
        "list": [X + 1, {"deep": X + 2}, (X + 3,)],
        "ordered": collections.OrderedDict(z=X + 4),
        "default": collections.defaultdict(list, y=X + 5),
        "scalar": np.float32(1.5),
        "when": np.datetime64("2020-02-03", "D"),
        "same": X,
        7: X + 6,
        "name": "Zoë",
        "fs": 2.5,
        "sizes": [1, 2, (3, None, True)],
        "options": {"k": "v"},
    }
    path = dumped(tmp_path / "x.pkl", value, protocol)
    assert locate(path).format == "pickle"
    store = packstore.open_store(path)
    want = {
        "a": X, "list/0": X + 1, "list/1/deep": X + 2, "list/2/0": X + 3, "ordered/z": X + 4, "default/y": X + 5,
        "scalar": value["scalar"], "same": X, "7": X + 6,
    }  # fmt: skip
    for name, array in want.items():
        assert_same(zarr.open_array(store, path=name, mode="r")[...], array)
        assert_same(packstore.from_file(path, name).compute(scheduler="synchronous"), array)
    assert packstore.from_file(path, "when").compute() == value["when"]
    assert dict(zarr.open_group(store, mode="r").attrs) == {
        "name": "Zoë",
        "fs": 2.5,
        "sizes": [1, 2, [3, None, True]],
        "options": {"k": "v"},
    }
    assert set(store.unsupported) <= {"when"}


@pytest.mark.parametrize("path", sorted(DATA.glob("joblib-*")), ids=lambda p: p.name)
def test_joblib(path: Path) -> None:
    want = {
        "c": X, "f": X.astype(">i2"), "l/0": X[0], "l/1": np.array(["a", "bc"]), "e": np.empty((0, 2)),
        "after": np.array([True, False]),
    }  # fmt: skip
    store = packstore.open_store(path)
    assert locate(path).format == "pickle"
    assert store.unsupported == {
        "o": "dtype object: its elements are pickled Python objects, and packstore never unpickles"
    }
    for name, array in want.items():
        got = packstore.from_file(path, name)
        assert got.dtype == array.dtype
        assert_same(got.compute(scheduler="synchronous"), array)
        assert_same(packstore.open_array(path, name)[...], array)
    assert packstore.open_group(path).attrs["n"] == 5


@pytest.mark.parametrize("path", sorted(DATA.glob("python2-*")), ids=lambda p: p.name)
def test_python2(path: Path) -> None:
    want = {
        "c": X, "f": X.astype(">i2"), "l/0": X[0], "l/1": np.array(["a", "bé"]), "b": np.arange(256, dtype="u1"),
        "s": np.zeros(2, [("a", "i4"), ("t", "M8[ns]")]),
    }  # fmt: skip
    for name, array in want.items():
        got = packstore.from_file(path, name)
        assert got.dtype == array.dtype
        assert_same(got.compute(scheduler="synchronous"), array)
    assert dict(packstore.open_group(path).attrs) == {"name": "text", "n": 5, "u": "é"}


class Evil:
    """Unpickling it would leave a file behind."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (self.path, "w"))


@pytest.mark.parametrize("protocol", range(6))
def test_nothing_runs(tmp_path: Path, protocol: int) -> None:
    trap = tmp_path / "trap"
    path = dumped(tmp_path / "x.pkl", {"evil": Evil(str(trap)), "a": X}, protocol)
    store = packstore.open_store(path)
    assert "open, and packstore never unpickles" in store.unsupported["evil"]
    assert_same(packstore.open_array(path, "a")[...], X)
    with pytest.raises(UnsupportedError, match=r"x\.pkl.*evil.*io\.open|x\.pkl.*evil.*open"):
        packstore.open_array(path, "evil")
    dumped(path, Evil(str(trap)), protocol)
    with pytest.raises(UnsupportedError, match=r"expected an ndarray, or a dict or list of them, got \w+\.open"):
        packstore.open_store(path)
    assert not trap.exists()


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
@pytest.mark.parametrize(
    ("value", "name"),
    [
        (fractions.Fraction(1, 2), r"fractions\.Fraction"),
        (collections.Counter("ab"), r"collections\.Counter"),
        (np.ma.zeros(3), r"numpy\.ma\.core\._mareconstruct"),
        (np.zeros((2, 2)).view(np.matrix), r"numpy\.matrix"),
        (np.zeros(2).view(np.recarray), "recarray"),
        (np.array([{}], object), "dtype object"),
        (np.zeros(2, [("a", "O"), ("b", "i4")]), "dtype .*'O'"),
        (np.array(["a"], np.dtypes.StringDType()), "stringdtype|StringDType"),
        (np.dtype("f8"), r"numpy\.dtype"),
        ({1, 2}, r"a set|set"),
        (frozenset([1]), r"a frozenset|frozenset"),
        (b"raw", "bytes"),
        (1 + 2j, r"complex"),
        (np.ndarray, r"numpy\.ndarray"),
        (42, "int"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_anything_else_is_refused_by_name(tmp_path: Path, value: Any, name: str, protocol: int) -> None:
    path = dumped(tmp_path / "x.pkl", value, protocol)
    with pytest.raises(UnsupportedError, match=rf"reading the pickle .*x\.pkl: .* got .*{name}.*never unpickles"):
        packstore.open_store(path, format="pickle")
    path = dumped(tmp_path / "y.pkl", {"a": X, "bad": value}, protocol)
    if type(value) is not int:  # a number in a dict is an attribute
        assert list(packstore.open_store(path).unsupported) == ["bad"]
    assert_same(packstore.open_array(path, "a")[...], X)


def test_names_that_are_no_paths(tmp_path: Path) -> None:
    value = {"a/b": X, "a": {"b": X}, "../up": X, "": X, (1, 2): X, "c\\d": X, "1": X, 1: X + 1}
    store = packstore.open_store(dumped(tmp_path / "x.pkl", value))
    assert store.unsupported["a/b"] == "several objects have this name"
    assert store.unsupported["1"] == "several objects have this name"
    assert "no plain name: '../up'" in store.unsupported["../up"]
    assert "no plain name" in store.unsupported["c\\d"]
    assert store.unsupported["<4>"] == "a key that is no text"
    assert len(store.unsupported) == 6


def test_out_of_band_buffers_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(X, 5, buffer_callback=lambda buffer: None))
    with pytest.raises(UnsupportedError, match="a buffer kept outside of the file"):
        packstore.open_array(tmp_path / "x.pkl")


@pytest.mark.parametrize("name", ["x.joblib", "x.pkl.gz"])
def test_compressed_pickles_are_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(gzip.compress(pickle.dumps(X)))
    with pytest.raises(UnsupportedError, match=r"one compressed by gzip\. Decompress it"):
        packstore.open_array(tmp_path / name)


@pytest.mark.parametrize("protocol", range(6))
def test_cut_pickles(tmp_path: Path, protocol: int) -> None:
    raw = pickle.dumps([X, X + 1], protocol)
    for keep in range(3, len(raw), 11):
        (tmp_path / "x.pkl").write_bytes(raw[:keep])
        with pytest.raises(TruncatedFileError, match=r"reading the pickle .*x\.pkl: expected a STOP opcode"):
            packstore.open_store(tmp_path / "x.pkl", format="pickle")


def test_wrong_amounts_of_data(tmp_path: Path) -> None:
    raw = pickle.dumps(X, 4).replace(b"K\x02K\x03\x86", b"K\x02K\x04\x86")
    (tmp_path / "x.pkl").write_bytes(raw)
    with pytest.raises(FormatError, match=r"shape \(2, 4\) in .*expected 64 bytes, got 48"):
        packstore.open_array(tmp_path / "x.pkl")
    raw = pickle.dumps(X, 2).replace(b"K\x02K\x03\x86", b"K\x02K\x02\x86")
    (tmp_path / "y.pkl").write_bytes(raw)
    with pytest.raises(CorruptDataError, match=r"expected 32 bytes, got 48"):
        packstore.open_array(tmp_path / "y.pkl")[...]


@pytest.mark.parametrize(
    ("raw", "match"),
    [
        (b"\x80\x04.", r"expected an opcode that makes sense, got STOP at 2"),
        (b"\x80\x04\xff", "byte 0xff"),
        (b"\x80\x04(.", "a mark as the value"),
        (b"\x80\x04K\x01K\x02b.", "BUILD"),
        (b"\x80\x04h\x05.", "BINGET"),
        (b"\x80\x04]K\x01K\x02s.", "SETITEM"),
        (b"\x80\x04K\x01)R.", "a call of a int"),
        (b"I" + b"1" * 5000 + b"\n.", "INT at 0"),
    ],
)
def test_opcodes_that_make_no_sense(tmp_path: Path, raw: bytes, match: str) -> None:
    (tmp_path / "x.pkl").write_bytes(raw)
    with pytest.raises(FormatError, match=match):
        packstore.open_store(tmp_path / "x.pkl", format="pickle")


def test_bombs(tmp_path: Path) -> None:
    """Shared references that fan out, deep nesting, lengths beyond the file, a list inside itself."""
    path = tmp_path / "x.pkl"
    value: Any = [X]
    for _ in range(40):
        value = [value, value]
    dumped(path, value)
    with pytest.raises(FormatError, match="at most 200000 objects"):
        packstore.open_store(path)
    path.write_bytes(b"\x80\x04" + b"]" * 50_000 + b"a" * 49_999 + b".")
    packstore.open_store(path)
    path.write_bytes(b"\x80\x04" + b")" + b"\x85" * 100_000 + b".")
    packstore.open_store(path)
    loop: list[Any] = [X]
    loop.append(loop)
    dumped(path, loop)
    store = packstore.open_store(path)
    assert any("nested deeper than 64" in reason for reason in store.unsupported.values())
    assert_same(packstore.open_array(path, "1/1/0")[...], X)
    path.write_bytes(b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"x.")
    with pytest.raises(TruncatedFileError, match="STOP"):
        packstore.open_store(path, format="pickle")
    nested = b"cnumpy\ndtype\nq\x00" + b"(" * 2
    path.write_bytes(nested + b"." * 3)
    with pytest.raises(FormatError):
        packstore.open_store(path, format="pickle")


@given(st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_damage_is_an_error_of_ours_or_other_values(data: st.DataObject) -> None:
    struct_array = np.zeros(2, [("a", "u1"), ("b", "<M8[ns]"), ("c", "S3", (2,))])
    value = data.draw(st.sampled_from([X, {"a": X, "b": [struct_array]}, "joblib"]))
    raw = bytearray(
        (DATA / "joblib-1.6.0-protocol4.joblib").read_bytes()
        if isinstance(value, str)
        else pickle.dumps(value, data.draw(st.integers(0, 5)))
    )
    for _ in range(data.draw(st.integers(1, 4))):
        opcode = st.sampled_from([ord(op.code) for op in pickletools.opcodes])
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(opcode | st.integers(0, 255))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.pkl"
        path.write_bytes(raw)
        try:
            found = reader.read(FileSource(path), component=None, chunks=None)
            for array in found.arrays.values():
                assert array.nbytes <= len(raw)
                read_box(array, tuple(slice(0, n, 1) for n in array.shape))
        except PackstoreError:
            return


@pytest.mark.parametrize("escape", [rb"\d", rb"\400", rb"\\\u"])
def test_an_escape_that_python_never_writes(tmp_path: Path, escape: bytes) -> None:
    """Neither a value nor a warning, in names (where nothing is an escape) and in the elements of protocol 0."""
    path = tmp_path / "x.pkl"
    path.write_bytes(b"cnumpy" + escape + b"\narray\n(S'a'\ntR.")
    with pytest.raises(UnsupportedError) as error:
        packstore.open_array(path, format="pickle")
    assert f"got numpy{escape.decode()}.array" in str(error.value)
    plain = pickle.dumps(np.zeros(4, np.uint8), 0)
    start, end = plain.index(b"g3\n(V\\u0000"), plain.index(b"tp20\n")
    path.write_bytes(plain[:start] + b"S'" + escape + b"'\n" + plain[end:])
    with pytest.raises(CorruptDataError, match="the escape"):
        packstore.open_array(path)[...]


def test_foreign_bytes_are_not_taken_for_pickles(tmp_path: Path) -> None:
    for name, raw in (("x.bin", b"\x80\x04\xff\x00\x01\x02"), ("y.dat", b"(dp0\n."), ("z.pkl", b"\x00\x01\x02\x03")):
        (tmp_path / name).write_bytes(raw)
        assert not reader.sniff(FileSource(tmp_path / name), raw)


def test_what_follows_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    for first in ({"a": X}, X):
        path.write_bytes(pickle.dumps(first) + pickle.dumps({"b": X}))
        end = len(pickle.dumps(first))
        reason = f"another pickle follows at byte {end}, and only the first of a file is read"
        assert dict(packstore.open_store(path).unsupported) == {"<next pickle>": reason}
        assert_same(packstore.from_file(path, "a" if isinstance(first, dict) else None).compute(), X)
        path.write_bytes(pickle.dumps(first) + b"\n trailing")
        assert dict(packstore.open_store(path).unsupported) == {}


def test_keys_that_share_a_name_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps({1: 5, "1": 6, "a": X}))
    group = packstore.open_group(path)
    assert dict(group.attrs) == {} and dict(group.unsupported) == {"1": "several objects have this name"}
