"""Servers on loopback for the tests of remote files: they count requests, and fail as they are told to."""

from __future__ import annotations

import hashlib
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

__all__ = ["HttpServer", "Request", "s3_server"]


class Request(NamedTuple):
    """What a client asked for, and the status of the answer."""

    method: str
    path: str
    range: str | None
    status: int


class HttpServer:
    """Files in memory over HTTP.

    Parameters
    ----------
    ranges
        Whether ``Range`` is obeyed; else all of a file is sent.
    etag, last_modified
        Whether answers have these headers.
    conditional
        Whether ``If-Match`` is obeyed.
    latency_s
        What each request takes besides.
    """

    def __init__(
        self,
        *,
        ranges: bool = True,
        etag: bool = True,
        last_modified: bool = True,
        conditional: bool = True,
        latency_s: float = 0.0,
    ) -> None:
        self.ranges, self.etag, self.last_modified, self.conditional = ranges, etag, last_modified, conditional
        self.latency_s = latency_s
        self.files: dict[str, tuple[bytes, float]] = {}
        self.requests: list[Request] = []
        # By path: what happens to the next requests, "cut", "reset" or a status.
        self.faults: dict[str, list[str | int]] = {}
        self.peak = self._active = 0
        self._lock = threading.Lock()
        outer = self

        class Handler(_Handler):
            server_of = outer

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def put(self, path: str, data: bytes, mtime: float | None = None) -> str:
        """Serve `data` at `path`; returns the URL."""
        self.files[f"/{path}"] = (data, time.time() if mtime is None else mtime)
        return f"{self.url}/{path}"

    @contextmanager
    def counting(self) -> Iterator[list[Request]]:
        """The requests that the block makes."""
        seen: list[Request] = []
        before = len(self.requests)
        yield seen
        seen.extend(self.requests[before:])

    def __enter__(self) -> HttpServer:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of: HttpServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        server = self.server_of
        with server._lock:
            server._active += 1
            server.peak = max(server.peak, server._active)
        try:
            time.sleep(server.latency_s)
            path = unquote(urlsplit(self.path).path)
            faults = server.faults.get(path)
            self._send(path, faults.pop(0) if faults else None)
        finally:
            with server._lock:
                server._active -= 1

    def _send(self, path: str, fault: str | int | None) -> None:
        server = self.server_of
        wanted = self.headers.get("Range")
        if fault == "reset":
            server.requests.append(Request(self.command, path, wanted, 0))
            # Closing without lingering sends a reset.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        data, mtime = server.files.get(path, (b"", 0.0))
        status = 200 if path in server.files else 404
        headers: dict[str, str] = {}
        if isinstance(fault, int):
            status, data = fault, b"no"
        elif status == 404:
            data = b"none of that name"
        else:
            etag = f'"{hashlib.md5(data + struct.pack("d", mtime)).hexdigest()}"'
            if server.etag:
                headers["ETag"] = etag
            if server.last_modified:
                headers["Last-Modified"] = formatdate(mtime, usegmt=True)
            match = self.headers.get("If-Match")
            if server.conditional and match is not None and match != etag:
                status, data = 412, b"changed"
            elif server.ranges:
                headers["Accept-Ranges"] = "bytes"
                status, data = _part(wanted, data, headers)
        server.requests.append(Request(self.command, path, wanted, status))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault == "cut":
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
        else:
            self.wfile.write(data)


def _part(wanted: str | None, data: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
    found = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted or "")
    if found is None:
        return 200, data
    first, last = found.groups()
    start = int(first) if first else max(len(data) - int(last), 0)
    stop = min(int(last) + 1, len(data)) if first and last else len(data)
    if start >= len(data):
        headers["Content-Range"] = f"bytes */{len(data)}"
        return 416, b""
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(data)}"
    return 206, data[start:stop]


@contextmanager
def s3_server() -> Iterator[tuple[dict[str, Any], Any]]:
    """An S3 server with the bucket "bucket": ``storage_options`` as s3fs takes them, and a boto3 client."""
    import logging

    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    options = {"key": "testing", "secret": "marker-of-a-secret", "client_kwargs": {"endpoint_url": endpoint}}
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id="testing",
        aws_secret_access_key="marker-of-a-secret",
        region_name="us-east-1",
    )
    client.create_bucket(Bucket="bucket")
    try:
        yield options, client
    finally:
        server.stop()
