"""Checksums that several formats share: bytes in, their sum out, or the bytes without the sum that follows them."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable

from packstore.codecs import libraries
from packstore.codecs.decompress import Limit, corrupt
from packstore.core.typing import Bytes
from packstore.errors import ChecksumError, message

__all__ = ["crc32", "crc32_combine", "strip_crc32c"]


def crc32(data: Bytes) -> int:
    """Sum bytes up as zip does: by libdeflate at 30 GB/s where imagecodecs is installed, else by zlib at 1-6 GB/s."""
    fast = libraries.imagecodecs_function("deflate", "crc32")
    return zlib.crc32(data) if fast is None or not data.size else int(fast(data))


def crc32_combine(first: int, second: int, second_nbytes: int) -> int:
    """CRC-32 of two pieces in a row, from the CRC-32 of each.

    Source: Mark Adler's note in zlib 1.2.12's crc32.c: the first is multiplied by x^(8n) modulo the CRC's polynomial,
    in GF(2) with the bits reversed.

    Examples
    --------
    >>> crc32_combine(zlib.crc32(b"pack"), zlib.crc32(b"store"), 5) == zlib.crc32(b"packstore")
    True
    """
    return _multiply(_shift(second_nbytes), first) ^ second


@functools.lru_cache(64)
def _shift(nbytes: int) -> int:
    """x^(8·nbytes) modulo the polynomial."""
    power, result = 1 << 23, 1 << 31  # x^8 and 1
    while nbytes:
        if nbytes & 1:
            result = _multiply(power, result)
        power = _multiply(power, power)
        nbytes >>= 1
    return result


def _multiply(a: int, b: int) -> int:
    """Product modulo the polynomial, bits reversed: bit 31 is 1, bit 30 is x."""
    product = 0
    for i in range(31, -1, -1):
        if a >> i & 1:
            product ^= b
        b = b >> 1 ^ (0xEDB88320 if b & 1 else 0)
    return product


def strip_crc32c(data: Bytes, limit: Limit, out: Bytes | None = None, what: object = "crc32c") -> Bytes:
    """Verify the CRC-32C in the last four bytes (little-endian) and return those before it, a view.

    Parameters
    ----------
    data, limit, what
        As `packstore.codecs.decompress` describes them.
    out
        Not used: nothing is decoded.

    Raises
    ------
    CorruptDataError
        The bytes before the checksum are not as many as `limit` asks for.
    ChecksumError
        The checksum does not match.
    """
    if data.size < 4:
        corrupt(what, "at least 4 bytes", f"{data.size} bytes")
    body = data[:-4]
    limit.check(body.size, what)
    stored = int.from_bytes(data[-4:].tobytes(), "little")
    computed = _google_crc32c()(body)
    if stored != computed:
        raise ChecksumError(
            message(
                f"checking {what}",
                expected=f"0x{stored:08x} (stored)",
                got=f"0x{computed:08x} (computed)",
                hint="The bytes are damaged",
            )
        )
    return body


@functools.cache
def _google_crc32c() -> Callable[[Bytes], int]:
    import google_crc32c  # import time: most files have no such checksum

    found: Callable[[Bytes], int] = google_crc32c.value
    return found
