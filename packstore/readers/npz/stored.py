"""Stored members: elements as they lie in the archive; a read of all of them checks the member's CRC-32, once."""

from __future__ import annotations

import numpy as np

from packstore.codecs.checksums import crc32, crc32_combine
from packstore.core.threads import run_all
from packstore.core.typing import Bytes
from packstore.readers.npz.directory import ZipMember
from packstore.readers.npz.inflate import wrong_crc
from packstore.source import Source
from packstore.storage.places import OneRange
from packstore.storage.stored import SpaceRange, Stored

__all__ = ["StoredMember"]

BLOCK_NBYTES = 4 << 20


class StoredMember(OneRange):
    """The data of a ``.npy`` member that is stored without compression.

    Parameters
    ----------
    source
        The archive.
    offset, nbytes
        The elements.
    start
        Where the member starts.
    member
        Its entry in the directory.
    component
        The array's name, for errors.

    Notes
    -----
    A crop is not checked: that would read the whole member. Once the whole member was found right, it is not checked
    again: a file that changes is another file.
    """

    has_sum = True

    def __init__(self, source: Source, offset: int, nbytes: int, start: int, member: ZipMember, component: str) -> None:
        super().__init__(source, offset, nbytes)
        self.source = source
        self.start = start
        self.member = member
        self.component = component
        self._is_right = False

    def open(self, coords: tuple[int, ...]) -> Stored:
        # docstring inherited
        found = super().open(coords)
        return _Summed(self) if isinstance(found, SpaceRange) and not self._is_right else found

    def verify(self, *, reading: bool = False) -> None:
        # docstring inherited
        if self._is_right:
            return
        raw = self.source.view()
        if raw is not None:
            self.compare(_sum(raw[self.start : self.start + self.member.nbytes]))
        elif not reading:
            total = 0
            for at in range(0, self.member.nbytes, BLOCK_NBYTES):
                nbytes = min(BLOCK_NBYTES, self.member.nbytes - at)
                piece = np.frombuffer(self.source.pread(self.start + at, nbytes), np.uint8)
                total = crc32_combine(total, crc32(piece), nbytes)
            self.compare(total)

    def compare(self, found: int) -> None:
        """Raise ChecksumError unless this is the member's CRC-32."""
        if found != self.member.crc:
            raise wrong_crc("reading", self.source.name, self.component, found, self.member.crc)
        self._is_right = True

    def around(self, data: Bytes) -> int:
        """The CRC-32 of the member whose elements are `data`: its header and what may follow are read here."""
        header_nbytes = self.offset - self.start
        rest = self.member.nbytes - header_nbytes - self.nbytes
        total = crc32(np.frombuffer(self.source.pread(self.start, header_nbytes), np.uint8))
        total = crc32_combine(total, _sum(data), data.size)
        if not rest:
            return total
        tail = np.frombuffer(self.source.pread(self.offset + self.nbytes, rest), np.uint8)
        return crc32_combine(total, crc32(tail), rest)


class _Summed(SpaceRange):
    """The elements where they are not mapped: a read of all of them is summed up, so that none is read twice."""

    __slots__ = ("places",)

    def __init__(self, places: StoredMember) -> None:
        super().__init__(places.source, places.offset, places.nbytes, None, 0)
        self.places = places

    def pread(self, offset: int, nbytes: int, out: Bytes | None = None) -> Bytes:
        # docstring inherited
        data = super().pread(offset, nbytes, out)
        if nbytes == self.nbytes:
            self.places.compare(self.places.around(data))
        return data


def _sum(data: Bytes) -> int:
    """CRC-32 of many bytes, by several threads."""
    starts = range(0, data.size, BLOCK_NBYTES)
    sums = [0] * len(starts)

    def one(i: int) -> None:
        sums[i] = crc32(data[starts[i] : starts[i] + BLOCK_NBYTES])

    run_all(one, range(len(starts)), parallel=len(starts) > 1)
    total = 0
    for start, part in zip(starts, sums, strict=True):
        total = crc32_combine(total, part, min(BLOCK_NBYTES, data.size - start))
    return total
