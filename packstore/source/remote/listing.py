"""Globs of URLs: a pattern goes in, the URLs that match come out, with the states that the listing tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from packstore.source.remote.by_fsspec import fsspec_client, is_strong, state_of
from packstore.source.remote.client import State

__all__ = ["list_urls"]


def list_urls(pattern: str, storage_options: Mapping[str, Any]) -> dict[str, State | None]:
    """The URLs that match `pattern`; None for the state where the listing has no ETag.

    Raises
    ------
    MissingPackageError, AccessError, ReadError
        The file system cannot be listed.
    """
    client, path = fsspec_client(pattern, storage_options)

    def glob() -> Any:
        client.fs.invalidate_cache()
        return client.fs.glob(path, detail=True)

    found = client.ask(glob, "listing")
    behind = pattern.partition("::")[2]
    out: dict[str, State | None] = {}
    for name, info in found.items():
        url = client.fs.unstrip_protocol(name)
        if behind:
            url = f"{url.partition('::')[0]}::{behind}"
        state = None if info.get("type") == "directory" or info.get("size") is None else state_of(info, pattern)
        out[url] = state if state is not None and is_strong(state.etag) else None
    return out
