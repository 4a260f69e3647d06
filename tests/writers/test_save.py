"""`save` in every format: what comes back through the reference readers and through packstore."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import dask.array as da
import h5py
import hypothesis.strategies as st
import numpy as np
import pytest
import zarr
from hypothesis import given, settings

import packstore
from packstore.errors import DtypeError, OptionError, ShapeError, TargetExistsError, WriteError
from packstore.testing.readers import assert_same
from packstore.testing.strategies import arrays_st
from packstore.writers.chunk_shapes import block_boxes, fitting_chunks, grown
from packstore.writers.parallel import map_ordered
from packstore.writers.tree import tree_of

SUFFIXES = ["npy", "npz", "h5", "zarr", "raw"]
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("npy", {}),
    ("raw", {}),
    ("npz", {}),
    ("npz", {"compressed": False}),
    ("h5", {}),
    ("h5", {"compressor": None}),
    ("h5", {"shuffle": False, "level": 9}),
    ("zarr", {}),
    ("zarr", {"zarr_format": 2}),
    ("zarr", {"compressor": None, "pack": False}),
]


def reference(path: Path, array: np.ndarray, name: str | None = None) -> np.ndarray:
    """The array as the format's own library reads it."""
    if path.suffix == ".npy":
        return np.asarray(np.load(path))
    if path.suffix == ".npz":
        with np.load(path) as archive:
            return np.asarray(archive[name or "arr_0"])
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            return np.asarray(file[name or "data"][()])
    if path.suffix == ".zarr":
        return np.asarray(zarr.open_array(path, path=name or "", mode="r")[...])
    return np.fromfile(path, array.dtype).reshape(array.shape)


def ours(path: Path, array: np.ndarray, name: str | None = None) -> np.ndarray:
    options: dict[str, Any] = (
        {"format": "raw", "shape": array.shape, "dtype": array.dtype} if path.suffix == ".raw" else {}
    )
    return np.asarray(packstore.from_file(path, name, **options).compute(scheduler="synchronous"))


def check(path: Path, array: np.ndarray, name: str | None = None) -> None:
    for got in (reference(path, array, name), ours(path, array, name)):
        assert_same(np.asarray(got), array)


