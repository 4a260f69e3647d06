"""URLs: whether a path is one, and its text without secrets."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any

__all__ = ["STORE_SCHEME", "is_url", "masked", "without_secrets"]

# Stands for a zarr store that a caller gave, which lies nowhere that a URL could say.
STORE_SCHEME = "zarr-store://"

HIDDEN = "***"
# Between "//" and "@": a user and a password. Behind "?": a signature, a token or a key, whatever its name is.
_USER = re.compile(r"(?<=://)[^/@\s?#]*@")
_QUERY = re.compile(r"(?<=[?&])([^=&#\s]+)=[^&#\s:]*")
_LEAST_SECRET = 4


def is_url(path: str) -> bool:
    """Whether `path` is a URL, or a chain of file systems ("simplecache::s3://…").

    Examples
    --------
    >>> is_url("s3://bucket/a.npy"), is_url("/data/a.npy"), is_url("file:///data/a.npy")
    (True, False, False)
    """
    if path.startswith("file://"):
        return False
    return "://" in path or ("::" in path and not os.path.exists(path))


def masked(url: str) -> str:
    """The URL as errors, reprs and logs show it: without user, password and the values of its query.

    Examples
    --------
    >>> masked("https://me:word@host/a.npy?X-Amz-Signature=123&part=2")
    'https://***@host/a.npy?X-Amz-Signature=***&part=***'
    """
    if "://" not in url:
        return url
    return _QUERY.sub(rf"\1={HIDDEN}", _USER.sub(f"{HIDDEN}@", url))


def without_secrets(text: str, url: str, storage_options: Mapping[str, Any]) -> str:
    """A text of another package, without what may be secret in a URL or in the options of its file system.

    Examples
    --------
    >>> without_secrets("denied to key='abcdef'", "s3://b/a", {"key": "abcdef"})
    "denied to key='***'"
    """
    for value in sorted(_texts(storage_options), key=len, reverse=True):
        if len(value) >= _LEAST_SECRET:
            text = text.replace(value, HIDDEN)
    return masked(text.replace(url, masked(url)))


def _texts(options: Any) -> list[str]:
    """All texts among (nested) options but the names and those that are addresses."""
    if isinstance(options, Mapping):
        return [text for value in options.values() for text in _texts(value)]
    if isinstance(options, (list, tuple)):
        return [text for value in options for text in _texts(value)]
    if isinstance(options, bytes):
        options = options.decode("latin-1")
    return [options] if isinstance(options, str) and "://" not in options else []
