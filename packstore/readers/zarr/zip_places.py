"""The places of a zarr array's chunks in a zip archive: each is a member of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from packstore.codecs.checksums import crc32
from packstore.core.typing import Bytes
from packstore.errors import CorruptDataError, TruncatedFileError, UnsupportedError, message
from packstore.readers.npz.blocks import open_member
from packstore.readers.npz.directory import BZIP2, DEFLATED, LZMA, METHODS, STORED, ZipMember, data_range
from packstore.readers.npz.inflate import wrong_crc
from packstore.readers.zarr.nodes import DOCUMENTS
from packstore.source import RangeReads, Source
from packstore.storage.places import Places, Wanted
from packstore.storage.stored import MemoryBytes, SpaceRange, Stored

__all__ = ["MemberPlaces", "Members"]

# Members up to this size are fetched with the header before them, by one request.
WHOLE_NBYTES = 4 << 20


class Members:
    """The members of an archive by name, and their bytes. Thread safe.

    Parameters
    ----------
    source
        The archive.
    members
        Its directory.
    """

    def __init__(self, source: Source, members: Mapping[str, ZipMember]) -> None:
        self.source = source
        self.members = members
        # By name: where the stored bytes start, and the local extra fields; and whose CRC-32 was right.
        self._starts: dict[str, tuple[int, dict[int, bytes]]] = {}
        self._right: set[str] = set()

    def __getitem__(self, name: str) -> ZipMember:
        return self.members[name]

    def stored(self, name: str, key: Any = None, *, whole: bool) -> Stored:
        """The bytes of a member, decoded by the archive's own compression.

        Parameters
        ----------
        key
            Identifies them in caches.
        whole
            All of them are going to be read: their CRC-32 is checked.

        Raises
        ------
        FormatError
            The local header contradicts the directory.
        ChecksumError
            The bytes are damaged.
        UnsupportedError
            The member is encrypted, or compressed by a method that has no decoder here.
        """
        member = self.members[name]
        self._check(member)
        start, extra = self._start(name, member, self.source)
        if member.method != STORED:
            decoded = open_member(self.source, start, member, name, extra)
            return MemoryBytes(np.frombuffer(decoded.pread(0, member.nbytes), np.uint8), key)
        raw = self.source.settled_view()
        if raw is not None:
            data = raw[start : start + member.nbytes]
        elif self.source.view() is None:
            return _FarRange(self.source, start, member.nbytes, key, 0)
        elif whole:
            data = np.frombuffer(self.source.pread(start, member.nbytes), np.uint8)
        else:
            return SpaceRange(self.source, start, member.nbytes, key, 0)
        if whole:
            self.compare(name, member, data)
        return MemoryBytes(data, key, mapped=raw is not None, fresh=raw is None)

    def content(self, name: str) -> Bytes:
        """All bytes of a member, checked."""
        found = self.stored(name, whole=True)
        data = found.pread(0, found.nbytes)
        self.compare(name, self.members[name], data)
        return data

    def cut(self, name: str, data: Bytes, key: Any = None) -> MemoryBytes:
        """The bytes of a member that is stored as it is, out of all bytes from its local header on."""
        member = self.members[name]
        start, _ = self._start(name, member, _Piece(self.source.name, data, member.header_offset))
        found = data[start - member.header_offset :][: member.nbytes]
        self.compare(name, member, found)
        return MemoryBytes(found, key, fresh=True)

    def compare(self, name: str, member: ZipMember, data: Bytes) -> None:
        """Raise ChecksumError unless the bytes are the member's; once they are, they are not summed up again."""
        if name not in self._right:
            found = crc32(data)
            if found != member.crc:
                raise wrong_crc("reading", self.source.name, name, found, member.crc)
            self._right.add(name)

    def _start(self, name: str, member: ZipMember, space: Any) -> tuple[int, dict[int, bytes]]:
        found = self._starts.get(name)
        if found is None:
            found = self._starts[name] = data_range(space, self.source.name, member)
        return found

    def _check(self, member: ZipMember) -> None:
        if member.encrypted or member.method not in (STORED, DEFLATED, BZIP2, LZMA):
            got = "an encrypted one" if member.encrypted else f"zip method {METHODS.get(member.method, member.method)}"
            hint = "Pack the hierarchy again without compression; zarr has its own"
            expected = "a member that is stored, deflated or compressed by bzip2 or lzma"
            raise UnsupportedError(
                message("reading", self.source.name, member.name, expected=expected, got=got, hint=hint)
            )
        if member.method == STORED and member.stored_nbytes != member.nbytes:
            expected = f"{member.nbytes} stored bytes"
            raise CorruptDataError(
                message("reading", self.source.name, member.name, expected=expected, got=member.stored_nbytes)
            )


