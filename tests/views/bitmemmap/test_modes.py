"""Opening: modes, sizes, the files of numpy, errors, closing, pickles."""

from __future__ import annotations

import copy
import math
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from packstore.errors import (
    ClosedError,
    DtypeError,
    MissingFileError,
    OptionError,
    ReadOnlyError,
    ShapeError,
    TruncatedFileError,
    UnsupportedError,
    WriteError,
)
from packstore.views.bitmemmap import BitMemmap, open_memmap

from .helpers import bools, check_same, fresh_path, layouts, mapped, models, write_packed

modest = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


@modest
@given(st.data())
def test_numpy_reads_what_we_write(data: st.DataObject) -> None:
    model = data.draw(models())
    axis, order, offset = data.draw(layouts(model.shape))
    path = fresh_path()
    with open_memmap(path, "w+", model.shape, axis, order, offset) as m:
        assert not np.asarray(m).any()
        m[...] = model
        assert m.nbytes == np.packbits(model, axis=axis).size
    raw = np.fromfile(path, np.uint8)
    os.unlink(path)
    assert not raw[:offset].any()
    packed = np.packbits(model, axis=axis, bitorder=order)
    assert raw[offset:].tobytes() == packed.tobytes()
    if axis is None or not model.ndim:
        back = np.unpackbits(raw[offset:], count=model.size, bitorder=order).reshape(model.shape)
    else:
        count = model.shape[axis]
        back = np.unpackbits(raw[offset:].reshape(packed.shape), axis=axis, count=count, bitorder=order)
    np.testing.assert_array_equal(back.astype(bool), model)


@modest
@given(st.data())
def test_we_read_what_numpy_writes(data: st.DataObject) -> None:
    model = data.draw(models())
    axis, order, offset = data.draw(layouts(model.shape))
    with mapped(model, axis, order, offset, data.draw(st.sampled_from(["r", "r+", "c"]))) as m:
        assert (m.shape, m.ndim, m.size, m.dtype) == (model.shape, model.ndim, model.size, model.dtype)
        assert (m.bitorder, m.offset) == (order, offset)
        got = np.asarray(m)
        assert got.dtype == bool
        np.testing.assert_array_equal(got, model)


def test_attributes(tmp_path: Path) -> None:
    m = open_memmap(tmp_path / "m", "w+", (3, 4, 5), axis=-2, bitorder="big", offset=7)
    assert m.filename == str(tmp_path / "m")
    assert (m.mode, m.axis, m.bitorder, m.offset, m.nbytes) == ("w+", 1, "big", 7, 15)
    assert os.path.getsize(m.filename) == 22
    assert "shape=(3, 4, 5) mode='w+' axis=1 bitorder='big' offset=7" in repr(m)
    assert not m.closed
    m.close()
    m.close()
    assert m.closed
    assert "closed" in repr(m)


def test_relative_path_is_kept_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    m = open_memmap("m", "w+", 8)
    monkeypatch.chdir("/")
    assert pickle.loads(pickle.dumps(m)).shape == (8,)


