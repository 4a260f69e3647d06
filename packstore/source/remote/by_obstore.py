"""Requests through obstore: s3, http and https, where it surely means the same as fsspec.

A request names the wanted state, and its answer tells the state. Source: https://developmentseed.org/obstore/
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import unquote, urlsplit

from packstore import config
from packstore.errors import AccessError, MissingFileError, PackstoreError, ReadError, message
from packstore.source.remote.by_fsspec import check_length, is_strong, stale
from packstore.source.remote.client import Answer, Entry, State
from packstore.source.remote.requests import AGAIN, NoRangesError, ShortBodyError, ask
from packstore.source.remote.urls import masked, without_secrets

__all__ = ["ObstoreClient", "obstore_client"]

# Options of s3fs that have a name in obstore.
_S3 = {"key": "access_key_id", "secret": "secret_access_key", "token": "session_token", "endpoint_url": "endpoint"}
_S3_CLIENT = {"endpoint_url": "endpoint", "region_name": "region"}
# The process whose obstore runs threads: they do not survive a fork.
_used_by: int | None = None


def obstore_client(url: str, storage_options: Mapping[str, Any]) -> tuple[ObstoreClient, str] | None:
    """The client of a URL, and the key of the object; None where fsspec should have it."""
    global _used_by
    if _used_by not in (None, os.getpid()):
        return None
    parts = urlsplit(url)
    if "::" in url or "?" in url or "@" in parts.netloc:
        return None
    if parts.scheme in ("http", "https"):
        found: tuple[str, str, dict[str, Any]] | None = (
            None if storage_options else ("http", f"{parts.scheme}://{parts.netloc}", {})
        )
        key = unquote(parts.path)
    else:
        bucket, _, key = url.partition("://")[2].partition("/")
        found = _s3(bucket, storage_options) if parts.scheme in ("s3", "s3a") else None
    # obstore takes neither empty parts nor dots.
    if found is None or any(part in ("", ".", "..") for part in key.strip("/").split("/")):
        return None
    try:
        from obstore.store import HTTPStore, S3Store
    except ImportError:
        return None
    timeout = f"{float(config.get('remote.timeout_seconds')):g}s"
    second = timedelta(seconds=1)
    # One rule for asking again is enough: that of `packstore.source.remote.requests`.
    pauses = {"init_backoff": second, "max_backoff": second, "base": 2}
    more: dict[str, Any] = {
        "client_options": {"allow_http": True, "timeout": timeout, "connect_timeout": timeout},
        "retry_config": {"max_retries": 0, "retry_timeout": second, "backoff": pauses},
    }
    kind, where, options = found
    store = HTTPStore.from_url(where, **more) if kind == "http" else S3Store(where, **options, **more)
    _used_by = os.getpid()
    return ObstoreClient(store, url, storage_options), key.strip("/")


def _s3(bucket: str, storage_options: Mapping[str, Any]) -> tuple[str, str, dict[str, Any]] | None:
    """What makes a store of obstore out of the options of s3fs; None where some have no meaning there."""
    out: dict[str, Any] = {"virtual_hosted_style_request": False}
    for name, value in storage_options.items():
        if name == "client_kwargs" and isinstance(value, Mapping) and value.keys() <= _S3_CLIENT.keys():
            out.update({_S3_CLIENT[k]: v for k, v in value.items()})
        elif name == "anon" and isinstance(value, bool):
            out["skip_signature"] = value
        elif name in _S3 and isinstance(value, str):
            out[_S3[name]] = value
        else:
            return None
    named = {"access_key_id", "secret_access_key"} <= out.keys() or "AWS_ACCESS_KEY_ID" in os.environ
    if not (named or out.get("skip_signature")):
        # s3fs looks into profiles and files that obstore does not know.
        return None
    if "endpoint" not in out and "region" not in out and "AWS_REGION" not in os.environ:
        # s3fs finds the region of a bucket; obstore has to be told.
        return None
    out.setdefault("region", os.environ.get("AWS_REGION", "us-east-1"))
    if "endpoint" not in out:
        out.pop("virtual_hosted_style_request")
    return "s3", bucket, out


class ObstoreClient:
    """Objects of one bucket or host.

    Parameters
    ----------
    store
        obstore's.
    url
        What it was made for.
    storage_options
        Whose values are kept out of errors.
    """

    def __init__(self, store: Any, url: str, storage_options: Mapping[str, Any]) -> None:
        self.store = store
        self.url = url
        self.storage_options = storage_options

    def get(self, key: str, start: int | None = None, stop: int | None = None, *, etag: str = "") -> Answer:
        # docstring inherited
        import obstore

        options: dict[str, Any] = {"if_match": etag} if is_strong(etag) else {}
        part = ""
        if start is not None:
            part = f" bytes {start} to {'the end' if stop is None else stop}"
            options["range"] = {"suffix": -start} if start < 0 else {"offset": start} if stop is None else (start, stop)

        def request() -> Answer:
            try:
                found = obstore.get(self.store, key, options=options)
                data, state = found.bytes(), _state(found.meta)
            except Exception as error:
                if "Range request not supported" in str(error):
                    raise NoRangesError from None
                if _status(error) == 416 and not etag:
                    # An empty object has no range.
                    return Answer(b"", _state(obstore.head(self.store, key)))
                raise
            check_length(data, start, stop, state)
            return Answer(memoryview(data), state)  # type: ignore[arg-type]  # any buffer

        found: Answer = self._ask(request, f"reading{part} of", opened=bool(etag))
        return found

    def head(self, key: str) -> State:
        # docstring inherited
        import obstore

        found: State = self._ask(lambda: _state(obstore.head(self.store, key)), "opening")
        return found

    def list(self, prefix: str, *, deep: bool = False) -> Iterator[Entry]:
        # docstring inherited
        import obstore

        below = prefix.strip("/") + "/" if prefix.strip("/") else ""
        if not deep:
            found = self._ask(lambda: obstore.list_with_delimiter(self.store, below or None), "listing")
            for name in found["common_prefixes"]:
                yield Entry(name.rstrip("/").rpartition("/")[2], None)
            objects = found["objects"]
        else:
            objects = self._ask(lambda: obstore.list(self.store, below or None).collect(), "listing")
        for each in objects:
            yield Entry(each["path"][len(below) :], _state(each))

    def _ask(self, call: Any, what: str, *, opened: bool = False) -> Any:
        return ask(call, lambda error: self._refuse(error, what, opened))

    def _refuse(self, error: Exception, what: str, opened: bool) -> tuple[PackstoreError, bool]:
        """An error of obstore as one of packstore, and whether asking again may help."""
        name, status, kind = masked(self.url), _status(error), type(error).__name__
        if kind == "PreconditionError" or (opened and status in (412, 416)):
            return stale(self.url), False
        if isinstance(error, FileNotFoundError) or kind == "NotFoundError":
            if opened:
                return stale(self.url, "nothing of that name"), False
            return MissingFileError(message(what, name, expected="a file", got="nothing of that name")), False
        if status in (401, 403) or kind in ("PermissionDeniedError", "UnauthenticatedError"):
            hint = "Look at the credentials in storage_options=, or in the environment"
            got = f"status {status}" if status else "a refusal"
            return AccessError(message(what, name, expected="a file that may be read", got=got, hint=hint)), False
        got = f"status {status}" if status else _reason(error)
        again = status in AGAIN or (status is None and kind in ("GenericError", "ShortBodyError"))
        text = message(what, name, expected="an answer", got=without_secrets(got, self.url, self.storage_options))
        return ReadError(text), again


def _state(meta: Any) -> State:
    return State(int(meta["size"]), str(meta["e_tag"] or meta["last_modified"]))


def _status(error: Exception) -> int | None:
    found = re.search(r"status code: (\d{3})", str(error))
    return int(found[1]) if found else None


def _reason(error: Exception) -> str:
    """The system's words, which obstore has at the end of a chain; its first line without the URL otherwise."""
    if isinstance(error, ShortBodyError):
        return str(error)
    found = re.findall(r'message: "([^"]*)"', str(error))
    return found[-1] if found else re.sub(r"Error performing \w+ \S+ in \S+ - ", "", str(error).partition("\n")[0])
