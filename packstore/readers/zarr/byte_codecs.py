"""The table of zarr's bytes-to-bytes codecs: a codec's name and format version in, its decoder out.

To add a codec, add a line to `BYTE_CODECS`; its decoder is a function of `packstore.codecs.decompress`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from packstore.codecs.checksums import strip_crc32c
from packstore.codecs.decompress import (
    Limit,
    decode_blosc,
    decode_bz2,
    decode_gzip,
    decode_lz4,
    decode_zlib,
    decode_zstd,
)
from packstore.core.typing import Bytes

__all__ = ["BYTE_CODECS", "ByteCodec", "byte_codec", "numcodecs_codec"]


@dataclass(frozen=True, slots=True)
class ByteCodec:
    """One bytes-to-bytes codec. The options of its configuration matter for writing only, and must make sense.

    Parameters
    ----------
    name
        Its name in zarr's metadata, without the prefix ``numcodecs.``.
    decoder
        Its decoder, called as `packstore.codecs.decompress` describes.
    in_numcodecs
        Whether it is one of numcodecs' codecs: format 2 has them all, format 3 has them behind the prefix.
    in_v3
        Whether it is one of format 3's own codecs, without a prefix.
    grows_by
        How many bytes encoding adds; None where that depends on the data.
    options
        The options of its configuration, each with the values that it takes: a type, a range or a set.
    """

    name: str
    decoder: Callable[[Bytes, Limit, Bytes | None, object], Bytes]
    in_numcodecs: bool = True
    in_v3: bool = False
    grows_by: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def takes(self, config: Mapping[str, Any]) -> bool:
        """Whether `config` is one that a writer leaves; any other is for zarr to judge."""
        return all(name in self.options and _is_of(self.options[name], value) for name, value in config.items())

    def decode(self, data: Bytes, limit: Limit, out: Bytes | None) -> Bytes:
        """Undo the codec; into `out`, of ``limit.nbytes`` bytes, if there is one."""
        return self.decoder(data, limit, out, self.name)


def _is_of(kind: Any, value: object) -> bool:
    if kind is bool:
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    if kind is int:
        return isinstance(value, int)
    if isinstance(kind, range):
        # Asked for anything but an int, a range looks at each of its numbers.
        return isinstance(value, int) and value in kind
    return isinstance(value, (int, str)) and value in kind


_LEVEL = {"level": range(-1, 10)}
_BLOSC = {
    "cname": {"blosclz", "lz4", "lz4hc", "zlib", "zstd", "snappy"},
    "clevel": range(10),
    "shuffle": {"noshuffle", "shuffle", "bitshuffle", -1, 0, 1, 2},
    "typesize": range(1, 1 << 31),
    "blocksize": range(1 << 31),
}

BYTE_CODECS: dict[str, ByteCodec] = {
    codec.name: codec
    for codec in (
        ByteCodec("crc32c", strip_crc32c, in_numcodecs=False, in_v3=True, grows_by=4),
        ByteCodec("zstd", decode_zstd, in_v3=True, options={"level": range(-131072, 23), "checksum": bool}),
        ByteCodec("blosc", decode_blosc, in_v3=True, options=_BLOSC),
        ByteCodec("gzip", decode_gzip, in_v3=True, options=_LEVEL),
        ByteCodec("zlib", decode_zlib, options=_LEVEL),
        ByteCodec("bz2", decode_bz2, options=_LEVEL),
        ByteCodec("lz4", decode_lz4, options={"acceleration": int}),
    )
}


def byte_codec(name: str, config: Mapping[str, Any], *, v2: bool) -> ByteCodec | None:
    """Find a codec by its name in the metadata; None for one, or a configuration, that is not known here."""
    plain = name if v2 else name.removeprefix("numcodecs.")
    codec = BYTE_CODECS.get(plain)
    if codec is None:
        return None
    is_of_v3 = not v2 and plain == name
    options = {key: value for key, value in config.items() if not (v2 and key == "id")}
    if not codec.takes(options) or (is_of_v3 and codec.options and not options):
        return None
    return codec if (codec.in_v3 if is_of_v3 else codec.in_numcodecs) else None


def numcodecs_codec(config: Mapping[str, Any]) -> Any:
    """A codec of numcodecs by its configuration."""
    import numcodecs

    return numcodecs.get_codec(dict(config))
