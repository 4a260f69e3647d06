"""Chunks under keys with the other separator than the metadata say: an error by every route, never the fill value."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import packstore
from packstore.errors import FormatError

DATA = np.arange(1, 61, dtype="i4").reshape(3, 4, 5)

# zarr format, chunk key encoding, separator that the metadata say, separator of the files.
KINDS = [
    (2, "v2", None, "/"),
    (2, "v2", ".", "/"),
    (2, "v2", "/", "."),
    (3, "default", None, "."),
    (3, "default", "/", "."),
    (3, "default", ".", "/"),
    (3, "v2", None, "/"),
    (3, "v2", ".", "/"),
    (3, "v2", "/", "."),
]


def make(path: Path, kind: tuple[int, str, str | None, str], data: Any = DATA, **options: Any) -> Path:
    """An array whose files have the one separator, and whose metadata say the other."""
    name, said, stored = kind[1:]
    format: Any = kind[0]
    encoding: Any = {"name": name, "separator": stored}
    chunks = options.pop("chunks", tuple(min(n, 2) for n in data.shape))
    options.setdefault("fill_value", 7)
    array = zarr.create_array(
        path,
        shape=data.shape,
        dtype=data.dtype,
        chunks=chunks,
        zarr_format=format,
        chunk_key_encoding=encoding,
        **options,
    )
    array[...] = data
    document = path / (".zarray" if format == 2 else "zarr.json")
    found = json.loads(document.read_text())
    where = found if format == 2 else found["chunk_key_encoding"].setdefault("configuration", {})
    key = "dimension_separator" if format == 2 else "separator"
    where.pop(key, None)
    if said is not None:
        where[key] = said
    document.write_text(json.dumps(found))
    return path


def refuses(path: Path, name: str = "", dim: int = 3) -> None:
    whole: tuple[Any, ...] = (slice(None),) * dim
    text = rf"reading .*{path.name}.*: expected chunks under keys with .*, got none, and files such as '[c\d./]+'\. Set"
    store = packstore.open_store(path)
    for of in (packstore.open_array(path, name), zarr.open_array(store, path=name, mode="r")):
        for index in (whole, (0,) * dim, (slice(0, 1),) * dim):
            with pytest.raises(FormatError, match=text):
                of[index]
    lazy = packstore.from_file(path, name)
    for array in (lazy, lazy[:1]):
        with pytest.raises(FormatError, match=text):
            array.compute()
    with pytest.raises(FormatError, match=text):
        packstore.open_array(path, name).count_nonzero()
    with pytest.raises(FormatError, match=text):
        packstore.save(path.parent / "out.npy", packstore.open_array(path, name))


@pytest.mark.parametrize("kind", KINDS)
def test_the_other_separator(tmp_path: Path, kind: Any) -> None:
    refuses(make(tmp_path / "x.zarr", kind))


@pytest.mark.parametrize("kind", KINDS)
def test_in_a_group_beside_a_good_array(tmp_path: Path, kind: Any) -> None:
    zarr.create_group(tmp_path / "g.zarr", zarr_format=kind[0])
    make(tmp_path / "g.zarr" / "a" / "bad", kind)
    make(tmp_path / "g.zarr" / "good", (*kind[:2], kind[3], kind[3]))
    store = packstore.open_store(tmp_path / "g.zarr")
    np.testing.assert_array_equal(zarr.open_array(store, path="good", mode="r")[...], DATA)
    with pytest.raises(FormatError, match="expected chunks under keys"):
        zarr.open_array(store, path="a/bad", mode="r")[...]
    np.testing.assert_array_equal(zarr.open_array(store, path="good", mode="r")[...], DATA)
    refuses(tmp_path / "g.zarr", "a/bad")


@pytest.mark.parametrize("kind", [(3, "default", "/", "."), (3, "default", ".", "/")])
def test_one_axis_with_a_prefix_and_shards(tmp_path: Path, kind: Any) -> None:
    data = np.arange(1, 17, dtype="u1")
    refuses(make(tmp_path / "x.zarr", kind, data, chunks=(2,), shards=(4,)), dim=1)


def test_arrays_that_only_zarr_decodes(tmp_path: Path) -> None:
    data = np.array([["a", "bc"], ["def", ""]])
    path = make(tmp_path / "x.zarr", (3, "default", "/", "."), data, chunks=(1, 2), fill_value="")
    with pytest.raises(FormatError, match="expected chunks under keys"):
        packstore.from_file(path).compute()


@pytest.mark.parametrize(
    "kind", [(3, "default", "/", "/"), (3, "default", ".", "."), (2, "v2", "/", "/"), (2, "v2", ".", ".")]
)
def test_what_was_never_written_is_the_fill_value(tmp_path: Path, kind: Any) -> None:
    path = make(tmp_path / "x.zarr", kind)
    last = "/".join(["c"] * (kind[1] == "default") + ["1", "1", "2"]).replace("/", kind[3])
    (path / last).unlink()
    # Other files than chunks do not count, nor do those outside the grid.
    (path / "notes.txt").write_text("0.0.0")
    (path / "0.0").write_text("")
    (path / "9.0.0").write_text("")
    want = DATA.copy()
    want[2:, 2:, 4:] = 7
    np.testing.assert_array_equal(packstore.open_array(path)[...], want)
    np.testing.assert_array_equal(zarr.open_array(packstore.open_store(path), mode="r")[...], want)
    for found in list(path.iterdir()):
        if found.name not in ("zarr.json", ".zarray", ".zattrs", "notes.txt", "0.0", "9.0.0"):
            shutil.rmtree(found) if found.is_dir() else found.unlink()
    for of in (packstore.open_array(path), zarr.open_array(packstore.open_store(path), mode="r")):
        assert np.all(np.asarray(of[...]) == 7)
    assert (packstore.from_file(path).compute() == 7).all()


def test_files_under_both_separators_are_left_to_the_metadata(tmp_path: Path) -> None:
    path = make(tmp_path / "x.zarr", (2, "v2", ".", "."))
    (path / "0" / "0").mkdir(parents=True)
    shutil.copy(path / "0.0.0", path / "0" / "0" / "0")
    (path / "0.0.0").unlink()
    assert packstore.open_array(path)[0, 0, 0] == 7


@pytest.mark.parametrize("shape", [(), (5,), (0, 3)])
def test_shapes_with_one_way_to_spell_keys(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = tmp_path / "x.zarr"
    array = zarr.create_array(path, shape=shape, dtype="i4", zarr_format=2, fill_value=3)
    assert np.array_equal(packstore.open_array(path)[...], np.full(shape, 3))
    assert np.array_equal(np.asarray(zarr.open_array(packstore.open_store(path), mode="r")[...]), array[...])


def test_it_is_asked_once_an_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from packstore.readers.zarr import separators

    path = tmp_path / "x.zarr"
    zarr.create_array(path, shape=(50, 50), dtype="i4", chunks=(1, 1), fill_value=3)[0, 0] = 1
    count = 0
    original = separators._entries

    def counted(folder: str) -> Any:
        nonlocal count
        count += 1
        return original(folder)

    monkeypatch.setattr(separators, "_entries", counted)
    for of in (packstore.open_array(path), zarr.open_array(packstore.open_store(path), mode="r")):
        count = 0
        assert np.asarray(of[:20, :20]).sum() == 3 * 399 + 1
        of[20:, 20:]
        assert count <= 3
