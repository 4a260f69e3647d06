"""The limit of a decoder, and the calls that hold a library to it: bytes in, at most so many bytes or an error out."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

import numpy as np

from packstore.config import inflate_ratio
from packstore.core.typing import Bytes
from packstore.errors import CorruptDataError, UnsupportedError, message

__all__ = ["FREE_NBYTES", "Limit", "call", "check_ratio", "corrupt", "fill", "store"]

# The libraries raise these for bad input. Any other exception is a bug of packstore and must show.
_DECODER_ERRORS = (RuntimeError, ValueError, OverflowError, OSError, EOFError, zlib.error)

# Decoded bytes that are never refused: no process is short of so few.
FREE_NBYTES = 128 << 20

_DAMAGED = "The data are damaged: restore the file from a copy"


class Limit(NamedTuple):
    """How many bytes a decoder may give.

    Attributes
    ----------
    nbytes
        The number of bytes.
    exact
        Whether the decoder must give that many; otherwise it may give fewer.
    """

    nbytes: int
    exact: bool

    def encoded(self, grows_by: int | None = None) -> Limit:
        """Limit the input of an encoder whose output this is the limit of.

        Parameters
        ----------
        grows_by
            Bytes that the encoder adds. None stands for a compressor: no writer stores a chunk that grows by more
            than headers and block sizes.
        """
        if grows_by is not None:
            return Limit(self.nbytes + grows_by, self.exact)
        return Limit(2 * self.nbytes + 65536, False)

    def check(self, nbytes: int, what: object) -> None:
        """Compare a size, declared or decoded, with the limit.

        Raises
        ------
        CorruptDataError
            `nbytes` is above the limit, or differs from an exact one.
        """
        if nbytes > self.nbytes or (self.exact and nbytes != self.nbytes):
            corrupt(
                what,
                f"{'' if self.exact else 'at most '}{self.nbytes} decoded bytes",
                f"{nbytes} bytes",
                "The data are damaged, or were written for another shape or data type",
            )


def check_ratio(nbytes: int, stored_nbytes: int, what: object) -> None:
    """Refuse bytes that claim to decode to far more than they are, before memory is taken for them.

    Parameters
    ----------
    nbytes, stored_nbytes
        What they claim, and how many there are.
    what
        What fails, as a phrase; a string is made of it only then.

    Raises
    ------
    UnsupportedError
        More than 128 MiB, and more than ``limits.inflate_ratio`` of `packstore.config` for each stored byte.
    """
    if nbytes > FREE_NBYTES and nbytes > (ratio := inflate_ratio()) * stored_nbytes:
        expected = f"at most {ratio:g} bytes for each of {stored_nbytes} stored ones"
        hint = 'A file that is to be trusted is read with packstore.config.set({"limits.inflate_ratio": …})'
        raise UnsupportedError(message(str(what), expected=expected, got=nbytes, hint=hint))


def corrupt(what: object, expected: object, got: object, hint: str = _DAMAGED) -> NoReturn:
    """Raise the CorruptDataError of bytes that do not decode; the caller of the decoder adds path and chunk."""
    raise CorruptDataError(message(f"decoding {what}", expected=expected, got=got, hint=hint))


def call(what: object, function: Callable[..., Any], *args: Any) -> Any:
    """Call a library's decoder.

    Raises
    ------
    CorruptDataError
        The library found the bytes damaged.
    """
    try:
        return function(*args)
    except _DECODER_ERRORS as error:
        corrupt(what, "data that decodes", f"{type(error).__name__}: {error}")


def fill(
    function: Callable[..., Any], data: Any, limit: Limit, out: Bytes | None, what: object, **options: Any
) -> Bytes:
    """Call a decoder of imagecodecs, which writes into the memory that it is given and never past its end.

    Parameters
    ----------
    function
        The decoder.
    data, limit, out, what
        As `packstore.codecs.decompress` describes them.
    **options
        Further arguments of the decoder.

    Raises
    ------
    CorruptDataError
        The library found the bytes damaged, or they decode to another size.
    """
    nbytes = limit.nbytes
    if out is None or not nbytes:
        # A decoder that is given no room at all may take memory by itself: one byte is enough to find out.
        out = np.empty(nbytes or 1, np.uint8)
    try:
        decoded: Bytes = function(data, out=out, **options)
    except _DECODER_ERRORS as error:
        corrupt(what, "data that decodes", f"{type(error).__name__}: {error}")
    if decoded is out and nbytes:
        return out
    return store(decoded, limit, out, what)


def store(decoded: bytes | Bytes, limit: Limit, out: Bytes | None, what: object) -> Bytes:
    """Check the size of a library's result and copy it into `out`, unless it lies there already.

    Parameters
    ----------
    decoded
        The result: bytes, or `out`, or a part of `out` that starts where `out` starts.
    limit, out, what
        As `packstore.codecs.decompress` describes them.

    Raises
    ------
    CorruptDataError
        The result is not of the size that `limit` asks for.
    """
    nbytes = len(decoded)
    limit.check(nbytes, what)
    if out is not None and decoded is out:
        return out
    array = np.frombuffer(decoded, np.uint8) if nbytes else np.empty(0, np.uint8)
    if out is None:
        return array
    view = out[:nbytes]
    if not np.may_share_memory(array, view):
        view[:] = array
    return view
