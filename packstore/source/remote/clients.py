"""The client of a URL: one for each file system, bucket or host, made on first use."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from packstore.core.threads import ForkSafeLock
from packstore.source.remote.client import Client
from packstore.source.remote.urls import STORE_SCHEME

__all__ = ["client_of", "generation"]

MAX_CLIENTS = 64

_clients: OrderedDict[str, tuple[Client, str]] = OrderedDict()
_lock = ForkSafeLock()
_generation = 0


def generation() -> int:
    """A number that changes by a fork: clients of before cannot be used."""
    return _generation


def client_of(url: str, storage_options: Mapping[str, Any], *, anew: bool = False) -> tuple[Client, str]:
    """The client that reads `url`, and the key of the object there.

    Parameters
    ----------
    anew
        Make another one: file systems of archives keep the directory that they have read.

    Raises
    ------
    MissingPackageError
        fsspec needs a package that is not installed.
    OptionError
        A URL or options that fsspec does not take.
    """
    if url.startswith(STORE_SCHEME):
        # It costs nothing, and must not keep a store in memory.
        return _make(url, storage_options)
    known = repr((url, sorted(storage_options.items())))
    with _lock:
        found = None if anew else _clients.get(known)
        if found is not None:
            _clients.move_to_end(known)
            return found
    found = _make(url, storage_options)
    with _lock:
        _clients[known] = found
        while len(_clients) > MAX_CLIENTS:
            _clients.popitem(last=False)
    return found


def _make(url: str, storage_options: Mapping[str, Any]) -> tuple[Client, str]:
    # Function-level, for import time.
    if url.startswith(STORE_SCHEME):
        from packstore.source.remote.by_store import StoreClient

        return StoreClient(storage_options["store"]), ""
    if "store" in storage_options:
        # A store of obstore that the caller made; its keys may begin below the bucket's.
        from packstore.source.remote.by_obstore import ObstoreClient

        key = storage_options.get("key", url.partition("://")[2].partition("/")[2])
        return ObstoreClient(storage_options["store"], url, {}), key
    from packstore.source.remote.by_fsspec import fsspec_client
    from packstore.source.remote.by_obstore import obstore_client

    return obstore_client(url, storage_options) or fsspec_client(url, storage_options)


def _forget() -> None:
    """Drop all clients: their threads, event loops and connections are the parent's."""
    global _generation
    _clients.clear()
    _generation += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
