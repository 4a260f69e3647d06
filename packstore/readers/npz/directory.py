"""The directory of a zip archive, as far as arrays need it: members, where their bytes are, and how to decode them.

Format: PKWARE APPNOTE 6.3.10 (https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT), sections 4.3 and 4.5.
``zipfile`` is not used because it cuts names at NUL, hides duplicates and does not give the offset of the data.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from packstore.errors import FormatError, TruncatedFileError, message
from packstore.source import ByteSpace

__all__ = ["BZIP2", "DEFLATED", "LZMA", "METHODS", "STORED", "ZipMember", "data_range", "read_directory"]

STORED, DEFLATED, BZIP2, LZMA = 0, 8, 12, 14
# The names of what others write and this package does not decode.
METHODS = {1: "shrink", 6: "implode", 9: "deflate64", 93: "zstd", 95: "xz", 98: "PPMd", 99: "AES encryption"}

_END = struct.Struct("<4s4H2LH")
_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_CENTRAL = struct.Struct("<4s4B4H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
MAX_COMMENT = 1 << 16
MAX_DIRECTORY_NBYTES = 1 << 30


@dataclass(frozen=True)
class ZipMember:
    """One entry of the central directory. `stored_nbytes` are in the file, `nbytes` after decoding."""

    name: str
    flags: int
    method: int
    crc: int
    stored_nbytes: int
    nbytes: int
    header_offset: int

    @property
    def encrypted(self) -> bool:
        return bool(self.flags & 1)


def read_directory(space: ByteSpace, path: str) -> list[ZipMember]:
    """The members in the order of the central directory.

    Raises
    ------
    FormatError
        No zip archive, a damaged directory, or one of several volumes.
    """
    size = space.nbytes
    tail_nbytes = min(size, _END.size + MAX_COMMENT)
    tail = bytes(space.pread(size - tail_nbytes, tail_nbytes))
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
    end_at = size - tail_nbytes + at
    _, disk, first_disk, _, count, length, offset, _ = _END.unpack_from(tail, at)
    records_at = end_at
    if end_at >= _LOCATOR.size:
        found = _read_end64(space, path, end_at)
        if found is not None:
            records_at, disk, first_disk, count, length, offset = found
    if disk or first_disk:
        raise _bad(path, "an archive of one volume", f"volume {disk} of several")
    # Bytes put before the archive shift every offset by the same amount.
    shift = records_at - length - offset
    if shift < 0 or length > MAX_DIRECTORY_NBYTES:
        raise _bad(path, f"a directory of {length} bytes at {offset}", f"{records_at} bytes before its end record")
    raw = bytes(space.pread(records_at - length, length))
    members = _parse_central(raw, shift, path)
    if len(members) != count and len(members) & _FULL16 != count:
        raise _bad(path, f"{count} members in the directory", str(len(members)))
    return members


def _find_end(tail: bytes) -> int:
    """The last end record whose comment fits."""
    at = len(tail)
    while (at := tail.rfind(b"PK\x05\x06", 0, at)) >= 0:
        if at + _END.size <= len(tail) and at + _END.size + _END.unpack_from(tail, at)[7] <= len(tail):
            return at
    return -1


def _read_end64(space: ByteSpace, path: str, end_at: int) -> tuple[int, int, int, int, int, int] | None:
    raw = bytes(space.pread(end_at - _LOCATOR.size, _LOCATOR.size))
    signature, _, offset, disks = _LOCATOR.unpack(raw)
    if signature != b"PK\x06\x07":
        return None
    if disks > 1:
        raise _bad(path, "an archive of one volume", f"{disks} volumes")
    # Directly before the locator, wherever bytes in front of the archive moved it.
    at = end_at - _LOCATOR.size - _END64.size
    for candidate in (at, offset):
        if 0 <= candidate <= at:
            record = _END64.unpack(bytes(space.pread(candidate, _END64.size)))
            if record[0] == b"PK\x06\x06":
                _, _, _, _, disk, first_disk, _, count, length, start = record
                return candidate, disk, first_disk, count, length, start
    raise _bad(path, "a zip64 end record", "another signature")


def _parse_central(raw: bytes, shift: int, path: str) -> list[ZipMember]:
    members = []
    at = 0
    while at < len(raw):
        if at + _CENTRAL.size > len(raw):
            raise _bad(path, "a whole directory entry", f"{len(raw) - at} bytes")
        fields = _CENTRAL.unpack_from(raw, at)
        if fields[0] != b"PK\x01\x02":
            raise _bad(path, "a directory entry", repr(fields[0]))
        flags, method, crc, stored, nbytes = fields[5], fields[6], fields[9], fields[10], fields[11]
        name_n, extra_n, comment_n, offset = fields[12], fields[13], fields[14], fields[18]
        name_at = at + _CENTRAL.size
        at = name_at + name_n + extra_n + comment_n
        if at > len(raw):
            raise _bad(path, "a whole directory entry", "one that runs past the directory")
        name = _decode_name(raw[name_at : name_at + name_n], flags, path)
        if _FULL32 in (stored, nbytes, offset):
            extra = raw[name_at + name_n : name_at + name_n + extra_n]
            nbytes, stored, offset = _zip64_sizes(extra, nbytes, stored, offset, path, name)
        members.append(ZipMember(name, flags, method, crc, stored, nbytes, offset + shift))
    return members


def _decode_name(raw: bytes, flags: int, path: str) -> str:
    try:
        return raw.decode("utf-8" if flags & 0x800 else "cp437")
    except UnicodeDecodeError:
        raise _bad(path, "a member name in UTF-8", repr(raw)) from None


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


def _zip64_sizes(extra: bytes, nbytes: int, stored: int, offset: int, path: str, name: str) -> tuple[int, int, int]:
    field = extra_fields(extra).get(1, b"")
    values = []
    at = 0
    for value in (nbytes, stored, offset):
        if value == _FULL32:
            if at + 8 > len(field):
                raise FormatError(
                    message("reading the zip directory of", path, name, expected="a zip64 extra field", got="none")
                )
            value = int.from_bytes(field[at : at + 8], "little")
            at += 8
        values.append(value)
    return values[0], values[1], values[2]


def data_range(space: ByteSpace, path: str, member: ZipMember) -> tuple[int, dict[int, bytes]]:
    """Where the member's stored bytes start, and its local extra fields.

    The local header decides: numpy writes an extra field there that the directory does not mention.

    Raises
    ------
    FormatError
        The local header is another member's, or the bytes run past the file.
    """
    raw_nbytes = _LOCAL.size
    if member.header_offset + raw_nbytes > space.nbytes:
        raise _cut(space, path, member, member.header_offset + raw_nbytes)
    head = bytes(space.pread(member.header_offset, raw_nbytes))
    signature, _, flags, method, _, _, _, _, _, name_n, extra_n = _LOCAL.unpack(head)
    at = member.header_offset + raw_nbytes
    start = at + name_n + extra_n
    if signature != b"PK\x03\x04":
        raise _local(path, member, "a local header", repr(signature))
    if start + member.stored_nbytes > space.nbytes:
        raise _cut(space, path, member, start + member.stored_nbytes)
    rest = bytes(space.pread(at, name_n + extra_n))
    name = _decode_name(rest[:name_n], flags, path)
    if name != member.name or method != member.method:
        raise _local(path, member, f"the name {member.name!r} and method {member.method}", f"{name!r} and {method}")
    if (flags ^ member.flags) & 1:
        raise _local(path, member, "the directory's encryption flag", f"flags {flags:#x}")
    return start, extra_fields(rest[name_n:])


def _bad(path: str, expected: str, got: str) -> FormatError:
    return FormatError(message("reading the zip directory of", path, expected=expected, got=got))


def _local(path: str, member: ZipMember, expected: str, got: str) -> FormatError:
    return FormatError(message("reading the local zip header of", path, member.name, expected=expected, got=got))


def _cut(space: ByteSpace, path: str, member: ZipMember, expected: int) -> TruncatedFileError:
    return TruncatedFileError(
        message("reading", path, member.name, expected=f"at least {expected} bytes", got=space.nbytes)
    )
