"""Bytes that a caller holds: the content of a file object goes in, a source over it comes out."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from packstore.core.typing import Bytes
from packstore.source.base import Fingerprint, RangeReads
from packstore.source.memory import InlineBytes

__all__ = ["HELD", "HeldSource"]

# What the path in the fingerprint of a file in memory begins with.
HELD = "sha256:"


class HeldSource(RangeReads):
    """A file in memory; its fingerprint is a digest of the content, so equal content is the same file.

    Parameters
    ----------
    data
        All of it. What holds it must not change it any more.
    name
        What errors call it.
    fingerprint
        The digest, where it is known.

    Notes
    -----
    Thread safe. `pread`, for headers and indexes, copies; other reads are views. Pickles with its bytes: whatever is
    made of it carries them to other processes.

    Examples
    --------
    >>> HeldSource(b"abcdef", "<BytesIO>").pread(2, 3)
    b'cde'
    """

    __slots__ = ("_bytes", "fingerprint", "kept")

    def __init__(self, data: bytes | Bytes, name: str, fingerprint: Fingerprint | None = None) -> None:
        self._bytes = InlineBytes(data, name)
        # What its readers keep of it, so that it goes when the file does.
        self.kept: OrderedDict[Any, Any] = OrderedDict()
        if fingerprint is None:
            # Function-level, for import time: files on disk need no digest.
            import hashlib

            digest = hashlib.sha256(self._bytes.array).hexdigest()
            fingerprint = Fingerprint(HELD + digest, self.nbytes, 0, 0)
        self.fingerprint = fingerprint

    @property
    def name(self) -> str:
        return self._bytes.name

    @property
    def nbytes(self) -> int:
        return self._bytes.nbytes

    @property
    def path(self) -> str:
        """What errors call it."""
        return self.name

    def check(self) -> None:
        """Nothing to check: nobody else changes it."""

    def pread(self, offset: int, nbytes: int) -> bytes:
        # As `packstore.source.base.ByteSpace.pread`.
        return self._bytes.pread(offset, nbytes).tobytes()

    def read_ranges(self, ranges: Sequence[tuple[int, int]]) -> list[bytes | Bytes]:
        # As `packstore.source.base.ByteSpace.read_ranges`.
        return self._bytes.read_ranges(ranges)

    def view(self) -> Bytes:
        # As `packstore.source.base.ByteSpace.view`.
        return self._bytes.view()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HeldSource) and self.fingerprint == other.fingerprint

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __reduce__(self) -> tuple[Any, ...]:
        return (HeldSource, (self.view().tobytes(), self.name, self.fingerprint))

    def __repr__(self) -> str:
        return f"HeldSource({self.name!r}, nbytes={self.nbytes})"
