"""Virtual datasets whose sources are not there: what needs them raises and is named, everything else reads right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask
import h5py
import numpy as np
import pytest
import zarr

import packstore
from packstore.errors import FormatError, MissingFileError, OptionError, PackstoreError, UnsupportedError
from packstore.readers.hdf5 import read
from packstore.readers.hdf5.virtual import mappings, sources
from packstore.source import FileSource

LOST = r"reading .*v\.h5\[x\]: expected its source 'd' in 's1\.h5', got no such file\. .* missing_sources=\"fill\""


def source(path: Path, start: int) -> None:
    with h5py.File(path, "w") as f:
        f.create_dataset("d", data=np.arange(start, start + 8), maxshape=(None,), chunks=(3,))


def make(path: Path, parts: list[tuple[Any, str, str]], shape: tuple[int, ...], maxshape: Any = None) -> Path:
    """A virtual dataset "x" of sources of 8 elements: (where they go, file, dataset)."""
    layout = h5py.VirtualLayout(shape, "i8", maxshape=maxshape)
    for where, file, dataset in parts:
        layout[where] = h5py.VirtualSource(file, dataset, (8,))
    with h5py.File(path, "w", libver="latest") as f:
        f["inside"] = np.arange(8)
        f.create_virtual_dataset("x", layout, fillvalue=-1)
    return path


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Three rows; the source of the second is not there."""
    for i in (0, 2):
        source(tmp_path / f"s{i}.h5", 10 * i)
    return make(tmp_path / "v.h5", [(i, f"s{i}.h5", "d") for i in range(3)], (4, 8))


def h5(path: Path, name: str = "x") -> Any:
    with h5py.File(path) as f:
        return f[name][()]


def test_every_route_raises_where_the_box_needs_the_source(rows: Path) -> None:
    array = packstore.open_array(rows, "x", allow_external=True)
    store = packstore.open_store(rows, allow_external=True)
    plain = zarr.open_array(store, path="x", mode="r")
    lazy = packstore.from_file(rows, "x", chunks=(1, 8), allow_external=True)
    group = packstore.open_group(rows, allow_external=True)
    want = h5(rows)
    free: tuple[Any, ...] = (np.s_[0], np.s_[2:], np.s_[::2], np.s_[3, 3], np.s_[1:1], np.s_[2:, ::3])
    for index in free:
        np.testing.assert_array_equal(array[index], want[index])
        np.testing.assert_array_equal(plain[index], want[index])
        np.testing.assert_array_equal(group["x"][index], want[index])
        np.testing.assert_array_equal(lazy[index].compute(), want[index])
    needed: tuple[Any, ...] = (np.s_[...], np.s_[1], np.s_[:2, 3], np.s_[1, 7:])
    for index in needed:
        for of in (array, plain, group["x"]):
            with pytest.raises(MissingFileError, match=LOST):
                of[index]
        with pytest.raises(MissingFileError, match=LOST):
            lazy[index].compute()
    with pytest.raises(MissingFileError, match=LOST):
        array.oindex[np.array([0, 1]), :]
    with pytest.raises(MissingFileError, match=LOST):
        packstore.count_nonzero(array).compute()


def test_missing_sources_are_named(rows: Path) -> None:
    why = "its source 'd' in 's1.h5': no such file; reading it is an error unless missing_sources=\"fill\" is passed"
    assert dict(packstore.open_store(rows, allow_external=True).unsupported) == {"x@s1.h5": why}
    assert dict(read(FileSource(rows), component="x", allow_external=True).unsupported) == {"x@s1.h5": why}
    assert dict(packstore.open_store(rows, allow_external=True, missing_sources="fill").unsupported) == {}


def test_nothing_is_saved(rows: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.zarr"
    for opened in (packstore.open_array, packstore.from_file):
        with pytest.raises(MissingFileError, match=LOST):
            packstore.save(target, opened(rows, "x", allow_external=True))
    assert not target.exists()


def test_fill_is_h5pys_view(rows: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"allow_external": True, "missing_sources": "fill"}
    want = h5(rows)
    assert want[1].tolist() == [-1] * 8
    np.testing.assert_array_equal(packstore.open_array(rows, "x", **options)[...], want)
    np.testing.assert_array_equal(packstore.from_file(rows, "x", **options).compute(), want)
    packstore.save(tmp_path / "out.npy", packstore.open_array(rows, "x", **options))
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), want)
    with pytest.raises(OptionError, match='expected missing_sources="raise" or "fill", got \'zero\''):
        packstore.open_array(rows, "x", missing_sources="zero")


