"""Codecs that run what a file says; in: an array's metadata, out: why it is not decoded, or None.

numcodecs has a codec that unpickles, and lets metadata name it: some of its releases, and zarr's, obey.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["unsafe_reason"]

_UNSAFE = frozenset({"pickle", "numcodecs.pickle"})
_PARTS = ("filters", "compressor", "codecs", "storage_transformers", "data_type")


def unsafe_reason(document: Mapping[str, Any]) -> str | None:
    """Why an array must not be decoded, by anyone.

    Examples
    --------
    >>> unsafe_reason({"filters": [{"id": "vlen-utf8"}, {"id": "pickle"}]})
    "it has the codec 'pickle', which runs code that the file brings"
    >>> unsafe_reason({"compressor": {"id": "zlib"}}) is None
    True
    """
    # Without recursion: nobody knows how deep such metadata are nested.
    left = [document.get(part) for part in _PARTS]
    while left:
        each = left.pop()
        if isinstance(each, dict):
            for name in (each.get("id"), each.get("name")):
                if isinstance(name, str) and name.lower() in _UNSAFE:
                    return f"it has the codec {name!r}, which runs code that the file brings"
            left += each.values()
        elif isinstance(each, list):
            left += each
        elif isinstance(each, str) and each.lower() in _UNSAFE:
            return f"it has the codec {each!r}, which runs code that the file brings"
    return None
