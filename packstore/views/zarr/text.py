"""Text of variable length for zarr, which holds Unicode only: bytes go in, str comes out, or an error by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from packstore.errors import CorruptDataError, message

__all__ = ["Decode", "as_text", "decoding"]

Decode = Callable[[bytes], str]


def decoding(location: Any, component: str | None) -> Decode:
    """How the text of an array is decoded: as the options that its file was opened with say, else strictly as UTF-8."""
    options = dict(getattr(location, "options", ()))
    encoding, errors = options.get("encoding") or "utf-8", options.get("errors") or "strict"

    def decode(raw: bytes) -> str:
        try:
            text = raw.decode(encoding, errors)
            if not text.isascii():
                # Surrogates, which some handlers make of odd bytes, are no text for zarr and numpy.
                text.encode()
            return text
        except UnicodeError:
            hint = 'Pass encoding=, as in encoding="latin-1", or errors="replace"; packstore.from_file gives the bytes'
            raise CorruptDataError(
                message("reading text of", location.path, component, expected=f"text in {encoding}", got=raw, hint=hint)
            ) from None

    return decode


def as_text(value: Any, decode: Decode) -> str:
    """An element of text of variable length; what was never written (None, 0) is empty."""
    if isinstance(value, bytes):
        return decode(value)
    return "" if value is None or isinstance(value, int) else str(value)
