"""The directory of a zip archive in, its members and the places of their stored bytes out.

This module finds the directory, ``zipfile`` parses its entries. ``zipfile`` alone would not do: it takes a signature in
the comment for the end record, ignores volumes and the number of members, and does not tell where stored bytes start.

Format: PKWARE APPNOTE 6.3.10 (https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT), sections 4.3 and 4.5.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from typing import NamedTuple

from packstore.errors import FormatError, TruncatedFileError, message
from packstore.source import ByteSpace

__all__ = [
    "BZIP2",
    "DEFLATED",
    "LOCAL_NBYTES",
    "LZMA",
    "METHODS",
    "STORED",
    "ZipMember",
    "data_range",
    "read_directory",
]

STORED, DEFLATED, BZIP2, LZMA = 0, 8, 12, 14
# Names of the compression methods; the package decodes those of the first line.
METHODS = {DEFLATED: "deflate", BZIP2: "bzip2", LZMA: "lzma"}
METHODS |= {1: "shrink", 6: "implode", 9: "deflate64", 93: "zstd", 95: "xz", 98: "PPMd", 99: "AES encryption"}

_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCAL = struct.Struct("<4s5H3L2H")
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
# Bits of a member's flags: its bytes are encrypted, or a patch, or encrypted strongly; its sizes follow its bytes; its
# name is UTF-8.
_ENCRYPTED, _SIZES_FOLLOW, _UTF8 = 1 | 1 << 5 | 1 << 6, 1 << 3, 1 << 11
_ZIP64_ID = 1
MAX_COMMENT = 1 << 16
MAX_DIRECTORY_NBYTES = 1 << 30
# The first read of a local header: most are shorter, name and extra fields included. Those with a block index are not.
LOCAL_NBYTES = 512


class ZipMember(NamedTuple):
    """One entry of the directory: `stored_nbytes` bytes in the file decode to `nbytes` bytes.

    The member lies between `header_offset` and `end`, where the next member or the directory starts.
    """

    name: str
    flags: int
    method: int
    crc: int
    stored_nbytes: int
    nbytes: int
    header_offset: int
    end: int

    @property
    def encrypted(self) -> bool:
        return bool(self.flags & _ENCRYPTED)


def read_directory(space: ByteSpace, path: str) -> list[ZipMember]:
    """The members in the order of the directory.

    Raises
    ------
    FormatError
        No zip archive, a damaged directory, or one of several volumes.
    """
    tail_nbytes = min(space.nbytes, _END.size + MAX_COMMENT)
    tail = bytes(space.pread(space.nbytes - tail_nbytes, tail_nbytes))
    at = _find_end(tail)
    if at < 0:
        raise TruncatedFileError(
            message(
                "reading the zip directory of",
                path,
                expected="an end of directory record",
                got=f"none in the last {tail_nbytes} bytes",
                hint="The archive is cut short or damaged; copy or save it again",
            )
        )

    def read(at: int, nbytes: int) -> bytes:
        in_tail = at - (space.nbytes - tail_nbytes)
        return tail[in_tail : in_tail + nbytes] if in_tail >= 0 else bytes(space.pread(at, nbytes))

    _, volume, first_volume, _, count, length, offset, _ = _END.unpack_from(tail, at)
    end = space.nbytes - tail_nbytes + at
    wide = _read_end64(read, path, end)
    if wide is not None:
        end, volume, first_volume, count, length, offset = wide
    if volume or first_volume:
        raise _bad(path, "an archive of one volume", f"volume {volume} of several")
    start = end - length
    # Bytes put before the archive shift every offset by the same amount.
    shift = start - offset
    if shift < 0 or length > MAX_DIRECTORY_NBYTES:
        raise _bad(path, f"a directory of {length} bytes at {offset}", f"{end} bytes before its end record")
    infos = _parse(read(start, length), path)
    if len(infos) != count and len(infos) & _FULL16 != count:
        raise _bad(path, f"{count} members in the directory", str(len(infos)))
    offsets = sorted({info.header_offset for info in infos})
    ends = dict(zip(offsets, [*offsets[1:], start - shift], strict=False))
    members = []
    for info in infos:
        at = info.header_offset
        flags, method, crc = info.flag_bits, info.compress_type, info.CRC
        # zipfile's ``filename`` is cut at NUL; ``orig_filename`` is not.
        name, stored, nbytes = info.orig_filename, info.compress_size, info.file_size
        members.append(ZipMember(name, flags, method, crc, stored, nbytes, at + shift, ends[at] + shift))
    return members


def _parse(directory: bytes, path: str) -> list[zipfile.ZipInfo]:
    """The entries of the directory, with offsets as stored, by ``zipfile``: it gets an archive of nothing else."""
    size = len(directory)
    # With zip64 records of ours, ``zipfile`` does not take the last bytes of the directory for such.
    end = _END64.pack(b"PK\x06\x06", 44, 45, 45, 0, 0, 0, 0, size, 0) + _LOCATOR.pack(b"PK\x06\x07", 0, size, 1)
    archive = directory + end + _END.pack(b"PK\x05\x06", 0, 0, 0, 0, size, 0, 0)
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as file:
            return file.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
        raise _bad(path, "a directory that zipfile reads", str(error)) from None


def _find_end(tail: bytes) -> int:
    """The place of the last end record whose comment fits; -1 where none is."""
    at = len(tail)
    while (at := tail.rfind(b"PK\x05\x06", 0, at)) >= 0:
        if at + _END.size <= len(tail) and at + _END.size + _END.unpack_from(tail, at)[7] <= len(tail):
            return at
    return -1


def _read_end64(read: Callable[[int, int], bytes], path: str, end: int) -> tuple[int, ...] | None:
    """The zip64 end record's place, its two volumes, members, directory length and offset; None where there is none."""
    # The record lies directly before its locator, unless it is longer than usual.
    near = end - _LOCATOR.size - _END64.size
    if near < 0:
        return None
    signature, _, offset, volumes = _LOCATOR.unpack(read(end - _LOCATOR.size, _LOCATOR.size))
    if signature != b"PK\x06\x07":
        return None
    if volumes > 1:
        raise _bad(path, "an archive of one volume", f"{volumes} volumes")
    for at in (near, offset):
        if at <= near:
            signature, _, _, _, volume, first_volume, _, count, length, start = _END64.unpack(read(at, _END64.size))
            if signature == b"PK\x06\x06":
                return at, volume, first_volume, count, length, start
    raise _bad(path, "a zip64 end record", "another signature")


