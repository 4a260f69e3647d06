"""``.zarr``: v3 and v2, packed and not, against zarr and zarrs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import zarr

import packstore
from packstore.errors import DtypeError, OptionError, PackstoreError
from packstore.testing.readers import assert_same


def mask() -> np.ndarray:
    y, x = np.mgrid[:500, :700]
    return np.asarray((y - 200) ** 2 + (x - 300) ** 2 < 150**2)


def metadata(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / "zarr.json").read_text())
    return found


def check(path: Path, array: np.ndarray, name: str = "") -> None:
    assert_same(np.asarray(zarr.open_array(path, path=name, mode="r")[...]), array)
    assert_same(packstore.from_file(path, name or None).compute(scheduler="synchronous"), array)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compressor": None},
        {"chunks": (100, 130)},
        {"chunks": (100, 130), "shards": (300, 260)},
        {"shards": (256, 512)},
        {"zarr_format": 2},
        {"zarr_format": 2, "compressor": None, "chunks": (33, 41)},
        {"pack": False},
    ],
    ids=str,
)
def test_masks(tmp_path: Path, options: dict[str, Any], lazy: bool) -> None:
    array = mask()
    packstore.save(tmp_path / "x.zarr", da.from_array(array, chunks=(120, 333)) if lazy else array, **options)
    check(tmp_path / "x.zarr", array)
    opened = zarr.open_array(tmp_path / "x.zarr")
    if "chunks" in options:
        assert opened.chunks == options["chunks"]
    if "shards" in options:
        assert opened.shards == options["shards"]
    assert opened.metadata.zarr_format == options.get("zarr_format", 3)


@pytest.mark.parametrize(
    ("shards", "chunks"),
    [((256, 512), (256, 512)), ((1000, 1400), (500, 700)), ((499, 1400), (499, 700)), ((50, 70), (50, 70))],
)
def test_chunks_of_given_shards_are_not_tiny(tmp_path: Path, shards: tuple[int, ...], chunks: tuple[int, ...]) -> None:
    packstore.save(tmp_path / "x.zarr", np.zeros((500, 700), np.uint8), shards=shards)
    opened = zarr.open_array(tmp_path / "x.zarr")
    assert (opened.shards, opened.chunks) == (shards, chunks)


def test_packed_by_default(tmp_path: Path) -> None:
    packstore.save(tmp_path / "x.zarr", mask(), compressor=None, checksum=False)
    assert [c["name"] for c in metadata(tmp_path / "x.zarr")["codecs"]] == ["packbits"]
    packstore.save(tmp_path / "y.zarr", mask(), pack=False, compressor=None)
    assert [c["name"] for c in metadata(tmp_path / "y.zarr")["codecs"]] == ["bytes", "crc32c"]
    packstore.save(tmp_path / "z.zarr", mask(), zarr_format=2)
    assert json.loads((tmp_path / "z.zarr" / ".zarray").read_text())["filters"][0]["id"] == "bitpack"


def test_zarrs_reads_packed_chunks(tmp_path: Path) -> None:
    import zarrs  # noqa: F401  (its pipeline is chosen by name below)

    array = mask()
    packstore.save(tmp_path / "x.zarr", array, chunks=(100, 130))
    with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
        got = zarr.open_array(tmp_path / "x.zarr", mode="r")
        assert type(got.async_array.codec_pipeline).__name__ == "ZarrsCodecPipeline"
        assert_same(np.asarray(got[...]), array)


def test_chunks_and_shards_by_name(tmp_path: Path) -> None:
    arrays = {"a": mask(), "b/c": np.arange(1000.0)}
    packstore.save(tmp_path / "x.zarr", arrays, chunks={"b/c": (100,)}, shards={"b/c": (400,)})
    group = zarr.open_group(tmp_path / "x.zarr", mode="r")
    one, other = group["a"], group["b/c"]
    assert isinstance(one, zarr.Array) and isinstance(other, zarr.Array)
    assert other.chunks == (100,)
    assert other.shards == (400,)
    assert one.shards is None
    for name, array in arrays.items():
        check(tmp_path / "x.zarr", array, name)


def test_a_dask_arrays_own_chunks_are_not_cut(tmp_path: Path) -> None:
    packstore.save(tmp_path / "x.zarr", da.zeros((3000, 3000), dtype="u1", chunks=(1500, 1000)))
    assert zarr.open_array(tmp_path / "x.zarr").chunks == (750, 1000)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"zarr_format": 1}, "zarr_format 2 or 3"),
        ({"zarr_format": 2, "shards": (100, 100)}, "no shards in zarr_format 2"),
        ({"chunks": (1,)}, "2 positive lengths"),
        ({"chunks": (100, 100), "shards": (150, 100)}, r"shards of whole chunks \(100, 100\), got \(150, 100\)"),
    ],
)
def test_options(tmp_path: Path, options: dict[str, Any], text: str) -> None:
    with pytest.raises(OptionError, match=text):
        packstore.save(tmp_path / "x.zarr", mask(), **options)
    assert list(tmp_path.iterdir()) == []


def test_a_type_that_zarr_has_not(tmp_path: Path) -> None:
    with pytest.raises(DtypeError, match="a zarr data type"):
        packstore.save(tmp_path / "x.zarr", np.zeros(3, np.longdouble))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize(
    "values", [np.arange(4000, dtype="i4").reshape(50, 80), np.eye(400, dtype=bool)], ids=["i4", "bool"]
)
def test_a_flipped_bit_in_a_chunk_is_an_error(tmp_path: Path, values: np.ndarray, zarr_format: int) -> None:
    path = tmp_path / "x.zarr"
    packstore.save(path, values, zarr_format=zarr_format)
    documents = {"zarr.json", ".zarray", ".zattrs", ".zgroup"}
    (chunk,) = (p for p in path.rglob("*") if p.is_file() and p.name not in documents)
    whole = chunk.read_bytes()
    rng = np.random.default_rng(0)
    for at in rng.integers(0, 8 * len(whole), 60).tolist():
        damaged = bytearray(whole)
        damaged[at // 8] ^= 1 << at % 8
        chunk.write_bytes(damaged)
        for read in (
            lambda: packstore.open_array(path)[...],
            lambda: zarr.open_array(path, mode="r")[...],
            lambda: packstore.open_array(path)[3:5, 7:9],
        ):
            try:
                found = np.asarray(read())
            except Exception:  # zarr and numcodecs have no errors of their own
                continue
            # Bits of a frame's header may mean nothing.
            expected = values if found.shape == values.shape else values[3:5, 7:9]
            np.testing.assert_array_equal(found, expected)
    chunk.write_bytes(whole)
    np.testing.assert_array_equal(packstore.open_array(path)[...], values)


@pytest.mark.parametrize("dtype", ["?", "i4"])
@pytest.mark.parametrize("options", [{}, {"shards": None}, {"chunks": (64, 128), "shards": None}])
def test_a_flipped_bit_is_an_error(tmp_path: Path, dtype: str, options: dict[str, Any]) -> None:
    """Also where no compressor has a checksum: a CRC-32C follows each chunk, and whole chunks are compared with it."""
    want = (np.arange(256 * 256).reshape(256, 256) % 3 == 0).astype(dtype)
    path = tmp_path / "x.zarr"
    packstore.save(path, want, compressor=None, **options)
    np.testing.assert_array_equal(packstore.open_array(path)[...], want)
    np.testing.assert_array_equal(zarr.open_array(path, mode="r")[...], want)
    for key in (np.s_[3:9, 5:30], np.s_[60:70, 120:130], np.s_[::7, ::3], np.s_[:64, :128], np.s_[10]):
        np.testing.assert_array_equal(packstore.open_array(path)[key], want[key])
    files = sorted(p for p in (path / "c").rglob("*") if p.is_file())
    rng = np.random.default_rng(1)
    for _ in range(20):
        file = files[rng.integers(len(files))]
        good = file.read_bytes()
        bad = bytearray(good)
        bad[rng.integers(len(bad))] ^= 1 << rng.integers(8)
        file.write_bytes(bad)
        with pytest.raises(PackstoreError):
            packstore.open_array(path)[...]
        with pytest.raises(PackstoreError):
            packstore.from_file(path).compute()
        file.write_bytes(good)


def test_without_a_checksum(tmp_path: Path) -> None:
    chosen: list[tuple[str, dict[str, Any]]] = [("a", {}), ("b", {"checksum": False})]
    for name, options in chosen:
        array = np.ones((64, 64), bool)
        packstore.save(tmp_path / name, array, format="zarr", compressor=None, shards=None, **options)
    sizes = [len((tmp_path / name / "c/0/0").read_bytes()) for name in "ab"]
    assert sizes == [516, 512]
