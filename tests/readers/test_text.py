"""Text tables against ``np.savetxt`` and ``np.loadtxt``."""

from __future__ import annotations

import gzip
import io
import os
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import packstore
from packstore.errors import CorruptDataError, DtypeError, FormatError, OptionError, PackstoreError, TruncatedFileError
from packstore.readers import text
from packstore.readers.find import locate
from packstore.readers.text import gz
from packstore.readers.text import lines as text_lines
from packstore.source import FileSource
from packstore.storage.read import read_box
from packstore.testing.readers import ReaderTests, assert_same

TABLE = np.random.default_rng(0).standard_normal((1000, 5))


class TestText(ReaderTests):
    format = "text"
    suffix = ".txt"
    dtypes = ("<f8", "<i8", ">f4", "u1", "<c16", "S5", "<U3")
    shapes = ((7,), (5, 3), (4, 5), (40, 7))
    orders = ("C",)
    property_dtypes = ("<f8", ">i2", "<c16")
    min_side = 2
    min_dims = 1
    max_dims = 2

    def write(self, path: Path, array: np.ndarray) -> None:
        if array.dtype.kind in "SU":
            # savetxt has no quotes: words without blanks, and none empty.
            words = np.where(np.arange(array.size) % 3, "xy", "word")
            array[...] = words.reshape(array.shape)
        formats = {"f": "%.17g", "i": "%d", "u": "%d", "c": "%.17g", "S": "%s", "U": "%s"}
        values = array.astype("U") if array.dtype.kind == "S" else array
        np.savetxt(path, values, fmt=formats[array.dtype.kind], encoding="utf-8", delimiter=self.delimiter)

    delimiter = " "

    def options(self, array: np.ndarray) -> Mapping[str, Any]:
        return {"dtype": array.dtype}


class TestCsv(TestText):
    suffix = ".csv"
    delimiter = ","


class TestGzip(TestText):
    suffix = ".csv.gz"
    delimiter = "\t"


