"""The parts that all filter files share: a filter's description, its contract, and its answers in the common cases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from packstore.codecs import libraries
from packstore.codecs.decompress import Limit
from packstore.core.typing import Bytes

__all__ = [
    "FilterModule",
    "FilterSpec",
    "always_available",
    "compressed",
    "needs_imagecodecs",
    "same_size",
]


@dataclass(frozen=True)
class FilterSpec:
    """One filter of a dataset's pipeline, as the file's filter message describes it.

    Parameters
    ----------
    id
        The registered HDF5 filter number.
    client_values
        The filter's parameters, unsigned 32-bit integers.
    name
        The name stored in the file; only used in error texts.
    """

    id: int
    client_values: tuple[int, ...]
    name: str = ""

    def __str__(self) -> str:
        """Name the filter in an error text: its number, and its name where there is one."""
        return f"HDF5 filter {self.id} ({self.name})" if self.name else f"HDF5 filter {self.id}"


class FilterModule(Protocol):
    """The contract of one file in this package."""

    def unavailable(self) -> str | None:
        """Name the pip package that brings the missing decoder; None where decoding works."""

    def encoded(self, spec: FilterSpec, limit: Limit, /) -> Limit:
        """Limit the size of the filter's output, given that of its input."""

    def decode(self, data: Bytes, limit: Limit, out: Bytes, spec: FilterSpec, /) -> Bytes:
        """Undo the filter.

        `out` is scratch memory of ``limit.nbytes`` bytes. The result is a part of `out`, or a view of `data` where the
        filter does not change the bytes. A filter never takes more memory than a small multiple of
        ``len(data) + len(out)``. The functions of `packstore.codecs.decompress` have this signature.
        """

    # A filter may also have `decode_many(chunks, spec, out) -> bool`: chunks of ``len(out) // len(chunks)`` bytes each
    # in one call of its library. If it returns False or raises CorruptDataError, they are decoded one by one. And a
    # `decode_range(data, spec, nbytes, start, stop) -> tuple[Bytes, int] | None`: the part of a chunk of `nbytes` that
    # covers these decoded bytes, and where it begins. If it returns None or raises CorruptDataError, the whole chunk is
    # decoded.


def always_available() -> str | None:
    """`unavailable` of a filter that needs nothing but what zarr needs."""
    return None


def needs_imagecodecs(codec: str) -> Callable[[], str | None]:
    """Make the `unavailable` of a filter that only a codec of imagecodecs decodes."""

    def unavailable() -> str | None:
        return None if libraries.imagecodecs_function(codec) is not None else "imagecodecs"

    return unavailable


def same_size(spec: FilterSpec, limit: Limit) -> Limit:
    """`encoded` of a filter that keeps the size."""
    return limit


def compressed(spec: FilterSpec, limit: Limit) -> Limit:
    """`encoded` of a compressor."""
    return limit.encoded()
