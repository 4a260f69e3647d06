"""Each decompressor: the right bytes or an error, within its limit, with imagecodecs and without."""

from __future__ import annotations

import bz2
import gzip
import random
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import imagecodecs
import numcodecs
import numcodecs.lz4
import numcodecs.zstd
import numpy as np
import numpy.typing as npt
import pytest

from packstore.codecs import libraries
from packstore.codecs.checksums import crc32, strip_crc32c
from packstore.codecs.decompress import (
    GzipStream,
    Limit,
    decode_blosc,
    decode_bz2,
    decode_deflate,
    decode_gzip,
    decode_lz4,
    decode_lz4_block,
    decode_lzf,
    decode_zlib,
    decode_zstd,
)
from packstore.errors import ChecksumError, CorruptDataError, MissingFilterError
from packstore.testing.filters import damaged

Bytes = npt.NDArray[np.uint8]


class Algorithm(NamedTuple):
    encode: Callable[[bytes], bytes]
    decode: Callable[..., Bytes]
    is_checked: bool = False  # whether damage is always found


def bare_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(6, zlib.DEFLATED, -15)
    return stream.compress(data) + stream.flush()


def decode_block(data: Bytes, limit: Limit, out: Bytes | None = None, what: object = "lz4") -> Bytes:
    """A bare block has no other limit than the memory that it must fill."""
    out = np.empty(limit.nbytes, np.uint8) if out is None else out
    return decode_lz4_block(data, out, what)


ALGORITHMS = {
    "zstd": Algorithm(lambda data: bytes(numcodecs.zstd.compress(data, checksum=True)), decode_zstd, True),
    "blosc": Algorithm(lambda data: bytes(numcodecs.Blosc("zstd").encode(data)), decode_blosc),
    "zlib": Algorithm(zlib.compress, decode_zlib, True),
    "deflate": Algorithm(bare_deflate, decode_deflate),
    "gzip": Algorithm(gzip.compress, decode_gzip, True),
    "bz2": Algorithm(bz2.compress, decode_bz2, True),
    "lz4": Algorithm(lambda data: bytes(numcodecs.lz4.compress(data)), decode_lz4),
    "lz4 block": Algorithm(lambda data: bytes(numcodecs.lz4.compress(data))[4:], decode_block),
    "lzf": Algorithm(lambda data: bytes(imagecodecs.lzf_encode(data)), decode_lzf),
}
PLAIN = (b"packstore " * 500 + bytes(range(256)) * 3)[:5000]


