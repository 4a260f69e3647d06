"""One deflate stream decoded by two threads: the same bytes as zlib's, or nothing."""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import packstore
from packstore.errors import ChecksumError, CorruptDataError
from packstore.readers.npz import inflate
from packstore.readers.npz import inflate_split as split_module
from packstore.readers.npz.inflate_split import WINDOW_NBYTES, find_block, inflate_split

U8 = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
RNG = np.random.default_rng(5)
N = 1 << 20


def _grid() -> U8:
    y, x = np.ogrid[: N // 2048, :512]
    return np.round(50 * np.sin(y / 40) * np.cos(x / 30) + RNG.standard_normal((N // 2048, 512)), 1).astype("<f4")


# What stays open for long, what a window settles quickly, and what few or no dynamic blocks are in.
KINDS: dict[str, Callable[[], Any]] = {
    "noise": lambda: RNG.random(N // 4, np.float32),
    "rounded": _grid,
    "counts": lambda: RNG.poisson(20, N // 2).astype("<u2"),
    "ramp": lambda: np.arange(N // 4, dtype="<f4"),
    "mask": lambda: RNG.random(N) < 0.3,
    "bytes": lambda: RNG.integers(0, 256, N, np.uint8),
    "zeros": lambda: np.zeros(N, np.uint8),
}


def deflated(raw: bytes, level: int = 6, strategy: int = zlib.Z_DEFAULT_STRATEGY) -> U8:
    encoder = zlib.compressobj(level, zlib.DEFLATED, -15, 8, strategy)
    return np.frombuffer(encoder.compress(raw) + encoder.flush(), np.uint8)


def by_zlib(stream: U8, out: U8) -> int:
    """A decoder as `inflate_split` wants it, which accepts exactly one whole stream."""
    decoder = zlib.decompressobj(-15)
    try:
        raw = decoder.decompress(stream, len(out) + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from None
    if not decoder.eof or len(raw) > len(out):
        raise ValueError("no stream that fits")
    out[: len(raw)] = np.frombuffer(raw, np.uint8)
    return len(raw)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split_module, "FIRST_STEP_NBYTES", 1 << 13)
    monkeypatch.setattr(split_module, "MAX_STEP_NBYTES", 1 << 15)


@pytest.mark.parametrize("round_nbytes", [1 << 18, 1 << 24])
@pytest.mark.parametrize("level", [1, 6, 9])
@pytest.mark.parametrize("kind", KINDS)
def test_same_bytes(kind: str, level: int, round_nbytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split_module, "ROUND_NBYTES", round_nbytes)
    raw = KINDS[kind]().tobytes()
    found = inflate_split(deflated(raw, level), len(raw), by_zlib)
    if kind in ("noise", "rounded", "counts", "ramp", "mask"):
        assert found is not None
    assert found is None or found.tobytes() == raw


@pytest.mark.parametrize("strategy", [zlib.Z_FIXED, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE, zlib.Z_FILTERED])
def test_other_blocks(strategy: int) -> None:
    raw = KINDS["rounded"]().tobytes()
    found = inflate_split(deflated(raw, 6, strategy), len(raw), by_zlib)
    assert (found is None) == (strategy == zlib.Z_FIXED)
    assert found is None or found.tobytes() == raw


@pytest.mark.parametrize("first", [True, False])
def test_whoever_comes_first(first: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The window looked up after one stretch or more, and after none; nothing depends on who is faster."""
    raw = KINDS["rounded"]().tobytes()
    main = threading.current_thread()
    ahead = threading.Event()
    met = threading.Event()
    twice = []

    def decode(stream: U8, out: U8) -> int:
        if threading.current_thread() is main:
            # The half before the middle waits until the other thread has been through some of the rest.
            assert first or ahead.wait(20)
        else:
            twice.append(len(stream))
            if len(twice) == 4:
                ahead.set()
        return by_zlib(stream, out)

    inside = find_block

    def find(data: U8, start: int) -> int | None:
        if threading.current_thread() is not main and first:
            assert met.wait(20)
        return inside(data, start)

    meet = split_module._Ahead.meet

    def arrive(self: Any, window: U8 | None) -> int:
        stop = meet(self, window)
        met.set()
        return stop

    monkeypatch.setattr(split_module, "find_block", find)
    monkeypatch.setattr(split_module._Ahead, "meet", arrive)
    found = inflate_split(deflated(raw), len(raw), decode)
    assert found is not None and found.tobytes() == raw
    assert len(twice) == 1 if first else len(twice) >= 5


def test_settled_windows_need_no_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread in the middle goes on to the end while the other one has not arrived."""
    raw = KINDS["noise"]().tobytes()
    main = threading.current_thread()
    done = threading.Event()
    sizes = []

    def decode(stream: U8, out: U8) -> int:
        if threading.current_thread() is main:
            assert done.wait(20)
            return by_zlib(stream, out)
        sizes.append(by_zlib(stream, out))
        if len(sizes) == 3:
            done.set()
        return sizes[-1]

    monkeypatch.setattr(split_module, "FIRST_STEP_NBYTES", 1 << 17)
    found = inflate_split(deflated(raw), len(raw), decode)
    assert found is not None and found.tobytes() == raw
    assert sizes[0] == sizes[1] < sizes[2]


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_stream(data: st.DataObject) -> None:
    """Encoders that flush, change their level and store: blocks of every kind at every bit offset."""
    encoder = zlib.compressobj(data.draw(st.integers(1, 9)), zlib.DEFLATED, -15, data.draw(st.integers(1, 9)))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    raw = stream = b""
    for top in data.draw(st.lists(st.sampled_from([1, 2, 9, 60, 256]), min_size=1, max_size=6)):
        part = rng.integers(0, top, data.draw(st.integers(1, 200_000)), np.uint8).tobytes()
        flush = data.draw(st.sampled_from([zlib.Z_NO_FLUSH, zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH, zlib.Z_BLOCK]))
        raw += part
        stream += encoder.compress(part) + encoder.flush(flush)
    stream += encoder.flush()
    with patch.object(split_module, "ROUND_NBYTES", data.draw(st.sampled_from([1 << 15, 1 << 17, 1 << 24]))):
        found = inflate_split(np.frombuffer(stream, np.uint8), len(raw), by_zlib)
    assert found is None or found.tobytes() == raw


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 255))
def test_damage(at: int, change: int) -> None:
    raw = KINDS["counts"]().tobytes()
    stream = deflated(raw).copy()
    stream[at % len(stream)] ^= change
    found = inflate_split(stream, len(raw), by_zlib)
    # A damaged literal decodes; the checksum is for that.
    assert found is None or len(found) == len(raw)


@pytest.mark.parametrize("nbytes", [0, N - 1, N + 1])
def test_another_length(nbytes: int) -> None:
    raw = KINDS["counts"]().tobytes()
    assert inflate_split(deflated(raw), nbytes, by_zlib) is None


@pytest.mark.parametrize("cut", [1, 1000, 10**5])
def test_truncated(cut: int) -> None:
    raw = KINDS["counts"]().tobytes()
    assert inflate_split(deflated(raw)[:-cut], len(raw), by_zlib) is None


def test_too_little_before_the_middle() -> None:
    raw = bytes(2000) + RNG.integers(0, 50, 9000, np.uint8).tobytes()
    assert len(raw) < WINDOW_NBYTES
    assert inflate_split(deflated(raw), len(raw), by_zlib) is None


def test_declined() -> None:
    raw = KINDS["noise"]().tobytes()
    assert inflate_split(deflated(raw), len(raw), lambda *_: pytest.fail("decoded"), lambda: False) is None


def test_blocks_are_found_at_every_bit() -> None:
    """An encoder's block is found wherever its first bit comes to lie."""
    raw = KINDS["noise"]().tobytes()[: 1 << 17]
    block = int.from_bytes(deflated(raw).tobytes(), "little")
    assert block & 7 == 4  # dynamic, and not the last one
    for shift in range(8):
        bits, nbits = split_module._filler(shift) if shift else (0, 0)
        joined = bits | block << nbits
        stream = joined.to_bytes((joined.bit_length() + 7) // 8 + 20, "little")
        out = zlib.decompressobj(-15).decompress(stream)
        assert out == raw
        found = find_block(np.frombuffer(stream, np.uint8), nbits // 8)
        assert found == nbits


@pytest.fixture
def always_split(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Members of any size are split where a second core would be; what came of it."""
    pytest.importorskip("imagecodecs")
    monkeypatch.setattr(inflate, "MIN_STORED_NBYTES", 0)
    monkeypatch.setattr(inflate, "cpu_count", lambda: 2)
    came = []

    def split(*arguments: Any) -> U8 | None:
        found = inflate_split(*arguments)
        came.append(found is not None)
        return found

    monkeypatch.setattr(inflate, "inflate_split", split)
    return came


@pytest.mark.parametrize("kind", ["noise", "rounded", "counts", "ramp", "mask"])
def test_members(kind: str, tmp_path: Path, always_split: list[bool]) -> None:
    array = KINDS[kind]()
    np.savez_compressed(tmp_path / "a.npz", x=array)
    found = packstore.open_array(tmp_path / "a.npz", "x")[...]
    assert found.dtype == array.dtype and np.array_equal(found, array)
    assert always_split == [True]


def test_threads_that_wait_lend_their_core(tmp_path: Path, always_split: list[bool]) -> None:
    array = KINDS["noise"]()
    np.savez_compressed(tmp_path / "a.npz", x=array)
    lazy = packstore.from_file(tmp_path / "a.npz", "x", chunks=N // 16)
    assert np.array_equal(lazy.compute(scheduler="threads", num_workers=4), array)
    assert len(always_split) == 1


def test_one_worker_uses_one_core(tmp_path: Path, always_split: list[bool]) -> None:
    array = KINDS["noise"]()
    np.savez_compressed(tmp_path / "a.npz", x=array)
    opened = packstore.open_array(tmp_path / "a.npz", "x")
    found = []
    thread = threading.Thread(target=lambda: found.append(opened[...]))
    thread.start()
    thread.join()
    assert np.array_equal(found[0], array) and always_split == [False]


def test_damaged_members_are_loud(tmp_path: Path, always_split: list[bool]) -> None:
    array = KINDS["noise"]()
    np.savez_compressed(tmp_path / "a.npz", x=array)
    data = bytearray((tmp_path / "a.npz").read_bytes())
    for at in range(1000, len(data) - 1000, len(data) // 12):
        damaged = data.copy()
        damaged[at] ^= 0x55
        (tmp_path / "a.npz").write_bytes(damaged)
        os.utime(tmp_path / "a.npz", ns=(at, at))
        with pytest.raises((ChecksumError, CorruptDataError)):
            packstore.open_array(tmp_path / "a.npz", "x")[...]
