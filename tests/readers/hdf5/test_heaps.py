"""Global heaps: what libhdf5 would not come out of, where objects lie, and the damage that is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from packstore.readers.hdf5.format.collection import parse
from packstore.readers.hdf5.format.heaps import Heaps
from packstore.readers.hdf5.format.place import Place
from packstore.readers.hdf5.guard.blocks import is_endless
from packstore.readers.hdf5.problems import Damaged
from packstore.source import FileSource


def entry(index: int, size: int, data: bytes = b"", length_nbytes: int = 8) -> bytes:
    """An object, padded; `size` as it is declared."""
    head = index.to_bytes(2, "little") + b"\1\0" + bytes(4) + size.to_bytes(length_nbytes, "little")
    return head.ljust(16, b"\0") + data.ljust(-(-len(data) // 8) * 8, b"\0")


def collection(*entries: bytes, nbytes: int | None = None, length_nbytes: int = 8) -> bytes:
    body = b"".join(entries)
    size = 16 + len(body) if nbytes is None else nbytes
    return (b"GCOL\1\0\0\0" + size.to_bytes(length_nbytes, "little")).ljust(16, b"\0") + body


def endless(heap: bytes, length_nbytes: int = 8, at: int = 0) -> bool:
    return is_endless(lambda offset, nbytes: heap[offset : offset + nbytes], at, length_nbytes)


@pytest.mark.parametrize("length_nbytes", [2, 4, 8])
def test_sound(length_nbytes: int) -> None:
    heap = collection(
        entry(1, 3, b"abc", length_nbytes),
        entry(2, 8, b"abcdefgh", length_nbytes),
        entry(7, 0, b"", length_nbytes),
        entry(0, 32, bytes(16), length_nbytes),
        length_nbytes=length_nbytes,
    )
    assert not endless(heap, length_nbytes)
    table = parse(heap, length_nbytes)
    assert [heap[a:b] for a, b in table[[1, 2, 7]]] == [b"abc", b"abcdefgh", b""]
    assert table[[0, 3, 4, 5, 6]].tolist() == [[0, 0]] * 5


def test_what_is_too_small_for_an_object_is_free_space() -> None:
    heap = collection(entry(1, 8, b"abcdefgh"), bytes(8))
    assert not endless(heap)
    assert parse(heap)[1].tolist() == [32, 40]


@pytest.mark.parametrize("length_nbytes", [2, 4, 8])
@pytest.mark.parametrize("index", [0, 5])
def test_endless(length_nbytes: int, index: int) -> None:
    # Free space that takes no room; a size that leads back to where it is.
    size = 0 if index == 0 else 2 ** (8 * length_nbytes) - 16
    bad = entry(index, size, b"", length_nbytes)
    heap = collection(entry(1, 3, b"abc", length_nbytes), bad, bytes(64), length_nbytes=length_nbytes)
    assert endless(heap, length_nbytes)
    assert endless(bytes(8) + heap, length_nbytes, at=8)
    with pytest.raises(Damaged):
        parse(heap, length_nbytes)


def test_what_is_no_collection_is_not_endless() -> None:
    sound = collection(entry(0, 32, bytes(16)))
    assert not endless(sound[:-1])
    assert not endless(b"GCOL\2" + sound[5:])
    assert not endless(sound[:10])
    assert not endless(collection(nbytes=1 << 40))


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ((entry(1, 3, b"abc"), entry(2, 100, b"abc")), "object 2 of 100 bytes at byte 40 of a collection of 64"),
        ((entry(1, 3, b"abc"), entry(0, 100)), "free space of 100 bytes at byte 40 of a collection of 56"),
        ((entry(1, 3, b"abc"), entry(0, 8)), "free space of 8 bytes"),
        ((entry(1, 3, b"abc"), entry(1, 3, b"xyz")), "two objects of the same index"),
        ((entry(3, 2**64 - 1),), f"object 3 of {2**64 - 1} bytes"),
    ],
)
def test_damage(entries: tuple[bytes, ...], why: str) -> None:
    with pytest.raises(Damaged, match=why):
        parse(collection(*entries))


def heaps_of(path: Path, raw: bytes, base: int = 0) -> Heaps:
    path.write_bytes(raw)
    return Heaps(Place(FileSource(path), 0, base, 8, 8))


@pytest.mark.parametrize("base", [0, 512, 4])
@pytest.mark.parametrize("count", [5, 400])
def test_locate(tmp_path: Path, base: int, count: int) -> None:
    rng = np.random.default_rng(count)
    data = [bytes(rng.integers(1, 255, int(n), "u1")) for n in rng.integers(1, 40, count)]
    half = count // 2
    one = collection(*(entry(i + 1, len(d), d) for i, d in enumerate(data[:half])), entry(0, 16))
    # The second one in another order than by index.
    two = collection(*(entry(count - i, len(d), d) for i, d in enumerate(data[half:])))
    raw = bytes(base) + one + bytes(8) + two
    heaps = heaps_of(tmp_path / "x", raw, base)
    address = np.array([0] * half + [len(one) + 8] * (count - half), np.uint64)
    index = np.array([*range(1, half + 1), *(count - i for i in range(count - half))])
    nbytes = np.array([len(d) for d in data])
    for order in (np.arange(count), np.arange(count)[::-1], rng.permutation(count)):
        starts = heaps.locate(address[order], index[order], nbytes[order])
        assert [raw[s : s + n] for s, n in zip(starts, nbytes[order], strict=True)] == [data[i] for i in order]
    for part in (address, index, nbytes):
        wrong = part[2]
        for value in (wrong + type(wrong)(1), 10**6, 2**31):
            part[2] = value
            with pytest.raises(Damaged) as caught:
                heaps.locate(address, index, nbytes)
            assert caught.value.element == 2
        part[2] = wrong
    assert heaps.read(0, 1) == data[0]
    with pytest.raises(Damaged, match="no object 999"):
        heaps.read(0, 999)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "no global heap at address 0"),
        (b"GCOL\1\0\0\0", "no global heap at address 0"),
        (b"GCOX" + bytes(40), "no global heap at address 0"),
        (collection(entry(0, 32, bytes(16)), nbytes=4096), "a global heap of 4096 bytes at address 0, 48 bytes before"),
        (collection(entry(0, 32, bytes(16)), nbytes=8), "a global heap of 8 bytes"),
        (collection(entry(0, 0), bytes(32)), "a damaged global heap at address 0: free space of 0 bytes"),
    ],
)
def test_collections_that_are_none(tmp_path: Path, raw: bytes, why: str) -> None:
    heaps = heaps_of(tmp_path / "x", raw)
    for count in (1, 100):
        with pytest.raises(Damaged, match=why):
            heaps.locate(np.zeros(count, np.uint64), np.arange(1, count + 1), np.ones(count, np.int64))