@pytest.mark.parametrize(("suffix", "options"), VARIANTS, ids=lambda v: v if isinstance(v, str) else str(sorted(v)))
@settings(max_examples=25)
@given(array=arrays_st(raw_bits=True, orders="CFS"), data=st.data())
def test_round_trip(
    tmp_path: Path, suffix: str, options: dict[str, Any], array: np.ndarray, data: st.DataObject
) -> None:
    path = tmp_path / f"x.{suffix}"
    source: Any = array
    if array.ndim and data.draw(st.booleans(), "dask"):
        source = da.from_array(array, chunks=tuple(max(1, n // 2) for n in array.shape))
    with np.errstate(invalid="ignore"):  # signalling NaNs among the bit patterns
        packstore.save(path, source, overwrite=True, **options)
    check(path, array)


@pytest.mark.parametrize("suffix", ["npz", "h5", "zarr"])
def test_several_arrays_each_of_its_own_shape(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "a": rng.integers(0, 9, (300, 200)),
        "group/mask": rng.random((70, 90)) < 0.2,
        "group/deeper/é": rng.standard_normal(7).astype(">f4"),
        "scalar": np.array(2.5),
        "nothing": np.zeros((3, 0, 2), np.int16),
    }
    path = tmp_path / f"x.{suffix}"
    packstore.save(path, arrays)
    for name, array in arrays.items():
        check(path, array, name)


@pytest.mark.parametrize("suffix", ["npz", "h5", "zarr"])
def test_a_list_gets_numpys_names(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    arrays = [np.arange(n) for n in (3, 5)]
    packstore.save(path, arrays)
    for i, array in enumerate(arrays):
        check(path, array, f"arr_{i}")


@pytest.mark.parametrize("suffix", ["npy", "npz", "h5", "zarr", "raw"])
@pytest.mark.parametrize("value", [3.5, [[1, 2], [3, 4]], np.int16(7), True])
def test_scalars_and_nested_lists(tmp_path: Path, suffix: str, value: Any) -> None:
    packstore.save(tmp_path / f"x.{suffix}", value)
    check(tmp_path / f"x.{suffix}", np.asarray(value))


STRUCT = np.dtype([("a", ">i2"), ("b", "<f8", (2,)), ("c", "S3")])
ALIGNED = np.dtype([("a", "i1"), ("b", "f8")], align=True)


@pytest.mark.parametrize("suffix", ["npy", "npz", "h5", "raw"])
@pytest.mark.parametrize("dtype", [STRUCT, ALIGNED, "S5", "c8", "f2", ">u8", "V3"], ids=str)
def test_other_dtypes(tmp_path: Path, suffix: str, dtype: Any) -> None:
    array = np.zeros((40, 3), dtype)
    array.reshape(-1).view(np.uint8).reshape(120, -1)[...] = np.arange(120)[:, None] % 100
    packstore.save(tmp_path / f"x.{suffix}", array)
    check(tmp_path / f"x.{suffix}", array)


@pytest.mark.parametrize("suffix", ["npy", "npz", "zarr"])
@pytest.mark.parametrize("array", [np.array(["a", "ünï"]), np.array(["2020-01-01", "NaT"], "M8[s]")])
def test_strings_and_times(tmp_path: Path, suffix: str, array: np.ndarray) -> None:
    packstore.save(tmp_path / f"x.{suffix}", array)
    got = reference(tmp_path / f"x.{suffix}", array)
    assert got.dtype == array.dtype
    assert got.tolist() == array.tolist()


def test_lazy_sources(tmp_path: Path) -> None:
    array = np.arange(60_000, dtype="i4").reshape(300, 200)
    packstore.save(tmp_path / "a.npy", array)
    packstore.save(tmp_path / "a.h5", array)
    packstore.save(tmp_path / "a.zarr", array)
    with h5py.File(tmp_path / "a.h5") as file:
        sources = [
            packstore.open_array(tmp_path / "a.npy"),
            packstore.open_array(tmp_path / "a.zarr"),
            zarr.open_array(tmp_path / "a.zarr", mode="r"),
            file["data"],
            np.load(tmp_path / "a.npy", mmap_mode="r"),
            packstore.from_file(tmp_path / "a.h5"),
        ]
        for i, source in enumerate(sources):
            for suffix in SUFFIXES:
                packstore.save(tmp_path / f"b{i}.{suffix}", source)
                check(tmp_path / f"b{i}.{suffix}", array)


@pytest.mark.parametrize("suffix", ["npy", "npz", "h5", "zarr"])
def test_onto_the_file_it_is_read_from(tmp_path: Path, suffix: str) -> None:
    array = np.arange(100_000).reshape(100, 1000)
    path = tmp_path / f"x.{suffix}"
    packstore.save(path, array)
    packstore.save(path, packstore.from_file(path) + 1, overwrite=True)
    check(path, array + 1)
    packstore.save(path, packstore.open_array(path) if suffix != "npz" else packstore.from_file(path), overwrite=True)
    check(path, array + 1)


def test_attributes(tmp_path: Path) -> None:
    attributes: dict[str, Any] = {"unit": "mm", "n": 3, "scale": [1.5, 2.0], "tree": {"a": [1, None]}, "none": None}
    source = zarr.create_array(tmp_path / "a.zarr", shape=(4,), dtype="i4", attributes=attributes)
    source[...] = np.arange(4)
    packstore.save(tmp_path / "b.zarr", source)
    assert zarr.open_array(tmp_path / "b.zarr").attrs.asdict() == attributes
    packstore.save(tmp_path / "b.h5", source)
    with h5py.File(tmp_path / "b.h5") as file:
        got = dict(file["data"].attrs)
    assert (got["unit"], got["n"], got["scale"].tolist()) == ("mm", 3, [1.5, 2.0])
    assert (got["tree"], got["none"]) == ('{"a": [1, null]}', h5py.Empty("f4"))


def test_from_hdf5_with_dimension_scales(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.arange(4.0)
        file["x"].make_scale("x")
        file["v"] = np.arange(4)
        file["v"].dims[0].attach_scale(file["x"])
        file["v"].attrs["unit"] = "m"
        packstore.save(tmp_path / "b.h5", file["v"])
    with h5py.File(tmp_path / "b.h5") as file:
        assert set(file["data"].attrs) == {"unit", "DIMENSION_LIST"} and file["data"].attrs["unit"] == "m"
        assert file["data"].dims[0][0].name == "/x"


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "error", "text"),
    [
        (np.ma.masked_array([1, 2], [False, True]), DtypeError, "a masked array. Save .filled"),
        (da.ma.masked_equal(da.arange(4, chunks=2), 2), DtypeError, "a masked array"),
        (np.array([{}]), DtypeError, "elements of a fixed size, got dtype object"),
        ([[1], [2, 3]], DtypeError, "expected an array, got list"),
        (None, DtypeError, "dtype object"),
        ({1: np.arange(3)}, OptionError, "names to be str, got 1"),
        ({"": np.arange(3)}, OptionError, "plain parts joined by /, got ''"),
        ({"../a": np.arange(3)}, OptionError, "plain parts joined by /"),
        ({"/a": np.arange(3)}, OptionError, "plain parts joined by /"),
        ({"a\\b": np.arange(3)}, OptionError, "plain parts joined by /"),
        ({"a": np.arange(3), "a/b": np.arange(3)}, OptionError, "names that do not nest, got 'a' and 'a/b'"),
    ],
)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_refused(tmp_path: Path, suffix: str, data: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text.replace("(", r"\(").replace(".f", r"\.f")):
        packstore.save(tmp_path / f"x.{suffix}", data)
    assert list(tmp_path.iterdir()) == []


def test_sparse_is_refused(tmp_path: Path) -> None:
    class Sparse:
        shape, ndim, dtype = (2, 2), 2, np.dtype("f8")

        def __getitem__(self, key: Any) -> Any:
            return self

        def toarray(self) -> np.ndarray:
            return np.zeros((2, 2))

    with pytest.raises(DtypeError, match="a dense array, got Sparse"):
        packstore.save(tmp_path / "x.npy", Sparse())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_dask_array_that_declares_something_else(tmp_path: Path, suffix: str) -> None:
    source = da.arange(8, chunks=4)
    wrong_type = source.map_blocks(lambda b: b + 0.5, dtype="i8")
    with pytest.raises(DtypeError, match=r"blocks of dtype int64, as the array declares, got float64. Use astype"):
        packstore.save(tmp_path / f"x.{suffix}", wrong_type)
    wrong_shape = source.map_blocks(lambda b: b[:2], dtype="i8", chunks=((4, 4),), meta=np.empty(0, "i8"))
    with pytest.raises(ShapeError, match=r"a block of shape \(4,\), got \(2,\)"):
        options: dict[str, Any] = {"chunks": (4,)} if suffix in ("h5", "zarr") else {}
        packstore.save(tmp_path / f"x.{suffix}", wrong_shape, **options)
    with pytest.raises(ShapeError, match="known chunk sizes"):
        packstore.save(tmp_path / f"x.{suffix}", source[source > 3])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_existing_target(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    packstore.save(path, np.arange(4))
    computed = []
    source = da.from_array(np.arange(4), chunks=2).map_blocks(
        lambda b: computed.append(1) or b, dtype=int, meta=np.empty(0, int)
    )
    with pytest.raises(TargetExistsError, match=r"no such file yet, got an existing one\. Pass overwrite=True"):
        packstore.save(path, source)
    assert computed == []
    check(path, np.arange(4))
    packstore.save(path, source * 2, overwrite=True)
    check(path, np.arange(4) * 2)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_folder(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(WriteError, match="an existing folder, got no folder"):
        packstore.save(tmp_path / "no" / f"x.{suffix}", np.arange(4))


@pytest.mark.parametrize("suffix", ["npy", "npz", "h5", "raw"])
def test_a_folder_is_never_replaced_by_a_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    path.mkdir()
    with pytest.raises(TargetExistsError, match="a file to replace, got a folder"):
        packstore.save(path, np.arange(3), overwrite=True)


def test_a_folder_of_other_things_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x.zarr"
    path.mkdir()
    packstore.save(path, np.arange(3), overwrite=True)  # empty
    check(path, np.arange(3))
    other = tmp_path / "results"
    other.mkdir()
    (other / "thesis.tex").write_text("…")
    with pytest.raises(TargetExistsError, match="a zarr store to replace, got a folder of other files"):
        packstore.save(other, np.arange(3), format="zarr", overwrite=True)
    assert (other / "thesis.tex").exists()


def test_zarr_in_place_of_a_file_and_back(tmp_path: Path) -> None:
    path = tmp_path / "x"
    packstore.save(path, np.arange(3), format="npy")
    packstore.save(path, np.arange(3), format="zarr", overwrite=True)
    assert_same(np.asarray(zarr.open_array(path)[...]), np.arange(3))


def test_unknown_names(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"a suffix of \.zarr, \.zarr\.zip, \.ozx, \.npy"):
        packstore.save(tmp_path / "x.what", np.arange(3))
    with pytest.raises(OptionError, match="format one of zarr, zarr_zip, npy, npz, hdf5, raw, got 'what'"):
        packstore.save(tmp_path / "x.npy", np.arange(3), format="what")
    with pytest.raises(OptionError, match=r"options of this format \(compressed, level\), got 'chunks'"):
        packstore.save(tmp_path / "x.npz", np.arange(3), chunks=(1,))
    for suffix in ("npy", "raw"):
        with pytest.raises(OptionError, match="one array"):
            packstore.save(tmp_path / f"x.{suffix}", {"a": np.arange(3)})


# --- blocks ---------------------------------------------------------------------------------------------------------


def test_block_boxes_tile() -> None:
    seen = np.zeros((5, 7), int)
    for box in block_boxes((5, 7), (2, 3)):
        seen[box] += 1
    assert (seen == 1).all()
    assert list(block_boxes((), ())) == [()]
    assert list(block_boxes((3, 0), (1, 1))) == []


def test_grown_is_a_multiple() -> None:
    assert grown((100, 1000), 8, (10, 10), 8 * 10_000) == (10, 1000)
    assert grown((100, 1000), 8, (10, 10), 8 * 30_000) == (30, 1000)


def test_chunks_that_divide_dasks_own() -> None:
    def fit(chunks: Any, wanted: tuple[int, ...]) -> tuple[int, ...]:
        (item,) = tree_of(da.zeros((3000, 2100), chunks=chunks)).items
        return fitting_chunks(item, wanted)

    assert fit((1000, 700), (512, 512)) == (500, 350)
    assert fit((1000, 2100), (512, 512)) == (500, 512)
    assert fit((7, 700), (512, 512)) == (512, 350)


def test_map_ordered_holds_few_results() -> None:
    made: list[int] = []
    results = map_ordered(lambda i: made.append(i) or i, iter(range(1000)))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    assert len(made) < 100
    results.close()
    assert len(made) < 100


@pytest.mark.long
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_memory_is_a_few_blocks(tmp_path: Path, suffix: str) -> None:
    peak = """
import resource, sys
import numpy as np, packstore
class Source:
    shape, ndim, dtype = (4096, 1 << 18), 2, np.dtype(np.uint8)
    def __getitem__(self, box):
        return np.full(tuple(s.stop - s.start for s in box), box[0].start % 200, np.uint8)
packstore.save(sys.argv[1], np.zeros(3), overwrite=True)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
packstore.save(sys.argv[1], Source(), overwrite=True)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    done = subprocess.run(
        [sys.executable, "-c", peak, str(tmp_path / f"x.{suffix}")], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 400  # MB, of 1024


# --- progress -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("lazy", [False, True])
def test_progress_adds_up(tmp_path: Path, suffix: str, lazy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    from packstore.writers import progress

    seen: list[int] = []
    monkeypatch.setattr(progress.RichProgress, "advance", lambda self, nbytes: seen.append(nbytes))
    array = np.random.default_rng(0).integers(0, 99, (1000, 1000))
    packstore.save(tmp_path / f"x.{suffix}", da.from_array(array, chunks=300) if lazy else array, progress=True)
    assert sum(seen) == array.nbytes


@pytest.mark.parametrize("width", [40, 60, 79, 80, 200])
def test_progress_takes_one_line(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from packstore.writers.progress import RichProgress

    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("FORCE_COLOR", "1")
    for title in ("saving x.npy", "saving [red]" + "long-name-" * 12 + ".zarr"):
        shown = RichProgress(title, 12_345_678_901)
        shown.advance(1_234_567_890)
        bar = shown._bar
        lines = bar.console.render_lines(bar.get_renderable())
        text = ["".join(s.text for s in line) for line in lines]
        assert len(text) == 1 and len(text[0]) <= width
        assert text[0].startswith("saving") and "1.2/12.3 GB" in text[0]
        assert ("/s" in text[0] or "?" in text[0]) == (width >= 80)


def test_progress_in_a_notebook_without_widgets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    import rich.console

    from packstore.writers.progress import shown_progress

    monkeypatch.setattr(rich.console, "_is_jupyter", lambda: True)
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    # Warnings are errors here: rich's own bar warns that it cannot be shown.
    with shown_progress(True, "saving x.npy", 10) as shown:
        shown.advance(10)
    assert capsys.readouterr() == ("", "")


def test_progress_is_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packstore.save(tmp_path / "x.npy", np.arange(10), progress=True)
    assert capsys.readouterr().out == ""


def test_a_url_is_no_local_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder may be called "s3:"."""
    (tmp_path / "s3:" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(packstore.errors.PackstoreError):
        packstore.save("s3://b/x.npy", np.arange(3), storage_options={"endpoint_url": "http://127.0.0.1:1"})
    assert not list((tmp_path / "s3:" / "b").iterdir())
