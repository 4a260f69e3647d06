"""Requests through fsspec: every URL and chain of file systems that it knows.

http and S3 are asked through the connections of their file systems, in one request that names the wanted state and
whose answer tells the state. All others have no such request: their state is asked for after each read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from packstore import config
from packstore.errors import AccessError, MissingFileError, PackstoreError, ReadError, StaleFileError, message
from packstore.source.refusals import refusal
from packstore.source.remote.client import Answer, Entry, State
from packstore.source.remote.requests import AGAIN, NoRangesError, ShortBodyError, ask
from packstore.source.remote.urls import masked, without_secrets

__all__ = [
    "FsspecClient",
    "clean_refusal",
    "file_system",
    "fsspec_client",
    "is_strong",
    "may_pass",
    "range_header",
    "stale",
    "state_of",
]

# What file systems of fsspec say of an object that changes with it.
_VERSIONS = ("ETag", "etag", "VersionId", "generation", "md5Hash", "Content-MD5", "Digest", "CRC", "checksum")
_TIMES = ("LastModified", "last_modified", "Last-Modified", "mtime", "modified", "updated", "created", "date_time")


class FsspecClient:
    """Objects of one file system of fsspec.

    Parameters
    ----------
    fs
        The file system.
    url
        What it was made for.
    storage_options
        Its options, whose values are kept out of errors.
    below
        The client and the key of the file that an archive is in, whose state belongs to that of its members.
    """

    def __init__(
        self, fs: Any, url: str, storage_options: Mapping[str, Any], below: tuple[FsspecClient, str] | None = None
    ) -> None:
        self.fs = fs
        self.url = url
        self.storage_options = storage_options
        self.below = below

    def get(self, key: str, start: int | None = None, stop: int | None = None, *, etag: str = "") -> Answer:
        # docstring inherited
        part = "" if start is None else f" bytes {start} to {'the end' if stop is None else stop} of"
        what = f"reading{part}" if etag else "opening"
        found: Answer = self.ask(lambda: self._request(key, start, stop, etag), what, gone=bool(etag))
        return found

    def _request(self, key: str, start: int | None, stop: int | None, etag: str) -> Answer:
        if etag and self.below is not None and self._state(key).etag != etag:
            # The directory of the archive, which the file system keeps, is of no use any more.
            raise stale(self.url)
        state = None if etag and (start or 0) >= 0 else self._state(key)
        if state is not None and start is not None and start < 0:
            start = max(state.nbytes + start, 0)
        data = self.fs.cat_file(key, start=start, end=stop)
        if etag:
            state = self._state(key)
        assert state is not None
        check_length(data, start, stop, state)
        return Answer(data, state)

    def head(self, key: str) -> State:
        # docstring inherited
        found: State = self.ask(lambda: self._state(key), "opening")
        return found

    def _state(self, key: str) -> State:
        # A listing that the file system has kept from before would hide a change.
        self.fs.invalidate_cache(key)
        found = state_of(self.fs.info(key), self.url)
        if self.below is None:
            return found
        client, archive = self.below
        around = client._state(archive)
        return State(found.nbytes, f"{found.etag} in {around.etag or around.nbytes}")

    def list(self, prefix: str, *, deep: bool = False) -> Iterator[Entry]:
        # docstring inherited
        def listing() -> Any:
            self.fs.invalidate_cache(prefix)
            return self.fs.find(prefix, detail=True) if deep else self.fs.ls(prefix, detail=True)

        found = self.ask(listing, "listing")
        for info in found.values() if isinstance(found, Mapping) else found:
            name = str(info["name"]).rstrip("/")
            name = name[len(prefix.rstrip("/")) + 1 :] if deep else name.rpartition("/")[2]
            yield Entry(name, None if info.get("type") == "directory" else state_of(info, self.url))

    def ask(self, call: Any, what: str, *, gone: bool = False) -> Any:
        """What `call` gives; its errors as packstore's. With `gone` a missing object is one that was there before."""

        def refuse(error: Exception) -> tuple[PackstoreError, bool]:
            why = clean_refusal(error, self.url, self.storage_options, what)
            if gone and isinstance(why, MissingFileError):
                return stale(self.url, "nothing of that name"), False
            return why, may_pass(error)

        return ask(call, refuse)