def test_shape_none_takes_all_bits(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_bytes(bytes([0, 0b1, 0b10000000]))
    assert np.flatnonzero(open_memmap(path)).tolist() == [15, 16]
    assert np.flatnonzero(open_memmap(path, offset=1, bitorder="little")).tolist() == [0, 15]
    assert open_memmap(path, offset=3).shape == (0,)
    with pytest.raises(ShapeError, match=r"expected at least 4 bytes \(the offset\), got 3"):
        open_memmap(path, offset=4)


@pytest.mark.parametrize("shape", [(), (0,), (0, 5), (5, 0), (3, 0, 2)])
@pytest.mark.parametrize("axis", [-1, 0, None])
def test_empty_and_zero_dimensional(tmp_path: Path, shape: tuple[int, ...], axis: int | None) -> None:
    path = tmp_path / "m"
    model = np.zeros(shape, bool)
    with open_memmap(path, "w+", shape, axis) as m:
        m[...] = True
        model[...] = True
        check_same(m, model)
        np.testing.assert_array_equal(np.asarray(m), model)
        assert (m.count_nonzero(), m.any(), m.all()) == (np.count_nonzero(model), model.any(), model.all())
        m.invert()
        check_same(m, ~model)
    np.testing.assert_array_equal(open_memmap(path, "r", shape, axis)[...], ~model)


def test_modes_write_or_not(tmp_path: Path) -> None:
    path = tmp_path / "m"
    model = bools((5, 12))
    write_packed(str(path), model, -1, "big")
    before = path.read_bytes()
    r = open_memmap(path, "r", model.shape)
    for change in (
        lambda: r.__setitem__(0, True),
        r.invert,
        lambda: r.__iand__(model),
        lambda: r.__setitem__(model, False),
    ):
        with pytest.raises(
            ReadOnlyError, match=r"^writing to .*m: expected a writable mode, got mode 'r'\. Open it with"
        ):
            change()
    r.flush()
    with open_memmap(path, "c", model.shape) as c:
        c[...] = ~model
        c.flush()
        np.testing.assert_array_equal(np.asarray(c), ~model)
        np.testing.assert_array_equal(np.asarray(r), model)
    assert path.read_bytes() == before
    with open_memmap(path, "r+", model.shape) as w:
        w[2] = True
        np.testing.assert_array_equal(r[2], np.ones(12, bool))
    model[2] = True
    assert path.read_bytes() == np.packbits(model, axis=-1).tobytes()
    with open_memmap(path, "w+", (2, 3)) as n:
        assert path.read_bytes() == b"\0\0"
        assert not n.any()


def test_flush_moves_the_modification_time(tmp_path: Path) -> None:
    with open_memmap(tmp_path / "m", "w+", 100) as m:
        os.utime(m.filename, ns=(5, 5))
        m.flush()
        assert os.stat(m.filename).st_mtime_ns == 5
        m[3] = True
        m.flush()
        assert os.stat(m.filename).st_mtime_ns > 5
        os.unlink(m.filename)
        m[4] = True
        m.flush()
        assert m.count_nonzero() == 2


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"mode": "a"}, OptionError, r"^opening .*: expected mode 'r', 'r\+', 'w\+', 'c', got 'a'\.$"),
        ({"mode": "w+"}, OptionError, r"expected a shape, got None|expected a shape"),
        ({"bitorder": "lsb"}, OptionError, r"expected bitorder 'little' or 'big', got 'lsb'"),
        ({"offset": -1}, OptionError, r"expected an offset of at least 0, got -1"),
        ({"offset": 0.5}, OptionError, r"expected an integer offset, got 0\.5"),
        ({"axis": 2, "shape": (3, 8)}, OptionError, r"expected an axis from -2 to 1, got 2"),
        ({"axis": "x", "shape": (3, 8)}, OptionError, r"expected an integer axis or None, got 'x'"),
        ({"shape": (3, -8)}, ShapeError, r"expected extents of at least 0, got \(3, -8\)"),
        ({"shape": 2.5}, ShapeError, r"expected a shape of integers, got 2\.5"),
        (
            {"shape": (3, 9)},
            ShapeError,
            r"expected 6 bytes \(offset 0 \+ 6 for shape \(3, 9\) packed along axis 1\), got 3 bytes\. Check shape",
        ),
        ({"shape": (2, 8)}, ShapeError, r"expected 2 bytes .*, got 3 bytes"),
        ({"shape": (3, 8), "offset": 1}, ShapeError, r"expected 4 bytes \(offset 1 \+ 3 .*, got 3 bytes"),
        ({"shape": (3, 1), "axis": 0}, ShapeError, r"one byte per element: np\.memmap\(path, bool\) reads it"),
        ({"shape": (1 << 70,)}, ShapeError, r"expected less than 2\*\*63 bytes"),
        ({"shape": (1 << 70,), "mode": "w+"}, ShapeError, r"expected less than 2\*\*63 bytes"),
    ],
)
def test_bad_options_leave_the_file_alone(tmp_path: Path, options: Any, error: type[Exception], text: str) -> None:
    path = tmp_path / "m"
    path.write_bytes(b"abc")
    with pytest.raises(error, match=text):
        open_memmap(path, **options)
    assert path.read_bytes() == b"abc"


def test_missing_files_and_folders(tmp_path: Path) -> None:
    for mode in ("r", "r+", "c"):
        with pytest.raises(MissingFileError, match=r"^opening .*nope: expected a file, got nothing there"):
            open_memmap(tmp_path / "nope", mode)
    with pytest.raises(MissingFileError, match=r"^creating .*: expected a folder to put it in"):
        open_memmap(tmp_path / "no" / "m", "w+", 8)
    modes: tuple[Literal["r"], Literal["w+"]] = ("r", "w+")
    for mode in modes:
        with pytest.raises(OptionError, match="expected a regular file"):
            open_memmap(tmp_path, mode, 8)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OptionError, match="expected a regular file"):
        open_memmap("/dev/null", "w+", 8)


def test_no_permission_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m"
    path.write_bytes(b"a")
    real = os.open

    def refuse(name: str, flags: int, *rest: int) -> int:
        if flags & os.O_RDWR:
            raise PermissionError(13, "Permission denied")
        return real(name, flags, *rest)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(
        ReadOnlyError, match=r"expected permission for mode 'r\+', got Permission denied\. Open it with"
    ):
        open_memmap(path, "r+")
    assert open_memmap(path).shape == (8,)


LIMITED = """
import errno, os, resource, sys
from packstore.views.bitmemmap import open_memmap
from packstore.errors import WriteError
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    open_memmap(sys.argv[1], "w+", 8 * 4097)
except WriteError as error:
    assert error.errno == errno.EFBIG, error.errno
    print(error)
assert not os.path.exists(sys.argv[1])
open_memmap(sys.argv[1], "w+", 8 * 4096)[-1] = True
try:
    open_memmap(sys.argv[1], "w+", 8 * 5000)
except WriteError:
    pass
"""