@pytest.mark.parametrize(("dataset", "why"), [("none", "no object '/none'"), ("link", "no file 'nowhere.h5'")])
def test_a_dataset_that_is_missing_in_a_file(rows: Path, tmp_path: Path, dataset: str, why: str) -> None:
    with h5py.File(tmp_path / "s1.h5", "w") as f:
        f["link"] = h5py.ExternalLink("nowhere.h5", "/d")
    path = make(tmp_path / "w.h5", [(0, "s0.h5", "d"), (1, "s1.h5", dataset), (2, "s2.h5", "d")], (3, 8))
    assert why in packstore.open_store(path, allow_external=True).unsupported[f"x@s1.h5:{dataset}"]
    array = packstore.open_array(path, "x", allow_external=True)
    np.testing.assert_array_equal(array[::2], [np.arange(8), np.arange(20, 28)])
    with pytest.raises(MissingFileError, match=f"its source '{dataset}' in 's1.h5', got {why}"):
        array[1]
    filled = packstore.open_array(path, "x", allow_external=True, missing_sources="fill")
    want = h5(path) if dataset == "none" else [np.arange(8), [-1] * 8, np.arange(20, 28)]
    np.testing.assert_array_equal(filled[...], want)


def test_a_source_that_is_a_group(rows: Path, tmp_path: Path) -> None:
    """An error in h5py, too."""
    with h5py.File(tmp_path / "s1.h5", "w") as f:
        f.create_group("d")
    for missing in ("raise", "fill"):
        options: dict[str, Any] = {"allow_external": True, "missing_sources": missing}
        assert "a source that is no dataset" in packstore.open_store(rows, **options).unsupported["x@s1.h5:d"]
        array = packstore.open_array(rows, "x", **options)
        assert array[2].tolist() == list(range(20, 28))
        with pytest.raises(UnsupportedError, match="a source that is no dataset"):
            array[1]


def test_a_dataset_that_is_missing_in_the_same_file(tmp_path: Path) -> None:
    path = make(tmp_path / "v.h5", [(0, ".", "inside"), (1, ".", "none")], (2, 8))
    assert "no object '/none'" in packstore.open_store(path).unsupported["x@.:none"]
    array = packstore.open_array(path, "x")
    assert array[0].tolist() == list(range(8))
    with pytest.raises(MissingFileError, match=r"its source 'none' in '\.', got no object"):
        array[1]


def test_a_source_that_is_no_hdf5_file(rows: Path, tmp_path: Path) -> None:
    (tmp_path / "s1.h5").write_bytes(b"not HDF5")
    for missing in ("raise", "fill"):
        options: dict[str, Any] = {"allow_external": True, "missing_sources": missing}
        assert "expected an HDF5 file" in packstore.open_store(rows, **options).unsupported["x@s1.h5:d"]
        array = packstore.open_array(rows, "x", **options)
        assert array[::2, 0].tolist() == [0, 20]
        with pytest.raises(FormatError, match="expected an HDF5 file"):
            array[1]