def check(path: Path, **options: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        want = np.loadtxt(path, encoding="utf-8", **options)
    got = packstore.from_file(path, format="text", **options)
    assert got.shape == want.shape and got.dtype == want.dtype
    assert_same(got.compute(scheduler="synchronous"), want)


@pytest.mark.parametrize("delimiter", [" ", ",", ";", "\t"])
@pytest.mark.parametrize("suffix", [".txt", ".csv", ".tsv", ".csv.gz"])
def test_delimiters_are_recognised(tmp_path: Path, delimiter: str, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    np.savetxt(path, TABLE, delimiter=delimiter, header="a b; c\nd")
    assert locate(path).format == "text"
    assert_same(packstore.open_array(path)[...], TABLE)
    assert_same(packstore.open_array(path, delimiter=delimiter)[7:90:3, ::2], TABLE[7:90:3, ::2])


@pytest.mark.parametrize(
    "content",
    [
        "", "7", "7\n", "1 2 3", "1\n2\n3", "1 2\n3 4", "\n\n1 2\n\n3 4\n\n", "1 2\r\n3 4\r\n",
        "# head\n1 2 # tail\n3 4\n#",
        "   1    2 \n\t3\t4\n   \n", "1e5 -inf\nnan 8\n", "#\n#\n", "1 2\f\n3 4",
    ],
)  # fmt: skip
@pytest.mark.parametrize("ndmin", [0, 1, 2])
def test_as_loadtxt_reads_it(tmp_path: Path, content: str, ndmin: int) -> None:
    path = tmp_path / "x.txt"
    path.write_text(content, newline="")
    if ndmin == 2 and not content.strip("#\n"):
        assert packstore.open_array(path, format="text", ndmin=2).shape == (0, 1)
        return
    check(path, ndmin=ndmin)


@pytest.mark.parametrize(
    ("content", "options"),
    [
        ("a,b\n1,2\n3,4\n", {"skiprows": 1, "delimiter": ","}),
        ("1,2\n3,4\n5,6\n7,8\n", {"max_rows": 2, "delimiter": ","}),
        ("1,2\n\n3,4\n#\n5,6\n7,8\n", {"max_rows": 3, "skiprows": 1, "delimiter": ","}),
        ("1,2\n3,4\n", {"max_rows": 0, "delimiter": ","}),
        ("1|2\n% no\n3|4\n", {"delimiter": "|", "comments": "%"}),
        ("1 2 // no\n// no\n3 4\n", {"comments": "//"}),
        ("1 2\n3 4\n", {"comments": None}),
        ("1 2 3\n4 5 6\n", {"usecols": (2, 0)}),
        ("1 2 3\n4 5 6\n", {"usecols": 1}),
        ("1 2.5 é\n4 5 長い\n", {"dtype": [("a", "i4"), ("b", "f8"), ("c", "U2")]}),
        ("1 2.5 x\n", {"dtype": [("a", "i4"), ("b", "f8"), ("c", "S3")]}),
        ("1 2 3\n4 5 6\n", {"dtype": [("a", "i4"), ("b", "f8", (2,))]}),
        ("1 0\n0 1\n", {"dtype": bool}),
    ],
)
def test_options(tmp_path: Path, content: str, options: dict[str, Any]) -> None:
    path = tmp_path / "x.csv"
    path.write_text(content, encoding="utf-8")
    check(path, **options)
    with gzip.open(tmp_path / "x.csv.gz", "wt", encoding="utf-8") as f:
        f.write(content)
    check(tmp_path / "x.csv.gz", **options)


def test_byte_order_mark_and_encoding(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(b"\xef\xbb\xbf# head\n1 2\n3 4\n")
    assert_same(packstore.open_array(tmp_path / "x.txt")[...], np.array([[1.0, 2], [3, 4]]))
    (tmp_path / "y.txt").write_bytes(b"\xef\xbb\xbf1 2\n3 4\n")
    assert_same(packstore.open_array(tmp_path / "y.txt")[...], np.array([[1.0, 2], [3, 4]]))
    (tmp_path / "z.txt").write_bytes("é ü\nö ä\n".encode("latin-1"))
    got = packstore.open_array(tmp_path / "z.txt", format="text", dtype="U1", encoding="latin-1")
    assert_same(got[...], np.array([["é", "ü"], ["ö", "ä"]]))


def test_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are found again in the middle of a file, and only the blocks that a crop touches are parsed."""
    monkeypatch.setattr(text_lines, "BLOCK_NBYTES", 5000)
    monkeypatch.setattr(text, "PIECE_NBYTES", 777)
    monkeypatch.setattr(gz, "SPAN_NBYTES", 3000)
    parsed: list[int] = []
    original = text.TextReader.parse
    monkeypatch.setattr(
        text.TextReader,
        "parse",
        lambda self, raw, rows, line: (parsed.append(line), original(self, raw, rows, line))[1],
    )
    for name in ("x.txt", "x.txt.gz"):
        np.savetxt(tmp_path / name, TABLE, header="one\ntwo")
        array = packstore.open_array(tmp_path / name)
        parsed.clear()
        assert_same(array[70:75], TABLE[70:75])
        assert len(parsed) == 1
        assert_same(array[70:130:2, 1], TABLE[70:130:2, 1])
        assert_same(array[::-1], TABLE[::-1])
        assert len(parsed) == len(set(parsed)) > 10


@given(st.data())
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_layout_of_lines(data: st.DataObject) -> None:
    """Blank lines, comments, line ends and piece borders anywhere."""
    pieces = st.sampled_from(["1 2", " 3   4 ", "5\t6 # c", "# 9 9", "", "  ", "7 8#", "#"])
    lines = data.draw(st.lists(pieces, max_size=30))
    content = "".join(line + data.draw(st.sampled_from(["\n", "\r\n"])) for line in lines)
    if data.draw(st.booleans()):
        content = content.rstrip("\r\n")
    skiprows = data.draw(st.integers(0, 3))
    size = data.draw(st.integers(1, 20))
    raw = content.encode()
    index = text_lines.index_rows([raw[i : i + size] for i in range(0, len(raw), size)], "x", skiprows=skiprows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        want = np.loadtxt(io.StringIO(content), skiprows=skiprows, ndmin=2, delimiter=None)
    assert index.rows == want.shape[0]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.txt"
        path.write_bytes(raw)
        if want.size:
            assert_same(packstore.open_array(path, skiprows=skiprows, ndmin=2)[...], want)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("1 2\n3 4\n\n# c\n5\n6 7\n", r"parsing line 5 of .*x\.txt: expected 2 columns, got 1"),
        ("1 2\n3 4\n5 6 7\n", "parsing line 3 of .*: expected 2 columns, got 3"),
        ("1,2\n3,4\n5,6,\n", "parsing line 3 of .*: expected 2 columns, got 3"),
        ("1,2\n3,\n5,6\n", "parsing line 2 of .*: expected float64 values, got could not convert string ''"),
        ("1,2\n3,4\n5,6\n7,x\n8\n", "parsing line 4 of .*: expected float64 values, got could not convert string 'x'"),
        ("a,b\n1,2\n", r"parsing line 1 of .*got could not convert string 'a' .*pass skiprows=1"),
        ("1,2\n  \n3,4\n", "parsing line 2 of .*: expected 2 columns, got 1"),
    ],
)
@pytest.mark.parametrize("suffix", [".txt", ".txt.gz"])
def test_wrong_rows_are_named_by_line(tmp_path: Path, content: str, match: str, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    data = content.encode()
    path.write_bytes(gzip.compress(data) if suffix.endswith("gz") else data)
    with pytest.raises(FormatError, match=match.replace("txt", suffix[1:].replace(".", r"\."))):
        packstore.open_array(path)[...]
    with pytest.raises(ValueError, match=r"parsing line"):
        packstore.from_file(path).compute(scheduler="synchronous")


def test_a_wrong_row_far_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_lines, "BLOCK_NBYTES", 2000)
    path = tmp_path / "x.txt"
    np.savetxt(path, TABLE, fmt="%.3f", header="names")
    lines = path.read_text().split("\n")
    for number, bad in ((401, "1 2 3 4"), (802, "1 2 3 4 oops"), (950, "1 2 3 4 5 6")):
        lines[number - 1] = bad
    path.write_text("\n".join(lines))
    array = packstore.open_array(path)
    assert_same(array[:300], np.round(TABLE[:300], 3))
    for rows, match in ((slice(390, 410), "line 401 .*5 columns, got 4"), (slice(800, 802), "line 802 .*'oops'"),
                        (slice(945, 960), "line 950 .*5 columns, got 6")):  # fmt: skip
        with pytest.raises(FormatError, match=match):
            array[rows]


@pytest.mark.parametrize("end", ["\r", "\r\n", "\n"])
@pytest.mark.parametrize("last", [True, False])
def test_line_ends_at_the_ends_of_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str, last: bool) -> None:
    path = tmp_path / "x.txt"
    path.write_text(end.join(f"{i} {i * i}" for i in range(200)) + (end if last else ""), newline="")
    for piece in range(1, 12):
        monkeypatch.setattr(text, "PIECE_NBYTES", piece)
        np.testing.assert_array_equal(packstore.open_array(path)[...], np.loadtxt(path))
        os.utime(path, (piece, piece))


def test_old_mac_line_ends_among_others(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes(b"# names\r1 2\r\r3 4\r\n5 6\n\r7 8 # last\r")
    check(path)
    np.testing.assert_array_equal(packstore.from_file(path)[2:].compute(), [[5, 6], [7, 8]])
    path.write_bytes(b"1 2\r3 oops\r")
    with pytest.raises(FormatError, match=r"parsing line 2 of .*'oops'"):
        packstore.open_array(path)[...]


WIDE = ["utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be", "UTF16"]


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
@pytest.mark.parametrize("encoding", [*WIDE, "utf-8-sig", "utf_8_sig", "latin-1", "cp1252"])
def test_encodings(tmp_path: Path, encoding: str, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    rows = "".join(f"{i},{i / 7!r} # größe\r\n" for i in range(30_000))
    raw = ("# Größe\n" + rows).encode(encoding)
    path.write_bytes(gzip.compress(raw, 1) if suffix.endswith("gz") else raw)
    want = np.array([[i, i / 7] for i in range(30_000)])
    array = packstore.open_array(path, format="text", encoding=encoding)
    for part in (np.s_[...], np.s_[29_990:], np.s_[7::9_999, 1]):
        np.testing.assert_array_equal(array[part], want[part])
    np.testing.assert_array_equal(packstore.from_file(path, format="text", encoding=encoding).compute(), want)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_wide_text_asks_for_its_encoding(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes("1,2\n3,4\n".encode(encoding))
    with pytest.raises(FormatError, match=f'expected text in utf-8, got {encoding}. Pass encoding="{encoding}"'):
        packstore.open_array(path)
    assert packstore.open_array(path, encoding=encoding)[...].tolist() == [[1, 2], [3, 4]]
    path.write_bytes("1,2\n3,4\n".encode(encoding)[:-1])
    with pytest.raises(FormatError, match=rf"decoding .*x\.csv: expected text in {encoding}-le, got .* at byte"):
        packstore.open_array(path, encoding=encoding)[...]


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(b"1 2\n3 \xff\n")
    with pytest.raises(FormatError, match=r"parsing line 2 of .*expected text in utf-8, got b'\\xff'"):
        packstore.open_array(tmp_path / "x.txt", format="text")[...]


@pytest.mark.parametrize("keep", [-1, -9, 30])
def test_cut_gzip(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "x.txt.gz"
    np.savetxt(path, TABLE)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(TruncatedFileError, match=r"x\.txt\.gz: expected the end of the gzip stream"):
        packstore.open_array(path, format="text")


def test_damaged_gzip(tmp_path: Path) -> None:
    path = tmp_path / "x.txt.gz"
    np.savetxt(path, TABLE)
    raw = bytearray(path.read_bytes())
    raw[-6] ^= 1
    path.write_bytes(raw)
    with pytest.raises(CorruptDataError, match=r"expected gzip data, got .*incorrect"):
        packstore.open_array(path)


def test_gzip_of_several_members_and_padding(tmp_path: Path) -> None:
    path = tmp_path / "x.txt.gz"
    path.write_bytes(gzip.compress(b"1 2\n3 ") + gzip.compress(b"") + gzip.compress(b"4\n5 6\n") + bytes(100))
    assert_same(packstore.open_array(path)[...], np.array([[1.0, 2], [3, 4], [5, 6]]))


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_bytes_are_an_error_of_ours_or_numbers(raw: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.txt"
        path.write_bytes(raw)
        try:
            array = text.read(FileSource(path), component=None, chunks=None).arrays[""]
            read_box(array, tuple(slice(0, n, 1) for n in array.shape))
        except PackstoreError:
            pass


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"dtype": "U"}, DtypeError, r"Strings need one \('S8', 'U3'\)"),
        ({"dtype": object}, DtypeError, "never unpickles"),
        ({"dtype": "q9"}, DtypeError, "a numpy dtype"),
        ({"delimiter": ",,"}, OptionError, "delimiter= as one character, got ',,'"),
        ({"delimiter": 3}, OptionError, "delimiter= as one character"),
        ({"comments": ["#"]}, OptionError, "comments= as a string or None"),
        ({"encoding": "cp037"}, OptionError, "an encoding= that extends ASCII"),
        ({"encoding": 5}, OptionError, "an encoding= that extends ASCII"),
        ({"encoding": "hex"}, OptionError, "an encoding= that extends ASCII"),
        ({"encoding": "no such"}, OptionError, "an encoding= that extends ASCII"),
        ({"skiprows": -1}, OptionError, "skiprows= of 0 or more"),
        ({"max_rows": 1.5}, OptionError, "max_rows= of 0 or more"),
        ({"ndmin": 3}, OptionError, "ndmin= of at most 2"),
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, options: dict[str, Any], error: type, match: str) -> None:
    (tmp_path / "x.txt").write_text("1 2\n3 4\n")
    with pytest.raises(error, match=match):
        packstore.open_array(tmp_path / "x.txt", **options)


def test_binary_files_are_not_taken_for_text(tmp_path: Path) -> None:
    for name, raw in (("x.txt", b"1 2\x00\n"), ("y.csv", b"\xfe1\x002"), ("z.log", b"1 2\n")):
        (tmp_path / name).write_bytes(raw)
        assert not text.sniff(FileSource(tmp_path / name), raw)
