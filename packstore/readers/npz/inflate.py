"""A compressed zip member in, a byte space of its decoded bytes out: decoded once, kept in a cache bounded by bytes.

A member is decoded whole (deflate by libdeflate where imagecodecs is installed, else by zlib), its CRC-32 checked, and
kept until other members need the room. Reading an array's header decodes the first bytes only.
`packstore.readers.npz.blocks` has the members that are read in blocks.
"""

from __future__ import annotations

import bz2
import contextlib
import lzma
import zlib
from typing import Any, Protocol

import numpy as np

from packstore.codecs import libraries
from packstore.codecs.checksums import crc32
from packstore.codecs.decompress import Limit, check_ratio, decode_deflate
from packstore.config import cpu_count
from packstore.core.threads import ForkSafeLock, may_use_threads
from packstore.core.typing import Bytes
from packstore.errors import ChecksumError, CorruptDataError, TruncatedFileError, message
from packstore.readers.npz.directory import BZIP2, DEFLATED, LZMA, METHODS, ZipMember
from packstore.source import ByteSpace, RangeReads, Source
from packstore.source.cache import MEMBERS

__all__ = ["FEED_NBYTES", "DecodedMember", "check_crc", "corrupt", "decompressor", "feed_decoder", "wrong_crc"]

# Compressed bytes that are read for the beginning of a member; the header of its array takes some hundred.
FEED_NBYTES = 1 << 14
# Bytes into and out of one call of zlib, few enough for the processor's cache; bytes of one CRC-32.
PIECE_FEED_NBYTES, PIECE_NBYTES, SUMMED_NBYTES = 1 << 18, 1 << 21, 1 << 20
LZMA_MEMORY_NBYTES = 1 << 28


class Decompressor(Protocol):
    """The method that zlib, bz2 and lzma objects share."""

    def decompress(self, data: Any, max_length: int, /) -> bytes:
        """At most `max_length` decoded bytes."""


class DecodedMember(RangeReads):
    """A compressed member as a :class:`~packstore.source.ByteSpace` of its decoded bytes.

    Parameters
    ----------
    source
        The archive.
    start
        Where the member's stored bytes start.
    member
        Its directory entry; `nbytes` bounds what is ever decoded.
    component
        What errors call it.

    Raises
    ------
    CorruptDataError
        On access: the bytes do not decode, or to another length than declared.
    ChecksumError
        On access: they decode to something else than what was stored.

    Notes
    -----
    Thread safe: one thread decodes a member while the others that want it wait; different members decode in parallel.
    """

    __slots__ = ("_lock", "component", "member", "name", "nbytes", "source", "start")

    def __init__(self, source: Source, start: int, member: ZipMember, component: str) -> None:
        self.source = source
        self.component = component
        self.start = start
        self.member = member
        self.name = f"{source.name}[{component}]"
        self.nbytes = member.nbytes
        self._lock = ForkSafeLock()

    def decoded_from(self) -> tuple[str, tuple[str, ...], int]:
        """The member's compression, and its stored bytes, those of its header included."""
        method = self.member.method
        return "compressed member", (METHODS.get(method, f"zip method {method}"),), self.member.stored_nbytes

    def pread(self, offset: int, nbytes: int) -> Bytes:
        self.check_range(offset, nbytes)
        return self.view()[offset : offset + nbytes]

    def check_range(self, offset: int, nbytes: int) -> None:
        """Raise TruncatedFileError for a range outside the decoded bytes."""
        if offset < 0 or nbytes < 0 or offset + nbytes > self.nbytes:
            raise TruncatedFileError(
                message(f"reading at offset {offset} of", self.name, expected=f"{nbytes} bytes", got=self.nbytes)
            )

    def view(self) -> Bytes:
        self.source.check()
        found = MEMBERS.get(self.source.fingerprint, self.start)
        if found is not None:
            return found
        with self._lock:
            found = MEMBERS.get(self.source.fingerprint, self.start)
            if found is None:
                found = self._decode()
                MEMBERS.put(self.source.fingerprint, self.start, found)
            return found

    def _decode(self) -> Bytes:
        raw = self.source.settled_view()
        stored = self.member.stored_nbytes
        check_ratio(self.nbytes, stored, f"decoding {self.name}")
        data = (
            raw[self.start : self.start + stored]
            if raw is not None
            else self.source.read_ranges([(self.start, stored)])[0]
        )
        if self.member.method != DEFLATED:
            out = _expand(data, self)
            crc = crc32(out)
        elif libraries.imagecodecs_function("deflate") is not None and self.nbytes:
            out, crc = _inflate(data, self)
        else:
            out, crc = _inflate_in_pieces(data, self)
        check_crc(self, crc, self.member.crc)
        return out

    def beginning(self) -> ByteSpace:
        """The same bytes for a reader of the first few: decoded at each read, without the checksum of the whole."""
        return Beginning(self)

    def prefix(self, nbytes: int) -> bytes:
        """The first `nbytes` decoded bytes, from as few stored ones as they take."""
        decoder = decompressor(self)
        out = b""
        at = 0
        while len(out) < nbytes:
            feed = getattr(decoder, "unconsumed_tail", b"")
            if not feed and getattr(decoder, "needs_input", True) and at < self.member.stored_nbytes:
                feed = self.source.pread(self.start + at, min(FEED_NBYTES, self.member.stored_nbytes - at))
                at += len(feed)
            piece = feed_decoder(decoder, feed, nbytes - len(out), self)
            out += piece
            # With nothing fed and nothing more to come out, or at its end, the stream is too short.
            if len(out) < nbytes and (getattr(decoder, "eof", False) or not (piece or feed)):
                raise corrupt(self, f"{nbytes} bytes", f"an end after {len(out)}")
        return out


