"""Zarr's bytes-to-bytes codecs as the `Decoder` of a chain: a chunk's stored bytes in, its decoded bytes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from packstore.codecs.decompress.limit import Limit, check_ratio
from packstore.core.scratch import Scratch
from packstore.core.typing import Bytes
from packstore.errors import CorruptDataError, message
from packstore.readers.zarr.byte_codecs import ByteCodec
from packstore.storage.stored import Stored

__all__ = ["ByteCodecs"]

# What is read from the file, and what a codec before the last one gives, for the time of one chunk.
_stored = Scratch()
_between = (Scratch(), Scratch())


@dataclass(frozen=True, eq=False)
class ByteCodecs:
    """The bytes-to-bytes codecs of a chunk.

    Parameters
    ----------
    codecs
        In the order of decoding.
    limit
        How many bytes they give.
    """

    codecs: tuple[ByteCodec, ...]
    limit: Limit
    slow_from_nbytes = None
    reads_ranges = False

    @property
    def names(self) -> tuple[str, ...]:
        """Of the codecs, in the order of writing."""
        return tuple(codec.name for codec in reversed(self.codecs))

    @cached_property
    def max_stored_nbytes(self) -> int:
        """The most bytes that a stored chunk may have."""
        return self._limits[0].encoded(self.codecs[0].grows_by).nbytes

    @cached_property
    def _limits(self) -> list[Limit]:
        """How many bytes each of the codecs may give."""
        found = [self.limit]
        for codec in reversed(self.codecs[1:]):
            found.append(found[-1].encoded(codec.grows_by))
        return found[::-1]

    @cached_property
    def _keeps(self) -> int:
        """The last codec that makes new bytes: a checksum gives a view of what it is given."""
        return max([i for i, codec in enumerate(self.codecs) if codec.grows_by is None], default=-1)

    def decode(self, stored: Stored, out: Bytes | None, scratch: Scratch | None) -> Bytes:
        """The decoded bytes of a chunk.

        Raises
        ------
        CorruptDataError, ChecksumError
            They do not decode, or not to as many as they should.
        """
        check_ratio(self.limit.nbytes, stored.nbytes, "decoding a chunk")
        most = self.max_stored_nbytes
        if stored.nbytes > most:
            raise CorruptDataError(
                message("reading the stored bytes", expected=f"at most {most} bytes for a chunk", got=stored.nbytes)
            )
        lends = scratch is not None or self._keeps >= 0
        data = stored.pread(0, stored.nbytes, _stored.take(stored.nbytes) if lends and stored.fresh else None)
        last = len(self.codecs) - 1
        for i, (codec, most_here) in enumerate(zip(self.codecs, self._limits, strict=True)):
            target = None
            if codec.grows_by is None:
                if i == last and out is not None:
                    target = out
                elif i < self._keeps:
                    target = _between[i % 2].take(most_here.nbytes)
                elif scratch is not None:
                    target = scratch.take(most_here.nbytes)
            data = codec.decode(data, most_here, target)
        return data

    def decode_range(self, stored: Stored, start: int, stop: int) -> tuple[Bytes, int] | None:
        """None: no codec here decodes a part."""
        return None

    def decode_short(self, stored: Stored, least: int) -> Bytes | None:
        """None: chunks of zarr are whole."""
        return None

    def decode_many(self, chunks: Sequence[Any], out: Bytes) -> bool:
        """False: each chunk is a file of its own."""
        return False
