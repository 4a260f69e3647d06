"""A deflated zip member in, its decoded bytes out by blocks: by packstore's block index, or because it is too large.

The block index is an extra field of the local header, so every other zip reader skips it. The member's deflate stream
is cut where the encoder flushed and forgot its history (``Z_FULL_FLUSH``): each piece decodes by itself, and all of
them in a row are one ordinary stream. The field (little-endian, id 0x6B70):

=========  =====================================================================
4 bytes    ``b"pkst"``
uint32     version, 1
uint64     decoded bytes of each block but the last
uint32     number of blocks
per block  uint32 stored bytes, uint32 CRC-32 of the decoded bytes
=========  =====================================================================

An index that does not add up to the member's sizes is not used: another tool has packed the member again.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from packstore.codecs.checksums import crc32
from packstore.codecs.decompress import Limit, decode_deflate
from packstore.config import member_nbytes
from packstore.core.typing import Bytes
from packstore.errors import PackstoreError
from packstore.readers.npz.directory import DEFLATED, ZipMember
from packstore.readers.npz.inflate import DecodedMember, check_crc, corrupt, feed_decoder
from packstore.source import ByteSpace, Source
from packstore.source.cache import MEMBERS

__all__ = ["EXTRA_ID", "MAX_BLOCKS", "BlockIndex", "IndexedMember", "StreamedMember", "open_member"]


EXTRA_ID = 0x6B70
_HEAD = struct.Struct("<4sLQL")
# All extra fields of a header share 65,535 bytes; zip64 sizes and numpy's padding take some of them.
MAX_BLOCKS = 8000

SPAN_NBYTES = 8 << 20
FEED_NBYTES = 1 << 14


@dataclass(frozen=True)
class BlockIndex:
    """Where the independent blocks of a deflate stream end, and what they hold."""

    block_nbytes: int
    stored_nbytes: tuple[int, ...]
    crcs: tuple[int, ...]

    def pack(self) -> bytes:
        """The extra field with its id and length."""
        pairs = [n for pair in zip(self.stored_nbytes, self.crcs, strict=True) for n in pair]
        body = _HEAD.pack(b"pkst", 1, self.block_nbytes, len(self.crcs)) + struct.pack(f"<{len(pairs)}L", *pairs)
        return struct.pack("<2H", EXTRA_ID, len(body)) + body

    @classmethod
    def unpack(cls, field: bytes, member: ZipMember) -> BlockIndex | None:
        """The index in an extra field; None where it is no index of this member."""
        if len(field) < _HEAD.size:
            return None
        magic, version, block_nbytes, count = _HEAD.unpack_from(field)
        if magic != b"pkst" or version != 1 or not block_nbytes or len(field) != _HEAD.size + 8 * count:
            return None
        values: Sequence[int] = struct.unpack_from(f"<{2 * count}L", field, _HEAD.size)
        index = cls(block_nbytes, tuple(values[::2]), tuple(values[1::2]))
        if count != -(-member.nbytes // block_nbytes) or sum(index.stored_nbytes) != member.stored_nbytes:
            return None
        return index


def open_member(
    source: Source, start: int, member: ZipMember, component: str, extra: dict[int, bytes]
) -> DecodedMember:
    """The byte space that suits a compressed member.

    Parameters
    ----------
    start, extra
        From `packstore.readers.npz.directory.data_range`.
    """
    if member.method == DEFLATED:
        index = BlockIndex.unpack(extra.get(EXTRA_ID, b""), member)
        if index is not None:
            return IndexedMember(source, start, member, component, index)
        if member.nbytes > member_nbytes():
            return StreamedMember(source, start, member, component)
    return DecodedMember(source, start, member, component)


class _BlockedMember(DecodedMember):
    """A member of which each block of `block_nbytes` decodes on its own."""

    __slots__ = ("block_nbytes",)

    block_nbytes: int

    def pread(self, offset: int, nbytes: int) -> Bytes:
        self.check_range(offset, nbytes)
        self.source.check()
        if nbytes == 0:
            return np.empty(0, np.uint8)
        size = self.block_nbytes
        first, last = offset // size, (offset + nbytes - 1) // size
        if first == last:
            return self.block(first)[offset - first * size : offset - first * size + nbytes]
        out = np.empty(nbytes, np.uint8)
        for i in range(first, last + 1):
            lo, hi = max(offset, i * size), min(offset + nbytes, (i + 1) * size)
            out[lo - offset : hi - offset] = self.block(i)[lo - i * size : hi - i * size]
        return out

    def view(self) -> Bytes | None:  # type: ignore[override]  # a ByteSpace may have no view; the whole member has one
        return None

    def block(self, i: int) -> Bytes:
        """Decoded block `i`, from the cache or the file."""
        found = MEMBERS.get(self.source.fingerprint, (self.start, i))
        if found is None:
            found = self.decode_block(i)
            MEMBERS.put(self.source.fingerprint, (self.start, i), found)
        return found

    def decode_block(self, i: int) -> Bytes:
        raise NotImplementedError

    def span(self, i: int) -> int:
        """Bytes of block `i`."""
        return min(self.block_nbytes, self.nbytes - i * self.block_nbytes)


class IndexedMember(_BlockedMember):
    """A member with a block index: random and parallel access, each block's CRC-32 checked.

    Notes
    -----
    Thread safe without a lock: blocks share nothing.
    """

    __slots__ = ("index", "offsets")

    def __init__(self, source: Source, start: int, member: ZipMember, component: str, index: BlockIndex) -> None:
        super().__init__(source, start, member, component)
        self.index = index
        self.block_nbytes = index.block_nbytes
        self.offsets = np.concatenate([[0], np.cumsum(index.stored_nbytes, dtype=np.int64)])

    def beginning(self) -> ByteSpace:
        # The first block's own checksum covers the header.
        return self

    def decode_block(self, i: int) -> Bytes:
        # A final empty block ends the piece as a stream of its own, which libdeflate insists on.
        where = (self.start + int(self.offsets[i]), int(self.index.stored_nbytes[i]))
        data = bytes(self.source.read_ranges([where])[0]) + b"\x03\x00"
        out = decode_deflate(data, Limit(self.span(i), True), None, f"block {i} of {self.name}")
        check_crc(self, crc32(out), self.index.crcs[i])
        return out


class StreamedMember(_BlockedMember):
    """A member decoded from its start up to the furthest block read, with a decoder state kept every 8 MB.

    Notes
    -----
    Memory: about 60 KB for each 8 MB passed, and the blocks in the shared cache. Reading forward costs one pass;
    reading an earlier block costs that block. The CRC-32 covers the whole member, so it is checked once the last byte
    is decoded: a crop before that is as unchecked as a crop of a stored member.
    """

    __slots__ = ("_at", "_crc", "_failure", "_front", "_states")

    def __init__(self, source: Source, start: int, member: ZipMember, component: str) -> None:
        super().__init__(source, start, member, component)
        self.block_nbytes = SPAN_NBYTES
        self._front: Any = zlib.decompressobj(-15)
        self._at = 0  # stored bytes fed to the front so far
        self._crc = 0
        self._failure: PackstoreError | None = None
        # State before each block that the front has passed: the decoder and how much it has been fed.
        self._states: list[tuple[Any, int]] = []

    def decode_block(self, i: int) -> Bytes:
        with self._lock:
            if self._failure is not None:
                raise self._failure
            out = None
            while len(self._states) <= i:
                out = self._advance()
            if out is not None:
                return out
            decoder, at = self._states[i]
            decoder = decoder.copy()
        return self._run(decoder, at, self.span(i))[0]

    def _advance(self) -> Bytes:
        """Decode the next block and remember the state before it."""
        i = len(self._states)
        before = self._front.copy(), self._at
        try:
            out, self._at = self._run(self._front, self._at, self.span(i))
            self._crc = zlib.crc32(out, self._crc)
            if (i + 1) * self.block_nbytes >= self.nbytes:
                tail, _ = self._run(self._front, self._at, 1, exact=False)
                if tail.nbytes or not self._front.eof:
                    raise corrupt(self, f"{self.nbytes} bytes", "more")
                check_crc(self, self._crc, self.member.crc)
        except PackstoreError as error:
            self._failure = error
            raise
        self._states.append(before)
        return out

    def _run(self, decoder: Any, at: int, nbytes: int, *, exact: bool = True) -> tuple[Bytes, int]:
        """The next `nbytes` bytes out of `decoder`, fed from stored byte `at` on; and the stored byte to feed next."""
        out = np.empty(nbytes, np.uint8)
        done = 0
        while done < nbytes and not decoder.eof:
            feed = decoder.unconsumed_tail
            if not feed and at < self.member.stored_nbytes:
                feed = self.source.pread(self.start + at, min(FEED_NBYTES, self.member.stored_nbytes - at))
                at += len(feed)
            piece = feed_decoder(decoder, feed, nbytes - done, self)
            if not piece and not feed and not decoder.eof:
                raise corrupt(self, f"{self.nbytes} bytes", "an end of the stored ones before that")
            out[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
            done += len(piece)
        if done < nbytes and exact:
            raise corrupt(self, f"{self.nbytes} bytes", "an end of the stream before that")
        return out[:done], at