class _FarRange(SpaceRange):
    """A member behind a URL, of which a shard's inner chunks are asked for by one call."""

    __slots__ = ()
    is_far = True


class _Piece(RangeReads):
    """Part of an archive that was read already."""

    def __init__(self, name: str, data: Bytes, offset: int) -> None:
        self.name = name
        self.data = data
        self.offset = offset

    @property
    def nbytes(self) -> int:
        return self.offset + self.data.size

    def pread(self, offset: int, nbytes: int) -> Bytes:
        at = offset - self.offset
        if at < 0 or at + nbytes > self.data.size:
            raise TruncatedFileError(message("reading", self.name, expected=f"{nbytes} bytes", got="fewer"))
        return self.data[at : at + nbytes]


class MemberPlaces(Places):
    """One member a chunk.

    Parameters
    ----------
    members
        The archive.
    prefix
        What the names of the array's members begin with.
    layout
        The array's metadata.
    """

    verb = "reading"

    def __init__(self, members: Members, prefix: str, layout: Any) -> None:
        self.members = members
        self.prefix = prefix
        self.layout = layout
        self.name = f"{members.source.name}/{prefix}".rstrip("/")
        chain = layout.chain
        # Shards are read through their index, and chunks that no codec but the serializer made by parts.
        self._whole = chain.decoder is not None and not chain.serializer.nested
        self._near = not chain.serializer.nested
        self.is_far = members.source.view() is None

    def _name(self, coords: tuple[int, ...]) -> str:
        return self.prefix + str(self.layout.chunk_key(coords))

    def check(self) -> None:
        # docstring inherited
        self.members.source.check()

    def has(self, coords: tuple[int, ...]) -> bool:
        # docstring inherited
        # Of a shard zarr asks for inner chunks, which its index knows.
        return not self._near or self._name(coords) in self.members.members

    def open(self, coords: tuple[int, ...]) -> Stored | None:
        # docstring inherited
        name = self._name(coords)
        if name not in self.members.members:
            return None
        return self.members.stored(name, (id(self), coords), whole=self._whole)

    def fetch(self, wanted: Sequence[Wanted]) -> list[Stored | None]:
        # docstring inherited
        found: list[Stored | None] = [None] * len(wanted)
        together: list[tuple[int, str, tuple[int, int]]] = []
        for i, (coords, part) in enumerate(wanted):
            name = self._name(coords)
            member = self.members.members.get(name)
            if member is None:
                continue
            nbytes = member.end - member.header_offset
            near = self._near or part is None
            if near and member.method == STORED and not member.encrypted and nbytes <= WHOLE_NBYTES:
                together.append((i, name, (member.header_offset, nbytes)))
            else:
                found[i] = self.open(coords)
        pieces = self.members.source.read_ranges([each for _, _, each in together])
        for (i, name, _), data in zip(together, pieces, strict=True):
            found[i] = self.members.cut(name, np.frombuffer(data, np.uint8), (id(self), wanted[i][0]))
        return found

    def nothing_stored(self) -> bool:
        # docstring inherited
        return not any(True for _ in self._chunks())

    def stored_nbytes(self) -> tuple[int | None, int | None]:
        # docstring inherited
        sizes = [member.nbytes for member in self._chunks()]
        grid = [-(-n // c) for n, c in zip(self.layout.shape, self.layout.grid_chunk_shape, strict=True)]
        return sum(sizes), math.prod(grid) - len(sizes)

    def _chunks(self) -> Any:
        """The members of the array but its documents."""
        prefix = self.prefix
        for name, member in self.members.members.items():
            if name.startswith(prefix) and name[len(prefix) :] not in DOCUMENTS and not name.endswith("/"):
                yield member
