"""Blosc 2 frames: plain ones from hdf5plugin, and b2nd arrays (PyTables) written out here."""

from __future__ import annotations

import struct
from typing import Any, ClassVar

import hdf5plugin
import imagecodecs
import numpy as np
import numpy.typing as npt
import pytest

from packstore.codecs.hdf5 import FilterSpec, decode_chunk
from packstore.errors import CorruptDataError
from packstore.testing.filters import FilterTests

SPEC = FilterSpec(32026, (1, 0, 4, 0, 5, 1, 0))


class _Blosc2(FilterTests):
    filter_id = 32026
    dtypes = ("<u1", "<i2", ">f4", "<f8", "S3", "<c16")


class TestLz4(_Blosc2):
    options: ClassVar[dict[str, Any]] = dict(hdf5plugin.Blosc2(cname="lz4", filters=1))


class TestZstdBits(_Blosc2):
    options: ClassVar[dict[str, Any]] = dict(hdf5plugin.Blosc2(cname="zstd", filters=2))


class TestConstant(FilterTests):
    """Chunks of one value take no bytes in the frame."""

    filter_id = 32026
    options: ClassVar[dict[str, Any]] = dict(hdf5plugin.Blosc2())

    def values(self, dtype: str, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        return np.zeros(shape, dtype)


def frame(values: npt.NDArray[Any], chunks: tuple[int, ...], blocks: tuple[int, ...], special: int = 0) -> bytes:
    """Write a b2nd array as a contiguous frame."""
    ndim = values.ndim
    padded = tuple(-(-c // b) * b for c, b in zip(chunks, blocks, strict=True))
    nbytes = int(np.prod(padded)) * values.itemsize
    stored: list[bytes] = []
    offsets: list[int] = []
    counts = tuple(-(-s // c) for s, c in zip(values.shape, chunks, strict=True))
    for index in np.ndindex(*counts):
        part = values[tuple(slice(i * c, i * c + c) for i, c in zip(index, chunks, strict=True))]
        cells = np.zeros(padded, values.dtype)
        cells[tuple(slice(0, n) for n in part.shape)] = part
        split = [n for p, b in zip(padded, blocks, strict=True) for n in (p // b, b)]
        order = [*range(0, 2 * ndim, 2), *range(1, 2 * ndim, 2)]
        raw = cells.reshape(split).transpose(order).tobytes()
        if special and not any(raw):
            offsets.append(-(1 << 63) | special << 56)
            continue
        offsets.append(sum(map(len, stored)))
        stored.append(bytes(imagecodecs.blosc2_encode(raw, typesize=values.itemsize)))
    index_chunk = imagecodecs.blosc2_encode(struct.pack(f"<{len(offsets)}q", *offsets), typesize=8)
    body = b"".join(stored)
    meta = bytes([0x97, 0, ndim, 0x90 + ndim]) + b"".join(b"\xd3" + struct.pack(">q", n) for n in values.shape)
    for shape in (chunks, blocks):
        meta += bytes([0x90 + ndim]) + b"".join(b"\xd2" + struct.pack(">i", n) for n in shape)
    meta += b"\x00\xdb" + struct.pack(">i", 3) + values.dtype.str.encode()
    table = b"\xde\x00\x01\xa4b2nd\xd2"
    at = 87 + 4 + len(table) + 4 + 3
    layers = b"\x93\xcd" + struct.pack(">H", len(table) + 4) + table + struct.pack(">i", at) + b"\xdc\x00\x01"
    layers += b"\xc6" + struct.pack(">i", len(meta)) + meta
    total = 87 + len(layers) + len(body) + len(index_chunk)
    head = b"\x9e\xa8b2frame\0\xd2" + struct.pack(">i", 87 + len(layers)) + b"\xcf" + struct.pack(">Q", total)
    head += (
        b"\xa4\x12\x00\x50\x03\xd3" + struct.pack(">q", nbytes * len(offsets)) + b"\xd3" + struct.pack(">q", len(body))
    )
    head += b"\xd2" + struct.pack(">i", values.itemsize) + b"\xd2" + struct.pack(">i", 0)
    head += b"\xd2" + struct.pack(">i", nbytes) + b"\xd1\0\1\xd1\0\1\xc2\xd8\x06" + bytes(16)
    assert len(head) == 87
    return head + layers + body + index_chunk


@pytest.mark.parametrize(
    ("shape", "chunks", "blocks"),
    [
        ((10,), (10,), (10,)),
        ((10,), (10,), (4,)),
        ((10, 12), (10, 12), (4, 5)),
        ((7, 9), (4, 5), (2, 2)),
        ((5, 6, 7), (5, 6, 7), (2, 6, 3)),
        ((5, 6, 7), (3, 4, 5), (3, 2, 2)),
    ],
)
@pytest.mark.parametrize("dtype", ["<u1", ">i2", "<f8"])
def test_b2nd(shape: tuple[int, ...], chunks: tuple[int, ...], blocks: tuple[int, ...], dtype: str) -> None:
    values = np.arange(np.prod(shape)).astype(dtype).reshape(shape)
    decoded = decode_chunk(frame(values, chunks, blocks), [SPEC], 0, values.nbytes)
    assert decoded.view(dtype).reshape(shape).tolist() == values.tolist()


def test_special_chunks() -> None:
    values = np.zeros((8, 6), "<f4")
    values[:4] = 3
    assert decode_chunk(frame(values, (4, 6), (2, 3), special=1), [SPEC], 0, 192).tobytes() == values.tobytes()
    decoded = decode_chunk(frame(values, (4, 6), (2, 3), special=2), [SPEC], 0, 192).view("<f4").reshape(8, 6)
    assert (decoded[:4] == 3).all()
    assert np.isnan(decoded[4:]).all()
    with pytest.raises(CorruptDataError, match="special value 3"):
        decode_chunk(frame(values, (4, 6), (2, 3), special=3), [SPEC], 0, 192)


def test_wrong_size() -> None:
    data = frame(np.zeros((8, 6), "<f4"), (4, 6), (2, 3))
    for nbytes in (96, 191, 193, 384):
        with pytest.raises(CorruptDataError, match=r"32026 \(blosc2\): expected"):
            decode_chunk(data, [SPEC], 0, nbytes)
    for length in range(0, len(data), 7):
        with pytest.raises(CorruptDataError, match="expected"):
            decode_chunk(data[:length], [SPEC], 0, 192)
