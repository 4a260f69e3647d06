"""LZF: a bare block in, its decoded bytes out, by imagecodecs: there is no other decoder for Python."""

from __future__ import annotations

from packstore.codecs import libraries
from packstore.codecs.decompress.limit import Limit, fill
from packstore.core.typing import Bytes

__all__ = ["decode_lzf"]


def decode_lzf(data: Bytes, limit: Limit, out: Bytes | None = None, what: object = "lzf") -> Bytes:
    """Decode an LZF block; see `packstore.codecs.decompress` for parameters and errors.

    Raises
    ------
    MissingFilterError
        imagecodecs is not installed.
    """
    return fill(libraries.required_imagecodecs_function("lzf", what), data, limit, out, what)
