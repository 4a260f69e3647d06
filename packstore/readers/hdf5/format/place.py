"""An address in an HDF5 file together with all that reading there needs; in: a file's facts, out: bytes and fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from packstore.errors import FormatError, message

if TYPE_CHECKING:
    from packstore.source import Source

__all__ = ["Fields", "Place"]


class Place(NamedTuple):
    """One address of a file.

    Parameters
    ----------
    source
        The file.
    address
        As the file stores it, counted from `base`.
    base
        Where the file's addresses start to count: behind the user block.
    offset_nbytes, length_nbytes
        Widths of an address and of a length in this file.
    """

    source: Source
    address: int = 0
    base: int = 0
    offset_nbytes: int = 8
    length_nbytes: int = 8

    def at(self, address: int) -> Place:
        """Another address of the same file."""
        return Place(self.source, address, self.base, self.offset_nbytes, self.length_nbytes)

    @property
    def start(self) -> int:
        """The byte of the file that the address stands for."""
        return self.base + self.address

    @property
    def left(self) -> int:
        """Bytes from here to the end of the file; 0 or less behind the end."""
        return self.source.nbytes - self.start

    @property
    def undefined(self) -> int:
        """The address that stands for none: all bits are set."""
        return (1 << 8 * self.offset_nbytes) - 1

    def pread(self, nbytes: int, skip: int = 0) -> bytes:
        """The `nbytes` bytes that start `skip` bytes behind the address."""
        return bytes(self.source.pread(self.start + skip, nbytes))

    def block(self, nbytes: int, signature: bytes) -> Fields:
        """The fields of a block here, behind its signature.

        Raises
        ------
        FormatError
            The block starts with other bytes.
        """
        data = self.pread(nbytes)
        if not data.startswith(signature):
            raise self.bad("an object", repr(signature), data[: len(signature)])
        return Fields(self, data, len(signature))

    def bad(self, what: str, expected: str, got: object) -> FormatError:
        """The error for an object that does not read: `what` names it."""
        return FormatError(message(f"reading {what} of", self.source.name, expected=expected, got=got))


class Fields:
    """Little-endian numbers in `data`, read one after the other.

    Parameters
    ----------
    place
        Where the bytes come from: it knows the widths of addresses and lengths.
    data, at
        The bytes, and the index of the next field.
    """

    def __init__(self, place: Place, data: bytes, at: int = 0) -> None:
        self.place = place
        self.data = data
        self.at = at

    def number(self, nbytes: int) -> int:
        """The next `nbytes` as a number."""
        self.at += nbytes
        if self.at > len(self.data):
            raise self.place.bad("an object", f"{self.at} bytes", len(self.data))
        return int.from_bytes(self.data[self.at - nbytes : self.at], "little")

    def address(self) -> int:
        """The next address."""
        return self.number(self.place.offset_nbytes)

    def length(self) -> int:
        """The next length."""
        return self.number(self.place.length_nbytes)
