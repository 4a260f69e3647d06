"""Checksums that several formats share: bytes in, their sum out, or the bytes without the sum that follows them."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable

from packstore.codecs import libraries
from packstore.codecs.decompress import Limit, corrupt
from packstore.core.typing import Bytes
from packstore.errors import ChecksumError, message

__all__ = ["crc32", "strip_crc32c"]


def crc32(data: Bytes) -> int:
    """Sum bytes up as zip does: by libdeflate at 30 GB/s where imagecodecs is installed, else by zlib at 1-6 GB/s."""
    fast = libraries.imagecodecs_function("deflate", "crc32")
    return zlib.crc32(data) if fast is None or not data.size else int(fast(data))


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