class HttpClient(FsspecClient):
    """Objects behind http and https, through the session of fsspec's file system."""

    def _request(self, key: str, start: int | None, stop: int | None, etag: str) -> Answer:
        headers = {"Accept-Encoding": "identity"}
        if start is not None:
            headers["Range"] = range_header(start, stop)
        if is_strong(etag):
            headers["If-Match"] = etag
        options = {k: v for k, v in self.fs.kwargs.items() if k != "headers"}

        async def fetch() -> tuple[int, Any, bytes]:
            session = await self.fs.set_session()
            both = {**(self.fs.kwargs.get("headers") or {}), **headers}
            async with session.get(self.fs.encode_url(key), headers=both, **options) as answer:
                if answer.status == 404:
                    raise FileNotFoundError(key)
                if answer.status not in (412, 416):
                    answer.raise_for_status()
                return answer.status, answer.headers, await answer.read()

        status, found, data = _in_loop(self.fs, fetch())
        if status == 412 or (status == 416 and etag):
            raise stale(self.url)
        if status == 416:
            return Answer(b"", State(0, _etag_of(found)))
        total = str(found.get("Content-Range", "")).rpartition("/")[2]
        state = State(int(total) if total.isdigit() else len(data), _etag_of(found))
        if start is not None and status == 200:
            raise NoRangesError
        check_length(data, start, stop, state)
        return Answer(data, state)


class S3Client(FsspecClient):
    """Objects of s3fs, in one request that asks for the state, too."""

    def _request(self, key: str, start: int | None, stop: int | None, etag: str) -> Answer:
        bucket, name, version = self.fs.split_path(key)
        wanted: dict[str, Any] = {"Bucket": bucket, "Key": name}
        if version:
            wanted["VersionId"] = version
        if start is not None:
            wanted["Range"] = range_header(start, stop)
        if is_strong(etag):
            wanted["IfMatch"] = etag

        async def fetch() -> tuple[Any, bytes]:
            answer = await self.fs._call_s3("get_object", **wanted)
            try:
                return answer, await answer["Body"].read()
            finally:
                answer["Body"].close()

        try:
            found, data = _in_loop(self.fs, fetch())
        except (OSError, ValueError) as error:
            text = str(error).lower()
            if "precondition" in text or "pre-condition" in text:
                raise stale(self.url) from None
            if "range" not in text:
                raise
            if etag:
                raise stale(self.url) from None
            return Answer(b"", self._state(key))
        total = str(found.get("ContentRange") or "").rpartition("/")[2]
        state = State(int(total) if total.isdigit() else len(data), str(found.get("ETag") or ""))
        check_length(data, start, stop, state)
        return Answer(data, state)