class Beginning(RangeReads):
    """The first bytes of a member, decoded on each read."""

    __slots__ = ("name", "nbytes", "space")

    def __init__(self, space: DecodedMember) -> None:
        self.space = space
        self.name = space.name
        self.nbytes = space.nbytes

    def pread(self, offset: int, nbytes: int) -> bytes:
        self.space.check_range(offset, nbytes)
        return self.space.prefix(offset + nbytes)[offset:]

    def view(self) -> None:
        return None


def decompressor(space: DecodedMember) -> Decompressor:
    """A fresh streaming decoder for the member's method."""
    method = space.member.method
    if method == BZIP2:
        return bz2.BZ2Decompressor()
    if method == LZMA:
        # The stored bytes start with the version and length of the properties; as a .lzma header would have them,
        # the properties are followed by the decoded length (unknown: the stream has an end mark).
        head = space.source.pread(space.start, min(9, space.member.stored_nbytes))
        if len(head) < 9 or head[2:4] != b"\x05\x00":
            raise corrupt(space, "5 bytes of LZMA properties", repr(head[2:4]))
        decoder = _ZipLzma()
        length = b"\xff" * 8 if space.member.flags & 2 else space.nbytes.to_bytes(8, "little")
        decoder.head = head[4:9] + length
        return decoder
    return zlib.decompressobj(-15)


class _ZipLzma:
    """LZMA as zip stores it, fed to the decoder of the .lzma format."""

    def __init__(self) -> None:
        self.decoder = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=LZMA_MEMORY_NBYTES)
        self.head = b""
        self.skip = 9

    @property
    def eof(self) -> bool:
        return self.decoder.eof

    @property
    def needs_input(self) -> bool:
        return self.decoder.needs_input

    def decompress(self, data: Any, max_length: int, /) -> bytes:
        if self.skip:
            data = self.head + bytes(data)[self.skip :]
            self.skip = 0
        return self.decoder.decompress(data, max_length)


