"""Filter 3, Fletcher-32: verify the checksum of four bytes after the chunk and cut it off.

HDF5's variant sums big-endian 16-bit words, with end-around carry, from zero; an odd last byte is the high half of a
word. Libraries before HDF5 1.6.3 stored the checksum with the bytes of each half swapped on little-endian machines:
HDF5 accepts both, so both are accepted here.
"""

from __future__ import annotations

import numpy as np

from packstore.codecs import libraries
from packstore.codecs.decompress import Limit, corrupt
from packstore.codecs.hdf5.base import FilterSpec, always_available
from packstore.core.typing import Bytes
from packstore.errors import ChecksumError, message

__all__ = ["checksum", "decode", "encoded", "unavailable"]

unavailable = always_available

_ROW = 4096  # 16-bit words per row: sums of 65536 rows still fit uint32


def encoded(spec: FilterSpec, limit: Limit) -> Limit:
    """Add the four bytes of the checksum."""
    return limit.encoded(4)


def decode(data: Bytes, limit: Limit, out: Bytes, spec: FilterSpec) -> Bytes:
    """Verify the checksum and return the bytes before it (a view).

    Raises
    ------
    ChecksumError
        When neither spelling of the stored checksum matches the bytes.
    """
    if data.size < 4:
        corrupt(spec, "at least 4 bytes", f"{data.size} bytes")
    body = data[:-4]
    stored = int.from_bytes(data[-4:].tobytes(), "little")
    fast = libraries.imagecodecs_function("h5checksum", "fletcher32")
    computed = int(fast(body)) if fast is not None and body.size else checksum(body)
    swapped = (computed >> 8 & 0x00FF00FF) | (computed << 8 & 0xFF00FF00)
    if stored != computed and stored != swapped:
        raise ChecksumError(
            message(
                f"verifying {spec}",
                expected=f"checksum {stored:#010x}",
                got=f"{computed:#010x}",
                hint="The chunk is damaged: restore the file from a copy.",
            )
        )
    limit.check(body.size, spec)
    return body


def checksum(data: Bytes) -> int:
    """Compute HDF5's Fletcher-32 of some bytes.

    Notes
    -----
    The words are summed in the machine's byte order: modulo 65535 a swap of bytes is a multiplication by 256, so one
    swap of the two sums at the end is enough. The second sum weighs word *i* of *n* by *n - i*; it comes from row and
    column sums, so no weights the size of the data are needed.

    Examples
    --------
    >>> import numpy as np
    >>> hex(checksum(np.frombuffer(b"abcde", np.uint8)))
    '0x4ff029c7'
    """
    words = data[: data.size & ~1].view(np.uint16)
    tail = int(data[-1]) << 8 if data.size & 1 else 0
    count = words.size
    first = second = 0
    for start in range(0, count, _ROW * 65536):
        part = words[start : start + _ROW * 65536]
        rows = part.size // _ROW
        grid = part[: rows * _ROW].reshape(rows, _ROW)
        rest = part[rows * _ROW :].astype(np.uint64)
        by_row = grid.sum(axis=1, dtype=np.uint32).astype(object)
        by_column = grid.sum(axis=0, dtype=np.uint32).astype(np.uint64)
        total = int(by_row.sum()) + int(rest.sum())
        # Word j of this part has index start + j, so its weight is (count - start) - j.
        position = int((by_row * np.arange(rows, dtype=object)).sum()) * _ROW if rows else 0
        position += int((by_column * np.arange(_ROW, dtype=np.uint64)).sum())
        position += int((rest * np.arange(rest.size, dtype=np.uint64)).sum()) + rows * _ROW * int(rest.sum())
        first += total
        second += (count - start) * total - position
    if np.little_endian:
        first, second = first * 256, second * 256
    if data.size & 1:
        # One more word: it joins both sums, and every word before it counts once more in the second.
        second += first + tail
        first += tail
    return _fold(second) << 16 | _fold(first)


def _fold(total: int) -> int:
    """Reduce as end-around carry does: 65535 stays 65535, and only a true zero gives zero."""
    return (total - 1) % 65535 + 1 if total else 0
