"""What every filter file shares: the filter's description, its contract and its error texts."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import numpy as np
import numpy.typing as npt

from packstore.errors import CorruptDataError, message

__all__ = [
    "Bytes",
    "FilterModule",
    "FilterSpec",
    "call",
    "check_size",
    "compressed_size",
    "corrupt",
    "same_size",
    "store",
]

Bytes = npt.NDArray[np.uint8]

# What the libraries behind the filters raise for bad input; anything else is a bug of ours and must show.
_DECODER_ERRORS = (RuntimeError, ValueError, OverflowError, OSError, EOFError, zlib.error)


@dataclass(frozen=True)
class FilterSpec:
    """One filter of a dataset's pipeline, as the file's filter message describes it.

    Parameters
    ----------
    id
        The registered HDF5 filter number.
    flags
        The flag bits of the filter message (bit 0: optional). They do not matter for reading.
    client_values
        The filter's parameters, unsigned 32-bit integers.
    name
        The name stored in the file; only used in error texts.
    """

    id: int
    flags: int
    client_values: tuple[int, ...]
    name: str = ""


class FilterModule(Protocol):
    """The contract of one file in this package."""

    def unavailable(self) -> str | None:
        """Name what is not installed, as the pip package that brings the decoder; None when decoding works."""

    def encoded_size(self, spec: FilterSpec, nbytes: int) -> tuple[int, bool]:
        """Give the size of the filter's output for `nbytes` of input: (bytes, exact); an upper bound if not exact."""

    def decode(self, data: Bytes, spec: FilterSpec, out: Bytes, exact: bool) -> Bytes:
        """Undo the filter.

        `out` is scratch memory of the expected size (exact) or of the largest size that is allowed. The result is
        a part of `out`, or a view of `data` where the filter does not change the bytes. A filter never takes more
        memory than a small multiple of ``len(data) + len(out)``.
        """

    # A filter may also have `decode_many(chunks, spec, out) -> bool`: chunks of ``len(out) // len(chunks)`` bytes each
    # in one call of its library. False, or CorruptDataError, and they are decoded one by one. And a
    # `decode_range(data, spec, nbytes, start, stop) -> tuple[Bytes, int] | None`: the part of a chunk of `nbytes` that
    # covers these decoded bytes, and where it begins. None, or CorruptDataError, and all of the chunk is decoded.


def corrupt(spec: FilterSpec, expected: object, got: object, hint: str | None = None) -> NoReturn:
    """Raise the CorruptDataError of a filter; the caller of the pipeline adds path and chunk."""
    raise CorruptDataError(message(f"decoding HDF5 filter {label(spec)}", expected=expected, got=got, hint=hint))


def label(spec: FilterSpec) -> str:
    """Name a filter in a text: its number, and its name where there is one."""
    return f"{spec.id} ({spec.name})" if spec.name else str(spec.id)


def call(spec: FilterSpec, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a library's decoder; its errors become CorruptDataError."""
    try:
        return function(*args, **kwargs)
    except _DECODER_ERRORS as error:
        corrupt(spec, "data that decodes", f"{type(error).__name__}: {error}")


def check_size(spec: FilterSpec, nbytes: int, out: Bytes, exact: bool) -> int:
    """Hold a size that is declared or was decoded against the expected one."""
    if nbytes > out.size or (exact and nbytes != out.size):
        corrupt(spec, f"{'' if exact else 'at most '}{out.size} decoded bytes", f"{nbytes} bytes")
    return nbytes


def store(spec: FilterSpec, decoded: Any, out: Bytes, exact: bool) -> Bytes:
    """Copy a library's result into `out` (unless it is there already) and check its size."""
    if decoded is out:
        view: Bytes = out
        return view
    array = np.frombuffer(decoded, np.uint8)
    nbytes = check_size(spec, array.size, out, exact)
    view = out[:nbytes]
    # A library that was given `out` returns it, or a part that starts where it starts.
    if nbytes and array.__array_interface__["data"][0] != out.__array_interface__["data"][0]:
        view[:] = array
    return view


def same_size(spec: FilterSpec, nbytes: int) -> tuple[int, bool]:
    """`encoded_size` of a filter that keeps the size."""
    return nbytes, True


def compressed_size(spec: FilterSpec, nbytes: int) -> tuple[int, bool]:
    """`encoded_size` of a compressor: no writer stores a chunk that grows by more than headers and block sizes."""
    return 2 * nbytes + 65536, False
