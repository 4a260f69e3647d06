"""Bytes-to-bytes codecs: checksums and compressors, decoded without the GIL and never into more memory than a chunk
may take.

imagecodecs is used where it is installed (zstd, libdeflate's gzip and zlib, blosc), else numcodecs and the standard
library.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from packstore.codecs.decompress.limit import Limit
from packstore.codecs.hdf5.probe import imagecodecs_function
from packstore.codecs.hdf5.zstd import _content_size
from packstore.errors import ChecksumError, CorruptDataError, message

__all__ = ["ByteCodec", "Limit", "byte_codec", "numcodecs_codec"]

U8 = npt.NDArray[np.uint8]
# What the libraries raise for bad input; anything else is a bug of ours and must show.
_DECODER_ERRORS = (RuntimeError, ValueError, OSError, EOFError, zlib.error)


class ByteCodec:
    """One bytes-to-bytes codec.

    Attributes
    ----------
    grows_by
        Bytes that encoding adds; None where that depends on the data.
    """

    name: ClassVar[str]
    grows_by: int | None = None

    def decode(self, data: U8, limit: Limit, out: U8 | None) -> U8:
        """Undo the codec; into `out`, of ``limit.nbytes`` bytes, if there is one."""
        raise NotImplementedError

    def _corrupt(self, expected: object, got: object) -> CorruptDataError:
        return CorruptDataError(message(f"decoding {self.name}", expected=expected, got=got))

    def _into(self, function: Any, data: U8, out: U8, limit: Limit, **kwargs: Any) -> U8:
        """Call a decoder of imagecodecs that fills `out`."""
        if not out.size:
            # Some decoders take an empty output for none at all.
            return self._store(self._call(function, data, **kwargs), limit, None)
        decoded = np.frombuffer(self._call(function, data, out=out, **kwargs), np.uint8)
        limit.check(decoded.size, self.name)
        return decoded

    def _call(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except _DECODER_ERRORS as error:
            raise self._corrupt("data that decodes", f"{type(error).__name__}: {error}") from error

    def _store(self, decoded: Any, limit: Limit, out: U8 | None) -> U8:
        result = np.frombuffer(decoded, np.uint8) if len(decoded) else np.empty(0, np.uint8)
        limit.check(result.size, self.name)
        if out is None:
            return result
        out[: result.size] = result
        return out[: result.size]


class Crc32c(ByteCodec):
    """The four bytes at the end are the CRC-32C of what comes before."""

    name = "crc32c"
    grows_by = 4

    def decode(self, data: U8, limit: Limit, out: U8 | None) -> U8:
        import google_crc32c

        if data.size < 4:
            raise self._corrupt("at least 4 bytes", data.size)
        body = data[:-4]
        limit.check(body.size, self.name)
        stored = int.from_bytes(data[-4:].tobytes(), "little")
        computed = google_crc32c.value(body)
        if stored != computed:
            raise ChecksumError(
                message(
                    "checking crc32c",
                    expected=f"0x{stored:08x} (stored)",
                    got=f"0x{computed:08x} (computed)",
                    hint="The bytes are damaged",
                )
            )
        return body


class Zstd(ByteCodec):
    """Zstandard frames (RFC 8878); a frame's own checksum is verified by the library."""

    name = "zstd"

    def decode(self, data: U8, limit: Limit, out: U8 | None) -> U8:
        fast = imagecodecs_function("zstd")
        if fast is not None:
            return self._into(fast, data, np.empty(limit.nbytes, np.uint8) if out is None else out, limit)
        import numcodecs.zstd

        # numcodecs takes the memory that the frame declares.
        declared = _content_size(data)
        if declared is None:
            raise self._corrupt("a zstd frame that declares its size", "one that does not")
        limit.check(declared, self.name)
        return self._store(self._call(numcodecs.zstd.decompress, data), limit, out)


