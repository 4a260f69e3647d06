"""A zarr store over HTTP: keys are asked for, metadata and decoded chunks are sent, for readers in other languages.

Whoever reads zarr from a web server (zarrita.js, neuroglancer, tensorstore, zarr-python itself) reads any saved array
so: chunks come decoded, under zarr's plain ``bytes`` codec; zarr directories come as they are. Source: RFC 9110
(ranges, validators) and the Fetch standard (https://fetch.spec.whatwg.org/#http-cors-protocol).
"""

from __future__ import annotations

import hashlib
import re
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from zarr.abc.store import RangeByteRequest, Store
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from packstore.errors import PackstoreError, StaleFileError

__all__ = ["StoreServer"]

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_HEADERS = "Accept-Ranges, Content-Length, Content-Range, ETag"


class StoreServer(ThreadingHTTPServer):
    r"""Serves one store until it is shut down; each connection has a thread.

    Parameters
    ----------
    store
        What `packstore.open_store` gives, or any other zarr store.
    host, port
        Where it listens; port 0: any free one.
    origins
        Web pages of these origins may read ("*": of any); None: of none but its own.
    page
        HTML for who asks for "/".

    Raises
    ------
    OSError
        The address is in use, or not this machine's.

    Notes
    -----
    Nothing is written, and no file is opened but what the store reads. Damaged and changed files are status 500 and
    410, with the error's text.

    Examples
    --------
    >>> import numpy as np, packstore, pathlib, tempfile, urllib.request
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "x.npy"
    >>> np.save(path, np.arange(3, dtype="i1"))
    >>> with StoreServer(packstore.open_store(path)) as server:
    ...     urllib.request.urlopen(f"{server.url}c/0").read()
    b'\x00\x01\x02'
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(
        self, store: Store, host: str = "127.0.0.1", port: int = 0, *, origins: str | None = "*", page: str = ""
    ) -> None:
        super().__init__((host, port), _Handler)
        self.store = store
        self.origins = origins
        self.page = page
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The address of the store's root."""
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}/"

    def __enter__(self) -> StoreServer:
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.shutdown()
        self.server_close()
        if self._thread is not None:
            self._thread.join()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a client that goes in the middle of an answer is no error of the server's."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StoreServer

    def do_GET(self) -> None:
        """Send a value, or the part of it that is asked for."""
        path = unquote(urlsplit(self.path).path)
        key = path.lstrip("/")
        if not key:
            self._send(HTTPStatus.OK, self.server.page.encode(), {"Content-Type": "text/html; charset=utf-8"})
            return
        if "\0" in key or "\\" in key or any(part in ("", ".", "..") for part in key.split("/")):
            self._send(HTTPStatus.NOT_FOUND, b"no such key\n")
            return
        try:
            self._send_value(key)
        except (KeyError, FileNotFoundError):
            self._send(HTTPStatus.NOT_FOUND, b"no such key\n")
        except (PackstoreError, OSError, ValueError) as error:
            status = HTTPStatus.GONE if isinstance(error, StaleFileError) else HTTPStatus.INTERNAL_SERVER_ERROR
            self._send(status, f"{error}\n".encode(errors="backslashreplace"))

    do_HEAD = do_GET

    def do_OPTIONS(self) -> None:
        """Say what a page of another origin may ask."""
        more = {
            "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS",
            "Access-Control-Allow-Headers": "Range, If-None-Match",
            "Access-Control-Max-Age": "86400",
        }
        self._send(HTTPStatus.NO_CONTENT, b"", more)

    def _send_value(self, key: str) -> None:
        store, prototype = self.server.store, default_buffer_prototype()
        asked = _RANGE.fullmatch(self.headers.get("Range", "").strip())
        if asked is None or not any(asked.groups()):
            value = sync(store.get(key, prototype))
            if value is None:
                raise KeyError(key)
            self._send(HTTPStatus.OK, value.to_bytes(), {"Content-Type": _kind(key)}, validated=True)
            return
        nbytes = sync(store.getsize(key))
        start, stop = _extent(asked, nbytes)
        if start >= stop:
            self._send(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, b"", {"Content-Range": f"bytes */{nbytes}"})
            return
        value = sync(store.get(key, prototype, byte_range=RangeByteRequest(start, stop)))
        if value is None:
            raise KeyError(key)
        headers = {"Content-Type": _kind(key), "Content-Range": f"bytes {start}-{stop - 1}/{nbytes}"}
        self._send(HTTPStatus.PARTIAL_CONTENT, value.to_bytes(), headers)

    def _send(
        self, status: HTTPStatus, body: bytes, headers: dict[str, str] | None = None, *, validated: bool = False
    ) -> None:
        headers = {"Accept-Ranges": "bytes", "Cache-Control": "no-cache", **(headers or {})}
        if validated:
            headers["ETag"] = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
            if headers["ETag"] in self.headers.get("If-None-Match", ""):
                status, body = HTTPStatus.NOT_MODIFIED, b""
        if self.server.origins is not None:
            headers["Access-Control-Allow-Origin"] = self.server.origins
            headers["Access-Control-Expose-Headers"] = _HEADERS
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: who serves large stores does not want a line a chunk."""


def _extent(asked: re.Match[str], nbytes: int) -> tuple[int, int]:
    """The bytes that a range means: from a first to a last one, or the last so many."""
    first, last = asked.groups()
    if not first:
        return max(nbytes - int(last), 0), nbytes
    return int(first), min(int(last) + 1, nbytes) if last else nbytes


def _kind(key: str) -> str:
    name = key.rpartition("/")[2]
    return "application/json" if name.endswith(".json") or name.startswith(".z") else "application/octet-stream"
