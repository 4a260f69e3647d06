"""The members of a zip archive in, the bytes of its records out.

Format: PKWARE APPNOTE 6.3.10 (https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT), sections 4.3 and 4.5.
``zipfile`` is not used because it writes one member at a time from one thread and gives no say over extra fields.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from packstore.errors import OptionError, message
from packstore.readers.npz.directory import DEFLATED, STORED

__all__ = ["ALIGNMENT", "Entry", "directory", "end_records"]

ALIGNMENT = 64
# Android's zipalign: the alignment as uint16, then zeros.
_ALIGN_ID = 0xD935
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
# Data that compress badly grow a little: sizes near the limit get 64-bit fields as well.
_ZIP64_NBYTES = 0xF0000000
_DATE = 1 << 5 | 1  # 1980-01-01: the same arrays make the same file


@dataclass
class Entry:
    """One member; the writer fills in its fields as they become known.

    Parameters
    ----------
    name
        With ".npy".
    index_nbytes, index
        An extra field for the local header: its size, known first, and its bytes.
    """

    name: str
    method: int = STORED
    crc: int = 0
    nbytes: int = 0
    stored_nbytes: int = 0
    header_offset: int = 0
    index_nbytes: int = 0
    index: bytes = b""

    def __post_init__(self) -> None:
        self.raw_name = self.name.encode()
        if len(self.raw_name) > _FULL16:
            raise OptionError(message("saving", expected="a name of at most 65535 bytes", got=len(self.raw_name)))

    @property
    def zip64(self) -> bool:
        """Whether its sizes need 64 bits."""
        return self.nbytes >= _ZIP64_NBYTES

    @property
    def data_offset(self) -> int:
        """Where its bytes start: aligned if it is stored."""
        return self.header_offset + 30 + len(self.raw_name) + len(self._local_extra())

    def local_header(self) -> bytes:
        """The record in front of the bytes; as long before `index` is known as after."""
        extra = self._local_extra()
        nbytes, stored = (_FULL32, _FULL32) if self.zip64 else (self.nbytes, self.stored_nbytes)
        return (
            struct.pack(
                "<4s5H3L2H",
                *(b"PK\x03\x04", self._version, self._flags, self.method, 0, _DATE),
                *(self.crc, stored, nbytes, len(self.raw_name), len(extra)),
            )
            + self.raw_name
            + extra
        )

    def central_header(self) -> bytes:
        """The record in the directory."""
        extra = b""
        nbytes, stored, offset = self.nbytes, self.stored_nbytes, self.header_offset
        if self.zip64 or offset >= _FULL32:
            extra = struct.pack("<2H3Q", 1, 24, nbytes, stored, offset)
            nbytes = stored = offset = _FULL32
        made_by = 3 << 8 | 45  # Unix, so that the permissions below mean something
        return (
            struct.pack(
                "<4s6H3L5H2L",
                *(b"PK\x01\x02", made_by, 45 if extra else 20, self._flags, self.method, 0, _DATE),
                *(self.crc, stored, nbytes, len(self.raw_name), len(extra), 0, 0, 0, 0o600 << 16, offset),
            )
            + self.raw_name
            + extra
        )

    @property
    def _version(self) -> int:
        return 45 if self.zip64 else 20

    @property
    def _flags(self) -> int:
        return 0 if self.name.isascii() else 0x800

    def _local_extra(self) -> bytes:
        extra = struct.pack("<2H2Q", 1, 16, self.nbytes, self.stored_nbytes) if self.zip64 else b""
        if self.method == DEFLATED:
            return extra + self.index.ljust(self.index_nbytes, b"\0")
        end = self.header_offset + 30 + len(self.raw_name) + len(extra)
        room = -end % ALIGNMENT
        if room < 6:
            room += ALIGNMENT
        return extra + struct.pack("<3H", _ALIGN_ID, room - 4, ALIGNMENT) + bytes(room - 6)


def directory(entries: Sequence[Entry]) -> bytes:
    """The central directory."""
    return b"".join(entry.central_header() for entry in entries)


def end_records(count: int, at: int, nbytes: int) -> bytes:
    """The records that end the archive, for a directory of `count` entries and `nbytes` bytes that starts at `at`."""
    wide = b""
    if count >= _FULL16 or at >= _FULL32 or nbytes >= _FULL32:
        wide = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, nbytes, at)
        wide += struct.pack("<4sLQL", b"PK\x06\x07", 0, at + nbytes, 1)
    count = min(count, _FULL16)
    return wide + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, min(nbytes, _FULL32), min(at, _FULL32), 0)
