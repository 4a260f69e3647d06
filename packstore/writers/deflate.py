"""Deflate as small as zlib's level asks for, by whatever reaches that size fastest.

How fast a level is, and what another encoder makes of it, depends on the data by factors: run lengths alone are best
for masks of large objects, a level 2 does for numbers that hardly compress, and the search that level 6 pays for
matters only to some. So a sample of the data is compressed by zlib at the level that was asked for, then by the faster
encoders in turn; the first that comes near enough to zlib's size compresses the rest.

zlib-ng (optional package ``zlib-ng``) is 2-3 times as fast as zlib at equal size, libdeflate (optional package
``imagecodecs``) as well, but it cannot end a block without ending the stream, so only HDF5 chunks can use it. All of
them release the GIL.
"""

from __future__ import annotations

import functools
import importlib
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from packstore.codecs import libraries
from packstore.core.typing import Array, Bytes

__all__ = ["NOTHING", "Encoder", "Sample", "changes", "choose", "encoders"]

# Bytes, and those before them.
Sample = tuple[Bytes, Bytes]
NOTHING: Bytes = np.empty(0, np.uint8)
LITTLE = 0.03
_RLE = 3  # zlib's Z_RLE: matches of distance 1 only


@dataclass(frozen=True)
class Encoder:
    """One way to deflate.

    Parameters
    ----------
    compressobj
        ``zlib.compressobj`` or its like; None for libdeflate.
    level, strategy
        As zlib names them.
    """

    compressobj: Callable[..., Any] | None
    level: int
    strategy: int = 0

    def block(self, data: Bytes, *, last: bool) -> bytes:
        """A piece of a raw deflate stream that needs no other piece to be decoded."""
        stream = self._stream(-15)
        return bytes(stream.compress(data)) + bytes(stream.flush(zlib.Z_FINISH if last else zlib.Z_FULL_FLUSH))

    def sampled(self, data: Bytes, before: Bytes) -> int:
        """Bytes that `data` takes where `before` came before it."""
        if self.compressobj is None or not before.nbytes:
            return len(self.whole(data))
        stream = self.compressobj(self.level, zlib.DEFLATED, -15, 8, self.strategy, before.tobytes())
        return len(stream.compress(data)) + len(stream.flush())

    def whole(self, data: Bytes) -> bytes:
        """A zlib stream (RFC 1950)."""
        if self.compressobj is None:
            encode = libraries.imagecodecs_function("deflate", "encode")
            assert encode is not None  # such an encoder is only offered where it exists
            return bytes(encode(data, level=self.level, raw=False))
        stream = self._stream(15)
        return bytes(stream.compress(data)) + bytes(stream.flush())

    def _stream(self, window: int) -> Any:
        assert self.compressobj is not None  # libdeflate is never asked for blocks
        return self.compressobj(self.level, zlib.DEFLATED, window, 8, self.strategy)


@functools.cache
def encoders(level: int, blocks: bool) -> tuple[Encoder, ...]:
    """The encoders to try for one of zlib's levels, fastest first; the last is zlib at that level.

    Parameters
    ----------
    blocks
        Whether independent blocks of one stream are wanted.
    """
    reference = Encoder(zlib.compressobj, level)
    ng = _zlib_ng()
    if ng is None:
        # zlib's lower levels are near its higher ones for some data, and its run lengths are always fast.
        faster = [Encoder(zlib.compressobj, 6, _RLE), *(Encoder(zlib.compressobj, n) for n in (3, 4, 5) if n < level)]
    else:
        # zlib-ng's level 1 is much larger; 8 and 9 are slower than zlib's.
        faster = [Encoder(ng, 6, _RLE), *(Encoder(ng, n) for n in (2, 3, 4, 5, 6, 7) if n <= level + 2)]
    if not blocks and libraries.imagecodecs_function("deflate", "encode") is not None:
        # Faster than zlib-ng at equal size nearly always; its levels mean other sizes than zlib's.
        levels = (1, 3, 5, 6) if level < 4 else (3, 5, 6, 7) if level < 7 else (3, 5, 6, 7, 9)
        faster = [faster[0], *(Encoder(None, n) for n in levels), *(e for e in faster if e.level == 5)]
    return (*faster, reference)


def choose(
    samples: Sequence[Sample],
    level: int,
    *,
    blocks: bool,
    limit: float,
    busiest: Callable[[], tuple[Sequence[Sample], bool]],
) -> Encoder:
    """The fastest encoder that makes at most `limit` times of the samples what zlib makes of them at `level`.

    Parameters
    ----------
    samples
        Small parts of the data, each with what lies before it: without that to refer back to, encoders differ less.
        (libdeflate cannot be told; its samples are larger and have nothing before them.)
    busiest
        Gives other samples where next to nothing is left of the first ones, because they may have met only
        background; and whether they are so large that nothing but run lengths is worth a trial.

    Notes
    -----
    Depends on the bytes only, so a file comes out the same each time.
    """
    offered = encoders(level, blocks)
    least = _total(offered[-1], samples)
    if least < LITTLE * sum(s.nbytes for s, _ in samples):
        samples, large = busiest()
        least = _total(offered[-1], samples)
        offered = (offered[0], offered[-1]) if large else offered
    for encoder in offered[:-1]:
        # Run lengths do better on a sample of shuffled bytes than on all of them.
        most = (limit - 0.015 if encoder.strategy == _RLE and not blocks else limit) * least
        if _total(encoder, samples) <= most:
            return encoder
    return offered[-1]


def changes(data: Bytes, nbytes: int) -> Array:
    """In each whole run of `nbytes` bytes (a multiple of 8), how many words differ from the one before.

    A quick look at how much there is to compress.
    """
    whole = data[: data.nbytes // nbytes * nbytes].view(np.uint64).reshape(-1, nbytes // 8)
    return np.asarray(np.count_nonzero(whole[:, 1:] != whole[:, :-1], axis=1))


def _total(encoder: Encoder, samples: Sequence[Sample]) -> int:
    return sum(encoder.sampled(data, before) for data, before in samples)


@functools.cache
def _zlib_ng() -> Callable[..., Any] | None:
    try:
        module = importlib.import_module("zlib_ng.zlib_ng")
    except ImportError:
        return None
    found: Callable[..., Any] = module.compressobj
    return found
