"""Requests through obstore: s3, http and https, where it surely means the same as fsspec.

A request names the wanted state, and its answer tells the state. Source: https://developmentseed.org/obstore/
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from email.utils import format_datetime
from typing import Any
from urllib.parse import quote, unquote

from packstore import config
from packstore.errors import AccessError, MissingFileError, PackstoreError, ReadError, message
from packstore.source.remote.by_fsspec import check_length, fsspec_client, is_strong, stale
from packstore.source.remote.client import Answer, Entry, State
from packstore.source.remote.requests import AGAIN, NoRangesError, ShortBodyError, ask
from packstore.source.remote.urls import masked, without_secrets

__all__ = ["ObstoreClient", "obstore_client", "settings_of"]

_OPTIONS = {"key", "secret", "token", "anon", "endpoint_url", "client_kwargs"}
# Variables that botocore looks at, and obstore does not, or in another way.
_FOREIGN = ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT")
# One store a bucket or host.
_stores: dict[str, Any] = {}
_lost = False


def obstore_client(url: str, storage_options: Mapping[str, Any]) -> tuple[ObstoreClient, str] | None:
    """The client of a URL, and the key of the object; None where fsspec should have it."""
    found = None if _lost else settings_of(url, storage_options)
    if found is None:
        return None
    where, key, settings = found
    known = repr((where, sorted(settings.items())))
    if known not in _stores:
        try:
            _stores[known] = _make_store(where, settings)
        except Exception:  # not installed, or settings that it does not take: fsspec says what is wrong with them
            return None
    return ObstoreClient(_stores[known], url, storage_options), key


def settings_of(url: str, storage_options: Mapping[str, Any]) -> tuple[str, str, dict[str, Any]] | None:
    """What obstore needs to read a URL as fsspec would: the store's URL, the key there, the store's settings.

    None where it would not name the same object, or not find the same credentials.
    """
    scheme, _, rest = url.partition("://")
    host, _, key = rest.partition("/")
    if not host or "::" in url or "?" in url or "@" in host or "[" in host:
        return None
    if scheme in ("http", "https"):
        # A fragment names nothing, and an encoded slash is no slash.
        key = unquote(key).rstrip("/")
        if storage_options or "#" in url or "%2f" in url.lower() or not _is_plain(key):
            return None
        return f"{scheme}://{host}", key, {}
    if scheme not in ("s3", "s3a") or not _is_plain(key.rstrip("/")):
        return None
    settings = _s3_settings(storage_options)
    return None if settings is None else (f"s3://{host}", key.rstrip("/"), settings)


def _s3_settings(options: Mapping[str, Any]) -> dict[str, Any] | None:
    inner = options.get("client_kwargs") or {}
    if options.keys() - _OPTIONS or inner.keys() - {"endpoint_url", "region_name"}:
        return None
    if any(name in os.environ for name in _FOREIGN):
        return None
    endpoint = options.get("endpoint_url") or inner.get("endpoint_url")
    region = inner.get("region_name") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not endpoint and not region:
        return None  # botocore finds the bucket's region
    settings: dict[str, Any] = {"region": region or "us-east-1"}
    if endpoint:
        settings["endpoint"] = endpoint
    if options.get("anon"):
        return settings | {"skip_signature": True}
    key, secret, token = (options.get(name) for name in ("key", "secret", "token"))
    if key and secret and (token or "AWS_SESSION_TOKEN" not in os.environ):
        settings |= {"access_key_id": key, "secret_access_key": secret}
        return settings | {"session_token": token} if token else settings
    from_environment = "AWS_ACCESS_KEY_ID" in os.environ and "AWS_SECRET_ACCESS_KEY" in os.environ
    return settings if from_environment and not (key or secret or token) else None


def _is_plain(key: str) -> bool:
    """Whether obstore takes a key as it is: no empty part, none that it resolves."""
    return all(part not in ("", ".", "..") for part in key.split("/")) and key.isprintable() and "\ufffd" not in key


def _make_store(where: str, settings: Mapping[str, Any]) -> Any:
    from obstore.store import HTTPStore, S3Store

    seconds = float(config.get("remote.timeout_seconds"))
    # Silence ends a request; a slow line does not.
    silence = f"{seconds:g}s"
    client = {"allow_http": True, "connect_timeout": silence, "read_timeout": silence, "timeout": "600s"}
    # One rule for asking again is enough: that of `packstore.source.remote.requests`.
    more: Any = {"client_options": client, "retry_config": {"max_retries": 0}}
    return S3Store(where[5:], **settings, **more) if where.startswith("s3://") else HTTPStore.from_url(where, **more)


def _forget() -> None:
    """obstore's threads are not in a forked child, where its requests would wait for them for ever."""
    global _lost
    _lost = "obstore" in sys.modules
    _stores.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


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
        what = "reading" if etag else "opening"
        if start is not None:
            if etag:
                what = f"reading bytes {start} to {'the end' if stop is None else stop} of"
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

        found: Answer = self._ask(request, what, opened=bool(etag))
        return found

    def head(self, key: str) -> State:
        # docstring inherited
        import obstore

        found: State = self._ask(lambda: _state(obstore.head(self.store, key)), "opening")
        return found

    def list(self, prefix: str, *, deep: bool = False) -> Iterator[Entry]:
        # docstring inherited
        import obstore

        if not self.url.startswith("s3"):
            # What obstore asks there is WebDAV, which hardly a server knows.
            scheme, _, rest = self.url.partition("://")
            folder = f"{scheme}://{rest.partition('/')[0]}/{quote(prefix)}"
            yield from fsspec_client(self.url, self.storage_options)[0].list(folder, deep=deep)
            return
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
    changed = meta["last_modified"]
    # The text of the header, as fsspec gives it; an object without one has the epoch's.
    text = format_datetime(changed, usegmt=True) if changed.timestamp() else ""
    return State(int(meta["size"]), meta["e_tag"] or text)


def _status(error: Exception) -> int | None:
    found = re.search(r"status code: (\d{3})", str(error))
    return int(found[1]) if found else None


def _reason(error: Exception) -> str:
    """The system's words, which obstore has at the end of a chain; its first line without the URL otherwise."""
    if isinstance(error, ShortBodyError):
        return str(error)
    found = re.findall(r'message: "([^"]*)"', str(error))
    return found[-1] if found else re.sub(r"Error performing \w+ \S+ in \S+ - ", "", str(error).partition("\n")[0])
