"""Clients of URLs over real servers: ranges, states, faults, retries, secrets, counted requests."""

from __future__ import annotations

import io
import os
import pickle
import traceback
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dask.base import tokenize

import packstore
from packstore import config
from packstore.errors import AccessError, MissingFileError, PackstoreError, ReadError, StaleFileError
from packstore.source import masked
from packstore.source.remote import by_obstore, clients
from packstore.source.remote.by_fsspec import HttpClient, S3Client, fsspec_client
from packstore.source.remote.by_obstore import ObstoreClient, obstore_client, settings_of
from packstore.source.remote.client import Client
from packstore.source.remote.source import RemoteSource
from tests.servers import HttpServer, s3_server

pytest.importorskip("aiohttp")
pytest.importorskip("obstore")

DATA = bytes(range(256)) * 20
X = np.arange(6000.0).reshape(60, 100)
MARK = "marker-of-a-secret"


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with HttpServer() as found, config.set({"remote.retry_seconds": 3}):
        yield found


@pytest.fixture(params=["obstore", "fsspec"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The library that makes the requests; clients that were made before are not used."""
    clients._clients.clear()
    if request.param == "fsspec":
        monkeypatch.setattr(by_obstore, "obstore_client", lambda *_: None)
    return str(request.param)


def client_of(url: str, library: str, options: dict[str, Any] | None = None) -> tuple[Client, str]:
    found = obstore_client(url, options or {}) if library == "obstore" else fsspec_client(url, options or {})
    assert found is not None
    assert isinstance(found[0], ObstoreClient if library == "obstore" else (HttpClient, S3Client))
    return found


@pytest.fixture(scope="module")
def s3() -> Iterator[tuple[dict[str, Any], Any]]:
    pytest.importorskip("moto")
    pytest.importorskip("s3fs")
    with s3_server() as found:
        yield found


NAMES = ["a.bin", "folder/with space.bin", "100%.bin", "a#b.bin", "a+b.bin", "ü.bin"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["http", "s3"])
def test_ranges(server: HttpServer, s3: tuple[dict[str, Any], Any], library: str, kind: str, name: str) -> None:
    options, bucket = s3
    if kind == "s3":
        bucket.put_object(Bucket="bucket", Key=name, Body=DATA)
        client, key = client_of(f"s3://bucket/{name}", library, options)
    else:
        if "#" in name or "%" in name:
            pytest.skip("no such URL")
        server.put(name, DATA)
        client, key = client_of(f"{server.url}/{name.replace(' ', '%20')}", library)
    whole = client.get(key)
    assert bytes(whole.data) == DATA and whole.state.nbytes == len(DATA) and whole.state.etag.startswith('"')
    assert client.head(key) == whole.state
    for start, stop in (0, 10), (5, None), (-7, None), (5000, 9999), (-99_999, None):
        found = client.get(key, start, stop, etag=whole.state.etag)
        assert bytes(found.data) == DATA[start:stop] and found.state == whole.state
    with pytest.raises(StaleFileError, match="got another version"):
        client.get(key, 0, 4, etag='"another"')


@pytest.mark.parametrize("kind", ["http", "s3"])
def test_empty_and_missing(server: HttpServer, s3: tuple[dict[str, Any], Any], library: str, kind: str) -> None:
    options, bucket = s3
    bucket.put_object(Bucket="bucket", Key="empty", Body=b"")
    server.put("empty", b"")
    where, given = ("s3://bucket", options) if kind == "s3" else (server.url, {})
    client, key = client_of(f"{where}/empty", library, given)
    found = client.get(key, 0, 100)
    assert bytes(found.data) == b"" and found.state.nbytes == 0
    client, key = client_of(f"{where}/absent", library, given)
    for ask in (lambda: client.get(key, 0, 100), lambda: client.head(key)):
        with pytest.raises(MissingFileError, match="absent: expected a file, got nothing of that name"):
            ask()
    with pytest.raises(StaleFileError, match="got nothing of that name"):
        client.get(key, 0, 100, etag='"it was there"')


@pytest.mark.parametrize("kind", ["http", "s3"])
def test_an_object_that_is_replaced_is_stale(
    server: HttpServer, s3: tuple[dict[str, Any], Any], library: str, kind: str
) -> None:
    options, bucket = s3

    def put(values: Any) -> None:
        buffer = io.BytesIO()
        np.save(buffer, values)
        bucket.put_object(Bucket="bucket", Key="x.npy", Body=buffer.getvalue())
        server.put("x.npy", buffer.getvalue())

    put(X)
    given: Any = options if kind == "s3" else None
    url = "s3://bucket/x.npy" if kind == "s3" else f"{server.url}/x.npy"
    array = packstore.open_array(url, storage_options=given)
    lazy = packstore.from_file(url, storage_options=given)
    np.testing.assert_array_equal(array[10:20], X[10:20])
    put(-X)
    reads: list[Callable[[], Any]] = [lambda: array[10:20], lambda: array[...], lambda: lazy.compute()]
    for read in reads:
        with pytest.raises(StaleFileError, match="expected the object that was opened, got another version"):
            read()
    np.testing.assert_array_equal(packstore.open_array(url, storage_options=given)[10:20], -X[10:20])


@pytest.mark.parametrize(
    "kwargs",
    [{"etag": False}, {"conditional": False}, {"etag": False, "conditional": False}],
    ids=["times", "unconditional", "times, unconditional"],
)
def test_servers_that_know_less(library: str, kwargs: dict[str, bool]) -> None:
    with HttpServer(**kwargs) as server:
        url = server.put("a.bin", DATA, mtime=1_000_000)
        source = RemoteSource(url)
        assert bytes(source.read_ranges([(3, 4)])[0]) == DATA[3:7]
        server.put("a.bin", DATA[::-1], mtime=2_000_000)
        with pytest.raises(StaleFileError):
            source.read_ranges([(3, 4)])


def test_a_server_without_ranges_is_read_once(library: str) -> None:
    with HttpServer(ranges=False) as server:
        url = server.put("a.bin", DATA)
        source = RemoteSource(url)
        with server.counting() as requests:
            for offset in range(0, 5000, 500):
                assert bytes(source.read_ranges([(offset, 7)])[0]) == DATA[offset : offset + 7]
        assert {request.method for request in requests} == {"HEAD"} and len(requests) == 10
        server.put("a.bin", DATA[::-1])
        with pytest.raises(StaleFileError):
            source.read_ranges([(3, 4)])


@pytest.mark.parametrize("fault", [503, 500, 429, "cut", "reset"])
def test_what_may_pass_is_asked_again(server: HttpServer, library: str, fault: str | int) -> None:
    url = server.put("a.bin", DATA)
    source = RemoteSource(url)
    server.faults["/a.bin"] = [fault, fault]
    with server.counting() as requests:
        assert bytes(source.read_ranges([(3, 4000)])[0]) == DATA[3:4003]
    assert len(requests) >= 3


def test_what_does_not_pass_is_an_error(server: HttpServer, library: str) -> None:
    url = server.put("a.bin", DATA)
    source = RemoteSource(url)
    server.faults["/a.bin"] = [503] * 50
    with (
        config.set({"remote.retries": 2}),
        pytest.raises(ReadError, match=r"bytes 3 to 7 of http://.*a\.bin.*status 503.*Asked 3 times\."),
    ):
        source.read_ranges([(3, 4)])
    for status in 401, 403:
        server.faults["/a.bin"] = [status]
        with pytest.raises(AccessError, match=f"status {status}"):
            source.read_ranges([(3, 4)])
    server.faults["/a.bin"] = [400]
    with pytest.raises(ReadError, match=r"status 400\.$"):
        source.read_ranges([(3, 4)])
    server.faults["/a.bin"] = [404]
    with pytest.raises(StaleFileError, match="got nothing of that name"):
        source.read_ranges([(3, 4)])


def test_a_dead_endpoint(library: str) -> None:
    with HttpServer() as server:
        url = server.put("a.bin", DATA)
    with config.set({"remote.retries": 1}), pytest.raises(ReadError, match=r"a\.bin: expected .*Asked 2 times\."):
        RemoteSource(url)


def test_requests_at_once_are_bounded(server: HttpServer, library: str) -> None:
    server.latency_s = 0.02
    url = server.put("big.bin", bytes(1 << 20))
    source = RemoteSource(url)
    with config.set({"remote.concurrency": 3, "remote.gap_nbytes": 0}):
        server.peak = 0
        source.read_ranges([(i << 15, 100) for i in range(30)])
    assert 1 < server.peak <= 3


# -- secrets ----------------------------------------------------------------------------------------------------------


def texts_of(error: BaseException) -> str:
    chain: list[BaseException] = [error]
    while chain[-1].__cause__ or chain[-1].__context__:
        chain.append(chain[-1].__cause__ or chain[-1].__context__)  # type: ignore[arg-type]
    return "".join(traceback.format_exception(error)) + "".join(map(repr, chain)) + "".join(map(str, chain))


def test_no_text_has_a_secret(server: HttpServer, s3: tuple[dict[str, Any], Any]) -> None:
    host = server.url.removeprefix("http://")
    buffer = io.BytesIO()
    np.save(buffer, X)
    server.put("x.npy", buffer.getvalue())
    options, bucket = s3
    bucket.put_object(Bucket="bucket", Key="x.npy", Body=buffer.getvalue())
    cases: list[tuple[str, dict[str, Any] | None]] = [
        (f"http://me:{MARK}@{host}/x.npy", None),
        (f"{server.url}/x.npy?X-Amz-Signature={MARK}&part=1", None),
        ("s3://bucket/x.npy", options),
    ]
    for url, given in cases:
        array = packstore.open_array(url, storage_options=given)
        store = packstore.open_store(url, storage_options=given)
        lazy = packstore.from_file(url, storage_options=given)
        many = packstore.from_files([url, url], storage_options=given)
        assert array.lazy is not None
        location = array.lazy.location
        shown = [array, store, str(store), lazy, lazy._repr_html_(), many, list(many.dask), array.lazy, location]
        shown += [location.fingerprint, location.path, array.info, tokenize(array), list(lazy.dask), array.store_path]
        assert MARK not in "".join(map(repr, shown)), url
        np.testing.assert_array_equal(array[...], X)
        np.testing.assert_array_equal(many.compute(), np.concatenate([X, X]))
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(array))[...], X)
        bad = url.replace("x.npy", "absent.npy")
        with pytest.raises(PackstoreError) as caught:
            packstore.open_array(bad, storage_options=given)
        assert MARK not in texts_of(caught.value) and "absent.npy" in str(caught.value)
    for status in 403, 400:
        for url, _ in cases[:2]:
            server.faults["/x.npy"] = [status] * 5
            with pytest.raises(ReadError) as caught:
                packstore.open_array(url)
            assert MARK not in texts_of(caught.value)
    server.faults.clear()
    with pytest.raises(PackstoreError) as caught:
        packstore.open_array("s3://bucket/x.npy", storage_options={"nonsense": MARK})
    assert MARK not in texts_of(caught.value)


def test_masks() -> None:
    assert masked("s3://bucket/a.npy") == "s3://bucket/a.npy"
    assert masked("zip://a.npy::https://u:p@h/x.zip?sig=1") == "zip://a.npy::https://***@h/x.zip?sig=***"
    assert masked("/local/a?b=c") == "/local/a?b=c"


# -- chains of file systems -------------------------------------------------------------------------------------------


def test_members_of_an_archive(tmp_path: Path, server: HttpServer) -> None:
    def write(values: Any) -> None:
        buffer = io.BytesIO()
        np.save(buffer, values)
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr("x.npy", buffer.getvalue())
        server.put("a.zip", (tmp_path / "a.zip").read_bytes())

    write(X)
    for url in f"zip://x.npy::{tmp_path}/a.zip", f"zip://x.npy::{server.url}/a.zip":
        write(X)
        array = packstore.open_array(url)
        np.testing.assert_array_equal(array[...], X)
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(array))[3], X[3])
        write(-X)
        with pytest.raises(StaleFileError):
            array[...]
        np.testing.assert_array_equal(packstore.open_array(url)[...], -X)


def test_cached_file_systems(server: HttpServer, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, X)
    url = f"simplecache::{server.put('x.npy', buffer.getvalue())}"
    array = packstore.open_array(url, storage_options={"simplecache": {"cache_storage": str(tmp_path)}})
    np.testing.assert_array_equal(array[...], X)


def test_both_libraries_tell_the_same_state() -> None:
    """A forked child reads by the other library than its parent."""
    for kwargs in ({}, {"etag": False}, {"etag": False, "last_modified": False}):
        with HttpServer(**kwargs) as server:
            url = server.put("a.bin", DATA)
            client, key = client_of(url, "obstore")
            other, same_key = client_of(url, "fsspec")
            assert client.get(key).state == other.get(same_key).state == RemoteSource(url).fingerprint[1:5:3]


@pytest.mark.parametrize("url", ["s3://bu[cket/x.npy", "http://[:1/a.npy", "s3://", "http://"])
def test_bad_urls(url: str) -> None:
    with config.set({"remote.retries": 0}), pytest.raises(PackstoreError):
        packstore.open_array(url, storage_options={"anon": True} if url.startswith("s3") else None)


def test_what_obstore_would_understand_differently(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    there = {"endpoint_url": "http://127.0.0.1:1"}
    both = {"key": "a", "secret": "b", **there}
    assert settings_of("s3://b/k", both) is not None
    assert settings_of("http://h/a%20b", {}) == ("http://h", "a b", {})
    for url, options in (
        ("http://h/a%2Fb", {}),
        ("http://h/a?b", {}),
        ("http://h/a#b", {}),
        ("http://u@h/a", {}),
        ("http://h/a", {"headers": {}}),
        ("s3://b//k", both),
        ("s3://b/../k", both),
        ("s3://b/k", {"profile": "p", **both}),
        ("s3://b/k", there),
        ("s3://b/k", {"key": "a", "secret": "b"}),
        ("gs://b/k", {}),
    ):
        assert settings_of(url, options) is None, url
    monkeypatch.setenv("AWS_PROFILE", "p")
    assert settings_of("s3://b/k", both) is None


def test_paths_that_bring_options_along(s3: tuple[dict[str, Any], Any]) -> None:
    upath = pytest.importorskip("upath")
    options, bucket = s3
    buffer = io.BytesIO()
    np.save(buffer, X)
    for name in "a", "b":
        bucket.put_object(Bucket="bucket", Key=f"up/{name}.npy", Body=buffer.getvalue())
    path = upath.UPath("s3://bucket/up/a.npy", **options)
    np.testing.assert_array_equal(packstore.open_array(path)[3], X[3])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(packstore.from_file(path)))[3].compute(), X[3])
    both = [path, upath.UPath("s3://bucket/up/b.npy", **options)]
    for many in both, upath.UPath("s3://bucket/up/*.npy", **options):
        np.testing.assert_array_equal(packstore.from_files(many).compute(), np.concatenate([X, X]))
