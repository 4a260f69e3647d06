"""Bytes that zarrs wrote, and arrays that each side writes and the other reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import packstore
from packstore.codecs.packbits import PackBitsCodec, decode_array, decode_box, encode_array, encoded_nbytes
from packstore.errors import CorruptDataError
from packstore.testing.codecs import assert_same_bits, pipelines, using_pipeline
from tests.codecs.packbits_reference import read_back

ZARRS = {"codec_pipeline.path": "zarrs.ZarrsCodecPipeline", "codec_pipeline.strict": True}
CASES = json.loads((Path(__file__).parent / "golden" / "packbits.json").read_text())["cases"]


SAMPLES = Path(__file__).parent / "golden" / "sample_data"
VALUES: dict[str, Any] = json.loads((SAMPLES / "values.json").read_text())


def _chunks(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != "zarr.json")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.mark.parametrize("name", sorted(VALUES))
def test_sample_data(name: str, tmp_path: Path) -> None:
    """Plain zarr, and the direct path, read the public samples; what zarr and the codec write has the same bytes."""
    plain: Any = zarr.open_array(SAMPLES / f"{name}.zarr", mode="r")
    values = np.asarray(plain[...])
    assert values.astype(int).tolist() == VALUES[name]
    assert_same_bits(np.asarray(packstore.open_array(SAMPLES / f"{name}.zarr")[...]), values)
    written = zarr.create_array(
        tmp_path / "again.zarr", shape=values.shape, chunks=plain.chunks, dtype=values.dtype, fill_value=0,
        serializer=plain.metadata.codecs[0], compressors=None, filters=None,
    )  # fmt: skip
    written[...] = values
    found = _chunks(SAMPLES / f"{name}.zarr")
    assert found and _chunks(tmp_path / "again.zarr") == found
    page = (SAMPLES / "README.md").read_text()
    assert all(f"`{data.hex(' ')}`" in page for data in found.values())


def test_the_samples_are_all_here() -> None:
    assert {f"{name}.zarr" for name in VALUES} | {"README.md", "values.json"} == {p.name for p in SAMPLES.iterdir()}
    assert len(VALUES) == 12


def _case(case: dict[str, Any]) -> tuple[np.ndarray, dict[str, Any], bytes]:
    dtype = np.dtype(case["data_type"]).newbyteorder("<")
    array = np.frombuffer(bytes.fromhex(case["little_endian_c_order"]), dtype).reshape(case["shape"])
    return array, case["codec"]["configuration"], bytes.fromhex(case["encoded"])


def _lacks_count(array: np.ndarray, config: dict[str, Any]) -> bool:
    """zarrs writes no padding count where every bit of a whole-byte type is kept."""
    if config["padding_encoding"] == "none" or array.dtype == bool:
        return False
    top = array.real.dtype.itemsize * 8 - 1
    return bool(config.get("first_bit", 0) == 0 and config.get("last_bit", top) == top)


def test_the_fixture_is_whole() -> None:
    assert len(CASES) == 372
    assert {c["data_type"] for c in CASES} >= {"bool", "uint16", "int64", "float32", "complex128"}


@pytest.mark.parametrize("dtype", sorted({c["data_type"] for c in CASES}))
def test_same_bytes_as_zarrs(dtype: str) -> None:
    for case in (c for c in CASES if c["data_type"] == dtype):
        array, config, stored = _case(case)
        ours = encode_array(array, **config).tobytes()
        assert len(ours) == encoded_nbytes(array.shape, array.dtype, **config)
        if _lacks_count(array, config):
            count = b"\0"
            assert ours == (count + stored if config["padding_encoding"] == "first_byte" else stored + count)
            with pytest.raises(CorruptDataError, match="The padding count is missing; some writers leave it out"):
                decode_array(stored, array.shape, array.dtype, **config)
            continue
        assert ours == stored
        bits = {k: config[k] for k in ("first_bit", "last_bit") if k in config}
        expected = read_back(array, **bits)
        assert_same_bits(decode_array(stored, array.shape, array.dtype, **config), expected)

        def read(offset: int, nbytes: int, stored: bytes = stored) -> bytes:
            return stored[offset : offset + nbytes]

        cut = tuple(slice(n // 4, n) for n in array.shape)
        box = decode_box(read, array.shape, array.dtype, cut, **config)
        assert_same_bits(box, expected[cut])


def _create(path: Path, array: np.ndarray, codec: PackBitsCodec) -> zarr.Array[Any]:
    return zarr.create_array(
        path,
        shape=array.shape,
        chunks=array.shape,
        dtype=array.dtype,
        serializer=codec,
        filters=None,
        compressors=None,
        fill_value=0,
    )


def _ranges() -> list[tuple[str, int | None, int | None]]:
    ranges: list[tuple[str, int | None, int | None]] = [("bool", None, None)]
    ranges += [("uint8", None, last) for last in range(8)]
    ranges += [("uint16", None, last) for last in range(16)]
    ranges += [("uint16", 4, last) for last in (4, 9, 15)]
    ranges += [("int8", first, last) for first, last in ((None, None), (0, 3), (2, 5))]
    ranges += [("int16", None, None), ("int16", None, 9), ("int32", None, 27), ("int64", 3, 60)]
    ranges += [("uint32", None, 16), ("uint32", 5, 25), ("uint64", None, 40), ("uint64", 1, 62)]
    ranges += [("float32", 16, 31), ("float64", None, None), ("complex64", 13, 31), ("complex128", None, None)]
    ranges += [("float16", 6, 15)]
    return ranges


@pytest.mark.parametrize("pipeline", pipelines())
@pytest.mark.parametrize(("dtype", "first_bit", "last_bit"), _ranges())
def test_each_reads_what_the_other_writes(
    tmp_path: Path, dtype: str, first_bit: int | None, last_bit: int | None, pipeline: str
) -> None:
    rng = np.random.default_rng(11)
    shape = (9, 13)
    if np.dtype(dtype).kind in "bfc":
        array = rng.integers(0, 2 if dtype == "bool" else 2000, shape).astype(dtype)
    else:
        array = np.frombuffer(rng.bytes(117 * np.dtype(dtype).itemsize), dtype).reshape(shape)
    codec = PackBitsCodec(first_bit=first_bit, last_bit=last_bit)
    expected = read_back(array, first_bit, last_bit)
    # zarrs extends the sign only within the top byte that it stores, so it is given values that fit there.
    top = array.real.dtype.itemsize * 8 - 1
    high = top if last_bit is None else last_bit
    sign_leaves_byte = array.dtype.kind == "i" and high // 8 < top // 8

    with using_pipeline(pipeline):
        _create(tmp_path / "ours.zarr", array, codec)[...] = array
    with zarr.config.set(ZARRS):
        theirs = zarr.open_array(tmp_path / "ours.zarr", mode="r")[...]
        if not sign_leaves_byte:
            assert_same_bits(theirs, expected)
        else:
            stored = ((1 << (high - (first_bit or 0) + 1)) - 1) << (first_bit or 0)
            assert np.array_equal(theirs & array.dtype.type(stored), expected & array.dtype.type(stored))
        _create(tmp_path / "theirs.zarr", array, codec)[...] = array
    with using_pipeline(pipeline):
        z = zarr.open_array(tmp_path / "theirs.zarr", mode="r")
        assert_same_bits(z[...], expected)
        assert_same_bits(z[2:7, 3:11:2], expected[2:7, 3:11:2])


def test_sign_extension_follows_the_text_where_zarrs_does_not(tmp_path: Path) -> None:
    array = np.array([-1, -5, 5], dtype="int32")
    codec = PackBitsCodec(last_bit=3)
    _create(tmp_path / "a.zarr", array, codec)[...] = array
    assert np.asarray(zarr.open_array(tmp_path / "a.zarr", mode="r")[...]).tolist() == [-1, -5, 5]
    with zarr.config.set(ZARRS):
        theirs = np.asarray(zarr.open_array(tmp_path / "a.zarr", mode="r")[...]).tolist()
    # The first is zarrs 0.2.3: -1 comes back as 255. The second would be a mended zarrs.
    assert theirs in ([255, 251, 5], [-1, -5, 5])
