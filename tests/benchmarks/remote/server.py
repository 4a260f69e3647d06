"""An S3 server on loopback behind a proxy that counts requests and makes each wait, as a network does."""

from __future__ import annotations

import http.client
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["BUCKET", "Bucket", "bucket_server"]

BUCKET = "bench"
KEY, SECRET, REGION = "testing", "testing", "us-east-1"
# What belongs to one connection, and is not passed on.
_OWN_HEADERS = {"connection", "transfer-encoding", "server", "date", "content-length"}


@dataclass
class Bucket:
    """One bucket, and what was asked of it.

    Parameters
    ----------
    endpoint
        The URL of the proxy.
    client
        A boto3 client that does not go through it.
    latency_s, nbytes_per_s
        What each request waits for, and how fast its answer comes; None: at once.
    requests, nbytes, peak
        Counted since `reset`: requests, bytes of answers, and the most requests at once.
    """

    endpoint: str
    client: Any
    latency_s: float
    nbytes_per_s: float | None = None
    requests: int = 0
    nbytes: int = 0
    peak: int = 0
    _active: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def options(self) -> dict[str, Any]:
        """``storage_options`` for s3fs, and for packstore."""
        return {"key": KEY, "secret": SECRET, "client_kwargs": {"endpoint_url": self.endpoint, "region_name": REGION}}

    def obstore(self, prefix: str | None = None) -> Any:
        """The bucket as a store of obstore."""
        from obstore.store import S3Store

        return S3Store(
            BUCKET,
            prefix=prefix,
            access_key_id=KEY,
            secret_access_key=SECRET,
            region=REGION,
            endpoint=self.endpoint,
            client_options={"allow_http": True},
        )

    def put(self, key: str, data: bytes) -> None:
        """Write an object, uncounted."""
        self.client.put_object(Bucket=BUCKET, Key=key, Body=data)

    def reset(self) -> None:
        """Count from zero."""
        with self._lock:
            self.requests = self.nbytes = self.peak = 0

    @contextmanager
    def asked(self) -> Iterator[None]:
        """Count the request that the block answers."""
        with self._lock:
            self.requests += 1
            self._active += 1
            self.peak = max(self.peak, self._active)
        try:
            yield
        finally:
            with self._lock:
                self._active -= 1

    def answered(self, nbytes: int) -> None:
        """Count the bytes of an answer, and take the time that they need."""
        with self._lock:
            self.nbytes += nbytes
        if self.nbytes_per_s:
            time.sleep(nbytes / self.nbytes_per_s)


@contextmanager
def bucket_server(latency_s: float, nbytes_per_s: float | None = None) -> Iterator[Bucket]:
    """Start the server and its proxy for the block."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    port = moto.get_host_and_port()[1]
    client = boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        aws_access_key_id=KEY,
        aws_secret_access_key=SECRET,
        region_name=REGION,
    )
    client.create_bucket(Bucket=BUCKET)
    bucket = Bucket("", client, latency_s, nbytes_per_s)

    class Handler(_Proxy):
        behind = port
        of = bucket

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    proxy.daemon_threads = True
    bucket.endpoint = f"http://127.0.0.1:{proxy.server_port}"
    threading.Thread(target=proxy.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield bucket
    finally:
        proxy.shutdown()
        proxy.server_close()
        moto.stop()
        client.close()


class _Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Otherwise the body of an answer waits up to 40 ms for the client to acknowledge the head.
    disable_nagle_algorithm = True
    behind: int
    of: Bucket

    def log_message(self, *_: Any) -> None:
        pass

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None
        with self.of.asked():
            time.sleep(self.of.latency_s)
            connection = http.client.HTTPConnection("127.0.0.1", self.behind)
            headers = {k: v for k, v in self.headers.items() if k.lower() not in ("connection", "transfer-encoding")}
            connection.request(self.command, self.path, body, headers)
            answer = connection.getresponse()
            data = answer.read()
            connection.close()
            self.of.answered(len(data))
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _OWN_HEADERS or (name.lower() == "content-length" and self.command == "HEAD"):
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on
