"""Icechunk's virtual chunks: what a file holds goes in, a repository, or what is added to a session, comes out.

Source: https://icechunk.io/en/latest/virtual/
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from packstore.errors import MissingPackageError, OptionError, message
from packstore.source.remote.urls import is_url
from packstore.writers.atomic import atomic_target
from packstore.writers.references.described import Json, Referred, ReferredFile, check_none_refused
from packstore.writers.references.v3 import documents_of, url_of

__all__ = ["write_icechunk"]

# References are handed over so many at a time.
BATCH = 50_000
STORES = {"s3": "s3_store", "gs": "gcs_store", "gcs": "gcs_store", "http": "http_store", "https": "http_store"}


def write_icechunk(out: Any, file: ReferredFile, *, skip: bool, overwrite: bool) -> Any:
    """Write arrays, groups and virtual chunks.

    Parameters
    ----------
    out
        The path of a new repository, which gets one commit; or the ``store`` of a writable session, which the caller
        commits, and whose repository has a virtual chunk container for the file.

    Returns
    -------
    icechunk.Repository or icechunk.IcechunkStore
        The new repository, which allows reading the chunks where they lie; or `out`.

    Raises
    ------
    MissingPackageError
        Icechunk is not installed.
    OptionError
        `out` is neither, or its repository has no container for the file.
    UnsupportedError
        An array that zarr v3 cannot have, unless such are to be skipped.
    """
    try:
        # Function-level: an optional package.
        import icechunk
    except ImportError as why:
        raise MissingPackageError(
            message("referring to", file.location.path, expected="Icechunk", got=str(why), hint="pip install icechunk")
        ) from None
    documents = documents_of(file)
    if not skip:
        check_none_refused(file)
    if isinstance(out, icechunk.IcechunkStore):
        _write(out, file, documents, icechunk.VirtualChunkSpec)
        return out
    if not isinstance(out, (str, os.PathLike)) or is_url(os.fspath(out)):
        expected = "out= as a local path, or as the store of an Icechunk session"
        raise OptionError(message("referring to", file.location.path, expected=expected, got=f"{out!r:.200}"))
    prefix, store = _container(icechunk, file.where)
    config = icechunk.RepositoryConfig.default()
    config.set_virtual_chunk_container(icechunk.VirtualChunkContainer(prefix, store))
    with atomic_target(os.fspath(out), overwrite=overwrite, folder=True) as target:
        repository = icechunk.Repository.create(icechunk.local_filesystem_storage(os.fspath(target)), config)
        session = repository.writable_session("main")
        _write(session.store, file, documents, icechunk.VirtualChunkSpec)
        session.commit(f"references to {file.location.path}")
    storage = icechunk.local_filesystem_storage(os.path.abspath(os.fspath(out)))
    return icechunk.Repository.open(storage, config, {prefix: _credentials(icechunk, prefix)})


def _credentials(icechunk: Any, prefix: str) -> Any:
    """What allows reading below a prefix: nothing is needed of files and web servers, the environment's of buckets."""
    scheme = prefix.partition("://")[0]
    if scheme == "s3":
        return icechunk.s3_from_env_credentials()
    if scheme in ("gs", "gcs"):
        return icechunk.gcs_from_env_credentials()
    name = "HttpAccess" if scheme.startswith("http") else "LocalFileSystemAccess"
    # Releases before 2 take None.
    return getattr(icechunk.credentials, name, None)


def _container(icechunk: Any, where: str) -> tuple[str, Any]:
    """The prefix of a file's folder or bucket, and what reads there."""
    if not is_url(where):
        folder = os.path.dirname(where)
        return f"file://{_quoted(folder).rstrip('/')}/", icechunk.local_filesystem_store(folder)
    scheme, _, rest = where.partition("://")
    if scheme not in STORES:
        known = ", ".join(sorted(STORES))
        raise OptionError(message("referring to", where, expected=f"a local file, or one of {known}", got=scheme))
    return f"{scheme}://{rest.partition('/')[0]}/", getattr(icechunk, STORES[scheme])()


def _quoted(path: str) -> str:
    return quote(path, safe="/:+@!$&'()*,;=~")


def _write(
    store: Any, file: ReferredFile, documents: dict[str, tuple[Json, Referred]], spec: Callable[..., Any]
) -> None:
    # Function-level, for import time.
    import zarr
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.metadata import ArrayV3Metadata
    from zarr.core.sync import sync

    prototype = default_buffer_prototype()
    for path, attributes in (file.groups or {"": {}}).items():
        zarr.create_group(store, path=path, attributes=attributes, overwrite=False)
    scheme, _, rest = url_of(file.where).partition("://")
    location = f"{scheme}://{_quoted(rest)}"
    fingerprint = file.location.fingerprint
    # Chunks of a file that changed later are refused by the reader.
    state: dict[str, Any] = {}
    if fingerprint.mtime_ns:
        # Up to the next second: it compares whole ones.
        seconds = -(-fingerprint.mtime_ns // 10**9)
        state["last_updated_at_checksum"] = datetime.fromtimestamp(seconds, UTC)
    elif fingerprint.etag.startswith('"'):
        state["etag_checksum"] = fingerprint.etag
    for name, (document, found) in documents.items():
        metadata = ArrayV3Metadata.from_dict(document)
        buffers = metadata.to_buffer_dict(prototype)
        sync(store.set(f"{name}/zarr.json", buffers["zarr.json"]))
        if found.inline:
            first = "/".join(["c", *("0" * len(found.chunks))])
            sync(store.set(f"{name}/{first}", prototype.buffer.from_bytes(found.inline)))
        batch: list[Any] = []
        for coords, offset, nbytes in found.pieces:
            batch.append(spec(list(coords), location, int(offset), int(nbytes), **state))
            if len(batch) == BATCH:
                _hand_over(store, file, name, batch)
                batch = []
        _hand_over(store, file, name, batch)


def _hand_over(store: Any, file: ReferredFile, name: str, batch: list[Any]) -> None:
    refused = store.set_virtual_refs(f"/{name}", batch) if batch else None
    if refused:
        expected = "a repository with a virtual chunk container for the file"
        got = f"none for {batch[0].location}"
        raise OptionError(message("referring to", file.location.path, name, expected=expected, got=got))