def test_no_room_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "m"
    done = subprocess.run([sys.executable, "-c", LIMITED, path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.match(r"creating .*m: expected room for 4097 bytes, got File too large\.", done.stdout)
    assert path.read_bytes() == bytes(4095) + b"\x01"
    assert issubclass(WriteError, OSError)


def test_created_files_have_their_blocks(tmp_path: Path) -> None:
    with open_memmap(tmp_path / "m", "w+", 8 << 20) as m:
        assert os.stat(m.filename).st_blocks * 512 >= m.nbytes


def test_a_file_cut_while_open(tmp_path: Path) -> None:
    m = open_memmap(tmp_path / "m", "w+", (4, 1 << 16))
    n = open_memmap(tmp_path / "m", "c", (4, 1 << 16))
    os.truncate(m.filename, 100)
    text = r"^reading .*m: expected 32768 bytes, got 100 bytes\. Something cut the file"
    for use in (
        lambda: m[3],
        lambda: m.__setitem__(0, True),
        m.count_nonzero,
        m.any,
        m.invert,
        m.flush,
        lambda: np.asarray(m),
        lambda: n[0],
    ):
        with pytest.raises(TruncatedFileError, match=text):
            use()
    os.truncate(m.filename, 40000)
    assert not m[3].any()
    os.truncate(m.filename, 0)
    with pytest.raises(TruncatedFileError):
        m.close()
    assert m.closed


def test_closed(tmp_path: Path) -> None:
    with open_memmap(tmp_path / "m", "w+", (4, 9)) as m:
        kept = m[1]
    assert kept.shape == (9,)
    for use in (lambda: m[0], lambda: m.__setitem__(0, 1), m.flush, m.any, m.__enter__, lambda: pickle.dumps(m)):
        with pytest.raises(ClosedError, match=r"expected an open BitMemmap, got a closed one"):
            use()
    assert m.shape == (4, 9)


@pytest.mark.parametrize("mode", ["r", "r+"])
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickle(mode: Any, protocol: int) -> None:
    model = bools((40, 300))
    with mapped(model, 0, "big", 3, mode) as m:
        data = pickle.dumps(m, protocol)
        assert len(data) < 400
        n = pickle.loads(data)
        assert (n.mode, n.axis, n.bitorder, n.offset, n.shape) == (mode, 0, "big", 3, (40, 300))
        np.testing.assert_array_equal(np.asarray(n), model)
        np.testing.assert_array_equal(np.asarray(copy.copy(n)), model)
        if mode == "r+":
            n[0] = True
            assert m[0].all()


def test_pickle_of_created_and_of_copy_on_write(tmp_path: Path) -> None:
    m = open_memmap(tmp_path / "m", "w+", (4, 9))
    m[2, 3] = True
    n = pickle.loads(pickle.dumps(m))
    assert (n.mode, n[2, 3], n.count_nonzero()) == ("r+", True, 1)
    c = open_memmap(tmp_path / "m", "c", (4, 9))
    with pytest.raises(
        UnsupportedError, match=r"^pickling .*: expected mode 'r', 'r\+' or 'w\+', got mode 'c'\. Open it"
    ):
        pickle.dumps(c)
    data = pickle.dumps(m)
    m.close()
    os.truncate(tmp_path / "m", 3)
    with pytest.raises(ShapeError, match="expected 8 bytes"):
        pickle.loads(data)


def test_as_array(tmp_path: Path) -> None:
    model = bools((3, 11))
    with mapped(model, -1, "little") as m:
        assert np.asarray(m, dtype=np.float32).dtype == np.float32
        np.testing.assert_array_equal(np.array(m, copy=True, dtype=int), model.astype(int))
        with pytest.raises(OptionError, match="expected copy=None or True, got False"):
            np.array(m, copy=False)
        with pytest.raises(ShapeError, match=r"expected one element, got 33\. Use any\(\) or all\(\)"):
            bool(m)
        # With both, dask copies and hashes the whole file.
        assert not (hasattr(BitMemmap, "copy") and hasattr(BitMemmap, "__array_function__"))
    with mapped(np.ones((1, 1), bool), -1, "little") as m:
        assert bool(m) is True
    with mapped(np.ones((), bool), -1, "little") as m:
        uses: list[Callable[[Any], object]] = [len, lambda array: list(iter(array)), list]
        for use in uses:
            with pytest.raises(DtypeError, match="expected a dimension, got a 0-d array"):
                use(m)


def test_a_crop_reads_and_writes_only_its_pages(tmp_path: Path) -> None:
    path = tmp_path / "m"
    side = 1 << 14
    with open(path, "wb") as f:
        f.truncate(side * side // 8)
    before = os.stat(path).st_blocks
    with open_memmap(path, "r+", (side, side)) as m:
        m[5000:5008, 777:799] = True
        m[[9000, 9100], 5] = True
        m.flush()
        assert m[5000:5008, 777:799].all()
    # A row is 2 KiB: 8 rows of one crop and two points lie in at most 7 pages of 4 KiB.
    assert (os.stat(path).st_blocks - before) * 512 <= 16 * 4096
    assert math.prod(m.shape) // 8 == os.path.getsize(path)