def extra_fields(extra: bytes) -> dict[int, bytes]:
    """The extra fields of an entry by their id; what does not parse is left out, as by other zip readers."""
    out = {}
    at = 0
    while at + 4 <= len(extra):
        tag, length = struct.unpack_from("<2H", extra, at)
        if at + 4 + length > len(extra):
            break
        out[tag] = extra[at + 4 : at + 4 + length]
        at += 4 + length
    return out


def data_range(space: ByteSpace, path: str, member: ZipMember) -> tuple[int, dict[int, bytes]]:
    """Where the member's stored bytes start, and its local extra fields.

    The local header decides: numpy writes an extra field there that the directory does not mention.

    Raises
    ------
    FormatError
        The local header is another member's, or the bytes run past the file or into the next member.
    """
    at = member.header_offset
    room = min(member.end, space.nbytes) - at
    head = bytes(space.pread(at, min(LOCAL_NBYTES, room))) if room >= _LOCAL.size else b""
    if not head.startswith(b"PK\x03\x04"):
        raise _local(path, member, "a local header", repr(head[:4]))
    _, _, flags, method, _, _, _, stored, nbytes, name_nbytes, extra_nbytes = _LOCAL.unpack_from(head)
    extra_at = _LOCAL.size + name_nbytes
    start = extra_at + extra_nbytes
    if start + member.stored_nbytes > room:
        got = start + member.stored_nbytes
        raise _local(path, member, f"a member of at most {room} bytes before what follows it", str(got))
    if start > len(head):
        head = bytes(space.pread(at, start))
    name = head[_LOCAL.size : extra_at].decode("utf-8" if flags & _UTF8 else "cp437", "surrogateescape")
    if name != member.name or method != member.method:
        raise _local(path, member, f"the name {member.name!r} and method {member.method}", f"{name!r} and {method}")
    if (flags ^ member.flags) & _ENCRYPTED:
        raise _local(path, member, "the directory's encryption flag", f"flags {flags:#x}")
    extra = extra_fields(head[extra_at:start])
    if stored == nbytes == _FULL32 and len(wide := extra.get(_ZIP64_ID, b"")) >= 16:
        nbytes, stored = struct.unpack_from("<2Q", wide)
    if not flags & _SIZES_FOLLOW and (stored, nbytes) != (member.stored_nbytes, member.nbytes):
        want = f"the directory's sizes, {member.stored_nbytes} stored and {member.nbytes} decoded bytes"
        raise _local(path, member, want, f"{stored} and {nbytes}")
    return at + start, extra


def _bad(path: str, expected: str, got: str) -> FormatError:
    return FormatError(message("reading the zip directory of", path, expected=expected, got=got))


def _local(path: str, member: ZipMember, expected: str, got: str) -> FormatError:
    return FormatError(message("reading the local zip header of", path, member.name, expected=expected, got=got))