def test_more_sources_than_are_looked_at(rows: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(mappings, "LOOKED", 1)
    monkeypatch.setattr(sources, "MAX_NAMED", 1)
    path = make(tmp_path / "w.h5", [(i, f"s{i}.h5", "none") for i in range(3)], (3, 8))
    found = packstore.open_store(path, allow_external=True).unsupported
    assert found["x@…"] == "1 more sources"
    array = packstore.open_array(path, "x", allow_external=True)
    with pytest.raises(MissingFileError, match=r"its source 'none' in 's2\.h5', got no such dataset"):
        array[2]


def test_woven_and_overlapping_parts(tmp_path: Path) -> None:
    """Only elements of the missing source raise, not all between its first and its last."""
    source(tmp_path / "s0.h5", 0)
    path = make(tmp_path / "v.h5", [(np.s_[::2], "s0.h5", "d"), (np.s_[1::2], "gone.h5", "d")], (16,))
    array = packstore.open_array(path, "x", allow_external=True)
    assert array[::2].tolist() == list(range(8))
    assert array[4:5].tolist() == [2]
    for index in (slice(4, 6), slice(1, 16, 4), slice(None)):
        with pytest.raises(MissingFileError, match=r"gone\.h5"):
            array[index]


def unlimited(path: Path, files: list[str], shape: tuple[int, ...] = (0,)) -> Path:
    every = h5py.h5s.UNLIMITED
    dcpl = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    dcpl.set_fill_value(np.array([-1], "i8"))
    dims = (1, len(files))
    for i, file in enumerate(files):
        there = h5py.h5s.create_simple(dims, (every, len(files)))
        there.select_hyperslab((0, i), (every, 1), (1, 1), (1, 1))
        here = h5py.h5s.create_simple((8,), (every,))
        here.select_hyperslab((0,), (every,), (1,), (1,))
        dcpl.set_virtual(there, file.encode(), b"d", here)
    with h5py.File(path, "w", libver="latest") as f:
        space = h5py.h5s.create_simple((0, len(files)), (every, len(files)))
        h5py.h5d.create(f.id, b"x", h5py.h5t.STD_I64LE, space, dcpl)
    return path


def test_unlimited_columns(rows: Path, tmp_path: Path) -> None:
    path = unlimited(tmp_path / "u.h5", ["s0.h5", "s1.h5", "s2.h5"])
    array = packstore.open_array(path, "x", allow_external=True)
    want = h5(path)
    assert array.shape == want.shape == (8, 3)
    np.testing.assert_array_equal(array[:, ::2], want[:, ::2])
    with pytest.raises(MissingFileError, match=r"s1\.h5"):
        array[7, 1]
    assert "x@s1.h5" in packstore.open_store(path, allow_external=True).unsupported
    filled = packstore.open_array(path, "x", allow_external=True, missing_sources="fill")
    np.testing.assert_array_equal(filled[...], want)


def test_a_length_that_only_a_missing_source_tells(tmp_path: Path) -> None:
    path = unlimited(tmp_path / "u.h5", ["gone.h5"])
    with pytest.raises(UnsupportedError, match=r"got the length of its source 'd' in 'gone\.h5': no such file"):
        packstore.open_array(path, "x", allow_external=True)
    filled = packstore.open_array(path, "x", allow_external=True, missing_sources="fill")
    assert filled.shape == h5(path).shape == (0, 1)


@pytest.mark.parametrize("missing", ["raise", "fill"])
@pytest.mark.parametrize("there", [(0, 1, 2), (0, 2), (1, 2), ()])
def test_numbered_sources_end_before_the_first_gap(tmp_path: Path, there: tuple[int, ...], missing: str) -> None:
    for i in there:
        source(tmp_path / f"n{i}.h5", 10 * i)
    every = h5py.h5s.UNLIMITED
    dcpl = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    space = h5py.h5s.create_simple((1, 8), (every, 8))
    space.select_hyperslab((0, 0), (every, 1), (1, 1), (1, 8))
    dcpl.set_virtual(space, b"n%b.h5", b"d", h5py.h5s.create_simple((8,)))
    path = tmp_path / "v.h5"
    with h5py.File(path, "w", libver="latest") as f:
        h5py.h5d.create(f.id, b"x", h5py.h5t.STD_I64LE, h5py.h5s.create_simple((1, 8), (every, 8)), dcpl)
    options: dict[str, Any] = {"allow_external": True, "missing_sources": missing}
    got = packstore.open_array(path, "x", **options)[...]
    np.testing.assert_array_equal(got, h5(path))
    assert dict(packstore.open_store(path, **options).unsupported) == {}


def test_names_are_resolved_as_libhdf5_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative to the virtual dataset's file, not to the working directory; an absolute one that is gone, beside it."""
    (tmp_path / "data" / "sub").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    source(tmp_path / "data" / "s.h5", 0)
    source(tmp_path / "data" / "sub" / "s.h5", 100)
    source(tmp_path / "up.h5", 200)
    names = ["s.h5", "sub/s.h5", "../up.h5", str(tmp_path / "moved" / "s.h5"), str(tmp_path / "up.h5")]
    path = make(tmp_path / "data" / "v.h5", [(i, name, "d") for i, name in enumerate(names)], (5, 8))
    array = packstore.open_array(path, "x", allow_external=True)
    np.testing.assert_array_equal(array[...], h5(path))
    assert array[:, 0].tolist() == [0, 100, 200, 0, 200]


def test_sources_of_sources(rows: Path, tmp_path: Path) -> None:
    path = make(tmp_path / "outer.h5", [(0, "s0.h5", "d"), (1, "mid.h5", "x")], (2, 8))
    make(tmp_path / "mid.h5", [(slice(None), "s1.h5", "d")], (8,))
    assert "no such file" in packstore.open_store(path, allow_external=True).unsupported["x@s1.h5"]
    array = packstore.open_array(path, "x", allow_external=True)
    assert array[0].tolist() == list(range(8))
    with pytest.raises(MissingFileError, match=r"mid\.h5\[x\]: expected its source 'd' in 's1\.h5'"):
        array[1]
    filled = packstore.open_array(path, "x", allow_external=True, missing_sources="fill")
    assert filled[1].tolist() == [-1] * 8


def test_names_with_an_at_sign(tmp_path: Path) -> None:
    path = make(tmp_path / "v.h5", [(0, "a@b.h5", "d")], (1, 8))
    with h5py.File(path, "a") as f:
        del f["inside"]
    assert list(packstore.open_store(path).unsupported) == ["x@a%40b.h5"]
    # It is still the only array.
    assert packstore.open_array(path).shape == (1, 8)


def test_errors_are_of_the_family_under_dask(rows: Path) -> None:
    lazy = packstore.from_file(rows, "x", allow_external=True)
    for scheduler in ("threads", "synchronous"):
        with dask.config.set(scheduler=scheduler), pytest.raises(PackstoreError, match=r"s1\.h5"):
            lazy.sum().compute()
