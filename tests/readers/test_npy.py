"""``.npy`` files against ``np.load``."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any, Literal

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from numpy.lib import format as npy_format

import packstore
from packstore.errors import FormatError, OptionError, PackstoreError, TruncatedFileError, UnsupportedError
from packstore.readers import npy
from packstore.readers.npy.header import MAX_HEADER_NBYTES, read_header
from packstore.source import FileSource, InlineBytes
from packstore.storage.read import read_box
from packstore.testing.readers import ReaderTests, assert_same, example


class TestNpy(ReaderTests):
    format = "npy"
    suffix = ".npy"

    def write(self, path: Path, array: np.ndarray) -> None:
        np.save(path, array)


def write_header(path: Path, text: str | bytes, version: tuple[int, int] = (1, 0), data: bytes = bytes(80)) -> Path:
    raw = text.encode("latin-1") if isinstance(text, str) else text
    length = struct.pack("<H" if version == (1, 0) else "<I", len(raw))
    path.write_bytes(b"\x93NUMPY" + bytes(version) + length + raw + data)
    return path


def header(descr: Any = "<f8", order: Any = False, shape: Any = (10,)) -> str:
    return f"{{'descr': {descr!r}, 'fortran_order': {order!r}, 'shape': {shape!r}, }}\n"


def values(path: Path) -> np.ndarray:
    array = npy.read(FileSource(path), component=None, chunks=None).arrays[""]
    return read_box(array, tuple(slice(0, n, 1) for n in array.shape))


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_versions(tmp_path: Path, version: tuple[int, int], order: Literal["C", "F"]) -> None:
    want = example("<f4", (4, 5), order)
    with open(tmp_path / "x.npy", "wb") as f:
        npy_format.write_array(f, want, version)
    assert_same(packstore.open_array(tmp_path / "x.npy")[...], want)


@pytest.mark.filterwarnings("ignore:Stored array in format")
def test_field_names_outside_latin1_and_titles(tmp_path: Path) -> None:
    dtype = np.dtype([("長さ", "<f4"), (("a title", "x\n'\\"), "<i2"), ("é", "u1")])
    want = example(dtype, (6,))
    np.save(tmp_path / "x.npy", want)
    got = packstore.from_file(tmp_path / "x.npy")
    assert got.dtype == dtype == np.load(tmp_path / "x.npy").dtype
    assert_same(got.compute(), want)


def test_header_longer_than_the_first_read(tmp_path: Path) -> None:
    want = example([(f"field {i}", "<f4") for i in range(3000)], (3,))
    np.save(tmp_path / "x.npy", want)
    assert_same(values(tmp_path / "x.npy"), want)


@pytest.mark.parametrize("text", [header().replace("10", "10L"), header(shape=(5, 2)).replace("5, 2", "5L, 2L")])
def test_python2_headers(tmp_path: Path, text: str) -> None:
    path = write_header(tmp_path / "x.npy", text, data=np.arange(10.0).tobytes())
    with pytest.warns(UserWarning, match="Python 2"):
        want = np.load(path)
    assert_same(values(path), want)


def test_several_arrays_in_one_file_give_the_first(tmp_path: Path) -> None:
    with open(tmp_path / "x.npy", "wb") as f:
        np.save(f, np.arange(5))
        np.save(f, np.arange(7))
    assert_same(packstore.open_array(tmp_path / "x.npy")[...], np.arange(5))


def test_ml_dtypes_read_as_numpy_reads_them(tmp_path: Path) -> None:
    import ml_dtypes

    np.save(tmp_path / "x.npy", np.arange(5, dtype=ml_dtypes.bfloat16))
    assert_same(packstore.from_file(tmp_path / "x.npy").compute(), np.load(tmp_path / "x.npy"))


def test_chunks_regroup(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", example("<i4", (10, 6), "F"))
    assert packstore.open_array(tmp_path / "x.npy", chunks=(4, -1)).chunks == (4, 6)
    assert packstore.open_array(tmp_path / "x.npy", chunks=2).chunks == (10, 2)
    with pytest.raises(OptionError, match=r"chunks of 2 lengths for shape \(10, 6\), got \(3, 3, 3\)"):
        packstore.open_array(tmp_path / "x.npy", chunks=(3, 3, 3))


@pytest.mark.parametrize(
    "array",
    [np.array([{}, 1], object), np.array(["a", "bc"], np.dtypes.StringDType()), np.zeros(2, [("a", "O"), ("b", "i4")])],
    ids=["object", "StringDType", "field"],
)
def test_pickled_objects_are_never_loaded(tmp_path: Path, array: np.ndarray) -> None:
    path = tmp_path / "x.npy"
    with pytest.warns() if array.dtype.kind == "T" else _no_warning():
        np.save(path, array, allow_pickle=True)
    assert "never unpickles" in packstore.open_store(path).unsupported[""]
    for call in (packstore.open_array, packstore.from_file):
        with pytest.raises(UnsupportedError, match=r"pickled Python objects, and packstore never unpickles"):
            call(path)


def _no_warning() -> Any:
    import contextlib

    return contextlib.nullcontext()


def test_zero_width_elements_are_listed(tmp_path: Path) -> None:
    path = write_header(tmp_path / "x.npy", header("|S0", shape=(10**15,)), data=b"")
    assert "zero bytes" in packstore.open_store(path).unsupported[""]


@pytest.mark.parametrize("keep", [0, 5, 6, 7, 9, 11, 50, 127])
def test_cut_in_the_header(tmp_path: Path, keep: int) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.arange(100))
    path = tmp_path / "x.npy"
    path.write_bytes(buffer.getvalue()[:keep])
    with pytest.raises(
        TruncatedFileError, match=rf"reading the npy header of .*x\.npy: expected at least .*, got {keep}"
    ):
        packstore.open_array(path, format="npy")


def test_cut_in_the_data(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    np.save(path, np.arange(100))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(
        TruncatedFileError, match=r"shape \(100,\) in .*x\.npy: expected 800 bytes, got 799\. The file is cut"
    ):
        packstore.open_array(path)
    with pytest.raises(EOFError):
        packstore.from_file(path)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "a dictionary literal"),
        ("[1, 2]", "the keys .* got list"),
        ("{'descr': '<f8', 'fortran_order': False}", "the keys"),
        (header().replace("}", "'x': 1}"), "the keys"),
        (header(order=0), "fortran_order True or False, got 0"),
        (header(shape=[10]), "a shape of non-negative integers"),
        (header(shape=(-1,)), "a shape of non-negative integers"),
        (header(shape=(True,)), "a shape of non-negative integers"),
        (header(shape=(1.5,)), "a dictionary literal"),
        (header(shape=(0,) * 65), "at most 64 axes"),
        (header(shape=(2**62, 4)), r"a size below 2\*\*63 bytes"),
        (header(shape=(0, 2**62, 2**62)), r"a size below 2\*\*63 bytes"),
        (header("<q9"), "a dtype description"),
        (header(["x"]), "a dtype description"),
        (header([("a", "<i4"), ("a", "<i4")]), "a dtype description"),
        (header(("<i4", (2,))), "the dtype of one element"),
        (header(None), "a dtype description"),
        ("{'descr': __import__('os').getcwd(), 'fortran_order': False, 'shape': (1,)}", "a dictionary literal"),
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (1+1,)}", "a dictionary literal"),
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (9" + "9" * 4000 + ",)}", "a dictionary literal"),
        ("(" * 60000, "nested deeper"),
        ("-" * 60000, "a dictionary literal"),
        ("(" * 90 + "1" + ",)" * 90, "the keys .* got tuple"),
        ("{[]: 1}", "a dictionary literal"),
        ("{1: 1, 'descr': 1}", "the keys"),
        ("{'descr': '<f8'", "a dictionary literal"),
        (header("\\d"), "a dtype description"),
        (header().replace("<f8", "\\d"), "a dictionary literal"),
        (header().replace("<f8", "<f8\0"), "a d"),
        (header("f4,f4"), "a dtype description"),
        (header([("a", "<f4", (2**62, 2**62))]), "a dtype description"),
        (header([("a",)]), "a dtype description"),
        (header(("<f4", -1)), "a dtype description"),
    ],
)
def test_headers_that_make_no_sense(tmp_path: Path, text: str, match: str) -> None:
    path = write_header(tmp_path / "x.npy", text)
    with pytest.raises(FormatError, match=r"reading the npy header of .*x\.npy: expected .*" + match):
        packstore.open_array(path)


@pytest.mark.parametrize(
    "text", ["<M8[s/0]", "<M8[D/0]", "<m8[25s/0]", "|M8[s/7]", "<M8[s]/0", "<m8[0s]", "<M8[00ns]", "<M8[s/0]//1"]
)
def test_dtypes_that_would_end_the_process(tmp_path: Path, text: str) -> None:
    """numpy divides by the 0; it must not see the text, wherever it stands."""
    for descr in (text, [("a", text)], [("a", [("b", text, (2,))])], (text, (2,)), ("<i8", text), [("a", "<i8", text)]):
        path = write_header(tmp_path / "x.npy", header(descr))
        with pytest.raises(FormatError, match="a dtype description"):
            packstore.open_array(path)


@pytest.mark.parametrize("dtype", ["<M8", "<M8[D]", ">m8[25us]", "<M8[as]", "|b1", "<c16", "|V5", "<U7", "|S0", "<f2"])
def test_dtypes_that_numpy_writes(tmp_path: Path, dtype: str) -> None:
    path = write_header(tmp_path / "x.npy", header(dtype, shape=(2,)), data=bytes(200))
    assert read_header(FileSource(path), "x").dtype == np.load(path).dtype == np.dtype(dtype)


def test_python2_integers_beside_text_that_looks_like_them(tmp_path: Path) -> None:
    text = "{'descr': [(u'1L', '<i4'), ('(2L', '<f4', (3L, 1 L))], 'fortran_order': False, 'shape': (5L,), }"
    found = read_header(FileSource(write_header(tmp_path / "x.npy", text)), "x")
    assert found.shape == (5,)
    assert found.dtype == np.dtype([("1L", "<i4"), ("(2L", "<f4", (3, 1))])


def test_unknown_version_and_long_header(tmp_path: Path) -> None:
    path = write_header(tmp_path / "x.npy", header(), (4, 0))
    with pytest.raises(FormatError, match=r"version 1\.0, 2\.0 or 3\.0, got 4\.0"):
        packstore.open_array(path)
    path = write_header(tmp_path / "y.npy", header() + " " * MAX_HEADER_NBYTES, (2, 0))
    with pytest.raises(FormatError, match="a header of at most 131072 bytes"):
        packstore.open_array(path)
    path = write_header(tmp_path / "z.npy", b"\xff\xfe", (3, 0))
    with pytest.raises(FormatError, match="expected UTF-8"):
        packstore.open_array(path)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_flipped_bytes_are_errors_of_ours_or_what_numpy_reads(data: st.DataObject) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((3, 2), data.draw(st.sampled_from(["<f8", "|S3", "S1,<M8[ns]", "<u2,>i4"]))))
    raw = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, 90))] = data.draw(st.integers(0, 255) | st.sampled_from(b"'(),:{}[]0123456789<>|"))
    try:
        found = read_header(InlineBytes(bytes(raw), "x"), "x")
    except PackstoreError:
        return
    if found.unsupported is not None or found.data_nbytes > len(raw) - found.nbytes:
        return
    want = np.load(io.BytesIO(bytes(raw)))
    assert (found.shape, found.dtype, found.order == "F") == (want.shape, want.dtype, not want.flags.c_contiguous) or (
        want.flags.c_contiguous and want.flags.f_contiguous
    )