def fsspec_client(url: str, storage_options: Mapping[str, Any]) -> tuple[FsspecClient, str]:
    """The client of a URL, and the key of the object."""
    fs, path = file_system(url, storage_options)
    protocols = {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
    if "::" in url:
        base = url.rsplit("::", 1)[1]
        protocol = base.partition("://")[0] if "://" in base else "file"
        return FsspecClient(fs, url, storage_options, fsspec_client(base, storage_options.get(protocol, {}))), path
    if "http" in protocols and hasattr(fs, "set_session"):
        return HttpClient(fs, url, storage_options), path
    if "s3" in protocols and hasattr(fs, "_call_s3") and hasattr(fs, "split_path"):
        return S3Client(fs, url, storage_options), path
    return FsspecClient(fs, url, storage_options), path


def _in_loop(fs: Any, call: Any) -> Any:
    import fsspec.asyn

    return fsspec.asyn.sync(fs.loop, lambda: call, timeout=float(config.get("remote.timeout_seconds")))


def range_header(start: int, stop: int | None) -> str:
    """A byte range as HTTP has it.

    Examples
    --------
    >>> range_header(0, 10), range_header(5, None), range_header(-8, None)
    ('bytes=0-9', 'bytes=5-', 'bytes=-8')
    """
    if start < 0:
        return f"bytes={start}"
    return f"bytes={start}-{'' if stop is None else stop - 1}"


def is_strong(etag: str) -> bool:
    """Whether a server compares it, byte for byte, where ``If-Match`` names it."""
    return etag.startswith('"')


def check_length(data: Any, start: int | None, stop: int | None, state: State) -> None:
    """Raise where the bytes are not as many as were asked for: too few come again, all of them are no range."""
    first = 0 if start is None else max(state.nbytes + start, 0) if start < 0 else min(start, state.nbytes)
    wanted = (state.nbytes if stop is None else min(stop, state.nbytes)) - first
    if len(data) < wanted:
        raise ShortBodyError(f"{len(data)} bytes of {wanted}")
    if len(data) > wanted:
        raise NoRangesError


def _etag_of(headers: Any) -> str:
    return str(headers.get("ETag") or headers.get("Last-Modified") or "")


def state_of(info: Mapping[str, Any], url: str) -> State:
    """The state that a file system of fsspec tells of an object."""
    size = info.get("size")
    if info.get("type") == "directory" or size is None:
        raise MissingFileError(message("opening", masked(url), expected="a file of known size", got=info.get("type")))
    known = [info[name] for name in _VERSIONS if info.get(name)] or [info[name] for name in _TIMES if info.get(name)]
    return State(int(size), str(known[0]) if known else "")


def may_pass(error: Exception) -> bool:
    """Whether a request may succeed when it is made again."""
    status = _status(error)
    if status:
        return status in AGAIN
    if isinstance(error, (ShortBodyError, TimeoutError, ConnectionError)):
        return True
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"ClientPayloadError", "ServerDisconnectedError", "ClientOSError", "IncompleteRead"})


def _status(error: BaseException) -> int:
    """The HTTP status that an error of a library tells of; 0 for none."""
    for each in (error, error.__cause__):
        response = getattr(each, "response", None)
        if isinstance(response, Mapping):  # botocore
            return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if isinstance(status := getattr(each, "status", None), int):  # aiohttp
            return status
    return 0


def clean_refusal(
    error: Exception, url: str, storage_options: Mapping[str, Any], what: str = "opening"
) -> PackstoreError:
    """`refusal` for a URL: nothing in its text is a secret."""
    if isinstance(error, PackstoreError):
        return error
    name, status = masked(url), _status(error)
    if status in (401, 403):
        hint = "Look at the credentials in storage_options=, or in the environment"
        found: PackstoreError = AccessError(
            message(what, name, expected="a file that may be read", got=f"status {status}", hint=hint)
        )
    elif status and not isinstance(error, FileNotFoundError):
        found = ReadError(message(what, name, expected="an answer", got=f"status {status}"))
    elif isinstance(error, (ShortBodyError, TimeoutError)):
        got = str(error) or f"none in {config.get('remote.timeout_seconds')} s"
        found = ReadError(message(what, name, expected="an answer", got=got))
    else:
        found = refusal(error, name, what)
    return type(found)(without_secrets(str(found), url, storage_options))


def stale(url: str, got: str = "another version") -> StaleFileError:
    """The error for an object that was replaced."""
    return StaleFileError(
        message("reading", masked(url), expected="the object that was opened", got=got, hint="Open it again")
    )


def file_system(url: str, storage_options: Mapping[str, Any] | None = None) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it.

    Raises
    ------
    MissingPackageError
        fsspec needs a package that is not installed.
    OptionError
        A URL or options that fsspec does not take.
    MissingFileError, AccessError, ReadError
        The file system cannot be reached.
    """
    # Function-level, for import time: local files do not need it.
    import fsspec

    options = dict(storage_options or {})
    if "::" in url:
        # An archive's directory is kept with the file system: one that was replaced would show the old one.
        protocol = url.partition("://")[0].partition("::")[0]
        options[protocol] = {**options.get(protocol, {}), "skip_instance_cache": True}
    try:
        found: tuple[Any, str] = fsspec.core.url_to_fs(url, **options)
    except Exception as error:  # whatever the library behind fsspec raises
        why = clean_refusal(error, url, storage_options or {})
    else:
        return found
    raise why