def feed_decoder(decoder: Decompressor, data: Any, max_length: int, space: DecodedMember) -> bytes:
    """``decoder.decompress`` with the three libraries' errors turned into CorruptDataError."""
    try:
        return decoder.decompress(data, max_length)
    except (zlib.error, OSError, EOFError, ValueError, lzma.LZMAError) as error:
        raise corrupt(space, "compressed bytes", str(error)) from None


def _inflate(data: Any, space: DecodedMember) -> tuple[Bytes, int]:
    """All of a deflated member by libdeflate, and its CRC-32."""
    out = decode_deflate(data, Limit(space.nbytes, True), None, space.name)
    return out, crc32(out)


def _inflate_in_pieces(data: Any, space: DecodedMember) -> tuple[Bytes, int]:
    """All of a deflated member by zlib, and its CRC-32, which another thread sums up meanwhile where there is one.

    In one call zlib's module would collect blocks and join them, and copy the input that is left with each limit.
    """
    out = np.empty(space.nbytes, np.uint8)
    decoder = decompressor(space)
    view = memoryview(data)
    at = fed = summed = crc = 0

    def add(start: int, stop: int) -> None:
        nonlocal crc
        crc = zlib.crc32(out[start:stop], crc)

    parallel = space.nbytes >= 4 * SUMMED_NBYTES and may_use_threads() and cpu_count() > 1
    # Function-level, for import time.
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) if parallel else contextlib.nullcontext() as pool:
        while not getattr(decoder, "eof", True):
            feed: Any = getattr(decoder, "unconsumed_tail", b"")
            if not feed:
                feed = view[fed : fed + PIECE_FEED_NBYTES]
                fed += len(feed)
            piece = feed_decoder(decoder, feed, min(PIECE_NBYTES, space.nbytes - at + 1), space)
            if at + len(piece) > space.nbytes:
                raise corrupt(space, f"{space.nbytes} bytes", "more")
            if not piece and not feed:
                raise corrupt(space, f"{space.nbytes} bytes", f"{at}")
            out[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
            at += len(piece)
            if pool is not None and at - summed >= SUMMED_NBYTES:
                pool.submit(add, summed, at)
                summed = at
    add(summed, at)
    if at != space.nbytes:
        raise corrupt(space, f"{space.nbytes} bytes", f"{at}")
    return out, crc


def _expand(data: Any, space: DecodedMember) -> Bytes:
    """All of the member by a decoder of the standard library, one byte more at most than declared."""
    decoder = decompressor(space)
    out = feed_decoder(decoder, data, space.nbytes + 1, space)
    if len(out) <= space.nbytes and not getattr(decoder, "eof", True):
        # bz2 and lzma report the end only when asked for more.
        out += feed_decoder(decoder, getattr(decoder, "unconsumed_tail", b""), space.nbytes + 1 - len(out), space)
    if len(out) != space.nbytes or not getattr(decoder, "eof", True):
        got = "more" if len(out) > space.nbytes else f"{len(out)}"
        raise corrupt(space, f"{space.nbytes} bytes", got)
    return np.frombuffer(out, np.uint8)


def corrupt(space: DecodedMember, expected: str, got: str) -> CorruptDataError:
    """The error for bytes that do not decode."""
    return CorruptDataError(
        message(
            "decoding",
            space.source.name,
            space.component,
            expected=expected,
            got=got,
            hint="The archive is damaged; copy or save it again",
        )
    )


def check_crc(space: DecodedMember, got: int, expected: int) -> None:
    """Raise ChecksumError unless the two agree."""
    if got != expected:
        raise wrong_crc("decoding", space.source.name, space.component, got, expected)


def wrong_crc(what: str, path: str, component: str, got: int, expected: int) -> ChecksumError:
    """The error for a member whose bytes have another CRC-32 than the archive says."""
    hint = "The archive is damaged; copy or save it again"
    return ChecksumError(message(what, path, component, expected=f"CRC-32 {expected:08x}", got=f"{got:08x}", hint=hint))
