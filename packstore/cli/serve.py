"""``packstore serve``: a saved file over HTTP, as a zarr store for readers in other languages."""

from __future__ import annotations

import contextlib
import webbrowser
from collections.abc import Callable
from typing import Any

from packstore.cli.page import page_of
from packstore.errors import OptionError, message
from packstore.readers.joined import piped
from packstore.views.http import StoreServer
from packstore.views.zarr.open import open_store

__all__ = ["serve", "server_of"]


def server_of(path: str, options: dict[str, Any], *, host: str, port: int, origins: str | None) -> StoreServer:
    """The server of a file, which listens and does not answer yet.

    Raises
    ------
    OptionError
        The address cannot be listened at, or a pipeline names a part of the file.
    PackstoreError
        As `packstore.open_store`.
    """
    _, component, _ = piped(path, None, options)
    if component:
        expected = "all of a file, whose arrays are then asked for by their paths"
        raise OptionError(message("serving", path, expected=expected, got=f"the component {component}"))
    store, page = open_store(path, **options), page_of([path], None, options)
    try:
        return StoreServer(store, host, port, origins=origins, page=page)
    except OSError as error:
        got = error.strerror or str(error)
        raise OptionError(message(f"listening at {host}:{port}", expected="a free address", got=got)) from None


def serve(server: StoreServer, say: Callable[[str], None], *, browse: bool) -> None:
    """Answer until interrupted."""
    say(f"{server.url} (read-only; Ctrl-C ends it)")
    if browse:
        webbrowser.open(server.url)
    with server, contextlib.suppress(KeyboardInterrupt):
        assert server._thread is not None
        while server._thread.is_alive():
            server._thread.join(1)
