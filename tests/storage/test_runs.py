"""Small chunks decoded several at a time are what they are one by one, and what h5py wrote."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import hdf5plugin
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import packstore
from packstore.codecs.hdf5 import blosc_frame, pipeline
from packstore.errors import CorruptDataError
from packstore.source.cache import CHUNKS
from packstore.storage import filters, plan

PIPELINES: dict[str, dict[str, Any]] = {
    "none": {},
    "gzip": {"compression": "gzip"},
    "shuffle+gzip": {"shuffle": True, "compression": "gzip"},
    "fletcher32": {"fletcher32": True},
    "lzf": {"compression": "lzf"},
    "zstd": dict(hdf5plugin.Zstd()),
    "blosc": dict(hdf5plugin.Blosc()),
    "blosc-zstd-bits": dict(hdf5plugin.Blosc(cname="zstd", shuffle=2)),
    "blosc2": dict(hdf5plugin.Blosc2()),
    "bitshuffle": dict(hdf5plugin.Bitshuffle(cname="lz4")),
    "bitshuffle-zstd": dict(hdf5plugin.Bitshuffle(cname="zstd")),
    "lz4": dict(hdf5plugin.LZ4()),
}


def write(path: Path, values: np.ndarray[Any, Any], chunks: tuple[int, ...], name: str, written: list[bool]) -> Any:
    """Write some chunks and leave others out; the first of the written ones skips the filters. What is to be read."""
    expected = np.full_like(values, 7)
    with h5py.File(path, "w") as file:
        x = file.create_dataset("x", values.shape, values.dtype, chunks=chunks, fillvalue=7, **PIPELINES[name])
        corners = list(itertools.product(*(range(0, n, c) for n, c in zip(values.shape, chunks, strict=True))))
        plain = x.id.get_create_plist().get_nfilters()
        for corner, there in zip(corners, itertools.cycle(written), strict=False):
            if not there:
                continue
            part = tuple(slice(i, i + c) for i, c in zip(corner, chunks, strict=True))
            expected[part] = values[part]
            if not plain:
                x[part] = values[part]
                continue
            whole = np.full(chunks, 7, values.dtype)
            whole[tuple(slice(0, n) for n in values[part].shape)] = values[part]
            x.id.write_direct_chunk(corner, whole.tobytes(), (1 << plain) - 1)
            plain = 0
    return expected


@pytest.mark.parametrize("name", PIPELINES)
@settings(deadline=None, max_examples=15)
@given(data=st.data())
def test_any_box(name: str, data: st.DataObject) -> None:
    chunks = tuple(data.draw(st.lists(st.integers(1, 40), min_size=1, max_size=3)))
    shape = tuple(c * data.draw(st.integers(1, 4)) + data.draw(st.integers(0, c - 1)) for c in chunks)
    dtype = data.draw(st.sampled_from(["u1", "<i2", ">i4", "<f8"]))
    rng = np.random.default_rng(data.draw(st.integers(0, 5)))
    values = rng.integers(0, 9, shape).astype(dtype)
    written = data.draw(st.lists(st.booleans(), min_size=1, max_size=9))
    key = tuple(
        slice(a, b, s)
        for n in shape
        for a, b, s in [
            (
                data.draw(st.sampled_from([0, 0, 1, n // 2])),
                data.draw(st.sampled_from([n, n, max(n - 1, 1)])),
                data.draw(st.sampled_from([1, 1, 1, 2])),
            )
        ]
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.h5"
        expected = write(path, values, chunks, name, written)[key]
        opened = packstore.open_array(path, "x")
        few = data.draw(st.sampled_from([4, 6, 1000])) * values.itemsize * int(np.prod(chunks))
        for most in (0, few, plan.RUN_NBYTES):
            with mock.patch.object(plan, "RUN_NBYTES", most):
                got = opened[key]
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("name", ["zstd", "blosc", "blosc2", "bitshuffle", "bitshuffle-zstd"])
def test_one_call_for_many(name: str, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 50, (64, 640)).astype("<f4")
    write(tmp_path / "x.h5", values, (64, 64), name, [True])
    with h5py.File(tmp_path / "x.h5", "r+") as file:
        # The chunk that skips its filters, written anew.
        file["x"][:, :64] = values[:, :64]
    taken = []

    def decode_many(*args: Any) -> bool:
        taken.append(pipeline.decode_many(*args))
        return taken[-1]

    with mock.patch.object(filters, "decode_many", decode_many):
        np.testing.assert_array_equal(packstore.open_array(tmp_path / "x.h5", "x")[...], values)
    assert taken == [True]


@pytest.mark.parametrize("name", ["gzip", "zstd", "blosc", "blosc2", "bitshuffle"])
def test_a_damaged_chunk_among_others_is_named(name: str, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 50, (64, 640)).astype("<f4")
    path = tmp_path / "x.h5"
    write(path, values, (64, 64), name, [True])
    with h5py.File(path, "r") as file:
        info = file["x"].id.get_chunk_info_by_coord((0, 256))
    raw = bytearray(path.read_bytes())
    raw[info.byte_offset : info.byte_offset + info.size] = b"\xff" * info.size
    path.write_bytes(raw)
    with pytest.raises(CorruptDataError, match=r"x\.h5 chunk \(0, 4\)"):
        packstore.open_array(path, "x")[...]


def test_buffers_of_another_kind_are_left_alone() -> None:
    import numcodecs.blosc

    parts = [np.arange(1000, dtype="<i4"), np.zeros(1000, "<i4")]
    spec = packstore.codecs.hdf5.FilterSpec(32001, (), "blosc")
    frames = [
        np.frombuffer(numcodecs.blosc.compress(part, b"lz4", 5, shuffle, 0), np.uint8)
        for part, shuffle in zip(parts, (1, 2), strict=True)
    ]
    assert not blosc_frame.decode_buffers(frames, spec, np.empty(8000, np.uint8))
    short = [frames[0], frames[0][:10]]
    assert not blosc_frame.decode_buffers(short, spec, np.empty(8000, np.uint8))


@pytest.mark.parametrize("name", ["bitshuffle", "bitshuffle-zstd"])
@pytest.mark.parametrize("dtype", ["u1", ">i2", "<f4", "<f8"])
def test_parts_of_a_chunk(name: str, dtype: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    values = rng.integers(0, 50, (300, 400)).astype(dtype)
    expected = write(tmp_path / "x.h5", values, (256, 256), name, [True])
    opened = packstore.open_array(tmp_path / "x.h5", "x")
    found = []

    def decode_range(*args: Any) -> Any:
        found.append(pipeline.decode_range(*args))
        return found[-1]

    with mock.patch.object(filters, "decode_range", decode_range):
        for _ in range(100):
            CHUNKS.clear()
            y, x = int(rng.integers(0, 290)), int(rng.integers(0, 390))
            height, width, step = (int(n) for n in rng.integers(1, (40, 60, 4)))
            key = slice(y, y + height, step), slice(x, x + width)
            np.testing.assert_array_equal(opened[key], expected[key])
    assert sum(part is not None for part in found) > 20
    assert all(part[0].nbytes < values.itemsize * 256 * 256 for part in found if part is not None)


def test_a_chunk_read_in_many_parts_is_decoded_whole_once(tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(0, 50, (256, 256)).astype("<f4")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("x", data=values, chunks=(256, 256), **PIPELINES["bitshuffle"])
    opened = packstore.open_array(tmp_path / "x.h5", "x")
    with mock.patch.object(filters, "run_steps", wraps=pipeline.run_steps) as whole:
        for y in [*range(0, 250, 10)] * 3:
            np.testing.assert_array_equal(opened[y : y + 30, 5:20], values[y : y + 30, 5:20])
    assert whole.call_count == 1


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(0, 50, (256, 256)).astype("<f4")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        x = file.create_dataset("x", data=values, chunks=(256, 256), **PIPELINES["bitshuffle"])
        file.flush()
        info = x.id.get_chunk_info(0)
    raw = bytearray((tmp_path / "x.h5").read_bytes())
    raw[info.byte_offset + 12 : info.byte_offset + 300] = b"\xff" * 288
    (tmp_path / "x.h5").write_bytes(raw)
    with pytest.raises(CorruptDataError, match=r"x\.h5 chunk \(0, 0\)"):
        packstore.open_array(tmp_path / "x.h5", "x")[:4, :4]