@pytest.fixture(params=["imagecodecs", "without imagecodecs"])
def route(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param != "imagecodecs":
        monkeypatch.setattr(libraries, "imagecodecs_function", lambda *_: None)
    return str(request.param)


@pytest.fixture(params=ALGORITHMS)
def algorithm(request: pytest.FixtureRequest, route: str) -> Algorithm:
    if request.param == "lzf" and route != "imagecodecs":
        pytest.skip("only imagecodecs decodes LZF")
    return ALGORITHMS[request.param]


def as_array(data: bytes) -> Bytes:
    return np.frombuffer(data, np.uint8)


@pytest.mark.parametrize("nbytes", [1, 5, 5000])
@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("with_out", [True, False])
def test_round_trip(algorithm: Algorithm, nbytes: int, exact: bool, with_out: bool) -> None:
    plain = PLAIN[:nbytes]
    if algorithm.decode is decode_block and not exact:
        return
    if algorithm.decode is decode_lzf and nbytes < 100:
        return  # LZF cannot store what does not become smaller
    stored = as_array(algorithm.encode(plain))
    limit = Limit(nbytes if exact else nbytes + 100, exact)
    out = np.zeros(limit.nbytes, np.uint8) if with_out else None
    found = algorithm.decode(stored, limit, out)
    assert found.dtype == np.uint8
    assert found.tobytes() == plain
    if out is not None:
        assert np.may_share_memory(found, out)
        assert out[:nbytes].tobytes() == plain


def test_wrong_sizes(algorithm: Algorithm) -> None:
    """More bytes than the limit are an error, and other numbers than an exact one; the error names what it decodes."""
    stored = as_array(algorithm.encode(PLAIN))
    limits = [Limit(n, exact) for n in (0, 1, 4999) for exact in (True, False)] + [
        Limit(5001, True),
        Limit(1 << 20, True),
    ]
    for limit in limits:
        for out in (None, np.empty(limit.nbytes, np.uint8)):
            with pytest.raises(
                CorruptDataError, match=r"^decoding the name: expected .*, got .*\. The data are damaged"
            ):
                algorithm.decode(stored, limit, out, "the name")


def test_damage(algorithm: Algorithm) -> None:
    """Damaged bytes give as many bytes as the limit asks for, or a CorruptDataError; nothing past `out` is written."""
    stored = algorithm.encode(PLAIN)
    generator = random.Random(1)
    backing = np.full(5000 + 64, 0xA5, np.uint8)
    for _ in range(500):
        data = damaged(stored, generator)
        try:
            found = algorithm.decode(as_array(data), Limit(5000, True), backing[:5000])
        except CorruptDataError:
            pass
        else:
            assert found.size == 5000
            if algorithm.is_checked and data[: len(stored)] != stored:
                assert found.tobytes() == PLAIN
        assert set(backing[5000:].tolist()) == {0xA5}


def test_truncated(algorithm: Algorithm) -> None:
    stored = algorithm.encode(PLAIN)
    for nbytes in (0, 1, 3, 10, len(stored) // 2):
        with pytest.raises(CorruptDataError):
            algorithm.decode(as_array(stored[:nbytes]), Limit(5000, True), None)


def test_bombs(algorithm: Algorithm, route: str) -> None:
    """Bytes that decode to far more than the limit take no memory for it."""
    stored = as_array(algorithm.encode(bytes(32 << 20)))
    limit = Limit(1000, algorithm.decode is decode_block)
    tracemalloc.start()
    try:
        with pytest.raises(CorruptDataError):
            algorithm.decode(stored, limit, None)
        # numcodecs' block decoder wants the block behind its size: a copy of the stored bytes.
        assert tracemalloc.get_traced_memory()[1] < (1 << 20) + stored.size
    finally:
        tracemalloc.stop()


def test_declared_sizes_are_not_believed(route: str) -> None:
    """A header that declares more than the limit is refused before memory is taken."""
    frame = b"\x28\xb5\x2f\xfd\xe0" + (1 << 40).to_bytes(8, "little") + bytes(8)
    blosc = bytes([2, 1, 0x21, 4]) + (1 << 31).to_bytes(4, "little") + bytes(4) + (24).to_bytes(4, "little") + bytes(8)
    lz4 = b"\xff\xff\xff\x7f" + bytes(8)
    for decode, data in ((decode_zstd, frame), (decode_blosc, blosc), (decode_lz4, lz4)):
        with pytest.raises(CorruptDataError, match="expected"):
            decode(as_array(data), Limit(1000, False))


def test_several_streams(route: str) -> None:
    """gzip members and bzip2 streams in a row are one stream; zeros after a gzip member are padding."""
    parts = [PLAIN[:2000], PLAIN[2000:]]
    joined = as_array(gzip.compress(parts[0]) + bytes(5) + gzip.compress(parts[1]) + bytes(3))
    for limit in (Limit(5000, True), Limit(6000, False)):
        assert decode_gzip(joined, limit).tobytes() == PLAIN
    streams = as_array(bz2.compress(parts[0]) + bz2.compress(parts[1]))
    assert decode_bz2(streams, Limit(5000, True)).tobytes() == PLAIN
    assert decode_bz2(streams, Limit(2000, True), several=False).tobytes() == parts[0]
    with pytest.raises(CorruptDataError):
        decode_bz2(streams, Limit(2000, True))
    with pytest.raises(CorruptDataError):
        decode_gzip(joined, Limit(2000, True))
    for decode, data in ((decode_gzip, gzip.compress(PLAIN)), (decode_bz2, bz2.compress(PLAIN))):
        with pytest.raises(CorruptDataError):
            decode(as_array(data + b"rest"), Limit(6000, False))


def test_snappy_needs_imagecodecs(route: str) -> None:
    data = np.arange(4096, dtype="<u4").view(np.uint8)
    stored = np.frombuffer(numcodecs.Blosc("zlib").encode(data), np.uint8).copy()
    stored[2] = stored[2] & 0x1F | 2 << 5
    expected = CorruptDataError if route == "imagecodecs" else MissingFilterError
    with pytest.raises(expected):
        decode_blosc(stored, Limit(data.size, True))


def test_lzf_needs_imagecodecs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "imagecodecs_function", lambda *_: None)
    with pytest.raises(MissingFilterError, match="Install the pip package imagecodecs"):
        decode_lzf(as_array(b"abc"), Limit(3, True))


class TestGzipStream:
    def test_parts_and_copies(self) -> None:
        """Parts of any size, fed by parts of any size; a copy goes on from where it was made."""
        data = gzip.compress(PLAIN[:3000]) + bytes(10) + gzip.compress(b"") + gzip.compress(PLAIN[3000:]) + bytes(2)
        for fed in (1, 7, 1000, 1 << 20):
            stream = GzipStream(lambda at, fed=fed: data[at : at + fed])  # type: ignore[misc]
            for nbytes in (1, 10, 999, 2000):
                at = 0
                state = stream.copy()
                while part := state.read(nbytes):
                    assert part == PLAIN[at : at + nbytes]
                    at += len(part)
                assert at == len(PLAIN)

    def test_errors(self) -> None:
        data = gzip.compress(PLAIN)
        for cut in (0, 5, len(data) // 2, len(data) - 1):
            with pytest.raises(EOFError):
                GzipStream(lambda at, cut=cut: data[at:cut]).read(5001)  # type: ignore[misc]
        with pytest.raises(zlib.error):
            GzipStream(lambda at: (data + b"rest")[at:]).read(5001)


def test_checksums(route: str) -> None:
    for data in (b"", b"a", PLAIN):
        assert crc32(as_array(data)) == zlib.crc32(data)
    plain = as_array(b"123456789")
    stored: Any = np.append(plain, as_array((0xE3069283).to_bytes(4, "little")))
    assert strip_crc32c(stored, Limit(9, True)).tobytes() == b"123456789"
    with pytest.raises(CorruptDataError, match="8 decoded bytes, got 9 bytes"):
        strip_crc32c(stored, Limit(8, True))
    with pytest.raises(CorruptDataError, match="at least 4 bytes"):
        strip_crc32c(stored[:3], Limit(9, True))
    stored[0] ^= 1
    with pytest.raises(ChecksumError, match="checking crc32c: expected 0xe3069283"):
        strip_crc32c(stored, Limit(9, True))