class Blosc(ByteCodec):
    """A self-describing Blosc 1 buffer."""

    name = "blosc"

    def decode(self, data: U8, limit: Limit, out: U8 | None) -> U8:
        if data.size < 16:
            raise self._corrupt("at least 16 bytes", data.size)
        nbytes = int.from_bytes(data[4:8].tobytes(), "little")
        stored = int.from_bytes(data[12:16].tobytes(), "little")
        limit.check(nbytes, self.name)
        if not 16 <= stored <= data.size:
            raise self._corrupt(f"a buffer of at most {data.size} bytes", stored)
        if not nbytes:
            return np.empty(0, np.uint8)
        target = np.empty(nbytes, np.uint8) if out is None else out[:nbytes]
        fast = imagecodecs_function("blosc")
        if fast is not None:
            return self._into(fast, data[:stored], target, Limit(nbytes, True), numthreads=1)
        import numcodecs.blosc

        return self._store(self._call(numcodecs.blosc.decompress, data[:stored], target), limit, None)


class Gzip(ByteCodec):
    """One or more gzip members (RFC 1952); CRC-32 and size are verified."""

    name = "gzip"
    _wbits = 31
    _fast = "gzip"

    def decode(self, data: U8, limit: Limit, out: U8 | None) -> U8:
        fast = imagecodecs_function(self._fast)
        if fast is not None and limit.exact and limit.nbytes:
            target = np.empty(limit.nbytes, np.uint8) if out is None else out
            try:
                decoded = np.frombuffer(fast(data, out=target), np.uint8)
            except _DECODER_ERRORS:
                # Damage, or several members: the standard library tells which.
                pass
            else:
                if decoded.size == limit.nbytes:
                    return decoded
        return self._store(self._inflate(data, limit), limit, out)

    def _inflate(self, data: U8, limit: Limit) -> bytes:
        parts: list[bytes] = []
        room = limit.nbytes + 1
        rest: Any = np.ascontiguousarray(data).data
        while True:
            stream = zlib.decompressobj(self._wbits)
            part = self._call(stream.decompress, rest, room)
            parts.append(part)
            room -= len(part)
            if not stream.eof:
                if room > 0:
                    raise self._corrupt("a whole stream", f"one that stops after {sum(map(len, parts))} decoded bytes")
                break
            rest = stream.unused_data
            if self._wbits != 31 or not rest.strip(b"\0"):
                break
            room = max(room, 1)
        return b"".join(parts)


class Zlib(Gzip):
    """A zlib stream (RFC 1950)."""

    name = "zlib"
    _wbits = 15
    _fast = "zlib"


class Bz2(ByteCodec):
    """bzip2 streams."""

    name = "bz2"

    def decode(self, data: U8, limit: Limit, out: U8 | None) -> U8:
        import bz2

        parts: list[bytes] = []
        room = limit.nbytes + 1
        rest = data.tobytes()
        while rest and room > 0:
            stream = bz2.BZ2Decompressor()
            part = b""
            while not stream.eof and room > 0:
                part = self._call(stream.decompress, rest, room)
                rest = b""
                parts.append(part)
                room -= len(part)
                if not part and stream.needs_input:
                    raise self._corrupt("a whole stream", "one that is cut short")
            rest = stream.unused_data
        return self._store(b"".join(parts), limit, out)


class Lz4(ByteCodec):
    """numcodecs' LZ4: the decoded size in four bytes, then one LZ4 block."""

    name = "lz4"

    def decode(self, data: U8, limit: Limit, out: U8 | None) -> U8:
        import numcodecs.lz4

        if data.size < 4:
            raise self._corrupt("at least 4 bytes", data.size)
        limit.check(int.from_bytes(data[:4].tobytes(), "little"), self.name)
        return self._store(self._call(numcodecs.lz4.decompress, data), limit, out)


_CODECS: dict[str, ByteCodec] = {c.name: c for c in (Crc32c(), Zstd(), Blosc(), Gzip(), Zlib(), Bz2(), Lz4())}
# Registered for v3 by the specification, or by zarr under numcodecs' name.
_V3_NAMES = frozenset({"crc32c", "zstd", "blosc", "gzip"})


def byte_codec(name: str, config: Mapping[str, Any], *, v2: bool) -> ByteCodec | None:
    """The decoder of a codec; None for one that the direct path does not know. The options matter for writing only."""
    if v2:
        return None if name == "crc32c" else _CODECS.get(name)
    if name in _V3_NAMES:
        return _CODECS[name]
    prefix, _, plain = name.partition("numcodecs.")
    return _CODECS.get(plain) if not prefix and plain != "crc32c" else None


def numcodecs_codec(config: Mapping[str, Any]) -> Any:
    """A codec of numcodecs by its configuration."""
    import numcodecs

    return numcodecs.get_codec(dict(config))
